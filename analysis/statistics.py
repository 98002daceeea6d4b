"""The statistics behind the tables and figures: pure functions on arrays of scores.

A score is what one trial achieved, such as the fraction of its rollouts that succeeded; a trial that failed has the
score 0 before it comes here. Seeds are the unit: intervals say how far the mean over all seeds may be from the mean
over those that were run. Their coverage with few seeds was simulated (docs/statistics.md, tests/science); bounds of a
success rate stay within [0, 1], those of a difference of two within [-1, 1]. An interval is NaN for a single seed.

Sources: Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927), with the effective
sample size and the t quantile that surveys use for rates that vary between clusters (Franco et al., JSSAM 2019);
Zou and Donner, "Construction of confidence limits about effect measures" (Statistics in Medicine 2008), for differences
of quantities with unequal bounds; Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney
statistic, part 2" (Statistics in Medicine 2006), method 5, for the probability of improvement; Agarwal et al., "Deep
reinforcement learning at the edge of the statistical precipice" (NeurIPS 2021) for that probability, the inter-quartile
mean and performance profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from math import inf, isnan, nan, sqrt
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

FloatArray: TypeAlias = NDArray[np.float64]
T = TypeVar("T")

CONFIDENCE = 0.95
REPETITIONS = 1000
SEED = 0


class Quartiles(NamedTuple):
    """Median, first and third quartile."""

    median: float
    q1: float
    q3: float


class Estimate(NamedTuple):
    """A value and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def quartiles(scores: ArrayLike) -> Quartiles:
    """Median and inter-quartile range of scores [n], interpolated linearly between order statistics.

    The quantile q is read at position q (n - 1) of the sorted scores (Hyndman and Fan's type 7, NumPy's default).

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    q1, median, q3 = np.quantile(_scores(scores), [0.25, 0.5, 0.75])
    return Quartiles(float(median), float(q1), float(q3))


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of scores [n] without the floor(n / 4) lowest and highest: the 25 % trimmed mean.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = np.sort(_scores(scores))
    cut = len(values) // 4
    return float(values[cut : len(values) - cut].mean())


def wilson_interval(successes: int, attempts: int, confidence: float = CONFIDENCE) -> Estimate:
    """The success rate of independent attempts, as of one policy, with Wilson's score interval.

    Raises:
        ValueError: there was no attempt, or successes are not within [0, attempts].
    """
    if not 0 <= successes <= attempts or attempts == 0:
        raise ValueError(f"{successes} successes of {attempts} attempts: allowed are 0 to all of at least one attempt")
    return _wilson(successes / attempts, attempts, float(ndtri((1.0 + confidence) / 2.0)))


def rate_interval(scores: ArrayLike, rollouts: int, confidence: float = CONFIDENCE) -> Estimate:
    """Mean success rate over seeds with Wilson's interval for rates that vary between seeds.

    The number of attempts is the effective one: as many independent rollouts as would give the mean the variance that
    the seeds show, at most those that were made. The quantile is that of Student's t with n - 1 degrees of freedom. So
    the interval is that of a t test where the rate is moderate, and stays within [0, 1] and wider than nothing where
    all seeds agree, even on 0 or 1.

    Args:
        scores: success rate of each seed, in [0, 1], [n].
        rollouts: how many the scores are made of, all seeds together.
        confidence: nominal coverage.

    Raises:
        ValueError: there is no score, or one outside of [0, 1].
    """
    values = _rates(scores)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, nan, nan)
    variance = float(values.var(ddof=1)) / count
    attempts = float(max(rollouts, count))
    if variance > 0.0:
        attempts = min(attempts, mean * (1.0 - mean) / variance)
    return _wilson(mean, attempts, _t_quantile(count - 1, confidence))


def mean_interval(scores: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of scores [n] without bounds, such as seconds, with Student's t interval of n - 1 degrees of freedom.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = _scores(scores)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, nan, nan)
    half_width = _t_quantile(count - 1, confidence) * float(values.std(ddof=1)) / sqrt(count)
    return Estimate(mean, mean - half_width, mean + half_width)


def next_seed(scores: ArrayLike, rollouts: int, confidence: float = CONFIDENCE) -> Estimate:
    """Mean success rate over seeds and the interval in which that of one more seed lies: a prediction interval.

    Student's t interval of the mean with the variance of one more seed added, cut to [0, 1]. Seeds vary at least as
    much as the rollouts of equal policies do, so that it is wider than nothing where all seeds agree.

    Args:
        scores: success rate of each seed, in [0, 1], [n].
        rollouts: how many each score is made of.
        confidence: nominal coverage.

    Raises:
        ValueError: there is no score, or one outside of [0, 1].
    """
    values = _rates(scores)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, nan, nan)
    shrunk = (mean * rollouts * count + 2.0) / (rollouts * count + 4.0)  # not 0 or 1, as by Agresti and Coull
    variance = max(float(values.var(ddof=1)), shrunk * (1.0 - shrunk) / rollouts)
    half_width = _t_quantile(count - 1, confidence) * sqrt(variance * (1.0 + 1.0 / count))
    return Estimate(mean, max(0.0, mean - half_width), min(1.0, mean + half_width))


def difference(first: Estimate, second: Estimate, correlation: float = 0.0) -> Estimate:
    """The first estimate minus the second, with the interval that follows from theirs (Zou and Donner's MOVER).

    Args:
        first, second: with intervals that need not be symmetric; the result's keeps within their extremes.
        correlation: between the two estimates, as of variants whose seeds are paired; 0 where they are independent.
    """
    value = first.value - second.value
    low = _hypotenuse(first.value - first.low, second.high - second.value, correlation)
    high = _hypotenuse(first.high - first.value, second.value - second.low, correlation)
    return Estimate(value, value - low, value + high)


def paired_difference(first: ArrayLike, second: ArrayLike, rollouts: int, confidence: float = CONFIDENCE) -> Estimate:
    """Mean difference of paired success rates with Student's t interval, at least as wide as rollouts alone make it.

    Two seeds or three may agree by chance, so the interval is no shorter than that of as many independent rollouts of
    two policies (with one more success and failure for each, so that it has a width where all or none succeed).

    Args:
        first, second: success rates of the same seeds, in [0, 1], [n].
        rollouts: how many the rates of either are made of, all seeds together.
        confidence: nominal coverage.

    Raises:
        ValueError: there is no score, one that is not finite, or the two differ in number.
    """
    x, y = _scores(first), _scores(second)
    if len(x) != len(y):
        raise ValueError(f"paired scores come in pairs, not {len(x)} and {len(y)}")
    value, low, _ = mean_interval(x - y, confidence)
    rates = [(float(part.mean()) * rollouts + 1) / (rollouts + 2) for part in (x, y)]
    least = float(ndtri((1.0 + confidence) / 2.0)) * sqrt(sum(rate * (1.0 - rate) for rate in rates) / rollouts)
    half_width = value - low if isnan(low) else max(value - low, least)
    return Estimate(value, max(value - half_width, -1.0), min(value + half_width, 1.0))


def correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation of paired scores [n]; 0 where one of them does not vary or there are fewer than three.

    Raises:
        ValueError: there is no score, one that is not finite, or the two differ in number.
    """
    x, y = _scores(first), _scores(second)
    if len(x) != len(y):
        raise ValueError(f"paired scores come in pairs, not {len(x)} and {len(y)}")
    if len(x) < 3 or x.std() == 0.0 or y.std() == 0.0:
        return 0.0
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))


def deviations(scores: ArrayLike) -> FloatArray:
    """Distance of each score from their median, [n], times sqrt(n / (n - 1)): the spread that Brown and Forsythe test.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = _scores(scores)
    count = len(values)
    return np.asarray(np.abs(values - np.median(values)) * sqrt(count / max(count - 1, 1)), dtype=np.float64)


def times_fewer(ours: Sequence[float], theirs: Sequence[float], differences: Sequence[Sequence[Estimate]]) -> Estimate:
    """How many times as many episodes another method needs to succeed as often as ours.

    To match our success with some budget, they need more than each of their budgets up to which they succeed less often
    than we do. The ratio of these budgets is the answer at that level of success; the largest one over our budgets is
    returned. Budgets of ours are tried from the largest to the first with which we do not exceed all of theirs. Since
    each is only asked after all larger ones have passed, their number needs no correction (a fixed sequence of tests).

    Args:
        ours: episodes of our budgets, in ascending order, [n].
        theirs: episodes of their budgets, in ascending order, [m].
        differences: success with each budget of ours minus that with each of theirs, [n][m].

    Returns:
        The ratio that follows from the values; at least the one that follows where only differences count whose
        interval lies above 0; and the ratio above which an interval lies below 0, infinite where none does.
    """

    def exceeded(clear: Callable[[Estimate], bool]) -> float:
        most = 0.0
        for own, row in reversed([*zip(ours, differences, strict=True)]):
            below = [*takewhile(lambda pair: clear(pair[1]), zip(theirs, row, strict=True))]
            most = max([most, *(episodes / own for episodes, _ in below)])
            if len(below) < len(theirs):
                break
        return most

    value = exceeded(lambda one: one.value > 0.0)
    if any(isnan(one.low) for row in differences for one in row):
        return Estimate(value, nan, nan)
    reached = [
        min((episodes / own for episodes, one in zip(theirs, row, strict=True) if one.high < 0.0), default=inf)
        for own, row in zip(ours, differences, strict=True)
    ]
    return Estimate(value, exceeded(lambda one: one.low > 0.0), max(reached))


def bootstrap(
    statistic: Callable[[Sequence[Sequence[T]]], float],
    samples: Sequence[Sequence[T]],
    confidence: float = CONFIDENCE,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> Estimate:
    """Any statistic of several samples of trials, with a percentile interval from resampling the trials of each.

    Its intervals are too short with few trials: use it only where no formula is at hand.

    Args:
        statistic: of the samples; where it is not defined it gives NaN, and that resample is left out.
        samples: what each trial gave, in whatever form the statistic takes.
        confidence: fraction of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples.
        seed: of the resampling; equal arguments give equal bounds.

    Raises:
        ValueError: there is no sample, or an empty one.
    """
    if not samples or not min(map(len, samples)):
        raise ValueError("a bootstrap needs at least one trial in each of its samples")
    value = statistic(samples)
    if min(map(len, samples)) < 2 or isnan(value):
        return Estimate(value, nan, nan)
    rng = np.random.default_rng(seed)
    drawn = [
        statistic([[sample[i] for i in rng.integers(len(sample), size=len(sample))] for sample in samples])
        for _ in range(repetitions)
    ]
    defined = np.array([one for one in drawn if not isnan(one)])
    if not len(defined):
        return Estimate(value, nan, nan)
    low, high = np.quantile(defined, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return Estimate(value, float(low), float(high))


def probability_of_improvement(
    strata_x: Sequence[ArrayLike], strata_y: Sequence[ArrayLike], confidence: float = CONFIDENCE
) -> Estimate:
    """Chance that a trial of X scores higher than one of Y, ties counting half, averaged over strata.

    In each stratum this is the Mann-Whitney statistic U / (n m). The interval holds every probability p from which the
    value is at most z standard deviations away, by the variance that p itself implies (Newcombe's method 5): it lies
    within [0, 1], and has a width even where all of X is above all of Y.

    Args:
        strata_x: the scores [n_k] of X in each stratum (a task, at a number of demonstrations).
        strata_y: the scores [m_k] of Y in the same strata.
        confidence: nominal coverage.

    Raises:
        ValueError: there is no stratum, an empty one, a score that is not finite, or the strata differ in number.
    """
    if len(strata_x) != len(strata_y):
        raise ValueError(f"X has {len(strata_x)} strata and Y has {len(strata_y)}: both need the same ones")
    if not strata_x:
        raise ValueError("a stratified statistic needs at least one stratum")
    samples = [(_scores(x), _scores(y)) for x, y in zip(strata_x, strata_y, strict=True)]
    wins = [float(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean()) for x, y in samples]
    value = sum(wins) / len(wins)
    if min(min(len(x), len(y)) for x, y in samples) < 2:
        return Estimate(value, nan, nan)
    z = float(ndtri((1.0 + confidence) / 2.0))
    p = np.linspace(0.0, 1.0, 10_001)
    variance = np.zeros_like(p)
    for x, y in samples:
        more = (len(x) + len(y)) / 2.0 - 1.0
        spread = 1.0 + more * (1.0 - p) / (2.0 - p) + more * p / (1.0 + p)
        variance += p * (1.0 - p) * spread / (len(x) * len(y) * len(samples) ** 2)
    possible = p[np.abs(p - value) <= z * np.sqrt(variance) + 1e-9]
    return Estimate(value, min(value, float(possible[0])), max(value, float(possible[-1])))


def ranks(
    tasks: Sequence[ArrayLike], confidence: float = CONFIDENCE, repetitions: int = REPETITIONS, seed: int = SEED
) -> list[Estimate]:
    """The rank of each of several methods by its mean score, 1 for the highest, with a percentile bootstrap interval.

    Each resample draws as many tasks as there are, and in each of them as many seeds, the same ones for all methods
    and cells, since these share their demonstrations. Methods with equal means share the mean of their ranks. With a
    single task the interval is about this task; with several about others like them too, which makes it wide.

    Args:
        tasks: the scores of each task, [methods, cells, seeds]; all cells weigh the same. NaN where a method lacks a
            seed, of which it needs one in each cell: ranks are those of all seeds, intervals of those that all have.
        confidence: fraction of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples.
        seed: of the resampling; equal arguments give equal bounds.

    Raises:
        ValueError: there is no task, a method has no score in a cell, or the tasks have different numbers of methods.
    """
    blocks = [np.asarray(scores, dtype=np.float64) for scores in tasks]
    if not blocks or any(block.ndim != 3 or len(block) != len(blocks[0]) or not block.size for block in blocks):
        raise ValueError(
            "ranks need scores [methods, cells, seeds] of at least one task, with the same methods in each"
        )
    if any(np.isnan(block).all(axis=2).any() for block in blocks):
        raise ValueError("ranks need at least one score of each method in each cell")
    value = _ranked(sum(np.nanmean(block, axis=2).sum(axis=1) for block in blocks)[None])[0]
    common = [block[:, :, ~np.isnan(block).any(axis=(0, 1))] for block in blocks]
    if min(block.shape[2] for block in common) < 2:
        return [Estimate(float(rank), nan, nan) for rank in value]
    rng = np.random.default_rng(seed)
    sums = np.zeros((repetitions, len(value)))
    for place in rng.integers(len(common), size=(len(common), repetitions)):  # which task each resample draws
        for task, block in enumerate(common):
            drawing = np.flatnonzero(place == task)
            seeds = rng.integers(block.shape[2], size=(len(drawing), block.shape[2]))
            sums[drawing] += block[:, :, seeds].mean(axis=3).sum(axis=1).T
    drawn = _ranked(sums)
    ends = [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0]
    low = np.minimum(value, np.quantile(drawn, ends[0], axis=0, method="lower"))
    high = np.maximum(value, np.quantile(drawn, ends[1], axis=0, method="higher"))
    return [Estimate(*map(float, each)) for each in zip(value, low, high, strict=True)]


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> FloatArray:
    """Fraction of scores [n] above each threshold [k]: the run-score distribution, [k].

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    above = _scores(scores)[:, None] > np.asarray(thresholds, dtype=np.float64)
    return np.asarray(above.mean(axis=0), dtype=np.float64)


def _ranked(scores: FloatArray) -> FloatArray:
    """The rank of each of several methods in each row of scores [n, methods], 1 for the highest; equal ones share."""
    values = scores.round(9)  # equal sums are equal in whatever order they were made
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.asarray(better + (equal + 1) / 2.0, dtype=np.float64)


def _wilson(rate: float, attempts: float, quantile: float) -> Estimate:
    square = quantile**2
    centre = (rate + square / (2 * attempts)) / (1 + square / attempts)
    half_width = quantile * sqrt(rate * (1 - rate) / attempts + square / (4 * attempts**2)) / (1 + square / attempts)
    # At 0 and 1 the bound is the rate itself, but for rounding.
    return Estimate(rate, max(0.0, min(rate, centre - half_width)), min(1.0, max(rate, centre + half_width)))


def _t_quantile(degrees: int, confidence: float) -> float:
    # Rounded far below what matters, so that all machines' mathematical libraries agree on every digit.
    return round(float(stdtrit(degrees, (1.0 + confidence) / 2.0)), 9)


def _hypotenuse(one: float, other: float, correlation: float) -> float:
    square = one**2 + other**2 - 2.0 * correlation * one * other
    return nan if isnan(square) else sqrt(max(0.0, square))  # rounding can make it negative


def _rates(values: ArrayLike) -> FloatArray:
    rates = _scores(values)
    if rates.min() < 0.0 or rates.max() > 1.0:
        raise ValueError(f"a success rate is within [0, 1], not {rates.min():g} to {rates.max():g}")
    return rates


def _scores(values: ArrayLike) -> FloatArray:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"a statistic needs a list of at least one finite score, not {values!r}")
    return scores
