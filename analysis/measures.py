"""The numbers behind the paper's claims, each from the scores of the trials it is about.

All are over the seeds that have a record; a trial that failed counts as success 0. A measure takes the labels that it
compares, the scores of their trials in one mode, and the results; without records it gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf, nan
from typing import TypeAlias

import numpy as np
import pandas as pd

from analysis.load import Results
from analysis.statistics import (
    Estimate,
    bootstrap,
    interquartile_mean,
    interquartile_mean_difference,
    interquartile_mean_interval,
)

EPISODES = 2000
"""Within which the paper's arm learns (section 4.3)."""

Curve: TypeAlias = list[tuple[float, float]]
"""Episodes and success, from few to many episodes."""


@dataclass(frozen=True)
class Measured:
    """What the records say.

    Attributes:
        estimate: the number and its 95 % interval.
        words: what it is made of.
        baseline: the success, in [0, 1], of what it is compared with.
    """

    estimate: Estimate
    words: str
    baseline: float = 1.0


Measure: TypeAlias = Callable[[tuple[str, ...], pd.DataFrame, Results], Measured | None]
"""Of the keys of the compared variants, their scores in one mode, and the results."""


def difference(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """Inter-quartile mean of the first label's success less the second one's, over the numbers of demonstrations that
    both have."""
    ours, theirs = (_cells(scores[scores["variant"] == key], ["task", "demonstrations"]) for key in keys)
    shared = [cell for cell in ours if cell in theirs]
    return _compared([ours[cell] for cell in shared], [theirs[cell] for cell in shared], _names(scores, keys))


def gap(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """The difference of the first two variants minus that of the last two, over the cells that all four have."""
    cells = [_cells(scores[scores["variant"] == key], ["task", "demonstrations"]) for key in keys]
    shared = [cell for cell in cells[0] if all(cell in others for others in cells)]
    if not shared:
        return None
    sides = [[side[cell] for cell in shared] for side in cells]

    def value(samples: Sequence[Sequence[float]]) -> float:
        means = [interquartile_mean(np.concatenate(part)) for part in _parts(samples, len(shared))]
        return means[0] - means[1] - (means[2] - means[3])

    first, second, third, fourth = (interquartile_mean(np.concatenate(side)) for side in sides)
    words = f"{100 * (first - second):+.0f} against {100 * (third - fourth):+.0f} points"
    return Measured(bootstrap(value, [list(cell) for side in sides for cell in side]), words, third)


def spread(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """Standard deviation over seeds of the first variant's success minus that of the second."""
    sides = [scores.loc[scores["variant"] == key, "success"].to_list() for key in keys]
    if min(map(len, sides)) < 2:
        return None
    deviations = [float(np.std(side, ddof=1)) for side in sides]
    words = ", ".join(
        f"{name} {100 * one:.0f} points" for name, one in zip(_names(scores, keys), deviations, strict=True)
    )
    return Measured(bootstrap(lambda both: float(np.std(both[0], ddof=1) - np.std(both[1], ddof=1)), sides), words)


def _parts(samples: Sequence[Sequence[float]], size: int) -> list[Sequence[Sequence[float]]]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _names(scores: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    labels = dict(zip(scores["variant"], scores["label"].astype(str), strict=True))
    return [labels.get(key, key) for key in keys]


def growth(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """Inter-quartile mean of the success with most demonstrations minus that with fewest, over variants with both."""
    numbers = scores["demonstrations"].min(), scores["demonstrations"].max()
    if not numbers[0] < numbers[1]:
        return None
    fewest, most = (_cells(scores[scores["demonstrations"] == number], ["variant"]) for number in numbers)
    shared = [key for key in most if key in fewest]
    names = tuple(f"with {number} demonstrations" for number in reversed(numbers))
    return _compared([most[key] for key in shared], [fewest[key] for key in shared], names)


def seconds(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """Median seconds of the first label's successful roll-outs less those of the second one's."""
    rollouts = results.rollouts[results.rollouts["success"]].merge(scores[["trial", "mode", "variant"]])
    samples = [
        [trial.to_numpy() for _, trial in rollouts[rollouts["variant"] == key].groupby("trial")["seconds"]]
        for key in keys
    ]
    if not all(samples):
        return None

    def medians(sides: Sequence[Sequence[np.ndarray]]) -> list[float]:
        return [float(np.median(np.concatenate(side))) for side in sides]

    words = ", ".join(
        f"{label} {median:.1f} s" for label, median in zip(_names(scores, keys), medians(samples), strict=True)
    )
    return Measured(bootstrap(lambda sides: float(-np.diff(medians(sides))[0]), samples), words)


def interactions(methods: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """How many times as many episodes the second method uses as the first at equal success.

    That is the highest inter-quartile mean that both reach, each with the fewest episodes that reach it: on straight
    lines through its budgets, over the logarithm of the episodes. A smallest budget that is enough counts as it is;
    since fewer might do, the bounds are those with 0 episodes in its place.
    """
    budgets = scores.groupby(["method", "label"], observed=True)
    owners = [method for (method, _), _ in budgets]
    samples = [[*zip(rows["episodes"].clip(lower=1), rows["success"], strict=True)] for _, rows in budgets]
    if not set(methods) <= set(owners):
        return None

    def at_equal_success(sides: Sequence[Sequence[tuple[float, float]]]) -> tuple[list[Curve], float]:
        curves = [
            _curve([side for side, owner in zip(sides, owners, strict=True) if owner == name]) for name in methods
        ]
        return curves, min(max(success for _, success in curve) for curve in curves)

    def times(sides: Sequence[Sequence[tuple[float, float]]], more: int = 1, least: bool = False) -> float:
        """Episodes of the method `more` over those of the other; `least`: as few as its budgets leave possible."""
        curves, level = at_equal_success(sides)
        return _episodes(curves[more], level, least) / _episodes(curves[1 - more], level) if level > 0 else nan

    low = bootstrap(partial(times, least=True), samples).low
    inverse = bootstrap(partial(times, more=0, least=True), samples).low
    estimate = Estimate(times(samples), low, 1.0 / inverse if inverse else inf)
    curves, level = at_equal_success(samples)
    used = (
        f"{name.upper()} {_episodes(curve, level):,.0f} episodes" for name, curve in zip(methods, curves, strict=True)
    )
    return Measured(estimate, f"at {100 * level:.0f} %: {', '.join(used)}", level)


def reached(keys: tuple[str, ...], scores: pd.DataFrame, results: Results) -> Measured | None:
    """Inter-quartile mean of the success after `EPISODES`: the final one, or where training went on the last before."""
    if scores.empty:
        return None
    mode = scores["mode"].iloc[0]
    within = results.curve[results.curve["episodes"] <= EPISODES].groupby("trial")[mode].last()
    before = scores["trial"].map(within).fillna(0.0)
    final = (scores["episodes"] <= EPISODES) | (scores["status"] != "ok")
    success = scores["success"].where(final, before).to_numpy()
    return Measured(interquartile_mean_interval([success]), f"best seed {100 * success.max():.0f} %")


def _cells(scores: pd.DataFrame, by: list[str]) -> dict[tuple[object, ...], np.ndarray]:
    return {key: group["success"].to_numpy() for key, group in scores.groupby(by, observed=True)}


def _compared(ours: list[np.ndarray], theirs: list[np.ndarray], names: Sequence[str]) -> Measured | None:
    if not ours:
        return None
    means = [interquartile_mean(np.concatenate(side)) for side in (ours, theirs)]
    words = ", ".join(f"{name} {100 * mean:.0f} %" for name, mean in zip(names, means, strict=True))
    return Measured(interquartile_mean_difference(ours, theirs), words, means[1])


def _curve(budgets: Sequence[Sequence[tuple[float, float]]]) -> Curve:
    """Median episodes and inter-quartile mean of the success of each budget's trials."""
    columns = [np.array(trials).T for trials in budgets]
    return sorted((float(np.median(episodes)), interquartile_mean(success)) for episodes, success in columns)


def _episodes(curve: Curve, level: float, least: bool = False) -> float:
    """The fewest episodes that reach a level which the curve does reach; `least`: 0 where the smallest budget does."""
    if curve[0][1] >= level:
        return 0.0 if least else curve[0][0]
    (few, below), (many, above) = next(pair for pair in pairwise(curve) if pair[0][1] < level <= pair[1][1])
    return float(few * (many / few) ** ((level - below) / (above - below)))
