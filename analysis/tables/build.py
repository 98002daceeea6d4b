"""The tables: each as exact data for machines (CSV) and as a few legible columns for people (Markdown, LaTeX, text).

Their bytes follow from the records alone. Only `costs` holds numbers that differ between identical runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import pandas as pd

from analysis.load import MODES, Results
from analysis.tables import data as summary
from analysis.tables.render import csv, latex, markdown

PIPELINE_CHECK = "pipeline check, no scientific meaning"
MODE_NAMES = {"sampled": "sampled", "mean": "mean action"}
NOTHING = "–"
Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Table:
    """A table in both its forms.

    Attributes:
        name: of its files, without extension.
        title: one line.
        note: what a reader must know to read it.
        data: full precision.
        shown: the same rows as formatted text, with headings for people.
    """

    name: str
    title: str
    note: str
    data: pd.DataFrame
    shown: pd.DataFrame

    def files(self) -> dict[str, bytes]:
        """File name -> content: the table as CSV, Markdown and LaTeX."""
        texts = {
            "csv": csv(self.data),
            "md": markdown(self.title, self.shown, self.note),
            "tex": latex(self.title, self.shown, self.note),
        }
        return {f"{self.name}.{extension}": text.encode() for extension, text in texts.items()}


def main_table(results: Results) -> Table:
    """Success of every method on every task; see `summary.comparison` for the columns of its data."""
    data = summary.comparison(results)

    def shown(row: Row) -> dict[str, str]:
        several = row["seeds"] > 1
        cells = {"Seeds": _seeds(row)}
        for mode in MODES:
            name = MODE_NAMES[mode].capitalize()
            cells[f"{name}, last"] = _percent(row, f"{mode}_last", several)
            cells[f"{name}, best"] = _percent(row, f"{mode}_best", several)
            cells[f"{name}, IQM"] = _percent(row, f"{mode}_iqm")
        return {**cells, "Episodes": _number(row["episodes"]), "Gradient steps": _number(row["gradient_steps"])}

    note = (
        "Last and best: median [quartiles] over seeds of the success in % of roll-outs, after training and at the best "
        "of the evaluations during it (chosen afterwards, so it flatters). IQM: inter-quartile mean of the last, [95 % "
        "bootstrap interval]. A trial that failed counts as success 0. Episodes and gradient steps: medians of what "
        "training used."
    )
    return _table(results, "main", "Success of the methods", note, data, shown)


def overall_table(results: Results) -> Table:
    """Success of every method over all tasks together; see `summary.overall`."""
    data = summary.overall(results)

    def shown(row: Row) -> dict[str, str]:
        return {
            "Action": MODE_NAMES[row["mode"]],
            "Cells": _number(row["cells"]),
            "Trials": _number(row["trials"]),
            "IQM": _percent(row, "iqm"),
        }

    note = (
        "Inter-quartile mean of the last success in % of roll-outs over all trials of all cells (a task with a number "
        "of demonstrations), [95 % stratified bootstrap interval]. Compare only methods with the same cells."
    )
    return _table(results, "overall", "Success over all tasks", note, data, shown)


def improvement_table(results: Results) -> Table:
    """Probability of improvement of each pair of methods; see `summary.improvement`."""
    data = summary.improvement(results)

    def shown(row: Row) -> dict[str, str]:
        return {
            "Better than": row["other"],
            "Action": MODE_NAMES[row["mode"]],
            "Probability": _percent(row, "probability"),
        }

    note = (
        "Chance in % that a trial of the method ends with a higher success than one of the other, ties counting half, "
        "[95 % bootstrap interval]; 50 means no difference."
    )
    return _table(results, "improvement", "Probability of improvement", note, data, shown)


def changes_table(results: Results) -> Table:
    """What a change of a method is worth; see `summary.changes`."""

    def shown(row: Row) -> dict[str, str]:
        names = {mode: MODE_NAMES[mode].capitalize() for mode in MODES}
        return {"Trials": _number(row["trials"])} | {names[mode]: _percent(row, mode, form="+.0f") for mode in MODES}

    note = (
        "Inter-quartile mean of the last success in % of roll-outs less that of the method as it is, with the same "
        "task and demonstrations, in points [95 % bootstrap interval]. A trial that failed counts as success 0."
    )
    return _table(results, "changes", "What a change is worth", note, summary.changes(results), shown)


def endings_table(results: Results) -> Table:
    """How the final roll-outs ended; see `summary.endings`."""
    data = summary.endings(results)
    fixed = {"experiment", "task", "demonstrations", "label", "mode", "rollouts"}
    ends = [name for name in data.columns if name not in fixed and not str(name).startswith("seconds_")]

    def shown(row: Row) -> dict[str, str]:
        shares = {end.capitalize(): f"{100 * row[end]:.0f}" for end in ends}
        counts = {"Action": MODE_NAMES[row["mode"]], "Roll-outs": _number(row["rollouts"])}
        return {**counts, **shares, "Seconds": _span(row, "seconds", ".1f")}

    note = (
        "Share of the final roll-outs in % by how they ended: at the goal, outside the workspace, out of time. "
        "Seconds: median [quartiles] simulated length of the successful ones. Trials that failed have no roll-outs."
    )
    return _table(results, "endings", "How roll-outs end", note, data, shown)


def costs_table(results: Results) -> Table:
    """Time and memory; see `summary.costs`."""
    data = summary.costs(results)

    def shown(row: Row) -> dict[str, str]:
        heads = zip(("Training, s", "Evaluation, s", "Memory, MiB"), summary.COSTS, strict=True)
        spans = {head: _span(row, name, ",.0f", several=row["trials"] > 1) for head, name in heads}
        return {"Trials": _number(row["trials"]), **spans}

    note = (
        "Machine dependent: these numbers vary with the hardware and its load, also between identical runs. Median "
        "[quartiles] over the trials that ended well of the wall-clock seconds of training and evaluation, and the "
        "peak memory."
    )
    return _table(results, "costs", "Costs (machine dependent)", note, data, shown)


def trials_table(results: Results) -> Table:
    """Every planned trial; see `summary.trials`."""
    data = summary.trials(results)

    def shown(row: Row) -> dict[str, str]:
        cells = {"Seed": _number(row["seed"]), "Trial": row["trial"], "Status": row["status"]}
        for mode in MODES:
            cells[MODE_NAMES[mode].capitalize()] = _percent(row, mode)
        return cells | {"Error": "" if pd.isna(row["error"]) else row["error"].partition("\n")[0]}

    note = (
        "Success in % of the final roll-outs [95 % Wilson interval: the uncertainty of this one policy, not of the "
        "method]. A trial that failed counts as success 0; a missing one has no record."
    )
    return _table(results, "trials", "All trials", note, data, shown)


TABLES: tuple[Callable[[Results], Table], ...] = (
    main_table,
    overall_table,
    improvement_table,
    changes_table,
    endings_table,
    costs_table,
    trials_table,
)


def all_tables(results: Results) -> list[Table]:
    """Every table that has rows, the main one first."""
    return [table for table in (make(results) for make in TABLES) if not table.data.empty]


def _table(
    results: Results,
    name: str,
    title: str,
    note: str,
    data: pd.DataFrame,
    shown: Callable[[Row], dict[str, str]],
) -> Table:
    """Puts the columns that say whose row it is before those of `shown`; the experiment where there are several."""
    several = results.scores["experiment"].nunique() > 1
    heads = {"experiment": "Experiment", "task": "Task", "demonstrations": "Demos", "label": "Method"}
    keys = {key: head for key, head in heads.items() if key in data.columns and (several or key != "experiment")}
    rows = [
        {**{head: _text(row[key]) for key, head in keys.items()}, **shown(row)}
        for row in data.to_dict(orient="records")
    ]
    if results.profile == "smoke":
        title, note = f"{title} ({PIPELINE_CHECK})", f"Smoke profile: {PIPELINE_CHECK}. {note}"
    return Table(name, title, note, data, pd.DataFrame(rows))


def _text(value: Any) -> str:
    return NOTHING if pd.isna(value) else str(value)


def _number(value: Any) -> str:
    return NOTHING if value is None or pd.isna(value) else f"{value:,.0f}"


def _span(row: Row, name: str, form: str, scale: float = 1.0, several: bool = True) -> str:
    """`median [q1, q3]` or `value [low, high]`, whichever the row has; without bounds where they say nothing."""
    value, *bounds = (f"{name}_median", f"{name}_q1", f"{name}_q3")
    if value not in row:
        value, *bounds = (name, f"{name}_low", f"{name}_high")
    numbers = [scale * row.get(column, nan) for column in (value, *bounds)]
    if isnan(numbers[0]):
        return NOTHING
    central, low, high = (format(number, form) for number in numbers)
    return f"{central} [{low}, {high}]" if several and not isnan(numbers[1]) else central


def _percent(row: Row, name: str, several: bool = True, form: str = ".0f") -> str:
    return _span(row, name, form, 100.0, several)


def _seeds(row: Row) -> str:
    """`5`, or `5 (1 failed)`: what did not end well is part of the number, what is missing is not."""
    counts = [(row[column], status) for status, column in summary.FAILURES.items()] + [(row["missing"], "missing")]
    others = ", ".join(f"{count} {status}" for count, status in counts if not pd.isna(count) and count > 0)
    return f"{row['seeds']} ({others})" if others else f"{row['seeds']}"
