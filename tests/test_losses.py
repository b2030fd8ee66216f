import keras
import numpy as np
import pytest
import reference
from gradients import value_and_gradient

from closer_tf import graphs
from closer_tf.nn.objectives import CLoSeRLoss, closer_terms


def gradient_of(embeddings, temperature, graph, stop_gradient, dense=None, **options):
    def loss(point):
        return closer_terms(point, temperature, graph, stop_gradient, dense, **options)["loss"]

    return value_and_gradient(loss, embeddings)


def embeddings(batch, encoders, dim=5, offset=0.0, seed=0):
    values = np.random.default_rng(seed).normal(size=(batch, encoders, dim)) + offset
    return values.astype(np.float32)


GRAPHS = {
    "all_to_all": graphs.all_to_all,
    "random": lambda n: graphs.random_graph(n, max(1, n * (n - 1) // 3), seed=4),
    "star": graphs.star,
    "star_per_target": lambda n: graphs.star(n).per_target(),
    "bidirectional_ring": graphs.bidirectional_ring,
    "directional_ring": graphs.directional_ring,
    "weighted": lambda n: graphs.from_matrix(np.arange(n * n).reshape(n, n) * (1 - np.eye(n))),
}


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("encoders", [2, 3, 10])
@pytest.mark.parametrize("batch", [7, 16])
def test_all_to_all_equals_the_equation(batch, encoders, stop_gradient, offset):
    values = embeddings(batch, encoders, offset=offset)
    graph = graphs.all_to_all(encoders)
    loss, gradient = gradient_of(values, 3.0, None, stop_gradient)
    expected = reference.closer_loss(values, 3.0, graph.edges, graph.weights)
    expected_gradient = reference.closer_gradient(values, 3.0, graph.edges, graph.weights, stop_gradient)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5 * np.abs(expected_gradient).max())


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("family", GRAPHS)
def test_every_graph_equals_the_equation(family, stop_gradient, dense):
    graph = GRAPHS[family](5)
    values = embeddings(9, 5)
    loss, gradient = gradient_of(values, 2.0, graph, stop_gradient, dense)
    expected = reference.closer_loss(values, 2.0, graph.edges, graph.weights)
    expected_gradient = reference.closer_gradient(values, 2.0, graph.edges, graph.weights, stop_gradient)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5 * np.abs(expected_gradient).max())


# Of 9 samples and 5 encoders, with 5 arrays of 4 bytes per logit: three rows of all pairs at once, two edges, two rows of one.
BLOCKS = {"rows of all pairs": (True, 3 * 45), "edges": (False, 2 * 81), "rows of an edge": (False, 2 * 9)}


@pytest.mark.parametrize("known_batch", [True, False])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("family", ["all_to_all", "star_per_target", "weighted", "random"])
def test_blocks_change_nothing(family, stop_gradient, blocks, known_batch):
    graph, values = GRAPHS[family](5), embeddings(9, 5)
    dense, logits = BLOCKS[blocks]
    memory = (logits + 0.5) * 20 / 2**20

    def blockwise(point):
        return gradient_of(point, 2.0, graph, stop_gradient, dense, max_memory_mb=memory)

    if known_batch:
        loss, gradient = blockwise(values)
    else:
        tf = pytest.importorskip("tensorflow", reason="TensorFlow alone traces batches of unknown size")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("TensorFlow alone traces batches of unknown size")

        @tf.function(input_signature=[tf.TensorSpec((None, 5, 5))])
        def traced(point):
            with tf.GradientTape() as tape:
                tape.watch(point)
                loss = closer_terms(point, 2.0, graph, stop_gradient, dense, memory)["loss"]
            return loss, tape.gradient(loss, point)

        loss, gradient = (result.numpy() for result in traced(values))
    expected = reference.closer_gradient(values, 2.0, graph.edges, graph.weights, stop_gradient)
    assert loss == pytest.approx(reference.closer_loss(values, 2.0, graph.edges, graph.weights), rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


def test_the_reference_gradient_is_the_slope_of_the_reference_loss():
    graph = graphs.directional_ring(3)
    values = embeddings(4, 3, dim=2).astype(np.float64)
    slope = reference.finite_differences(lambda x: reference.closer_loss(x, 1.5, graph.edges, graph.weights), values)
    gradient = reference.closer_gradient(values, 1.5, graph.edges, graph.weights, stop_gradient=False)
    np.testing.assert_allclose(gradient, slope, atol=1e-8)


@pytest.mark.parametrize("dense", [False, True])
def test_a_single_edge_moves_only_the_pulled_encoder(dense):
    graph = graphs.InteractionGraph(3, [(0, 2)])
    _, gradient = gradient_of(embeddings(8, 3), 2.0, graph, stop_gradient=True, dense=dense)
    assert np.all(gradient[:, 1:] == 0)
    assert np.all(np.abs(gradient[:, 0]).sum(axis=1) > 0)


@pytest.mark.parametrize("batch", [2, 7, 128])
@pytest.mark.parametrize("dense", [False, True])
def test_identical_embeddings_give_log_batch(batch, dense):
    same = np.broadcast_to(np.float32([0.3, -2.0, 5.0]), (batch, 4, 3)).copy()
    terms = closer_terms(same, 10.0, graphs.star(4), dense=dense)
    assert float(terms["loss"]) == pytest.approx(np.log(batch), rel=1e-5)
    assert float(terms["attraction"]) == pytest.approx(0, abs=1e-6)


def test_the_parts_are_those_of_the_equation():
    values, tau = embeddings(6, 3), 2.5
    mu = values.astype(np.float64)
    attraction, contrast = [], []
    for i, j in graphs.all_to_all(3).edges:
        d2 = ((mu[:, None, i] - mu[None, :, j]) ** 2).sum(axis=2)
        attraction.append(np.diag(d2).mean() / tau)
        contrast.append(np.log(np.exp(-d2 / tau).sum(axis=0)).mean())
    terms = closer_terms(values, tau)
    assert float(terms["attraction"]) == pytest.approx(np.mean(attraction), rel=1e-5)
    assert float(terms["contrast"]) == pytest.approx(np.mean(contrast), rel=1e-5)


def test_full_density_with_stop_gradient_is_all_to_all_with_stop_gradient():
    values = embeddings(8, 4)
    full = graphs.random_graph(4, 12, seed=9)
    one, two = gradient_of(values, 3.0, full, True, dense=False), gradient_of(values, 3.0, None, True, dense=True)
    assert one[0] == pytest.approx(two[0], rel=1e-6)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-5, atol=1e-8)


@pytest.mark.tensorflow  # under JAX some operations of Keras round to float32
def test_float64_stays_float64():
    values = embeddings(6, 3).astype(np.float64)
    graph = graphs.all_to_all(3)
    loss, _ = gradient_of(values, 3.0, graph, False)
    assert loss == pytest.approx(reference.closer_loss(values, 3.0, graph.edges, graph.weights), rel=1e-13)


def test_half_precision_embeddings_are_compared_in_float32():
    values = embeddings(6, 3).astype(np.float16)
    loss = closer_terms(keras.ops.convert_to_tensor(values), 3.0)["loss"]
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    graph = graphs.all_to_all(3)
    assert float(loss) == pytest.approx(reference.closer_loss(values, 3.0, graph.edges, graph.weights), rel=1e-5)


def test_large_distances_stay_finite():
    values = 1e4 * embeddings(6, 3)
    loss, gradient = gradient_of(values, 1.0, None, False)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="batch, encoders, dimensions"):
        closer_terms(np.zeros((3, 4), np.float32), 1.0)
    with pytest.raises(ValueError, match="graph has 3 encoders, the embeddings have 4"):
        closer_terms(np.zeros((5, 4, 2), np.float32), 1.0, graphs.star(3))


def test_the_loss_object_survives_serialisation():
    loss = CLoSeRLoss(7.0, graphs.star(4).per_target(), stop_gradient=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    values = embeddings(5, 4)
    assert float(again(None, values)) == float(loss(None, values))
    assert again.stop_gradient and again.graph.family == "star"


def test_default_temperature_is_ten_per_dimension():
    values = embeddings(5, 3, dim=4)
    assert float(CLoSeRLoss()(None, values)) == float(CLoSeRLoss(40.0)(None, values))


def test_impossible_temperature():
    with pytest.raises(ValueError, match="temperature"):
        CLoSeRLoss(0.0)
