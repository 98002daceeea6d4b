"""The data behind the figures, as frames in full precision; it is also written next to each figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pandas as pd

from analysis.comparisons import performance_profile
from analysis.load import Results, mark_of, version_note
from analysis.names import COST_NAMES
from analysis.tables import field
from analysis.tables.data import grouped_quartiles, grouped_rates
from benchmarks.paper import FIGURES, Centre, Cost, Figure
from benchmarks.records.schema import MODES

COSTS: tuple[Cost, ...] = ("episodes", "gradient_steps", "training_seconds")
BY_LABEL = ["task", "demonstrations", "label", "mode"]
"""What one line or marker of a figure is about: a label in one cell (see `pooling`) and mode."""
THRESHOLDS = np.arange(100) / 100  # as fractions of 100 rollouts are computed, so that ties are exact
SPREAD: dict[Centre, tuple[str, str, str]] = {"median": ("median", "q1", "q3"), "mean": ("mean", "low", "high")}
"""The columns of a centre and its bounds: quartiles over seeds, or the mean with its 95 % interval."""

MOST_LINES = 12
"""Variants of one method whose lines can be told apart in a panel."""
MOST_METHODS = 10
"""Methods whose lines can be told apart in a panel: as many as there are hues."""

SUCCESS = Figure("success", "Final success")
PROFILE = Figure("profile", "Performance profiles")
METHODS = Figure("methods", "Which method: success of each", centre="mean")
PRICES = Figure("costs", "Which method: success by what a training costs", centre="mean")
PAPER = {experiment.name: experiment.figure for experiment in FIGURES}


@dataclass(frozen=True)
class Series:
    """The data of one figure.

    Attributes:
        name: of its files, without extension.
        figure: what is drawn.
        experiment: whose trials it shows.
        data: see the function named as the figure's kind.
        expert: the demonstrator's own success and seconds to insertion; see `load.Results`.
        note: on how many rollouts a learning curve rests; whether trials with several numbers of demonstrations are
            together; and which version of the suite made the records, where it is not the present one.
    """

    name: str
    figure: Figure
    experiment: str
    data: pd.DataFrame
    expert: pd.DataFrame
    note: str = ""


def all_series(results: Results) -> Iterator[Series]:
    """Every figure's data. For each experiment first what the paper draws of it, named after it; then its success, its
    learning curves by each cost and its profile, where the paper's figure is not the same. Success is drawn in another
    way where many methods are compared (see `tables.field`). Of a single trial there are only learning curves. More
    than `MOST_LINES` variants of a method, or more than `MOST_METHODS`, have each their own panels of curves, and no
    profiles."""
    for experiment in results.scores["experiment"].unique():
        stem = quote(experiment, safe="")  # an experiment's name may hold what a file's may not
        scores = results.scores[results.scores["experiment"] == experiment]
        paper = PAPER.get(experiment)
        figures = {stem: paper} if paper else {}
        several = scores["trial"].nunique() > 1
        if field.compares_many(scores):
            figures |= {f"{stem}-methods": METHODS, f"{stem}-costs": PRICES}
        elif several and (not paper or (paper.kind, paper.centre) != ("success", "median")):
            figures[f"{stem}-success"] = SUCCESS
        variants = scores.groupby("method")["variant"].nunique()
        legible = variants.max() <= MOST_LINES and len(variants) <= MOST_METHODS
        for cost in COSTS:
            name = f"Success by {COST_NAMES[cost][0].lower()}{COST_NAMES[cost][1:]}"
            figures[f"{stem}-curves-{cost.replace('_', '-')}"] = Figure(
                "curves" if legible else "curve_panels", name, cost
            )
        if several and legible:
            figures[f"{stem}-performance-profile"] = PROFILE
        for name, figure in figures.items():
            if not (data := _data(figure, scores, results)).empty:
                yield Series(name, figure, experiment, data, results.expert, _note(figure, scores, results))


def _note(figure: Figure, scores: pd.DataFrame, results: Results) -> str:
    """What a figure's axes do not say (see `Series`)."""
    notes = []
    if figure.kind == "profile" and (scores.groupby("task", observed=True)["demonstrations"].nunique() > 1).any():
        notes.append("Trials with all numbers of demonstrations together.")
    if figure.kind in ("curves", "curve_panels", "seeds"):
        counts = sorted(results.curve.loc[results.curve["trial"].isin(scores["trial"]), "rollouts"].unique())
        notes.append(f"Each point is from {' or '.join(map(str, counts))} rollouts per seed.")
    return " ".join([*notes, *filter(None, [version_note(scores)])])


def _data(figure: Figure, scores: pd.DataFrame, results: Results) -> pd.DataFrame:
    """What a figure draws of an experiment's scores; empty where there is nothing to draw."""
    match figure.kind:
        case "success" | "methods":
            return success(scores, figure.centre)
        case "costs":
            missing = results.missing
            return field.by_price(scores, missing[missing["experiment"].isin(scores["experiment"])])
        case "seconds":
            return seconds(scores, results.rollouts)
        case "interactions":
            return interactions(scores)
        case "profile":
            return profile(scores)
    assert figure.cost is not None
    if figure.kind == "seeds":
        return seeds(scores, results.curve, figure.cost)
    data = curves(scores, results.curve, figure.cost, figure.centre)
    return data if data["point"].notna().any() else data.iloc[:0]


def success(scores: pd.DataFrame, centre: Centre = "median") -> pd.DataFrame:
    """The success of each trial, and its centre and bounds over seeds.

    One row per (task, demonstrations, label, mode, seed).
    """
    rows = scores[[*BY_LABEL, "seed", "status", "success"]].sort_values([*BY_LABEL, "seed"])
    return rows.join(_spread(scores, BY_LABEL, centre), on=BY_LABEL).reset_index(drop=True)


def seconds(scores: pd.DataFrame, rollouts: pd.DataFrame) -> pd.DataFrame:
    """Simulated seconds to success: one row per (task, demonstrations, label, mode, seed) with a successful rollout.

    Columns: `successes`, the median `seconds` of the trial's, and the quartiles of those of all seeds together.
    """
    key = ["trial", "mode"]
    successful = rollouts[rollouts["success"]]
    medians = successful.groupby(key, observed=True)["seconds"].median()
    rows = (
        scores[[*BY_LABEL, "seed", "status", "successes", "trial"]]
        .join(medians, on=key, how="inner")
        .reset_index(drop=True)
    )
    pooled = scores[[*BY_LABEL, "trial"]].merge(successful, on=key)
    rows = rows.join(grouped_quartiles(pooled, BY_LABEL, "seconds"), on=BY_LABEL) if len(rows) else rows
    return rows.drop(columns="trial").sort_values([*BY_LABEL, "seed"], ignore_index=True)


def interactions(scores: pd.DataFrame) -> pd.DataFrame:
    """The success of each trial with the `episodes` its training used: rows as in `success`, with its `method`.

    `median_episodes` is that of a (task, demonstrations, label, mode).
    """
    scores = scores.assign(method=scores["method"] + scores["label"].astype(str).map(mark_of))
    rows = scores[[*BY_LABEL, "method", "seed", "status", "episodes", "success"]].sort_values([*BY_LABEL, "seed"])
    used = scores.groupby(BY_LABEL, observed=True)["episodes"].median().rename("median_episodes")
    return rows.join(grouped_quartiles(scores, BY_LABEL, "success").join(used), on=BY_LABEL).reset_index(drop=True)


def curves(scores: pd.DataFrame, curve: pd.DataFrame, cost: Cost, centre: Centre = "median") -> pd.DataFrame:
    """Learning curves over seeds: one row per (task, demonstrations, label, mode, point).

    Columns: the median over trials of what training had used by that point, named as the `cost`; the centre and bounds
    of the success; and `trials`. A trial that failed counts as success 0 where its curve has ended, and at the last
    point in any case; where all trials failed that is one more point, at the most that any of them had used. Labels
    that use nothing of that cost, such as the environment episodes of behavioural cloning, and those of which no trial
    got as far as a point have one row without point and cost: that of the final success.
    """
    trials = scores.drop_duplicates(["label", "trial"])
    trials = trials.assign(used=_used(trials, curve, cost), failed=trials["status"] != "ok")
    group = ["task", "demonstrations", "label"]
    drawn_trials = trials.assign(drawn=trials["trial"].isin(curve["trial"])).groupby(group, observed=True)
    free = (drawn_trials["used"].transform("max") == 0) | ~drawn_trials["drawn"].transform("any")
    shown = trials.loc[~free, [*group, "trial", "used", "failed"]]
    points = shown.merge(curve, on="trial").groupby(group, observed=True)
    ends = points.agg(last=("point", "max"), most=("used", "max"), all_failed=("failed", "all"))
    ends["last"] += ends.pop("all_failed")
    grid = shown.merge(ends.reset_index(), on=group)
    grid = grid.loc[grid.index.repeat(grid["last"] + 1)]
    grid["point"] = grid.groupby([*group, "trial"], observed=True).cumcount()
    grid = grid.merge(curve, on=["trial", "point"], how="left")
    ended = grid["failed"] & (grid[cost].isna() | (grid["point"] == grid["last"]))
    grid.loc[ended, [*MODES, "rollouts"]] = 0.0
    nowhere = grid.groupby([*group, "point"], observed=True)[cost].transform("count") == 0
    grid[cost] = grid[cost].mask(nowhere, grid["most"])
    tidy = grid.melt([*group, "point", "rollouts", cost], list(MODES), "mode", "success").dropna(subset="success")
    tidy["mode"] = pd.Categorical(tidy["mode"], MODES, ordered=True)
    tidy = tidy.merge(scores[["label", "mode"]].drop_duplicates())  # of the modes that its policies have
    by = [*BY_LABEL, "point"]
    grouped = tidy.groupby(by, observed=True)
    drawn = grouped.agg(**{cost: (cost, "median"), "trials": ("success", "size")}).join(_spread(tidy, by, centre))

    reference = scores[scores["trial"].isin(trials.loc[free, "trial"])]
    level = _spread(reference, BY_LABEL, centre).join(
        reference.groupby(BY_LABEL, observed=True).size().rename("trials")
    )
    frame = pd.concat([drawn.reset_index(), level.reset_index()], ignore_index=True).astype({"point": "Int64"})
    return frame.sort_values(by, ignore_index=True)[[*by, cost, *SPREAD[centre], "trials"]]


def seeds(scores: pd.DataFrame, curve: pd.DataFrame, cost: Cost) -> pd.DataFrame:
    """Every seed's learning curve: one row per (task, demonstrations, label, mode, seed, point).

    Columns: what training had used by that point, the `success` there, and whether the seed is the `best` of its cell:
    the one with the highest final success, the lower one of equals. The curve of a seed that failed ends at success 0,
    one point after its last.
    """
    ranked = scores.sort_values([*BY_LABEL, "success", "seed"], ascending=[True] * len(BY_LABEL) + [False, True])
    best = ~ranked.duplicated(BY_LABEL)
    tidy = curve.melt(["trial", "point", cost], list(MODES), "mode", "success").dropna(subset="success")
    ranked = ranked.assign(best=best)
    rows = ranked.drop(columns=[cost, "success"]).merge(tidy, on=["trial", "mode"])
    failed = ranked[(ranked["status"] != "ok") & ranked["trial"].isin(curve["trial"])]
    after = failed["trial"].map(curve.groupby("trial")["point"].max() + 1).astype("int64")
    rows = pd.concat([rows, failed.assign(point=after, **{cost: _used(failed, curve, cost)})])
    rows["mode"] = pd.Categorical(rows["mode"], MODES, ordered=True)
    names = [*BY_LABEL, "seed", "point"]
    return rows.sort_values(names, ignore_index=True)[[*names, cost, "success", "best"]]


def _used(trials: pd.DataFrame, curve: pd.DataFrame, cost: Cost) -> pd.Series:
    """What each trial used in all; that of a killed one may be older than the last point of its curve."""
    return trials[cost].clip(lower=trials["trial"].map(curve.groupby("trial")[cost].max()).fillna(0))


def profile(scores: pd.DataFrame) -> pd.DataFrame:
    """Fraction of trials whose success is above each threshold, all numbers of demonstrations together.

    One row per (task, label, mode, threshold).
    """
    by = ["task", "label", "mode"]
    fractions = scores.groupby(by, observed=True)["success"].apply(performance_profile, thresholds=THRESHOLDS)
    frame = fractions.explode().astype(float).rename("fraction").reset_index()
    frame.insert(len(by), "threshold", np.tile(THRESHOLDS, len(fractions)))
    return frame


def _spread(frame: pd.DataFrame, by: list[str], centre: Centre) -> pd.DataFrame:
    """The columns `SPREAD[centre]` of the success in each group."""
    return grouped_quartiles(frame, by, "success") if centre == "median" else grouped_rates(frame, by)
