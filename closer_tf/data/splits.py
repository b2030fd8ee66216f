"""What every data source returns, and how it is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from closer_tf.common.values import as_areas, as_labels, check_settings, plain
from closer_tf.data.fingerprint import identity_of
from closer_tf.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples that belong together.

    Args:
        inputs: array (n, ...), raw stimuli as the source holds them.
        labels: array (n,): int indices into the label names, held as int32, float numbers, or -1 where there are none.
        about: dict of further arrays (n,), such as the trial and frame of each sample.
    """

    inputs: np.ndarray
    labels: np.ndarray
    about: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        if np.asarray(self.labels).dtype.kind in "iu":  # JAX has no 64-bit integers unless told to, and warns of them
            object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, chosen: slice | np.ndarray) -> Split:
        return Split(self.inputs[chosen], self.labels[chosen], {key: values[chosen] for key, values in self.about.items()})


@dataclass(frozen=True, eq=False)
class Source:
    """What a source knows.

    Args:
        train: `Split`, all training samples, or those besides a validation set of the source's own.
        test: `Split`.
        label_names: tuple of str, one per label; empty where labels are numbers or there are none.
        input_scale: what brings the raw inputs to the range that encoders are made for.
        validation: `Split`, the source's own validation set. Default: one is drawn from the training samples.
        windowed: inputs are windows of consecutive bins, (n, bins, ...), the current one last.
        unit_areas: tuple of str, the brain area of each input unit; empty for images.
        simulated: no animal was recorded.
        labelled: false where there are no labels.
        stimuli: tuple of str, the names that `about["stimulus"]` of the splits counts; empty for images.
        bin_width: seconds per bin of a recording.
        white_level: the stored value that became white in grey images of more than 8 bits; None where there are none.
        period: where labels are angles, after how much they come full circle.
    """

    train: Split
    test: Split
    label_names: tuple[str, ...]
    input_scale: float = 1.0
    validation: Split | None = None
    windowed: bool = False
    unit_areas: tuple[str, ...] = ()
    simulated: bool = False
    labelled: bool = True
    stimuli: tuple[str, ...] = ()
    bin_width: float | None = None
    white_level: float | None = None
    period: float | None = None


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set, ready for training and readout.

    Args:
        name: the source's name.
        train, validation, test: `Split`s.
        label_names: tuple of str, one per label; empty where labels are numbers or there are none.
        input_scale: what brings the raw inputs to the range that encoders are made for.
        fixed_validation: the validation set is the source's own, and the readout's too.
        windowed: inputs are windows of consecutive bins, (n, bins, ...), the current one last.
        unit_areas: tuple of str, the brain area of each input unit; empty for images.
        simulated: no animal was recorded.
        labelled: false where there are no labels.
        identity: the content's fingerprint and what it is of (`closer_tf.data.fingerprint`); None for data made by hand.
        stimuli: tuple of str, the names that `about["stimulus"]` of the splits counts; empty for images.
        bin_width: seconds per bin of a recording.
        sequences: each stimulus is a window of consecutive bins, (bins, units), for recurrent encoders; `windowed` is false.
        period: where labels are angles, after how much they come full circle.

    Raises:
        DataError: labels and stimuli do not match, or a label has no name.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    label_names: tuple[str, ...]
    input_scale: float = 1.0
    fixed_validation: bool = False
    windowed: bool = False
    unit_areas: tuple[str, ...] = ()
    simulated: bool = False
    labelled: bool = True
    identity: dict[str, Any] | None = None
    stimuli: tuple[str, ...] = ()
    bin_width: float | None = None
    sequences: bool = False
    period: float | None = None

    def __post_init__(self):
        for part in ("train", "validation", "test"):
            object.__setattr__(self, part, _plain(getattr(self, part), self.label_names, f"{self.name}: {part}"))
        if len(self.unit_areas):
            areas = as_areas(self.unit_areas, self.input_shape[-1], f"{self.name}: unit_areas")
            object.__setattr__(self, "unit_areas", tuple(areas.tolist()))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one stimulus."""
        return self.train.inputs.shape[2 if self.windowed else 1 :]

    @property
    def chance(self) -> float:
        """Accuracy of always guessing the test set's most frequent label; 0 (as R^2) where labels are numbers."""
        return float(np.bincount(self.test.labels).max() / len(self.test)) if self.label_names else 0.0

    def current(self) -> Splits:
        """The same data as single stimuli, without what came before: of every window the current bin alone. Where windows are
        the stimuli (`sequences`), it is the data itself."""
        return self._with_inputs(lambda windows: windows[:, -1], windowed=False) if self.windowed else self

    def recent(self, bins: int) -> Splits:
        """The same data with the last so many bins of every window."""
        return self._with_inputs(lambda windows: windows[:, -bins:]) if self.windowed else self

    def as_sequences(self) -> Splits:
        """The same data with every window as one stimulus."""
        return replace(self, windowed=False, sequences=True) if self.windowed else self

    def now(self, split: Split) -> np.ndarray:
        """What is shown at the moment of each sample of a split of this data: images, or the counts (n, units) of the current
        bin."""
        return split.inputs[:, -1] if self.windowed or self.sequences else split.inputs

    def _with_inputs(self, change, **others):
        splits = {name: getattr(self, name) for name in ("train", "validation", "test")}
        return replace(self, **others, **{k: replace(split, inputs=change(split.inputs)) for k, split in splits.items()})


def _plain(split, label_names, what):
    """A `Split` in types that TensorFlow takes, whose labels are indices into their names."""
    inputs, labels = plain(np.asarray(split.inputs)), plain(np.asarray(split.labels))
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{what}: expected stimuli that are numbers, found {inputs.dtype}")
    if label_names:
        labels = as_labels(split.labels, f"{what}: labels")
        if labels.dtype.kind == "U":
            raise DataError(f"{what}: expected labels that are indices into label_names, found '{labels[0]}'")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(label_names):
            found = f"labels from {labels.min()} to {labels.max()}"
            raise DataError(f"{what}: expected labels from 0 to {len(label_names) - 1}, as in label_names, found {found}")
    if labels.shape != (len(inputs),):
        raise DataError(f"{what}: expected one label for each of the {len(inputs)} stimuli, found shape {labels.shape}")
    return Split(inputs, labels, split.about)


def split_source(name: str, source: Source, validation_fraction: float, seed: int) -> Splits:
    """Split a random validation set off a source's training samples, unless the source has its own.

    Args:
        name: the source's name.
        source: `Source`.
        validation_fraction: fraction of the training samples, in [0, 1).
        seed: int.

    Returns:
        `Splits`.

    Raises:
        ValueError: the fraction is out of its bounds.
    """
    check_settings(validation_fraction=validation_fraction)
    train, validation = _numbered(source.train), source.validation and _numbered(source.validation)
    if validation is None:
        order = np.random.default_rng(seed).permutation(len(source.train))
        count = held_out(len(order), validation_fraction)
        train, validation = train[np.sort(order[count:])], train[np.sort(order[:count])]
    return Splits(
        name,
        train,
        validation,
        _numbered(source.test),
        tuple(source.label_names),
        source.input_scale,
        source.validation is not None,
        source.windowed,
        tuple(source.unit_areas),
        source.simulated,
        source.labelled,
        identity_of(source),
        tuple(source.stimuli),
        source.bin_width,
        period=source.period,
    )


def held_out(samples: int, fraction: float) -> int:
    """How many of so many training samples a validation set drawn from them takes."""
    return round(fraction * samples)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches in one epoch of so many training samples, the last partial one counted."""
    return -(-samples // batch_size)


def _numbered(split):
    """The same samples with their `position` in what the source read, unless they have one."""
    return split if "position" in split.about else replace(split, about=split.about | {"position": np.arange(len(split))})


def without_labels(source: Source) -> Source:
    """The same `Source` as one that knows no labels: -1 for every sample."""
    splits = {name: getattr(source, name) for name in ("train", "validation", "test")}
    splits = {name: replace(split, labels=np.full(len(split), -1)) for name, split in splits.items() if split is not None}
    return replace(source, **splits, label_names=(), labelled=False)


def hold_out(split: Split, fraction: float, label_names: Sequence[str], what: str) -> tuple[Split, Split]:
    """Take a fraction of each class away as a test set: at least one sample, the same ones every time.

    Args:
        split: `Split`, all samples.
        fraction: fraction of each class.
        label_names: str per label, for messages.
        what: what to call the source in messages.

    Returns:
        (train, test), two `Split`s.

    Raises:
        DataError: a class has but one sample.
        ValueError: the fraction is out of its bounds.
    """
    check_settings(test_fraction=fraction)
    split, rng = _numbered(split), np.random.default_rng(0)
    is_test = np.zeros(len(split), dtype=bool)
    for label, label_name in enumerate(label_names):
        members = np.flatnonzero(split.labels == label)
        if len(members) == 0:  # named, but not in this data
            continue
        if len(members) < 2:
            raise DataError(
                f"{what}: class '{label_name}' has {len(members)} sample(s); at least 2 are needed to hold some out for testing"
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        is_test[rng.permutation(members)[:count]] = True
    return split[~is_test], split[is_test]
