"""Recording sessions: what each unit did, per stimulus, trial, bin and unit.

A session file is one .npz file of plain arrays, written by `Session.save` or by anybody's own script:

    unit_ids            (units,) integers or strings, no two alike
    unit_areas          (units,) strings, the brain area of each unit; '', 'nan', 'unknown' and the like for none
    bin_width           one number, seconds per bin, below 10
    counts_<stimulus>   (trials, bins, units) spike counts >= 0, or what `values` says, one such array per stimulus; trials in
                        the order in which they were recorded, all of the same length, bins in time order, units in the order
                        of unit_ids
    trials_<stimulus>   optional integers (trials,) in ascending order, each trial's number among all that were shown, from 0,
                        where some were left out; trials are split by it. Default: 0, 1, 2, ...
    lengths_<stimulus>  optional integers (trials,), how many bins each trial has, where they differ; the bins after are
                        padding, all 0, and no part of any sample. Default: all
    label_<name>.<stimulus>  optional (trials,) or (trials, bins), for every stimulus: a label that comes with the session, such
                        as label_choice.movie_one. Strings, integers or truth values are classes, floats are numbers
    period_<name>       optional number for a label that is an angle: what a full turn is, such as 360
    values              optional string, what the arrays hold: 'counts' (the default) or 'rates', both >= 0, or 'z-scores' or
                        'calcium', which may be negative
    name                optional string; default: the file's name
    simulated           optional boolean, true when no animal was recorded; default: false
    bins_per_frame      optional integer, into how many bins the frames of a movie were divided

    np.savez_compressed("mouse.npz", unit_ids=ids, unit_areas=areas, bin_width=0.033,
                        counts_movie_one=one, counts_movie_two=two)

The order of the `counts_` arrays is the order of the stimuli, and so of the labels.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from closer_tf.common.files import read_npz, write_npz
from closer_tf.common.values import as_areas, as_labels, plain
from closer_tf.config import suggestion
from closer_tf.data.neuro.label_values import checked_periods
from closer_tf.errors import CloserWarning, DataError

SPIKE_TIMES = "Of spike times, Session.from_spike_times makes a session in Python: docs/neuroscientists.md"
"""What to do with files of spike times, which no command reads."""

VALUES = {"counts": True, "rates": True, "z-scores": False, "calcium": False}
"""What the arrays of a session may hold -> whether that is never negative."""

_PREFIX = "counts_"
_TRIALS = "trials_"
_LENGTHS = "lengths_"
_LABEL = "label_"
_PERIOD = "period_"
_WIDTHS = (1e-4, 10.0)  # seconds per bin: from the shortest to what is rather 10 milliseconds


@dataclass(frozen=True, eq=False, repr=False)
class Session:
    """One recording session, checked when it is made.

    Args:
        name: str, what to call it in messages and tables.
        unit_ids: int or str array (units,), no two alike.
        unit_areas: str array (units,), the brain area of each unit; '' for none. What else tables hold for none is taken too.
        bin_width: seconds per bin, from 0.0001 to below 10.
        stimuli: dict of stimulus name to spike counts (trials, bins, units), integers or floats >= 0, trials in the order
            in which they were recorded. A list of (bins, units) arrays is taken as well.
        simulated: true when no animal was recorded.
        trials: dict of stimulus name to int array (trials,), ascending: each trial's number among all that were shown.
            Default: 0, 1, 2, ...
        bins_per_frame: int, into how many bins the frames of a movie were divided; None where that is not known.
        labels: dict of a label's name to a dict of stimulus name to array (trials,) or (trials, bins): labels that come with
            the session. Strings, integers and truth values are classes, floats are numbers.
        lengths: dict of stimulus name to int array (trials,): how many bins each trial has, where they differ. The bins after
            are padding, all 0, which no sample holds. Default: all of them.
        periods: dict of the name of a label that is an angle to what a full turn is, such as 360.
        values: what `stimuli` hold, of `VALUES`; 'z-scores' and 'calcium' may be negative.

    Raises:
        DataError: something is missing, of the wrong shape or kind, negative or not finite.
    """

    name: str
    unit_ids: np.ndarray
    unit_areas: np.ndarray
    bin_width: float
    stimuli: dict
    simulated: bool = False
    trials: dict = field(default_factory=dict)
    bins_per_frame: int | None = None
    labels: dict = field(default_factory=dict)
    values: str = "counts"
    lengths: dict = field(default_factory=dict)
    periods: dict = field(default_factory=dict)

    def __post_init__(self):
        unit_ids = _ids(self.unit_ids)
        if len(unit_ids) == 0:
            raise DataError("unit_ids: no unit left in this session")
        values, times = np.unique(unit_ids, return_counts=True)
        if times.max() > 1:
            raise DataError(f"unit_ids: unit {values[times.argmax()]} occurs {times.max()} times; expected each once")
        unit_areas = as_areas(self.unit_areas, len(unit_ids), "unit_areas")
        if not self.stimuli:
            raise DataError(f"no stimulus: expected at least one array '{_PREFIX}<stimulus>' (trials, bins, units)")
        for key in ("stimuli", "trials", "lengths", "labels", "periods"):
            object.__setattr__(self, key, _named(getattr(self, key), key))
        if "" in self.stimuli:
            raise DataError("stimuli: expected a name for each, found ''")
        if not isinstance(self.values, str) or self.values not in VALUES:
            raise DataError(f"values: expected one of {', '.join(VALUES)}, found {self.values!r}")
        stimuli = {name: _checked(name, counts, len(unit_ids), self.values) for name, counts in self.stimuli.items()}
        for prefix, given in ((_TRIALS, self.trials), (_LENGTHS, self.lengths)):
            for name in given:
                if name not in stimuli:
                    raise DataError(f"{prefix}{name}: no array '{_PREFIX}{name}'; it has {', '.join(stimuli)}")
        lengths = {name: _checked_lengths(name, given, stimuli[name]) for name, given in self.lengths.items()}
        object.__setattr__(self, "lengths", lengths)
        self._warn_of_fractions(stimuli)
        trials = {name: _checked_trials(name, self.trials.get(name), len(counts)) for name, counts in stimuli.items()}
        if self.bins_per_frame is not None:
            object.__setattr__(self, "bins_per_frame", _checked_bins_per_frame(self.bins_per_frame))
        labels = {name: _checked_labels(name, given, stimuli) for name, given in self.labels.items()}
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "periods", _checked_periods(self.periods, labels))
        object.__setattr__(self, "trials", trials)
        object.__setattr__(self, "name", str(self.name))
        object.__setattr__(self, "unit_ids", unit_ids)
        object.__setattr__(self, "unit_areas", unit_areas)
        object.__setattr__(self, "bin_width", _checked_bin_width(self.bin_width))
        object.__setattr__(self, "stimuli", stimuli)
        object.__setattr__(self, "simulated", bool(self.simulated))

    def _warn_of_fractions(self, stimuli):
        with_fractions = [name for name, counts in stimuli.items() if _has_fractions(counts)] if self.values == "counts" else []
        if with_fractions:
            name = with_fractions[0]
            warnings.warn(
                f"session {self.name}: {_PREFIX}{name}: counts with fractions, taken as they are; if they are none, say so "
                f"with values={' or '.join(repr(value) for value in VALUES if value != 'counts')}",
                CloserWarning,
                stacklevel=4,
            )

    def __repr__(self):
        shapes = ", ".join(
            f"{name} {counts.shape[0]} trials of {counts.shape[1]} bins" for name, counts in self.stimuli.items()
        )
        areas = len(area_sizes(self.unit_areas))
        return f"Session({self.name!r}: {self.num_units} units in {areas} areas, bins of {self.bin_width:.4g} s, {shapes})"

    @property
    def num_units(self):
        """Number of units."""
        return len(self.unit_ids)

    def counts(self, stimulus):
        """Spike counts (trials, bins, units) of one stimulus.

        Raises:
            DataError: the session has no such stimulus.
        """
        stimulus = str(stimulus)
        if stimulus not in self.stimuli:
            raise DataError(
                f"session {self.name}: no stimulus '{stimulus}'; it has {', '.join(self.stimuli)}."
                f"{suggestion(stimulus, self.stimuli)}"
            )
        return self.stimuli[stimulus]

    def bins_of(self, stimulus):
        """How many bins each trial of a stimulus has, padding left out: int array (trials,)."""
        counts = self.counts(stimulus)
        return self.lengths.get(str(stimulus), np.full(len(counts), counts.shape[1]))

    def is_bin(self, stimulus):
        """Which bins of a stimulus are no padding: bool array (trials, bins)."""
        return np.arange(self.counts(stimulus).shape[1]) < self.bins_of(stimulus)[:, None]

    def bins(self):
        """All bins one after the other, for `CLoSeRTransformer` and other tools that take rows.

        Returns:
            (array (bins of all trials, units), int array of as many, the number of each bin's trial): stimuli in their order,
            and trials and bins in order of time.
        """
        lengths = np.concatenate([self.bins_of(name) for name in self.stimuli])
        rows = [counts[self.is_bin(name)] for name, counts in self.stimuli.items()]
        return np.concatenate(rows), np.repeat(np.arange(len(lengths)), lengths)

    def take_units(self, chosen):
        """The same session with some of its units.

        Args:
            chosen: int array, positions of the units to keep, in their new order.
        """
        stimuli = {name: counts[:, :, chosen] for name, counts in self.stimuli.items()}
        return replace(self, unit_ids=self.unit_ids[chosen], unit_areas=self.unit_areas[chosen], stimuli=stimuli)

    def save(self, path):
        """Write the session file described at the top of this module; an old one stays until the new one is complete.

        Raises:
            DataError: the file cannot be written there.
        """
        arrays = {
            "name": np.array(self.name),
            "simulated": np.array(self.simulated),
            "unit_ids": self.unit_ids,
            "unit_areas": self.unit_areas,
            "bin_width": np.array(self.bin_width),
        }
        if self.bins_per_frame is not None:
            arrays["bins_per_frame"] = np.array(self.bins_per_frame)
        arrays |= {_PREFIX + name: counts for name, counts in self.stimuli.items()}
        arrays |= {_TRIALS + name: numbers for name, numbers in self.trials.items()}
        arrays |= {_LENGTHS + name: numbers for name, numbers in self.lengths.items()}
        for label, parts in self.labels.items():
            arrays |= {f"{_LABEL}{label}.{stimulus}": array for stimulus, array in parts.items()}
        arrays |= {_PERIOD + label: np.array(period) for label, period in self.periods.items()}
        if self.values != "counts":
            arrays["values"] = np.array(self.values)
        write_npz(path, arrays)

    @classmethod
    def from_spike_times(cls, spikes, areas, trials, bin_width, **options):
        """A session of counts from spike times and trials: see `closer_tf.data.neuro.spikes.count_in_trials`."""
        from closer_tf.data.neuro.spikes import count_in_trials

        return count_in_trials(spikes, areas, trials, bin_width, **options)

    @classmethod
    def load(cls, path):
        """Read a session file.

        Raises:
            DataError: the file is absent, damaged, or not a session file.
        """
        stored = read_npz(path)
        for key in ("unit_ids", "unit_areas", "bin_width"):
            if key not in stored:
                hint = suggestion(key, stored) or f" {SPIKE_TIMES}"
                raise DataError(f"{path}: no array '{key}'; found {', '.join(stored) or 'none'}.{hint}")
        stimuli = {key.removeprefix(_PREFIX): counts for key, counts in stored.items() if key.startswith(_PREFIX)}
        try:
            return cls(
                name=str(stored.get("name", Path(path).stem)),
                unit_ids=stored["unit_ids"],
                unit_areas=stored["unit_areas"],
                bin_width=stored["bin_width"],
                stimuli=stimuli,
                simulated=bool(np.all(stored.get("simulated", False))),
                trials={key.removeprefix(_TRIALS): array for key, array in stored.items() if key.startswith(_TRIALS)},
                bins_per_frame=stored.get("bins_per_frame"),
                labels=_stored_labels(stored),
                values=str(stored.get("values", "counts")),
                lengths={key.removeprefix(_LENGTHS): array for key, array in stored.items() if key.startswith(_LENGTHS)},
                periods={key.removeprefix(_PERIOD): array for key, array in stored.items() if key.startswith(_PERIOD)},
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def area_sizes(unit_areas, exclude=()):
    """Number of units per area, most units first; areas of equal size in reverse alphabetical order.

    That order is `np.argsort(sizes of the alphabetically sorted areas)[::-1]`, on every machine.

    Args:
        unit_areas: str array (units,).
        exclude: areas to leave out. Units without an area ('') always are.

    Returns:
        dict of area to number of units.
    """
    areas, sizes = np.unique(unit_areas, return_counts=True)
    kept = ~np.isin(areas, ["", *exclude])
    areas, sizes = areas[kept], sizes[kept]
    return {str(areas[k]): int(sizes[k]) for k in np.argsort(sizes, kind="stable")[::-1]}


def _checked(stimulus, counts, num_units, values):
    """The counts of one stimulus as an array (trials, bins, units)."""
    key = _PREFIX + stimulus
    if isinstance(counts, (list, tuple)):
        trials = [_taken(key, trial) for trial in counts]
        for k, trial in enumerate(trials):
            if trial.shape != trials[0].shape:
                raise DataError(
                    f"{key}: trials of different length: trial {k} has shape {trial.shape}, trial 0 {trials[0].shape}; "
                    f"cut or drop trials so that all have the same number of bins"
                )
        counts = trials
    counts = _taken(key, counts)
    if counts.ndim != 3 or 0 in counts.shape:
        raise DataError(f"{key}: expected spike counts (trials, bins, units), found {_describe(counts)}")
    if counts.shape[2] != num_units:
        raise DataError(f"{key}: expected {num_units} units as in unit_ids, found {counts.shape[2]} in shape {counts.shape}")
    if counts.dtype.kind not in "uif":
        raise DataError(f"{key}: expected numbers, found {_describe(counts)}")
    if counts.dtype.kind == "f":
        bad = ~np.isfinite(counts).all(axis=(1, 2))
        if bad.any():
            raise DataError(
                f"{key}: trial {bad.argmax()} holds values that are not finite; a shorter trial cannot be padded, "
                f"cut or drop trials so that all have the same number of bins"
            )
    if VALUES[values] and counts.dtype.kind != "u" and counts.min() < 0:
        hint = "; for what may be negative, say values='z-scores' or 'calcium'" if counts.dtype.kind == "f" else ""
        raise DataError(f"{key}: expected spike {values} >= 0, found {counts.min()}{hint}")
    return counts


def _has_fractions(counts):
    return counts.dtype.kind == "f" and bool((counts != np.floor(counts)).any())


def _stored_labels(stored):
    """The labels of a session file: dict of name to dict of stimulus to array."""
    labels = {}
    for key, array in stored.items():
        if key.startswith(_LABEL):
            label, dot, stimulus = key.removeprefix(_LABEL).partition(".")
            if not (label and dot and stimulus):
                raise DataError(f"{key}: expected a name such as '{_LABEL}choice.movie_one': a label, a dot and a stimulus")
            labels.setdefault(label, {})[stimulus] = array
    return labels


def _named(given, key):
    """A mapping with its names as strings: tables name stimuli by numbers."""
    if not isinstance(given, Mapping):
        raise DataError(f"{key}: expected a dict, with a name for each, found {type(given).__name__}")
    named = {str(name): value for name, value in given.items()}
    if len(named) < len(given):
        twice = next(name for name in named if sum(str(other) == name for other in given) > 1)
        raise DataError(f"{key}: '{twice}' is there twice, as a number and as text")
    return named


def _checked_labels(label, given, stimuli):
    """One label's arrays, of one kind for all stimuli: int64, str or float64."""
    key = f"{_LABEL}{label}"
    if not label or "." in label:
        raise DataError(f"{key}: expected a name without a dot")
    given = _named(given, key)
    if set(given) != set(stimuli):
        found = ", ".join(given)
        raise DataError(f"{key}: expected one array for each of the stimuli {', '.join(stimuli)}, found {found or 'none'}")
    arrays = {}
    for stimulus, counts in stimuli.items():
        what = f"{key}.{stimulus}"
        array = _taken(what, given[stimulus])
        if array.shape not in (counts.shape[:1], counts.shape[:2]):
            raise DataError(
                f"{what}: expected one label per trial, shape {counts.shape[:1]}, or per bin, {counts.shape[:2]}, found "
                f"{_describe(array)}"
            )
        if array.dtype.kind == "f":
            if not np.isfinite(array).all():
                trial = np.argwhere(~np.isfinite(array))[0][0]
                raise DataError(f"{what}: trial {trial} has a label that is not finite; leave out trials without one")
            arrays[stimulus] = array.astype(np.float64)
        else:
            arrays[stimulus] = as_labels(array.ravel(), what).reshape(array.shape)
    if len({array.dtype.kind for array in arrays.values()}) > 1:
        raise DataError(
            f"{key}: expected one kind of label for all stimuli, found "
            + ", ".join(f"{array.dtype} for {stimulus}" for stimulus, array in arrays.items())
        )
    return arrays


def _checked_periods(periods, labels):
    found = checked_periods(periods, labels)
    for label in found:
        if next(iter(labels[label].values())).dtype.kind == "U":
            raise DataError(f"periods: label '{label}' holds text, which is no angle")
    return found


def _ids(values):
    """The units' ids as an int64 or str array (units,)."""
    try:
        return as_labels(values)
    except DataError as error:
        message = (
            str(error).removeprefix("labels: ").replace("the label at", "the id at").replace("label per sample", "per unit")
        )
        raise DataError(f"unit_ids: expected one integer or string per unit: {message}") from None


def _checked_bin_width(width):
    width = np.asarray(width)
    if width.size != 1 or width.dtype.kind not in "iuf" or not 0 < float(width.reshape(())) < np.inf:
        raise DataError(f"bin_width: expected one number of seconds above 0, found {width}")
    seconds = float(width.reshape(()))
    if not _WIDTHS[0] <= seconds < _WIDTHS[1]:
        guess = f"; if these are milliseconds, give {seconds / 1000:g}" if seconds >= _WIDTHS[1] else ""
        raise DataError(f"bin_width: expected seconds, from {_WIDTHS[0]:g} to below {_WIDTHS[1]:g}, found {seconds:g}{guess}")
    return seconds


def _integers(values, expected):
    """Integers as other programs hand them over, as an int64 array (n,)."""
    try:
        integers = as_labels(values)
    except DataError as error:
        raise DataError(f"{expected}: {str(error).removeprefix('labels: ')}") from None
    if integers.dtype.kind == "U":
        raise DataError(f"{expected}, found {_describe(integers)}")
    return integers


def _checked_trials(stimulus, numbers, count):
    """The trials' numbers of one stimulus as an int array (trials,)."""
    if numbers is None:
        return np.arange(count)
    numbers = _integers(numbers, f"{_TRIALS}{stimulus}: expected {count} integers, one per trial")
    if numbers.shape != (count,):
        raise DataError(f"{_TRIALS}{stimulus}: expected {count} integers, one per trial, found {_describe(numbers)}")
    if numbers[0] < 0 or (np.diff(numbers) <= 0).any():
        raise DataError(f"{_TRIALS}{stimulus}: expected numbers >= 0 in ascending order, found {numbers.tolist()}")
    return numbers


def _checked_lengths(stimulus, lengths, counts):
    """How many bins each trial of a stimulus has, as an int array (trials,)."""
    what = f"{_LENGTHS}{stimulus}"
    lengths = _integers(lengths, f"{what}: expected {len(counts)} integers, one per trial")
    if lengths.shape != (len(counts),) or lengths.min() < 1 or lengths.max() > counts.shape[1]:
        raise DataError(f"{what}: expected {len(counts)} integers from 1 to {counts.shape[1]}, found {lengths.tolist()}")
    padding = np.arange(counts.shape[1]) >= lengths[:, None]
    if counts[padding].any():
        trial = (counts.any(axis=2) & padding).any(axis=1).argmax()
        raise DataError(f"{what}: trial {trial} has {lengths[trial]} bins, but counts in the padding after them")
    return lengths


def _checked_bins_per_frame(number):
    number = np.asarray(number)
    if number.size != 1 or number.dtype.kind not in "iu" or number.reshape(()) < 1:
        raise DataError(f"bins_per_frame: expected one integer of at least 1, found {_describe(number)}")
    return int(number.reshape(()))


def _taken(key, values):
    """What a user gave as a plain array."""
    try:
        return plain(np.asarray(values))
    except DataError as error:
        raise DataError(f"{key}: {error}") from None


def _describe(array):
    return f"shape {array.shape} of {array.dtype}"
