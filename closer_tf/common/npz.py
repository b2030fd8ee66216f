"""Plain .npz and .npy files: read with checks, written whole or not at all."""

import contextlib
import math
import os
import zipfile

import numpy as np

from closer_tf.common.files import given_path, remove
from closer_tf.common.limits import check_declared, check_regular
from closer_tf.common.plain import plain
from closer_tf.errors import DataError

MAX_HEADER = 10_000  # characters; NumPy writes about 120

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path):
    """All arrays of an .npz file.

    Args:
        path: the file. Pickled arrays are refused, and so are files that declare more than fits (`closer_tf.common.limits`).

    Returns:
        dict of name to array (as `closer_tf.common.plain` makes them), in the order of the file. Names are keys alone; nothing
        is ever written under them.

    Raises:
        DataError: the file is absent, no .npz file, damaged, too large, or holds something other than plain arrays.
    """
    path = given_path(path)
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_declared(path, sum(member.file_size for member in members))
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
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(aside, "wb") as stream:
            np.savez_compressed(stream, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error
    finally:
        remove(aside)
