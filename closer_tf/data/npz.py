"""Plain .npz files: read with checks, written whole or not at all."""

import math
import os
import zipfile
from pathlib import Path

import numpy as np

from closer_tf.errors import DataError

MAX_BYTES = 8 * 2**30  # a file that declares more is refused before anything is allocated

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path):
    """All arrays of an .npz file.

    Args:
        path: the file. Pickled arrays are refused, and so are files that hold more than `MAX_BYTES`.

    Returns:
        dict of name to array, in the order of the file.

    Raises:
        DataError: the file is absent, no .npz file, damaged, too large, or holds something other than plain arrays.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            declared = sum(member.file_size for member in members)
            if declared > MAX_BYTES:
                raise DataError(f"{path}: declares {declared:,} bytes of arrays; at most {MAX_BYTES:,} are read")
            return {member.filename.removesuffix(".npy"): _read_array(path, archive, member) for member in members}
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: not a readable .npz file of plain arrays; it may be cut short: {reason}") from error


def _read_array(path, archive, member):
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise DataError(f"{path}: {name}: unknown .npy format {version}")
        shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        raise DataError(f"{path}: {name}: holds Python objects, expected a plain array of numbers or strings")
    declared = math.prod(shape) * dtype.itemsize
    if declared > member.file_size:
        raise DataError(f"{path}: {name}: declares {declared:,} bytes, the file holds {member.file_size:,}")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def write_npz(path, arrays):
    """Write arrays to an .npz file, compressed. A crash leaves the old file or none, never half of one.

    Args:
        path: the file; its folder is made when it is absent.
        arrays: dict of name to array, no object arrays.

    Raises:
        DataError: the file cannot be written there.
    """
    path = Path(path)
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
        aside.unlink(missing_ok=True)
