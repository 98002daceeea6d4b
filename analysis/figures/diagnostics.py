"""What a method reported while it trained on one trial, as small multiples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.figures.panels import COLUMN, COST_NAMES, GREY, LEVEL, PERCENT, SUCCESS, short
from analysis.load import MODES
from analysis.tables.build import MODE_NAMES
from benchmarks.records.schema import Record

COLUMNS = 3
MARKERS = "os^Dv"


@dataclass(frozen=True)
class Panel:
    """Diagnostics that belong together.

    Attributes:
        title: what they tell.
        unit: the vertical axis.
        names: reported name -> its name in the legend.
        scale: the unit's worth of one as reported.
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
SPLITS = {"train": "training roll-outs", "held_out": "held-out roll-outs"}


def _each(stem: str, variants: dict[str, str]) -> dict[str, str]:
    return {f"{stem}_{suffix}": name for suffix, name in variants.items()}


PANELS = (
    Panel("Likelihood of states", "log B^s (nats)", _each("log_states", SPLITS)),
    Panel("Likelihood of actions", "log B^a (nats)", _each("log_actions", SPLITS)),
    Panel("What B^a knows beyond the policy", "log B^a - log pi (nats)", _each("information", SPLITS), level=0.0),
    Panel(
        "Coherence of imagined states",
        "from joints to tip (mm)",
        {"kinematic_error_sampled": "imagined by B^s", "kinematic_error_replay": "real"},
        1e3,
    ),
    Panel("Imagined states outside the data", "share of states (%)", {"outside_share": ""}, 100.0, level=1.0),
    Panel(
        "Gradients before clipping",
        "median L2 norm (nats per weight)",
        _each("gradient_norm", {**MODELS, "policy": "policy"}),
        logarithmic=True,
    ),
    Panel(
        "Clipped gradients",
        "share of updates (%)",
        {"clipped_share": "both models", **_each("clipped_share", MODELS)},
        100.0,
        limits=PERCENT,
    ),
    Panel("Updates kept by early stopping", "updates an iteration", _each("kept_updates", MODELS)),
    Panel("Exploration", "mean sigma (action units)", {"policy_sigma": ""}),
    Panel("Replay buffer", "rows (control steps)", {"replay_rows": ""}),
    Panel("Likelihood of demonstrated actions", "log pi (nats)", {"log_likelihood": ""}),
    Panel("Likelihood on held-out demonstrations", "log pi (nats)", {"held_out_log_likelihood": ""}),
    Panel("Regularisation", "L2 weight", {"l2": "tried", "chosen_l2": "chosen"}),
    Panel("Discriminator", "cross entropy (nats)", {"discriminator_loss": ""}),
    Panel(
        "Discriminator's accuracy",
        "judged rightly (%)",
        _each("discriminator_accuracy", {"demonstrations": "demonstrations", "policy": "policy"}),
        100.0,
        level=50.0,
        limits=PERCENT,
    ),
    Panel("Critic", "squared error (return squared)", {"critic_loss": ""}),
    Panel("Step of the policy", "KL divergence (nats)", {"kl": ""}),
)


def diagnostics(record: Record) -> pd.DataFrame:
    """All reported values: a row a (diagnostic, gradient_step), in the order of the record."""
    series = record.diagnostics.series
    rows = [(name, step, value) for name, points in series.items() for step, value in points]
    return pd.DataFrame(rows, columns=["diagnostic", "gradient_step", "value"])


def plot_diagnostics(record: Record, title: str) -> Figure:
    """A panel for the success on the way, and one for each kind of diagnostic, all against gradient steps.

    Diagnostics that `PANELS` does not know, as those of a method of one's own, have a panel each under their own names.
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
        axes.axhline(panel.level, color=GREY, linestyle=LEVEL, linewidth=1)
    present = {name: text for name, text in panel.names.items() if (reported["diagnostic"] == name).any()}
    for place, (name, text) in enumerate(present.items()):
        rows = reported[reported["diagnostic"] == name]
        _line(axes, rows["gradient_step"].to_numpy(), panel.scale * rows["value"].to_numpy(), place, text)
    _finish(axes)


def _draw_success(axes: Axes, record: Record) -> None:
    axes.set(title="Success", ylabel=SUCCESS, ylim=PERCENT)
    steps = np.array([point.gradient_steps for point in record.curve])
    for place, mode in enumerate(MODES):
        success = np.array([100 * getattr(point, mode) for point in record.curve])
        _line(axes, steps, success, place, MODE_NAMES[mode])
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
