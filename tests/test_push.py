"""Edges that push: the loss and its gradient against plain loops, and the paper's loss where there are none."""

import keras
import numpy as np
import pytest
import reference
from gradients import value_and_gradient

from closer_tf import graphs
from closer_tf.config import parse_config
from closer_tf.errors import ConfigError
from closer_tf.nn.objectives import CLoSeRLoss, closer_terms
from closer_tf.nn.pairwise import pair_loss
from closer_tf.training.experiment import make_objective


def embeddings(batch, encoders, dim=3, offset=0.0, seed=0, dtype=np.float32):
    return (np.random.default_rng(seed).normal(size=(batch, encoders, dim)) + offset).astype(dtype)


def push_gradient(values, temperature, graph, stop_gradient):
    """By central differences of the plain loops."""
    mu = values.astype(np.float64)
    arguments = temperature, graph.edges, graph.weights
    if stop_gradient:
        return reference.finite_differences(lambda x: reference.push_loss(x, mu, *arguments), mu)
    return reference.finite_differences(lambda x: reference.push_loss(x, x, *arguments), mu)


def of_push(values, temperature, graph, stop_gradient, dense=None, weight=1.0, memory=1024.0):
    """(push, its gradient): what the push adds to a loss."""

    def loss(point, **push):
        return closer_terms(point, temperature, graph, stop_gradient, dense, memory, **push)["loss"]

    with_push = value_and_gradient(lambda x: loss(x, push=graph, push_weight=weight), values)
    without = value_and_gradient(loss, values)
    return with_push[0] - without[0], with_push[1] - without[1]


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("batch, encoders", [(7, 2), (5, 3), (4, 10)])
def test_push_equals_the_loops(batch, encoders, dense, stop_gradient, offset):
    values, graph = embeddings(batch, encoders, offset=offset), graphs.directional_ring(encoders)
    loss, gradient = of_push(values, 2.0, graph, stop_gradient, dense, weight=3.0)
    assert loss == pytest.approx(3 * reference.push_loss(values, values, 2.0, graph.edges, graph.weights), rel=2e-5)
    expected = 3 * push_gradient(values, 2.0, graph, stop_gradient)
    np.testing.assert_allclose(gradient, expected, atol=3e-5 * np.abs(expected).max())


# Of 5 samples and 4 encoders, with 8 arrays of 4 bytes per logit.
@pytest.mark.parametrize("dense, logits", [(True, 3 * 20), (False, 2 * 25), (False, 2 * 5)], ids=["rows", "edges", "one edge"])
@pytest.mark.parametrize("stop_gradient", [False, True])
def test_blocks_change_nothing(dense, logits, stop_gradient):
    graph, values = graphs.random_graph(4, 5, seed=1), embeddings(5, 4)
    by_encoder = np.ascontiguousarray(values.transpose(1, 0, 2))
    memory = (logits + 0.5) * 32 / 2**20
    loss, gradient = value_and_gradient(lambda x: pair_loss(x, 2.0, graph, stop_gradient, dense, memory, push=True), by_encoder)
    assert loss == pytest.approx(reference.push_loss(values, values, 2.0, graph.edges, graph.weights), rel=1e-5)
    expected = push_gradient(values, 2.0, graph, stop_gradient).transpose(1, 0, 2)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dense", [False, True])
def test_an_edge_moves_the_pushed_encoder_alone(dense):
    graph = graphs.InteractionGraph(3, [(0, 2)])
    by_encoder = embeddings(8, 3).transpose(1, 0, 2).copy()
    _, gradient = value_and_gradient(lambda x: pair_loss(x, 2.0, graph, True, dense, 1024, push=True), by_encoder)
    assert np.all(gradient[1:] == 0) and np.all(np.abs(gradient[0]).sum(axis=1) > 0)


@pytest.mark.parametrize("weight", [0.0, 0])
def test_without_weight_it_is_the_papers_loss_to_the_bit(weight):
    values, ring = embeddings(9, 4), graphs.directional_ring(4)
    paper, none = CLoSeRLoss(2.0, ring, True), CLoSeRLoss(2.0, ring, True, push=graphs.all_to_all(4), push_weight=weight)
    assert none.term_names == paper.term_names == ("attraction", "contrast")
    for one, other in zip(paper.terms(values).values(), none.terms(values).values(), strict=True):
        assert float(one) == float(other)
    (a, of_a), (b, of_b) = (value_and_gradient(lambda x, loss=loss: loss.terms(x)["loss"], values) for loss in (paper, none))
    assert a == b
    np.testing.assert_array_equal(of_a, of_b)


@pytest.mark.parametrize("dense", [False, True])
def test_it_is_exact_at_both_ends(dense):
    """p near 1, where 1 - p is lost in float32; and p near 0, where log(1 - p) is nearly 0."""
    pairs = np.float32([[[0.0], [0.0]], [[30.0], [30.0]]])  # each sample at its own place: 1 - p = exp(-d2 / tau) nearly
    graph = graphs.InteractionGraph(2, [(0, 1)])
    terms = closer_terms(pairs, 9.0, graph, True, dense, push=graph)
    assert float(terms["push"]) == pytest.approx(100.0, rel=1e-6)
    swapped = pairs.copy()
    swapped[:, 1] = swapped[::-1, 1]  # each sample at the other's place
    swapped = (swapped - 15) / 2  # d2 = 225, p = exp(-25) = 1.4e-11
    assert float(closer_terms(swapped, 9.0, graph, True, dense, push=graph)["push"]) == pytest.approx(np.exp(-25), rel=1e-4)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_it_stays_finite(dense, scale):
    graph = graphs.all_to_all(3)
    loss, gradient = of_push(scale * embeddings(6, 3), 3.0, graph, False, dense)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    if scale == 0:  # at chance, p = 1 / B
        assert loss == pytest.approx(-np.log(1 - 1 / 6), rel=1e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_a_sample_alone_in_its_batch_is_not_pushed(dense):
    loss, gradient = of_push(embeddings(1, 3), 3.0, graphs.all_to_all(3), False, dense)
    assert loss == 0 and np.all(gradient == 0)


CLUSTERS = [[[i, j] for i in range(4) for j in range(4) if i != j and (i // 2 == j // 2) == inside] for inside in (True, False)]


def clusters(**push):
    pull = {"family": "custom", "edges": CLUSTERS[0]}
    push = {"graph": {"family": "custom", "edges": CLUSTERS[1]}, **push}
    return {"num_encoders": 4, "objective": {"graph": pull, "push": push, "stop_gradient": True}}


def test_a_config_has_it():
    config = parse_config(clusters(weight=0.5)).resolved()
    loss = make_objective(config)
    assert loss.push_weight == 0.5 and loss.push.edges.tolist() == CLUSTERS[1] and loss.graph.edges.tolist() == CLUSTERS[0]
    assert loss.term_names == ("attraction", "contrast", "push")
    again = CLoSeRLoss.from_config(
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss)).get_config()
    )
    assert again.get_config() == loss.get_config()
    random = {"family": "random", "num_edges": 4}
    content = {"num_encoders": 4, "objective": {"graph": random, "push": {"graph": random}}}
    loss = make_objective(parse_config(content).resolved())
    assert loss.push.edges.tolist() != loss.graph.edges.tolist()
    assert parse_config({"num_encoders": 4}).digest() != parse_config(clusters()).digest()


@pytest.mark.parametrize(
    "content, says",
    [
        (clusters(weight=-1.0), "objective.push.weight: expected greater than or equal to 0, found -1"),
        (clusters(graph={"family": "custom", "edges": [[0, 9]]}), "objective.push.graph: edge .* outside"),
        (clusters() | {"condition": "supervised"}, "objective.push: no part of 'supervised'; expected null"),
        (clusters(graph={"family": "stars"}), "objective.push.graph.family: expected one of"),
    ],
)
def test_mistakes_are_named(content, says):
    with pytest.raises(ConfigError, match=says):
        parse_config(content)
