"""Receptive fields: which part of the input each encoder sees (spec: "Mask sampling" in the paper's methods).

A receptive field is a set of cells of a grid. The grid counts pixels (`patch_size` 1), square patches, or the units of a
recording (one row). All schemes draw from an explicit seed with NumPy alone, so masks are the same under every backend and
version, and encoder i's mask does not depend on how many encoders follow it; but for its place where all share a map
(`retinotopic_masks`, `contiguous_patch_masks`).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from closer_tf.common.files import given_path, read_npy, read_npz
from closer_tf.common.values import as_areas, check_settings
from closer_tf.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_SMOOTHING = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


@dataclass(frozen=True)
class ReceptiveFields:
    """The receptive fields of an ensemble.

    Args:
        indices: one sorted int array per encoder: the cells it sees, counted row by row through `grid`. Lengths may differ.
        grid: (rows, columns) of cells; (1, units) for recordings.
        patch_size: side of a cell in pixels; 1 for single pixels and for recordings.
        labels: optional, one name per encoder (brain areas).

    Raises:
        ValueError: there is no encoder, or one sees nothing, a cell twice, or a cell outside the grid.
    """

    indices: tuple[np.ndarray, ...]
    grid: tuple[int, ...]
    patch_size: int = 1
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self):
        object.__setattr__(self, "indices", tuple(_positions(cells, i) for i, cells in enumerate(self.indices)))
        object.__setattr__(self, "grid", tuple(int(n) for n in self.grid))
        check_settings(patch_size=self.patch_size)
        if not self.indices:
            raise ValueError("expected the receptive fields of at least one encoder, found none")
        for i, cells in enumerate(self.indices):
            if cells.ndim != 1 or len(cells) == 0:
                raise ValueError(f"the receptive field of encoder {i} is empty")
            if cells.min() < 0 or cells.max() >= math.prod(self.grid):
                raise ValueError(f"the receptive field of encoder {i} reaches outside the {self.grid} grid")
            if len(np.unique(cells)) != len(cells):
                raise ValueError(f"the receptive field of encoder {i} holds a cell twice")

    @property
    def num_encoders(self) -> int:
        """Number of encoders N."""
        return len(self.indices)

    def cells(self) -> np.ndarray:
        """Boolean array (N, rows, columns): which cells of the grid each encoder sees."""
        seen = np.zeros((self.num_encoders, math.prod(self.grid)), dtype=bool)
        for row, cells in zip(seen, self.indices):
            row[cells] = True
        return seen.reshape(self.num_encoders, *self.grid)

    def pixels(self) -> np.ndarray:
        """Boolean array (N, height, width): which pixels each encoder sees."""
        return self.cells().repeat(self.patch_size, axis=1).repeat(self.patch_size, axis=2)

    def coverage(self) -> np.ndarray:
        """Int array (height, width): how many encoders see each pixel."""
        return self.pixels().sum(axis=0)

    def centres(self) -> np.ndarray | None:
        """Float array (N, 2): row and column in pixels of the middle of what each encoder sees; (0, 0) is the first pixel's.

        None where the cells are units of a recording, which have no place.
        """
        if self.labels or self.grid[0] == 1:
            return None
        places = [np.stack(np.divmod(cells, self.grid[1]), axis=1).mean(axis=0) for cells in self.indices]
        return np.array(places) * self.patch_size + (self.patch_size - 1) / 2

    def apply(self, stimuli: np.ndarray, encoder: int) -> np.ndarray:
        """What one encoder sees of raw stimuli, as a matrix.

        Args:
            stimuli: array (n, height, width, channels) or (n, units).
            encoder: int, which encoder.

        Returns:
            Array (n, cells * values per cell), cell by cell as the encoder receives them.
        """
        stimuli = np.asarray(stimuli)
        cells = self.indices[encoder]
        if stimuli.ndim == 2:
            return stimuli[:, cells]
        rows, columns = np.divmod(cells, self.grid[1])
        offsets = np.arange(self.patch_size)
        y = (rows[:, None] * self.patch_size + offsets)[:, :, None]
        x = (columns[:, None] * self.patch_size + offsets)[:, None, :]
        return stimuli[:, y, x].reshape(len(stimuli), -1)

    def plot(self, image: np.ndarray) -> Figure:
        """Draw what each encoder sees of an image (height, width, channels), and the coverage. Returns a matplotlib Figure."""
        from closer_tf.plots import plot_receptive_fields

        return plot_receptive_fields(self, image)

    def to_bytes(self) -> bytes:
        """The receptive fields as the content of an .npz file (plain arrays, no pickles)."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            cells=np.concatenate(self.indices),
            lengths=np.array([len(cells) for cells in self.indices]),
            grid=np.array(self.grid),
            patch_size=np.array(self.patch_size),
            labels=np.array(self.labels, dtype=str),
        )
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Read what `to_bytes` wrote.

        Args:
            path: an .npz file.

        Raises:
            DataError: the file cannot be read or is not one of receptive fields.
        """
        stored = read_npz(path)
        try:
            return cls(
                indices=tuple(np.split(stored["cells"], np.cumsum(stored["lengths"])[:-1])),
                grid=tuple(stored["grid"]),
                patch_size=int(stored["patch_size"]),
                labels=tuple(str(label) for label in stored["labels"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, IndexError) as error:
            raise DataError(f"{path}: not a file of receptive fields: {error}") from error


def gaussian_masks(
    image_size: Sequence[int], num_encoders: int, fraction: float, sigma: float = 2.0, seed: int = 0
) -> ReceptiveFields:
    """Pixels around a random centre, drawn without replacement with p ~ exp(-distance^2 / (2 sigma^2)).

    Args:
        image_size: (height, width) in pixels.
        num_encoders: number of encoders N.
        fraction: image fraction q; floor(q * height * width) pixels are drawn.
        sigma: standard deviation in pixels.
        seed: int.

    Returns:
        `ReceptiveFields` over pixels.

    Raises:
        ValueError: a setting is out of its bounds, or the fraction leaves no pixel.
    """
    if np.ndim(sigma):
        raise ValueError(f"sigma: expected one number for all encoders, found {sigma!r}; for others make `ReceptiveFields`")
    check_settings(sigma=sigma)
    count = _count(fraction, math.prod(image_size), "pixels")
    indices = []
    for i in range(num_encoders):
        rng = np.random.default_rng([seed, i])
        centre = rng.integers(image_size[0]), rng.integers(image_size[1])
        indices.append(_drawn_pixels(rng, image_size, centre, sigma, count))
    return ReceptiveFields(tuple(indices), tuple(image_size))


def retinotopic_masks(
    image_size: Sequence[int],
    num_encoders: int,
    fraction: float,
    layout: str = "uniform",
    sigma: float = 2.0,
    slope: float = 0.0,
    e2: float | None = None,
    jitter: float = 0.1,
    seed: int = 0,
) -> ReceptiveFields:
    """Pixels drawn as in `gaussian_masks`, around centres on a map: `retinotopic_centres`, whose arguments these are.

    Args:
        fraction: image fraction q; floor(q * height * width) pixels are drawn.

    Returns:
        `ReceptiveFields` over pixels. Which pixels encoder i draws around its centre follows from (seed, i); the centre depends
        on how many encoders share the map.

    Raises:
        ValueError: a setting is out of its bounds, or the fraction leaves no pixel.
    """
    count = _count(fraction, math.prod(image_size), "pixels")
    centres, sigmas = retinotopic_centres(image_size, num_encoders, layout, sigma, slope, e2, jitter, seed)
    indices = [
        _drawn_pixels(np.random.default_rng([seed, i]), image_size, centre, width, count)
        for i, (centre, width) in enumerate(zip(centres, sigmas))
    ]
    return ReceptiveFields(tuple(indices), tuple(image_size))


def retinotopic_centres(
    image_size: Sequence[int],
    num_encoders: int,
    layout: str = "uniform",
    sigma: float = 2.0,
    slope: float = 0.0,
    e2: float | None = None,
    jitter: float = 0.1,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and widths of receptive fields on a map: a jittered hexagonal lattice whose place and direction are drawn.

    The lattice lies in a map of the image in which equal areas hold equally many fields. Its spacing is such that exactly N of
    its points are within the image. Encoders are numbered in random order, so that neighbours in number are not neighbours in
    the map.

    Args:
        image_size: (height, width) in pixels.
        num_encoders: number of encoders N.
        layout: "uniform": the map is the image. "foveal": around the image's middle, fields lie as densely as the square of the
            linear magnification M = 1 / (1 + E / e2) at E pixels from it.
        sigma, slope: a field's standard deviation in pixels is sigma + slope * E.
        e2: pixels from the middle at which the magnification is half of the middle's. Default: a quarter of the shorter side.
        jitter: standard deviation of the centres' displacement, in spacings of the lattice.
        seed: int.

    Returns:
        (centres, sigmas): float arrays (N, 2), row and column in pixels, and (N,).

    Raises:
        ValueError: a setting is out of its bounds, or there is no such layout.
    """
    if layout not in ("uniform", "foveal"):
        raise ValueError(f"layout: expected 'uniform' or 'foveal', found {layout!r}")
    e2 = min(image_size) / 4 if e2 is None else e2
    check_settings(sigma=sigma, slope=slope, e2=e2, jitter=jitter)
    half = np.array(image_size) / 2

    def on_map(eccentricity):
        return eccentricity if layout == "uniform" else _foveal_radius(eccentricity, e2)

    def reach(angle):
        """Pixels from the middle to the border."""
        with np.errstate(divide="ignore"):
            return np.minimum(half[0] / np.abs(np.sin(angle)), half[1] / np.abs(np.cos(angle)))

    rng = np.random.default_rng([seed, 2**31])
    points = _hexagonal_lattice(num_encoders, on_map(reach(np.linspace(0, 2 * np.pi, 3600, endpoint=False))), rng)
    # Seen from the middle the image has no bay, so that a point of the lattice, as that shrinks, comes in once and stays.
    comes_in_at = on_map(reach(np.arctan2(points[:, 0], points[:, 1]))) / np.hypot(*points.T)
    order = np.argsort(-comes_in_at, kind="stable")
    spacing = math.sqrt(comes_in_at[order[num_encoders - 1]] * comes_in_at[order[num_encoders]])
    points = spacing * points[rng.permutation(order[:num_encoders])]
    points += [np.random.default_rng([seed, i, 2**31]).normal(0, jitter * spacing, 2) for i in range(num_encoders)]
    radius, furthest = np.hypot(*points.T), np.linspace(0, 2 * np.hypot(*half), 10_001)
    eccentricity = np.interp(radius, on_map(furthest), furthest)
    directions = points / np.maximum(radius, 1e-12)[:, None]
    centres = np.clip(half - 0.5 + eccentricity[:, None] * directions, 0, np.array(image_size) - 1.0)
    return centres, sigma + slope * np.hypot(*(centres - (half - 0.5)).T)


def _foveal_radius(eccentricity, e2):
    """Distance from the middle in a map where equal areas hold equally many fields: r dr = M^2 E dE."""
    u = eccentricity / e2
    return e2 * np.sqrt(2 * np.maximum(np.log1p(u) - u / (1 + u), 0))


def _hexagonal_lattice(count, radii, rng):
    """Points (n, 2) of a hexagonal lattice of spacing 1 around the origin, its offset and direction drawn: all that are within
    a region of so many equal parts of an area that holds `count`, and more.

    Args:
        count: how many points the region shall hold.
        radii: array, the region's radius in equal steps of the angle.
        rng: NumPy generator.
    """
    area = np.pi * np.mean(np.square(radii))
    most = math.ceil(1.5 * radii.max() / math.sqrt(area * 2 / math.sqrt(3) / count)) + 3
    angle, offset = rng.uniform(0, np.pi / 3), rng.random(2)
    i, j = (steps.ravel() + shift for steps, shift in zip(np.mgrid[-most : most + 1, -most : most + 1], offset))
    x, y = i + j / 2, j * math.sqrt(3) / 2
    return np.stack([x * math.sin(angle) + y * math.cos(angle), x * math.cos(angle) - y * math.sin(angle)], axis=1)


def expected_coverage(image_size: Sequence[int], centres: np.ndarray, sigmas: np.ndarray, fraction: float) -> np.ndarray:
    """How many encoders see each pixel on average over draws of pixels around given centres.

    A pixel of weight w is among those drawn without replacement with a probability of nearly 1 - exp(-w t), where t is such
    that these sum to the number of pixels drawn (Rosen 1972).

    Args:
        image_size: (height, width) in pixels.
        centres, sigmas: arrays (N, 2) and (N,) in pixels, as from `retinotopic_centres`.
        fraction: image fraction q.

    Returns:
        Float array (height, width), which sums to N times the number of pixels that an encoder sees.

    Raises:
        ValueError: the fraction is out of its bounds or leaves no pixel.
    """
    count = _count(fraction, math.prod(image_size), "pixels")
    expected = np.zeros(tuple(image_size))
    for centre, sigma in zip(centres, sigmas):
        log_p = _log_density(image_size, centre, sigma)
        low, high = -log_p.max() - 50, -log_p.min() + 50  # of log t
        for _ in range(100):
            middle = (low + high) / 2
            seen = -np.expm1(-np.exp(np.minimum(log_p + middle, 50)))
            low, high = (middle, high) if seen.sum() < count else (low, middle)
        expected += seen
    return expected


def _log_density(image_size, centre, sigma):
    """The logarithm of what each pixel's probability is proportional to, (height, width)."""
    rows, columns = np.indices(image_size)
    return -((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * sigma**2)


def _drawn_pixels(rng, image_size, centre, sigma, count):
    """Sorted positions of `count` pixels drawn around a centre without replacement."""
    # The largest of log p + Gumbel noise are a draw without replacement, whatever p underflows to.
    gumbel = -np.log(-np.log(rng.random(image_size)))
    return np.sort(np.argsort(-(_log_density(image_size, centre, sigma) + gumbel), axis=None)[:count])


def random_patch_masks(
    image_size: Sequence[int], num_encoders: int, fraction: float, patch_size: int = 4, seed: int = 0
) -> ReceptiveFields:
    """Patches drawn uniformly without replacement.

    Args:
        image_size: (height, width) in pixels.
        num_encoders: number of encoders N.
        fraction: image fraction q; floor(q * patches) patches are drawn.
        patch_size: side of a patch in pixels.
        seed: int.

    Returns:
        `ReceptiveFields` over patches.

    Raises:
        ValueError: a setting is out of its bounds, the patch size does not divide the image, or the fraction leaves
            no patch.
    """
    grid = _patch_grid(image_size, patch_size)
    count = _count(fraction, math.prod(grid), f"{patch_size} x {patch_size} patches")
    indices = [np.sort(np.random.default_rng([seed, i]).permutation(math.prod(grid))[:count]) for i in range(num_encoders)]
    return ReceptiveFields(tuple(indices), grid, patch_size)


def contiguous_patch_masks(
    image_size: Sequence[int], num_encoders: int, fraction: float, patch_size: int = 4, centres: str = "paper", seed: int = 0
) -> ReceptiveFields:
    """Patches near a random centre patch, with a ragged border.

    The distance of every cell to the centre, plus uniform noise in [0, 2], is smoothed by a 3 x 3 binomial kernel; the
    nearest cells are the mask.

    Args:
        image_size: (height, width) in pixels.
        num_encoders: number of encoders N.
        fraction: image fraction q; floor(q * patches) patches are taken.
        patch_size: side of a patch in pixels.
        centres: "paper": off the image's edge, no centre twice while there are enough of them. "published": as in the
            published figures, drawn with repeats from all but the last two rows and columns, which leans to the upper left.
        seed: int.

    Returns:
        `ReceptiveFields` over patches.

    Raises:
        ValueError: a setting is out of its bounds, the patch size does not divide the image, the fraction leaves no
            patch, or there is no centre to choose.
    """
    grid = _patch_grid(image_size, patch_size)
    count = _count(fraction, math.prod(grid), f"{patch_size} x {patch_size} patches")
    if min(grid) < 3:
        raise ValueError(f"contiguous masks need at least 3 x 3 patches, found {grid[0]} x {grid[1]}")
    rows, columns = np.mgrid[-1 : grid[0] + 1, -1 : grid[1] + 1]
    indices = []
    for i, (row, column) in enumerate(contiguous_centres(grid, num_encoders, centres, seed)):
        noise = np.random.default_rng([seed, i]).uniform(0, 2, rows.shape)
        distance = np.hypot(rows - row, columns - column) + noise
        windows = np.lib.stride_tricks.sliding_window_view(distance, (3, 3))
        smooth = (windows * _SMOOTHING).sum(axis=(2, 3))
        indices.append(np.sort(np.argsort(smooth, axis=None, kind="stable")[:count]))
    return ReceptiveFields(tuple(indices), grid, patch_size)


def contiguous_centres(grid: Sequence[int], num_encoders: int, centres: str = "paper", seed: int = 0) -> list[tuple[int, int]]:
    """The centre patches of `contiguous_patch_masks`.

    Args:
        grid: (rows, columns) of patches, at least 3 each.
        num_encoders, centres, seed: as there.

    Returns:
        List of (row, column), counted from 0.
    """
    rng = np.random.default_rng([seed, 2**31])
    inner = [(row, column) for row in range(grid[0] - 2) for column in range(grid[1] - 2)]
    if centres == "published":
        return [inner[k] for k in rng.integers(len(inner), size=num_encoders)]
    if centres != "paper":
        raise ValueError(f"centres: expected 'paper' or 'published', found {centres!r}")
    rounds = -(-num_encoders // len(inner))
    order = np.concatenate([rng.permutation(len(inner)) for _ in range(rounds)])[:num_encoders]
    return [(inner[k][0] + 1, inner[k][1] + 1) for k in order]


def custom_masks(seen: ArrayLike, patch_size: int = 1) -> ReceptiveFields:
    """Receptive fields from a boolean array.

    Args:
        seen: array (N, rows, columns), true where an encoder sees a cell.
        patch_size: side of a cell in pixels.

    Returns:
        `ReceptiveFields`.

    Raises:
        ValueError: the array has another shape, or an encoder sees nothing.
    """
    seen = np.asarray(seen)
    if seen.ndim != 3:
        raise ValueError(f"expected a mask array of shape (encoders, rows, columns), found shape {seen.shape}")
    if not np.isin(np.unique(seen), (0, 1)).all():
        raise ValueError("expected a mask array of booleans (or zeros and ones)")
    return ReceptiveFields(tuple(np.flatnonzero(mask) for mask in seen), seen.shape[1:], patch_size)


def area_masks(unit_areas: Sequence[str] | np.ndarray, areas: Iterable[str]) -> ReceptiveFields:
    """One receptive field per brain area: all units of that area.

    Args:
        unit_areas: sequence of str, the area of each unit in the order of the input's columns; '' for none.
        areas: the areas, one per encoder.

    Returns:
        `ReceptiveFields` over units, labelled with the areas.

    Raises:
        ValueError: an area has no unit.
        DataError: there is not one name per unit.
    """
    unit_areas = as_areas(unit_areas, len(unit_areas), "unit_areas", numbered=True)
    areas = [str(area) for area in areas]
    for area in areas:
        if not area or not (unit_areas == area).any():
            raise ValueError(
                f"areas: no unit in area '{area}'; areas with units: {', '.join(sorted(set(unit_areas.tolist()) - {''}))}"
            )
    indices = tuple(np.flatnonzero(unit_areas == area) for area in areas)
    return ReceptiveFields(indices, (1, len(unit_areas)), 1, tuple(areas))


def read_masks(path: str | os.PathLike, patch_size: int = 1) -> ReceptiveFields:
    """Receptive fields from a file: a run's own `masks.npz`, or a boolean array (N, rows, columns).

    Args:
        path: an .npy file, or an .npz file whose array is called `masks` or is the only one.
        patch_size: side of an array's cell in pixels.

    Raises:
        DataError: the file cannot be read or holds no such array.
        ValueError: the array is not one of masks.
    """
    path = given_path(path)
    if path.suffix == ".npy":
        return custom_masks(read_npy(path), patch_size)
    stored = read_npz(path)
    if "cells" in stored:
        return ReceptiveFields.load(path)
    if "masks" not in stored and len(stored) != 1:
        raise DataError(f"{path}: expected an array 'masks', found {', '.join(stored) or 'nothing'}")
    return custom_masks(stored["masks"] if "masks" in stored else next(iter(stored.values())), patch_size)


def _positions(cells, encoder):
    cells = np.asarray(cells)
    if cells.size and cells.dtype.kind not in "iu":
        raise ValueError(
            f"the receptive field of encoder {encoder}: expected the positions of its cells, found {cells.dtype}; "
            f"`custom_masks` takes booleans"
        )
    return cells.astype(np.int64)


def _count(fraction, total, what):
    check_settings(fraction=fraction)
    # Decimal fractions times a count can land just below a whole number (0.29 * 100); the floor is of the exact product.
    count = math.floor(round(fraction * total, 9))
    if count < 1:
        raise ValueError(f"fraction: {fraction:g} of {total} {what} leaves no {what}; expected at least {1 / total:.4g}")
    return count


def _patch_grid(image_size, patch_size):
    check_settings(patch_size=patch_size)
    if any(side % patch_size for side in image_size):
        raise ValueError(f"patch_size: {patch_size} does not divide the image of {image_size[0]} x {image_size[1]} pixels")
    return tuple(side // patch_size for side in image_size)
