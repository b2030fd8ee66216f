"""Stimuli that were shown one by one, each as a trial of one bin: flashes, Gabors, gratings, natural scenes."""

import numpy as np

from closer_tf.config import suggestion
from closer_tf.data.neuro.binning import FILTERS, chosen_units, some_pass
from closer_tf.data.neuro.conditions import named_conditions
from closer_tf.data.neuro.handed_over import column
from closer_tf.data.neuro.label_values import per_trial
from closer_tf.data.neuro.sessions import Session
from closer_tf.data.neuro.spikes import count_in_trials
from closer_tf.errors import DataError


def bin_presentations(recording, stimulus, condition=None, filters=FILTERS, report=print):
    """Count the spikes of each presentation of a stimulus, from its start to its stop.

    An invalid interval tagged 'stimulus' or 'all_probes' costs the presentations that it overlaps; one tagged with a probe that
    overlaps a presentation costs all units of that probe.

    Args:
        recording: `Recording` with `presentations`.
        stimulus: name of the stimulus, such as 'gabors'.
        condition: list of the columns that tell presentations apart, such as ['x_position', 'y_position']; presentations
            without a value are left out. Natural scenes have blanks as frame -1. Default: none; all are alike.
        filters: `Filters`.
        report: called with one line for each thing that is left out.

    Returns:
        `Session` with a stimulus for each value of `condition`, in trials of one bin; units in ascending id.

    Raises:
        DataError: there is no such stimulus or column, or no unit is left.
    """
    about = f"recording {recording.name}"
    if stimulus not in recording.presentations:
        known = recording.presentations
        raise DataError(
            f"{about}: no presentations of '{stimulus}'; it has {', '.join(sorted(known)) or 'none'}."
            f"{suggestion(stimulus, known)}"
        )
    table = recording.presentations[stimulus]
    start, stop = (np.asarray(column(table, name), dtype=np.float64) for name in ("start_time", "stop_time"))
    valid = np.isfinite(start) & np.isfinite(stop)
    for interval in recording.invalid:
        if {"stimulus", "all_probes"} & set(interval.tags):
            valid &= ~interval.overlaps(start, stop)
    if not valid.all():
        report(f"{about}: {stimulus}: {(~valid).sum()} of {len(valid)} presentations were invalid: left out")
    if not valid.any():
        raise DataError(f"{about}: {stimulus}: no valid presentation is left")
    passing = some_pass(recording, filters)
    chosen = chosen_units(recording, passing, {stimulus: np.stack([start, stop], axis=1)[valid]}, report)
    ids = recording.units.ids[chosen]
    return count_in_trials(
        [recording.spike_times[unit] for unit in ids.tolist()],
        np.asarray(recording.units.areas, dtype=str)[chosen],
        {name: np.asarray(values)[valid] for name, values in table.items()},
        None,
        condition=list(condition) if condition else np.full(int(valid.sum()), stimulus),
        unit_ids=ids,
        name=recording.name,
        report=report,
    )


def of_counts(counts, conditions, unit_ids, areas, bin_width, labels=None, name="session", report=print):
    """A session of presentations whose spikes are counted already, such as a file with Gabor patches.

    Args:
        counts: array (presentations, units), in order of time.
        conditions: list of arrays (presentations,), which tell presentations apart.
        unit_ids: one integer or string per unit.
        areas: the brain area of each unit.
        bin_width: seconds of a presentation.
        labels: dict of a label's name to array (presentations,), which come along.
        name: str.
        report: called with a line where presentations have no condition.

    Returns:
        `Session` with a stimulus for each condition, in trials of one bin.

    Raises:
        DataError: lengths do not match, or as `Session`.
    """
    counts = np.asarray(counts)
    for values in conditions:
        if counts.ndim != 2 or len(values) != len(counts):
            raise DataError(
                f"counts: expected (presentations, units) and one condition for each of {len(values)} presentations, found "
                f"shape {counts.shape}"
            )
    names, stimuli = named_conditions(conditions, np.arange(len(counts)), f"recording {name}", report)
    chosen = {stimulus: np.flatnonzero(names == stimulus) for stimulus in stimuli}
    return Session(
        name=name,
        unit_ids=unit_ids,
        unit_areas=areas,
        bin_width=bin_width,
        stimuli={stimulus: counts[of_it][:, None] for stimulus, of_it in chosen.items()},
        labels={label: per_trial(label, values, len(counts), chosen) for label, values in (labels or {}).items()},
    )
