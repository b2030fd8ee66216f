"""Multinomial logistic regression for several penalties at once, as scikit-learn fits each of them.

scikit-learn's `LogisticRegression` (solver lbfgs) hands the mean cross-entropy plus `||W||^2 / (2 n C)` to SciPy's L-BFGS-B,
from zeros, with its own tolerances; so does this file. What differs is the schedule: the fits of all penalties advance in
lockstep, so that one product with the features serves all of them, and blocks of samples are spread over the cores. Sums are
taken in another order, which shows in the last digits only.

This is the published protocol, which stops after 100 iterations. `converged_regression.py` goes on to the optimum.
"""

import os
import queue
import sys
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
        gradient: the largest absolute entry of the objective's gradient where it stopped.
    """

    weights: np.ndarray
    intercept: np.ndarray
    iterations: int
    converged: bool
    gradient: float

    def probabilities(self, features):
        """Float array (n, labels): what the model says of each sample."""
        raw = features @ self.weights + self.intercept
        if raw.shape[1] == 1:
            raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
        raw -= raw.max(axis=1, keepdims=True)
        np.exp(raw, out=raw)
        return raw / raw.sum(axis=1, keepdims=True)


def fit_penalties(features, labels, C, max_iter=100, tolerance=1e-4, on_fit=None):
    """One model per value of C, each as scikit-learn's.

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


def problem_of(features, labels, C):
    """The `Problem`, on an accelerator where this process computes with JAX on one."""
    if "jax" in sys.modules:
        from closer_tf.readout.on_device import DeviceProblem, has_accelerator

        if has_accelerator():
            return DeviceProblem(features, labels, C)
    return Problem(features, labels, C)


def as_fit(point, iterations, converged, gradient):
    """The `Fit` at a point (outputs, d + 1)."""
    return Fit(point[:, :-1].T.copy(), point[:, -1].copy(), int(iterations), bool(converged), gradient)


def in_lockstep(solve, count, evaluate, on_fit=None):
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
    requests, answers = queue.Queue(), [queue.Queue() for _ in range(count)]

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

    def __init__(self, features, labels, C):
        self.features, self.labels = features, labels
        self.penalties = [1 / (c * len(features)) if c > 0 else 0.0 for c in C]
        count = int(labels.max()) + 1
        self.outputs = 1 if count == 2 else count
        self.shape = (self.outputs, features.shape[1] + 1)

    def evaluate(self, points, cores):
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

    def sums(self, stacked, cores):
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
