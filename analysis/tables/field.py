"""Comparison of many methods: the success of each, its rank, its distance to the best, and its costs.

It covers every experiment that compares at least four methods. All frames are in full precision and pure functions of
the results; `build` makes the tables and `figures` draws from them. While an experiment is not finished, only what is
finished is compared (see `Shared`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparisons import ranks, with_equals
from analysis.load import GROUP, Results
from analysis.names import PRICES, numbers_of_demonstrations, task_name
from analysis.pooling import CELL, Cell, Pooled, Shared, in_cells, split
from analysis.statistics import CONFIDENCE, SEEDS, UNKNOWN, Estimate
from analysis.tables.data import comparison, named
from benchmarks.records.schema import MODES

FEWEST = 4
"""Methods that an experiment compares at least, to be one of those of this module."""
REFERENCE = "gpril"
"""The method with which the others are compared besides the best: its first variant in the order of the plan."""


def compares_many(scores: pd.DataFrame) -> bool:
    """Whether these scores, of one experiment, are of at least four methods."""
    return scores["method"].nunique() >= FEWEST


@dataclass(frozen=True)
class Standing:
    """How one method stands among others in the same cells and mode.

    Attributes:
        success: mean over the cells, with its interval over seeds.
        rank: 1 is the highest success, with the interval of `comparisons.with_equals`.
        behind: success minus that of the best; NaN for the best itself.
        against: success minus that of the reference; NaN for the reference, or where there is none.
        against_sure: whether that difference is still none of chance when the intervals of all differences to the
            reference are widened for their number (Bonferroni); never with fewer than `SEEDS` seeds.
        behind_sure: the same for the difference to the best, with the number of all pairs: any two of them might have
            become the best and its rival, and the best one was found by comparing all.
    """

    success: Estimate
    rank: Estimate
    behind: Estimate = UNKNOWN
    against: Estimate = UNKNOWN
    behind_sure: bool = False
    against_sure: bool = False

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """The columns of a frame but for the success; the intervals' bounds end in `_low` and `_high`."""
        found: dict[str, Any] = {}
        for name in ("rank", "behind", "against"):
            found |= named(f"{prefix}{name}", getattr(self, name))
        return found | {f"{prefix}{name}": getattr(self, name) for name in ("behind_sure", "against_sure")}


def standings(scores: pd.DataFrame) -> dict[str, Standing]:
    """How each label stands, best first; none where there are fewer than two.

    Args:
        scores: rows of `Results.scores` of one experiment in one mode, where every label has every cell.
    """
    parts = {key["label"]: part for key, part in split(scores, ["label"])}
    count = len(parts)
    if count < 2:
        return {}

    def pooled(intervals: int) -> dict[str, Pooled]:
        """Each label's success with the bounds of one of so many intervals that hold together."""
        confidence = 1.0 - (1.0 - CONFIDENCE) / intervals
        return {label: Pooled.of(part, label, confidence=confidence) for label, part in parts.items()}

    alone = pooled(1)
    order = sorted(parts, key=lambda label: -alone[label].estimate.value)
    reference = next((label for label, part in parts.items() if part["method"].iloc[0] == REFERENCE), "")
    compared = (("behind", order[0], pooled(count * (count - 1) // 2)), ("against", reference, pooled(count - 1)))
    estimates = dict(zip(parts, ranks(_by_task(parts)), strict=True))
    found = {}
    for label in order:
        differences: dict[str, Any] = {}
        for name, other, together in compared:
            if other and label != other:
                differences[name] = alone[label].minus(alone[other])
                corrected = together[label].minus(together[other])
                enough = min(alone[label].seeds, alone[other].seeds) >= SEEDS
                differences[f"{name}_sure"] = enough and (corrected.low > 0.0 or corrected.high < 0.0)
        rank = with_equals(estimates[label], [alone[label].minus(alone[other]) for other in order if other != label])
        found[label] = Standing(alone[label].estimate, rank, **differences)
    return found


def _by_task(parts: dict[str, pd.DataFrame]) -> list[np.ndarray]:
    """The scores of each task, [labels, cells, seeds], as `statistics.ranks` takes them."""
    tables = [part.pivot_table("success", CELL, "seed", aggfunc="mean", observed=True) for part in parts.values()]
    seeds = sorted(set[int]().union(*(table.columns for table in tables)))
    tables = [table.reindex(columns=seeds) for table in tables]
    of_rows = tables[0].index.get_level_values("task")
    return [np.stack([table[of_rows == task].to_numpy() for table in tables]) for task in of_rows.unique()]


def overview(results: Results) -> pd.DataFrame:
    """One row per (experiment, mode, label): how it stands over the cells that are compared, the best first.

    Columns: what was `shown` to it; `cells`, over how many it is compared, or how many it has finished if it is not
    (see `Shared`); `of_cells`, how many are planned; `over`, the compared ones in words; `seeds` (fewest in a cell),
    `trials`, and those that `failed`; `missing`, planned trials without a record; those of `Standing`, all NaN for a
    label that is not compared; and the medians of what a training costs (`names.PRICES`), over the trials that ended
    well. What is counted of a compared label is counted in the compared cells, but for `missing`.
    """
    rows = []
    for key, group in split(results.scores, ["experiment"]):
        if not compares_many(group):
            continue
        missing = results.missing[results.missing["experiment"] == key["experiment"]]
        for mode, scores in split(group, ["mode"]):
            shared = Shared.of(scores, missing)
            found = standings(shared.among(scores))
            parts = {part_key["label"]: part for part_key, part in split(scores, ["label"])}
            for label in [*found, *(label for label in parts if label not in found)]:
                part = in_cells(parts[label], shared.cells) if label in found else parts[label]
                standing = found.get(label, Standing(UNKNOWN, UNKNOWN))
                rows.append(
                    {
                        **key,
                        **mode,
                        "label": label,
                        "shown": part["shown"].iloc[0],
                        "cells": len(shared.cells if label in found else shared.finished[label]),
                        "of_cells": shared.planned,
                        "over": _in_words(shared.cells, scores["task"]) if found else "",
                        "seeds": int(part.groupby(CELL, observed=True)["seed"].nunique().min()),
                        "trials": part["trial"].nunique(),
                        "failed": int((part["status"] != "ok").sum()),
                        "missing": int((missing["label"] == label).sum()),
                        **named("success", standing.success),
                        **standing.columns(),
                        **prices(part),
                    }
                )
    return pd.DataFrame(rows)


def _in_words(cells: frozenset[Cell], tasks: pd.Series) -> str:
    """`Clip insertion with 10 and 25 demonstrations`, further tasks after semicolons."""
    words = []
    for task in tasks.cat.categories:
        if numbers := sorted(int(number) for name, number in cells if name == task):
            words.append(f"{task_name(task)} with {numbers_of_demonstrations(numbers)}")
    return "; ".join(words)


def details(results: Results) -> pd.DataFrame:
    """One row per (experiment, task, demonstrations, label): `tables.data.comparison`'s, and more.

    Columns besides: what was `shown`; those of `Standing` in this cell, beginning with the mode, NaN for a label that
    has not finished it; and the medians of what a training costs (`names.PRICES`).
    """
    many = [key["experiment"] for key, group in split(results.scores, ["experiment"]) if compares_many(group)]
    frame = comparison(results)
    frame = frame[frame["experiment"].isin(many)]
    more = []
    for key, group in split(results.scores[results.scores["experiment"].isin(many)], GROUP[:3]):
        missing = results.missing[(results.missing[GROUP[:3]] == pd.Series(key)).all(axis=1)]
        cell: dict[str, dict[str, Any]] = {
            part_key["label"]: {"shown": part["shown"].iloc[0], **prices(part)}
            for part_key, part in split(group, ["label"])
        }
        for mode, scores in split(group, ["mode"]):
            found = standings(Shared.of(scores, missing).among(scores))
            for label in scores["label"].unique():
                cell[label] |= found.get(label, Standing(UNKNOWN, UNKNOWN)).columns(f"{mode['mode']}_")
        more += [{**key, "label": label, **values} for label, values in cell.items()]
    if not more:
        return pd.DataFrame()
    added = pd.DataFrame(more)
    used = [name for name in added.columns if name in PRICES and name in frame.columns]
    return frame.drop(columns=used).merge(added, on=GROUP, how="left")


def prices(scores: pd.DataFrame) -> dict[str, float]:
    """Medians of what a training costs, over the trials that ended well; NaN where none did."""
    ok = scores[scores["status"] == "ok"].drop_duplicates("trial")
    return {name: float(ok[name].median()) for name in PRICES}


def by_price(scores: pd.DataFrame, missing: pd.DataFrame) -> pd.DataFrame:
    """Success by each cost: one row per (mode, price, label) of the labels that are compared (see `Shared`).

    Columns: the median `used`; the `mean` success over the compared `cells` with `low` and `high`; and whether it is on
    the `front`: no label with at most this cost succeeds more often. Costs that no training has are left out.

    Args:
        scores, missing: rows of `Results.scores` and `Results.missing` of one experiment.
    """
    rows = []
    for key, group in split(scores, ["mode"]):
        shared = Shared.of(group, missing)
        for part_key, part in split(shared.among(group), ["label"]):
            estimate = Pooled.of(part).estimate
            for price, used in prices(part).items():
                if not isnan(used):
                    spread = {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
                    rows.append({**key, "price": price, **part_key, "cells": len(shared.cells), "used": used, **spread})
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    frame = frame[frame.groupby("price")["used"].transform("max") > 0]
    frame = frame.assign(
        mode=pd.Categorical(frame["mode"], MODES, ordered=True),
        price=pd.Categorical(frame["price"], list(PRICES), ordered=True),
    )
    frame = frame.sort_values(["mode", "price", "used", "mean"], ascending=[True, True, True, False], kind="stable")
    best = frame.groupby(["mode", "price"], observed=True)["mean"].cummax()
    first = ~frame.assign(best=best).duplicated(["mode", "price", "best"])
    return frame.assign(front=first & (frame["mean"] == best)).reset_index(drop=True)
