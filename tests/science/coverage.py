"""How often the intervals of `analysis.statistics` hold what they estimate: `python -m tests.science.coverage`.

Seeds have success rates that vary as in our records or worse; each is measured on 100 rollouts. The table in
docs/statistics.md is what this prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from analysis.comparisons import probability_of_improvement, ranks, times_fewer, with_equals
from analysis.statistics import (
    CONFIDENCE,
    Estimate,
    correlation,
    deviations,
    difference,
    interquartile_mean,
    mean_interval,
    paired_difference,
    rate_interval,
)

Rates: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]
"""Draws the success rates of so many seeds."""
ROLLOUTS = 100


def beta(a: float, b: float) -> Rates:
    """Success rates with mean a / (a + b)."""
    return lambda rng, count: rng.beta(a, b, count)


def sure(rate: float) -> Rates:
    """The same success rate for all seeds."""
    return lambda rng, count: np.full(count, rate)


def measured(rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Success rates as `ROLLOUTS` rollouts show them."""
    return rng.binomial(ROLLOUTS, rates) / ROLLOUTS


Sides: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""The level in logits of two variants, and how much they vary with the seed."""
ALIKE: Sides = ((1.0, 1.0), (0.0, 1.0))
UNEVEN: Sides = ((2.7, 0.45), (3.15, 1.1))
"""Both have a mean of 93 %, but the second varies more."""


def related(sides: Sides, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Success rates of two variants whose seeds share their demonstrations: good draws are good for both."""
    common = rng.normal(0.0, 1.0, count)
    return [1 / (1 + np.exp(-(level + spread * (common + rng.normal(0.0, 0.5, count))))) for level, spread in sides]


Trial: TypeAlias = Callable[[np.random.Generator, int], Estimate]
"""One simulated comparison with so many seeds."""


def rate(rates: Rates, rng: np.random.Generator, count: int) -> Estimate:
    return rate_interval(measured(rates(rng, count), rng), ROLLOUTS * count)


def less(first: Rates, second: Rates, rng: np.random.Generator, count: int) -> Estimate:
    return difference(rate(first, rng, count), rate(second, rng, count))


def paired(sides: Sides, rng: np.random.Generator, count: int) -> Estimate:
    ours, theirs = (measured(rates, rng) for rates in related(sides, rng, count))
    first, second = (rate_interval(scores, ROLLOUTS * count) for scores in (ours, theirs))
    return difference(first, second, correlation(ours, theirs))


def differences(sides: Sides, rng: np.random.Generator, count: int) -> Estimate:
    ours, theirs = (measured(rates, rng) for rates in related(sides, rng, count))
    return paired_difference(ours, theirs, ROLLOUTS * count)


def gap(rng: np.random.Generator, count: int) -> Estimate:
    sides = [rate(rates, rng, count) for rates in (beta(9, 1), beta(4, 4), beta(5, 3), beta(1, 9))]
    return difference(difference(*sides[:2]), difference(*sides[2:]))


def spread(rng: np.random.Generator, count: int) -> Estimate:
    sides = [deviations(measured(rates(rng, count), rng)) for rates in (beta(1, 1), beta(20, 5))]
    return difference(*(mean_interval(side) for side in sides))


def improvement(first: Rates, second: Rates, rng: np.random.Generator, count: int) -> Estimate:
    return probability_of_improvement([measured(first(rng, count), rng)], [measured(second(rng, count), rng)])


def seconds(rng: np.random.Generator, count: int) -> Estimate:
    return difference(*(mean_interval(rng.lognormal(np.log(median), 0.25, count)) for median in (2.0, 5.0)))


def rank(
    place: int, methods: int, apart: float, tasks: int, differing: float, rng: np.random.Generator, count: int
) -> Estimate:
    """The rank of one of several methods that are so far apart, in logits, on tasks on which they differ in other ways.

    The value is the true rank, `place`.
    """
    steps = np.arange(methods, 0, -1) - (methods + 1) / 2
    scores = []
    for _ in range(tasks):
        levels = apart * steps + differing * rng.normal(0.0, 1.0, methods)
        good_draws = rng.normal(0.0, 1.0, count)  # of demonstrations, the same for all methods
        logits = levels[:, None] + good_draws + rng.normal(0.0, 0.5, (methods, count))
        scores.append(measured(1 / (1 + np.exp(-logits)), rng)[:, None])
    own, *others = np.roll(np.mean(scores, axis=0)[:, 0], 1 - place, axis=0)
    found = [rate_interval(mean, tasks * count * ROLLOUTS) for mean in (own, *others)]
    differences = [
        difference(found[0], other, correlation(own, mean)) for other, mean in zip(found[1:], others, strict=True)
    ]
    _, low, high = with_equals(ranks(scores, repetitions=200)[place - 1], differences)
    return Estimate(place, low, high)


def star(methods: int, tasks: int, rng: np.random.Generator, count: int) -> Estimate:
    """The largest difference to the best of equal methods, corrected for the number of all pairs.

    The value is 0, so an interval without it is a star by chance (see `analysis.tables.field.Standing`).
    """
    confidence = 1.0 - (1.0 - CONFIDENCE) / (methods * (methods - 1) / 2)
    good_draws = rng.normal(0.0, 1.0, (tasks, 1, count))
    logits = good_draws + rng.normal(0.0, 0.5, (tasks, methods, count))
    scores = measured(1 / (1 + np.exp(-logits)), rng).mean(axis=0)
    best, *others = scores[np.argsort(-scores.mean(axis=1))]
    found = [rate_interval(one, tasks * count * ROLLOUTS, confidence) for one in (best, *others)]
    behind = [difference(found[0], one, correlation(best, two)) for one, two in zip(found[1:], others, strict=True)]
    return Estimate(0.0, max(one.low for one in behind), max(one.high for one in behind))


def fewer(gpril: Sequence[Rates], gail: Sequence[Rates], rng: np.random.Generator, count: int) -> Estimate:
    """The ratio of interactions with as many seeds of each budget: 10, 20, 40, ... episodes against 100, 1000, ..."""
    ours, theirs = ([rate(rates, rng, count) for rates in side] for side in (gpril, gail))
    differences = [[difference(one, other) for other in theirs] for one in ours]
    return times_fewer(
        [10.0 * 2**i for i in range(len(ours))], [100.0 * 10**i for i in range(len(theirs))], differences
    )


LATE = ([beta(2, 6), beta(5, 5), beta(9, 2)], [beta(3, 7), beta(3, 6)])
"""GPRIL is better than GAIL with 20 episodes and not with 10: the ratio is 1000 / 20."""
TIED = ([beta(4, 6), beta(4, 6), beta(9, 2)], [beta(4, 6), beta(4, 6)])
"""GPRIL is no better than GAIL but with 40 episodes: the ratio is 1000 / 40."""


def bootstrapped(rates: Rates, rng: np.random.Generator, count: int) -> Estimate:
    """What the intervals here replace: the percentile bootstrap of the inter-quartile mean."""
    scores = measured(rates(rng, count), rng)
    resampling = np.random.default_rng(0)
    means = [interquartile_mean(scores[resampling.integers(count, size=count)]) for _ in range(200)]
    return Estimate(interquartile_mean(scores), *map(float, np.quantile(means, [0.025, 0.975])))


ROWS: Mapping[str, tuple[Trial, int]] = {
    "success rate, seeds around 50 %": (partial(rate, beta(2, 2)), 4000),
    "success rate, seeds around 90 %": (partial(rate, beta(9, 1)), 4000),
    "success rate, seeds around 98 %": (partial(rate, beta(50, 1)), 4000),
    "success rate, seeds near 0 or 100 %": (partial(rate, beta(0.5, 0.5)), 4000),
    "success rate, all seeds at 1 %": (partial(rate, sure(0.01)), 4000),
    "success rate, all seeds at 0 %": (partial(rate, sure(0.0)), 4000),
    "difference, 90 % and 50 %": (partial(less, beta(9, 1), beta(2, 2)), 4000),
    "difference, 98 % and 90 %": (partial(less, beta(50, 1), beta(9, 1)), 4000),
    "difference, 0 % and 10 %": (partial(less, sure(0.0), beta(1, 9)), 4000),
    "difference, paired seeds": (partial(paired, ALIKE), 4000),
    "difference, paired seeds, both at 93 %": (partial(paired, UNEVEN), 4000),
    "mean of paired differences": (partial(differences, ALIKE), 4000),
    "mean of paired differences, both at 93 %": (partial(differences, UNEVEN), 4000),
    "difference of two differences": (gap, 2000),
    "difference of two spreads": (spread, 2000),
    "probability of improvement, 50 %": (partial(improvement, beta(2, 2), beta(2, 2)), 1000),
    "probability of improvement, 95 %": (partial(improvement, beta(9, 1), beta(2, 2)), 1000),
    "seconds, 2 and 5": (seconds, 2000),
    "rank among six close methods, one task": (partial(rank, 4, 6, 0.2, 1, 0.0), 1000),
    "rank among six close methods, four tasks": (partial(rank, 4, 6, 0.2, 4, 0.3), 1000),
    "rank of the best of six, a point apart, one task": (partial(rank, 1, 6, 0.04, 1, 0.0), 1000),
    "rank of the best of sixteen, two tasks": (partial(rank, 1, 16, 0.2, 2, 0.3), 1000),
    "no star by chance, sixteen equal methods, one task": (partial(star, 16, 1), 1000),
    "no star by chance, sixteen equal methods, four tasks": (partial(star, 16, 4), 1000),
    "times fewer interactions, 50": (partial(fewer, *LATE), 2000),
    "times fewer interactions, 25": (partial(fewer, *TIED), 2000),
}
"""What is simulated, and how often."""
TRUTHS: Mapping[str, float] = {
    "times fewer interactions, 50": 50.0,
    "times fewer interactions, 25": 25.0,
}
"""What an interval is about, where that is not the mean of its values."""
BEFORE: Mapping[str, tuple[Trial, int]] = {
    "bootstrap of the inter-quartile mean, around 50 %": (partial(bootstrapped, beta(2, 2)), 400),
    "bootstrap of the inter-quartile mean, around 90 %": (partial(bootstrapped, beta(9, 1)), 400),
}
"""The same for what was replaced."""
SEEDS = (3, 5, 8, 10)


def truth(trial: Trial, count: int) -> float:
    """What the interval is about: the mean of the values of very many comparisons."""
    rng = np.random.default_rng(1)
    if getattr(trial, "func", None) is rank:
        return trial(rng, count).value
    return float(np.mean([trial(rng, count).value for _ in range(4000)]))


def coverage(name: str, count: int) -> float:
    """How often the interval of a row with `count` seeds holds the truth."""
    trial, repetitions = {**ROWS, **BEFORE}[name]
    rng = np.random.default_rng(0)
    goal = TRUTHS[name] if name in TRUTHS else truth(trial, count)
    estimates = [trial(rng, count) for _ in range(repetitions)]
    return float(np.mean([low - 1e-9 <= goal <= high + 1e-9 for _, low, high in estimates]))


def table() -> str:
    """The coverage in % of every row with each number of seeds, as Markdown."""
    lines = [f"| Interval | {' | '.join(f'{count} seeds' for count in SEEDS)} |", f"| --- |{' ---: |' * len(SEEDS)}"]
    for name in (*ROWS, *BEFORE):
        found = (f"{100 * coverage(name, count):.0f}" for count in SEEDS)
        lines.append(f"| {name} | {' | '.join(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
