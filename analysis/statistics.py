"""The statistics behind the tables and figures: pure functions on arrays of scores.

A score is the result of one trial, such as the fraction of its rollouts that succeeded; callers give a failed trial the
score 0. The unit of analysis is the seed: intervals say how far the mean over all possible seeds may be from the mean
over those that were run. Their coverage with few seeds was simulated (docs/statistics.md, tests/science). Bounds of a
success rate stay within [0, 1], those of a difference of two within [-1, 1]. A single seed has a NaN interval.

Sources: Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927), with the effective
sample size and the t quantile that surveys use for rates that vary between clusters (Franco et al., JSSAM 2019);
Zou and Donner, "Construction of confidence limits about effect measures" (Statistics in Medicine 2008), for differences
of quantities with unequal bounds; Agarwal et al., "Deep reinforcement learning at the edge of the statistical
precipice" (NeurIPS 2021) for the inter-quartile mean. `comparisons` has statistics of several methods.
"""

from __future__ import annotations

from math import atanh, isnan, nan, sqrt, tanh
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

FloatArray: TypeAlias = NDArray[np.float64]

CONFIDENCE = 0.95
SEEDS = 5
"""Fewest seeds of each variant in each cell that decide a claim or give a difference a star; with fewer, intervals
cover too little for that."""


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


UNKNOWN = Estimate(nan, nan, nan)


def quartiles(scores: ArrayLike) -> Quartiles:
    """Median and inter-quartile range of scores [n], interpolated linearly between order statistics.

    The quantile q is read at position q (n - 1) of the sorted scores (Hyndman and Fan's type 7, NumPy's default).

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    q1, median, q3 = np.quantile(as_scores(scores), [0.25, 0.5, 0.75])
    return Quartiles(float(median), float(q1), float(q3))


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of scores [n] without the floor(n / 4) lowest and highest: the 25 % trimmed mean.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = np.sort(as_scores(scores))
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

    The number of attempts is an effective one: the number of independent rollouts with which the mean would have the
    variance that the seeds show, at most the actual number. The quantile is that of Student's t with n - 1 degrees of
    freedom. So for moderate rates the interval is that of a t test. It stays within [0, 1] and has a positive width
    even if all seeds agree on 0 or 1.

    Args:
        scores: success rate of each seed, in [0, 1], [n].
        rollouts: number of rollouts behind the scores, over all seeds.
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
    values = as_scores(scores)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, nan, nan)
    half_width = _t_quantile(count - 1, confidence) * float(values.std(ddof=1)) / sqrt(count)
    return Estimate(mean, mean - half_width, mean + half_width)


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


def paired_difference(first: ArrayLike, second: ArrayLike, rollouts: int) -> Estimate:
    """Mean difference of paired success rates with Student's t interval, at least as wide as rollouts alone make it.

    Two seeds or three may agree by chance, so the interval is no shorter than that of as many independent rollouts of
    two policies (with one more success and failure for each, so that it has a width where all or none succeed).

    Args:
        first, second: success rates of the same seeds, in [0, 1], [n].
        rollouts: how many the rates of either are made of, all seeds together.

    Raises:
        ValueError: there is no score, one that is not finite, or the two differ in number.
    """
    x, y = as_scores(first), as_scores(second)
    if len(x) != len(y):
        raise ValueError(f"paired scores come in pairs, not {len(x)} and {len(y)}")
    value, low, _ = mean_interval(x - y)
    rates = [(float(part.mean()) * rollouts + 1) / (rollouts + 2) for part in (x, y)]
    least = float(ndtri((1.0 + CONFIDENCE) / 2.0)) * sqrt(sum(rate * (1.0 - rate) for rate in rates) / rollouts)
    half_width = value - low if isnan(low) else max(value - low, least)
    return Estimate(value, max(value - half_width, -1.0), min(value + half_width, 1.0))


def correlation(first: ArrayLike, second: ArrayLike) -> float:
    """The correlation of paired scores [n], for `difference`; 0 where one does not vary or there are fewer than three.

    It is Pearson's, but if positive taken half a standard error (of Fisher's z) lower, at least 0: the more two scores
    agree, the shorter is the interval of their difference, and a few seeds may agree by chance or unevenly.

    Raises:
        ValueError: there is no score, one that is not finite, or the two differ in number.
    """
    x, y = as_scores(first), as_scores(second)
    if len(x) != len(y):
        raise ValueError(f"paired scores come in pairs, not {len(x)} and {len(y)}")
    if len(x) < 3 or x.std() == 0.0 or y.std() == 0.0:
        return 0.0
    found = float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 0.999))
    return found if found <= 0.0 else max(0.0, tanh(atanh(found) - 0.5 / sqrt(max(len(x) - 3, 1))))


def deviations(scores: ArrayLike) -> FloatArray:
    """Distance of each score from their median, [n], times sqrt(n / (n - 1)): the spread that Brown and Forsythe test.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = as_scores(scores)
    count = len(values)
    return np.asarray(np.abs(values - np.median(values)) * sqrt(count / max(count - 1, 1)), dtype=np.float64)


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
    rates = as_scores(values)
    if rates.min() < 0.0 or rates.max() > 1.0:
        raise ValueError(f"a success rate is within [0, 1], not {rates.min():g} to {rates.max():g}")
    return rates


def as_scores(values: ArrayLike) -> FloatArray:
    """Scores [n] as an array; raises ValueError where there is none, or one that is not finite."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"a statistic needs a list of at least one finite score, not {values!r}")
    return scores
