"""Labels of samples and areas of units, as tables and other programs hold them: one plain array each."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING

import numpy as np

from closer_tf.common.plain import one_per_row, plain, whole_numbers
from closer_tf.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

NO_AREA = ("", "nan", "none", "null", "nat", "<na>", "n/a", "unknown")
"""What tables write, in any case of letters, for a unit without a brain area."""


def as_labels(values: ArrayLike, what: str = "labels") -> np.ndarray:
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
    values = np.asarray(values)
    if values.dtype.kind == "O":
        missing = [_is_missing(value) for value in values.ravel().tolist()]
        if any(missing):
            raise DataError(f"{what}: the label at position {missing.index(True)} is missing")
    try:
        labels = whole_numbers(one_per_row(plain(values)))
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    if labels.ndim != 1:
        hint = "; give one-hot labels as labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise DataError(f"{what}: expected one label per sample, found shape {labels.shape}{hint}")
    if labels.dtype.kind not in "biuU":
        raise DataError(f"{what}: expected integers or strings, found {labels.dtype}")
    if labels.dtype.kind == "u" and labels.size and int(labels.max()) >= 2**63:
        raise DataError(f"{what}: expected integers below 2^63, found {labels.max()}")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def as_areas(values: ArrayLike, count: int, what: str = "areas", numbered: bool = False) -> np.ndarray:
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
    areas = one_per_row(np.asarray(values))
    names = [_name(value, numbered) for value in areas.ravel().tolist()]
    odd = next((f" (unit {k}: {name!r})" for k, name in enumerate(names) if not isinstance(name, str)), "")
    if areas.shape != (count,) or odd:
        found = f"shape {areas.shape} of {areas.dtype}{odd}"
        raise DataError(f"{what}: expected {count} strings, one per unit ('' for none), found {found}")
    return np.array(["" if name.lower() in NO_AREA else name for name in names], dtype=str)


def _name(value, numbered):
    """The name of one area as text, or what it is if it is none."""
    if _is_missing(value):
        return ""
    if numbered and isinstance(value, numbers.Real) and value == int(value):
        return str(int(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    return value.strip() if isinstance(value, str) else value


def _is_missing(value):
    """Whether an object is None, NaN, or pandas's NaT or NA."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)
