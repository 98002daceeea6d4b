"""How GPRIL's diagnostics change while it trains, as a table of the committed comparison."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.figures.diagnostics import PANELS, diagnostics
from analysis.load import plan_of, records_of
from analysis.names import task_name
from analysis.report.effects import NOT_YET
from analysis.tables.render import markdown
from envs.commands import plural

FOLDER, METHOD = Path("results/quick"), "gpril"
SHOWN = {
    "information_held_out": ".1f",
    "log_states_train": ".1f",
    "log_states_held_out": ".1f",
    "kinematic_error_sampled": ".1f",
    "outside_share": ".0f",
    "policy_sigma": ".2f",
    "clipped_share_states": ".0f",
    "clipped_share_actions": ".0f",
}
"""Diagnostic -> format of its value, in the unit of its panel."""
TENTHS = {"first tenth": 0.0, "half-way": 0.45, "last tenth": 0.9}
"""Column -> where a tenth of the training's iterations begins, as a share of them: single iterations vary much."""


def table(root: Path) -> str:
    """The table in Markdown, from the records that are committed below `root`; `NOT_YET` if there are none."""
    directory = root / FOLDER
    planned = plan_of(directory).rows if (directory / "plan.json").exists() else []
    trials = {row.trial for row in planned if row.variant == METHOD}
    reported = [
        diagnostics(record).assign(task=task_name(record.trial.task), trial=record.trial.id)
        for record in records_of(directory, trials, [])
    ]
    if not reported:
        return f"{NOT_YET}\n"
    values = pd.concat(reported, ignore_index=True)
    courses = values.groupby(["trial", "diagnostic"])["value"]
    share = courses.cumcount() / courses.transform("size")
    columns = {}
    for task, of_task in values.groupby("task"):
        for column, begin in TENTHS.items():
            tenth = of_task[share[of_task.index].between(begin, begin + 0.1, inclusive="left")]
            of_trials = tenth.groupby(["diagnostic", "trial"])["value"].median()
            columns[f"{task}, {column}"] = of_trials.groupby("diagnostic").median()
    rows = []
    for name, form in SHOWN.items():
        panel = next(panel for panel in PANELS if name in panel.names)
        cells = {column: f"{panel.scale * medians[name]:{form}}" for column, medians in columns.items()}
        rows.append({"Diagnostic": name, "Unit": panel.unit, **cells})
    seeds = plural(int(values.groupby("task")["trial"].nunique().min()), "seed")
    numbers = " and ".join(map(str, sorted({row.demonstrations for row in planned if row.variant == METHOD})))
    note = f"Medians over a tenth of the iterations and then over {seeds}, {numbers} demonstrations ({FOLDER})."
    return markdown("GPRIL's diagnostics during training", pd.DataFrame(rows), note)
