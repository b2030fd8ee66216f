"""The readout: a linear probe on embeddings (paper: "Training a linear classifier in the vision task")."""

import warnings
from dataclasses import dataclass

import numpy as np

from closer_tf.config import PUBLISHED_C_GRID


@dataclass(frozen=True)
class ProbeResult:
    """What one probe found.

    Args:
        C: the inverse penalty with the best validation accuracy; 0 stands for no penalty.
        validation, test: accuracies, fractions, of the probe fitted with that C.
        iterations: its L-BFGS iterations.
        converged: whether it stopped by itself rather than at `max_iter`.
        fits: one dict (C, validation, iterations, converged) per value of C tried.
    """

    C: float
    validation: float
    test: float
    iterations: int
    converged: bool
    fits: tuple


def linear_probe(features, labels, C=PUBLISHED_C_GRID, max_iter=100):
    """Read labels out of features by multinomial logistic regression.

    Features are z-scored with the training samples' mean and standard deviation (ddof 1; constant features become 0). One
    fit per value of C; the best validation accuracy chooses, ties go to the first.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d).
        labels: dict of int arrays (n,), same keys.
        C: inverse L2 penalties of scikit-learn's LogisticRegression; 0 stands for no penalty.
        max_iter: most L-BFGS iterations per fit, from a cold start.

    Returns:
        `ProbeResult`.
    """
    return probe_all({"probe": features}, labels, C, max_iter)["probe"]


def probe_all(features_by_name, labels, C=PUBLISHED_C_GRID, max_iter=100, progress=None):
    """One probe per set of features, all fits spread over the machine's cores.

    Args:
        features_by_name: dict name -> features as in `linear_probe`.
        labels: dict `train`, `validation`, `test` of int arrays.
        C, max_iter: as in `linear_probe`.
        progress: function called with nothing after each fit. Default: none.

    Returns:
        dict name -> `ProbeResult`.
    """
    import joblib
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    scaled = {name: standardise(features) for name, features in features_by_name.items()}
    # The widest features take longest: start them first, so that no core idles at the end.
    jobs = [(name, c) for name in sorted(scaled, key=lambda key: -scaled[key]["train"].shape[1]) for c in C]
    run_jobs = joblib.Parallel(n_jobs=joblib.cpu_count(), backend="threading", return_as="generator")
    fits = {name: {} for name in features_by_name}
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # every fit reports whether it converged
        outcomes = run_jobs(joblib.delayed(_fit)(scaled[name], labels, c, max_iter) for name, c in jobs)
        for (name, c), outcome in zip(jobs, outcomes):
            fits[name][c] = outcome
            if progress is not None:
                progress()
    return {name: _choose([by_c[c] for c in C]) for name, by_c in fits.items()}


def standardise(features):
    """Z-score features with the mean and standard deviation (ddof 1) of the training samples.

    Args:
        features: dict with key `train` of float arrays (n, d).

    Returns:
        dict of float32 arrays with the same keys. Features that are constant over the training samples are 0.
    """
    mean, sd = _moments(features["train"])
    constant = sd == 0
    scale = np.where(constant, 0, 1 / np.where(constant, 1, sd)).astype(np.float32)
    scaled = {}
    for key, values in features.items():
        scaled[key] = np.subtract(values, mean, dtype=np.float32)
        scaled[key] *= scale
    return scaled


def _moments(values, columns_at_once=256):
    """Mean and standard deviation of each column in float64, a few columns at a time to save memory."""
    mean, sd = np.empty(values.shape[1]), np.empty(values.shape[1])
    for start in range(0, values.shape[1], columns_at_once):
        chosen = slice(start, start + columns_at_once)
        block = values[:, chosen].astype(np.float64)
        mean[chosen], sd[chosen] = block.mean(axis=0), block.std(axis=0, ddof=1)
    return mean.astype(np.float32), sd


def _fit(features, labels, c, max_iter):
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=c if c > 0 else np.inf, max_iter=max_iter)
    probe.fit(features["train"], labels["train"])
    accuracy = {key: float(probe.score(features[key], labels[key])) for key in ("validation", "test")}
    iterations = int(probe.n_iter_.max())
    return {"C": c, **accuracy, "iterations": iterations, "converged": iterations < max_iter}


def _choose(fits):
    best = max(fits, key=lambda fit: fit["validation"])  # max keeps the first of equals
    tried = tuple({key: fit[key] for key in ("C", "validation", "iterations", "converged")} for fit in fits)
    return ProbeResult(best["C"], best["validation"], best["test"], best["iterations"], best["converged"], tried)
