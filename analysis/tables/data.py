"""What the tables say, as frames in full precision: one function a table, each a pure function of the results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.load import GROUP, MODES, Results
from analysis.statistics import (
    Estimate,
    Quartiles,
    interquartile_mean_difference,
    interquartile_mean_interval,
    mean_interval,
    probability_of_improvement,
    quartiles,
    wilson_interval,
)

ALL = "all"
ENDS = ("success", "workspace", "timeout")
FAILURES = {"failed": "failed", "diverged": "diverged", "timed out": "timed_out"}
MISSING = "missing"
COSTS = ("training_seconds", "evaluation_seconds", "peak_memory_mib")


def comparison(results: Results) -> pd.DataFrame:
    """The main table: a row a (experiment, task, demonstrations, label).

    Columns: `seeds`, of which `ok`, `failed`, `diverged`, `timed_out`, and `missing`; for each mode the quartiles over
    seeds of the `last` and `best` success, mean and inter-quartile mean of the last with 95 % intervals; and the
    medians over the seeds with status "ok" of the environment episodes, environment steps and gradient steps used.
    Where no trial has a record, only `seeds` and `missing` say something.
    """
    rows = []
    planned = pd.concat([results.scores, results.missing.assign(status=MISSING)])
    for key, group in _groups(planned, GROUP):
        by_mode = {mode: group[group["mode"] == mode] for mode in MODES}
        trials = by_mode[MODES[0]]
        row = {**key, "seeds": len(trials), "ok": int((trials["status"] == "ok").sum())}
        row |= {name: int((trials["status"] == status).sum()) for status, name in FAILURES.items()}
        row["missing"] = int((group["status"] == MISSING).sum())
        for mode, scores in by_mode.items() if row["seeds"] else ():
            last = scores["success"].to_numpy()
            row |= _named(f"{mode}_last", quartiles(last))
            if scores["best"].notna().all():
                row |= _named(f"{mode}_best", quartiles(scores["best"].to_numpy()))
            row |= _named(f"{mode}_mean", mean_interval(last))
            row |= _named(f"{mode}_iqm", interquartile_mean_interval([last]))
        used = trials[trials["status"] == "ok"]
        row |= {name: used[name].median() for name in ("episodes", "environment_steps", "gradient_steps")}
        rows.append(row)
    whole = ["demonstrations", "seeds", "ok", *FAILURES.values(), "missing"]
    return _in_order(pd.DataFrame(rows), results).astype(dict.fromkeys(whole, "Int64"))


def overall(results: Results) -> pd.DataFrame:
    """Each label over all its (task, demonstrations) cells: a row a (experiment, label, mode).

    Columns: `cells`, `trials`, and the inter-quartile mean of the last success with its stratified bootstrap interval.
    Experiments with a single cell are left out: the comparison says the same.
    """
    rows = []
    for experiment, mode, scores in _several_cells(results.scores):
        for label, cells in _cells(scores).items():
            estimate = interquartile_mean_interval(list(cells.values()))
            trials = sum(map(len, cells.values()))
            key = {"experiment": experiment, "label": label, "mode": mode}
            rows.append({**key, "cells": len(cells), "trials": trials, **_named("iqm", estimate)})
    return _in_order(pd.DataFrame(rows), results)


def improvement(results: Results) -> pd.DataFrame:
    """Probability that a trial of one label ends with a higher success than one of another: a row a pair and mode.

    Pairs are compared in each (experiment, task, demonstrations), and over all those that both labels have, with "all"
    as the task. Columns: label, other, mode, `trials`, `other_trials`, and the probability with its bootstrap interval.
    """
    rows = []
    for key, group in _groups(results.scores, ["experiment", "task", "demonstrations", "mode"]):
        parts = {part_key["label"]: [part["success"].to_numpy()] for part_key, part in _groups(group, ["label"])}
        for label, other in combinations(parts, 2):
            rows.append({**key, **_compared(label, other, parts[label], parts[other])})
    for experiment, mode, scores in _several_cells(results.scores):
        cells = _cells(scores)
        for label, other in combinations(cells, 2):
            shared = [cell for cell in cells[label] if cell in cells[other]]
            if len(shared) > 1:
                ours, theirs = [cells[label][cell] for cell in shared], [cells[other][cell] for cell in shared]
                key = {"experiment": experiment, "task": ALL, "mode": mode}
                rows.append({**key, **_compared(label, other, ours, theirs)})
    frame = pd.DataFrame(rows)
    return _in_order(frame, results).astype({"demonstrations": "Int64"}) if rows else frame


def changes(results: Results) -> pd.DataFrame:
    """How variants of a method differ from the method as it is: a row a (experiment, task, demonstrations, label).

    Columns: `trials` and, for each mode, the difference of the inter-quartile means of the last success with its
    bootstrap interval. Experiments in which a method has one form alone are left out, as are labels that stand for the
    same trials as the method as it is.
    """
    rows = []
    for key, group in _groups(results.scores, ["experiment", "task", "demonstrations"]):
        parts = {part_key["variant"]: part for part_key, part in _groups(group, ["variant"])}
        for part in parts.values():
            base = parts.get(part["base"].iloc[0])
            if base is None or set(part["trial"]) == set(base["trial"]):
                continue
            row = {**key, "label": part["label"].iloc[0], "trials": part["trial"].nunique()}
            for mode in MODES:
                ours, theirs = ([one.loc[one["mode"] == mode, "success"]] for one in (part, base))
                row |= _named(mode, interquartile_mean_difference(ours, theirs))
            rows.append(row)
    return _in_order(pd.DataFrame(rows), results)


def endings(results: Results) -> pd.DataFrame:
    """How the final roll-outs of the trials with status "ok" ended, all seeds together.

    A row a (experiment, task, demonstrations, label, mode). Columns: `rollouts`, the share of each way to end in
    [0, 1], and the quartiles of the successful ones' `seconds`.
    """
    keys = results.scores.loc[results.scores["rollouts"] > 0, [*GROUP, "mode", "trial"]]
    if keys.empty:
        return pd.DataFrame()
    by = [*GROUP, "mode"]
    rollouts = results.rollouts.assign(how=results.rollouts["end"].where(~results.rollouts["success"], ENDS[0]))
    counts = rollouts.groupby(["trial", "mode", "how"]).size().unstack("how", fill_value=0)
    names = [*ENDS, *sorted(set(counts.columns) - set(ENDS))]
    counts = counts.reindex(columns=names, fill_value=0).reset_index()
    totals = keys.merge(counts, on=["trial", "mode"]).groupby(by, observed=True)[names].sum()
    shares = totals.div(totals.sum(axis=1), axis=0)
    shares.insert(0, "rollouts", totals.sum(axis=1))
    successful = keys.merge(rollouts[rollouts["success"]], on=["trial", "mode"])
    return shares.join(grouped_quartiles(successful, by, "seconds").add_prefix("seconds_")).reset_index()


def costs(results: Results) -> pd.DataFrame:
    """What depends on the machine and its load: quartiles over the trials with status "ok", in rows as `comparison`."""
    trials = results.scores[(results.scores["mode"] == MODES[0]) & (results.scores["status"] == "ok")]
    rows = []
    for key, group in _groups(trials, GROUP):
        row = {**key, "trials": len(group)}
        for name in COSTS:
            row |= _named(name, quartiles(group[name].to_numpy()))
        rows.append(row)
    return pd.DataFrame(rows)


def trials(results: Results) -> pd.DataFrame:
    """A row a planned trial: status, success in each mode with Wilson's interval, what it used, and its error."""
    one_mode = results.scores[results.scores["mode"] == MODES[0]]
    frame = one_mode[[*GROUP, "seed", "trial", "status"]].reset_index(drop=True)
    for mode in MODES:
        scores = results.scores[results.scores["mode"] == mode]
        counts = zip(scores["successes"], scores["rollouts"], strict=True)
        intervals = [wilson_interval(good, all_) if all_ else (0.0, np.nan, np.nan) for good, all_ in counts]
        frame[[mode, f"{mode}_low", f"{mode}_high"]] = np.array(intervals)
    for name in ("episodes", "environment_steps", "gradient_steps", "error"):
        frame[name] = one_mode[name].to_numpy()
    frame = pd.concat([frame, results.missing.assign(status=MISSING)], ignore_index=True)
    frame = frame.sort_values([*GROUP, "seed", "trial"], ignore_index=True)
    whole = ["demonstrations", "seed", "episodes", "environment_steps", "gradient_steps"]
    return _in_order(frame, results).astype(dict.fromkeys(whole, "Int64"))


def grouped_quartiles(frame: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """`median`, `q1` and `q3` of a column in each group, as `statistics.quartiles` gives them; indexed by group."""
    levels = np.array([0.5, 0.25, 0.75])
    quantiles = frame.groupby(by, observed=True)[column].quantile(levels).unstack()
    return quantiles.reindex(columns=levels).set_axis(list(Quartiles._fields), axis=1)


def grouped_means(frame: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """`mean`, `low` and `high` of a column in each group: `statistics.mean_interval`; indexed by group."""
    means = frame.groupby(by, observed=True)[column].agg(list).map(mean_interval)
    return pd.DataFrame(means.tolist(), index=means.index, columns=["mean", "low", "high"])


def _groups(frame: pd.DataFrame, by: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for key, group in frame.groupby(by, observed=True):
        yield dict(zip(by, key, strict=True)), group


def _named(name: str, statistic: Quartiles | Estimate) -> dict[str, float]:
    """Columns `name_median`, `name_q1`, `name_q3`, or `name`, `name_low`, `name_high`."""
    return {f"{name}_{field}".removesuffix("_value"): number for field, number in statistic._asdict().items()}


def _several_cells(scores: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(experiment, mode, scores) of the experiments with more than one (task, demonstrations)."""
    cells = scores[["experiment", "task", "demonstrations"]].drop_duplicates()["experiment"].value_counts()
    for key, group in _groups(scores, ["experiment", "mode"]):
        if cells[key["experiment"]] > 1:
            yield key["experiment"], key["mode"], group


def _cells(scores: pd.DataFrame) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    """label -> (task, demonstrations) -> the trials' success [n]."""
    cells: dict[str, dict[tuple[str, int], np.ndarray]] = {}
    for key, group in _groups(scores, ["label", "task", "demonstrations"]):
        cells.setdefault(key["label"], {})[key["task"], key["demonstrations"]] = group["success"].to_numpy()
    return cells


def _compared(label: str, other: str, ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, Any]:
    numbers = {"trials": sum(map(len, ours)), "other_trials": sum(map(len, theirs))}
    estimate = probability_of_improvement(ours, theirs)
    return {"label": label, "other": other, **numbers, **_named("probability", estimate)}


def _in_order(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows by experiment, in the plan's order, without disturbing the order within one."""
    if frame.empty:
        return frame
    order = {name: position for position, name in enumerate(results.scores["experiment"].cat.categories)}
    positions = frame["experiment"].map(order).astype(int)
    return frame.loc[positions.sort_values(kind="stable").index].reset_index(drop=True)
