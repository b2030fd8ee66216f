"""Files as people name them, how much they may ask for, and plain arrays in them; a reader never finds half of one."""

import codecs
import contextlib
import math
import os
import stat
import zipfile
from pathlib import Path

import numpy as np

from closer_tf.common.values import plain
from closer_tf.errors import DataError, RunError

ASIDE = ".writing-"  # what a file is called before it is complete; what a killed process leaves starts with it
MAX_BYTES = 8 * 2**30
"""The most that is read from one source, whatever the machine has."""
MAX_HEADER = 10_000  # characters; NumPy writes about 120
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


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


def check_declared(what, declared, limit=None):
    """Refuse what would not fit.

    Args:
        what: what to call the file or its part in the message.
        declared: bytes that reading it would take.
        limit: the most bytes. Default: `MAX_BYTES`, or half of the machine's memory where that is less.

    Raises:
        DataError: it is more.
    """
    limit = min(MAX_BYTES, memory() // 2) if limit is None else limit
    if declared > limit:
        raise DataError(f"{what}: declares {declared:,} bytes of arrays; at most {limit:,} are read on this machine")


def check_regular(path):
    """Refuse what is no ordinary file: reading a pipe or a device may never end.

    Raises:
        DataError: there is no such file, or it is a folder, pipe or device.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL or a lone surrogate
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path}: not an ordinary file")


def memory():
    """Bytes of memory that this machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not every system says
        return 2 * MAX_BYTES


def read_npz(path, limit=None):
    """All arrays of an .npz file.

    Args:
        path: the file. Pickled arrays are refused, and so are files that declare more than fits (`check_declared`).
        limit: the most bytes, as for `check_declared`.

    Returns:
        dict of name to array (as `closer_tf.common.values` makes them), in the order of the file. Names are keys alone; nothing
        is ever written under them.

    Raises:
        DataError: the file is absent, no .npz file, damaged, too large, or holds something other than plain arrays.
    """
    path = given_path(path)
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_declared(path, sum(member.file_size for member in members), limit)
            stored = {}
            for member in members:
                name = member.filename.removesuffix(".npy")
                stored[name] = _read_array(f"{path}: {name}", lambda member=member: archive.open(member), member.file_size)
            return stored
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files
        reason = str(error) or type(error).__name__
        if is_hdf5(path):
            raise DataError(
                f"{path}: expected an .npz file of plain arrays, found HDF5; of NWB, closer_tf session makes a session file: "
                f"closer_tf inspect says how"
            ) from None
        raise DataError(f"{path}: not a readable .npz file of plain arrays; it may be cut short: {reason}") from error


def is_hdf5(path):
    """Whether a file begins as HDF5 does, in which NWB is written."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"
    return False


def read_npy(path):
    """The array of an .npy file, with the checks of `read_npz`.

    Raises:
        DataError: the file is absent, no .npy file, damaged, too large, or holds something other than a plain array.
    """
    path = given_path(path)
    check_regular(path)
    try:
        size = path.stat().st_size
        check_declared(path, size)
        return _read_array(str(path), lambda: open(path, "rb"), size)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: not a readable .npy file: {str(error) or type(error).__name__}") from error


def _read_array(what, opened, size):
    with opened() as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise DataError(f"{what}: unknown .npy format {version}")
        length = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    if length > MAX_HEADER:
        raise DataError(f"{what}: a header of {length:,} characters; at most {MAX_HEADER:,} are read")
    with opened() as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{what}: holds Python objects, expected a plain array of numbers or strings; save it as array.astype(str), or as "
            f"numbers"
        )
    if dtype.itemsize == 0 or dtype.names or min(shape, default=0) < 0:
        raise DataError(f"{what}: expected a plain array of numbers or strings, found shape {shape} of {dtype}")
    declared = math.prod(shape) * dtype.itemsize
    if declared > size:
        raise DataError(f"{what}: declares {declared:,} bytes, the file holds {size:,}")
    with opened() as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    try:
        return plain(array)
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def write_npz(path, arrays):
    """Write arrays to an .npz file, compressed. A crash leaves the old file or none, never half of one.

    Args:
        path: the file; its folder is made when it is absent.
        arrays: dict of name to array, no object arrays.

    Raises:
        DataError: the file cannot be written there.
    """
    path = given_path(path)

    def write(aside):
        with open(aside, "wb") as stream:
            np.savez_compressed(stream, **arrays)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_with(path, write)
    except (OSError, RunError) as error:
        reason = error.__cause__ or error  # `write_with` says that of a run
        raise DataError(f"{path}: cannot be written: {reason}") from error
