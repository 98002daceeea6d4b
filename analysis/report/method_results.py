"""How a method did in the comparison of all methods, next to GPRIL and BC, as tables for the method's page."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.formatting import NOTHING, with_bounds
from analysis.load import plan_of
from analysis.names import MODE_NAMES, task_name
from analysis.statistics import Estimate
from analysis.tables.render import markdown
from benchmarks.records.schema import MODES

FOLDER = Path("results/field")
TITLES = {"field": "With demonstrated actions", "field-states": "From states only"}
"""Experiment -> title of its table."""
REFERENCES = {"field": ("gpril", "bc"), "field-states": ("gpril", "bco")}
"""Experiment -> methods whose rows stand below those of the page's own method."""
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
    rows, seeds = [], set[int]()
    for (task, demonstrations), cell in cells.groupby(["task", "demonstrations"], sort=False):
        own = cell[cell["method"] == method]
        others = cell[(cell["method"] != method) & cell["method"].isin(REFERENCES[experiment])]
        for row in [*own.to_dict("records"), *others.to_dict("records")] if len(own) else []:
            seeds.add(int(row["seeds"]))
            rows.append(
                {
                    "Task": task_name(str(task)),
                    "Demos": str(demonstrations),
                    "Method": str(row["label"]),
                    **{MODE_NAMES[mode]: _success(row, mode) for mode in MODES},
                    "Environment steps": f"{row['environment_steps']:,.0f}",
                }
            )
    if not rows:
        return ""
    note = (
        f"Success in % of the final rollouts: mean over {' or '.join(map(str, sorted(seeds)))} seeds [95 % interval]; "
        "a dash means that the policy has no such actions. All methods learn from the same demonstrations, with the "
        f"settings of the profile field. Environment steps: median of what training used ({FOLDER})."
    )
    return markdown(TITLES[experiment], pd.DataFrame(rows), note)


def _success(row: dict[Hashable, Any], mode: str) -> str:
    value, low, high = (row[f"{mode}_mean{end}"] for end in ("", "_low", "_high"))
    return NOTHING if pd.isna(value) else with_bounds(Estimate(value, low, high), ".0f", 100.0)
