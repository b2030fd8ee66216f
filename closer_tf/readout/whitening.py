"""Whitened features for a probe: directions of little variance weigh as much as those of large variance.

The covariance is that of the probe's training samples with the shrinkage of Ledoit and Wolf, which keeps directions that hold
nothing but rounding or too few samples' noise from being blown up.

Reference: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
Analysis 88 (2004).
"""

import numpy as np
from scipy.linalg import eigh

from closer_tf.readout.probes import standardise

SAYS = (
    "z-scored features times the inverse root of their covariance, of the probe's training samples with Ledoit-Wolf shrinkage"
)


def whitened(features):
    """Z-score features and multiply them by the symmetric inverse root of their covariance.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d); `train` alone says how.

    Returns:
        dict of float64 arrays with the same keys. Features that are constant over the training samples are 0.
    """
    from sklearn.covariance import ledoit_wolf

    scaled = standardise(features)
    varies = scaled["train"].any(axis=0)
    if not varies.any():
        return scaled
    covariance, _ = ledoit_wolf(scaled["train"][:, varies], assume_centered=True)
    values, basis = eigh(covariance, overwrite_a=True)
    keep = values > len(values) * np.finfo(float).eps * values[-1]  # without shrinkage there may be empty directions
    root = (basis[:, keep] / np.sqrt(values[keep])) @ basis[:, keep].T
    found = {key: np.zeros_like(array) for key, array in scaled.items()}
    for key, array in scaled.items():
        found[key][:, varies] = array[:, varies] @ root
    return found
