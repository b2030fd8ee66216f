"""The statistics, against numbers worked out by hand and against SciPy."""

import numpy as np
import pytest
from scipy import stats

from closer_tf.analysis.statistics import (
    estimate,
    holm,
    independent_t_test,
    level_test,
    paired_permutation_test,
    paired_t_test,
    permutation_test,
    seeds_needed,
    stars,
)

FIRST = [0.432, 0.441, 0.425, 0.437, 0.430]
SECOND = [0.412, 0.428, 0.424, 0.419, 0.409]


def test_an_interval_worked_out_by_hand():
    found = estimate([1.0, 2.0, 3.0])  # sd 1, sem 1 / sqrt(3), t(.975, 2) = 4.30265
    assert (found.mean, found.seeds, found.sd) == (2.0, 3, 1.0)
    assert found.sem == pytest.approx(0.57735, abs=1e-5) and found.ci95 == pytest.approx(2.48414, abs=1e-5)
    assert str(found) == "2.0000 +- 2.4841 (3 seeds)"


def test_the_published_intervals_are_of_this_kind():
    # ten seeds of sd .0102848: the published half width is .0073573
    assert stats.t.ppf(0.975, 9) * 0.0102848 / 10**0.5 == pytest.approx(0.0073573, abs=1e-7)
    values = np.random.default_rng(0).normal(0.4, 0.01, 10)
    low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert estimate(values).ci95 == pytest.approx((high - low) / 2)


def test_one_seed_has_a_mean_and_no_interval():
    found = estimate([0.4])
    assert (found.mean, found.seeds, found.sd, found.sem, found.ci95) == (0.4, 1, None, None, None)
    assert str(found) == "0.4000 (1 seed)"


@pytest.mark.parametrize("values", [[], [np.nan], [[1.0, 2.0]]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="one per seed"):
        estimate(values)


def test_a_paired_test_worked_out_by_hand():
    # differences 1, 2, 3: mean 2, sem .57735, t = 3.4641 with 2 degrees of freedom, one-sided p = .03709
    found = paired_t_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.difference == 2.0 and found.statistic == pytest.approx(3.4641, abs=1e-4)
    assert found.p == pytest.approx(0.03709, abs=1e-5) and found.stars == "*" and found.seeds == (3, 3)


def test_the_published_paired_test_of_figure_4():
    # mean difference .025322 and sd .02768 over ten seeds: t = 2.893, p = .0089
    differences = np.random.default_rng(0).standard_normal(10)
    differences = 0.025322 + 0.02768 * (differences - differences.mean()) / differences.std(ddof=1)
    found = paired_t_test(0.37 + differences, np.full(10, 0.37))
    assert found.statistic == pytest.approx(2.893, abs=1e-3) and found.p == pytest.approx(0.0089, abs=1e-4)
    assert found.stars == "**"


def test_the_other_tests_are_scipys():
    assert paired_t_test(FIRST, SECOND).p == pytest.approx(stats.ttest_rel(FIRST, SECOND, alternative="greater").pvalue)
    assert independent_t_test(FIRST, SECOND).p == pytest.approx(stats.ttest_ind(FIRST, SECOND, alternative="greater").pvalue)
    assert paired_t_test(SECOND, FIRST).p == pytest.approx(1 - paired_t_test(FIRST, SECOND).p)


def test_all_permutations_of_a_small_sample():
    # of the 20 ways to choose three of six, one has a mean difference as large
    assert permutation_test([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]).p == pytest.approx(1 / 20)
    assert permutation_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).p == 1.0
    # one value against four: it is the largest of five, or the smallest
    assert permutation_test([9.0], [1.0, 2.0, 3.0, 4.0]).p == pytest.approx(1 / 5)
    assert permutation_test([1.0, 2.0, 3.0, 4.0], [9.0]).p == 1.0
    assert permutation_test([1.0, 2.0, 3.0, 4.0], [0.0]).p == pytest.approx(1 / 5)


def test_seeds_that_agree_on_a_grid_are_not_certain():
    # of the eight ways to exchange within three pairs, one has a mean difference as large
    assert paired_permutation_test([0.15] * 3, [0.1] * 3).p == pytest.approx(1 / 8)
    assert paired_t_test([0.15] * 3, [0.1] * 3).p == pytest.approx(1 / 8)
    signs = np.array(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1)
    by_hand = np.mean([2, 1, 0, -1] @ signs >= 2)
    assert paired_permutation_test([2.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]).p == pytest.approx(by_hand)
    assert paired_permutation_test([0.1] * 3, [0.15] * 3).p == 1.0 and paired_permutation_test([0.1] * 3, [0.1] * 3).p == 1.0
    many = paired_permutation_test(np.arange(1.0, 31.0), np.zeros(30))  # not all of them any more
    assert many.p == pytest.approx(1e-4, rel=0.01) and many == paired_permutation_test(np.arange(1.0, 31.0), np.zeros(30))


def test_a_large_permutation_test_is_the_same_every_time_and_near_the_t_test():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.012, 0.02, 30), rng.normal(0, 0.02, 30)
    one, other = permutation_test(first, second), permutation_test(first, second)
    assert one == other and one.p == pytest.approx(independent_t_test(first, second).p, abs=0.005)


def test_too_few_or_constant_values_have_no_p():
    assert paired_t_test([1.0], [0.0]).p is None and paired_t_test([1.0], [0.0]).stars == ""
    assert independent_t_test([1.0], [0.0]).p is None and permutation_test([1.0], [0.0]).p is None
    assert paired_t_test([1.0, 2.0], [0.0, 1.0]).p == 0.25 and paired_t_test([0.0, 1.0], [1.0, 2.0]).p == 1.0
    assert paired_t_test([1.0, 2.0], [1.0, 2.0]).p == 1.0
    assert paired_permutation_test([1.0], [0.0]).p is None
    for test in (paired_t_test, paired_permutation_test):
        with pytest.raises(ValueError, match="as many first as second"):
            test([1.0, 2.0], [1.0])


def test_the_papers_stars():
    assert [stars(p) for p in (0.0009, 0.001, 0.0099, 0.01, 0.0499, 0.05, None)] == ["***", "**", "**", "*", "*", "", ""]


def test_holms_correction_worked_out_by_hand():
    # the smallest times 4, the next times 3, 2 and 1; none below one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0] and holm([0.03]) == [0.03] and holm([]) == []


def test_a_level_test_is_the_worse_of_two_one_sided_tests():
    differences = np.array([0.012, 0.018, 0.015, 0.011])
    found = level_test(0.3 + differences, np.full(4, 0.3), 0.02)
    assert found.p == pytest.approx(stats.ttest_1samp(differences, 0.02, alternative="less").pvalue)
    assert found.difference == pytest.approx(differences.mean())
    assert level_test(np.full(4, 0.3), 0.3 + differences, 0.02).p == pytest.approx(found.p)
    assert level_test([0.4, 0.41], [0.3, 0.33], 0.02).p > 0.5 and level_test([0.4], [0.4], 0.02).p is None


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("difference, level", [(0.01, 0.05), (0.02, 0.05), (0.02, 0.001)])
def test_so_many_seeds_see_it_four_times_of_five(paired, difference, level):
    seeds = seeds_needed(difference, (0.012, 0.009), level, paired=paired)
    rng = np.random.default_rng(0)

    def seen(count):
        first, second = rng.normal(difference, 0.012, (20_000, count)), rng.normal(0, 0.009, (20_000, count))
        test = stats.ttest_rel if paired else stats.ttest_ind
        return np.mean(test(first, second, axis=1, alternative="greater").pvalue < level)

    assert seen(seeds) > 0.79 and seen(seeds - 1) < 0.81


@pytest.mark.parametrize("difference", [0.0, 0.001, 0.012])
def test_so_many_seeds_see_that_two_are_level(difference):
    sds, margin, level = (0.012, 0.009), 0.02, 0.01
    seeds = seeds_needed([margin - difference, margin + difference], sds, level)
    rng = np.random.default_rng(0)

    def seen(count):
        apart = rng.normal(difference, np.hypot(*sds), (20_000, count))
        above = stats.ttest_1samp(apart, -margin, axis=1, alternative="greater").pvalue
        return np.mean(np.maximum(above, stats.ttest_1samp(apart, margin, axis=1, alternative="less").pvalue) < level)

    assert seen(seeds) > 0.79 and seen(seeds - 1) < 0.81


def test_seeds_that_cannot_be_told():
    assert seeds_needed(0.0, (0.01, 0.01), 0.05) is None and seeds_needed(-0.1, (0.01, 0.01), 0.05) is None
    assert seeds_needed(1e-5, (0.01, 0.01), 0.05) is None  # too many
    assert seeds_needed(0.1, (0.0, 0.0), 0.05) == 2
