"""The tables, each as exact data for machines (CSV) and as a few readable columns for people (Markdown, LaTeX, text).

Their bytes depend on the records alone. Only `costs`, `ranks` and `field` contain numbers that differ between identical
runs, namely seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import pandas as pd

from analysis.formatting import NOTHING, percent, with_bounds
from analysis.load import Results, version_note
from analysis.names import MODE_NAMES, PRICES, short_mode, task_name
from analysis.pooling import split
from analysis.statistics import SEEDS, Estimate
from analysis.tables import data as frames
from analysis.tables import field
from analysis.tables.render import csv, latex, markdown
from benchmarks.records.schema import MODES

PIPELINE_CHECK = "pipeline check, no scientific meaning"
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


def winners_table(results: Results) -> Table:
    """Which variant succeeds most often on each task; see `frames.winners`."""

    def shown(row: Row) -> dict[str, str]:
        return {
            "Actions": short_mode(row["mode"]),
            "Best": row["best"],
            "Success": percent_of(row, "best_success"),
            "Next best": row["next"],
            "Its success": percent_of(row, "next_success"),
            "Difference": percent_of(row, "difference", form="+.0f"),
        }

    note = (
        "Mean success in % of the final rollouts, over all numbers of demonstrations that the variants share, with "
        "equal weights [95 % interval over seeds]. If the interval of the difference includes 0, the order of the two "
        "may be due to chance. The best variant was selected for its success, so the difference is biased in its "
        "favour."
    )
    data = frames.winners(results)
    if len(data) and results.missing["experiment"].isin(data["experiment"]).any():
        note += " Variants that have not finished what is compared are left out."
    return _table(results, "winners", "The best of each comparison", note, data, shown)


def ranks_table(results: Results) -> Table:
    """How each of many methods stands over all tasks, and what it costs; see `field.overview`."""

    def shown(row: Row) -> dict[str, str]:
        whole = row["cells"] == row["of_cells"]
        others = [f"{row['failed']} of {row['trials']} trials failed"] * bool(row["failed"])
        where: str = "" if pd.isna(row["rank"]) else " elsewhere"
        others += [f"{row['missing']} missing{where}"] * bool(row["missing"])
        return {
            "Shown": row["shown"],
            "Actions": short_mode(row["mode"]),
            "Cells": f"{row['cells']}" if whole else f"{row['cells']} of {row['of_cells']}",
            "Seeds": f"{row['seeds']} ({', '.join(others)})" if others else f"{row['seeds']}",
            "Success": percent_of(row, "success"),
            "Rank": _span(row, "rank", ".3g"),
            "Minus the best": _difference(row, "behind"),
            "Minus GPRIL": _difference(row, "against"),
            **{name: number_of(row[column]) for column, name in PRICES.items()},
        }

    note = (
        "Success in % of the final rollouts: mean over cells (a task with a number of demonstrations) with equal "
        "weights [95 % interval over seeds]. A method that has not finished these cells has costs only. Rank: 1 is "
        "the highest success among the methods with such actions [95 % interval of a bootstrap over tasks and seeds, "
        "extended to the places of all methods from which the method's difference is not clear]. Differences in "
        "points [95 %], paired if the seeds of both methods learned from the same demonstrations. GPRIL is its first "
        "variant in the experiment. The best method was selected for its success, so differences to it are biased in "
        "its favour. Each interval is at the 95 % level on its own; a star marks differences that remain after a "
        f"Bonferroni correction (one experiment, one kind of actions, at least {SEEDS} seeds): those to GPRIL for "
        "their number, those to the best for the number of all pairs of methods, which covers its selection. A trial "
        "that failed counts as success 0. Shown: demonstrated actions, states only, or actions inferred from the "
        "method's own steps. Environment steps, labels by the demonstrator and core-seconds of training (which depend "
        "on the machine and its load): medians per trial."
    )
    data = field.overview(results)
    for key, rows in split(data, ["experiment"]) if len(data) else ():
        name, compared = key["experiment"], rows[rows["rank"].notna()]
        partly = compared[compared["cells"] < compared["of_cells"]]
        for over, group in split(partly, ["over"]):
            modes = " and ".join(short_mode(mode).lower() for mode in group["mode"].unique())
            note += f" In {name}, success and ranks with {modes} actions are over {over['over']}."
        planned = results.missing.loc[results.missing["experiment"] == name, "label"].unique()
        if absent := [label for label in planned if label not in set(rows["label"])]:
            note += f" In {name}, there is no trial yet of {', '.join(absent)}."
    return _table(results, "ranks", "Which method: over all tasks", note, data, shown)


def field_table(results: Results) -> Table:
    """What each of many methods achieves on each task, and what it costs; see `field.details`."""

    def shown(row: Row) -> dict[str, str]:
        cells = {"Shown": NOTHING if pd.isna(row["shown"]) else row["shown"], "Seeds": seeds_of(row)}
        for mode in MODES:
            cells[MODE_NAMES[mode]] = percent_of(row, f"{mode}_mean")
            cells[f"{short_mode(mode)} rank"] = _span(row, f"{mode}_rank", ".3g")
        return cells | {name: number_of(row[column]) for column, name in PRICES.items()}

    note = (
        "Success in % of the final rollouts: mean [95 % interval over seeds]. A trial that failed counts as success "
        "0; a dash means that the policy has no such actions, or that there is no trial yet. Rank: by this mean, "
        "among the methods with such actions of which no trial is missing there [95 % interval of a bootstrap over "
        "seeds, extended as in the table over all tasks; not corrected for the number of cells and methods]. "
        "Differences to the best and to GPRIL, medians and quartiles are in the CSV file. Shown and costs: see the "
        "table over all tasks."
    )
    return _table(results, "field", "Which method: task by task", note, field.details(results), shown)


def main_table(results: Results) -> Table:
    """Success of every method on every task; see `frames.comparison` for the columns of its data."""

    def shown(row: Row) -> dict[str, str]:
        several = row["seeds"] > 1
        cells = {"Seeds": seeds_of(row)}
        for mode in MODES:
            cells[MODE_NAMES[mode]] = percent_of(row, f"{mode}_last", several)
            cells[f"{short_mode(mode)} mean"] = percent_of(row, f"{mode}_mean")
        return cells | {name: number_of(row[column]) for column, name in frames.used(results).items()}

    note = (
        "Success in % of the final rollouts: median [quartiles] over seeds, and mean [95 % interval]. A trial that "
        "failed counts as success 0; a dash means that the policy has no such actions. Episodes and steps: medians of "
        "what training used."
    )
    return _table(results, "main", "Success of the methods", note, frames.comparison(results), shown)


def overall_table(results: Results) -> Table:
    """Success of every method over all tasks together; see `frames.overall`."""

    def shown(row: Row) -> dict[str, str]:
        return {
            "Actions": short_mode(row["mode"]),
            "Cells": number_of(row["cells"]),
            "Trials": number_of(row["trials"]),
            "Mean": percent_of(row, "mean"),
            "IQM": percent(row["iqm"]),
        }

    note = (
        "Success in % of the final rollouts. Mean: over cells (a task with a number of demonstrations) with equal "
        "weights [95 % interval over seeds]. IQM: inter-quartile mean over all trials. It leaves out the best and the "
        "worst quarter, which may be whole cells, and it has no interval, because the bootstrap covers too little with "
        "few seeds. Compare only methods with the same cells."
    )
    return _table(results, "overall", "Success over all cells", note, frames.overall(results), shown)


def improvement_table(results: Results) -> Table:
    """Probability of improvement of each pair of methods; see `frames.improvement`."""

    def shown(row: Row) -> dict[str, str]:
        return {
            "Better than": row["other"],
            "Actions": short_mode(row["mode"]),
            "Probability": percent_of(row, "probability"),
        }

    note = (
        "Probability in % that a trial of the method ends with a higher success than one of the other; ties count half "
        "[95 % interval]. 50 means no difference."
    )
    return _table(results, "improvement", "Probability of improvement", note, frames.improvement(results), shown)


def changes_table(results: Results) -> Table:
    """What each changed setting does; see `frames.changes`."""

    def shown(row: Row) -> dict[str, str]:
        cells = {"Compared with": row["base"], "Trials": number_of(row["trials"])}
        return cells | {MODE_NAMES[mode]: percent_of(row, mode, form="+.0f") for mode in MODES}

    note = (
        "Difference in mean success of the final rollouts to the variant it is compared with, on the same task and "
        "number of demonstrations, in points [95 % interval]. A trial that failed counts as success 0. The intervals "
        "are not corrected for multiple comparisons: one in twenty misses."
    )
    return _table(results, "changes", "Effect of each change", note, frames.changes(results), shown)


def endings_table(results: Results) -> Table:
    """How the final rollouts ended; see `frames.endings`."""
    data = frames.endings(results)
    fixed = {"experiment", "task", "demonstrations", "label", "mode", "rollouts"}
    ends = [name for name in data.columns if name not in fixed and not str(name).startswith("seconds_")]

    def shown(row: Row) -> dict[str, str]:
        fractions = {end.capitalize(): percent(row[end]) for end in ends}
        counts = {"Actions": short_mode(row["mode"]), "Rollouts": number_of(row["rollouts"])}
        return {**counts, **fractions, "Seconds": _span(row, "seconds", ".1f")}

    note = (
        "How the final rollouts ended, in %: at the goal, outside the workspace, or out of time. Seconds: simulated "
        "duration of the successful ones, median [quartiles]. Trials that failed have no rollouts."
    )
    return _table(results, "endings", "How rollouts end", note, data, shown)


def costs_table(results: Results) -> Table:
    """Time and memory; see `frames.costs`."""

    def shown(row: Row) -> dict[str, str]:
        heads = zip(("Training, s", "Evaluation, s", "Memory, MiB"), frames.COSTS, strict=True)
        spans = {head: _span(row, name, ",.0f", several=row["trials"] > 1) for head, name in heads}
        return {"Trials": number_of(row["trials"]), **spans}

    note = (
        "Wall-clock seconds of training and evaluation, and peak memory: median [quartiles] over the trials that did "
        "not fail. These numbers depend on the hardware and its load, and vary even between identical runs."
    )
    return _table(results, "costs", "Costs (machine dependent)", note, frames.costs(results), shown)


def trials_table(results: Results) -> Table:
    """Every planned trial; see `frames.trials`."""

    def shown(row: Row) -> dict[str, str]:
        cells = {"Seed": number_of(row["seed"]), "Trial": row["trial"], "Status": row["status"]}
        for mode in MODES:
            cells[MODE_NAMES[mode]] = percent_of(row, mode)
        return cells | {"Error": "" if pd.isna(row["error"]) else row["error"].partition("\n")[0]}

    note = (
        "Success in % of the final rollouts [95 % Wilson interval, which is the uncertainty about this one policy, not "
        "about the method]. A trial that failed counts as success 0; a missing one has no record."
    )
    return _table(results, "trials", "All trials", note, frames.trials(results), shown)


TABLES: tuple[Callable[[Results], Table], ...] = (
    main_table,
    winners_table,
    ranks_table,
    field_table,
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
        {**{head: _key(key, row[key]) for key, head in keys.items()}, **shown(row)}
        for row in data.to_dict(orient="records")
    ]
    if versions := version_note(results.scores):
        note = f"{note} {versions}"
    if results.profile == "smoke":
        title, note = f"{title} ({PIPELINE_CHECK})", f"Smoke profile: {PIPELINE_CHECK}. {note}"
    return Table(name, title, note, data, pd.DataFrame(rows))


def _key(key: str, value: Any) -> str:
    if pd.isna(value):
        return NOTHING
    return task_name(str(value)) if key == "task" else str(value)


def number_of(value: Any) -> str:
    """A whole number with separators."""
    return NOTHING if value is None or pd.isna(value) else f"{value:,.0f}"


def _span(row: Row, name: str, form: str, scale: float = 1.0, several: bool = True) -> str:
    """`median [q1, q3]` or `value [low, high]`, whichever the row has; without bounds where they say nothing."""
    value, *bounds = (f"{name}_median", f"{name}_q1", f"{name}_q3")
    if value not in row:
        value, *bounds = (name, f"{name}_low", f"{name}_high")
    central, low, high = (row.get(column, nan) for column in (value, *bounds))
    if isnan(central):
        return NOTHING
    return with_bounds(Estimate(central, low if several else nan, high), form, scale)


def percent_of(row: Row, name: str, several: bool = True, form: str = ".0f") -> str:
    """As `_span`, of a fraction in per cent."""
    return _span(row, name, form, 100.0, several)


def _difference(row: Row, name: str) -> str:
    """A difference in points with its interval, and a star where it is sure."""
    return percent_of(row, name, form="+.0f") + "*" * bool(row[f"{name}_sure"])


def seeds_of(row: Row) -> str:
    """`5`, or `5 (1 failed)`: what did not end well is part of the number, what is missing is not."""
    counts = [(row[column], status) for status, column in frames.FAILURES.items()] + [(row["missing"], "missing")]
    others = ", ".join(f"{count} {status}" for count, status in counts if not pd.isna(count) and count > 0)
    return f"{row['seeds']} ({others})" if others else f"{row['seeds']}"
