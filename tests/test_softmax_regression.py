import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from closer_tf.readout.probes import fit_penalties

GRID = (0.0, 1e-5, 1e-3, 0.1, 10.0)


def data(classes, n=3000, dim=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    features = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) / 3 + rng.normal(size=(classes, dim))[labels]
    return features, labels


def theirs(features, labels, c, max_iter):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=c or np.inf, max_iter=max_iter).fit(features, labels)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("max_iter", [7, 100])
def test_every_fit_is_scikit_learns(classes, max_iter):
    features, labels = data(classes)
    for c, found in zip(GRID, fit_penalties(features, labels, GRID, max_iter)):
        expected = theirs(features, labels, c, max_iter)
        assert found.iterations == expected.n_iter_.max()
        np.testing.assert_allclose(found.weights.T, expected.coef_, atol=1e-6 * np.abs(expected.coef_).max())
        np.testing.assert_allclose(found.intercept, expected.intercept_, atol=1e-6)
        np.testing.assert_allclose(found.probabilities(features), expected.predict_proba(features), atol=1e-6)


def test_a_fit_does_not_depend_on_its_company():
    features, labels = data(4)
    alone, together = fit_penalties(features, labels, (0.1,))[0], fit_penalties(features, labels, GRID)[3]
    assert alone.iterations == together.iterations
    np.testing.assert_allclose(alone.weights, together.weights, atol=1e-9)


def test_many_labels_and_few_samples():
    features, labels = data(50, n=400)
    found = fit_penalties(features, labels, (1.0,))[0]
    np.testing.assert_allclose(found.weights.T, theirs(features, labels, 1.0, 100).coef_, atol=1e-5)


def test_progress_and_failures():
    features, labels = data(3)
    ticks = []
    fit_penalties(features, labels, GRID, on_fit=lambda: ticks.append(1))
    assert len(ticks) == len(GRID)
    with pytest.raises(IndexError):
        fit_penalties(features, np.append(labels[:-1], -7), GRID)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_an_interruption_ends_all_fits(kind):
    features, labels = data(3)

    def interrupt():
        raise kind

    with pytest.raises(kind):
        fit_penalties(features, labels, GRID, on_fit=interrupt)
