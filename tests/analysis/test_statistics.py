"""Against values computed by hand, published definitions and the examples of the reference implementations."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, t, trim_mean

from analysis.statistics import (
    bootstrap,
    interquartile_mean,
    interquartile_mean_difference,
    interquartile_mean_interval,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    quartiles,
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


def test_values_of_the_reference_implementation() -> None:
    """The example of rliable's own tests: scores of runs (rows) on two tasks (columns)."""
    x, y = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    assert interquartile_mean(x.ravel()) == 1.5
    assert interquartile_mean(y.ravel()) == 2.0
    assert probability_of_improvement(list(x.T), list(y.T)).value == pytest.approx(1 / 3)


def test_stratified_bootstrap_keeps_to_the_strata() -> None:
    # Each stratum is constant, so resampling within it changes nothing; across them it would.
    strata = [np.zeros(4), np.ones(4)]
    assert interquartile_mean_interval(strata) == (0.5, 0.5, 0.5)
    value, low, high = interquartile_mean_interval([np.concatenate(strata)])
    assert value == 0.5 and low < 0.3 and high > 0.7


def test_bootstrap_of_the_interquartile_mean_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        _, low, high = interquartile_mean_interval([rng.normal(size=30)], repetitions=300)
        hits += low <= 0.0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_bootstrap_is_seeded() -> None:
    scores = [np.random.default_rng(1).uniform(size=7)]
    other = [np.random.default_rng(2).uniform(size=6)]
    assert interquartile_mean_interval(scores) == interquartile_mean_interval(scores)
    assert interquartile_mean_interval(scores) != interquartile_mean_interval(scores, seed=1)
    assert probability_of_improvement(scores, other) == probability_of_improvement(scores, other)
    assert probability_of_improvement(scores, other) != probability_of_improvement(scores, other, seed=1)


def test_intervals_need_two_scores_in_every_stratum() -> None:
    assert interquartile_mean_interval([[0.4]])[0] == 0.4
    assert isnan(interquartile_mean_interval([[0.1, 0.2], [0.4]]).low)
    assert isnan(probability_of_improvement([[0.1, 0.2]], [[0.1]]).high)


def test_probability_of_improvement_counts_ties_half() -> None:
    assert probability_of_improvement([[1.0, 2.0]], [[1.0, 1.0]]).value == 0.75  # wins 2, ties 2 of 4
    assert probability_of_improvement([[1.0, 1.0]], [[1.0, 1.0]]) == (0.5, 0.5, 0.5)
    assert probability_of_improvement([[3.0, 4.0]], [[1.0, 2.0]]) == (1.0, 1.0, 1.0)
    assert probability_of_improvement([[3.0, 4.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 1.0]]).value == 0.5


def test_probability_of_improvement_is_mann_whitney() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 6, size=9).astype(float), rng.integers(0, 6, size=7).astype(float)
    assert probability_of_improvement([x], [y]).value == pytest.approx(mannwhitneyu(x, y).statistic / 63)
    forth, back = probability_of_improvement([x], [y]), probability_of_improvement([y], [x])
    assert forth.value + back.value == pytest.approx(1.0)
    assert forth.low < forth.value < forth.high


def test_bootstrap_of_the_improvement_resamples_both_sides() -> None:
    """Against a bootstrap written out: draw both samples anew, compare all pairs."""
    x, y = np.array([0.2, 0.5, 0.9, 0.4]), np.array([0.1, 0.5, 0.6])
    rng = np.random.default_rng(11)
    values = []
    for _ in range(4000):
        a, b = rng.choice(x, 4), rng.choice(y, 3)
        values.append(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean())
    _, low, high = probability_of_improvement([x], [y], repetitions=4000)
    assert (low, high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.04)


def test_performance_profile_is_the_share_strictly_above() -> None:
    profile = performance_profile([0.0, 0.5, 0.5, 1.0], [0.0, 0.25, 0.5, 1.0])
    assert profile.tolist() == [0.75, 0.75, 0.25, 0.0]


def test_wilson_interval() -> None:
    # 8 of 10: centre (0.8 + 1.9207 / 10) / (1 + 3.8415 / 10) = 0.71674, half width 0.22658
    assert wilson_interval(8, 10) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.0, 0.16113), abs=1e-5)  # z^2 / (n + z^2)
    assert wilson_interval(20, 20).high == 1.0


@pytest.mark.parametrize("scores", [[], [float("nan")], [[0.1]]])
def test_bad_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one finite score"):
        quartiles(scores)


def test_bad_counts_and_strata_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes of 2 attempts"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="at least one attempt"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match="at least one stratum"):
        interquartile_mean_interval([])
    with pytest.raises(ValueError, match="X has 1 strata and Y has 2"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])


def test_a_difference_of_interquartile_means_has_the_interval_of_both_sides() -> None:
    """Two normal samples: the bounds lie as far apart as those of both sides together, and around the difference."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(3.0, 1.0, size=60), rng.normal(1.0, 1.0, size=60)
    value, low, high = interquartile_mean_difference([x], [y])
    assert value == pytest.approx(trim_mean(x, 0.25) - trim_mean(y, 0.25)) and low < value < high
    widths = [interval.high - interval.low for interval in map(interquartile_mean_interval, ([x], [y]))]
    assert high - low == pytest.approx(np.hypot(*widths), rel=0.1)
    assert interquartile_mean_difference([[1.0, 1.0], [0.0, 0.0]], [[0.25, 0.25]]) == (0.25, 0.25, 0.25)
    assert isnan(interquartile_mean_difference([[1.0, 2.0]], [[1.0]]).low)
    with pytest.raises(ValueError, match="at least one stratum"):
        interquartile_mean_difference([], [[1.0]])


def test_bootstrap_of_any_statistic() -> None:
    """Of a mean it agrees with the theory; what is not defined in a resample tells nothing."""
    values = np.random.default_rng(0).normal(size=100)
    value, low, high = bootstrap(lambda samples: float(np.mean(samples[0])), [list(values)])
    assert value == pytest.approx(values.mean()) and high - low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert bootstrap(lambda samples: float(np.mean(samples[0])), [list(values)]) == (value, low, high)
    assert isnan(bootstrap(lambda samples: 1.0, [[1], [1, 2]]).low)
    sparse = bootstrap(lambda samples: 1.0 if 1 in samples[0] else float("nan"), [[1, 2, 3]])
    assert sparse == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="at least one trial"):
        bootstrap(lambda samples: 0.0, [[1], []])
