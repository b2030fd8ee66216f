"""The library that Keras computes with: TensorFlow or JAX, whichever is installed."""

import importlib.util
import json
import os
import sys
from pathlib import Path

from closer_tf.errors import BackendError

LIBRARIES = {"tensorflow": "TensorFlow", "jax": "JAX"}
"""Keras's name of each backend that closer_tf runs on -> the library's name."""


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
