"""What the figures show, as frames in full precision: the data that is drawn, written beside each figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis.load import MODES, Results
from analysis.statistics import performance_profile
from analysis.tables.data import grouped_means, grouped_quartiles
from benchmarks.paper import FIGURES, Centre, Cost, Figure

COSTS: tuple[Cost, ...] = ("episodes", "gradient_steps", "training_seconds")
CELL = ["task", "demonstrations", "label", "mode"]
THRESHOLDS = np.arange(100) / 100  # as shares of 100 roll-outs are computed, so that ties are exact

SPREAD: dict[Centre, tuple[str, str, str]] = {"median": ("median", "q1", "q3"), "mean": ("mean", "low", "high")}
"""The columns of a centre and its bounds: quartiles over seeds, or the mean with its 95 % interval."""

SUCCESS = Figure("success", "final success")
PROFILE = Figure("profile", "performance profiles")
PAPER = {experiment.name: experiment.figure for experiment in FIGURES}


@dataclass(frozen=True)
class Series:
    """The data of one figure.

    Attributes:
        name: of its files, without extension.
        view: what is drawn.
        experiment: whose trials it shows.
        data: see the function named as the view's kind.
        expert: the demonstrator's own success and seconds to insertion; see `load.Results`.
    """

    name: str
    view: Figure
    experiment: str
    data: pd.DataFrame
    expert: pd.DataFrame


def all_series(results: Results) -> Iterator[Series]:
    """Every figure's data. For each experiment first what the paper draws of it, named after it; then for each its
    success, its learning curves against each cost and its profile, where the paper's is not the same."""
    for experiment in results.scores["experiment"].unique():
        stem = quote(experiment, safe="")  # an experiment's name may hold what a file's may not
        scores = results.scores[results.scores["experiment"] == experiment]
        paper = PAPER.get(experiment)
        views = {stem: paper} if paper else {}
        if not paper or (paper.kind, paper.centre) != ("success", "median"):
            views[f"{stem}-success"] = SUCCESS
        for cost in COSTS:
            name = cost.replace("_", "-")
            views[f"{stem}-curves-{name}"] = Figure("curves", f"success against {cost.replace('_', ' ')}", cost)
        views[f"{stem}-performance-profile"] = PROFILE
        for name, view in views.items():
            if not (data := _data(view, scores, results)).empty:
                yield Series(name, view, experiment, data, results.expert)


def _data(view: Figure, scores: pd.DataFrame, results: Results) -> pd.DataFrame:
    """What a view draws of an experiment's scores; empty where there is nothing to draw."""
    match view.kind:
        case "success":
            return success(scores, view.centre)
        case "seconds":
            return seconds(scores, results.rollouts)
        case "interactions":
            return interactions(scores)
        case "profile":
            return profile(scores)
    assert view.cost is not None
    if view.kind == "seeds":
        return seeds(scores, results.curve, view.cost)
    data = curves(scores, results.curve, view.cost, view.centre)
    return data if data["point"].notna().any() else data.iloc[:0]


def success(scores: pd.DataFrame, centre: Centre = "median") -> pd.DataFrame:
    """The success of each trial, and its centre and bounds over seeds.

    A row a (task, demonstrations, label, mode, seed).
    """
    rows = scores[[*CELL, "seed", "status", "success"]].sort_values([*CELL, "seed"])
    return rows.join(_spread(scores, CELL, "success", centre), on=CELL).reset_index(drop=True)


def seconds(scores: pd.DataFrame, rollouts: pd.DataFrame) -> pd.DataFrame:
    """Simulated seconds to success: a row a (task, demonstrations, label, mode, seed) with a successful roll-out.

    Columns: `successes`, the median `seconds` of the trial's, and the quartiles of those of all seeds together.
    """
    key = ["trial", "mode"]
    successful = rollouts[rollouts["success"]]
    medians = successful.groupby(key, observed=True)["seconds"].median()
    rows = scores[[*CELL, "seed", "status", "successes", "trial"]].join(medians, on=key, how="inner")
    pooled = scores[[*CELL, "trial"]].merge(successful, on=key)
    rows = rows.join(grouped_quartiles(pooled, CELL, "seconds"), on=CELL) if len(rows) else rows
    return rows.drop(columns="trial").sort_values([*CELL, "seed"], ignore_index=True)


def interactions(scores: pd.DataFrame) -> pd.DataFrame:
    """The success of each trial beside the `episodes` its training used: rows as in `success`, with its `method`.

    `median_episodes` is that of a (task, demonstrations, label, mode).
    """
    rows = scores[[*CELL, "method", "seed", "status", "episodes", "success"]].sort_values([*CELL, "seed"])
    used = scores.groupby(CELL, observed=True)["episodes"].median().rename("median_episodes")
    return rows.join(grouped_quartiles(scores, CELL, "success").join(used), on=CELL).reset_index(drop=True)


def curves(scores: pd.DataFrame, curve: pd.DataFrame, cost: Cost, centre: Centre = "median") -> pd.DataFrame:
    """Learning curves over seeds: a row a (task, demonstrations, label, mode, point).

    Columns: the median over trials of what training had used by that point, named as the `cost`; the centre and bounds
    of the success; and `trials`. A trial that failed counts as success 0 where its curve has ended. Labels that use
    nothing of that cost, such as the environment episodes of behavioural cloning, and those of which no trial got as
    far as a point have one row without point and cost: that of the final success.
    """
    trials = scores[scores["mode"] == MODES[0]]
    group = ["task", "demonstrations", "label"]
    drawn_trials = trials.assign(drawn=trials["trial"].isin(curve["trial"])).groupby(group, observed=True)
    free = (drawn_trials[cost].transform("max") == 0) | ~drawn_trials["drawn"].transform("any")
    points = trials.loc[~free, [*group, "trial", "status"]].merge(curve, on="trial")
    lengths = (points.groupby(group, observed=True)["point"].max() + 1).rename("length")
    grid = trials.loc[~free, [*group, "trial", "status"]].merge(lengths.reset_index(), on=group)
    grid = grid.loc[grid.index.repeat(grid["length"])]
    grid["point"] = grid.groupby([*group, "trial"], observed=True).cumcount()
    grid = grid.merge(curve, on=["trial", "point"], how="left")
    ended = (grid["status"] != "ok") & grid[cost].isna()
    grid.loc[ended, list(MODES)] = 0.0
    tidy = grid.melt([*group, "point", cost], list(MODES), "mode", "success").dropna(subset="success")
    tidy["mode"] = pd.Categorical(tidy["mode"], MODES, ordered=True)
    by = [*CELL, "point"]
    grouped = tidy.groupby(by, observed=True)
    drawn = grouped.agg(**{cost: (cost, "median"), "trials": ("success", "size")}).join(
        _spread(tidy, by, "success", centre)
    )

    reference = scores[scores["trial"].isin(trials.loc[free, "trial"])]
    level = _spread(reference, CELL, "success", centre).join(
        reference.groupby(CELL, observed=True).size().rename("trials")
    )
    frame = pd.concat([drawn.reset_index(), level.reset_index()], ignore_index=True).astype({"point": "Int64"})
    return frame.sort_values(by, ignore_index=True)[[*by, cost, *SPREAD[centre], "trials"]]


def seeds(scores: pd.DataFrame, curve: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Every seed's learning curve: a row a (task, demonstrations, label, mode, seed, point) of trials that have one.

    Columns: what training had used by that point, the `success` there, and whether the seed is the `best` of its cell:
    the one with the highest final success, the lower one of equals.
    """
    ranked = scores.sort_values([*CELL, "success", "seed"], ascending=[True] * len(CELL) + [False, True])
    best = ~ranked.duplicated(CELL)
    tidy = curve.melt(["trial", "point", cost], list(MODES), "mode", "success")
    rows = ranked.assign(best=best).drop(columns=[cost, "success"]).merge(tidy, on=["trial", "mode"])
    rows["mode"] = pd.Categorical(rows["mode"], MODES, ordered=True)
    names = [*CELL, "seed", "point"]
    return rows.sort_values(names, ignore_index=True)[[*names, cost, "success", "best"]]


def profile(scores: pd.DataFrame) -> pd.DataFrame:
    """Share of trials whose success is above each threshold, all numbers of demonstrations together.

    A row a (task, label, mode, threshold).
    """
    by = ["task", "label", "mode"]
    shares = scores.groupby(by, observed=True)["success"].apply(performance_profile, thresholds=THRESHOLDS)
    frame = shares.explode().astype(float).rename("share").reset_index()
    frame.insert(len(by), "threshold", np.tile(THRESHOLDS, len(shares)))
    return frame


def _spread(frame: pd.DataFrame, by: list[str], column: str, centre: Centre) -> pd.DataFrame:
    """The columns `SPREAD[centre]` of a column in each group."""
    return (grouped_quartiles if centre == "median" else grouped_means)(frame, by, column)
