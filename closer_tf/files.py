"""Writing files so that a reader finds the old content or the new one, never half of it."""

import contextlib
import os
from pathlib import Path

from closer_tf.errors import RunError

ASIDE = ".writing-"  # what a file is called before it is complete; what a killed process leaves starts with it


def write_atomically(path, content):
    """Write a file aside, flush it to the disk, and move it into place.

    Args:
        path: the file.
        content: str or bytes.

    Raises:
        RunError: the disk is full, the folder is gone or not writable. What was at `path` before is still there.
    """

    def write(aside):
        with open(aside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)

    write_with(path, write)


def write_with(path, write):
    """Like `write_atomically`, for a library that writes to a path of the same suffix itself.

    Args:
        path: the file.
        write: function called with the path to write to.
    """
    path = Path(path)
    aside = path.with_name(f"{ASIDE}{path.name}")
    try:
        write(aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        _flush_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error  # h5py's errors have a text alone
        raise RunError(f"{path}: could not be written: {reason}. What was saved there before is intact.") from error
    finally:
        remove(aside)


def remove(path):
    """Delete a file if that is possible."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def remove_leftovers(folder):
    """Delete what a killed process left half-written in a folder that nobody else writes to."""
    with contextlib.suppress(OSError):
        for path in list(Path(folder).glob(f"{ASIDE}*")):
            remove(path)


def make_folder(path, parents=False):
    """Make a folder unless it is there.

    Args:
        path: the folder.
        parents: make those above it, too.

    Raises:
        RunError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: the folder cannot be made: {error.strerror}") from error


def _flush_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
