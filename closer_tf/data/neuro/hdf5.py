"""Columns of NWB tables, in HDF5 or Zarr, read with care: a damaged or hostile file costs a message, not the process."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass, field

import h5py
import numpy as np

from closer_tf.common.files import check_declared
from closer_tf.config import suggestion
from closer_tf.data.neuro.sessions import SPIKE_TIMES
from closer_tf.errors import DataError

NO_PICKLES = (
    "pickled objects, which are not read: write the file as HDF5, or with NWBZarrIO(..., object_codec_class=numcodecs.JSON)"
)


@contextlib.contextmanager
def errors_of(path, expected):
    """Context in which whatever goes wrong with a file is a `DataError` that names it.

    Args:
        path: the file.
        expected: what it is not where something is missing from it.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except KeyError as error:
        says = f"closer_tf inspect {path} says what is in it, and which command reads it"
        raise DataError(f"{path}: not {expected}: {error.args[0]}; {says}") from None
    except Exception as error:  # h5py raises many kinds on damaged files
        reason = str(error) or type(error).__name__
        other = "" if str(path).endswith((".nwb", ".h5", ".hdf5")) else f". {SPIKE_TIMES}"
        raise DataError(f"{path}: cannot be read as an NWB file; it may be cut short: {reason}{other}") from error


@dataclass(frozen=True, eq=False)
class Table:
    """The columns of a table that hold one number, string or truth value per row.

    Args:
        columns: dict of name to array (rows,).
        others: dict of name to str, for the columns that hold something else: what that is.
    """

    columns: dict
    others: dict = field(default_factory=dict)

    def column(self, name, what):
        """One column.

        Raises:
            DataError: there is none such; `what` begins the message.
        """
        if name in self.columns:
            return self.columns[name]
        if name in self.others:
            raise DataError(f"{what}: column '{name}' {self.others[name]}")
        raise DataError(f"{what}: no column '{name}'; it has {', '.join(self.columns)}.{suggestion(name, self.columns)}")


def let_a_child_go_first(path, module):
    """Have another process read the file: on some damaged files libhdf5 crashes or never ends.

    Args:
        path: Path of the file.
        module: name of the module whose function `_read(path)` reads it.

    Raises:
        DataError: the other process crashed or did not end.
    """
    seconds = 30 + path.stat().st_size / 2e6
    code = f"import sys; from {module} import _read; from pathlib import Path; _read(Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        child = subprocess.run([sys.executable, "-c", code, path], env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path}: damaged: reading it did not end within {seconds:.0f} s") from None
    if child.returncode < 0:
        raise DataError(f"{path}: damaged: reading it crashes libhdf5 (signal {-child.returncode})")


def refuse_links(path, file):
    """Refuse an HDF5 file that links into another one.

    Raises:
        DataError: it does.
    """
    outside = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    if outside is not None:
        raise DataError(f"{path}: {outside}: lies in another file; that is not read")


def values(column):
    """All values of a column, once it is known that they fit and lie in this file, and are no pickles.

    Raises:
        DataError: they are too large, in another file, or pickled.
        ValueError: it is no column.
    """
    if not hasattr(column, "shape"):
        raise ValueError(f"expected a column, found {column!r}")
    where = f"{column.file.filename}: {column.name}" if isinstance(column, h5py.Dataset) else column.name
    if isinstance(column, h5py.Dataset) and (column.external or column.is_virtual):
        raise DataError(f"{where}: keeps its values in another file; that is not read")
    if _is_pickled(column):
        raise DataError(f"{where}: holds {NO_PICKLES}")
    _refuse_missing_chunks(column, where)
    width = 64 if column.dtype.kind == "O" else column.dtype.itemsize  # a short string takes about 64 bytes
    check_declared(where, column.size * width)
    return column[()]


def _refuse_missing_chunks(column, where):
    """Zarr reads chunks that are not there as zeros. Times and texts are never that; other columns may be."""
    missing = getattr(column, "nchunks", 0) - getattr(column, "nchunks_initialized", 0)
    if missing > 0 and (column.dtype.kind in "OT" or column.name.endswith(("_time", "_times", "_index"))):
        raise DataError(
            f"{where}: {missing} of its {column.nchunks} chunks are not there: the folder is not whole; copy it again"
        )


def strings(column):
    """A column as a str array."""
    return np.array([text(value) for value in values(column)], dtype=str)


def text(value):
    """A stored string as str."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def rows(stored, ends, what):
    """The rows of a ragged column, from where each ends.

    Raises:
        ValueError: the ends do not ascend to the last value.
    """
    starts = np.append(0, ends[:-1]) if len(ends) else ends
    if (ends < starts).any() or (ends[-1] if len(ends) else 0) != len(stored):
        found = f"{ends[-1] if len(ends) else 'none'}, ascending: {'no' if (ends < starts).any() else 'yes'}"
        raise ValueError(f"{what}: expected ends that ascend to the {len(stored)} values there are, found {found}")
    return np.split(stored, ends[:-1])


def table_of(group):
    """A group's columns as a `Table`."""
    count = group["id"].shape[0] if "id" in group else None
    columns, others = {}, {}
    for name in group:
        column = group[name]
        if not hasattr(column, "shape") or name.endswith("_index"):
            continue
        if f"{name}_index" in group:
            others[name] = "holds several values per row"
        elif column.ndim != 1 or (count is not None and len(column) != count):
            others[name] = f"holds an array of shape {column.shape}"
        elif column.dtype.kind == "V" or h5py.check_ref_dtype(column.dtype) is not None:
            others[name] = "holds references"
        elif _is_pickled(column):
            others[name] = f"holds {NO_PICKLES}"
        else:
            columns[name] = strings(column) if column.dtype.kind in "OSTU" else values(column)
    return Table(columns, others)


def _is_pickled(column):
    return any(getattr(codec, "codec_id", "") == "pickle" for codec in getattr(column, "filters", None) or ())
