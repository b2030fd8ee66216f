"""The statistics of the paper's figures, by SciPy: intervals over seeds, and the tests behind the stars.

Every result carries the number of seeds that it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""(p below this, what is drawn), as in figures 4 and 8."""
MOST_SEEDS = 10_000  # where the search for enough of them ends


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Args:
        mean: the mean.
        seeds: number of values.
        sd: standard deviation over seeds (ddof 1), or None for one seed.
        sem: standard error of the mean, sd / sqrt(seeds), or None for one seed.
        ci95: half width of the 95% confidence interval (Student t), or None for one seed.
    """

    mean: float
    seeds: int
    sd: float | None
    sem: float | None
    ci95: float | None

    def __str__(self) -> str:
        spread = "" if self.ci95 is None else f" +- {self.ci95:.4f}"
        return f"{self.mean:.4f}{spread} ({self.seeds} seed{'s' * (self.seeds != 1)})"


@dataclass(frozen=True)
class Test:
    """The outcome of a test whether the first of two sets of values is larger.

    Args:
        name: which test.
        difference: mean of the first minus mean of the second.
        p: the one-sided p-value, or None where there are too few seeds to test.
        statistic: the test's statistic, or None.
        seeds: (number of first values, number of second values).
    """

    name: str
    difference: float
    p: float | None
    statistic: float | None
    seeds: tuple[int, int]

    @property
    def stars(self) -> str:
        """'***', '**', '*', or '' where p is .05 or more, or unknown."""
        return stars(self.p)


def estimate(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean, spread and Student t confidence interval.

    Args:
        values: one number per seed.
        level: of the interval.

    Returns:
        `Estimate`.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    values = _checked(values)
    count = len(values)
    if count == 1:
        return Estimate(float(values[0]), 1, None, None, None)
    sd = float(values.std(ddof=1))
    sem = sd / count**0.5
    return Estimate(float(values.mean()), count, sd, sem, float(stats.t.ppf(0.5 + level / 2, count - 1)) * sem)


def paired_t_test(first: ArrayLike, second: ArrayLike) -> Test:
    """One-sided paired t-test that `first` is larger (the paper's test between graphs, figure 4).

    Args:
        first, second: one number per seed, the same seeds in the same order.

    Returns:
        `Test`; p is None for one seed, and where all differences are the same that of a sign test: .5 to the power of the
        number of seeds where `first` is larger, else 1.

    Raises:
        ValueError: the numbers of values differ, there are none, or some are not finite.
    """
    first, second = _checked_pairs(first, second)
    differences = first - second
    statistic, p = None, None
    if len(first) > 1:
        if np.ptp(differences) > 1e-12:
            found = stats.ttest_rel(first, second, alternative="greater")
            statistic, p = float(found.statistic), float(found.pvalue)
        else:  # SciPy divides by the spread
            p = 0.5 ** len(first) if differences[0] > 1e-12 else 1.0
    return Test("one-sided paired t-test", float(differences.mean()), p, statistic, (len(first), len(second)))


def paired_permutation_test(first: ArrayLike, second: ArrayLike, resamples: int = 10_000, seed: int = 0) -> Test:
    """One-sided permutation test that `first` is larger, within pairs: for values on a grid, such as where a curve peaks, on
    which seeds agree so often that a t-test sees hardly any spread.

    Args:
        first, second: one number per seed, the same seeds in the same order.
        resamples: number of random exchanges within pairs; where there are not more than that, all of them are taken, so that
            p is never below .5 to the power of the number of seeds.
        seed: of the random exchanges.

    Returns:
        `Test`; p is None for one seed.

    Raises:
        ValueError: the numbers of values differ, there are none, or some are not finite.
    """
    first, second = _checked_pairs(first, second)
    differences, p = first - second, None
    if len(first) > 1:
        found = stats.permutation_test(
            (differences,),
            lambda values, axis: values.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            alternative="greater",
            random_state=np.random.default_rng(seed),
        )
        p = float(found.pvalue)
    mean = float(differences.mean())
    return Test("one-sided paired permutation test", mean, p, mean, (len(first), len(second)))


def independent_t_test(first: ArrayLike, second: ArrayLike) -> Test:
    """One-sided t-test of independent samples with equal variances that `first` is larger (figure 8's caption).

    Args:
        first, second: one number per seed; their numbers may differ.

    Returns:
        `Test`; p is None where both have one seed, or nothing varies.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    first, second = _checked(first), _checked(second)
    statistic, p = None, None
    if len(first) + len(second) > 2 and max(np.ptp(first), np.ptp(second)) > 0:
        found = stats.ttest_ind(first, second, alternative="greater")
        statistic, p = float(found.statistic), float(found.pvalue)
    difference = float(first.mean() - second.mean())
    return Test("one-sided independent t-test", difference, p, statistic, (len(first), len(second)))


def permutation_test(first: ArrayLike, second: ArrayLike, resamples: int = 10_000, seed: int = 0) -> Test:
    """One-sided permutation test that the mean of `first` is larger (what figure 8's stars were computed with).

    Args:
        first, second: one number per seed, independent samples.
        resamples: number of random permutations; where there are not more than that, all of them are taken.
        seed: of the random permutations.

    Returns:
        `Test`; p is None where both have one seed.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    first, second = _checked(first), _checked(second)
    difference, p = float(first.mean() - second.mean()), None
    if len(first) + len(second) > 2:
        if max(np.ptp(first), np.ptp(second), abs(difference)) == 0:
            p = 1.0
        elif min(len(first), len(second)) == 1:
            p = _leave_one(first, second)  # SciPy wants two of each
        else:
            found = stats.permutation_test(
                (first, second),
                lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
                permutation_type="independent",
                vectorized=True,
                n_resamples=resamples,
                alternative="greater",
                random_state=np.random.default_rng(seed),
            )
            p = float(found.pvalue)
    return Test("one-sided permutation test", difference, p, difference, (len(first), len(second)))


def level_test(first: ArrayLike, second: ArrayLike, margin: float) -> Test:
    """Paired test that two means are the same within a margin: both one-sided t-tests against it, the larger p (TOST).

    Args:
        first, second: one number per seed, the same seeds in the same order.
        margin: means that differ by less are the same.

    Returns:
        `Test`; p is None for one seed.

    Raises:
        ValueError: the numbers of values differ, there are none, or some are not finite.
    """
    first, second = _checked(first), _checked(second)
    above, below = paired_t_test(first + margin, second), paired_t_test(second + margin, first)
    p = None if above.p is None or below.p is None else max(above.p, below.p)
    return Test(f"paired t-tests against a margin of {margin:g}", above.difference - margin, p, None, above.seeds)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method, which holds whether the tests depend on each other or not.

    Args:
        p_values: list of numbers.

    Returns:
        List of numbers in the same order: the smallest times their number, the next times one less, and so on; none smaller
        than that of a smaller one, and at most 1.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[k]))
        corrected[k] = largest
    return corrected


def seeds_needed(
    differences: float | Sequence[float], sds: tuple[float, float], level: float, power: float = 0.8, paired: bool = True
) -> int | None:
    """How many seeds a one-sided t-test needs to see a difference, or several of such tests to see one each.

    Args:
        differences: the true difference of the means, or one of each test; how often each is missed adds up.
        sds: the standard deviation of each side over seeds, taken as independent of each other.
        level: p below which one counts as seen.
        power: how often all are to be seen.
        paired: whether seeds are compared one by one, or the two sides as independent samples.

    Returns:
        Seeds of each side, at least 2; None where a difference is not positive, or more than 10,000 would be needed.
    """
    each = np.atleast_1d(differences)
    if each.min() <= 0:
        return None
    spread = float(np.hypot(*sds))
    if spread == 0:
        return 2

    def seen(seeds):
        freedom = (seeds - 1) * (1 if paired else 2)
        missed = special.nctdtr(freedom, each / spread * seeds**0.5, stats.t.isf(level, freedom))
        return missed.sum() <= 1 - power

    few, enough = 1, 2
    while not seen(enough):
        few, enough = enough, 2 * enough
        if enough > MOST_SEEDS:
            return None
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if seen(middle) else (middle, enough)
    return enough


def stars(p: float | None) -> str:
    """The stars of a p-value: '***' below .001, '**' below .01, '*' below .05, '' otherwise and for None."""
    return next((shown for limit, shown in STARS if p is not None and p < limit), "")


def _leave_one(first, second):
    """The exact p where one sample has one value: each value in turn is that one."""
    pooled = np.concatenate([first, second])
    alone = first if len(first) == 1 else second
    differences = pooled - (pooled.sum() - pooled) / (len(pooled) - 1)  # each value minus the mean of the others
    sign = 1 if len(first) == 1 else -1
    seen = sign * (alone[0] - (pooled.sum() - alone[0]) / (len(pooled) - 1))
    return float(np.mean(sign * differences >= seen - 1e-12))


def _checked_pairs(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _checked(first), _checked(second)
    if len(first) != len(second):
        raise ValueError(f"a paired test needs as many first as second values, found {len(first)} and {len(second)}")
    return first, second


def _checked(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"expected a list of finite numbers, one per seed, found {values.tolist()}")
    return values
