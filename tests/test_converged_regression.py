import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from closer_tf.readout import converged_regression
from closer_tf.readout.converged_regression import fit_converged
from closer_tf.readout.probes import fit_penalties, probe_all, standardise

GRID = (0.0, 1e-5, 1e-3, 0.1, 10.0)


def correlated(classes, n=600, dim=10, seed=0):
    """z-scored features whose covariance has a condition number of some thousands."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    latents = rng.normal(size=(n, dim)) + 0.7 * rng.normal(size=(classes, dim))[labels]
    features = latents * 0.7 ** np.arange(dim) @ rng.normal(size=(dim, dim))
    return standardise({"train": features})["train"], labels


def objective(features, labels, c, weights, intercept):
    """(mean loss with penalty, largest entry of its gradient), written from the equation; labels - 1 outputs or labels."""
    raw = features @ weights + intercept
    if raw.shape[1] == 1:
        raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
    raw = raw - raw.max(axis=1, keepdims=True)
    logs = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    slopes = np.exp(logs)
    slopes[np.arange(len(labels)), labels] -= 1
    slopes = slopes[:, -weights.shape[1] :]
    penalty = 1 / (c * len(labels)) if c else 0
    gradient = features.T @ slopes / len(labels) + penalty * weights
    value = -logs[np.arange(len(labels)), labels].mean() + penalty / 2 * np.square(weights).sum()
    return value, max(np.abs(gradient).max(), np.abs(slopes.mean(axis=0)).max())


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_optimum_is_scikit_learns(classes):
    features, labels = correlated(classes)
    for c, found in zip(GRID, fit_converged(features, labels, GRID, tolerance=1e-6)):
        theirs = LogisticRegression(C=c or np.inf, max_iter=5000, tol=1e-6).fit(features, labels)
        value, gradient = objective(features, labels, c, found.weights, found.intercept)
        expected, _ = objective(features, labels, c, theirs.coef_.T, theirs.intercept_)
        assert found.converged and gradient <= 1e-6 and found.gradient == pytest.approx(gradient, rel=1e-3)
        assert value <= expected + 1e-9
        np.testing.assert_allclose(found.probabilities(features), theirs.predict_proba(features), atol=2e-3 if c == 0 else 2e-4)


def test_it_takes_few_iterations_where_the_published_fit_takes_many():
    features, labels = correlated(5)
    published = fit_penalties(features, labels, (10.0,), max_iter=5000)[0]
    converged = fit_converged(features, labels, (10.0,))[0]
    assert published.converged and converged.converged
    assert published.gradient <= 1e-4 and converged.gradient <= 1e-4
    assert converged.iterations < published.iterations / 5 and converged.iterations < 60


def test_same_penalty_and_accuracy_as_scikit_learns_loop_on_digits():
    images, labels = load_digits(return_X_y=True)
    cuts = {"train": slice(0, 1000), "validation": slice(1000, 1400), "test": slice(1400, None)}
    features, labels = ({key: values[cut] for key, cut in cuts.items()} for values in (images, labels))
    scaled = standardise(features)  # three pixels are constant: zero eigenvalues
    assert (scaled["train"] == 0).all(axis=0).any()
    found = probe_all({"digits": features}, labels, GRID, protocol="converged")["digits"]
    scores = []
    for c, fit in zip(GRID, found.fits):
        model = LogisticRegression(C=c or np.inf, max_iter=5000).fit(scaled["train"], labels["train"])
        scores.append((model.score(scaled["validation"], labels["validation"]), model.score(scaled["test"], labels["test"])))
        assert fit["validation"] == pytest.approx(scores[-1][0], abs=0.0051)
        assert fit["converged"] and fit["iterations"] < 200
    best = int(np.argmax([validation for validation, _ in scores]))
    assert found.C == GRID[best] and found.test == pytest.approx(scores[best][1], abs=0.001)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_features_without_information_get_no_weight(penalty):
    features, labels = correlated(3)
    wide = np.concatenate([features, np.zeros((len(features), 2))], axis=1)
    alone, found = (fit_converged(x, labels, (penalty,), tolerance=1e-7)[0] for x in (features, wide))
    assert found.converged and np.abs(found.weights[-2:]).max() < 1e-12
    np.testing.assert_allclose(found.probabilities(wide), alone.probabilities(features), atol=1e-4)


def test_nothing_but_constants_gives_the_frequencies():
    labels = np.array([0, 0, 0, 1, 1, 2])
    for found in fit_converged(np.zeros((6, 4)), labels, (0.0, 1.0), tolerance=1e-6):
        assert found.converged and not found.weights.any()
        np.testing.assert_allclose(found.probabilities(np.zeros((1, 4)))[0], [3 / 6, 2 / 6, 1 / 6], atol=1e-4)


def test_repeated_features_share_their_weight():
    features, labels = correlated(3)
    twice = np.concatenate([features, features], axis=1)
    alone, found = (fit_converged(x, labels, (0.0,), tolerance=1e-6)[0] for x in (features, twice))
    assert found.converged
    half = found.weights.reshape(2, *alone.weights.shape)
    np.testing.assert_allclose(half[0], half[1], atol=1e-6 * np.abs(half).max())
    np.testing.assert_allclose(found.probabilities(twice), alone.probabilities(features), atol=5e-3)


def test_fewer_samples_than_features():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 80)), np.arange(30) % 3
    free, held = fit_converged(features, labels, (0.0, 0.1))
    assert free.converged and (free.probabilities(features).argmax(axis=1) == labels).all()
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=10_000).fit(features, labels)
    np.testing.assert_allclose(held.probabilities(features), theirs.predict_proba(features), atol=5e-3)


def test_very_many_features_do_without_the_eigenbasis(monkeypatch):
    features, labels = correlated(3)
    expected = fit_converged(features, labels, GRID, tolerance=1e-6)
    monkeypatch.setattr(converged_regression, "MOST_FEATURES", features.shape[1] - 1)
    monkeypatch.setattr(converged_regression, "eigh", None)
    for a, b in zip(expected, fit_converged(features, labels, GRID, tolerance=1e-6)):
        assert a.converged and b.converged
        np.testing.assert_allclose(a.probabilities(features), b.probabilities(features), atol=5e-3)


def test_the_limit_of_iterations_is_told():
    features, labels = correlated(3)
    short, long = (fit_converged(features, labels, (10.0,), max_iter=limit)[0] for limit in (3, 300))
    assert not short.converged and short.iterations == 3 and short.gradient > 1e-4
    assert short.gradient == pytest.approx(objective(features, labels, 10.0, short.weights, short.intercept)[1])
    assert long.converged and 3 < long.iterations < 300


def test_progress():
    features, labels = correlated(3)
    ticks = []
    fit_converged(features, labels, GRID, on_fit=lambda: ticks.append(1))
    assert len(ticks) == len(GRID)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_an_interruption_ends_all_fits(kind):
    features, labels = correlated(3)

    def interrupt():
        raise kind

    with pytest.raises(kind):
        fit_converged(features, labels, GRID, on_fit=interrupt)
