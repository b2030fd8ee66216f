"""Importing Keras and its backend without their start-up chatter, and fitting without a warning that is none."""

import contextlib
import logging
import os
import sys
import tempfile

import closer_tf
from closer_tf.common.backend import LIBRARIES, require_backend


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
