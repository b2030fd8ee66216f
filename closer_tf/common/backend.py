"""What Keras computes with: TensorFlow or JAX, imported quietly; how precisely, on what device, with which versions and memory.

NVIDIA's GPUs take float32 products in TF32, with 3 digits, unless told otherwise. docs/reproducibility.md says what is equal to
the bit with and without the `deterministic` switch.
"""

import contextlib
import functools
import importlib.util
import json
import logging
import os
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import closer_tf
from closer_tf.errors import BackendError, ConfigError

LIBRARIES = {"tensorflow": "TensorFlow", "jax": "JAX"}
"""Keras's name of each backend that closer_tf runs on -> the library's name."""

PARTS = {"tensorflow": "closer_tf.nn.tensorflow", "jax": "closer_tf.nn.jax"}
"""Keras's name of each backend -> the module of what it does in a way of its own."""

OF_JAX = {"float32": "highest", "tensorfloat32": "tensorfloat32", "bfloat16": "highest"}
"""`compute.precision` -> JAX's name of how precise float32 products are."""

OLD_KERNELS = ("Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Athlon", "Opteron", "Barcelona", "Bobcat")
"""OpenBLAS's names of processors without AVX, on which no backend runs: what it takes those for that are newer than itself."""

VERSIONED = ("closer_tf", "keras", "tensorflow", "jax", "numpy", "scikit-learn", "scipy", "tensorflow-datasets")


def choose_backend():
    """Have Keras take the backend that is installed, where the one it is set to is not.

    Keras takes TensorFlow unless $KERAS_BACKEND or its `keras.json` says otherwise, installed or not. What $KERAS_BACKEND says
    stays as it is, and after `import keras` it is too late. The choice is handed on to Keras, and to processes that are begun
    from here, as $KERAS_BACKEND.

    Returns:
        Keras's name of the backend if it was chosen here, else None.
    """
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND") or is_installed(_set_in_file()):
        return None
    for name in filter(is_installed, LIBRARIES):
        os.environ["KERAS_BACKEND"] = name
        return name
    return None


def require_backend():
    """Make sure that Keras finds its backend.

    Raises:
        BackendError: it is not installed; the message says what to do.
    """
    name = os.environ.get("KERAS_BACKEND") or _set_in_file()
    if "keras" in sys.modules or is_installed(name):
        return
    installed = [known for known in LIBRARIES if is_installed(known)]
    remedy = [f"set KERAS_BACKEND={known}" for known in installed]
    remedy += [f"pip install 'closer_tf[{known}]'" for known in LIBRARIES if known not in installed]
    what = LIBRARIES.get(name, repr(name))
    if not installed:
        raise BackendError(
            f"Keras has no backend to compute with, neither TensorFlow nor JAX is installed: {' or '.join(remedy)}"
        )
    raise BackendError(f"KERAS_BACKEND={name}: {what} is not installed here; {', or '.join(remedy)}")


def is_installed(name):
    """Whether a library can be imported, as far as can be told without importing it."""
    return name.isidentifier() and importlib.util.find_spec(name) is not None


def _set_in_file():
    """The backend that Keras's own file names, by default 'tensorflow'."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        return str(json.loads(Path(home, "keras.json").read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def import_keras():
    """Import Keras with its backend; what the backend's libraries print meanwhile is shown only if the import fails.

    Where closer_tf chose the backend, because the one that Keras is set to is not installed, a line on standard error says so.

    Some versions of TensorFlow write start-up notices straight to the process's standard error before any log level
    applies, so the file descriptor itself is set aside.

    Returns:
        The `keras` module.

    Raises:
        BackendError: Keras's backend is not installed.
    """
    require_backend()
    if closer_tf._chosen_backend and "keras" not in sys.modules:
        name = closer_tf._chosen_backend
        remedy = f"set KERAS_BACKEND={name} so that `import keras` takes it too"
        print(f"note: computing with {LIBRARIES[name]}, the backend that is installed; {remedy}", file=sys.stderr)
    with stderr_set_aside():
        import keras

        keras.ops.zeros((1,))  # some notices come with the first operation
    return keras


def backend_part(name):
    """What the backend that Keras runs on does in a way of its own: `levels` or `epochs` of its module in `PARTS`."""
    import keras

    from closer_tf.common.values import load

    return load(f"{PARTS[keras.backend.backend()]}:{name}")


def first_traces_unsaid():
    """Context in which TensorFlow does not warn of retracing.

    A model's training step is traced once, at its first call. TensorFlow counts the traces of all models as those of one
    function, since Keras makes them by one line of code, and warns when five models in a row take few steps each.
    """
    return unsaid("triggered tf.function retracing")


@contextlib.contextmanager
def unsaid(words):
    """Context in which TensorFlow's log does not say what has these words in it."""
    logger = logging.getLogger("tensorflow")

    def is_something_else(record):
        return words not in record.getMessage()

    logger.addFilter(is_something_else)
    try:
        yield
    finally:
        logger.removeFilter(is_something_else)


@contextlib.contextmanager
def stderr_set_aside():
    """Context that keeps the process's standard error, also what libraries in C write to it, unless the work in it fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(original, 2)
            aside.seek(0)
            sys.stderr.write(aside.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)


@contextlib.contextmanager
def products_in(precision):
    """Context in which float32 products are as precise as `compute.precision` says.

    Args:
        precision: 'float32', 'tensorfloat32', or 'bfloat16', under which what the encoders leave in float32 is true float32.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision(OF_JAX[precision]):
            yield
    elif backend == "tensorflow":
        from closer_tf.common.values import load  # not at the top: `import closer_tf` stays quick

        with load("closer_tf.nn.tensorflow:without_tf32")():
            yield
    else:
        yield


@contextlib.contextmanager
def true_float32():
    """Context for what must not be rounded whatever the encoders' products are: losses, and coordinates of images."""
    import keras

    if keras.backend.backend() != "jax":  # TensorFlow has one switch for all, see `products_in`
        yield
        return
    import jax

    with jax.default_matmul_precision("highest"):
        yield


def accelerators():
    """Names (str) of what the backend computes on beside the processor; empty where there is nothing else."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    if backend != "tensorflow":
        return []
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(device).get("device_name", device.name) for device in found]


def computed_with(config):
    """dict: Keras's `backend`, the `precision` of products, the `device`, and `readout_precision` where the probe's products
    are not in float64; as results.json holds it.

    Args:
        config: resolved `RunConfig`.
    """
    import keras

    device = (accelerators() or ["processor"])[0]
    found = {"backend": keras.backend.backend(), "precision": config.compute.precision, "device": device}
    return found | ({"readout_precision": config.readout.precision} if config.readout.precision != "float64" else {})


def numpy_products():
    """What NumPy's matrix products are computed by, on which the readout's time depends.

    Returns:
        (by, advice): the library and the kernel in words, and what to do where OpenBLAS does not know the processor, else ''.
    """
    import numpy as np  # whose library is what is looked for
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    library = next((of for of in found if Path(np.__file__).parent.name in of["filepath"]), found[0] if found else None)
    if library is None:
        return "a library that threadpoolctl does not know", ""
    name, kernel = f"{library['internal_api']} {library['version'] or ''}".strip(), library.get("architecture")
    if kernel not in OLD_KERNELS:
        return f"{name}, kernel {kernel}" if kernel else name, ""
    return f"{name}, kernel {kernel}", (
        f"NumPy's {name} does not know this processor and takes it for a {kernel}: readouts take two to four times as long; "
        f"set OPENBLAS_CORETYPE=Haswell (with AVX-512: SkylakeX) before Python starts"
    )


def make_deterministic():
    """Have the backend use only operations that give the same bits every time, for the rest of the process.

    Under TensorFlow, operations that cannot do so raise an error, and Keras compiles nothing with XLA.

    Raises:
        ConfigError: the backend has no such switch.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"deterministic: Keras's backend '{keras.backend.backend()}' has no such switch")
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


@functools.lru_cache(maxsize=1)
def versions():
    """Versions of Python and the libraries in use, and the machine, as a dict of strings."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    found["cores"] = str(os.cpu_count())
    for name in VERSIONED:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def peak_memory_bytes():
    """The most memory that this process has held so far, in bytes; 0 on systems that do not say.

    Linux's `ru_maxrss` starts at what the parent process held, hence /proc where there is one.
    """
    with contextlib.suppress(OSError, StopIteration):  # no Linux, or none that tells
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, KiB elsewhere


def peak_memory_gb():
    """`peak_memory_bytes` in GiB, to two digits."""
    return round(peak_memory_bytes() / 2**30, 2)
