"""From spikes and stimulus frames to a session: quality filters, trials, invalid times, bins.

Readers of recordings fill a `Recording`; `bin_recording` makes the `Session`. A session keeps every area, also 'grey'.
"""

from dataclasses import dataclass, field

import numpy as np

from closer_tf.config import suggestion
from closer_tf.data.neuro.clock import check_clock
from closer_tf.data.neuro.sessions import Session
from closer_tf.errors import DataError

MOVIES = ("natural_movie_one", "natural_movie_three")


@dataclass(frozen=True)
class Filters:
    """Which units count; by default the Allen Institute's filters. None, or False, goes on without a filter.

    Args:
        quality: what the sorting has to say of a unit.
        amplitude_cutoff, isi_violations: the highest values that pass.
        presence_ratio: the lowest value that passes.
        valid_channel: only units whose peak channel's data are usable.
        in_brain: only units whose peak channel lies in a brain structure.
    """

    quality: str | None = "good"
    amplitude_cutoff: float | None = 0.1
    presence_ratio: float | None = 0.95
    isi_violations: float | None = 0.5
    valid_channel: bool = True
    in_brain: bool = True


FILTERS = Filters()
"""The Allen Institute's own."""


@dataclass(frozen=True, eq=False)
class Units:
    """The sorted units of a recording, one entry each.

    Args:
        ids: int array, unit ids.
        areas: str array, brain areas; '' for none.
        probe_ids: int array; probe_names: str array: the probe that recorded the unit.
        quality: str array; 'good' passes.
        amplitude_cutoff, presence_ratio, isi_violations: float arrays, the quality metrics; NaN fails.
        valid_channel: bool array, whether the peak channel's data are usable.
        in_brain: bool array, whether the peak channel lies in a brain structure.

    What filters look at may be None: a file that does not have it.
    """

    ids: np.ndarray
    areas: np.ndarray
    probe_ids: np.ndarray
    probe_names: np.ndarray
    quality: np.ndarray | None
    amplitude_cutoff: np.ndarray | None
    presence_ratio: np.ndarray | None
    isi_violations: np.ndarray | None
    valid_channel: np.ndarray | None
    in_brain: np.ndarray


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one movie in all its repeats, in any order.

    Args:
        frame: array (rows,), frame numbers from 0.
        start, stop: float arrays (rows,), seconds.
    """

    frame: np.ndarray
    start: np.ndarray
    stop: np.ndarray


@dataclass(frozen=True)
class InvalidInterval:
    """A stretch of time in which something went wrong.

    Args:
        start, stop: seconds.
        tags: tuple of str that say what: a probe's id or name, 'all_probes', 'stimulus', ...
    """

    start: float
    stop: float
    tags: tuple

    def overlaps(self, start, stop):
        """Whether the interval and [start, stop] (numbers or arrays, seconds) share a moment."""
        return np.maximum(self.start, start) <= np.minimum(self.stop, stop)


@dataclass(frozen=True, eq=False)
class Recording:
    """What a reader finds in a file.

    Args:
        name: str.
        units: `Units`.
        spike_times: mapping of unit id to float array, seconds.
        stimuli: dict of stimulus name to `Frames`.
        invalid: tuple of `InvalidInterval`.
        presentations: dict of stimulus name to its table: dict of column to array (presentations,), with `start_time` and
            `stop_time`, seconds.
    """

    name: str
    units: Units
    spike_times: dict
    stimuli: dict
    invalid: tuple = ()
    presentations: dict = field(default_factory=dict)


def bin_recording(recording, stimuli=MOVIES, bins_per_frame=1, report=print, filters=FILTERS):
    """Count spikes in the frames of each complete trial.

    An invalid interval tagged 'stimulus' or 'all_probes' costs the frames it overlaps, and so their trials; one tagged
    with a probe that overlaps a trial that is kept costs all units of that probe.

    Args:
        recording: `Recording`.
        stimuli: names of the movies, in the order of their labels.
        bins_per_frame: equal bins per frame. A frame lasts until the next one starts, the last one until its stop time.
        report: called with one line for each trial or probe that is dropped.
        filters: `Filters`.

    Returns:
        `Session`: units that pass the filters in ascending unit id, complete trials in order of time with their numbers among
        all trials, the smallest unsigned integers that hold the counts, `bin_width` the median frame's divided by
        `bins_per_frame`.

    Raises:
        DataError: a stimulus is missing or has no complete trial, no unit is left, a metric is missing, or frames and spikes
            were not timed alike.
        ValueError: `bins_per_frame` is less than 1.
    """
    if bins_per_frame < 1:
        raise ValueError(f"bins_per_frame: expected at least 1, found {bins_per_frame}")
    for name in stimuli:
        if name not in recording.stimuli:
            raise DataError(
                f"recording {recording.name}: stimulus '{name}' is missing; it has "
                f"{', '.join(sorted(recording.stimuli)) or 'none'}.{suggestion(name, recording.stimuli)}"
            )
    passing = some_pass(recording, filters)
    edges, numbers = {}, {}
    for name in stimuli:
        trials, numbers[name], dropped = find_trials(recording.stimuli[name], recording.invalid)
        for reason in dropped:
            report(f"recording {recording.name}: {name}: {reason}: trial dropped")
        if len(trials) == 0:
            raise DataError(f"recording {recording.name}: {name}: no complete trial is left; {len(dropped)} were dropped")
        edges[name] = trials
    chosen = chosen_units(recording, passing, edges, report)
    ids = recording.units.ids[chosen]
    for name, trials in edges.items():
        spikes = recording.spike_times.values()
        check_clock(f"recording {recording.name}", spikes, name, trials[:, 0], trials[:, -1], "frames")
    counts = {name: np.zeros((len(e), (e.shape[1] - 1) * bins_per_frame, len(ids)), np.int32) for name, e in edges.items()}
    fine = {name: subdivide(trials, bins_per_frame) for name, trials in edges.items()}
    for column, unit in enumerate(ids.tolist()):
        spikes = np.sort(recording.spike_times[unit])
        for name in stimuli:
            counts[name][:, :, column] = count_spikes(spikes, fine[name])
    widths = np.concatenate([np.diff(trials, axis=1).ravel() for trials in edges.values()])
    return Session(
        name=recording.name,
        unit_ids=ids,
        unit_areas=np.asarray(recording.units.areas, dtype=str)[chosen],
        bin_width=float(np.median(widths)) / bins_per_frame,
        stimuli={name: c.astype(np.min_scalar_type(int(c.max()))) for name, c in counts.items()},
        trials=numbers,
        bins_per_frame=bins_per_frame,
    )


def passing_units(units, filters=FILTERS):
    """Bool array: which `Units` pass all `Filters`.

    Raises:
        DataError: the units lack what a filter looks at.
    """
    return np.logical_and.reduce([np.ones(len(units.ids), bool), *_rules(units, filters).values()])


def some_pass(recording, filters=FILTERS):
    """As `passing_units` of a `Recording`.

    Raises:
        DataError: no unit passes, or the units lack what a filter looks at.
    """
    try:
        passing = passing_units(recording.units, filters)
    except DataError as error:
        raise DataError(f"recording {recording.name}: {error}") from None
    if not passing.any():
        raise DataError(
            f"recording {recording.name}: no unit passes the quality filters: {_filter_counts(recording.units, filters)}"
        )
    return passing


def chosen_units(recording, passing, edges, report):
    """Positions of the units to count, in ascending id: those that pass, and whose probe was valid during all trials.

    Args:
        recording: `Recording`.
        passing: bool array, from `passing_units`.
        edges: dict of stimulus to float array (trials, at least 2), whose first and last columns are starts and stops.
        report: called with a line for each probe that was invalid.

    Raises:
        DataError: none is left.
    """
    units, chosen = recording.units, np.flatnonzero(passing)
    invalid = _on_invalid_probes(recording, edges, report)[chosen]
    if invalid.all():
        raise DataError(f"recording {recording.name}: no unit is left: all probes were invalid during a trial")
    chosen = chosen[~invalid]
    return chosen[np.argsort(units.ids[chosen], kind="stable")]


def find_trials(frames, invalid=()):
    """The complete trials of a movie: frames 0 to the highest number, one after the other and without a gap in time.

    Args:
        frames: `Frames`.
        invalid: `InvalidInterval`s; those tagged 'stimulus' or 'all_probes' remove the frames they overlap.

    Returns:
        (edges, numbers, dropped): float array (trials, frames + 1), the frames' start times and the last one's stop time, in
        order of time; int array (trials,), each one's number among all trials, from 0, also those left out; and one str for
        each trial that was left out, saying why.

    Raises:
        DataError: frame numbers or times are not numbers, or the number of frames and of times differ.
    """
    frame, start, stop = _sorted_rows(frames)
    if len(frame) == 0:
        return np.empty((0, 0)), np.empty(0, int), []
    valid = np.ones(len(frame), bool)
    for interval in invalid:
        if {"stimulus", "all_probes"} & set(interval.tags):
            valid &= ~interval.overlaps(start, stop)
    num_frames = int(frame.max()) + 1  # also of frames that are not valid: a trial without them is not complete
    trials, numbers, dropped = [], [], []
    typical = np.median(np.diff(start)) if len(start) > 1 else np.inf
    borders = np.flatnonzero(np.diff(frame) <= 0) + 1
    for number, shown in enumerate(np.split(np.arange(len(frame)), borders)):
        rows = shown[valid[shown]]
        if len(rows) == 0:
            dropped.append(f"0 of {num_frames} frames from {start[shown[0]]:.2f} s on")
            continue
        edges = np.append(start[rows], stop[rows[-1]])
        gaps = start[rows[1:]] - stop[rows[:-1]]
        if len(rows) != num_frames or not np.array_equal(frame[rows], np.arange(num_frames)):
            dropped.append(f"{len(rows)} of {num_frames} frames from {edges[0]:.2f} s on")
        elif (gaps > typical / 2).any():
            dropped.append(f"a gap of {gaps.max():.3f} s between its frames from {edges[0]:.2f} s on")
        elif (np.diff(edges) <= 0).any():
            dropped.append(f"times that do not increase from {edges[0]:.2f} s on")
        else:
            trials.append(edges)
            numbers.append(number)
    return np.array(trials).reshape(len(trials), num_frames + 1), np.array(numbers, int), dropped


def subdivide(edges, parts):
    """Divide each bin into equal parts.

    Args:
        edges: array (trials, bins + 1), seconds.
        parts: int >= 1.

    Returns:
        Array (trials, bins * parts + 1).
    """
    inner = edges[:, :-1, None] + np.diff(edges, axis=1)[:, :, None] * (np.arange(parts) / parts)
    return np.concatenate([inner.reshape(len(edges), -1), edges[:, -1:]], axis=1)


def count_spikes(spikes, edges):
    """Spikes per bin, as `np.histogram` counts them: a bin holds its left edge, the last one its right edge too.

    Args:
        spikes: sorted array, seconds.
        edges: array (trials, bins + 1), seconds, increasing along each trial.

    Returns:
        Int array (trials, bins).
    """
    below = np.searchsorted(spikes, edges, side="left")
    below[:, -1] = np.searchsorted(spikes, edges[:, -1], side="right")
    return np.diff(below, axis=1)


def _rules(units, filters):
    """Text of each filter in use -> bool array."""
    rules = {
        "quality": (f"quality '{filters.quality}'", lambda values: values == filters.quality),
        "amplitude_cutoff": (
            f"amplitude_cutoff <= {filters.amplitude_cutoff}",
            lambda values: values <= filters.amplitude_cutoff,
        ),
        "presence_ratio": (f"presence_ratio >= {filters.presence_ratio}", lambda values: values >= filters.presence_ratio),
        "isi_violations": (f"isi_violations <= {filters.isi_violations}", lambda values: values <= filters.isi_violations),
        "valid_channel": ("valid channel", lambda values: values),
        "in_brain": ("in the brain", lambda values: values),
    }
    used = {name: rule for name, rule in rules.items() if getattr(filters, name) not in (None, False)}
    for name in used:
        if getattr(units, name) is None:
            raise DataError(f"the units have no '{name}', which a filter looks at; --skip {name} goes on without that filter")
    return {said: passes(getattr(units, name)) for name, (said, passes) in used.items()}


def _filter_counts(units, filters):
    kept = ", ".join(f"{name} {int(np.sum(passes))}" for name, passes in _rules(units, filters).items())
    return f"of {len(units.ids)} units, {kept} pass"


def _sorted_rows(frames):
    try:
        frame, start, stop = (np.asarray(column, dtype=np.float64) for column in (frames.frame, frames.start, frames.stop))
    except (TypeError, ValueError) as error:
        raise DataError(f"movie frames: expected numbers: {error}") from None
    if not frame.shape == start.shape == stop.shape or frame.ndim != 1:
        raise DataError(f"movie frames: {frame.shape} frame numbers, {start.shape} start and {stop.shape} stop times")
    if not (np.isfinite(frame).all() and np.isfinite(start).all() and np.isfinite(stop).all()):
        raise DataError("movie frames: frame numbers and times have to be finite")
    if (frame != np.floor(frame)).any() or (len(frame) and frame.min() < 0):
        raise DataError("movie frames: frame numbers have to be whole and count from 0")
    order = np.argsort(start, kind="stable")
    return frame[order].astype(np.int64), start[order], stop[order]


def _on_invalid_probes(recording, edges, report):
    """Bool array: which units belong to a probe that was invalid during one of the trials."""
    units = recording.units
    starts = np.concatenate([trials[:, 0] for trials in edges.values()])
    stops = np.concatenate([trials[:, -1] for trials in edges.values()])
    invalid = np.zeros(len(units.ids), bool)
    for interval in recording.invalid:
        tags = np.array(interval.tags, dtype=str)
        tagged = np.isin(units.probe_names, tags) | np.isin(np.asarray(units.probe_ids).astype(str), tags)
        if tagged.any() and interval.overlaps(starts, stops).any():
            report(
                f"recording {recording.name}: probe {units.probe_names[tagged][0]} was invalid from {interval.start:.2f} to "
                f"{interval.stop:.2f} s, during a trial: its {int(tagged.sum())} units are dropped"
            )
            invalid |= tagged
    return invalid
