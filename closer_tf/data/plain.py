"""Arrays as other programs hand them over, made plain: what NumPy, pandas, HDF5, MATLAB and CSV files hold for one thing."""

import numbers

import numpy as np

from closer_tf.errors import DataError

NO_AREA = ("", "nan", "none", "null", "nat", "<na>", "n/a", "unknown")
"""What tables write, in any case of letters, for a unit without a brain area."""


def as_numbers(values):
    """Numbers in a type that TensorFlow and JAX take.

    Args:
        values: array of numbers, of any type.

    Returns:
        The same array; a copy where the type is not the machine's own or none of theirs: long doubles as float64, C's long long
        as int64.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iuf":
        return values
    plain = np.dtype(f"{values.dtype.kind}{min(values.dtype.itemsize, 8)}")
    return values if values.dtype.char == plain.char and values.dtype.isnative else values.astype(plain)


def as_labels(values, what="labels"):
    """Class labels as a plain array.

    Args:
        values: one label per sample: integers, booleans, floats that are whole numbers, strings or bytes; an array (n,) or
            (n, 1), a list, or a column of a data frame.
        what: what to call them in messages.

    Returns:
        Array (n,) of int64 or of str.

    Raises:
        DataError: a label is missing, or neither a whole number nor a string; or there is not one per sample.
    """
    labels = _as_column(_without_objects(values, what, missing=None))
    if labels.ndim != 1:
        hint = "; give one-hot labels as labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise DataError(f"{what}: expected one label per sample, found shape {labels.shape}{hint}")
    if labels.dtype.kind == "f":
        labels = _as_whole(labels, what)
    if labels.dtype.kind not in "biuU":
        raise DataError(f"{what}: expected integers or strings, found {labels.dtype}")
    if labels.dtype.kind == "u" and labels.size and int(labels.max()) >= 2**63:
        raise DataError(f"{what}: expected integers below 2^63, found {labels.max()}")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def as_areas(values, count, what="areas", numbered=False):
    """The brain areas of units as a plain array.

    Args:
        values: one name per unit: strings or bytes, with '', None, NaN, 'unknown' and the like (`NO_AREA`) for none; an array
            (units,) or (units, 1), a list, or a column of a data frame.
        count: number of units.
        what: what to call them in messages.
        numbered: take whole numbers for names too.

    Returns:
        Str array (units,), without spaces around the names; '' for none.

    Raises:
        DataError: there is not one string per unit.
    """
    areas = _as_column(_without_objects(values, what, missing=np.nan if numbered else ""))
    if numbered and areas.dtype.kind in "iuf":
        missing = areas != areas
        areas = np.where(missing, "", _as_whole(np.where(missing, 0, areas), what).astype(str))
    if areas.dtype.kind == "f" and np.isnan(areas).all():
        areas = np.full(areas.shape, "")
    if areas.shape != (count,) or areas.dtype.kind != "U":
        raise DataError(f"{what}: expected {count} strings, one per unit, found shape {areas.shape} of {areas.dtype}")
    areas = np.char.strip(areas)
    return np.where(np.isin(np.char.lower(areas), NO_AREA), "", areas)


def _as_column(values):
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _as_whole(values, what):
    """Numbers that are whole as int64."""
    bad = ~(np.abs(values) < 2**53) | (values != np.floor(values))  # NaN is not below anything
    if bad.any():
        raise DataError(f"{what}: expected whole numbers or strings, found {values[bad][0]} at position {bad.argmax()}")
    return values.astype(np.int64)


def _without_objects(values, what, missing):
    """An array of strings or numbers from one that may hold bytes or Python objects.

    Args:
        values: array or sequence.
        what: what to call it in messages.
        missing: what to put for None, NaN and pandas's NA among strings; None if nothing may be missing.
    """
    values = np.asarray(values)
    if values.dtype.kind == "S":
        values = values.astype(object)
    if values.dtype.kind != "O":
        return values
    plain = [value.decode() if isinstance(value, bytes) else value for value in values.ravel().tolist()]
    present = [value for value in plain if not _is_missing(value)]
    if len(present) < len(plain) and missing is None:
        raise DataError(f"{what}: the entry at position {[_is_missing(value) for value in plain].index(True)} is missing")
    if all(isinstance(value, str) for value in present):
        missing = ""
    elif not all(isinstance(value, numbers.Real) for value in present):
        raise DataError(f"{what}: expected numbers or strings, found {', '.join(sorted({type(v).__name__ for v in present}))}")
    return np.array([missing if _is_missing(value) else value for value in plain]).reshape(values.shape)


def _is_missing(value):
    """Whether an object is None, NaN, or pandas's NaT or NA."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
