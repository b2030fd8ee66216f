"""What this environment can do: `python -m closer_tf.doctor`."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version

from closer_tf import __version__
from closer_tf.common.backend import LIBRARIES, accelerators, import_keras, numpy_products
from closer_tf.common.command import USER_ERROR, add_version, command_parser, run_command
from closer_tf.common.files import given_path
from closer_tf.errors import BackendError

EPILOG = """example: python -m closer_tf.doctor --data-dir /data/tensorflow_datasets

exit codes: 0 ensembles can be trained here; 2 something that training needs is missing (marked 'missing')."""

OPTIONAL = {
    "sessions of the Allen Institute": (("allensdk",), "pip install 'closer_tf[allen]'; without it NWB files are read by h5py"),
    "other NWB files": (("pynwb",), "pip install 'closer_tf[nwb]'"),
    "SavedModel export": (("tensorflow",), "pip install 'closer_tf[tensorflow]'; without it closer_tf export --keras-only"),
    "ONNX export": (("onnx", "tf2onnx", "onnxruntime"), "pip install 'closer_tf[onnx]'"),
    "UMAP in reports": (("umap-learn",), "pip install 'closer_tf[umap]'; without it --embeddings pca or tsne"),
    "sweeps": (("dask", "distributed"), "pip install 'closer_tf[sweep]'"),
    "sweeps on SLURM, LSF, PBS": (("dask-jobqueue",), "pip install 'closer_tf[sweep]'"),
    "TensorBoard": (("tensorboard",), "pip install tensorboard"),
}
"""what for -> (libraries, what to do without them)"""


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = command_parser(
        "python -m closer_tf.doctor",
        "Say what this environment can do: libraries, accelerators, data that is found, room on the disk.",
        EPILOG,
    )
    parser.add_argument("--data-dir", help="TensorFlow Datasets directory (default: $TFDS_DATA_DIR, or ~/tensorflow_datasets)")
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options), needs_keras=False)


def _main(options):
    findings = examine(options.data_dir)
    for what, state, says in findings:
        print(f"{state:8} {what:32} {says}")
    return USER_ERROR if any(state == "missing" for _, state, _ in findings) else 0


def examine(data_dir=None):
    """Look at the environment.

    Args:
        data_dir: TensorFlow Datasets directory. Default: $TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Returns:
        List of (what, state, says), all str; state is 'ok', 'slow' where there is a faster way, 'absent' for what one can do
        without, or 'missing'.
    """
    return [
        ("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        ("closer_tf", "ok", f"{__version__}, {_versions('numpy', 'scikit-learn')}"),
        *_training(),
        _products(),
        *(_optional(what, *needs) for what, needs in OPTIONAL.items()),
        *_data(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"),
        _disk(),
    ]


def _training():
    """Keras, its backend and what it computes on."""
    try:
        keras = import_keras()
    except Exception as error:  # whatever a broken installation raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "" if isinstance(error, BackendError) else "; pip install 'closer_tf[tensorflow]' or 'closer_tf[jax]'"
        return [("Keras and its backend", "missing", f"cannot be imported ({reason}){remedy}")]
    backend = keras.backend.backend()
    library, names = LIBRARIES.get(backend, backend), accelerators()
    none = f"{library} sees none; everything runs on the CPU (docs/backends.md says how to use one)"
    return [
        ("Keras", "ok", f"{keras.__version__}, backend {backend} {_version(backend) or ''}".rstrip()),
        _start(sys.modules[backend] if backend in sys.modules else keras),
        ("GPU", "ok" if names else "absent", ", ".join(names) or none),
    ]


def _start(library):
    """Whether a new process finds a library compiled, or has to compile its sources again."""
    what, compiled = "start of a process", library.__spec__.cached
    if compiled is None or os.path.exists(compiled):
        return (what, "ok", f"{library.__name__} is there as bytecode")
    why = "$PYTHONDONTWRITEBYTECODE is set" if sys.dont_write_bytecode else f"{os.path.dirname(compiled)} cannot be written"
    remedy = "unset it" if sys.dont_write_bytecode else "make it writable once"
    packages = os.path.dirname(os.path.dirname(library.__file__))
    says = (
        f"{library.__name__} has no bytecode and Python writes none ({why}): each command, and each training of a sweep, "
        f"compiles its sources anew, which takes seconds; {remedy}, or run python -m compileall -qq -j 0 {packages}"
    )
    return (what, "slow", says)


def _products():
    """The library of the probe's matrix products."""
    by, advice = numpy_products()
    return ("matrix products of NumPy", "slow" if advice else "ok", advice or by)


def _optional(what, libraries, remedy):
    absent = [name for name in libraries if _version(name) is None]
    if absent:
        return (what, "absent", f"needs {', '.join(absent)}: {remedy}")
    return (what, "ok", _versions(*libraries))


def _data(data_dir):
    folder = given_path(data_dir)
    for name in ("cifar10", "cifar100"):
        found = [folder / f"{name}.npz", *folder.glob(f"{name}/*/dataset_info.json")]
        if any(path.exists() for path in found):
            yield (name, "ok", f"in {folder}")
        elif _version("tensorflow-datasets") is None:
            yield (name, "absent", f"no {name}.npz in {folder} (docs/backends.md), and tensorflow-datasets is not installed")
        else:
            yield (name, "absent", f"not in {folder}; downloaded there when first needed (170 MB)")


def _disk():
    free = shutil.disk_usage(".").free / 2**30
    return ("disk", "ok", f"{free:.1f} GB free in this folder; `closer_tf train CONFIG --dry-run` says what a run takes")


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _versions(*names):
    return ", ".join(f"{name} {_version(name)}" for name in names)


if __name__ == "__main__":
    raise SystemExit(main())
