"""Importing Keras and TensorFlow without their start-up chatter."""

import contextlib
import os
import sys
import tempfile


def import_keras():
    """Import Keras with its backend; what the backend's libraries print meanwhile is shown only if the import fails.

    Some versions of TensorFlow write start-up notices straight to the process's standard error before any log level
    applies, so the file descriptor itself is set aside.

    Returns:
        The `keras` module.
    """
    with stderr_set_aside():
        import keras

        keras.ops.zeros((1,))  # some notices come with the first operation
    return keras


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
