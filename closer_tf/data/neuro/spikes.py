"""Spike times counted in trials: `Session.from_spike_times`."""

from collections.abc import Mapping

import numpy as np

from closer_tf.common.files import check_declared
from closer_tf.data.neuro.binning import count_spikes
from closer_tf.data.neuro.clock import check_clock, check_seconds
from closer_tf.data.neuro.conditions import named_conditions
from closer_tf.data.neuro.handed_over import check_order, column, columns_of, spike_trains, unit_areas
from closer_tf.data.neuro.label_values import checked_periods, per_bin, per_trial
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import DataError

SHORT = 1e-3
"""Fraction of a bin that a trial's last bin may lack: times jitter."""


def count_in_trials(
    spikes,
    areas,
    trials,
    bin_width,
    condition=None,
    length=None,
    unit_ids=None,
    labels=None,
    unequal="cut",
    name=None,
    report=print,
    periods=None,
):
    """Count spikes in the bins of trials.

    A trial's bins begin at its start, one after the other; each holds its left edge, the last one its right edge too, as
    `np.histogram` counts.

    Args:
        spikes: list of arrays of seconds, one per unit, or a mapping of unit to such an array, in any order within a unit:
            NumPy's, pynapple's `TsGroup`, Neo's `SpikeTrain`s.
        areas: the brain area of each unit, in the order of the units: a list, array, or column of a data frame; or a mapping
            of unit to name. '', None or NaN for none.
        trials: a table with the columns start (or start_time) and stop (stop_time, end), in seconds of the spikes' clock, and
            further ones: a data frame, a mapping of name to array, pynapple's `IntervalSet`; or a tuple of the arrays (start,
            stop) or (start, stop, condition); or a list of such rows. In any order.
        bin_width: seconds. None: every trial is one bin, from its start to its stop, as for stimuli that were flashed.
        condition: name of the column that says what was shown or done, or a list of names, or an array (trials,). Each value
            becomes a stimulus of the session; trials without a value are left out. Default: the column 'condition', or, without
            one, all trials are the stimulus 'trials'.
        length: seconds of each trial that are used; shorter trials are left out. Default: those of the shortest trial of the
            condition.
        unequal: what becomes of trials of unequal length in a condition: 'cut' to the shortest, or 'pad' to the longest; the
            session knows which bins are padding, and they are in no sample, for training or readout.
        unit_ids: one integer or string per unit of a list. Default: 0, 1, 2, ...
        labels: dict of a label's name to what it is: an array (trials,), the name of a column of the trials, or, for a label
            per bin, a pair of arrays (times, values) in seconds, or pynapple's `Tsd`. Floats are numbers, and between two times
            interpolated; strings, integers and truth values are classes.
        name: str, what to call the recording in messages and tables. Default: 'session'.
        report: called with one line for each thing that is left out.
        periods: dict of the name of a label that is an angle to what a full turn is, such as 360 or 2 pi.

    Returns:
        `Session`: units in the order given, the trials of each condition in order of time, with their numbers among all of that
        condition; the smallest unsigned integers that hold the counts.

    Raises:
        DataError: something is missing or does not fit together, or times are not in seconds.
    """
    ids, trains = spike_trains(spikes, unit_ids)
    areas = unit_areas(areas, ids)
    what = "the recording" if name is None else f"recording {name}"
    check_seconds(f"{what}: spike times", trains)
    table = columns_of(trials)
    labels, periods = _mapping(labels, "labels", "its values"), _mapping(periods, "periods", "what a full turn is")
    periods = checked_periods(periods, labels)
    for said, values in {"condition": condition, **{f"labels: {label}": given for label, given in labels.items()}}.items():
        check_order(values, trials, said)
    asked = _asked_condition(condition, table)
    order = _usable(table, what, report)
    start, stop = table["start"][order], table["stop"][order]
    check_clock(what, trains, "trials", start, stop)
    _say_what_is_outside(trains, start, stop, what, report)
    names, stimuli = named_conditions(asked, order, what, report)
    bins = None if bin_width is None else _above_0(bin_width, "bin_width: expected seconds above 0, or None")
    length = None if length is None else _above_0(length, "length: expected seconds above 0")
    if unequal not in ("cut", "pad"):
        raise DataError(f"unequal: expected 'cut' or 'pad', found {unequal!r}")
    numbers, chosen, edges, lengths = {}, {}, {}, {}
    for stimulus in stimuli:
        of_it = np.flatnonzero(names == stimulus)
        used, edges[stimulus], lengths[stimulus] = _edges(
            start[of_it], stop[of_it], bins, length, unequal, f"{what}: {stimulus}", report
        )
        numbers[stimulus], chosen[stimulus] = used, order[of_it[used]]
    check_declared(what, 4 * len(ids) * sum(e.shape[0] * (e.shape[1] - 1) for e in edges.values()))
    silent = sum(not len(times) for times in trains)
    if silent:
        report(f"{what}: {silent} of {len(ids)} units have no spikes; they are kept")
    widths = np.concatenate([np.diff(e, axis=1).ravel() for e in edges.values()])
    return Session(
        name="session" if name is None else name,
        unit_ids=np.array(ids, dtype=object),
        unit_areas=areas,
        bin_width=float(np.median(widths)) if bins is None else bins,
        stimuli={stimulus: _counted(trains, edges[stimulus], lengths[stimulus]) for stimulus in stimuli},
        trials=numbers,
        lengths={name: found for name, found in lengths.items() if found.min() < found.max()},
        labels={
            label: _label(label, given, table, chosen, edges, lengths, periods.get(label), report)
            for label, given in labels.items()
        },
        periods=periods,
    )


def blocks_of_time(start, stop, length):
    """Blocks of equal length, one after the other, as the trials of a recording that has none.

    Args:
        start, stop: seconds.
        length: seconds of a block; what is left at the end is less than one.

    Returns:
        Float array (blocks, 2) of start and stop times, for `trials`.

    Raises:
        DataError: there is no room for four blocks: one for validation, one for testing, two to train on.
    """
    length = _above_0(length, "blocks: expected seconds above 0")
    count = int((stop - start) / length + SHORT)
    if count < 4:
        raise DataError(f"blocks of {length:g} s from {start:g} to {stop:g} s: expected room for at least 4, found {count}")
    check_declared(f"blocks of {length:g} s from {start:g} to {stop:g} s", 16 * (count + 1))
    edges = start + length * np.arange(count + 1)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _asked_condition(condition, table):
    """List of the columns that say what a trial's condition is, or None."""
    if condition is None:
        return [table["condition"]] if "condition" in table else None
    if isinstance(condition, str):
        return [column(table, condition)]
    names = isinstance(condition, (list, tuple)) and condition and all(isinstance(name, str) for name in condition)
    if names and (len(condition) != len(table["start"]) or set(condition) <= set(table)):
        return [column(table, name) for name in condition]
    shape, count = np.shape(np.asarray(condition, dtype=object)), len(table["start"])
    if len(shape) != 1:
        found = f"shape {shape}" if shape else repr(condition)
        raise DataError(f"condition: expected the name of a column, a list of names, or one value per trial, found {found}")
    if shape != (count,):
        raise DataError(f"condition: expected {count} values, one per trial, found {shape[0]}")
    return [condition]


def _above_0(value, expected):
    """A finite number above 0 as a float."""
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "iuf" or not 0 < float(number.reshape(())) < np.inf:
        raise DataError(f"{expected}, found {value}")
    return float(number.reshape(()))


def _mapping(given, what, values):
    if given is not None and not isinstance(given, Mapping):
        raise DataError(f"{what}: expected a dict of a label's name to {values}, found {type(given).__name__}")
    return given or {}


def _usable(table, what, report):
    """Positions of the trials that have times, in order of time."""
    start, stop = table["start"], table["stop"]
    timed = np.isfinite(start) & np.isfinite(stop)
    if not timed.all():
        report(f"{what}: {(~timed).sum()} of {len(timed)} trials have no start or stop time: left out")
    backwards = np.flatnonzero(timed & (stop <= start))
    if len(backwards):
        k = backwards[0]
        raise DataError(
            f"trials: expected each to stop after its start; trial {k} starts at {start[k]:.6g} and stops at {stop[k]:.6g} s. "
            f"If these are lengths, give start + length"
        )
    if not timed.any():
        raise DataError("trials: none has a start and a stop time")
    order = np.flatnonzero(timed)
    order = order[np.argsort(start[order], kind="stable")]
    over = start[order][1:] < stop[order][:-1] - 1e-6
    if over.any():
        report(
            f"{what}: {over.sum()} trials start before the one before them has stopped; where one is for training and the "
            f"other for testing, accuracies mean little"
        )
    return order


def _say_what_is_outside(trains, start, stop, what, report):
    first, last = min(times[0] for times in trains if len(times)), max(times[-1] for times in trains if len(times))
    outside = (stop < first) | (start > last)
    if outside.any():
        report(
            f"{what}: {outside.sum()} of {len(start)} trials lie before the first spike, at {first:.6g} s, or after the last, "
            f"at {last:.6g} s: they are kept, and empty; leave out what was not recorded"
        )


def _edges(start, stop, bin_width, length, unequal, about, report):
    """(numbers of the trials that are used, their bins' edges (trials, bins + 1), their numbers of bins) of one condition."""
    everything = np.arange(len(start))
    if bin_width is None:
        if length is not None:
            raise DataError("length: goes with a bin_width; without one every trial is one bin, from its start to its stop")
        return everything, np.stack([start, stop], axis=1), np.ones(len(start), np.int64)
    bins = np.floor((stop - start) / bin_width + SHORT).astype(np.int64)
    used = everything
    if length is None:
        shortest = (stop - start).argmin()
        if bins[shortest] < 1:
            raise DataError(
                f"{about}: its trial {shortest} from {start[shortest]:.6g} to {stop[shortest]:.6g} s is shorter than one bin "
                f"of {bin_width:g} s; choose a smaller bin_width, or a length, which leaves out what is shorter"
            )
        common = bins.max() if unequal == "pad" else bins.min()
    else:
        common = int(np.floor(length / bin_width + SHORT))
        if common < 1:
            raise DataError(f"length: expected at least one bin of {bin_width:g} s, found {length:g} s")
        used = np.flatnonzero(bins >= common)
        if len(used) == 0:
            longest = (stop - start).max()
            raise DataError(f"{about}: all {len(bins)} trials are shorter than {length:g} s; the longest has {longest:.6g}")
        if len(used) < len(bins):
            report(f"{about}: {len(bins) - len(used)} of {len(bins)} trials are shorter than {length:g} s: left out")
    check_declared(f"{about}: bins of {bin_width:g} s", 8 * len(used) * (int(common) + 1))
    _say_what_is_lost(bins[used], common, (stop - start)[used], bin_width, about, report)
    return used, start[used, None] + bin_width * np.arange(common + 1), np.minimum(bins[used], common)


def _say_what_is_lost(bins, common, spans, bin_width, about, report):
    lost, padded = int((bins - common).clip(0).sum()), int((bins < common).sum())
    last = f"{about}: trials last {spans.min():.3f} to {spans.max():.3f} s"
    if lost:
        report(
            f"{last}; all are cut to {common} bins ({common * bin_width:.3f} s), which leaves out "
            f"{100 * lost / bins.sum():.0f}% of their time"
        )
    if padded:
        report(f"{last}; {padded} of {len(bins)} are padded to {common} bins, which are in no sample")


def _counted(trains, edges, lengths):
    """Counts (trials, bins, units) of one condition; trials shorter than others are 0 at their end."""
    counted = np.zeros((len(edges), edges.shape[1] - 1, len(trains)), np.int32)
    for length in np.unique(lengths):  # the last bin of a trial holds its right edge, wherever that lies
        trials = np.flatnonzero(lengths == length)
        for unit, times in enumerate(trains):
            counted[trials, :length, unit] = count_spikes(times, edges[trials, : length + 1])
    return counted.astype(np.min_scalar_type(int(counted.max())))


def _label(label, given, table, chosen, edges, lengths, period, report):
    """A label's array for each stimulus."""
    if isinstance(given, str):
        given = column(table, given, f"labels: {label}")
    if isinstance(given, tuple) or hasattr(given, "t"):
        centres = {stimulus: (e[:, :-1] + e[:, 1:]) / 2 for stimulus, e in edges.items()}
        for stimulus, of_it in centres.items():  # padding has the value of the last bin
            last = of_it[np.arange(len(of_it)), lengths[stimulus] - 1]
            centres[stimulus] = np.minimum(of_it, last[:, None])
        return per_bin(label, given, centres, period, report)
    return per_trial(label, given, len(table["start"]), chosen)
