"""Labels that come with a recording: one value per trial, or a signal in time that is looked at in every bin."""

import numpy as np

from closer_tf.common.values import plain
from closer_tf.config import suggestion
from closer_tf.data.neuro.handed_over import in_seconds
from closer_tf.errors import DataError

GAP = 10
"""Median steps of a signal, or one bin where that is longer, beyond which two values are far apart."""


def per_trial(label, values, count, chosen):
    """A label of which there is one value per trial.

    Args:
        label: its name, for messages.
        values: array (count,), for all trials that there are.
        count: number of these trials.
        chosen: dict of stimulus to int array, the positions of its trials among them.

    Returns:
        dict of stimulus to array (trials,).

    Raises:
        DataError: there is not one value per trial.
    """
    values = plain(np.asarray(values))
    if values.shape != (count,):
        raise DataError(f"labels: {label}: expected {count} values, one per trial, found shape {values.shape}")
    return {stimulus: values[positions] for stimulus, positions in chosen.items()}


def per_bin(label, signal, centres, period=None, report=print):
    """A label that is a signal in time, at the centre of every bin.

    Args:
        label: its name, for messages.
        signal: pair (times, values) of arrays (n,), seconds and numbers, strings, ...; or pynapple's `Tsd`. Floats are
            interpolated linearly, of anything else the nearest value is taken.
        centres: dict of stimulus to float array (trials, bins), seconds.
        period: values are angles, which come full circle after so much: between two they go the shorter way round.
        report: called with a line where bins lie in gaps between values.

    Returns:
        dict of stimulus to array (trials, bins); angles from 0 to below the period.

    Raises:
        DataError: times and values do not match, or the signal does not reach over all bins.
    """
    pair = (signal.t, signal.d) if hasattr(signal, "t") else signal
    if len(pair) != 2:
        raise DataError(f"labels: {label}: expected a pair of arrays, times and values, found {len(pair)}")
    times, values = np.asarray(in_seconds(pair[0])), plain(np.asarray(pair[1]))
    if times.dtype.kind not in "iuf":
        raise DataError(f"labels: {label}: expected times in seconds, found {times.dtype}")
    times = times.astype(np.float64)
    if times.ndim != 1 or times.shape != values.shape or len(times) < 2:
        raise DataError(
            f"labels: {label}: expected a pair of equally long arrays, times and values, found shapes {times.shape} and "
            f"{values.shape}"
        )
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    known = np.isfinite(times) & (np.isfinite(values) if values.dtype.kind == "f" else True)
    times, values = times[known], values[known]
    apart = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    first, last = min(c.min() for c in centres.values()), max(c.max() for c in centres.values())
    if not len(times) or first < times[0] - apart or last > times[-1] + apart:
        reach = f"from {times[0]:.6g} to {times[-1]:.6g} s" if len(times) else "nowhere"
        raise DataError(
            f"labels: {label}: expected values from {first:.6g} to {last:.6g} s, where the bins lie, found some {reach}; leave "
            f"out trials outside"
        )
    _say_what_is_between(label, times, apart, centres, values.dtype.kind == "f", report)
    if values.dtype.kind == "f" and period is not None:
        turned = np.unwrap(values, period=period)
        return {stimulus: np.interp(c, times, turned) % period for stimulus, c in centres.items()}
    if values.dtype.kind == "f":
        return {stimulus: np.interp(c, times, values) for stimulus, c in centres.items()}
    middles = (times[:-1] + times[1:]) / 2
    return {stimulus: values[np.searchsorted(middles, c)] for stimulus, c in centres.items()}


def _say_what_is_between(label, times, apart, centres, interpolated, report):
    """Bins in gaps of many steps of a signal, where tracking was lost or nothing was written, have made-up values."""
    bins = np.concatenate([c.ravel() for c in centres.values()])
    width = max((float(np.diff(c, axis=1).max()) for c in centres.values() if c.shape[1] > 1), default=0.0)
    most = max(GAP * apart, width)
    after = np.clip(np.searchsorted(times, bins), 1, len(times) - 1)
    gaps = times[after] - times[after - 1]
    wide = (gaps > most) & (np.minimum(bins - times[after - 1], times[after] - bins) > apart)
    if wide.any():
        worst = after[np.argmax(np.where(wide, gaps, 0))]
        report(
            f"labels: {label}: {wide.sum()} of {len(bins)} bins lie where the signal has gaps of more than {most:.3g} s, the "
            f"longest from {times[worst - 1]:.6g} to {times[worst]:.6g} s: "
            f"{'interpolated' if interpolated else 'the nearest value is taken'}; leave out trials there if it was lost"
        )


def circular(name, values, period):
    """A circular label, such as a direction, as two that are numbers: its sine and its cosine. As one label, it is an angle
    with a period (`periods` of `Session.from_spike_times`, or `dataset.period`).

    Args:
        name: the label's name.
        values: array of numbers, or a pair (times, values).
        period: what a full turn is, such as 360.

    Returns:
        dict `<name>_sin`, `<name>_cos`, for the `labels` of `Session.from_spike_times`.

    Raises:
        DataError: they are no numbers, or the period is not above 0.
    """
    times, turns = values if isinstance(values, tuple) else (None, values)
    turns = np.asarray(turns)
    if turns.dtype.kind not in "iuf":
        raise DataError(f"labels: {name}: expected angles, which are numbers, found {turns.dtype}")
    angle = 2 * np.pi * turns.astype(np.float64) / checked_periods({name: period}, [name])[name]
    parts = {f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}
    return {key: (times, part) for key, part in parts.items()} if times is not None else parts


def checked_periods(periods, labels):
    """Which labels are angles.

    Args:
        periods: dict of label to what a full turn is.
        labels: the labels that there are: names, or a dict of name to anything.

    Returns:
        dict of str to float.

    Raises:
        DataError: there is no such label, or a period is no number above 0.
    """
    found = {}
    for label, period in periods.items():
        if label not in labels:
            raise DataError(f"periods: no label '{label}'; labels: {', '.join(labels) or 'none'}.{suggestion(label, labels)}")
        value = np.asarray(period)
        if value.size != 1 or value.dtype.kind not in "iuf" or not 0 < float(value.reshape(())) < np.inf:
            raise DataError(f"periods: {label}: expected one number above 0, such as 360 for degrees, found {period!r}")
        found[str(label)] = float(value.reshape(()))
    return found
