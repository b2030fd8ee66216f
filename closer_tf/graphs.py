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

from closer_tf.bounds import check_settings
from closer_tf.common.files import given_path, read_text
from closer_tf.common.limits import check_declared, check_regular
from closer_tf.common.npz import read_npy, read_npz
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
        weights: float array (|E|,), not negative; scaled to sum to 1. Default: 1/|E| each (equation 5).
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
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "weights", weights / weights.sum())

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
    check_settings(num_edges=num_edges)
    pairs = all_to_all(num_encoders).edges
    if not 1 <= num_edges <= len(pairs):
        raise ValueError(f"expected 1 to {len(pairs)} edges among {num_encoders} encoders, found {num_edges}")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:num_edges])
    return InteractionGraph(num_encoders, pairs[chosen], family="random")


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
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"expected a square matrix, found shape {matrix.shape}")
    edges = np.argwhere(matrix != 0)
    return InteractionGraph(len(matrix), edges, matrix[tuple(edges.T)])


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


def _ring(num_encoders, steps, family):
    pairs = {(i, (i + step) % num_encoders) for i in range(num_encoders) for step in steps}
    return InteractionGraph(num_encoders, sorted((i, j) for i, j in pairs if i != j), family=family)


def _pair(edge):
    return f"({edge[0]}, {edge[1]})"
