"""The diagnostics that a method reported in one trial: their values, and small multiples of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures.style import COLUMN, GREY, PERCENT, SUCCESS, encode, plot_style, short
from analysis.load import ResultsError, plan_of, records_of
from analysis.names import COST_NAMES, MODE_NAMES, task_name
from analysis.tables.build import PIPELINE_CHECK
from analysis.tables.render import csv
from benchmarks.records.plans import Plan, PlanRow
from benchmarks.records.schema import MODES, Record
from envs.commands import plural

SHOWN = 12
"""Most trials that an error lists."""
COLUMNS = 3
MARKERS = "os^Dv"


@dataclass(frozen=True)
class Panel:
    """Diagnostics that belong together.

    Attributes:
        title: what they are about.
        unit: the vertical axis.
        names: reported name -> its name in the legend.
        scale: factor from what is reported to the unit.
        level: a value to compare with, in this unit.
        limits: of the vertical axis; None leaves them to the data.
        logarithmic: whether the vertical axis is.
    """

    title: str
    unit: str
    names: dict[str, str]
    scale: float = 1.0
    level: float | None = None
    limits: tuple[float, float] | None = None
    logarithmic: bool = False


MODELS = {"states": "B^s (states)", "actions": "B^a (actions)"}
SPLITS = {"train": "training rollouts", "held_out": "held-out rollouts"}


def _each(stem: str, variants: dict[str, str]) -> dict[str, str]:
    return {f"{stem}_{suffix}": name for suffix, name in variants.items()}


PANELS = (
    Panel("Likelihood of states", "log B^s (nats)", _each("log_states", SPLITS)),
    Panel("Likelihood of actions", "log B^a (nats)", _each("log_actions", SPLITS)),
    Panel("What B^a knows beyond the policy", "log B^a - log pi (nats)", _each("information", SPLITS), level=0.0),
    Panel(
        "Consistency of sampled states",
        "joints against tip (mm)",
        {"kinematic_error_sampled": "sampled from B^s", "kinematic_error_replay": "recorded"},
        1e3,
    ),
    Panel("Sampled states outside the data", "states (%)", {"outside_share": ""}, 100.0, level=1.0),
    Panel(
        "Gradients before clipping",
        "median L2 norm (nats per weight)",
        _each("gradient_norm", {**MODELS, "policy": "policy"}),
        logarithmic=True,
    ),
    Panel(
        "Clipped gradients",
        "updates (%)",
        {"clipped_share": "both models", **_each("clipped_share", MODELS)},
        100.0,
        limits=PERCENT,
    ),
    Panel("Updates kept by early stopping", "updates per iteration", _each("kept_updates", MODELS)),
    Panel("Exploration", "mean sigma (fraction of the action bounds)", {"policy_sigma": ""}),
    Panel("Replay buffer", "rows (control steps)", {"replay_rows": ""}),
    Panel("Likelihood of demonstrated actions", "log pi (nats)", {"log_likelihood": ""}),
    Panel("Likelihood on held-out demonstrations", "log pi (nats)", {"held_out_log_likelihood": ""}),
    Panel("Regularisation", "L2 weight", {"l2": "tried", "chosen_l2": "chosen"}),
    Panel("Discriminator", "cross entropy (nats)", {"discriminator_loss": ""}),
    Panel(
        "Discriminator's accuracy",
        "classified correctly (%)",
        _each("discriminator_accuracy", {"demonstrations": "demonstrations", "policy": "policy"}),
        100.0,
        level=50.0,
        limits=PERCENT,
    ),
    Panel("Critic", "squared error (return squared)", {"critic_loss": ""}),
    Panel("Step of the policy", "KL divergence (nats)", {"kl": ""}),
)


def diagnostics(record: Record) -> pd.DataFrame:
    """All reported values: one row per (diagnostic, gradient_step), in the order of the record."""
    series = record.diagnostics.series
    rows = [(name, step, value) for name, points in series.items() for step, value in points]
    return pd.DataFrame(rows, columns=["diagnostic", "gradient_step", "value"])


def plot_diagnostics(record: Record, title: str) -> Figure:
    """A panel for the success during training, and one for each kind of diagnostic, all by gradient steps.

    Diagnostics that `PANELS` does not know, such as those of a third-party method, have one panel each, under their own
    names.
    """
    reported = diagnostics(record)
    panels = list(_panels(set(reported["diagnostic"])))
    count = len(panels) + 1
    rows = -(-count // COLUMNS)
    figure = Figure(figsize=(COLUMN * COLUMNS, 0.7 + 2.4 * rows))
    grid = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).flat
    _draw_success(grid[0], record)
    for axes, panel in zip(grid[1:count], panels, strict=True):
        _draw(axes, panel, reported)
    for axes in grid[count:]:
        axes.set_axis_off()
    for axes in grid[max(0, count - COLUMNS) : count]:
        axes.set_xlabel(COST_NAMES["gradient_steps"])
        axes.tick_params(labelbottom=True)
    figure.suptitle(title)
    return figure


def _panels(names: set[str]) -> Iterator[Panel]:
    for panel in PANELS:
        if not names.isdisjoint(panel.names):
            yield panel
    for name in sorted(names.difference(*(panel.names for panel in PANELS))):
        yield Panel(name, "as reported", {name: ""})


def _draw(axes: Axes, panel: Panel, reported: pd.DataFrame) -> None:
    axes.set(title=panel.title, ylabel=panel.unit, yscale="log" if panel.logarithmic else "linear")
    if panel.limits:
        axes.set_ylim(panel.limits)
    if panel.level is not None:
        axes.axhline(panel.level, color=GREY, linestyle="--", linewidth=1)
    present = {name: text for name, text in panel.names.items() if (reported["diagnostic"] == name).any()}
    for place, (name, text) in enumerate(present.items()):
        rows = reported[reported["diagnostic"] == name]
        _line(axes, rows["gradient_step"].to_numpy(), panel.scale * rows["value"].to_numpy(), place, text)
    _finish(axes)


def _draw_success(axes: Axes, record: Record) -> None:
    axes.set(title="Success", ylabel=SUCCESS, ylim=PERCENT)
    steps = np.array([point.gradient_steps for point in record.curve])
    for place, mode in enumerate(MODES):
        success = np.array([getattr(point, mode) for point in record.curve], dtype=float)  # None becomes NaN
        if not np.isnan(success).all():
            _line(axes, steps, 100 * success, place, MODE_NAMES[mode].lower())
    _finish(axes)


def _line(axes: Axes, steps: np.ndarray, values: np.ndarray, place: int, label: str) -> None:
    colour = sns.color_palette("colorblind")[place]
    axes.plot(steps, values, marker=MARKERS[place], markersize=3, linewidth=1.2, color=colour, label=label)


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


@dataclass(frozen=True)
class Wanted:
    """Which trial is wanted; None is any.

    Attributes:
        trial: the beginning of its id.
        method: its variant's key or label, with or without changed settings in brackets, or the name of its method.
        task: a part of its task's name, in any case.
        experiment: one it belongs to.
        demos: demonstrated episodes that it learns from.
        seed: its seed.
    """

    trial: str | None = None
    method: str | None = None
    task: str | None = None
    experiment: str | None = None
    demos: int | None = None
    seed: int | None = None

    def fits(self, record: Record, rows: Iterable[PlanRow]) -> bool:
        """Whether a record is wanted, whose places in the plan are `rows`."""
        trial = record.trial
        return (
            (self.trial is None or trial.id.startswith(self.trial))
            and (self.method is None or self.method in {trial.method, *_names(rows), *_short_names(rows)})
            and (self.task is None or self.task.lower() in trial.task.lower())
            and (self.experiment is None or self.experiment in {row.experiment for row in rows})
            and (self.demos is None or self.demos == trial.demonstrations.episodes)
            and (self.seed is None or self.seed == trial.seed)
        )


def choose(directory: Path, plan: Plan, wanted: Wanted) -> Record:
    """The one record of a results folder that is wanted.

    Where a variant's key is the name of a method too, that variant is meant, not every variant of the method.
    Files that cannot be used are named on standard error.

    Raises:
        ResultsError: no record fits, or several do; the message lists what there is.
    """
    rows: dict[str, list[PlanRow]] = {}
    for row in plan.rows:
        rows.setdefault(row.trial, []).append(row)
    notices: list[str] = []
    records = list(records_of(directory, set(rows), notices))
    for notice in notices:
        print(notice, file=sys.stderr)
    fitting = [record for record in records if wanted.fits(record, rows[record.trial.id])]
    named = [record for record in fitting if wanted.method in _names(rows[record.trial.id])]
    fitting = named or fitting
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ResultsError(f"no record in {directory} fits; there are {_values(records, rows)}")
    lines = [f"  {record.trial.id}  {_describe(record, rows[record.trial.id])}" for record in fitting]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise ResultsError("\n".join([f"{len(fitting)} trials fit; name one with --trial:", *lines[:SHOWN], *more]))


def draw_diagnostics(directory: Path, wanted: Wanted, folder: Path) -> list[Path]:
    """Write one trial's diagnostics into `folder` as SVG, PNG and CSV; returns the files.

    Raises:
        ResultsError: there is no such trial, it reported nothing, or the folder cannot be written.
    """
    plan = plan_of(directory)
    record = choose(directory, plan, wanted)
    if not record.diagnostics.series and not record.curve:
        raise ResultsError(f"trial {record.trial.id} ({record.status}) reported nothing that could be drawn")
    title = _describe(record, [row for row in plan.rows if row.trial == record.trial.id])
    if record.status != "ok":
        first, *_ = record.error.splitlines() or [""]
        title += f"\n{record.status}: {first[:120]}"
    if plan.profile == "smoke":
        title += f"\n{PIPELINE_CHECK}"
    with plot_style():
        figure = plot_diagnostics(record, title)
        files = {"svg": encode(figure, "svg"), "png": encode(figure, "png")}
    files["csv"] = csv(diagnostics(record)).encode()
    trial = record.trial
    method, task = (name.rpartition(":")[2] for name in (trial.method, trial.task))  # without the files that hold them
    stem = f"{method}-{task}-{trial.demonstrations.episodes}-demos-seed-{trial.seed}-{trial.id}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{quote(stem, safe='')}.{extension}" for extension in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
    except OSError as error:
        raise ResultsError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    return paths


def _names(rows: Iterable[PlanRow]) -> set[str]:
    return {name for row in rows for name in (row.label, row.variant)}


def _short_names(rows: Iterable[PlanRow]) -> set[str]:
    """Labels and keys without changed settings, and the names of methods, with which keys of methods in files begin."""
    names = {name.partition(" (")[0] for name in _names(rows)}
    return names | {row.variant.partition(" (")[0].partition("/")[0] for row in rows}


def _describe(record: Record, rows: Iterable[PlanRow]) -> str:
    trial, labels = record.trial, dict.fromkeys(row.label for row in rows)
    episodes = plural(trial.demonstrations.episodes, "demonstration")
    return f"{' / '.join(labels)}: {task_name(trial.task)}, {episodes}, seed {trial.seed}"


def _values(records: list[Record], rows: dict[str, list[PlanRow]]) -> str:
    """What can be asked for, in words."""
    trials = [record.trial for record in records]
    found: dict[str, set[Any]] = {
        "methods": {
            name for trial in trials for name in (trial.method, *_names(rows[trial.id]), *_short_names(rows[trial.id]))
        },
        "tasks": {trial.task for trial in trials},
        "experiments": {row.experiment for trial in trials for row in rows[trial.id]},
        "demonstrations": {trial.demonstrations.episodes for trial in trials},
        "seeds": {trial.seed for trial in trials},
    }
    return "; ".join(f"{name}: {', '.join(map(repr, sorted(values)))}" for name, values in found.items())
