"""Multinomial logistic regression at its optimum: the converged protocol of the readout.

The objective is scikit-learn's (see `probes.py`), and so is the measure of convergence: the largest entry of
the gradient, in the features' own coordinates. The way there is shorter. In the eigenbasis of X'X/n, with eigenvalues s_k,
Boehning's bound on the Hessian is s_k / 2 + 1 / (n C) along direction k; L-BFGS works on coordinates divided by the root of
that, in which the problem is nearly round: tens of iterations take the place of thousands. The features themselves are not
rotated, only the weights and gradients. Products are done in float32 until the tolerance is met, then checked, and continued
where need be, in float64.

Reference: Boehning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics 44 (1992).
"""

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize

from closer_tf.readout.probes import Problem, as_fit, fit_penalties, in_lockstep

MOST_FEATURES = 4096  # beyond, the eigenbasis costs more than it saves: the features' own axes stand in
SMALLEST_CURVATURE = 1e-8  # of the mean curvature; float32 gradients say nothing about flatter directions


class _Reached(Exception):
    """Carries out of SciPy's minimiser the point that meets the tolerance."""

    def __init__(self, point, gradient):
        self.point, self.gradient = point, gradient


def fit_converged(features, labels, C, max_iter=5000, tolerance=1e-4, on_fit=None):
    """One model per value of C, each at its optimum.

    Without a penalty there may be many optima; the one found lies in the span of the samples, as scikit-learn's does. There is
    none where the labels are linearly separable: the loss falls forever, and the path decides what is found. Such a fit takes
    scikit-learn's path, without the change of coordinates.

    Args:
        features: float64 array (n, d), z-scored; others work, but take longer.
        labels: int array (n,), 0 .. labels - 1, each present.
        C: sequence of inverse L2 penalties; 0 stands for no penalty.
        max_iter: most L-BFGS iterations per fit.
        tolerance: a fit has converged when no entry of the gradient is larger, as computed in float64, neither in the features'
            coordinates nor in those of the search. The second is the stricter: flat directions hardly show in the first.
        on_fit: function called with nothing as each fit ends.

    Returns:
        List of `Fit`, in the order of C.
    """
    curvatures, basis = _curvatures(features)
    exact = Problem(features, labels, C)
    problems = {"rough": Problem(features.astype(np.float32), labels, C), "exact": exact}
    scales = [_scales(curvatures, penalty, exact.outputs) for penalty in exact.penalties]

    def evaluate(asked, cores):
        """dict k -> (value, gradient in the eigenbasis, largest entry in the features' coordinates, point there)."""
        answers = {}
        for kind, problem in problems.items():
            turned = {k: point for k, (of_kind, point) in asked.items() if of_kind == kind}
            if turned:
                points = _times(turned, None if basis is None else basis.T)
                found = problem.evaluate(points, cores)
                gradients = _times({k: gradient for k, (_, gradient) in found.items()}, basis)
                for k, (value, gradient) in found.items():
                    answers[k] = (value, gradients[k], float(np.abs(gradient).max()), points[k])
        return answers

    def solve(k, ask):
        iterations = 0
        position = np.zeros(exact.shape).ravel()

        def count(_):
            nonlocal iterations
            iterations += 1

        def look(kind, flat):
            """(value, gradient) at a position; ends the search where float64 says that the tolerance is met."""
            turned = flat.reshape(exact.shape) * scales[k]
            for precision in dict.fromkeys((kind, "exact")):
                value, gradient, largest, point = ask((precision, turned))
                slope = gradient * scales[k]
                if max(largest, np.abs(slope).max()) > tolerance:
                    return value, slope.ravel()
            raise _Reached(point, largest)

        try:
            for kind in problems:
                left = max_iter - iterations
                if left > 0:
                    options = {"maxiter": left, "maxfun": 20 * max_iter, "maxls": 50, "gtol": 0, "ftol": 0}
                    outcome = minimize(
                        lambda flat, kind=kind: look(kind, flat),
                        position,
                        jac=True,
                        method="L-BFGS-B",
                        callback=count,
                        options=options,
                    )
                    position = outcome.x
            _, _, largest, point = ask(("exact", position.reshape(exact.shape) * scales[k]))
        except _Reached as reached:
            return as_fit(reached.point, iterations + 1, True, reached.gradient)
        return as_fit(point, iterations, False, largest)

    fits = in_lockstep(solve, len(C), evaluate, on_fit)
    for k, fit in enumerate(fits):
        if exact.penalties[k] == 0 and (fit.probabilities(features).argmax(axis=1) == labels).all():
            fits[k] = fit_penalties(features, labels, (C[k],), max_iter, tolerance)[0]
    return fits


def _curvatures(features):
    """Eigenvalues (d,) of X'X/n, 0 where they are so up to rounding, and eigenvectors in columns; None: the features' axes."""
    count, dim = features.shape
    if dim > MOST_FEATURES:
        return np.square(features).mean(axis=0), None
    gram = features.T @ features
    gram /= count
    values, basis = eigh(gram, overwrite_a=True, check_finite=False)
    values[values <= dim * np.finfo(float).eps * values[-1]] = 0
    return values, basis


def _scales(curvatures, penalty, outputs):
    """What each coordinate (d + 1,) is multiplied by; 0 keeps it at zero, where neither samples nor penalty say anything."""
    bound = 0.25 if outputs == 1 else 0.5
    bent = bound * np.maximum(curvatures, SMALLEST_CURVATURE * curvatures.mean()) + penalty
    free = (curvatures == 0) & (penalty == 0)
    return np.append(np.where(free, 0, 1 / np.sqrt(np.where(free, 1, bent))), 1 / np.sqrt(bound))


def _times(points, basis):
    """dict k -> point with its weights multiplied by a matrix (d, d), all in one product."""
    if basis is None:
        return points
    stacked = np.concatenate(list(points.values()))
    stacked[:, :-1] = stacked[:, :-1] @ basis
    return dict(zip(points, np.split(stacked, len(points))))
