"""Before a training: what do receptive fields share, and is any of it about the label?

Canonical correlations are found on one part of the data and tested on another, so that chance is about 0. What is asked:

* trial averages: canonical correlations of the means over repeats, of one field in one half of the repeats and another field in
  the other half, found on some conditions and tested on the others. High: the fields follow the stimulus in common directions.
* representational dissimilarities: Spearman's correlation of the distances between all pairs of conditions, of one field in one
  half of the repeats and another field in the other half. High: what is far apart to the one is so to the other.
* residuals: canonical correlations of single samples less the mean of their condition. High: the fields share something from
  one trial to the next that is not the stimulus (arousal, movement, drift), which an objective finds as well as the stimulus.
* slow drift: the share of the residuals' variance that lies between blocks of time (intraclass correlation).

A condition is a moment of a stimulus for recordings in time, and a label otherwise. Samples beyond `MOST_SAMPLES` are left out,
so that it takes seconds.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

MOST_SAMPLES, MOST_CONDITIONS = 6000, 200
DIMENSIONS, LEADING = 10, 3  # principal components of a field that are correlated; canonical correlations that are averaged
FEWEST_AVERAGED, FEWEST_COMPARED = 12, 4  # conditions for canonical correlations of averages, and for dissimilarities
BLOCKS = 20  # of time, where there are no trials
SHUFFLES, LEVEL = 20, 0.95  # the chance level is this quantile over so many shuffles of the conditions


@dataclass(frozen=True, eq=False)
class Samples:
    """What is known of samples beside their values.

    Args:
        conditions: int array (n,), 0 .. K - 1: what was shown.
        half: bool array (n,), which half of the repeats.
        block: int array (n,), block of time; None where the samples have no order in time.
        in_sequence: whether conditions follow one another in time, so that neighbours are alike.
        condition_is: str, what a condition is.
    """

    conditions: np.ndarray
    half: np.ndarray
    block: np.ndarray | None
    in_sequence: bool
    condition_is: str


def thinned(split, is_sequence):
    """A split of about `MOST_SAMPLES` at most: of recordings in time every so many frames, of others samples at random.

    Args:
        split: `Split`.
        is_sequence: the data is a recording of trials in time.
    """
    if len(split) <= MOST_SAMPLES:
        return split
    if is_sequence:
        return split[split.about["frame"] % -(-len(split) // MOST_SAMPLES) == 0]
    return split[np.sort(np.random.default_rng(0).permutation(len(split))[:MOST_SAMPLES])]


def describe_samples(split, is_sequence, place=None):
    """The `Samples` of a split.

    Args:
        split: `Split` of single bins or images.
        is_sequence: the data is a recording of trials in time; a condition is a frame of a stimulus, a trial a block of time.
        place: of others, array (n,) that grows with the time of presentation; None where that is not known.
    """
    if is_sequence:
        stimulus, trial, frame = (np.asarray(split.about[key]) for key in ("stimulus", "trial", "frame"))
        conditions = _numbered(np.stack([stimulus, frame], axis=1))
        block = _numbered(np.stack([stimulus, trial], axis=1))
        return Samples(conditions, _numbered(trial[:, None]) % 2 == 1, block, True, "a moment of a stimulus")
    conditions = _numbered(np.asarray(split.labels)[:, None])
    half = np.zeros(len(conditions), bool)
    for condition in range(conditions.max() + 1):
        half[np.flatnonzero(conditions == condition)[1::2]] = True
    block = None
    if place is not None:
        place = np.argsort(np.argsort(place))
        block = place * min(BLOCKS, len(place)) // len(place)
    return Samples(conditions, half, block, False, "a label")


def shared_signal(views, samples, seed=0):
    """What receptive fields share.

    Args:
        views: list of N arrays (n, cells), what each encoder sees.
        samples: `Samples` of the same n.
        seed: int, of the shuffles that give chance levels.

    Returns:
        dict of plain data: `samples`, `conditions`, `condition_is`, `repeats` (median per condition), and for 'averages',
        'dissimilarities', 'single_samples', 'residuals' and 'residuals_without_drift' a dict with `matrix` (N, N), symmetric
        (its diagonal is a field with itself in the other half for 'dissimilarities', null otherwise), `mean` over pairs and, of
        the first two, `chance`; null where there are too few conditions, repeats or no time. `label_share`: the share of what
        is shared in single samples that is gone with the conditions' means, mean over pairs. `drift`: one share per field.
    """
    rng = np.random.default_rng(seed)
    views = [_z_scored(view) for view in views]
    count = int(samples.conditions.max()) + 1
    repeats = float(np.median(np.bincount(samples.conditions)))
    residuals = [view - _means(view, samples.conditions, count)[samples.conditions] for view in views]
    single = _between_halves(views, samples.half)
    rest = _between_halves(residuals, samples.half) if repeats >= 2 else None
    blocks = samples.block
    drift = without = None
    if blocks is not None and repeats >= 2:
        drift = [_share_between_blocks(residual, blocks) for residual in residuals]
        without = [residual - _means(residual, blocks, int(blocks.max()) + 1)[blocks] for residual in residuals]
    share = None
    if rest is not None:
        power = [_mean_over_pairs((np.clip(found, 0, None) ** 2).sum(axis=2)) for found in (single, rest)]
        share = float(np.clip(1 - power[1] / power[0], 0, 1)) if power[0] > 0 else 0.0
    return {
        "samples": len(samples.conditions),
        "conditions": count,
        "condition_is": samples.condition_is,
        "repeats": repeats,
        "averages": _of_averages(views, samples, count, rng),
        "dissimilarities": _of_dissimilarities(views, samples, count, rng),
        "single_samples": _leading(single),
        "residuals": None if rest is None else _leading(rest),
        "residuals_without_drift": None if without is None else _leading(_between_halves(without, samples.half)),
        "label_share": share,
        "drift": drift,
    }


def _of_averages(views, samples, count, rng):
    """Canonical correlations of the conditions' means across conditions, of one field in one half and another in the other, so
    that what they share in single trials does not count; None with too few conditions."""
    shown = _in_both_halves(samples, count)
    if len(shown) < FEWEST_AVERAGED:
        return None
    halves = [_means_of_half(views, samples, half, shown, count) for half in (False, True)]
    if samples.in_sequence:
        fold = np.arange(len(shown)) * 10 // len(shown) % 2 == 1  # stretches: neighbours in time are alike
    else:
        fold = rng.permutation(len(shown)) % 2 == 1

    def found(order):
        """`order`: positions of the second field's conditions."""
        matrix = np.full((len(views), len(views), 1), np.nan)
        for i, j in _pairs(len(views)):
            values = []
            for one, other in (halves, halves[::-1]):
                for first in (fold, ~fold):
                    fit, test = ((one[i][chosen], other[j][order][chosen]) for chosen in (first, ~first))
                    values.append(_canonical_correlations(fit, test)[:LEADING].mean())
            matrix[i, j] = matrix[j, i] = np.mean(values)
        return matrix

    return _with_chance(found, len(shown), samples.in_sequence, rng)


def _of_dissimilarities(views, samples, count, rng):
    """Correlations of dissimilarities across halves; None with too few conditions."""
    shown = _in_both_halves(samples, count)
    if len(shown) < FEWEST_COMPARED:
        return None
    shown = shown[np.linspace(0, len(shown) - 1, min(len(shown), MOST_CONDITIONS)).astype(int)]
    halves = [_means_of_half(views, samples, half, shown, count) for half in (False, True)]
    upper = np.triu_indices(len(shown), 1)

    def ranks(values):
        ranked = rankdata(values)
        ranked -= ranked.mean()
        return ranked / max(np.linalg.norm(ranked), np.finfo(float).tiny)

    distances = [[ranks(pdist(view)) for view in half] for half in halves]
    square = np.zeros((len(shown), len(shown)))

    def found(order):
        matrix = np.full((len(views), len(views), 1), np.nan)
        moved = []
        for half in distances:
            moved.append([])
            for ranked in half:
                square[upper] = ranked
                moved[-1].append((square + square.T)[np.ix_(order, order)][upper])
        for i in range(len(views)):
            for j in range(i, len(views)):
                matrix[i, j] = matrix[j, i] = np.mean([distances[0][i] @ moved[1][j], distances[1][i] @ moved[0][j]])
        return matrix

    return _with_chance(found, len(shown), samples.in_sequence, rng)


def _with_chance(found, conditions, in_sequence, rng):
    """The dict of a measure whose `found(order)` gives (N, N, 1) for an order of the second field's conditions."""
    shuffled = []
    for _ in range(SHUFFLES):
        order = rng.permutation(conditions)
        if in_sequence:  # a shift leaves each field as smooth in time as it is
            order = np.roll(np.arange(conditions), rng.integers(conditions // 10 + 1, conditions - conditions // 10))
        shuffled.append(_mean_over_pairs(found(order)[:, :, 0]))
    matrix = found(np.arange(conditions))
    return _leading(matrix) | {"chance": float(np.quantile(shuffled, LEVEL))}


def _between_halves(views, half):
    """Canonical correlations (N, N, dimensions) of samples, found on one half and tested on the other, both ways."""
    matrix = np.full((len(views), len(views), DIMENSIONS), np.nan)
    for i, j in _pairs(len(views)):
        both = []
        for fit in (half, ~half):
            found = np.zeros(DIMENSIONS)
            values = _canonical_correlations((views[i][fit], views[j][fit]), (views[i][~fit], views[j][~fit]))
            found[: len(values)] = values
            both.append(found)
        matrix[i, j] = matrix[j, i] = np.mean(both, axis=0)
    return matrix


def _canonical_correlations(fit, test):
    """Canonical correlations of two fields: directions of `fit` (two arrays), correlations of `test` along them.

    Each field is first reduced to its principal components, of which the samples allow a tenth of their number.
    """
    centred = [view - view.mean(axis=0) for view in fit]
    axes = []
    for view in centred:
        left, sizes, right = np.linalg.svd(view, full_matrices=False)
        most = min(DIMENSIONS, max(1, len(view) // 10))
        there = sizes[:most] > 1e-8 * sizes[0]  # a constant has no direction
        axes.append(right[:most].T * np.where(there, 1 / np.where(there, sizes[:most], 1), 0))
    whitened = [view @ axis for view, axis in zip(centred, axes)]
    left, _, right = np.linalg.svd(whitened[0].T @ whitened[1], full_matrices=False)
    found = [(view - view.mean(axis=0)) @ axis @ turn for view, axis, turn in zip(test, axes, (left, right.T))]
    norms = [np.linalg.norm(values, axis=0) for values in found]
    return (found[0] * found[1]).sum(axis=0) / np.maximum(norms[0] * norms[1], np.finfo(float).tiny)


def _share_between_blocks(residuals, blocks):
    """Mean over cells of the intraclass correlation of residuals within blocks, 0 or more."""
    sizes = np.bincount(blocks).astype(float)
    means = _means(residuals, blocks, len(sizes))
    between = (sizes[:, None] * np.square(means - residuals.mean(axis=0))).sum(axis=0) / max(len(sizes) - 1, 1)
    within = np.square(residuals - means[blocks]).sum(axis=0) / max(len(residuals) - len(sizes), 1)
    typical = (sizes.sum() - np.square(sizes).sum() / sizes.sum()) / max(len(sizes) - 1, 1)
    total = between + (typical - 1) * within
    varies = total > 0
    return float(np.clip((between - within)[varies] / total[varies], 0, 1).mean()) if varies.any() else 0.0


def _leading(matrix):
    """dict with the (N, N) `matrix` of means over the leading canonical correlations, and their `mean` over pairs."""
    values = matrix[:, :, :LEADING].mean(axis=2)
    plain = [[None if np.isnan(value) else float(value) for value in row] for row in values]
    return {"matrix": plain, "mean": _mean_over_pairs(values)}


def _mean_over_pairs(matrix):
    return float(np.mean([matrix[i, j] for i, j in _pairs(len(matrix))]))


def _pairs(count):
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def _z_scored(view):
    """Columns of mean 0 and standard deviation 1, of those that vary."""
    view = np.asarray(view, dtype=np.float64).reshape(len(view), -1)
    sd = view.std(axis=0)
    varies = sd > 0
    return ((view - view.mean(axis=0)) / np.where(varies, sd, 1))[:, varies if varies.any() else slice(1)]


def _means(values, groups, count):
    """Means (count, cells) of the rows of each group; 0 where it has none."""
    order = np.argsort(groups, kind="stable")
    there, starts = np.unique(groups[order], return_index=True)
    means = np.zeros((count, values.shape[1]))
    means[there] = np.add.reduceat(values[order], starts) / np.bincount(groups)[there, None]
    return means


def _in_both_halves(samples, count):
    there = [np.bincount(samples.conditions[half], minlength=count) > 0 for half in (samples.half, ~samples.half)]
    return np.flatnonzero(there[0] & there[1])


def _means_of_half(views, samples, half, shown, count):
    chosen = samples.half == half
    return [_means(view[chosen], samples.conditions[chosen], count)[shown] for view in views]


def _numbered(rows):
    """Place (n,) of each row among the sorted different ones."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def verdict(found):
    """What follows for a training, as a list of sentences.

    Args:
        found: what `shared_signal` returns.
    """
    averages, distances, rest = (found[key] for key in ("averages", "dissimilarities", "residuals"))
    known = [one for one in (averages, distances) if one is not None]
    says = []
    if known and all(one["mean"] > one["chance"] for one in known):
        says.append("The receptive fields agree about the stimulus: there is something that they can teach each other.")
    elif known and any(one["mean"] > one["chance"] for one in known):
        says.append("The receptive fields agree a little about the stimulus: expect little from each other's supervision.")
    elif known:
        says.append(
            "The receptive fields do not agree about the stimulus beyond chance: what they learn from each other will not be "
            "that. Other receptive fields, or an objective in time (condition 'lpl'), may do better."
        )
    else:
        says.append(f"With {found['conditions']} conditions whether the fields agree about them cannot be told.")
    if rest is None:
        says.append("Without repeats, what else they share cannot be told from the stimulus.")
        return says
    share = found["label_share"]
    if found["single_samples"]["mean"] < 0.05:
        says.append("In single samples they share next to nothing: expect long trainings that overfit (training.keep: 'best').")
    elif share < 0.5:
        says.append(
            f"Of what they share in single samples {1 - share:.0%} is still there without the stimulus: a training finds that "
            f"as well, and an encoder of few dimensions has to choose. Keep the best epoch (training.keep: 'best'), try more "
            f"dimensions, and compare with untrained encoders and 'pca'."
        )
    else:
        says.append(f"Of what they share in single samples {share:.0%} is the stimulus.")
    without = found["residuals_without_drift"]
    if without is not None and rest["mean"] > 0.05 and without["mean"] < 0.7 * rest["mean"]:
        says.append("Much of the rest is slow drift: it is the same from sample to sample for long stretches of time.")
    return says
