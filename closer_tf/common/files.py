"""Files as people name them and editors save them, and writing so that a reader never finds half of one."""

import codecs
import contextlib
import os
from pathlib import Path

from closer_tf.errors import RunError

ASIDE = ".writing-"  # what a file is called before it is complete; what a killed process leaves starts with it


def given_path(path: str | os.PathLike) -> Path:
    """The `Path` of a name that a person gave. A leading '~' is the home folder: shells leave it alone after '='."""
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # no user can have this name; whoever opens the file says so
        return Path(path)


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, with or without the byte order mark that Windows programs put first.

    Args:
        path: the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is in another encoding.
    """
    return decode_text(given_path(path).read_bytes())


def decode_text(content: bytes) -> str:
    """What `read_text` returns for a file of this content (bytes)."""
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (len(content) > 1 and 0 in content[:2])
    if utf_16:
        raise ValueError("the text is in UTF-16, expected UTF-8; save it anew in that encoding")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not in UTF-8, which is expected; save the file anew in that encoding") from None


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
    path = given_path(path)
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
        given_path(path).mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: the folder cannot be made: {error.strerror}") from error


def _flush_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
