"""How GPRIL's diagnostics change during training, as a table of the committed comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.load import plan_of, records_of
from analysis.names import plural, task_name
from analysis.report.effects import NOT_YET
from analysis.tables.render import markdown

FOLDER, METHOD = "results/quick", "gpril"
Values = Mapping[str, np.ndarray]
ROWS: Mapping[str, tuple[float, Callable[[Values], np.ndarray], str]] = {
    "information_held_out, nats": (1.0, lambda of: of["information_held_out"], ".1f"),
    "log_states_train - log_states_held_out, nats": (
        1.0,
        lambda of: of["log_states_train"] - of["log_states_held_out"],
        ".1f",
    ),
    "kinematic_error_sampled, mm": (1e3, lambda of: of["kinematic_error_sampled"], ".1f"),
    "outside_share, %": (100.0, lambda of: of["outside_share"], ".0f"),
    "policy_sigma": (1.0, lambda of: of["policy_sigma"], ".2f"),
    "clipped_share_states, %": (100.0, lambda of: of["clipped_share_states"], ".0f"),
    "clipped_share_actions, %": (100.0, lambda of: of["clipped_share_actions"], ".0f"),
}
"""Heading -> factor, value [iterations] of one trial's diagnostics, and format."""
TENTHS = {"first tenth": 0.0, "half-way": 0.45, "last tenth": 0.9}
"""Column -> where a tenth of the iterations begins, as a share of them; single iterations vary much."""


def diagnostics(root: Path) -> str:
    """Medians over seeds of the diagnostics of `FOLDER`; `NOT_YET` where there is no record."""
    directory = root / FOLDER
    trials: dict[str, list[Values]] = defaultdict(list)
    if (directory / "plan.json").exists():
        planned = {row.trial for row in plan_of(directory).rows if row.variant == METHOD}
        for record in sorted(records_of(directory, planned, []), key=lambda one: one.trial.task):
            series = record.diagnostics.series
            if series:
                values = {name: np.array([value for _, value in points]) for name, points in series.items()}
                trials[task_name(record.trial.task)].append(values)
    if not trials:
        return f"{NOT_YET}\n"
    rows = []
    for heading, (factor, value, form) in ROWS.items():
        row = {"Diagnostic": heading}
        for task, seeds in trials.items():
            courses = [factor * value(of) for of in seeds]
            for place, begin in TENTHS.items():
                medians = [np.median(_tenth(course, begin)) for course in courses]
                row[f"{task}, {place}"] = f"{np.median(medians):{form}}"
        rows.append(row)
    counted = plural(min(map(len, trials.values())), "seed")
    note = (
        f"The median over a tenth of the training's iterations, and over {counted} of the profile quick with "
        f"10 demonstrations ({FOLDER})."
    )
    return markdown("GPRIL's diagnostics during training", pd.DataFrame(rows), note).rstrip() + "\n"


def _tenth(course: np.ndarray, begin: float) -> np.ndarray:
    first = round(begin * len(course))
    return course[first : first + max(1, round(0.1 * len(course)))]
