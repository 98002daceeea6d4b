"""What the figures show, as frames in full precision: the data that is drawn, written beside each figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis.load import MODES, Results
from analysis.statistics import performance_profile
from analysis.summary import grouped_quartiles

Kind = Literal["success", "curves", "profile"]
Cost = Literal["episodes", "gradient_steps", "training_seconds"]
COSTS: tuple[Cost, ...] = ("episodes", "gradient_steps", "training_seconds")
CELL = ["task", "demonstrations", "label", "mode"]
THRESHOLDS = np.arange(100) / 100  # as shares of 100 roll-outs are computed, so that ties are exact


@dataclass(frozen=True)
class Series:
    """The data of one figure.

    Attributes:
        name: of its files, without extension.
        kind: what is drawn.
        experiment: whose trials it shows.
        data: see the function of the same name as `kind`.
        cost: the horizontal axis of learning curves.
    """

    name: str
    kind: Kind
    experiment: str
    data: pd.DataFrame
    cost: Cost | None = None


def all_series(results: Results) -> Iterator[Series]:
    """Every figure's data: for each experiment its success, learning curves against each cost, and profile."""
    for experiment in results.scores["experiment"].unique():
        stem = quote(experiment, safe="")  # an experiment's name may hold what a file's may not
        scores = results.scores[results.scores["experiment"] == experiment]
        yield Series(f"{stem}-success", "success", experiment, success(scores))
        for cost in COSTS:
            data = curves(scores, results.curve, cost)
            if data["point"].notna().any():
                yield Series(f"{stem}-curves-{cost.replace('_', '-')}", "curves", experiment, data, cost)
        yield Series(f"{stem}-performance-profile", "profile", experiment, profile(scores))


def success(scores: pd.DataFrame) -> pd.DataFrame:
    """The success of each trial, and its quartiles over seeds: a row a (task, demonstrations, label, mode, seed)."""
    rows = scores[[*CELL, "seed", "status", "success"]].sort_values([*CELL, "seed"])
    return rows.join(grouped_quartiles(scores, CELL, "success"), on=CELL).reset_index(drop=True)


def curves(scores: pd.DataFrame, curve: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Learning curves over seeds: a row a (task, demonstrations, label, mode, point).

    Columns: the median over trials of what training had used by that point, named as the `cost`; the quartiles of the
    success; and `trials`. A trial that failed counts as success 0 where its curve has ended. Labels that use nothing
    of that cost, such as the environment episodes of behavioural cloning, have one row without point and cost: the
    quartiles of the final success.
    """
    trials = scores[scores["mode"] == MODES[0]]
    group = ["task", "demonstrations", "label"]
    free = trials.groupby(group, observed=True)[cost].transform("max") == 0
    points = trials.loc[~free, [*group, "trial", "status"]].merge(curve, on="trial")
    lengths = (points.groupby(group, observed=True)["point"].max() + 1).rename("length")
    grid = trials.loc[~free, [*group, "trial", "status"]].join(lengths, on=group, how="inner")
    grid = grid.loc[grid.index.repeat(grid["length"])]
    grid["point"] = grid.groupby("trial").cumcount()
    grid = grid.merge(curve, on=["trial", "point"], how="left")
    ended = (grid["status"] != "ok") & grid[cost].isna()
    grid.loc[ended, list(MODES)] = 0.0
    tidy = grid.melt([*group, "point", cost], list(MODES), "mode", "success").dropna(subset="success")
    tidy["mode"] = pd.Categorical(tidy["mode"], MODES, ordered=True)
    by = [*CELL, "point"]
    grouped = tidy.groupby(by, observed=True)
    drawn = grouped.agg(**{cost: (cost, "median"), "trials": ("success", "size")}).join(
        grouped_quartiles(tidy, by, "success")
    )

    reference = scores[scores["trial"].isin(trials.loc[free, "trial"])]
    level = grouped_quartiles(reference, CELL, "success").join(
        reference.groupby(CELL, observed=True).size().rename("trials")
    )
    frame = pd.concat([drawn.reset_index(), level.reset_index()], ignore_index=True).astype({"point": "Int64"})
    return frame.sort_values(by, ignore_index=True)[[*by, cost, "median", "q1", "q3", "trials"]]


def profile(scores: pd.DataFrame) -> pd.DataFrame:
    """Share of trials whose success is above each threshold, all numbers of demonstrations together.

    A row a (task, label, mode, threshold).
    """
    by = ["task", "label", "mode"]
    shares = scores.groupby(by, observed=True)["success"].apply(performance_profile, thresholds=THRESHOLDS)
    frame = shares.explode().astype(float).rename("share").reset_index()
    frame.insert(len(by), "threshold", np.tile(THRESHOLDS, len(shares)))
    return frame
