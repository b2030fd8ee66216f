"""What values may be: the bounds of every number that can be set, plain arrays and labels, names that tables hold, short texts.

Sections of the run config and functions in Python hold the same bounds. A section gives a key's bounds to pydantic, `fraction:
float = Field(0.1, **BOUNDS["fraction"])`; a function checks its arguments by `check_settings(fraction=fraction)`. Arrays that
other programs hand over become the types that NumPy, Keras and TensorFlow share; nothing is unpickled. Only NumPy is imported.
"""

from __future__ import annotations

import importlib
import numbers
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from closer_tf.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_FLOAT = 3.4e38  # what is computed is computed in float32
MAX_WIDTH = 2**16  # of a layer; with the other upper bounds it keeps mistyped numbers from filling the memory
MAX_LAYERS = 100

_WHOLE = {
    "num_encoders": {"ge": 2, "le": 1000},
    "hidden": {"ge": 1, "le": MAX_WIDTH},  # each width
    "layers": {"ge": 0, "le": MAX_LAYERS},  # how many of them
    "embedding_dim": {"ge": 1, "le": MAX_WIDTH},
    "blocks": {"ge": 1, "le": MAX_LAYERS},
    "heads": {"ge": 1, "le": 1024},
    "key_dim": {"ge": 1, "le": MAX_WIDTH},
    "mlp_dim": {"ge": 1, "le": MAX_WIDTH},
    "patch_size": {"ge": 1},
    "num_edges": {"ge": 1},
    "clusters": {"ge": 2, "le": 1000},
    "window": {"ge": 1, "le": 1000},
    "epochs": {"ge": 0},
    "batch_size": {"ge": 2},  # a sample alone is told from nothing: its loss is 0, whatever the encoders do
    "segments": {"ge": 2},
    "lag": {"ge": 1, "le": 10_000},
    "folds": {"ge": 3, "le": 1000},
    "fold": {"ge": 0, "lt": 1000},
    "max_iter": {"ge": 1},
    "knn_neighbours": {"ge": 1},
}
_REAL = {
    "dropout": {"ge": 0, "lt": 1},
    "l1": {"ge": 0},
    "l2": {"ge": 0},
    "fraction": {"gt": 0, "le": 1},
    "sigma": {"ge": 0.01, "le": 1e6},
    "slope": {"ge": 0, "le": 1e6},
    "e2": {"ge": 0.01, "le": 1e6},
    "jitter": {"ge": 0, "le": 1},
    "length": {"ge": 0.01, "le": 1e6},
    "rewiring": {"ge": 0, "le": 1},
    "inside": {"ge": 0, "le": 1},
    "period": {"gt": 0},
    "temperature": {"gt": 0},
    "max_memory_mb": {"gt": 0},
    "input_scale": {"gt": 0},
    "rotation": {"ge": 0, "le": 0.5},
    "zoom": {"ge": 0, "lt": 1},
    "learning_rate": {"gt": 0},
    "beta_1": {"ge": 0, "lt": 1},
    "beta_2": {"ge": 0, "lt": 1},
    "epsilon": {"gt": 0},
    "schedule_decay": {"ge": 0},
    "push_weight": {"ge": 0},
    "momentum": {"ge": 0, "lt": 1},
    "tpull": {"ge": 0},
    "pull": {"ge": 0},
    "cont": {"ge": 0},
    "var": {"ge": 0},
    "cov": {"ge": 0},
    "test_fraction": {"gt": 0, "lt": 1},
    "validation_fraction": {"ge": 0, "lt": 1},
    "C": {"ge": 0},  # each inverse penalty
}
BOUNDS: dict[str, dict[str, Any]] = _WHOLE | _REAL
"""name -> bounds, in pydantic's words: ge (at least), gt (above), le (at most), lt (below)."""

_WORDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}

Tensor = Any
"""A tensor of the backend that Keras runs on, or what Keras takes for one: which type that is, the backend decides."""
Shape = tuple[Any, ...]
"""A shape as layers get it, of int; None where a size is open, such as that of the batch."""
EXACT = 2**53  # whole numbers up to here are exact as floats
NO_AREA = ("", "nan", "none", "null", "nat", "<na>", "n/a", "unknown")
"""What tables write, in any case of letters, for a unit without a brain area."""


def check_settings(**settings):
    """Refuse settings that are no numbers or out of their `BOUNDS`.

    Args:
        **settings: name -> number, or sequence of numbers.

    Raises:
        ValueError: it names the setting, what was expected and what came.
    """
    for name, value in settings.items():
        several = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1
        for number in value if several else [value]:
            if not _is_within(number, name):
                bounds = " and ".join(f"{_WORDS[kind]} {bound:,}" for kind, bound in BOUNDS[name].items())
                kind = "a whole number" if name in _WHOLE else "a number"
                raise ValueError(f"{name}: expected {kind} {bounds}, found {number!r}")


def _is_within(number, name):
    kinds = (int, np.integer) if name in _WHOLE else (int, float, np.integer, np.floating)
    if isinstance(number, bool) or not isinstance(number, kinds) or not abs(number) <= MAX_FLOAT:  # NaN is not
        return False
    return all(getattr(operator, kind)(number, bound) for kind, bound in BOUNDS[name].items())


def plain(array):
    """An array in the machine's byte order; long doubles as float64, bytes as text, columns of objects as what they hold.

    Args:
        array: any array. One of Python objects becomes text where each is a str, or each bytes, and numbers or truth values
            where each is one; else it is returned as it is.

    Returns:
        An array, the same one where nothing is to be changed.

    Raises:
        DataError: bytes that are no UTF-8, or long doubles that float64 cannot hold.
    """
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"holds bytes that are no UTF-8 text: {error}") from None
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore", under="ignore"):
            short = array.astype(np.float64)
        if (np.isinf(short) != np.isinf(array)).any():
            raise DataError(f"holds {array.dtype} values that float64 cannot hold")
        return short
    if array.dtype.kind in "iuf":  # C's long long is another type than int64 to TensorFlow
        shared = np.dtype(f"{array.dtype.kind}{array.dtype.itemsize}")
        return array if array.dtype.char == shared.char and array.dtype.isnative else array.astype(shared)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def whole_numbers(array):
    """Floating-point whole numbers as int64; any other array as it is.

    Raises:
        DataError: floats that are not finite, not whole, or too large to be exact.
    """
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise DataError("holds values that are not finite")
    fractions = array != np.floor(array)
    if fractions.any():
        raise DataError(f"expected whole numbers, found {array[fractions].ravel()[0]}")
    largest = float(np.abs(array).max(initial=0))
    if largest > EXACT:
        raise DataError(f"expected whole numbers up to {EXACT}, found {largest:g}")
    return array.astype(np.int64)


def one_per_row(array):
    """A column (n, 1) or a row (1, n) as (n,); any other array as it is."""
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array


def _of_objects(array):
    values = array.ravel().tolist()
    if not values:
        return array
    if all(isinstance(value, (bytes, np.bytes_)) for value in values):
        return array.astype("S")
    if all(isinstance(value, str) for value in values):
        return array.astype("U")
    if all(isinstance(value, (bool, np.bool_)) for value in values):
        return array.astype(bool)
    if all(isinstance(value, (int, float, np.integer, np.floating)) for value in values):
        return np.array(values).reshape(array.shape)
    return array


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


def shortened(text, most, mark="…"):
    """A text of at most `most` characters; where some are left out, `mark` stands for them at its end."""
    text = str(text)
    return text if len(text) <= most else text[: most - len(mark)] + mark


def last_part(key):
    """The last part of a key's path: 'family' of 'objective.graph.family'."""
    return key.rpartition(".")[2]


def counted(epochs):
    """A number of epochs in words: '1 epoch', '20 epochs'."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"


def load(path: str) -> Any:
    """What a table names as 'module:name', imported only now.

    Args:
        path: such as 'closer_tf.nn.temporal:TemporalLoss'. A test resolves every one that stands in the package.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
