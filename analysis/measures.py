"""The numbers that decide the paper's claims: what the records say of each `benchmarks.paper.Measure`.

Numbers weigh each cell (a task with a number of demonstrations) equally: a seed's score is the mean of its success over
the cells, and the spread of these scores over seeds gives the interval. Retries are the exception: a seed's score is
the fraction of its missed rollouts in all cells together. Where each seed draws its own demonstrations, seeds of
different variants are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

from analysis.comparisons import times_fewer
from analysis.formatting import percent
from analysis.load import Results
from analysis.pooling import Pooled, cells_of, in_cells
from analysis.statistics import UNKNOWN, Estimate, correlation, deviations, difference, mean_interval, rate_interval
from benchmarks.paper import Measure
from envs.commands import plural

EPISODES = 2000
"""Within which the paper's arm learns (section 4.3)."""


@dataclass(frozen=True)
class Measured:
    """What the records say.

    Attributes:
        estimate: the number and its interval.
        words: what it is made of.
        seeds: fewest that all cells of a variant have.
        cells: the number in each cell, where there are several: the cell in words, and the number.
        baseline: the success, in [0, 1], of what is compared with.
    """

    estimate: Estimate
    words: str
    seeds: int
    cells: tuple[tuple[str, float], ...] = ()
    baseline: float = 1.0


Compare: TypeAlias = Callable[[Sequence[str], pd.DataFrame, Results, float], Measured | None]
"""Of the keys of the compared variants, their scores in one mode, the results, and the confidence of the interval; None
without records of all of them."""


def _difference(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides:
        return None
    ours, theirs = sides
    cells = {cell: ours.cells[cell] - theirs.cells[cell] for cell in ours.cells}
    return Measured(ours.minus(theirs), _words(sides), _seeds(sides), _named(cells), theirs.estimate.value)


def _gap(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides:
        return None
    a, b, c, d = sides
    first, second = a.minus(b), c.minus(d)
    cells = {cell: a.cells[cell] - b.cells[cell] - c.cells[cell] + d.cells[cell] for cell in a.cells}
    gaps = ((a, b, first), (c, d, second))
    words = ", ".join(f"{one.label} minus {other.label} {percent(gap.value, '+.0f')}" for one, other, gap in gaps)
    return Measured(difference(first, second), words, _seeds(sides), _named(cells), c.estimate.value)


def _growth(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    numbers = scores["demonstrations"].min(), scores["demonstrations"].max()
    if not numbers[0] < numbers[1]:
        return None
    by_number = [scores[scores["demonstrations"] == number] for number in reversed(numbers)]
    shared = [key for key in keys if all((rows["variant"] == key).any() for rows in by_number)]
    if not shared:
        return None
    sides = [
        Pooled.of(rows[rows["variant"].isin(shared)], plural(number, "demonstration"), ["variant"], confidence)
        for number, rows in zip(reversed(numbers), by_number, strict=True)
    ]
    most, fewest = sides
    labels = _labels(scores)
    cells = {(labels[key[0]],): most.cells[key] - fewest.cells[key] for key in most.cells}
    return Measured(most.minus(fewest), _words(sides), _seeds(sides), _named(cells))


def _spread(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides or min(len(side.scores) for side in sides) < 2:
        return None
    ours, theirs = (mean_interval(deviations(list(side.scores.values())), confidence) for side in sides)
    words = f"{sides[0].label} {percent(ours.value)} points, {sides[1].label} {percent(theirs.value)} points"
    return Measured(difference(ours, theirs), words, _seeds(sides))


def _seconds(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """Mean over seeds of the median seconds of a seed's successful rollouts."""
    successful = results.rollouts[results.rollouts["success"]].groupby(["trial", "mode"], observed=True)["seconds"]
    rows = scores.join(successful.median(), on=["trial", "mode"]).dropna(subset="seconds")
    samples = [rows[rows["variant"] == key].groupby("seed")["seconds"].mean() for key in keys]
    if not all(map(len, samples)):
        return None
    ours, theirs = (mean_interval(sample.to_numpy(), confidence) for sample in samples)
    paired = bool(rows["drawn"].all()) and samples[0].index.equals(samples[1].index)
    related = correlation(*(sample.to_numpy() for sample in samples)) if paired else 0.0
    labels = _labels(scores)
    words = ", ".join(f"{labels[key]} {sample.mean():.1f} s" for key, sample in zip(keys, samples, strict=True))
    return Measured(difference(ours, theirs, related), words, min(map(len, samples)))


def _retries(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """A seed's score is the fraction that came back of its rollouts, in all cells, that missed; None if unrecorded."""
    trials = scores[["trial", "mode", "variant", "label", "seed", "drawn"]]
    rollouts = results.rollouts.drop(columns="seed").merge(trials, on=["trial", "mode"])
    rollouts = rollouts.assign(missed=rollouts["misses"] > 0, back=rollouts["retries"] > 0)
    if set(rollouts["variant"]) != set(keys) or rollouts["misses"].isna().any():
        return None
    sides, words = [], []
    for key in keys:
        own = rollouts[rollouts["variant"] == key]
        missed = own[own["missed"]]
        if missed.empty:
            return Measured(UNKNOWN, f"{own['label'].iloc[0]} never missed", 0)
        seeds = missed.groupby(["variant", "label", "seed"], observed=True)
        columns = {"success": ("back", "mean"), "rollouts": ("back", "size"), "drawn": ("drawn", "all")}
        side = Pooled.of(seeds.agg(**columns).reset_index(), by=["variant"], confidence=confidence)
        share = own.groupby("seed")["missed"].mean().mean()
        back, succeeded = side.estimate.value, seeds["success"].mean().mean()
        of_these = f"came back in {percent(back)} % of these, succeeded in {percent(succeeded)} %"
        sides.append(side)
        words.append(f"{side.label} missed in {percent(share)} %, {of_these}")
    return Measured(sides[0].minus(sides[1]), "; ".join(words), _seeds(sides))


def _learned(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """Success after `EPISODES`: the final one, or that of the last evaluation before where training continued."""
    if scores.empty:
        return None
    mode = scores["mode"].iloc[0]
    within = results.curve[results.curve["episodes"] <= EPISODES].groupby("trial")[mode].last()
    before = scores["trial"].map(within).fillna(0.0)
    final = (scores["episodes"] <= EPISODES) | (scores["status"] != "ok")
    success = scores["success"].where(final, before).to_numpy(dtype=float)
    estimate = rate_interval(success, int(scores["rollouts"].sum()), confidence)
    return Measured(estimate, f"best seed {percent(success.max())} %", scores["seed"].nunique())


def _interactions(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """How many times as many episodes the second method needs as the first to succeed as often; see `times_fewer`."""
    first, second = (_budgets(scores, scores.loc[scores["variant"] == key, "method"].max(), confidence) for key in keys)
    if not first or not second:
        return None
    table = [[ours.minus(theirs) for _, theirs in second] for _, ours in first]
    estimate = times_fewer([episodes for episodes, _ in first], [episodes for episodes, _ in second], table)
    words = "; ".join(map(_curve_in_words, (first, second)))
    return Measured(estimate, words, min(side.seeds for _, side in (*first, *second)))


def _budgets(scores: pd.DataFrame, method: str, confidence: float) -> list[tuple[float, Pooled]]:
    """Median episodes and success of each variant of a method, from few to many episodes."""
    variants = scores[scores["method"] == method].groupby("variant", observed=True)
    found = [
        (max(float(rows["episodes"].median()), 1.0), Pooled.of(rows, confidence=confidence)) for _, rows in variants
    ]
    return sorted(found, key=lambda budget: budget[0])


def _curve_in_words(budgets: Sequence[tuple[float, Pooled]]) -> str:
    """`GAIL 28 % (96 episodes), 32 % (436)`, under the shortest of the labels."""
    label = min((side.label for _, side in budgets), key=len)
    (fewest, first), *others = budgets
    more = [f"{percent(side.estimate.value)} % ({episodes:,.0f})" for episodes, side in others]
    return ", ".join([f"{label} {percent(first.estimate.value)} % ({fewest:,.0f} episodes)", *more])


MEASURES: Mapping[Measure, Compare] = {
    "difference": _difference,
    "gap": _gap,
    "growth": _growth,
    "spread": _spread,
    "seconds": _seconds,
    "learned": _learned,
    "interactions": _interactions,
    "retries": _retries,
}


def _sides(keys: Sequence[str], scores: pd.DataFrame, confidence: float) -> list[Pooled]:
    """Each variant's success over the cells that all of them have; nothing where they share none."""
    shared = set.intersection(*(cells_of(scores[scores["variant"] == key]) for key in keys))
    if not shared:
        return []
    rows = in_cells(scores, shared)
    return [Pooled.of(rows[rows["variant"] == key], confidence=confidence) for key in keys]


def _seeds(sides: Sequence[Pooled]) -> int:
    return min(side.seeds for side in sides)


def _labels(scores: pd.DataFrame) -> dict[str, str]:
    return dict(zip(scores["variant"], scores["label"].astype(str), strict=True))


def _words(sides: Sequence[Pooled]) -> str:
    return ", ".join(map(_percent, sides))


def _percent(side: Pooled) -> str:
    return f"{side.label} {percent(side.estimate.value)} %"


def _named(cells: Mapping[tuple[Any, ...], float]) -> tuple[tuple[str, float], ...]:
    """Cells by what tells them apart; nothing where there is one."""
    differing = [place for place in range(len(next(iter(cells)))) if len({cell[place] for cell in cells}) > 1]
    if not differing:
        return ()
    return tuple((", ".join(str(cell[place]) for place in differing), number) for cell, number in cells.items())
