"""The statistics behind the tables and figures: pure functions on arrays of scores.

A score is what one trial achieved, such as its share of successful roll-outs; a trial that failed has the score 0
before it comes here. Intervals are NaN where a single score, or one in any stratum, says nothing about the spread.

Sources: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021) for the
inter-quartile mean, probability of improvement, performance profiles and the stratified bootstrap; Wilson, "Probable
inference, the law of succession, and statistical inference" (JASA 1927) for the interval of a success rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isnan, nan, sqrt
from statistics import NormalDist
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

FloatArray: TypeAlias = NDArray[np.float64]
T = TypeVar("T")

REPETITIONS = 2000
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


def mean_interval(scores: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Mean of scores [n] with Student's t interval of n - 1 degrees of freedom.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    values = _scores(scores)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Estimate(mean, nan, nan)
    # Rounded far below what matters, so that all machines' mathematical libraries agree on every digit.
    quantile = round(float(stdtrit(count - 1, (1.0 + confidence) / 2.0)), 9)
    half_width = quantile * float(values.std(ddof=1)) / sqrt(count)
    return Estimate(mean, mean - half_width, mean + half_width)


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of scores [n] without the floor(n / 4) lowest and highest: the 25 % trimmed mean.

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    return float(_trimmed_mean(_scores(scores)))


def interquartile_mean_interval(
    strata: Sequence[ArrayLike], confidence: float = 0.95, repetitions: int = REPETITIONS, seed: int = SEED
) -> Estimate:
    """Inter-quartile mean over all scores of all strata, with a stratified bootstrap percentile interval.

    Args:
        strata: the scores [n_k] of each stratum (a task, at a number of demonstrations); each is resampled by itself.
        confidence: share of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples.
        seed: of the resampling; equal arguments give equal bounds.

    Raises:
        ValueError: there is no stratum, an empty one, or a score that is not finite.
    """
    samples = _strata(strata)
    value = float(_trimmed_mean(np.concatenate(samples)))
    if min(map(len, samples)) < 2:
        return Estimate(value, nan, nan)
    rng = np.random.default_rng(seed)
    resampled = [sample[rng.integers(len(sample), size=(repetitions, len(sample)))] for sample in samples]
    return Estimate(value, *_bounds(_trimmed_mean(np.concatenate(resampled, axis=1)), confidence))


def interquartile_mean_difference(
    strata_x: Sequence[ArrayLike],
    strata_y: Sequence[ArrayLike],
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> Estimate:
    """Inter-quartile mean of X less that of Y, each over all its strata, with a stratified bootstrap interval.

    Args:
        strata_x: the scores [n_k] of X in each stratum; each is resampled by itself, as are those of Y.
        strata_y: the scores [m_k] of Y.
        confidence: share of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples.
        seed: of the resampling; equal arguments give equal bounds.

    Raises:
        ValueError: there is no stratum, an empty one, or a score that is not finite.
    """
    x, y = _strata(strata_x), _strata(strata_y)
    value = float(_trimmed_mean(np.concatenate(x)) - _trimmed_mean(np.concatenate(y)))
    if min(map(len, [*x, *y])) < 2:
        return Estimate(value, nan, nan)
    rng = np.random.default_rng(seed)
    first, second = (
        np.concatenate([part[rng.integers(len(part), size=(repetitions, len(part)))] for part in strata], axis=1)
        for strata in (x, y)
    )
    return Estimate(value, *_bounds(_trimmed_mean(first) - _trimmed_mean(second), confidence))


def bootstrap(
    statistic: Callable[[Sequence[Sequence[T]]], float],
    samples: Sequence[Sequence[T]],
    confidence: float = 0.95,
    repetitions: int = REPETITIONS // 2,
    seed: int = SEED,
) -> Estimate:
    """Any statistic of several samples of trials, with a percentile interval from resampling the trials of each.

    Args:
        statistic: of the samples; where it is not defined it gives NaN, and that resample tells nothing.
        samples: what each trial gave, in whatever form the statistic takes.
        confidence: share of the bootstrap distribution between the bounds.
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
    return Estimate(value, *_bounds(defined, confidence)) if len(defined) else Estimate(value, nan, nan)


def probability_of_improvement(
    strata_x: Sequence[ArrayLike],
    strata_y: Sequence[ArrayLike],
    confidence: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = SEED,
) -> Estimate:
    """Chance that a trial of X scores higher than one of Y, ties counting half, averaged over strata.

    In each stratum this is the Mann-Whitney statistic U / (n m). Bounds come from a bootstrap that resamples X and Y
    independently in each stratum.

    Args:
        strata_x: the scores [n_k] of X in each stratum.
        strata_y: the scores [m_k] of Y in the same strata.
        confidence: share of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples.
        seed: of the resampling; equal arguments give equal bounds.

    Raises:
        ValueError: there is no stratum, an empty one, a score that is not finite, or the strata differ in number.
    """
    if len(strata_x) != len(strata_y):
        raise ValueError(f"X has {len(strata_x)} strata and Y has {len(strata_y)}: both need the same ones")
    samples = list(zip(_strata(strata_x), _strata(strata_y), strict=True))
    value, resampled = 0.0, np.zeros(repetitions)
    for stratum, (x, y) in enumerate(samples):
        wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
        value += wins.mean() / len(samples)
        # A resample is how often each trial was drawn, so that no repetition compares the scores again.
        drawn_x = _draws(len(x), repetitions, (seed, stratum, 0))
        drawn_y = _draws(len(y), repetitions, (seed, stratum, 1))
        resampled += ((drawn_x @ wins) * drawn_y).sum(axis=1) / (wins.size * len(samples))
    if min(min(len(x), len(y)) for x, y in samples) < 2:
        return Estimate(float(value), nan, nan)
    return Estimate(float(value), *_bounds(resampled, confidence))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> FloatArray:
    """Share of scores [n] above each threshold [k]: the run-score distribution, [k].

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    above = _scores(scores)[:, None] > np.asarray(thresholds, dtype=np.float64)
    return np.asarray(above.mean(axis=0), dtype=np.float64)


def wilson_interval(successes: int, attempts: int, confidence: float = 0.95) -> Estimate:
    """The success rate of independent attempts with Wilson's score interval, which stays in [0, 1].

    Raises:
        ValueError: there was no attempt, or successes are not within [0, attempts].
    """
    if not 0 <= successes <= attempts or attempts == 0:
        raise ValueError(f"{successes} successes of {attempts} attempts: allowed are 0 to all of at least one attempt")
    rate, z2 = successes / attempts, NormalDist().inv_cdf((1.0 + confidence) / 2.0) ** 2
    centre = (rate + z2 / (2 * attempts)) / (1 + z2 / attempts)
    half_width = sqrt(z2 * (rate * (1 - rate) + z2 / (4 * attempts)) / attempts) / (1 + z2 / attempts)
    return Estimate(rate, max(0.0, centre - half_width), min(1.0, centre + half_width))


def _scores(values: ArrayLike) -> FloatArray:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"a statistic needs a list of at least one finite score, not {values!r}")
    return scores


def _strata(strata: Sequence[ArrayLike]) -> list[FloatArray]:
    if not strata:
        raise ValueError("a stratified statistic needs at least one stratum")
    return [_scores(stratum) for stratum in strata]


def _trimmed_mean(scores: FloatArray) -> FloatArray:
    """25 % trimmed mean over the last axis."""
    cut = scores.shape[-1] // 4
    kept = np.sort(scores, axis=-1)[..., cut : scores.shape[-1] - cut]
    return np.asarray(kept.mean(axis=-1), dtype=np.float64)


@lru_cache(maxsize=64)  # a table compares many pairs of the same sizes
def _draws(size: int, repetitions: int, seed: tuple[int, ...]) -> FloatArray:
    """How often each of `size` trials is drawn in `size` draws with replacement: [repetitions, size]."""
    drawn = np.random.default_rng(seed).integers(size, size=(repetitions, size))
    places = drawn + size * np.arange(repetitions)[:, None]
    counts = np.bincount(places.ravel(), minlength=size * repetitions).reshape(repetitions, size)
    return counts.astype(np.float64)


def _bounds(values: FloatArray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
