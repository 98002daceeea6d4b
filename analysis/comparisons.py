"""Statistics of several methods or variants: who is better how often, ranks, ratios of costs, and profiles.

Scores and intervals are those of `analysis.statistics`.

Sources: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2"
(Statistics in Medicine 2006), method 5, for the probability of improvement; Agarwal et al., "Deep reinforcement
learning at the edge of the statistical precipice" (NeurIPS 2021) for that probability and for performance profiles;
Rao and Wu, "Resampling inference with complex survey data" (JASA 1988), for the size of the samples behind ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from math import inf, isnan, nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from analysis.statistics import CONFIDENCE, Estimate, FloatArray, as_scores


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


def probability_of_improvement(strata_x: Sequence[ArrayLike], strata_y: Sequence[ArrayLike]) -> Estimate:
    """Chance that a trial of X scores higher than one of Y, ties counting half, averaged over strata.

    In each stratum this is the Mann-Whitney statistic U / (n m). The interval holds every probability p from which the
    value is at most z standard deviations away, by the variance that p itself implies (Newcombe's method 5): it lies
    within [0, 1], and has a width even where all of X is above all of Y.

    Args:
        strata_x: the scores [n_k] of X in each stratum (a task, at a number of demonstrations).
        strata_y: the scores [m_k] of Y in the same strata.

    Raises:
        ValueError: there is no stratum, an empty one, a score that is not finite, or the strata differ in number.
    """
    if len(strata_x) != len(strata_y):
        raise ValueError(f"X has {len(strata_x)} strata and Y has {len(strata_y)}: both need the same ones")
    if not strata_x:
        raise ValueError("a stratified statistic needs at least one stratum")
    samples = [(as_scores(x), as_scores(y)) for x, y in zip(strata_x, strata_y, strict=True)]
    wins = [float(((x[:, None] > y) + 0.5 * (x[:, None] == y)).mean()) for x, y in samples]
    value = sum(wins) / len(wins)
    if min(min(len(x), len(y)) for x, y in samples) < 2:
        return Estimate(value, nan, nan)
    z = float(ndtri((1.0 + CONFIDENCE) / 2.0))
    p = np.linspace(0.0, 1.0, 10_001)
    variance = np.zeros_like(p)
    for x, y in samples:
        more = (len(x) + len(y)) / 2.0 - 1.0
        spread = 1.0 + more * (1.0 - p) / (2.0 - p) + more * p / (1.0 + p)
        variance += p * (1.0 - p) * spread / (len(x) * len(y) * len(samples) ** 2)
    possible = p[np.abs(p - value) <= z * np.sqrt(variance) + 1e-9]
    return Estimate(value, min(value, float(possible[0])), max(value, float(possible[-1])))


def ranks(tasks: Sequence[ArrayLike], confidence: float = CONFIDENCE, repetitions: int = 10_000) -> list[Estimate]:
    """The rank of each of several methods by its mean score, 1 for the highest, with a percentile bootstrap interval.

    Each resample draws one task less than there are, and in each of them one seed less, with replacement: so means
    vary as much as they do between samples of tasks and seeds, where drawing all would halve the variance of two
    tasks. Seeds are the same for all methods and cells, since these share their demonstrations. Methods with equal
    means share the mean of their ranks. With a single task the interval is about this task; with several about others
    like them too, which makes it wide.

    Args:
        tasks: the scores of each task, [methods, cells, seeds]; all cells weigh the same. NaN where a method lacks a
            seed, of which it needs one in each cell: ranks are those of all seeds, intervals of those that all have.
        confidence: fraction of the bootstrap distribution between the bounds.
        repetitions: bootstrap samples; equal arguments give equal bounds.

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
    rng = np.random.default_rng(0)
    sums = np.zeros((repetitions, len(value)))
    for place in rng.integers(len(common), size=(max(len(common) - 1, 1), repetitions)):  # the task each resample draws
        for task, block in enumerate(common):
            drawing = np.flatnonzero(place == task)
            seeds = rng.integers(block.shape[2], size=(len(drawing), block.shape[2] - 1))
            sums[drawing] += block[:, :, seeds].mean(axis=3).sum(axis=1).T
    drawn = _ranked(sums)
    ends = [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0]
    low = np.minimum(value, np.quantile(drawn, ends[0], axis=0, method="lower"))
    high = np.maximum(value, np.quantile(drawn, ends[1], axis=0, method="higher"))
    return [Estimate(*map(float, each)) for each in zip(value, low, high, strict=True)]


def with_equals(rank: Estimate, differences: Sequence[Estimate]) -> Estimate:
    """The rank of a method with an interval that also holds its place before and behind all that may be equal to it.

    A bootstrap takes the order of the methods for more certain than it is where several hardly differ: the best in
    truth is then among the lower ones in many samples, and all resamples of such a sample agree on that. So no method
    counts as one of lower or higher rank unless the interval of the difference says so.

    Args:
        rank: as `ranks` gives it.
        differences: the method's mean score minus that of each other method, with their intervals.
    """
    if isnan(rank.low):
        return rank
    better, worse = sum(one.high < 0.0 for one in differences), sum(one.low > 0.0 for one in differences)
    return Estimate(rank.value, min(rank.low, 1.0 + better), max(rank.high, 1.0 + len(differences) - worse))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> FloatArray:
    """Fraction of scores [n] above each threshold [k]: the run-score distribution, [k].

    Raises:
        ValueError: there is no score, or one that is not finite.
    """
    above = as_scores(scores)[:, None] > np.asarray(thresholds, dtype=np.float64)
    return np.asarray(above.mean(axis=0), dtype=np.float64)


def _ranked(scores: FloatArray) -> FloatArray:
    """The rank of each of several methods in each row of scores [n, methods], 1 for the highest; equal ones share."""
    values = scores.round(9)  # equal sums are equal in whatever order they were made
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.asarray(better + (equal + 1) / 2.0, dtype=np.float64)
