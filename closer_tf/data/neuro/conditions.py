"""What a table of trials says was shown or done, as the names of a session's stimuli."""

import numbers

import numpy as np

from closer_tf.common.values import EXACT, NO_AREA
from closer_tf.errors import DataError


def named_conditions(columns, order, what, report):
    """The condition of each trial as a name.

    Args:
        columns: list of arrays (trials,), one or more that say together what a trial's condition is; None: all are alike.
        order: int array, positions of the trials to name.
        what: what to call the recording in messages.
        report: called with a line where trials have no condition.

    Returns:
        (str array (len(order),), list of str): each trial's name, '' for a trial without a value; the names in ascending order
        of the values. Several columns give names such as '(-40, 10)'.

    Raises:
        DataError: no trial has a value.
    """
    if columns is None:
        return np.full(len(order), "trials"), ["trials"]
    taken = [np.asarray(column, dtype=object)[order].tolist() for column in columns]
    values = [tuple(map(_value, row)) for row in zip(*taken)]
    names = [_name(row) for row in values]
    distinct = {name: row for name, row in zip(names, values) if name}
    if not distinct:
        raise DataError(f"condition: none of the {len(order)} trials has a value")
    if "" in names:
        report(f"{what}: {names.count('')} of {len(names)} trials have no condition: left out")
    return np.array(names, dtype=str), sorted(distinct, key=lambda name: tuple(map(_place, distinct[name])))


def _value(value):
    """A number, an int where it is whole, a string, or None where a table has none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if value is None or type(value).__name__ == "NAType" or value != value:
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        value = float(value)
        return int(value) if value.is_integer() and abs(value) <= EXACT else value
    text = str(value).strip()
    return None if text.lower() in NO_AREA else text


def _name(row):
    if None in row:
        return ""
    texts = [f"{value:.12g}" if isinstance(value, float) else str(value) for value in row]  # 0.1 + 0.2 is 0.3
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _place(value):
    """What a value is sorted by: numbers first."""
    return (1, 0.0, value) if isinstance(value, str) else (0, value, "")
