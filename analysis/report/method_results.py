"""How a method did in the comparison of all methods, next to GPRIL and BC, as tables for the method's page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.load import plan_of
from analysis.names import MODE_NAMES, task_name
from analysis.tables.build import number_of, percent_of, seeds_of
from analysis.tables.render import markdown
from benchmarks.records.schema import MODES

FOLDER = Path("results/field")
TITLES = {"field": "With demonstrated actions", "field-states": "From states only"}
"""Experiment -> title of its table."""
REFERENCES = {"field": ("gpril", "bc"), "field-states": ("gpril", "bco")}
"""Experiment -> methods whose rows stand below those of the page's own method."""
NOTE = (
    "Success in % of the final rollouts: mean [95 % interval over seeds]. A trial that failed counts as success 0; a "
    "dash means that the policy has no such actions. All methods learn from the same demonstrations, with the settings "
    f"of the profile field. Environment steps: median of what training used ({FOLDER})."
)
NOT_YET = "Not measured yet; [the plan](../compute-plan.md) says what will be.\n"


def tables(method: str, root: Path) -> str:
    """The tables in Markdown, from the tables committed below `root`; `NOT_YET` if they do not have the method.

    Args:
        method: name of a built-in method.
        root: folder that has `results`.
    """
    directory = root / FOLDER
    if not (directory / "plan.json").exists():
        return NOT_YET
    methods = {(row.experiment, row.label): row.variant.partition("/")[0] for row in plan_of(directory).rows}
    cells = pd.read_csv(directory / "tables" / "main.csv")
    keys = zip(cells["experiment"], cells["label"], strict=True)
    cells = cells.assign(method=[methods[key] for key in keys])
    found = (_table(experiment, method, cells[cells["experiment"] == experiment]) for experiment in TITLES)
    return "\n".join(filter(None, found)) or NOT_YET


def _table(experiment: str, method: str, cells: pd.DataFrame) -> str:
    """The table of one experiment; empty if the method does not take part."""
    rows = []
    for (task, demonstrations), cell in cells.groupby(["task", "demonstrations"], sort=False):
        own = cell[cell["method"] == method]
        others = cell[(cell["method"] != method) & cell["method"].isin(REFERENCES[experiment])]
        for row in [*own.to_dict("records"), *others.to_dict("records")] if len(own) else []:
            rows.append(
                {
                    "Task": task_name(str(task)),
                    "Demos": str(demonstrations),
                    "Method": str(row["label"]),
                    "Seeds": seeds_of(row),
                    **{MODE_NAMES[mode]: percent_of(row, f"{mode}_mean") for mode in MODES},
                    "Environment steps": number_of(row["environment_steps"]),
                }
            )
    return markdown(TITLES[experiment], pd.DataFrame(rows), NOTE) if rows else ""
