"""The probe's objective computed by JAX, as on an accelerator, gives the fits of the processor."""

import numpy as np
import pytest
from test_softmax_regression import GRID, data

from closer_tf.readout import probes
from closer_tf.readout.converged_regression import fit_converged
from closer_tf.readout.probes import Problem, fit_penalties

jax = pytest.importorskip("jax")
on_device = pytest.importorskip("closer_tf.readout.on_device")
pytestmark = pytest.mark.jax


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_value_and_gradient_of_any_subset_of_the_penalties(classes, dtype, tolerance):
    features, labels = data(classes, n=500)
    ours, expected = (make(features.astype(dtype), labels, GRID) for make in (on_device.DeviceProblem, Problem))
    rng = np.random.default_rng(1)
    points = {k: rng.normal(size=ours.shape) for k in (1, 3, 4)}
    with probes.ThreadPoolExecutor(2) as cores:
        found, known = ours.evaluate(points, cores), expected.evaluate(points, cores)
    assert list(found) == list(known) == [1, 3, 4]
    for k in points:
        np.testing.assert_allclose(found[k][0], known[k][0], rtol=tolerance)
        np.testing.assert_allclose(found[k][1], known[k][1], atol=tolerance * np.abs(known[k][1]).max())


@pytest.mark.parametrize("fit, tolerance", [(fit_penalties, 1e-6), (fit_converged, 1e-3)])  # to the optimum by rounded steps
@pytest.mark.parametrize("classes", [2, 5])
def test_the_fits_are_those_of_the_processor(monkeypatch, fit, tolerance, classes):
    features, labels = data(classes, n=500)
    features = (features - features.mean(axis=0)) / features.std(axis=0, ddof=1)
    expected = fit(features, labels, GRID)
    made, make = [], on_device.DeviceProblem
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(on_device, "DeviceProblem", lambda *given: made.append(make(*given)) or made[-1])
    for one, other in zip(expected, fit(features, labels, GRID)):
        assert one.converged == other.converged and (fit is fit_converged or one.iterations == other.iterations)
        np.testing.assert_allclose(other.weights, one.weights, atol=tolerance * np.abs(one.weights).max())
    assert made


def test_on_a_processor_numpy_computes():
    features, labels = data(3, n=100)
    on_processor = jax.default_backend() == "cpu"
    assert type(probes.problem_of(features, labels, GRID)) is (Problem if on_processor else on_device.DeviceProblem)
