import json

import numpy as np
import pytest

from closer_tf import graphs
from closer_tf.errors import DataError


def pairs(graph):
    return {tuple(edge) for edge in graph.edges.tolist()}


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_edges_of_each_family(n):
    everyone = {(i, j) for i in range(n) for j in range(n) if i != j}
    assert pairs(graphs.all_to_all(n)) == everyone
    assert pairs(graphs.star(n)) == {(i, 0) for i in range(1, n)} | {(0, i) for i in range(1, n)}
    assert pairs(graphs.bidirectional_ring(n)) == {(i, j) for i, j in everyone if (i - j) % n in (1, n - 1)}
    assert pairs(graphs.directional_ring(n)) == {(i, j) for i, j in everyone if (j - i) % n in (1, 2)}
    assert graphs.bidirectional_ring(n).num_edges == (2 if n == 2 else 2 * n)
    assert graphs.directional_ring(n).num_edges == (2 if n == 2 else 2 * n)
    assert graphs.star(n).num_edges == 2 * (n - 1)


def test_weights_are_one_over_the_number_of_edges():
    for graph in (graphs.all_to_all(10), graphs.star(10), graphs.random_graph(10, 20)):
        np.testing.assert_allclose(graph.weights, 1 / graph.num_edges)


def test_random_graphs_are_seeded_and_without_repeats():
    one, same, other = graphs.random_graph(10, 20, 3), graphs.random_graph(10, 20, 3), graphs.random_graph(10, 20, 4)
    assert pairs(one) == pairs(same) != pairs(other)
    assert len(pairs(one)) == 20 and all(i != j for i, j in pairs(one))


def test_random_graphs_use_every_pair_equally():
    counts = np.zeros((4, 4))
    for seed in range(3000):
        edges = graphs.random_graph(4, 3, seed).edges
        counts[edges[:, 0], edges[:, 1]] += 1
    drawn = counts[~np.eye(4, dtype=bool)]
    assert abs(drawn - 750).max() < 5 * np.sqrt(750 * 0.75)


def test_expected_number_of_silent_encoders():
    silent = [len(graphs.random_graph(10, 20, seed).silent()) for seed in range(2000)]
    assert np.mean(silent) == pytest.approx(0.9, abs=0.06)


def test_density():
    assert graphs.random_graph(10, 20).density == pytest.approx(20 / 90)
    assert graphs.all_to_all(7).density == 1


def test_per_target_weighting_of_the_star():
    matrix = graphs.star(5).per_target().matrix()
    np.testing.assert_allclose(matrix[1:, 0], 1 / 4 / 5)
    np.testing.assert_allclose(matrix[0, 1:], 1 / 5)


def test_per_target_weighting_keeps_the_graphs_own_weights():
    graph = graphs.InteractionGraph(3, [(0, 1), (2, 1), (1, 0)], [5, 1, 1]).per_target()
    np.testing.assert_allclose(graph.weights, np.array([5 / 6, 1 / 6, 1]) / 2)


def test_matrix_round_trip():
    matrix = np.array([[0, 2, 0], [1, 0, 0], [0, 5, 0]])
    np.testing.assert_allclose(graphs.from_matrix(matrix).matrix(), matrix / 8)


@pytest.mark.parametrize(
    "edges, weights, message",
    [
        ([], None, "at least one edge"),
        ([(0, 3)], None, "outside 0..2"),
        ([(1, 1)], None, "towards itself"),
        ([(0, 1), (0, 1)], None, "more than once"),
        ([(0, 1)], [1, 2], "one weight per edge"),
        ([(0, 1)], [-1], "not negative"),
        ([(0, 1)], [np.nan], "finite"),
    ],
)
def test_impossible_graphs(edges, weights, message):
    with pytest.raises(ValueError, match=message):
        graphs.InteractionGraph(3, edges, weights)


def test_impossible_edge_count():
    with pytest.raises(ValueError, match="1 to 6 edges"):
        graphs.random_graph(3, 7)


def test_matrices_from_files(tmp_path):
    matrix = np.array([[0, 2, 0], [1, 0, 0], [0, 5.5, 0]])
    (tmp_path / "m.json").write_text(json.dumps(matrix.tolist()))
    (tmp_path / "m.csv").write_text("\ufeff0, 2,0\n1,0,0\n0,5.5,0\n", encoding="utf-8")
    np.save(tmp_path / "m.npy", matrix)
    np.savez(tmp_path / "m.npz", matrix)
    for name in ("m.json", "m.csv", "m.npy", "m.npz"):
        np.testing.assert_array_equal(graphs.read_matrix(tmp_path / name), matrix)
    (tmp_path / "m.txt").write_text("0 1\n1 0\n")
    (tmp_path / "bad.csv").write_text("0,1\n1\n")
    (tmp_path / "words.csv").write_text("from,to\n0,1\n")
    np.savez(tmp_path / "two.npz", a=matrix, b=matrix)
    for name, message in {
        "m.txt": "m.txt: expected a matrix in a .json, .csv, .npy or .npz file",
        "bad.csv": "bad.csv: not a readable matrix of numbers",
        "words.csv": "words.csv: not a readable matrix of numbers",
        "two.npz": "two.npz: expected an array 'graph', found a, b",
    }.items():
        with pytest.raises(DataError, match=message):
            graphs.read_matrix(tmp_path / name)
