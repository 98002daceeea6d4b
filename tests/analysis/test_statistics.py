"""Against values computed by hand, published definitions and examples, and reference implementations."""

from __future__ import annotations

from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu, t, trim_mean

from analysis.comparisons import (
    performance_profile,
    probability_of_improvement,
    ranks,
    times_fewer,
    with_equals,
)
from analysis.statistics import (
    Estimate,
    correlation,
    deviations,
    difference,
    interquartile_mean,
    mean_interval,
    paired_difference,
    quartiles,
    rate_interval,
    wilson_interval,
)


def test_quartiles_interpolate_linearly() -> None:
    assert quartiles([4.0, 1.0, 2.0, 3.0]) == (2.5, 1.75, 3.25)  # positions 1.5, 0.75 and 2.25
    assert quartiles([0.0, 1.0, 1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert quartiles([0.3]) == (0.3, 0.3, 0.3)


def test_mean_with_t_interval() -> None:
    # mean 2, standard deviation 1, t(0.975, 2 degrees of freedom) = 4.302653
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert (low, high) == pytest.approx((2 - 4.302653 / sqrt(3), 2 + 4.302653 / sqrt(3)), abs=1e-6)
    values = np.random.default_rng(0).normal(size=9)
    expected = t.interval(0.9, 8, loc=values.mean(), scale=values.std(ddof=1) / 3)
    assert mean_interval(values, confidence=0.9)[1:] == pytest.approx(expected)
    assert isnan(mean_interval([0.5]).low)


def test_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    assert interquartile_mean([0.0, 1.0, 2.0, 100.0]) == 1.5
    assert interquartile_mean([100.0, 1.0, 2.0]) == pytest.approx(103 / 3)  # floor(3 / 4) = 0: nothing to drop
    assert interquartile_mean([0.0, 0.2, 0.4, 0.6, 5.0]) == pytest.approx(0.4)
    for count in range(1, 20):
        values = np.random.default_rng(count).normal(size=count)
        assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25))


def test_wilson_interval() -> None:
    # 8 of 10: centre (0.8 + 1.9207 / 10) / (1 + 3.8415 / 10) = 0.71674, half width 0.22658
    assert wilson_interval(8, 10) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.0, 0.16113), abs=1e-5)  # z^2 / (n + z^2)
    assert wilson_interval(20, 20).high == 1.0
    for successes in range(8):
        expected = binomtest(successes, 7).proportion_ci(0.9, "wilson")
        assert wilson_interval(successes, 7, 0.9)[1:] == pytest.approx((expected.low, expected.high))


def test_a_rate_that_varies_between_seeds_has_the_interval_of_fewer_rollouts() -> None:
    """Variance .02 of the mean of three seeds at .5: as many independent rollouts as .25 / .02 = 12.5; t = 4.302653."""
    scores = [0.5 - sqrt(0.06), 0.5, 0.5 + sqrt(0.06)]  # sample variance .06, of the mean .02
    value, low, high = rate_interval(scores, 300)
    square = 4.302653**2
    half_width = 4.302653 * sqrt(0.25 / 12.5 + square / (4 * 12.5**2)) / (1 + square / 12.5)
    assert value == pytest.approx(0.5) and (low, high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_seeds_that_agree_have_the_interval_of_all_rollouts(rate: float) -> None:
    """Even where all fail: five seeds of 100 rollouts each, t quantile of four degrees of freedom 2.776445."""
    value, low, high = rate_interval([rate] * 5, 500)
    square = 2.776445**2
    centre = (rate + square / 1000) / (1 + square / 500)
    half_width = 2.776445 * sqrt(rate * (1 - rate) / 500 + square / (4 * 500**2)) / (1 + square / 500)
    assert value == rate and 0.0 <= low <= rate <= high <= 1.0
    assert (low, high) == pytest.approx((max(0, centre - half_width), min(1, centre + half_width)), abs=1e-6)
    assert high - low > 0.01


def test_intervals_of_rates_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = (rng.beta(*rng.uniform(0.05, 3, 2), size=rng.integers(2, 7)).round(2) for _ in range(2))
        ours, theirs = rate_interval(first, 100 * len(first)), rate_interval(second, 100 * len(second))
        for value, low, high in (ours, theirs):
            assert 0.0 <= low <= value <= high <= 1.0 and low < high
        value, low, high = difference(ours, theirs)
        assert -1.0 <= low < value < high <= 1.0


def test_failed_seeds_alone_leave_an_interval() -> None:
    assert rate_interval([0.0] * 5, 0).high == pytest.approx(2.776445**2 / (5 + 2.776445**2))


def test_one_seed_has_no_interval() -> None:
    value, low, high = rate_interval([0.4], 100)
    assert value == 0.4 and isnan(low) and isnan(high)
    assert isnan(difference(rate_interval([0.4], 100), rate_interval([0.1, 0.2], 100)).low)


def test_a_difference_combines_the_bounds_that_face_each_other() -> None:
    """Zou and Donner: to the left, the first's lower and the second's upper distance; to the right, the others."""
    first, second = Estimate(0.9, 0.6, 1.0), Estimate(0.2, 0.1, 0.6)
    assert difference(first, second) == pytest.approx((0.7, 0.7 - 0.5, 0.7 + sqrt(0.02)))
    # If the two move together, what one loses the other loses as well.
    assert difference(first, second, 1.0) == pytest.approx((0.7, 0.7 - 0.1, 0.7 + 0.0), abs=1e-7)
    assert difference(first, second, -1.0) == pytest.approx((0.7, 0.0, 0.9))


def test_a_difference_of_two_rates_is_newcombes() -> None:
    """His example (Statistics in Medicine 1998, method 10): 56 of 70 less 48 of 80 is .2, with .0524 to .3339."""
    found = difference(wilson_interval(56, 70), wilson_interval(48, 80))
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_a_mean_of_paired_differences_has_a_t_interval_that_rollouts_bound() -> None:
    x, y = [0.9, 0.6, 0.3], [0.7, 0.5, 0.3]
    expected = mean_interval(np.subtract(x, y))
    assert paired_difference(x, y, 30_000) == pytest.approx(expected)
    assert paired_difference([0.5], [0.25], 100)[0] == 0.25 and isnan(paired_difference([0.5], [0.25], 100).low)
    # Equal differences: 60 and 30 of 100 are smoothed to 61 / 102 and 31 / 102, times z = 1.959964.
    half_width = 1.959964 * sqrt((61 * 41 + 31 * 71) / 102**2 / 100)
    value, low, high = paired_difference([0.6, 0.6], [0.3, 0.3], 100)
    assert (value, low, high) == pytest.approx((0.3, 0.3 - half_width, 0.3 + half_width), abs=1e-6)
    assert paired_difference([1.0, 0.9], [0.0, 0.0], 20)[2] == 1.0, "at most all"
    value, low, high = paired_difference([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], 300)
    assert value == 0.0 and low == -high and 0.0 < high < 0.02
    with pytest.raises(ValueError, match="pairs"):
        paired_difference([0.5, 0.5], [0.5], 10)


def test_correlation_of_pairs() -> None:
    x, y = [0.1, 0.4, 0.2, 0.9], [0.2, 0.3, 0.3, 0.8]
    pearson = np.corrcoef(x, y)[0, 1]
    assert correlation(x, [-value for value in y]) == pytest.approx(-pearson)
    assert correlation(x, y) == pytest.approx(np.tanh(np.arctanh(pearson) - 0.5)), "half a standard error lower"
    assert correlation([0.1, 0.2, 0.3, 0.4], [0.3, 0.1, 0.2, 0.3]) == 0.0, "but not below 0"
    assert 0.99 < correlation(x, x) < 1.0
    assert correlation(x, [0.5] * 4) == 0.0 and correlation([0.1, 0.2], [0.3, 0.4]) == 0.0
    with pytest.raises(ValueError, match="not 2 and 3"):
        correlation([0.1, 0.2], [0.1, 0.2, 0.3])


def test_deviations_are_from_the_median() -> None:
    assert deviations([1.0, 2.0, 6.0]) == pytest.approx(np.array([1.0, 0.0, 4.0]) * sqrt(1.5))


def test_values_of_the_reference_implementation() -> None:
    """The example of rliable's own tests: scores of runs (rows) on two tasks (columns)."""
    x, y = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    assert interquartile_mean(x.ravel()) == 1.5
    assert interquartile_mean(y.ravel()) == 2.0
    assert probability_of_improvement(list(x.T), list(y.T)).value == pytest.approx(1 / 3)


def test_probability_of_improvement_counts_ties_half() -> None:
    assert probability_of_improvement([[1.0, 2.0]], [[1.0, 1.0]]).value == 0.75  # wins 2, ties 2 of 4
    assert probability_of_improvement([[1.0, 1.0]], [[1.0, 1.0]]).value == 0.5
    assert probability_of_improvement([[3.0, 4.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 1.0]]).value == 0.5


def test_probability_of_improvement_is_mann_whitney() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 6, size=9).astype(float), rng.integers(0, 6, size=7).astype(float)
    forth, back = probability_of_improvement([x], [y]), probability_of_improvement([y], [x])
    assert forth.value == pytest.approx(mannwhitneyu(x, y).statistic / 63)
    assert back == pytest.approx((1 - forth.value, 1 - forth.high, 1 - forth.low), abs=2e-4)
    assert forth.low < forth.value < forth.high


def test_the_interval_of_improvement_holds_what_its_own_variance_allows() -> None:
    """At the bounds, the distance to the value is 1.96 standard deviations by Newcombe's formula."""
    x, y = [0.2, 0.5, 0.9, 0.4, 0.7], [0.1, 0.5, 0.6, 0.3]
    value, low, high = probability_of_improvement([x], [y])
    for p in (low, high):
        more = (5 + 4) / 2 - 1
        variance = p * (1 - p) / 20 * (1 + more * (1 - p) / (2 - p) + more * p / (1 + p))
        assert abs(p - value) == pytest.approx(1.959964 * sqrt(variance), abs=3e-4)


def test_a_complete_improvement_has_an_interval() -> None:
    value, low, high = probability_of_improvement([[3.0, 4.0, 5.0, 6.0, 7.0]], [[1.0, 2.0, 0.0, 1.0, 2.0]])
    assert (value, high) == (1.0, 1.0) and 0.5 < low < 0.95
    assert isnan(probability_of_improvement([[0.1, 0.2]], [[0.1]]).high)


def test_performance_profile_is_the_fraction_strictly_above() -> None:
    profile = performance_profile([0.0, 0.5, 0.5, 1.0], [0.0, 0.25, 0.5, 1.0])
    assert profile.tolist() == [0.75, 0.75, 0.25, 0.0]


@pytest.mark.parametrize("scores", [[], [float("nan")], [[0.1]]])
def test_bad_scores_are_refused(scores: list[float]) -> None:
    for statistic in (quartiles, interquartile_mean, mean_interval, deviations):
        with pytest.raises(ValueError, match="at least one finite score"):
            statistic(scores)
    with pytest.raises(ValueError, match="at least one finite score"):
        rate_interval(scores, 1)


def test_bad_counts_rates_and_strata_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes of 2 attempts"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="at least one attempt"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match=r"within \[0, 1\], not 0\.5 to 1\.5"):
        rate_interval([0.5, 1.5], 10)
    with pytest.raises(ValueError, match="at least one stratum"):
        probability_of_improvement([], [])
    with pytest.raises(ValueError, match="X has 1 strata and Y has 2"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])


def test_ranks_by_hand() -> None:
    """Of two seeds, the first method is better in one and worse in the other."""
    first, second, third = ranks([np.array([[[0.9, 0.1]], [[0.5, 0.4]], [[0.0, 0.0]]])])
    assert (first, second, third) == ((1.0, 1.0, 2.0), (2.0, 1.0, 2.0), (3.0, 3.0, 3.0))
    assert [one.value for one in ranks([np.array([[[0.1, 0.2]], [[0.2, 0.1]], [[0.15, 0.15]]])])] == [2.0, 2.0, 2.0]
    alone = ranks([np.array([[[0.3]], [[0.4]]])])
    assert [one.value for one in alone] == [2.0, 1.0] and all(np.isnan(one.low) for one in alone)


def test_intervals_of_ranks_are_those_of_the_seeds_that_all_methods_have() -> None:
    lacking = np.array([[[0.9, 0.1, 0.8]], [[0.5, 0.4, 0.2]], [[0.0, 0.0, np.nan]]])
    assert ranks([lacking]) == ranks([lacking[:, :, :2]]), "though the first is ahead in the third seed as well"
    one_in_common = ranks([np.array([[[0.9, 0.1]], [[0.5, np.nan]]])])
    assert [one.value for one in one_in_common] == [1.5, 1.5] and np.isnan(one_in_common[0].low)


def test_ranks_resample_tasks_as_well() -> None:
    """Each of two methods is the better one on a task: over both it may be either, on each it is certain."""
    tasks = [np.array([[[0.9, 0.9]], [[0.1, 0.1]]]), np.array([[[0.2, 0.2]], [[0.8, 0.8]]])]
    assert ranks(tasks[:1])[0] == (1.0, 1.0, 1.0)
    assert ranks(tasks)[0] == (1.0, 1.0, 2.0) and ranks(tasks)[1] == (2.0, 1.0, 2.0)


def test_ranks_resample_one_seed_less_than_there_are() -> None:
    """The first is ahead where at least .65 of the seeds are the first one: 3 of 4 in 2.7 %, 4 of 5 in 0.7 %."""
    seeds = [np.array([[[0.9, 0.1, 0.1, 0.1, 0.1]], [[0.56, 0.74, 0.74, 0.74, 0.74]]])]
    assert ranks(seeds, confidence=0.96)[0] == (2.0, 1.0, 2.0)
    assert ranks(seeds, confidence=0.92)[0] == (2.0, 2.0, 2.0)


def test_a_rank_holds_the_places_around_methods_that_may_be_equal() -> None:
    worse, better, equal = Estimate(0.2, 0.1, 0.3), Estimate(-0.2, -0.3, -0.1), Estimate(0.1, -0.1, 0.3)
    assert with_equals(Estimate(3.0, 3.0, 3.0), [better, equal, worse, equal, worse]) == (3.0, 2.0, 4.0)
    assert with_equals(Estimate(2.0, 1.5, 2.0), [better, worse]) == (2.0, 1.5, 2.0), "it is never shorter"
    unknown = Estimate(0.1, np.nan, np.nan)
    assert with_equals(Estimate(1.0, 1.0, 1.0), [unknown, worse]) == (1.0, 1.0, 2.0)
    assert np.isnan(with_equals(Estimate(1.0, np.nan, np.nan), [unknown]).low), "of a single seed nothing is known"


@pytest.mark.parametrize(
    "tasks", [[], [np.zeros((2, 1))], [np.full((2, 1, 3), np.nan)], [np.zeros((2, 1, 1))] * 1 + [np.zeros((3, 1, 1))]]
)
def test_ranks_refuse_what_has_none(tasks: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="ranks need"):
        ranks(tasks)


def test_times_fewer_by_hand() -> None:
    """With 20 episodes we exceed all of theirs or only the first; with 10 perhaps the first, and never the second."""
    above, below, unclear = Estimate(0.3, 0.1, 0.5), Estimate(-0.3, -0.5, -0.1), Estimate(0.1, -0.1, 0.3)
    assert times_fewer([10, 20], [100, 900], [[unclear, below], [above, above]]) == (45.0, 45.0, inf)
    assert times_fewer([10, 20], [100, 900], [[unclear, below], [above, below]]) == (5.0, 5.0, 90.0)
    assert times_fewer([10, 20], [100, 900], [[above, above], [below, below]]) == (0.0, 0.0, inf)
    assert times_fewer([10, 20], [100, 900], [[below, below], [below, below]]) == (0.0, 0.0, 10.0)
    found = times_fewer([10], [100], [[Estimate(0.3, nan, nan)]])
    assert found.value == 10.0 and isnan(found.low) and isnan(found.high)
