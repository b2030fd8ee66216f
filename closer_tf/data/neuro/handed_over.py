"""Spike trains, areas and trials as other packages hand them over: pynapple, Neo, pandas, plain arrays. None is imported."""

from collections.abc import Mapping

import numpy as np

from closer_tf.common.values import as_areas, one_per_row, plain
from closer_tf.config import suggestion
from closer_tf.errors import DataError

STARTS = ("start", "start_time")
STOPS = ("stop", "stop_time", "end")


def spike_trains(spikes, unit_ids=None):
    """Spike times per unit.

    Args:
        spikes: list of arrays of seconds, or a mapping of unit to such an array. Arrays may be pynapple's `Ts`, Neo's
            `SpikeTrain` or anything else with a physical unit, which is brought to seconds. pynapple's `TsGroup` is a mapping.
        unit_ids: one id per unit of a list. Default: 0, 1, 2, ...; of a mapping: its keys.

    Returns:
        (list of ids, list of sorted float64 arrays).

    Raises:
        DataError: they are no times, or not as many as ids.
    """
    if isinstance(spikes, Mapping):
        if unit_ids is not None:
            raise DataError("unit_ids: the spikes are a mapping, whose keys are the ids; leave unit_ids out")
        ids = list(spikes.keys())
        trains = [spikes[unit] for unit in ids]
    else:
        try:
            trains = list(spikes)
        except TypeError:
            raise DataError(f"spikes: expected one array of seconds per unit, found {type(spikes).__name__}") from None
        if unit_ids is not None and np.ndim(unit_ids) == 0:
            raise DataError(f"unit_ids: expected one integer or string per unit, found {unit_ids!r}")
        ids = list(range(len(trains))) if unit_ids is None else list(unit_ids)
    if len(ids) != len(trains):
        raise DataError(f"unit_ids: expected {len(trains)} ids, one for each array of spike times, found {len(ids)}")
    if not trains:
        raise DataError("spikes: expected one array of seconds per unit, found none")
    return ids, [_spike_times(train, unit) for unit, train in zip(ids, trains)]


def unit_areas(areas, ids):
    """The brain area of each unit.

    Args:
        areas: one name per unit, in the order of the units: a list, array or column of a data frame; or a mapping of unit to
            name. '', None or NaN for none.
        ids: list of the units' ids.

    Returns:
        Str array (units,); '' for none.

    Raises:
        DataError: there is not one name per unit, or it does not follow which belongs to which unit.
    """
    if areas is None:
        raise DataError("areas: expected one per unit, found None; does the property or column that holds them have this name?")
    if isinstance(areas, Mapping):
        missing = [unit for unit in ids if unit not in areas]
        if missing:
            raise DataError(f"areas: no area for {len(missing)} of {len(ids)} units, such as unit {missing[0]!r}; '' is none")
        areas = [areas[unit] for unit in ids]
    if _in_another_order(_index(areas), ids):
        raise DataError(
            "areas: a Series whose index has the units in another order than the spikes; give them in the order of the "
            "spikes, such as areas.loc[unit_ids], or areas.to_numpy() if they are in that order"
        )
    return as_areas(areas, len(ids), "areas")


def columns_of(trials):
    """Trials as a table.

    Args:
        trials: a table with a column of starts and one of stops (`STARTS`, `STOPS`), and further ones: a data frame, a mapping
            of name to array, pynapple's `IntervalSet`; or a tuple of the arrays start, stop and, if there is one, condition; or
            a list of such rows, or an array (trials, 2).

    Returns:
        dict of column to array (trials,), `start` and `stop` first, in seconds.

    Raises:
        DataError: there are no such columns, or their lengths differ.
    """
    names = [*getattr(trials, "columns", ()), *getattr(trials, "metadata_columns", ())]
    names = list(trials.keys()) if isinstance(trials, Mapping) else names
    if len(names):
        table = {str(name): trials[name] for name in names}
        start, stop = (_only(table, known, what) for known, what in ((STARTS, "start"), (STOPS, "stop")))
        table = {"start": table.pop(start), "stop": table.pop(stop), **table}
    elif isinstance(trials, tuple) and len(trials) in (2, 3) and np.ndim(trials[0]) == 1:
        table = dict(zip(("start", "stop", "condition"), trials))
    else:
        table = _of_rows(trials)
    table = {
        name: _seconds(column, f"trials: {name}") if name in ("start", "stop") else column for name, column in table.items()
    }
    count = len(table["start"])
    for name, column in table.items():
        if np.shape(column)[:1] != (count,):
            raise DataError(f"trials: {name}: expected {count} values, one per trial, found shape {np.shape(column)}")
    if not count:
        raise DataError("trials: expected at least one, found none")
    return table


def check_order(values, trials, what):
    """Refuse values of trials, a pandas Series, whose index has the trials in another order than their table.

    Args:
        values: anything.
        trials: the table, or anything else.
        what: what the values are, for the message.

    Raises:
        DataError: they are in another order.
    """
    index = _index(trials)
    if index is not None and not hasattr(values, "t") and _in_another_order(_index(values), index):  # `t`: pynapple's Tsd
        raise DataError(
            f"{what}: a Series whose index has the trials in another order than their table; name the table's column, or give "
            f".loc[trials.index], or .to_numpy() if they are in that order"
        )


def column(table, name, what="condition"):
    """One column of a table.

    Raises:
        DataError: there is no such column.
    """
    if name not in table:
        raise DataError(f"{what}: the trials have no column '{name}'; they have {', '.join(table)}.{suggestion(name, table)}")
    return table[name]


def in_seconds(values):
    """Values with a physical unit as seconds; others as they are."""
    return values.rescale("s").magnitude if hasattr(values, "rescale") else values


def _index(values):
    """The index of what pandas made, as a list; None for anything else: a list's `index` is a method."""
    index = getattr(values, "index", None)
    return None if index is None or callable(index) else list(index)


def _in_another_order(index, order):
    return index is not None and index != order and len(index) == len(order) and set(index) == set(order)


def _only(table, known, what):
    here = [name for name in known if name in table]
    if len(here) != 1:
        raise DataError(
            f"trials: expected one column of {what} times, named {' or '.join(known)}; found {' and '.join(here) or 'none'} "
            f"among the columns {', '.join(table)}"
        )
    return here[0]


def _of_rows(trials):
    rows = list(trials) if isinstance(trials, (list, tuple, np.ndarray)) else None
    if rows is None or any(np.ndim(row) != 1 and not isinstance(row, tuple) for row in rows):
        found = f"shape {np.shape(trials)}" if isinstance(trials, np.ndarray) else type(trials).__name__
        raise DataError(
            f"trials: expected a table with the columns start and stop, a tuple of arrays (start, stop) or (start, stop, "
            f"condition), or a list of such rows; found {found}"
        )
    widths = {len(row) for row in rows}
    if not widths <= {2, 3} or len(widths) > 1:
        raise DataError(f"trials: expected rows of (start, stop) or (start, stop, condition), found rows of {sorted(widths)}")
    width = max(widths, default=2)
    return dict(zip(("start", "stop", "condition")[:width], ([row[k] for row in rows] for k in range(width))))


def _spike_times(train, unit):
    times = _seconds(getattr(train, "t", train), f"spikes: unit {unit}")  # `t`: pynapple's Ts
    if not np.isfinite(times).all():
        raise DataError(f"spikes: unit {unit}: holds times that are not finite; leave these out")
    return np.sort(times)


def _seconds(values, what):
    array = one_per_row(plain(np.asarray(in_seconds(values))))
    if array.size == 0:
        return np.empty(0)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise DataError(f"{what}: expected an array of seconds, found shape {array.shape} of {array.dtype}")
    return array.astype(np.float64)
