import keras
import numpy as np
import pytest
import reference
from gradients import value_and_gradient

from closer_tf import build_ensemble, graphs, mlp
from closer_tf.config import CONDITIONS
from closer_tf.masks import area_masks
from closer_tf.nn.temporal import TERMS, TemporalLoss, temporal_terms

OBJECTIVES = {name: condition.weights for name, condition in CONDITIONS.items() if condition.weights}

pytestmark = pytest.mark.usefixtures("wide")


def loops(current, previous, graph):
    """Each term by plain float64 loops over the equations."""
    batch, encoders, dim = current.shape
    terms = {"tpull": 0.0, "pull": 0.0, "cont": 0.0, "var": 0.0, "cov": 0.0}
    for (i, j), weight in zip(graph.edges, graph.weights):
        for t in range(batch):
            terms["tpull"] += weight * np.sum((current[t, i] - previous[t, j]) ** 2) / dim / batch
            terms["pull"] += weight * np.sum((current[t, i] - current[t, j]) ** 2) / dim / batch
    for i in range(encoders):
        for t in range(batch):
            terms["cont"] += np.sum((current[t, i] - previous[t, i]) ** 2) / dim / batch / encoders
        for k in range(dim):
            terms["var"] -= np.log(np.var(current[:, i, k], ddof=1) + 1e-4) / encoders / dim
            for m in range(dim):
                if m != k:
                    covariance = np.cov(current[:, i, k], current[:, i, m], ddof=1)[0, 1]
                    terms["cov"] += covariance**2 / encoders / (dim * (dim - 1))
    return terms


def data(batch=6, encoders=3, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, encoders, dim)), rng.normal(size=(batch, encoders, dim))


def slopes(current, previous, weights, graph):
    """Finite differences of the loops, with what stop-gradient holds still held still."""

    def value(moved):
        total = 0.0
        for name, weight in weights.items():
            if name == "pull":  # only the pulled side moves
                for (i, j), edge in zip(graph.edges, graph.weights):
                    total += weight * edge * np.mean((moved[:, i] - current[:, j]) ** 2)
            else:
                total += weight * loops(moved, previous, graph)[name]
        return total

    return reference.finite_differences(value, current)


GRAPHS = {
    "all_to_all": None,
    "ring": graphs.directional_ring(3),
    "weighted": graphs.InteractionGraph(3, [(0, 1), (2, 0)], [3, 1]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("graph", GRAPHS)
def test_each_term_equals_the_equation(graph, dtype):
    if dtype == np.float64 and keras.backend.backend() == "jax":
        pytest.skip("under JAX Keras takes the variance in float32")
    current, previous = data()
    expected = loops(current, previous, GRAPHS[graph] or graphs.all_to_all(3))
    now, before = (keras.ops.convert_to_tensor(values.astype(dtype)) for values in (current, previous))
    found = temporal_terms(now, before, GRAPHS[graph])
    for name in TERMS:
        assert float(found[name]) == pytest.approx(expected[name], rel=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", [*TERMS, *OBJECTIVES])
def test_each_gradient_is_the_slope_and_none_flows_into_the_past(name, graph):
    weights = OBJECTIVES.get(name, {name: 1.0})
    current, previous = data()
    windows = np.stack([previous, current], axis=1)
    _, gradient = value_and_gradient(lambda windows: TemporalLoss(weights, GRAPHS[graph])(None, windows), windows)
    expected = slopes(current, previous, weights, GRAPHS[graph] or graphs.all_to_all(3))
    np.testing.assert_allclose(gradient[:, 1], expected, atol=1e-6 * max(1, np.abs(expected).max()))
    assert (gradient[:, 0] == 0).all()


def test_objectives_are_the_named_sums():
    current, previous = data()
    terms = loops(current, previous, graphs.all_to_all(3))
    windows = keras.ops.convert_to_tensor(np.stack([previous, current], axis=1))
    found = {name: float(TemporalLoss(weights)(None, windows)) for name, weights in OBJECTIVES.items()}
    assert found["tcloser"] == pytest.approx(2 * terms["tpull"] + terms["var"] + 10 * terms["cov"])
    assert found["notcloser"] == pytest.approx(2 * terms["pull"] + terms["var"] + 10 * terms["cov"])
    assert found["lpl"] == pytest.approx(terms["cont"] + terms["var"] + 10 * terms["cov"])


def test_a_collapsed_ensemble_is_finite_and_pushed_apart():
    collapsed = np.ones((8, 1, 2, 3)) + 1e-6 * np.random.default_rng(0).normal(size=(8, 1, 2, 3))
    windows = np.repeat(collapsed, 2, axis=1)
    loss, gradient = value_and_gradient(lambda windows: TemporalLoss()(None, windows), windows)
    current, gradient = windows[:, 1], gradient[:, 1]
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert loss == pytest.approx(-np.log(1e-4), rel=1e-3)
    moved = current - 1e-6 * gradient / np.abs(gradient).max()
    assert (moved.var(axis=0) > current.var(axis=0)).all()


def test_a_batch_of_one_is_finite():
    loss = TemporalLoss()(None, keras.ops.ones((1, 2, 3, 4)))
    assert np.isfinite(float(loss))


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="embeddings of windows"):
        TemporalLoss()(None, np.zeros((5, 3, 2), np.float32))
    with pytest.raises(ValueError, match="unknown terms \\['push'\\]"):
        TemporalLoss({"push": 1})
    with pytest.raises(ValueError, match="at least one term"):
        TemporalLoss({"pull": 0})


def neural_ensemble(**options):
    fields = area_masks(["a", "b", "a", "b", "b"], ["a", "b"])
    return build_ensemble((5,), fields, lambda i, shape: mlp(shape, [6], 4, 0.0, 1e-3, 1e-2, init_seed=i), **options)


def test_the_ensemble_takes_windows():
    model = neural_ensemble()
    windows = np.random.default_rng(0).poisson(2, (7, 2, 5)).astype(np.float32)
    together = np.asarray(model(windows))
    assert together.shape == (7, 2, 2, 4)
    np.testing.assert_allclose(together[:, 0], model(windows[:, 0]), atol=1e-6)
    np.testing.assert_allclose(together[:, 1], model(windows[:, 1]), atol=1e-6)


def test_fit_on_windows_logs_each_term_and_the_regularisation():
    model = neural_ensemble()
    model.compile(loss=TemporalLoss(OBJECTIVES["notcloser"]))
    windows = np.random.default_rng(0).poisson(2, (40, 2, 5)).astype(np.uint8)
    embeddings = np.asarray(model(windows.astype(np.float32)), dtype=np.float64)
    kernels = [np.asarray(w) for e in model.encoders for w in e.trainable_weights if len(w.shape) == 2]
    penalty = sum(1e-3 * np.abs(k).sum() + 1e-2 * (k**2).sum() for k in kernels)
    expected = loops(embeddings[:, 1], embeddings[:, 0], graphs.all_to_all(2))
    history = model.fit(windows, batch_size=40, verbose=0).history
    total = 2 * expected["pull"] + expected["var"] + 10 * expected["cov"] + penalty
    assert history["loss"][0] == pytest.approx(total, rel=1e-4)
    for name in ("pull", "var", "cov"):
        assert history[name][0] == pytest.approx(expected[name], rel=1e-4)
    assert history["regularisation"][0] == pytest.approx(penalty, rel=1e-4) and "tpull" not in history


def test_normalisation_is_inside_the_model(tmp_path):
    x = np.random.default_rng(0).poisson(3, (50, 5)).astype(np.float32)
    x[:, 2] = 4
    model = neural_ensemble(normalisation=(x.mean(0), x.std(0, ddof=1)))
    plain = neural_ensemble()
    sd = x.std(0, ddof=1)
    np.testing.assert_allclose(model(x), plain((x - x.mean(0)) / np.where(sd == 0, 1, sd)), atol=1e-5)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras")(x), model(x))


def test_serialisation():
    loss = TemporalLoss({"pull": 3.0}, graphs.star(3))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.weights == {"pull": 3.0} and again.graph.family == "star"
