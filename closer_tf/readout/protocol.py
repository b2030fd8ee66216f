"""How a run is read out: the probe's settings, and which samples it is fitted, chosen and judged on."""

import numpy as np

from closer_tf.config import PROBE_ITERATIONS


def protocol(config):
    """How a config's run is read out, as the dict that results.json holds."""
    options = config.readout
    angle = getattr(config.dataset, "period", None) is not None
    by_number = angle or getattr(config.dataset, "label", None) == "time" or getattr(config.dataset, "regress", False)
    ridge = "ridge regression on z-scored features, judged by R^2" + " of sine and cosine together" * angle
    logistic = "multinomial logistic regression, L2, L-BFGS from a cold start, on z-scored features"
    if options.protocol == "converged":
        logistic += ", to its optimum"
    return {
        "name": options.protocol,
        "probe": ridge if by_number else logistic,
        "C": list(options.C),
        "max_iter": options.max_iter or PROBE_ITERATIONS[options.protocol],
        "validation_fraction": options.validation_fraction,
        "knn_neighbours": options.knn_neighbours,
        "seed": config.seeds.readout,
    }


def probe_splits(config, data):
    """Positions of the probe's training and validation samples among training plus validation samples."""
    if data.fixed_validation:
        return np.arange(len(data.train)), len(data.train) + np.arange(len(data.validation))
    count = len(data.train) + len(data.validation)
    order = np.random.default_rng(config.seeds.readout).permutation(count)
    held_out = max(1, round(config.readout.validation_fraction * count))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def sample_counts(config, data):
    """Numbers of the probe's samples: dict `train`, `validation`, `test` of int."""
    train, validation = probe_splits(config, data)
    return {"train": len(train), "validation": len(validation), "test": len(data.test)}


def arranged(config, data, of_split):
    """What `of_split` gives for every `Split`, as the dict `train`, `validation`, `test` of the probe."""
    train, validation = probe_splits(config, data)
    pooled = np.concatenate([of_split(split) for split in (data.train, data.validation) if len(split)])
    return {"train": pooled[train], "validation": pooled[validation], "test": of_split(data.test)}
