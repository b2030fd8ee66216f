"""Multinomial logistic regression for several penalties at once, as scikit-learn fits each of them.

scikit-learn's `LogisticRegression` (solver lbfgs) hands the mean cross-entropy plus `||W||^2 / (2 n C)` to SciPy's L-BFGS-B,
from zeros, with its own tolerances; so does this file. What differs is the schedule: the fits of all penalties advance in
lockstep, so that one product with the features serves all of them, and blocks of samples are spread over the cores. Sums are
taken in another order, which shows in the last digits only.
"""

import os
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Fit:
    """One fitted model.

    Args:
        weights: float array (d, labels), or (d, 1) for two labels: the log odds of the second.
        intercept: float array (labels,) or (1,).
        iterations: L-BFGS iterations.
        converged: whether it stopped by its tolerance, not at the limit of iterations or in a failed line search.
    """

    weights: np.ndarray
    intercept: np.ndarray
    iterations: int
    converged: bool

    def probabilities(self, features):
        """Float array (n, labels): what the model says of each sample."""
        raw = features @ self.weights + self.intercept
        if raw.shape[1] == 1:
            raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
        raw -= raw.max(axis=1, keepdims=True)
        np.exp(raw, out=raw)
        return raw / raw.sum(axis=1, keepdims=True)


def fit_penalties(features, labels, C, max_iter=100, tolerance=1e-4, on_fit=None):
    """One model per value of C.

    Args:
        features: float64 array (n, d).
        labels: int array (n,), 0 .. labels - 1, each present.
        C: sequence of inverse L2 penalties; 0 stands for no penalty.
        max_iter: most L-BFGS iterations per fit.
        tolerance: a fit has converged when no entry of the gradient is larger.
        on_fit: function called with nothing as each fit ends.

    Returns:
        List of `Fit`, in the order of C.
    """
    problem = _Problem(features, labels, C)
    requests, answers = queue.Queue(), [queue.Queue() for _ in C]

    def solve(k):
        def ask(point):
            requests.put((k, point.copy()))
            answer = answers[k].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        options = {"maxiter": max_iter, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}
        try:
            return minimize(ask, np.zeros(problem.size), jac=True, method="L-BFGS-B", options=options)
        finally:
            requests.put((k, None))

    with ThreadPoolExecutor(len(C)) as solvers, ThreadPoolExecutor(os.cpu_count()) as cores, threadpool_limits(1):
        outcomes = [solvers.submit(solve, k) for k in range(len(C))]
        running, asked = len(C), {}
        try:
            while running:
                k, point = requests.get()
                if point is None:
                    running -= 1
                    if on_fit is not None:
                        on_fit()
                else:
                    asked[k] = point
                if asked and len(asked) == running:  # every fit that still runs waits for its next value
                    for waiting, value in problem.evaluate(asked, cores).items():
                        answers[waiting].put(value)
                    asked = {}
        except BaseException as error:
            for answer in answers:  # whoever waits, or asks once more, has to end
                answer.put(error)
            raise
    return [problem.as_fit(outcome.result()) for outcome in outcomes]


class _Problem:
    """The objective and its gradient for any subset of the penalties. Points are flat: (d + 1, outputs), row by row."""

    def __init__(self, features, labels, C):
        self.features, self.labels = features, labels
        self.penalties = [1 / (c * len(features)) if c > 0 else 0.0 for c in C]
        count = int(labels.max()) + 1
        self.outputs = 1 if count == 2 else count
        self.size = (features.shape[1] + 1) * self.outputs

    def as_fit(self, outcome):
        point = outcome.x.reshape(-1, self.outputs)
        return Fit(point[:-1], point[-1], int(outcome.nit), outcome.status == 0)

    def evaluate(self, points, cores):
        """dict k -> (value, flat gradient) for a dict k -> flat point."""
        stacked = np.concatenate([point.reshape(-1, self.outputs) for point in points.values()], axis=1)
        rows = int(np.clip(2**20 // stacked.shape[1], 256, 4096))
        starts = range(0, len(self.features), rows)
        parts = list(cores.map(lambda start: self._block(slice(start, start + rows), stacked), starts))
        losses = sum(part[0] for part in parts) / len(self.features)
        gradient = sum(part[1] for part in parts) / len(self.features)
        values = {}
        for position, (k, point) in enumerate(points.items()):
            columns = slice(position * self.outputs, (position + 1) * self.outputs)
            weights = point.reshape(-1, self.outputs)[:-1]
            own = gradient[:, columns].copy()
            own[:-1] += self.penalties[k] * weights
            value = losses[position] + 0.5 * self.penalties[k] * np.vdot(weights, weights)
            values[k] = (value, own.ravel())
        return values

    def _block(self, chosen, stacked):
        """Summed losses (fits,) and gradient (d + 1, fits * outputs) of some samples."""
        x, y = self.features[chosen], self.labels[chosen]
        raw = (x @ stacked[:-1] + stacked[-1]).reshape(len(y), -1, self.outputs)
        losses = _logistic(raw, y) if self.outputs == 1 else _softmax(raw, y)
        slopes = raw.reshape(len(y), -1)
        return losses, np.concatenate([x.T @ slopes, slopes.sum(axis=0, keepdims=True)])


def _softmax(raw, labels):
    """Turns raw (n, fits, labels) into slopes, in place; returns the summed cross-entropies (fits,)."""
    rows = np.arange(len(labels))
    raw -= raw.max(axis=2, keepdims=True)
    own = raw[rows, :, labels]
    np.exp(raw, out=raw)
    total = raw.sum(axis=2)
    raw /= total[:, :, None]
    raw[rows, :, labels] -= 1
    return (np.log(total) - own).sum(axis=0)


def _logistic(raw, labels):
    """As `_softmax`, for two labels and one output."""
    sign = (1 - 2 * labels)[:, None, None]  # the loss is log(1 + exp(sign * raw))
    losses = np.logaddexp(0, sign * raw).sum(axis=(0, 2))
    np.copyto(raw, sign * np.exp(-np.logaddexp(0, -sign * raw)))
    return losses
