"""What every data source returns, and how it is split."""

from dataclasses import dataclass

import numpy as np

from closer_tf.errors import DataError


@dataclass(frozen=True)
class Split:
    """Samples that belong together.

    Args:
        inputs: array (n, ...), raw stimuli as the source holds them.
        labels: int array (n,), indices into the label names.
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, chosen):
        return Split(self.inputs[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Source:
    """What a source knows before a validation set is split off.

    Args:
        train: `Split`, all training samples.
        test: `Split`.
        label_names: tuple of str, one per label.
        input_scale: what brings the raw inputs to [0, 1].
    """

    train: Split
    test: Split
    label_names: tuple
    input_scale: float = 1.0


@dataclass(frozen=True)
class Splits:
    """A data set, ready for training and readout.

    Args:
        name: the source's name.
        train, validation, test: `Split`s.
        label_names: tuple of str, one per label.
        input_scale: what brings the raw inputs to [0, 1].
    """

    name: str
    train: Split
    validation: Split
    test: Split
    label_names: tuple
    input_scale: float

    @property
    def input_shape(self):
        """Shape of one stimulus."""
        return self.train.inputs.shape[1:]

    @property
    def chance(self):
        """Accuracy of always guessing the test set's most frequent label."""
        return float(np.bincount(self.test.labels).max() / len(self.test))


def split_source(name, source, validation_fraction, seed):
    """Split a random validation set off a source's training samples.

    Args:
        name: the source's name.
        source: `Source`.
        validation_fraction: fraction of the training samples, in [0, 1).
        seed: int.

    Returns:
        `Splits`.
    """
    order = np.random.default_rng(seed).permutation(len(source.train))
    count = round(validation_fraction * len(order))
    validation, train = np.sort(order[:count]), np.sort(order[count:])
    return Splits(
        name, source.train[train], source.train[validation], source.test, tuple(source.label_names), source.input_scale
    )


def hold_out(split, fraction, label_names, what):
    """Take a fraction of each class away as a test set: at least one sample, the same ones every time.

    Args:
        split: `Split`, all samples.
        fraction: fraction of each class.
        label_names: str per label, for messages.
        what: what to call the source in messages.

    Returns:
        (train, test), two `Split`s.

    Raises:
        DataError: a class has fewer than two samples.
    """
    rng = np.random.default_rng(0)
    is_test = np.zeros(len(split), dtype=bool)
    for label, label_name in enumerate(label_names):
        members = np.flatnonzero(split.labels == label)
        if len(members) < 2:
            raise DataError(
                f"{what}: class '{label_name}' has {len(members)} sample(s); at least 2 are needed to hold some out for testing"
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        is_test[rng.permutation(members)[:count]] = True
    return split[~is_test], split[is_test]
