"""Interaction graphs: which encoder is pulled towards which (paper: section 2.4, equations 5 and 15).

An edge (i, j) pulls encoder i towards encoder j. A graph is plain data: edges and their weights, which sum to 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from closer_tf.common.files import check_declared, check_regular, given_path, read_npy, read_npz, read_text
from closer_tf.common.values import check_settings
from closer_tf.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class InteractionGraph:
    """A directed, weighted graph over N encoders.

    Args:
        num_encoders: number of encoders N.
        edges: int array (|E|, 2) of ordered pairs (i, j), i != j, without repeats.
        weights: float array (|E|,), not negative; scaled to sum to 1. Default: 1/|E| each (equation 5). An edge of weight 0
            is left out.
        family: what to call it.

    Raises:
        ValueError: there are fewer than 2 encoders; an edge names an encoder that is not there, itself, or is given twice; a
            weight is negative or not finite.
    """

    num_encoders: int
    edges: np.ndarray
    weights: np.ndarray = None  # type: ignore[assignment]  # an array from `__post_init__` on
    family: str = "custom"

    if TYPE_CHECKING:  # what is taken, of which the fields are made

        def __init__(
            self, num_encoders: int, edges: ArrayLike, weights: ArrayLike | None = None, family: str = "custom"
        ) -> None: ...

    def __post_init__(self):
        check_settings(num_encoders=self.num_encoders)
        edges = np.asarray(self.edges)
        if edges.size and (edges.dtype.kind not in "iu" or edges.ndim != 2 or edges.shape[1] != 2):
            raise ValueError(f"edges: expected pairs of integers (i, j), found shape {edges.shape} of {edges.dtype}")
        edges = edges.reshape(-1, 2).astype(np.int64)
        if len(edges) == 0:
            raise ValueError("an interaction graph needs at least one edge")
        outside = edges[(edges < 0).any(axis=1) | (edges >= self.num_encoders).any(axis=1)]
        if len(outside):
            raise ValueError(f"edge {_pair(outside[0])} names an encoder outside 0..{self.num_encoders - 1}")
        if (edges[:, 0] == edges[:, 1]).any():
            raise ValueError(f"edge {_pair(edges[edges[:, 0] == edges[:, 1]][0])} pulls an encoder towards itself")
        unique, counts = np.unique(edges, axis=0, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"edge {_pair(unique[counts > 1][0])} is given more than once")
        weights = np.ones(len(edges)) if self.weights is None else np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (len(edges),):
            raise ValueError(f"expected one weight per edge ({len(edges)}), found shape {weights.shape}")
        if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ValueError("edge weights must be finite, not negative, and not all zero")
        object.__setattr__(self, "edges", edges[weights > 0])
        object.__setattr__(self, "weights", weights[weights > 0] / weights.sum())

    @property
    def num_edges(self) -> int:
        """Number of edges |E|."""
        return len(self.edges)

    @property
    def density(self) -> float:
        """Interaction density |E| / (N (N - 1))."""
        return self.num_edges / (self.num_encoders * (self.num_encoders - 1))

    def matrix(self) -> np.ndarray:
        """Float array (N, N): the weight of edge (i, j) in row i, column j."""
        matrix = np.zeros((self.num_encoders, self.num_encoders))
        matrix[self.edges[:, 0], self.edges[:, 1]] = self.weights
        return matrix

    def silent(self) -> np.ndarray:
        """Int array: the encoders without an outgoing edge, which stay at their initialisation under stop-gradient."""
        return np.setdiff1d(np.arange(self.num_encoders), self.edges[:, 0])

    def per_target(self) -> InteractionGraph:
        """The same graph, each weight divided by the sum of those towards its target (the published star's weighting)."""
        towards = np.bincount(self.edges[:, 1], weights=self.weights, minlength=self.num_encoders)[self.edges[:, 1]]
        weights = np.divide(self.weights, towards, out=np.zeros_like(self.weights), where=towards > 0)
        return InteractionGraph(self.num_encoders, self.edges, weights, self.family)

    def plot(self, names: Sequence[str] = ()) -> Figure:
        """Draw the graph: circle layout beside the adjacency matrix, with the encoders' names. Returns a matplotlib Figure."""
        from closer_tf.plots import plot_graph

        return plot_graph(self, names)


def all_to_all(num_encoders: int) -> InteractionGraph:
    """Every ordered pair."""
    edges = [(i, j) for i in range(num_encoders) for j in range(num_encoders) if i != j]
    return InteractionGraph(num_encoders, edges, family="all_to_all")


def random_graph(num_encoders: int, num_edges: int, seed: int = 0) -> InteractionGraph:
    """G_N^k: k ordered pairs drawn uniformly without repeats.

    Args:
        num_encoders: number of encoders N.
        num_edges: number of edges k, from 1 to N (N - 1).
        seed: int.
    """
    pairs = _pairs(num_encoders, num_edges)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:num_edges])
    return InteractionGraph(num_encoders, pairs[chosen], family="random")


def spatial(num_encoders: int, num_edges: int, length: float, centres: ArrayLike | None, seed: int = 0) -> InteractionGraph:
    """k ordered pairs drawn without repeats, with probabilities proportional to exp(-distance / length).

    Args:
        num_encoders: number of encoders N.
        num_edges: number of edges k, from 1 to N (N - 1).
        length: in the units of the centres.
        centres: array (N, 2), where the encoders' receptive fields lie, as from `ReceptiveFields.centres`.
        seed: int.

    Raises:
        ValueError: there is no such number of edges, or there are no centres.
    """
    check_settings(length=length)
    pairs = _pairs(num_encoders, num_edges)
    centres = np.asarray(np.nan if centres is None else centres, dtype=np.float64)
    if centres.shape != (num_encoders, 2):
        raise ValueError("family 'spatial': needs receptive fields with a place, which those over images have")
    distance = np.hypot(*(centres[pairs[:, 0]] - centres[pairs[:, 1]]).T)
    gumbel = -np.log(-np.log(np.random.default_rng(seed).random(len(pairs))))
    chosen = np.sort(np.argsort(distance / length - gumbel)[:num_edges])
    return InteractionGraph(num_encoders, pairs[chosen], family="spatial")


def small_world(num_encoders: int, num_edges: int, rewiring: float = 0.1, seed: int = 0) -> InteractionGraph:
    """Watts and Strogatz's small world: a ring of neighbours, each link laid anew with a probability; both ways of a link are
    edges.

    The ring has the fewest neighbours that make k edges or more. Of more, edges drawn at random are left out.

    Args:
        num_encoders: number of encoders N.
        num_edges: number of edges k, from 1 to N (N - 1).
        rewiring: probability with which a link is laid anew.
        seed: int.
    """
    import networkx

    check_settings(rewiring=rewiring)
    _pairs(num_encoders, num_edges)
    rng = np.random.default_rng(seed)
    neighbours = 2 * -(-num_edges // (2 * num_encoders))
    ring = networkx.watts_strogatz_graph(num_encoders, min(neighbours, num_encoders), rewiring, seed=int(rng.integers(2**31)))
    edges = np.array(sorted(networkx.DiGraph(ring).edges))
    kept = np.sort(rng.permutation(len(edges))[:num_edges])
    return InteractionGraph(num_encoders, edges[kept], family="small_world")


def clustered(num_encoders: int, num_edges: int, clusters: int = 2, inside: float = 0.8, seed: int = 0) -> InteractionGraph:
    """A stochastic block model with a fixed number of edges: a share of the k edges lies within blocks of encoders, the rest
    between them, both drawn uniformly without repeats.

    Args:
        num_encoders: number of encoders N.
        num_edges: number of edges k.
        clusters: number of blocks: consecutive encoders, as equally many as can be.
        inside: share of the edges within blocks, rounded to whole edges.
        seed: int.

    Raises:
        ValueError: there are fewer pairs within or between blocks than edges that shall be there.
    """
    check_settings(clusters=clusters, inside=inside)
    pairs = _pairs(num_encoders, num_edges)
    if clusters > num_encoders:
        raise ValueError(f"clusters: expected at most the {num_encoders} encoders, found {clusters}")
    block = np.arange(num_encoders) * clusters // num_encoders
    within = block[pairs[:, 0]] == block[pairs[:, 1]]
    rng, chosen = np.random.default_rng(seed), []
    count = round(inside * num_edges)
    for where, there, wanted in (("within", within, count), ("between", ~within, num_edges - count)):
        if wanted > there.sum():
            raise ValueError(f"expected at most {there.sum()} edges {where} {clusters} clusters, found {wanted}")
        chosen.append(rng.permutation(np.flatnonzero(there))[:wanted])
    return InteractionGraph(num_encoders, pairs[np.sort(np.concatenate(chosen))], family="clustered")


def scale_free(num_encoders: int, num_edges: int, seed: int = 0) -> InteractionGraph:
    """k ordered pairs drawn one by one without repeats, (i, j) with a probability proportional to 1 + the edges towards j so
    far: in-degrees grow by preferential attachment.

    Args:
        num_encoders: number of encoders N.
        num_edges: number of edges k, from 1 to N (N - 1).
        seed: int.
    """
    pairs = _pairs(num_encoders, num_edges)
    rng, left, chosen, towards = np.random.default_rng(seed), np.ones(len(pairs)), [], np.ones(num_encoders)
    for _ in range(num_edges):
        weights = left * towards[pairs[:, 1]]
        drawn = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
        chosen.append(drawn)
        left[drawn] = 0
        towards[pairs[drawn, 1]] += 1
    return InteractionGraph(num_encoders, pairs[np.sort(chosen)], family="scale_free")


def star(num_encoders: int) -> InteractionGraph:
    """Every encoder towards encoder 0, and encoder 0 towards each of them."""
    edges = [pair for i in range(1, num_encoders) for pair in ((i, 0), (0, i))]
    return InteractionGraph(num_encoders, edges, family="star")


def bidirectional_ring(num_encoders: int) -> InteractionGraph:
    """Every encoder towards its two neighbours around the ring."""
    return _ring(num_encoders, (1, -1), "bidirectional_ring")


def directional_ring(num_encoders: int) -> InteractionGraph:
    """Every encoder towards the next one and the one after it around the ring, never itself."""
    return _ring(num_encoders, (1, 2), "directional_ring")


def from_matrix(matrix: ArrayLike) -> InteractionGraph:
    """A graph from a weighted matrix: entry (i, j) is the weight of the edge that pulls i towards j; 0 is no edge.

    Args:
        matrix: float array (N, N) with a zero diagonal.

    Raises:
        ValueError: it is not square, holds what is not finite or negative, or an encoder is pulled towards itself.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected a square matrix, found shape {matrix.shape}")
    for place in np.argwhere(~np.isfinite(matrix) | (matrix < 0))[:1]:
        raise ValueError(f"expected finite weights that are not negative, found {matrix[tuple(place)]:g} at {_pair(place)}")
    edges = np.argwhere(matrix != 0)
    return InteractionGraph(len(matrix), edges, matrix[tuple(edges.T)])


def measures(graph: InteractionGraph) -> dict[str, float | int | None]:
    """What the literature describes a graph by, whatever its weights.

    Args:
        graph: `InteractionGraph`.

    Returns:
        dict: `edges`; `density`; `reciprocity`, the share of edges whose way back is an edge too; `clustering`, the mean over
        encoders of the directed clustering coefficient; `path_length`, the mean over ordered pairs between which there is a way
        along edges; `reachable`, the share of ordered pairs between which there is one; `silent`, encoders without an edge that
        pulls them.
    """
    import networkx

    drawn = networkx.DiGraph()
    drawn.add_nodes_from(range(graph.num_encoders))
    drawn.add_edges_from(graph.edges.tolist())
    lengths = [length for _, found in networkx.all_pairs_shortest_path_length(drawn) for length in found.values() if length]
    return {
        "edges": drawn.number_of_edges(),
        "density": networkx.density(drawn),
        "reciprocity": networkx.overall_reciprocity(drawn),
        "clustering": networkx.average_clustering(drawn),
        "path_length": float(np.mean(lengths)),
        "reachable": len(lengths) / (graph.num_encoders * (graph.num_encoders - 1)),
        "silent": sum(degree == 0 for _, degree in drawn.out_degree),
    }


def read_matrix(path: str | os.PathLike) -> np.ndarray:
    """The weighted matrix of a .json file (a list of lists), a .csv file (numbers between commas), an .npy file, or of an .npz
    file's array `graph` or only array.

    Args:
        path: the file.

    Returns:
        Float array.

    Raises:
        DataError: the file cannot be read or holds no such matrix.
    """
    path = given_path(path)
    check_regular(path)
    try:
        if path.suffix == ".json":
            check_declared(path, 40 * path.stat().st_size)  # what JSON of short numbers grows to
            return np.array(json.loads(read_text(path)), dtype=np.float64)
        if path.suffix == ".csv":
            check_declared(path, 8 * path.stat().st_size)
            rows = read_text(path).split("\n")
            return np.array([row.split(",") for row in rows if row.strip()], dtype=np.float64)
        if path.suffix == ".npy":
            return read_npy(path).astype(np.float64)
        if path.suffix != ".npz":
            raise DataError(f"{path}: expected a matrix in a .json, .csv, .npy or .npz file")
        stored = read_npz(path)
        if "graph" not in stored and len(stored) != 1:
            raise DataError(f"{path}: expected an array 'graph', found {', '.join(stored) or 'nothing'}")
        return np.asarray(stored["graph"] if "graph" in stored else next(iter(stored.values())), dtype=np.float64)
    except (OSError, ValueError, TypeError, StopIteration, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: not a readable matrix of numbers: {error}") from error


def _pairs(num_encoders, num_edges):
    """All ordered pairs (N (N - 1), 2), of which there have to be as many as edges."""
    check_settings(num_edges=num_edges)
    pairs = all_to_all(num_encoders).edges
    if not 1 <= num_edges <= len(pairs):
        raise ValueError(f"expected 1 to {len(pairs)} edges among {num_encoders} encoders, found {num_edges}")
    return pairs


def _ring(num_encoders, steps, family):
    pairs = {(i, (i + step) % num_encoders) for i in range(num_encoders) for step in steps}
    return InteractionGraph(num_encoders, sorted((i, j) for i, j in pairs if i != j), family=family)


def _pair(edge):
    return f"({edge[0]}, {edge[1]})"
