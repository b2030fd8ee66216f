"""Writing files so that a reader finds the old content or the new one, never half of it."""

import contextlib
import os
from pathlib import Path

from closer_tf.errors import RunError


def write_atomically(path, content):
    """Write a file aside, flush it to the disk, and move it into place.

    Args:
        path: the file.
        content: str or bytes.

    Raises:
        RunError: the disk is full, the folder is gone or not writable. What was at `path` before is still there.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.writing")
    try:
        with open(aside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path}: could not be written: {error.strerror}") from error
    finally:
        _remove(aside)
    _flush_folder(path.parent)


def write_with(path, write):
    """Like `write_atomically`, for a library that writes to a path of the same suffix itself.

    Args:
        path: the file.
        write: function called with the path to write to.
    """
    path = Path(path)
    aside = path.with_name(f".writing-{path.name}")
    try:
        write(aside)
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path}: could not be written: {error.strerror}") from error
    finally:
        _remove(aside)
    _flush_folder(path.parent)


def _remove(path):
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _flush_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
