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


PLACES = np.array([(x, y) for x in range(5) for y in range(2)], dtype=float)
DRAWN = {
    "spatial": lambda n, k, seed=0: graphs.spatial(n, k, 1.0, PLACES[:n], seed),
    "small_world": lambda n, k, seed=0: graphs.small_world(n, k, 0.3, seed),
    "clustered": lambda n, k, seed=0: graphs.clustered(n, k, 2, 0.5, seed),
    "scale_free": graphs.scale_free,
}


@pytest.mark.parametrize("family", DRAWN)
def test_drawn_families_have_the_edges_that_are_asked_for_and_are_seeded(family):
    for n, k in ((10, 20), (10, 7), (10, 31), (9, 40), (5, 2), (3, 3)):
        graph = DRAWN[family](n, k, 3)
        assert graph.num_edges == len(pairs(graph)) == k and graph.num_encoders == n and graph.family == family
        assert pairs(graph) == pairs(DRAWN[family](n, k, 3))
        np.testing.assert_allclose(graph.weights, 1 / k)
    assert len({tuple(map(tuple, DRAWN[family](10, 20, seed).edges.tolist())) for seed in range(20)}) > 10
    for k in (0, 91):
        with pytest.raises(ValueError, match="edges"):
            DRAWN[family](10, k)


def test_drawn_families_are_the_same_for_ever():
    """Also under another version of networkx, which lays the small world."""
    assert graphs.small_world(6, 10, 0.5, 7).edges.tolist() == PINNED["small_world"]
    for family, make in DRAWN.items():
        assert make(5, 4, 7).edges.tolist() == PINNED[family + " of 5"], family


PINNED = {
    "small_world": [[0, 1], [0, 5], [1, 0], [1, 3], [1, 4], [2, 5], [3, 1], [4, 1], [5, 1], [5, 2]],
    "spatial of 5": [[0, 2], [1, 2], [4, 0], [4, 3]],
    "small_world of 5": [[0, 1], [1, 0], [4, 1], [4, 2]],
    "clustered of 5": [[0, 1], [1, 3], [1, 4], [3, 4]],
    "scale_free of 5": [[0, 4], [3, 0], [3, 2], [4, 1]],
}


@pytest.mark.parametrize("family", ["spatial", "small_world", "scale_free"])
def test_drawn_families_reach_every_pair(family):
    assert pairs(DRAWN[family](6, 30)) == pairs(graphs.all_to_all(6))


def test_spatial_edges_follow_the_distance():
    """One edge of two pairs at distances 1 and 3: their odds are exp(2 / length)."""
    places = np.array([(0, 0), (0, 1), (0, 3)], dtype=float)
    counts = {}
    for seed in range(4000):
        ((i, j),) = graphs.spatial(3, 1, 2.0, places, seed).edges.tolist()
        counts[abs(places[i] - places[j]).max()] = counts.get(abs(places[i] - places[j]).max(), 0) + 1
    assert counts[1] / counts[3] == pytest.approx(np.exp(2 / 2), rel=0.15)
    assert counts[2] / counts[3] == pytest.approx(np.exp(1 / 2), rel=0.15)
    for nowhere in (None, places[:2]):
        with pytest.raises(ValueError, match="'spatial': needs receptive fields with a place"):
            graphs.spatial(3, 1, 2.0, nowhere)


def test_a_small_world_without_rewiring_is_a_ring_and_with_it_is_shorter():
    assert pairs(graphs.small_world(10, 20, 0.0)) == pairs(graphs.bidirectional_ring(10))
    both = graphs.small_world(20, 80, 0.0)
    assert pairs(both) == {(i, (i + step) % 20) for i in range(20) for step in (1, -1, 2, -2)}
    ring, world = graphs.measures(both), graphs.measures(graphs.small_world(20, 80, 0.2))
    assert ring["clustering"] == pytest.approx(0.5) and ring["reciprocity"] == 1
    assert world["path_length"] < ring["path_length"] and world["edges"] == 80


def test_clusters_hold_their_share_of_the_edges():
    graph = graphs.clustered(10, 20, 2, 0.8, 1)
    inside = [(i < 5) == (j < 5) for i, j in graph.edges]
    assert sum(inside) == 16
    assert all((i < 5) == (j < 5) for i, j in graphs.clustered(10, 20, 2, 1.0).edges)
    for seed in range(3):
        block = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
        edges = graphs.clustered(10, 9, 3, 1.0, seed).edges
        assert (block[edges[:, 0]] == block[edges[:, 1]]).all()
    with pytest.raises(ValueError, match="expected at most 12 edges within 2 clusters, found 13"):
        graphs.clustered(6, 13, 2, 1.0)
    with pytest.raises(ValueError, match="clusters: expected at most the 3 encoders, found 4"):
        graphs.clustered(3, 2, 4)


def test_scale_free_graphs_have_hubs():
    """The largest in-degree of a scale-free graph is above that of uniformly drawn edges, and the first edge falls on any."""
    largest = {
        make: np.mean([np.bincount(make(30, 60, seed).edges[:, 1]).max() for seed in range(50)])
        for make in (graphs.scale_free, graphs.random_graph)
    }
    assert largest[graphs.scale_free] > 1.5 * largest[graphs.random_graph]
    first = [graphs.scale_free(4, 1, seed).edges[0].tolist() for seed in range(1200)]
    assert min(first.count(list(pair)) for pair in pairs(graphs.all_to_all(4))) > 60  # 100 expected of each


def test_preferential_attachment_is_proportional_to_one_more_than_the_edges_so_far():
    """Of three encoders the second edge falls on the target of the first (one pair is left, weight 2) with 2 / 6."""
    same = 0
    for seed in range(3000):
        graph = graphs.scale_free(3, 2, seed)
        same += len(set(graph.edges[:, 1])) == 1
    assert same / 3000 == pytest.approx(2 / 6, abs=0.03)


def test_measures_of_known_graphs():
    everyone = graphs.measures(graphs.all_to_all(5))
    assert everyone == dict(edges=20, density=1, reciprocity=1, clustering=1, path_length=1, reachable=1, silent=0)
    chain = graphs.measures(graphs.InteractionGraph(4, [(0, 1), (1, 2)]))
    assert chain["path_length"] == pytest.approx((1 + 1 + 2) / 3) and chain["reachable"] == pytest.approx(3 / 12)
    assert (chain["silent"], chain["reciprocity"], chain["clustering"], chain["edges"]) == (2, 0, 0, 2)
    ring = graphs.measures(graphs.directional_ring(10))
    assert ring["density"] == pytest.approx(20 / 90) and ring["reciprocity"] == 0
    assert ring["path_length"] == pytest.approx(np.mean([(d + 1) // 2 for d in range(1, 10)]))
    weightless = graphs.InteractionGraph(3, [(0, 1), (1, 2)], [1, 0])
    assert graphs.measures(weightless)["edges"] == 1 and graphs.measures(weightless)["silent"] == 2


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
