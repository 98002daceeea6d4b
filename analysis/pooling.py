"""The success of one variant over several cells with equal weights, and differences between variants.

A cell is a task with a number of demonstrations, or whatever else the compared variants share. A seed's score is the
mean of its success over the cells; the spread of these scores over seeds gives the interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from math import nan
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from analysis.statistics import CONFIDENCE, Estimate, correlation, difference, rate_interval

CELL = ["task", "demonstrations"]
Cell: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Pooled:
    """The success of one variant in one mode.

    Attributes:
        label: the variant's, in words.
        estimate: mean over cells, with the interval of its seeds.
        scores: seed -> mean over the cells, for the seeds that every cell has.
        cells: cell -> mean over its seeds.
        seeds: how many every cell has.
        drawn: whether each seed drew its own demonstrations, so that seeds of several variants are paired.
    """

    label: str
    estimate: Estimate
    scores: Mapping[int, float]
    cells: Mapping[Cell, float]
    seeds: int
    drawn: bool

    @classmethod
    def of(cls, scores: pd.DataFrame, label: str = "", by: list[str] = CELL, confidence: float = CONFIDENCE) -> Pooled:
        """From the rows of `Results.scores` of its trials in one mode, at least one; `by`: what makes a cell."""
        table = scores.pivot_table("success", "seed", by, aggfunc="mean", observed=True)
        complete = table.dropna().mean(axis=1)
        rollouts = int(scores.loc[scores["seed"].isin(complete.index), "rollouts"].sum())
        means = table.mean()
        estimate = Estimate(float(means.mean()), nan, nan)
        if len(complete):
            estimate = rate_interval(complete.to_numpy(), rollouts, confidence)
        cells = [key if isinstance(key, tuple) else (key,) for key in means.index]
        return cls(
            label or str(scores["label"].iloc[0]),
            estimate,
            dict(zip(complete.index.tolist(), complete.tolist(), strict=True)),
            dict(zip(cells, means.tolist(), strict=True)),
            len(complete),
            bool(scores["drawn"].all()),
        )

    def minus(self, other: Pooled) -> Estimate:
        """The success minus that of another variant, paired by seed where both drew demonstrations by seed."""
        paired = self.drawn and other.drawn and self.scores.keys() == other.scores.keys() and len(self.scores) > 0
        related = correlation(list(self.scores.values()), list(other.scores.values())) if paired else 0.0
        return difference(self.estimate, other.estimate, related)


def split(frame: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The groups of a frame that occur, each with its key as column -> value."""
    for key, group in frame.groupby(by, observed=True):
        yield dict(zip(by, key, strict=True)), group


def cells_of(scores: pd.DataFrame) -> set[Cell]:
    """The cells (task, demonstrations) that scores are about."""
    return set(scores[CELL].drop_duplicates().itertuples(index=False, name=None))


def in_cells(scores: pd.DataFrame, cells: Set[Cell]) -> pd.DataFrame:
    """The scores of these cells."""
    return scores[np.array([cell in cells for cell in scores[CELL].itertuples(index=False, name=None)], dtype=bool)]


@dataclass(frozen=True)
class Shared:
    """What can be compared in one experiment and mode while trials of its plan have no record.

    A label has finished a cell if it has scores there and none of its planned trials is missing.

    Attributes:
        cells: of the sets of cells that a label or all labels have finished, the one that gives the most comparisons
            of two labels in a cell; the one of more labels among equals.
        labels: those that have finished all of these cells, in the order of the plan.
        finished: label -> the cells that it has finished.
        planned: the number of cells that the plan has for any label.
    """

    cells: frozenset[Cell]
    labels: tuple[str, ...]
    finished: dict[str, frozenset[Cell]]
    planned: int

    @classmethod
    def of(cls, scores: pd.DataFrame, missing: pd.DataFrame) -> Shared:
        """From the rows of `Results.scores` in one mode, not empty, and `Results.missing`, both of one experiment."""
        lacking = {key["label"]: cells_of(part) for key, part in split(missing, ["label"])}
        finished = {
            key["label"]: frozenset(cells_of(part) - lacking.get(key["label"], set()))
            for key, part in split(scores, ["label"])
        }

        def labels(cells: frozenset[Cell]) -> tuple[str, ...]:
            return tuple(label for label, own in finished.items() if cells and cells <= own)

        candidates = [*finished.values(), frozenset.intersection(*finished.values())]
        counts = [(len(cells), len(labels(cells))) for cells in candidates]
        comparisons = [(size * count * (count - 1), count) for size, count in counts]
        cells = candidates[comparisons.index(max(comparisons))]
        return cls(cells, labels(cells), finished, len(cells_of(scores) | cells_of(missing)))

    def among(self, scores: pd.DataFrame) -> pd.DataFrame:
        """The scores that are compared."""
        return in_cells(scores[scores["label"].isin(self.labels)], self.cells)
