"""The data behind the tables, as frames in full precision: one pure function of the results per table."""

from __future__ import annotations

from itertools import combinations
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparisons import probability_of_improvement
from analysis.load import GROUP, Results
from analysis.pooling import CELL, Pooled, Shared, cells_of, split
from analysis.statistics import (
    UNKNOWN,
    Estimate,
    Quartiles,
    interquartile_mean,
    quartiles,
    rate_interval,
    wilson_interval,
)
from benchmarks.records.schema import MODES, Usage

ALL = "all"
ENDS = ("success", "workspace", "timeout")
FAILURES = {"failed": "failed", "diverged": "diverged", "timed out": "timed_out"}
MISSING = "missing"
COSTS = ("training_seconds", "evaluation_seconds", "peak_memory_mib")
USED = {"episodes": "Episodes", "environment_steps": "Environment steps", "gradient_steps": "Gradient steps"}
"""What every training uses: column of the scores -> its name."""


def used(results: Results) -> dict[str, str]:
    """The columns of the scores that say what training used, with their names.

    What only some trainings use, such as queries of an expert, has a column where any trial used it.
    """
    others = [name for name in Usage.model_fields if name not in (*USED, *COSTS) and (results.scores[name] > 0).any()]
    return USED | {name: name.replace("_", " ").capitalize() for name in others}


def winners(results: Results) -> pd.DataFrame:
    """Which variant succeeds most often: one row per (experiment, task, mode) with several variants.

    The cells (numbers of demonstrations) that are compared weigh equally (see `Shared`). Columns: `cells`; `variants`,
    how many are compared; the `best` label and the `next` one with their success and its interval, and the
    `difference` with its interval.
    """
    rows = []
    for key, scores in split(results.scores, ["experiment", "task", "mode"]):
        missing = results.missing
        missing = missing[(missing["experiment"] == key["experiment"]) & (missing["task"] == key["task"])]
        shared = Shared.of(scores, missing)
        pooled = [Pooled.of(part, part_key["label"]) for part_key, part in split(shared.among(scores), ["label"])]
        if len(pooled) < 2:
            continue
        best, second, *_ = sorted(pooled, key=lambda one: -one.estimate.value)
        row: dict[str, Any] = {**key, "cells": len(shared.cells), "variants": len(pooled)}
        row |= {"best": best.label, **named("best_success", best.estimate), "next": second.label}
        rows.append(row | named("next_success", second.estimate) | named("difference", best.minus(second)))
    return _in_order(pd.DataFrame(rows), results)


def comparison(results: Results) -> pd.DataFrame:
    """The main table: one row per (experiment, task, demonstrations, label).

    Columns: `seeds`, of which `ok`, `failed`, `diverged`, `timed_out`, and `missing`; for each mode the quartiles over
    seeds of the `last` and `best` success, and the `mean` of the last with its 95 % interval; and the medians over the
    seeds with status "ok" of what training used. What a policy does not have, or no trial says yet, is NaN.
    """
    rows = []
    planned = pd.concat([results.scores, results.missing.assign(status=MISSING)])
    for key, group in split(planned, GROUP):
        there = group[group["status"] != MISSING]
        trials = there.drop_duplicates("trial")
        row = {**key, "seeds": len(trials), "ok": int((trials["status"] == "ok").sum())}
        row |= {name: int((trials["status"] == status).sum()) for status, name in FAILURES.items()}
        row["missing"] = int((group["status"] == MISSING).sum())
        for mode in MODES:
            scores = there[there["mode"] == mode]
            if scores.empty:
                continue
            last = scores["success"].to_numpy()
            row |= named(f"{mode}_last", quartiles(last))
            if scores["best"].notna().all():
                row |= named(f"{mode}_best", quartiles(scores["best"].to_numpy()))
            row |= named(f"{mode}_mean", rate_interval(last, int(scores["rollouts"].sum())))
        ok = trials[trials["status"] == "ok"]
        row |= {name: ok[name].median() for name in used(results)}
        rows.append(row)
    heads = [f"{mode}_{name}" for mode in MODES for name in (*_SPREADS, "mean", "mean_low", "mean_high")]
    whole = ["seeds", "ok", *FAILURES.values(), "missing"]
    frame = pd.DataFrame(rows).reindex(columns=[*GROUP, *whole, *heads, *used(results)])
    return _in_order(frame, results).astype(dict.fromkeys(["demonstrations", *whole], "Int64"))


_SPREADS = tuple(f"{name}_{field}" for name in ("last", "best") for field in Quartiles._fields)


def overall(results: Results) -> pd.DataFrame:
    """Each label over all its cells: one row per (experiment, label, mode).

    Columns: `cells`, `trials`, the mean over cells of the last success with its interval, and the inter-quartile mean
    (`iqm`) over all trials. Experiments with a single cell are left out: the comparison says the same.
    """
    rows = []
    cells = {key["experiment"]: len(cells_of(group)) for key, group in split(results.scores, ["experiment"])}
    for key, group in split(results.scores, ["experiment", "label", "mode"]):
        if cells[key["experiment"]] > 1:
            row = {**key, "cells": len(cells_of(group)), "trials": group["trial"].nunique()}
            row |= named("mean", Pooled.of(group).estimate)
            rows.append(row | {"iqm": interquartile_mean(group["success"].to_numpy())})
    return _in_order(pd.DataFrame(rows), results)


def improvement(results: Results) -> pd.DataFrame:
    """Probability that a trial of one label ends with a higher success than one of another: one row per pair and mode.

    Pairs are compared in each (experiment, task, demonstrations), and over all those that both labels have, with "all"
    as the task. Columns: label, other, mode, `trials`, `other_trials`, and the probability with its interval.
    """
    rows = []
    for key, group in split(results.scores, ["experiment", "task", "demonstrations", "mode"]):
        parts = {part_key["label"]: [part["success"].to_numpy()] for part_key, part in split(group, ["label"])}
        for label, other in combinations(parts, 2):
            rows.append({**key, **_compared(label, other, parts[label], parts[other])})
    for key, group in split(results.scores, ["experiment", "mode"]):
        cells: dict[str, dict[tuple[Any, ...], np.ndarray]] = {}
        for cell, part in split(group, ["label", *CELL]):
            cells.setdefault(cell["label"], {})[cell["task"], cell["demonstrations"]] = part["success"].to_numpy()
        for label, other in combinations(cells, 2):
            shared = [cell for cell in cells[label] if cell in cells[other]]
            if len(shared) > 1:
                ours, theirs = [cells[label][cell] for cell in shared], [cells[other][cell] for cell in shared]
                rows.append({**key, "task": ALL, **_compared(label, other, ours, theirs)})
    frame = pd.DataFrame(rows)
    return _in_order(frame, results).astype({"demonstrations": "Int64"}) if rows else frame


def changes(results: Results) -> pd.DataFrame:
    """How variants differ from what they change: one row per (experiment, task, demonstrations, label).

    Columns: the label of the `base`, `trials` and, for each mode, the difference of the means of the last success with
    its interval. Variants whose base is not in the same cell are left out, as are those that are the same trials.
    """
    rows = []
    for key, group in split(results.scores, ["experiment", "task", "demonstrations"]):
        parts = {part_key["variant"]: part for part_key, part in split(group, ["label", "variant"])}
        for part in parts.values():
            base = parts.get(part["base"].iloc[0])
            if base is None or set(part["trial"]) == set(base["trial"]):
                continue
            row = {**key, "label": part["label"].iloc[0], "base": base["label"].iloc[0]}
            row["trials"] = part["trial"].nunique()
            for mode in MODES:
                ours, theirs = (one[one["mode"] == mode] for one in (part, base))
                both = len(ours) and len(theirs)
                row |= named(mode, Pooled.of(ours).minus(Pooled.of(theirs)) if both else UNKNOWN)
            rows.append(row)
    return _in_order(pd.DataFrame(rows), results)


def endings(results: Results) -> pd.DataFrame:
    """How the final rollouts of the trials with status "ok" ended, all seeds together.

    One row per (experiment, task, demonstrations, label, mode). Columns: `rollouts`, the fraction of each way to end in
    [0, 1], and the quartiles of the successful ones' `seconds`.
    """
    keys = results.scores.loc[results.scores["rollouts"] > 0, [*GROUP, "mode", "trial"]]
    if keys.empty:
        return pd.DataFrame()
    by = [*GROUP, "mode"]
    rollouts = results.rollouts.assign(how=results.rollouts["end"].where(~results.rollouts["success"], ENDS[0]))
    counts = rollouts.groupby(["trial", "mode", "how"], observed=True).size().unstack("how", fill_value=0)
    names = [*ENDS, *sorted(set(counts.columns) - set(ENDS))]
    counts = counts.reindex(columns=names, fill_value=0).reset_index()
    totals = keys.merge(counts, on=["trial", "mode"]).groupby(by, observed=True)[names].sum()
    fractions = totals.div(totals.sum(axis=1), axis=0)
    fractions.insert(0, "rollouts", totals.sum(axis=1))
    successful = keys.merge(rollouts[rollouts["success"]], on=["trial", "mode"])
    return fractions.join(grouped_quartiles(successful, by, "seconds").add_prefix("seconds_")).reset_index()


def costs(results: Results) -> pd.DataFrame:
    """What depends on the machine and its load: quartiles over the trials with status "ok", in rows as `comparison`."""
    rows = []
    for key, group in split(results.trials[results.trials["status"] == "ok"], GROUP):
        row = {**key, "trials": len(group)}
        for name in COSTS:
            row |= named(name, quartiles(group[name].to_numpy()))
        rows.append(row)
    return pd.DataFrame(rows)


def trials(results: Results) -> pd.DataFrame:
    """One row per planned trial: status, success in each mode with Wilson's interval, what it used, and its error."""
    frame = results.trials[[*GROUP, "seed", "trial", "status", *used(results), "error"]].reset_index(drop=True)
    for mode in MODES:
        scores = results.scores[results.scores["mode"] == mode]
        counts = zip(scores["successes"], scores["rollouts"], strict=True)
        intervals = [wilson_interval(good, all_) if all_ else Estimate(0.0, nan, nan) for good, all_ in counts]
        heads = [mode, f"{mode}_low", f"{mode}_high"]
        there = pd.DataFrame(intervals, columns=heads)
        there[["experiment", "label", "trial"]] = scores[["experiment", "label", "trial"]].to_numpy()
        frame = frame.merge(there, on=["experiment", "label", "trial"], how="left")
    rates = [name for mode in MODES for name in (mode, f"{mode}_low", f"{mode}_high")]
    frame = frame[[*GROUP, "seed", "trial", "status", *rates, *used(results), "error"]]
    missing = results.missing.assign(status=MISSING).reindex(columns=frame.columns)
    for name in ("experiment", "task", "label"):
        frame[name] = frame[name].astype(results.scores[name].dtype)
    frame = pd.concat([frame, missing], ignore_index=True).sort_values([*GROUP, "seed", "trial"], ignore_index=True)
    return _in_order(frame, results).astype(dict.fromkeys(["demonstrations", "seed", *used(results)], "Int64"))


def grouped_quartiles(frame: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """`median`, `q1` and `q3` of a column in each group, as `statistics.quartiles` gives them; indexed by group."""
    levels = np.array([0.5, 0.25, 0.75])
    quantiles = frame.groupby(by, observed=True)[column].quantile(levels).unstack()
    return quantiles.reindex(columns=levels).set_axis(list(Quartiles._fields), axis=1)


def grouped_rates(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`mean`, `low` and `high` of the `success` in each group, by `rate_interval`; indexed by group."""
    grouped = frame.groupby(by, observed=True)[["success", "rollouts"]].agg(list)
    rates = [rate_interval(success, sum(rollouts)) for success, rollouts in grouped.itertuples(index=False, name=None)]
    return pd.DataFrame(rates, index=grouped.index, columns=["mean", "low", "high"])


def named(name: str, statistic: Quartiles | Estimate) -> dict[str, float]:
    """Columns `name_median`, `name_q1`, `name_q3`, or `name`, `name_low`, `name_high`."""
    return {f"{name}_{field}".removesuffix("_value"): number for field, number in statistic._asdict().items()}


def _compared(label: str, other: str, ours: list[np.ndarray], theirs: list[np.ndarray]) -> dict[str, Any]:
    numbers = {"trials": sum(map(len, ours)), "other_trials": sum(map(len, theirs))}
    estimate = probability_of_improvement(ours, theirs)
    return {"label": label, "other": other, **numbers, **named("probability", estimate)}


def _in_order(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Rows by experiment, in the plan's order, without disturbing the order within one."""
    if frame.empty:
        return frame
    order = {name: position for position, name in enumerate(results.scores["experiment"].cat.categories)}
    positions = frame["experiment"].map(order).astype(int)
    return frame.loc[positions.sort_values(kind="stable").index].reset_index(drop=True)
