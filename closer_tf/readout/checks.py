"""What of a readout its data shows to be impossible: said before a training, not after it."""

import warnings

import numpy as np

from closer_tf.errors import CloserWarning, ConfigError


def check_readout(config, data):
    """Refuse settings of `readout` that cannot be carried out on the data; warn of classes that the probe cannot learn.

    Args:
        config: resolved `RunConfig`.
        data: `Splits`. Without labels there is no readout, and nothing to check.

    Raises:
        ConfigError: the probe would have too few samples or classes, or more neighbours are asked for than there are samples.
    """
    from closer_tf.readout.protocol import probe_splits

    if not data.labelled:
        return
    train, validation = probe_splits(config, data)
    labels = np.concatenate([data.train.labels, data.validation.labels])[train]
    _check_neighbours(config.readout.knn_neighbours, len(train), data)
    if not data.label_names:
        _check_numbers(getattr(config.dataset, "label", "time"), len(train), len(validation), len(data.test))
        return
    fraction = config.readout.validation_fraction
    learned = np.unique(labels)
    if len(learned) < 2:
        found = f"class '{data.label_names[learned[0]]}' alone" if len(learned) else "none"
        raise ConfigError(
            f"readout.validation_fraction: {fraction:g} leaves the probe {len(train)} of {len(train) + len(validation)} "
            f"training samples, {found}; expected two classes at least. Choose a smaller one, or give more data"
        )
    absent = sorted({*np.unique(data.test.labels).tolist(), *np.unique(data.train.labels).tolist()} - {*learned.tolist()})
    if absent:
        names = ", ".join(f"'{data.label_names[k]}'" for k in absent[:5]) + " ..." * (len(absent) > 5)
        warnings.warn(
            f"readout: the probe's training samples hold none of {names}: test samples of these count as wrong",
            CloserWarning,
            stacklevel=2,
        )


def _check_neighbours(neighbours, samples, data):
    if neighbours is None:
        return
    if not data.label_names:
        raise ConfigError("readout.knn_neighbours: neighbours vote for classes, and dataset.label is a number; expected null")
    if neighbours > samples:
        raise ConfigError(
            f"readout.knn_neighbours: expected at most the probe's {samples} training samples, found {neighbours}; "
            f"choose fewer, such as --set readout.knn_neighbours={min(20, samples)}"
        )


def _check_numbers(label, train, validation, test):
    for name, count in (("training", train), ("validation", validation), ("test", test)):
        if count < 2:
            raise ConfigError(
                f"dataset.label: '{label}' is judged by R^2, for which {count} {name} sample is too few; expected 2. Give "
                f"longer trials, or set dataset.full_range=true"
            )
