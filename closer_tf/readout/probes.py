"""Probes: how well labels can be told from features, by logistic or ridge regression or by nearest neighbours, and what several
probes say together (paper: "Training a linear classifier in the vision task").

Classes are told by multinomial logistic regression for several penalties at once, as scikit-learn fits each of them: its
`LogisticRegression` (solver lbfgs) hands the mean cross-entropy plus `||W||^2 / (2 n C)` to SciPy's L-BFGS-B, from zeros, with
its own tolerances; so does this file. What differs is the schedule: the fits of all penalties advance in lockstep, so that one
product with the features serves all of them, and blocks of samples are spread over the cores. Sums are taken in another order,
which shows in the last digits only.

These fits are the published protocol, which stops after 100 iterations. `converged_regression.py` goes on to the optimum.
"""

from __future__ import annotations

import os
import queue
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from closer_tf.common.values import as_labels, check_settings, load
from closer_tf.config import PROBE_ITERATIONS, PUBLISHED_C_GRID
from closer_tf.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FITS = {
    "published": "closer_tf.readout.probes:fit_penalties",
    "converged": "closer_tf.readout.converged_regression:fit_converged",
}
"""protocol -> what fits a probe's models"""
PRECISIONS = ("float64", "float32")
ON_ACCELERATOR = "closer_tf.readout.on_device:DeviceProblem"

COMBINATIONS = ("mean_probability", "max_probability", "mean_log_probability", "majority_vote")


@dataclass(frozen=True)
class ProbeResult:
    """What one probe found.

    Args:
        C: the inverse penalty with the best validation accuracy; 0 stands for no penalty.
        validation, test: accuracies, fractions, of the probe fitted with that C.
        iterations: its L-BFGS iterations.
        converged: whether it stopped by itself rather than at `max_iter`.
        fits: one dict (C, validation, iterations, converged) per value of C tried.
        angular_error: where labels are angles, the mean absolute error on the test samples, in their unit.
    """

    C: float
    validation: float
    test: float
    iterations: int
    converged: bool
    fits: tuple[dict[str, Any], ...]
    angular_error: float | None = None


def linear_probe(
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, ArrayLike],
    C: Sequence[float] = PUBLISHED_C_GRID,
    max_iter: int | None = None,
    protocol: str = "published",
    precision: str = "float64",
) -> ProbeResult:
    """Read labels out of features by multinomial logistic regression.

    Features are z-scored with the training samples' mean and standard deviation (ddof 1; constant features become 0). One
    fit per value of C; the best validation accuracy chooses, ties go to the first.

    Args:
        features: dict `train`, `validation`, `test` of float arrays (n, d).
        labels: dict of arrays (n,) of integers or strings, same keys.
        C: inverse L2 penalties, as in scikit-learn's LogisticRegression; 0 stands for no penalty.
        max_iter: most L-BFGS iterations per fit, from a cold start. Default: the protocol's, 100 or 5000.
        protocol: 'published', scikit-learn's fit as it is, which mostly stops at 100 iterations; 'converged', the optimum.
        precision: of products with the features, 'float64' or, for the published protocol, 'float32': about half the time on
            large data, and the same fit but for rounding, which grows on the way.

    Returns:
        `ProbeResult`.

    Raises:
        ValueError: a setting is out of its bounds, or there is no such protocol.
        DataError: labels are missing, or not one per sample.
    """
    check_settings(C=list(C))
    if max_iter is not None:
        check_settings(max_iter=max_iter)
    given = {key: as_labels(labels[key], f"labels['{key}']") for key in ("train", "validation", "test")}
    for key, values in given.items():
        if len(values) != len(features[key]):
            raise DataError(f"labels['{key}']: {len(values)} labels for {len(features[key])} samples")
    names = np.unique(given["train"])
    positions = {key: _positions(values, names) for key, values in given.items()}
    return probe_all({"probe": features}, positions, C, max_iter, protocol=protocol, precision=precision)["probe"]


def _positions(labels, names):
    """The place of each label among the sorted `names`; -1 for one that is not among them."""
    places = np.searchsorted(names, labels).clip(max=len(names) - 1)
    return np.where(names[places] == labels, places, -1)


def probe_all(
    features_by_name: Mapping[str, Mapping[str, np.ndarray]],
    labels: Mapping[str, np.ndarray],
    C: Sequence[float] = PUBLISHED_C_GRID,
    max_iter: int | None = None,
    progress: Callable[[], object] | None = None,
    return_probabilities: bool = False,
    protocol: str = "published",
    precision: str = "float64",
) -> Any:
    """One probe per set of features, all fits spread over the machine's cores.

    Args:
        features_by_name: dict name -> features as in `linear_probe`.
        labels: dict `train`, `validation`, `test` of int arrays. A label that no training sample has is no class of the probe,
            as in scikit-learn; what has it counts as missed.
        C, max_iter, protocol, precision: as in `linear_probe`.
        progress: function called with nothing after each fit. Default: none.
        return_probabilities: also return what each chosen probe says of the test samples.

    Returns:
        dict name -> `ProbeResult`; with `return_probabilities` a second dict name -> float array (n, labels), whose columns are
        the labels 0, 1 and so on to the largest of the training samples.

    Raises:
        ValueError: there is no such protocol or precision, or it is not for this protocol.
        DataError: the training samples are of one class.
    """
    if protocol not in FITS:
        raise ValueError(f"protocol: expected one of {', '.join(FITS)}, found {protocol!r}")
    precisions = PRECISIONS if protocol == "published" else PRECISIONS[:1]
    if precision not in precisions:
        raise ValueError(f"precision: expected {' or '.join(precisions)} for protocol '{protocol}', found {precision!r}")
    limit = PROBE_ITERATIONS[protocol] if max_iter is None else max_iter
    classes = np.unique(labels["train"])
    if len(classes) < 2:
        raise DataError("labels of the training samples: expected two classes at least, found one")
    labels = {key: _positions(np.asarray(values), classes) for key, values in labels.items()}
    fits, probabilities = {}, {}
    for name, features in features_by_name.items():
        mean, scale = _scaling(features["train"])
        scaled = _scaled(features["train"], mean, scale).astype(precision, copy=False)
        models = load(FITS[protocol])(scaled, labels["train"], C, limit, on_fit=progress)
        said, said_in_validation = (_probabilities(models, features[key], mean, scale) for key in ("test", "validation"))
        fits[name] = [
            {
                "C": c,
                "validation": _accuracy(of_validation, labels["validation"]),
                "test": _accuracy(of_test, labels["test"]),
                "iterations": model.iterations,
                "converged": model.converged,
            }
            for c, model, of_test, of_validation in zip(C, models, said, said_in_validation)
        ]
        best = _best(fits[name])
        probabilities[name] = np.zeros((len(said[best]), int(classes[-1]) + 1), np.float32)
        probabilities[name][:, classes] = said[best]
    results = {name: _result(of_name) for name, of_name in fits.items()}
    return (results, probabilities) if return_probabilities else results


def ridge_all(
    features_by_name: Mapping[str, Mapping[str, np.ndarray]],
    targets: Mapping[str, np.ndarray],
    C: Sequence[float] = PUBLISHED_C_GRID,
    period: float | None = None,
) -> dict[str, ProbeResult]:
    """As `probe_all`, for labels that are numbers: ridge regression, judged by R^2.

    Angles are regressed as their sine and cosine together, and judged by one R^2: 1 less the squared errors of both over the
    squared deviations of both from their means.

    Args:
        features_by_name: dict name -> features as in `linear_probe`.
        targets: dict `train`, `validation`, `test` of float arrays (n,).
        C: inverse L2 penalties; 0 stands for no penalty.
        period: targets are angles, which come full circle after so much. Default: they are not.

    Returns:
        dict name -> `ProbeResult`, whose accuracies are R^2.
    """
    from sklearn.linear_model import LinearRegression, Ridge

    fitted = targets if period is None else {key: _on_the_circle(angles, period) for key, angles in targets.items()}
    results = {}
    for name, features in features_by_name.items():
        scaled = standardise(features)
        fits = []
        for c in C:
            model = (Ridge(alpha=1 / c) if c > 0 else LinearRegression()).fit(scaled["train"], fitted["train"])
            if period is None:
                score = {key: float(model.score(scaled[key], targets[key])) for key in ("validation", "test")}
            else:
                said = {key: model.predict(scaled[key]) for key in ("validation", "test")}
                score = {key: _joint_r2(said[key], fitted[key]) for key in said}
                score["angular_error"] = _angular_error(said["test"], targets["test"], period)
            fits.append({"C": c, **score, "iterations": 1, "converged": True})
        results[name] = _result(fits)
    return results


def _on_the_circle(angles, period):
    """Sine and cosine of angles, (n, 2)."""
    turned = 2 * np.pi * np.asarray(angles, dtype=np.float64) / period
    return np.stack([np.sin(turned), np.cos(turned)], axis=1)


def _joint_r2(said, actual):
    return float(1 - np.square(said - actual).sum() / np.square(actual - actual.mean(axis=0)).sum())


def _angular_error(said, angles, period):
    """Mean absolute difference between what sines and cosines point to and angles, from 0 to half a period."""
    apart = np.arctan2(said[:, 0], said[:, 1]) * period / (2 * np.pi) - angles
    return float(np.abs((apart + period / 2) % period - period / 2).mean())


def standardise(features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Z-score features with the mean and standard deviation (ddof 1) of the training samples.

    Args:
        features: dict with key `train` of float arrays (n, d).

    Returns:
        dict of float64 arrays with the same keys. Features that are constant over the training samples are 0.
    """
    mean, scale = _scaling(features["train"])
    return {key: _scaled(values, mean, scale) for key, values in features.items()}


def _scaling(train):
    """Mean of each feature, and what z-scores it: 1 / standard deviation, or 0 where it is constant."""
    mean = train.mean(axis=0, dtype=np.float64)
    variance = np.zeros(train.shape[1])
    for start in range(0, len(train), 4096):  # by blocks of rows, to save memory
        variance += np.square(train[start : start + 4096] - mean).sum(axis=0)
    sd = np.sqrt(variance / (len(train) - 1))
    constant = train.max(axis=0) == train.min(axis=0)  # the rounded sd of a constant need not be 0
    return mean, np.where(constant, 0, 1 / np.where(constant, 1, sd))


def _scaled(values, mean, scale):
    scaled = np.subtract(values, mean, dtype=np.float64)
    scaled *= scale
    return scaled


def _probabilities(models, values, mean, scale):
    """One array (n, labels) per model; the features are z-scored block by block, to save memory."""
    blocks = []
    for start in range(0, len(values), 4096):
        scaled = _scaled(values[start : start + 4096], mean, scale)
        blocks.append([model.probabilities(scaled) for model in models])
    return [np.concatenate(of_model) for of_model in zip(*blocks)]


def _accuracy(probabilities, labels):
    return float((probabilities.argmax(axis=1) == labels).mean())


def _best(fits):
    return int(np.argmax([fit["validation"] for fit in fits]))  # the first of equals


def _result(fits):
    best = fits[_best(fits)]
    tried = tuple({key: fit[key] for key in ("C", "validation", "iterations", "converged")} for fit in fits)
    chosen = (best[key] for key in ("C", "validation", "test", "iterations", "converged"))
    return ProbeResult(*chosen, tried, best.get("angular_error"))


def combine(probabilities: ArrayLike, method: str) -> np.ndarray:
    """Labels that N probes agree on.

    Args:
        probabilities: array (N, n, labels), what each probe says of each sample.
        method: 'mean_probability', 'max_probability', 'mean_log_probability' or 'majority_vote' (ties go to the first label).

    Returns:
        Int array (n,).
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if method == "majority_vote":
        votes = probabilities.argmax(axis=2)
        scores = (votes[:, :, None] == np.arange(probabilities.shape[2])).sum(axis=0)
    elif method == "mean_log_probability":
        scores = np.log(np.maximum(probabilities, 1e-30)).mean(axis=0)
    elif method == "max_probability":
        scores = probabilities.max(axis=0)
    elif method == "mean_probability":
        scores = probabilities.mean(axis=0)
    else:
        raise ValueError(f"method: expected one of {', '.join(COMBINATIONS)}, found {method!r}")
    return scores.argmax(axis=1)


def knn_probe(features: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], neighbours: int) -> float:
    """Test accuracy of the k nearest training samples' majority, on z-scored features.

    Args:
        features: dict `train`, `test` of float arrays (n, d).
        labels: dict of int arrays.
        neighbours: k.
    """
    from sklearn.neighbors import KNeighborsClassifier

    check_settings(knn_neighbours=neighbours)
    scaled = standardise({key: features[key] for key in ("train", "test")})
    probe = KNeighborsClassifier(neighbours, algorithm="brute", n_jobs=-1).fit(scaled["train"], labels["train"])
    return float(probe.score(scaled["test"], labels["test"]))


@dataclass(frozen=True)
class Fit:
    """One fitted model.

    Args:
        weights: float array (d, labels), or (d, 1) for two labels: the log odds of the second.
        intercept: float array (labels,) or (1,).
        iterations: L-BFGS iterations.
        converged: whether it stopped by its tolerance, not at the limit of iterations or in a failed line search.
        gradient: the largest absolute entry of the objective's gradient where it stopped.
    """

    weights: np.ndarray
    intercept: np.ndarray
    iterations: int
    converged: bool
    gradient: float

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float array (n, labels): what the model says of each sample."""
        raw = features @ self.weights + self.intercept
        if raw.shape[1] == 1:
            raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
        raw -= raw.max(axis=1, keepdims=True)
        np.exp(raw, out=raw)
        return raw / raw.sum(axis=1, keepdims=True)


def fit_penalties(
    features: np.ndarray,
    labels: np.ndarray,
    C: Sequence[float],
    max_iter: int = 100,
    tolerance: float = 1e-4,
    on_fit: Callable[[], Any] | None = None,
) -> list[Fit]:
    """One model per value of C, each as scikit-learn's.

    Args:
        features: float64 or float32 array (n, d); products are done in its precision.
        labels: int array (n,), 0 .. labels - 1, each present.
        C: sequence of inverse L2 penalties; 0 stands for no penalty.
        max_iter: most L-BFGS iterations per fit.
        tolerance: a fit has converged when no entry of the gradient is larger.
        on_fit: function called with nothing as each fit ends.

    Returns:
        List of `Fit`, in the order of C.
    """
    problem = problem_of(features, labels, C)
    options = {"maxiter": max_iter, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}

    def solve(k, ask):
        def value_and_gradient(flat):
            value, gradient = ask(flat.reshape(problem.shape).copy())
            return value, gradient.ravel()

        start = np.zeros(problem.shape).ravel()
        outcome = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
        largest = float(np.abs(outcome.jac).max())
        return as_fit(outcome.x.reshape(problem.shape), outcome.nit, outcome.status == 0, largest)

    return in_lockstep(solve, len(C), problem.evaluate, on_fit)


def problem_of(features: np.ndarray, labels: np.ndarray, C: Sequence[float]) -> Problem:
    """The `Problem`, on an accelerator where this process computes with JAX on one."""
    return load(ON_ACCELERATOR)(features, labels, C) if fits_on_accelerator() else Problem(features, labels, C)


def fits_on_accelerator() -> bool:
    """Whether the products of fits are computed there and not by NumPy."""
    return "jax" in sys.modules and sys.modules["jax"].default_backend() != "cpu"


def as_fit(point: np.ndarray, iterations: int, converged: bool, gradient: float) -> Fit:
    """The `Fit` at a point (outputs, d + 1)."""
    return Fit(point[:, :-1].T.copy(), point[:, -1].copy(), int(iterations), bool(converged), gradient)


def in_lockstep(
    solve: Callable[..., Fit], count: int, evaluate: Callable[..., dict], on_fit: Callable[[], Any] | None = None
) -> list[Fit]:
    """Run several iterative solvers side by side, so that one evaluation serves the next step of all of them.

    Args:
        solve: function (k, ask) that returns solver k's result; `ask(request)` gives it the answer to one request.
        count: how many solvers, k = 0 .. count - 1.
        evaluate: function (requests, cores) from a dict k -> request to a dict k -> answer. `cores` is an executor with one
            thread per core; linear algebra is held to one thread meanwhile.
        on_fit: function called with nothing as each solver ends.

    Returns:
        List of the solvers' results.
    """
    requests: queue.Queue = queue.Queue()
    answers: list[queue.Queue] = [queue.Queue() for _ in range(count)]

    def run(k):
        def ask(request):
            requests.put((k, request))
            answer = answers[k].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            return solve(k, ask)
        finally:
            requests.put((k, None))

    with ThreadPoolExecutor(count) as solvers, ThreadPoolExecutor(os.cpu_count()) as cores, threadpool_limits(1):
        outcomes = [solvers.submit(run, k) for k in range(count)]
        running, asked = count, {}
        try:
            while running:
                k, request = requests.get()
                if request is None:
                    running -= 1
                    if on_fit is not None:
                        on_fit()
                else:
                    asked[k] = request
                if asked and len(asked) == running:  # every solver that still runs waits for its next answer
                    for waiting, answer in evaluate(
                        dict(sorted(asked.items())), cores
                    ).items():  # sorted: the order shows in the last digits
                        answers[waiting].put(answer)
                    asked = {}
        except BaseException as error:
            for answer in answers:  # whoever waits, or asks once more, has to end
                answer.put(error)
            raise
    return [outcome.result() for outcome in outcomes]


class Problem:
    """The objective and its gradient for any subset of the penalties. A point is (outputs, d + 1), the intercept last.

    Args:
        features: float array (n, d); products with it are done in its precision, sums over samples in float64.
        labels: int array (n,).
        C: sequence of inverse L2 penalties; 0 stands for no penalty.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, C: Sequence[float]) -> None:
        self.features, self.labels = features, labels
        self.penalties = [1 / (c * len(features)) if c > 0 else 0.0 for c in C]
        count = int(labels.max()) + 1
        self.outputs = 1 if count == 2 else count
        self.shape = (self.outputs, features.shape[1] + 1)

    def evaluate(self, points: dict[int, np.ndarray], cores: Executor) -> dict[int, tuple]:
        """dict k -> (value, gradient) for a dict k -> point."""
        losses, gradient = self.sums(np.concatenate(list(points.values())).astype(self.features.dtype), cores)
        losses /= len(self.features)
        gradient /= len(self.features)
        values = {}
        for position, (k, point) in enumerate(points.items()):
            own = gradient[position * self.outputs : (position + 1) * self.outputs]
            weights = point[:, :-1]
            own[:, :-1] += self.penalties[k] * weights
            values[k] = (losses[position] + 0.5 * self.penalties[k] * np.vdot(weights, weights), own)
        return values

    def sums(self, stacked: np.ndarray, cores: Executor) -> tuple[np.ndarray, np.ndarray]:
        """(losses (fits,), gradient (fits * outputs, d + 1)) of stacked points (fits * outputs, d + 1), summed over samples."""
        rows = int(np.clip(2**16 // len(stacked), 512, 4096))
        starts = range(0, len(self.features), rows)
        losses, gradient = np.zeros(len(stacked) // self.outputs), np.zeros(stacked.shape)
        for of_block, slope in cores.map(lambda start: self._block(slice(start, start + rows), stacked), starts):
            losses += of_block
            gradient += slope
        return losses, gradient

    def _block(self, chosen, stacked):
        """Summed losses (fits,) and gradient (fits * outputs, d + 1) of some samples. Samples are last: it is the fast way."""
        x, y = self.features[chosen], self.labels[chosen]
        raw = stacked[:, :-1] @ x.T
        raw += stacked[:, -1:]
        of_fits = raw.reshape(-1, self.outputs, len(y))
        losses = _logistic(of_fits, y) if self.outputs == 1 else _softmax(of_fits, y)
        gradient = np.empty(stacked.shape)
        gradient[:, :-1] = raw @ x
        gradient[:, -1] = raw.sum(axis=1, dtype=np.float64)
        return losses, gradient


def _softmax(raw, labels):
    """Turns raw (fits, labels, n) into slopes, in place; returns the summed cross-entropies (fits,)."""
    samples = np.arange(len(labels))
    raw -= raw.max(axis=1, keepdims=True)
    own = raw[:, labels, samples]
    np.exp(raw, out=raw)
    total = raw.sum(axis=1)
    raw /= total[:, None]
    raw[:, labels, samples] -= 1
    return (np.log(total) - own).sum(axis=1, dtype=np.float64)


def _logistic(raw, labels):
    """As `_softmax`, for two labels and one output."""
    sign = (1 - 2 * labels).astype(raw.dtype)  # the loss is log(1 + exp(sign * raw))
    losses = np.logaddexp(0, sign * raw).sum(axis=(1, 2), dtype=np.float64)
    np.copyto(raw, sign * np.exp(-np.logaddexp(0, -sign * raw)))
    return losses
