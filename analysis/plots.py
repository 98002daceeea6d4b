"""How each kind of series is plotted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.load import MODES
from analysis.series import Cost, Kind, Series
from analysis.tables import MODE_NAMES

COLUMN = 4.0  # inches: two columns stay legible at the width of a README
SUCCESS = "Success (% of roll-outs)"
COST_NAMES: dict[Cost, str] = {
    "episodes": "environment episodes",
    "gradient_steps": "gradient steps",
    "training_seconds": "training time (s)",
}
PERCENT = (-4, 104)  # room for markers at 0 and 100
LEVEL = (0, (6, 3))  # dashes
GREY = (0.35, 0.35, 0.35)

Line = Literal["-", "--", "-.", ":"]


@dataclass(frozen=True)
class Style:
    """How a label is drawn: colour as red, green and blue in [0, 1], Matplotlib's marker and line style."""

    colour: tuple[float, float, float]
    marker: str
    line: Line

    def marks(self, mode: str = MODES[0]) -> dict[str, Any]:
        """Properties of markers: filled for sampled actions, hollow for the mean action."""
        face = self.colour if mode == MODES[0] else "white"
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 1.3}


def plot_success(series: Series, styles: dict[str, Style]) -> Figure:
    """Success against the number of demonstrations, or by label where every task has a single number."""
    numbers = series.data.groupby("task", observed=True)["demonstrations"].nunique()
    return _against_demonstrations(series, styles) if numbers.max() > 1 else _by_label(series, styles)


def plot_curves(series: Series, styles: dict[str, Style]) -> Figure:
    """Learning curves: medians over seeds and their inter-quartile bands; labels without this cost as levels."""
    assert series.cost is not None
    data, styles = series.data, _labels(series.data, styles)
    figure, panels = _panels(data, COST_NAMES[series.cost].capitalize(), SUCCESS, by_demonstrations=True)
    for axes, part in panels:
        for label, style in styles.items():
            rows = part[part["label"] == label]
            curve, level = rows[rows["point"].notna()], rows[rows["point"].isna()]
            x = curve[series.cost].to_numpy()
            median, q1, q3 = (100 * curve[name].to_numpy() for name in ("median", "q1", "q3"))
            axes.plot(x, median, linestyle=style.line, markersize=4, zorder=3, **style.marks())
            axes.fill_between(x, q1, q3, color=style.colour, alpha=0.18, linewidth=0)
            for height, low, high in 100 * level[["median", "q1", "q3"]].to_numpy():
                axes.axhline(height, color=style.colour, linestyle=LEVEL, linewidth=1.5)
                axes.axhspan(low, high, color=style.colour, alpha=0.12, linewidth=0)
        _scale(axes, data[series.cost].to_numpy(dtype=float))
    free = _labels(data[data["point"].isna()], styles)
    handles = _label_handles({label: style for label, style in styles.items() if label not in free})
    for label, style in free.items():
        name = f"{label} (final; no {COST_NAMES[series.cost]})"
        handles.append(Line2D([], [], color=style.colour, linestyle=LEVEL, label=name))
    _legend(figure, handles)
    return figure


def plot_profile(series: Series, styles: dict[str, Style]) -> Figure:
    """Performance profiles: the share of trials above each success."""
    styles = _labels(series.data, styles)
    figure, panels = _panels(series.data, "Success (% of roll-outs) above x", "Share of trials (%)")
    for axes, part in panels:
        for label, style in styles.items():
            x, y = (100 * part.loc[part["label"] == label, ["threshold", "share"]].to_numpy()).T
            axes.step(x, y, where="post", linestyle=style.line, markevery=10, markersize=4, **style.marks())
    _legend(figure, _label_handles(styles))
    return figure


PLOTS: dict[Kind, Callable[[Series, dict[str, Style]], Figure]] = {
    "success": plot_success,
    "curves": plot_curves,
    "profile": plot_profile,
}


def _by_label(series: Series, styles: dict[str, Style]) -> Figure:
    data, styles = series.data, _labels(series.data, styles)
    tasks = [part for _, part in data.groupby("task", observed=True)]
    figure = Figure(figsize=(COLUMN * max(2, len(tasks)), 1.3 + 0.45 * len(styles)))
    panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, part in zip(panels, tasks, strict=True):
        axes.set_title(f"{part['task'].iloc[0]}, {part['demonstrations'].iloc[0]} demos")
        for (row, label), (side, mode) in product(enumerate(styles), enumerate(MODES)):
            trials = part[(part["label"] == label) & (part["mode"] == mode)]
            _distribution(axes, trials, styles[label], mode, row + 0.4 * (side - 0.55), 0.12, horizontal=True)
        axes.set(xlim=PERCENT, ylim=(len(styles) - 0.5, -0.5), xlabel=SUCCESS)
        axes.set_yticks(range(len(styles)), list(styles))
        axes.grid(False, axis="y")
    grey = Style(GREY, "o", "-")
    handles = [Line2D([], [], label=f"{MODE_NAMES[mode]}: median, quartiles", **grey.marks(mode)) for mode in MODES]
    _legend(figure, handles + _trial_handles(data))
    return figure


def _against_demonstrations(series: Series, styles: dict[str, Style]) -> Figure:
    data, styles = series.data, _labels(series.data, styles)
    numbers = np.sort(data["demonstrations"].unique())
    gap = (numbers[-1] / numbers[0]) ** 0.025  # between labels side by side on the logarithmic axis
    figure, panels = _panels(data, "Demonstrations (episodes)", SUCCESS)
    for axes, part in panels:
        mode = part["mode"].iloc[0]
        for place, (label, style) in enumerate(styles.items()):
            rows = part[part["label"] == label]
            dodge = gap ** (place - (len(styles) - 1) / 2)
            medians = rows.drop_duplicates("demonstrations")
            x = dodge * medians["demonstrations"]
            axes.plot(x, 100 * medians["median"], style.line, color=style.colour, linewidth=1.5)
            for number, at in zip(medians["demonstrations"], x, strict=True):
                trials = rows[rows["demonstrations"] == number]
                _distribution(axes, trials, style, mode, at, at * (gap**0.4 - 1))
        axes.set_xscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
    _legend(figure, _label_handles(styles) + _trial_handles(data))
    return figure


def _distribution(
    axes: Axes, trials: pd.DataFrame, style: Style, mode: str, at: float, aside: float, horizontal: bool = False
) -> None:
    """Quartiles over seeds as a bar and their median as a marker, with the single seeds as points a little aside."""
    if trials.empty:
        return

    def plot(values: Any, places: Any, *form: str, **look: Any) -> None:
        axes.plot(*((values, places) if horizontal else (places, values)), *form, **look)

    places = np.full(len(trials), at + aside)
    ok, success = (trials["status"] == "ok").to_numpy(), 100 * trials["success"].to_numpy()
    median, q1, q3 = 100 * trials[["median", "q1", "q3"]].to_numpy()[0]
    plot(success[ok], places[ok], ".", color=style.colour, alpha=0.5, markersize=6, markeredgewidth=0)
    plot(success[~ok], places[~ok], "x", color=GREY, markersize=5, zorder=4)
    plot([q1, q3], [at, at], color=style.colour, linewidth=2)
    plot([median], [at], linestyle="", markersize=7, zorder=3, **style.marks(mode))


def _panels(
    data: pd.DataFrame, x: str, y: str, by_demonstrations: bool = False
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel a task and mode, and number of demonstrations if asked; the tasks, or else the modes, side by side."""
    by = ["demonstrations", "mode"] if by_demonstrations else ["mode"]
    columns = [[part for _, part in rows.groupby(by, observed=True)] for _, rows in data.groupby("task", observed=True)]
    if len(columns) == 1:
        columns = [columns[0][i :: len(MODES)] for i in range(len(MODES))]
    height = max(map(len, columns))
    figure = Figure(figsize=(COLUMN * len(columns), 0.9 + 2.2 * height))
    grid = figure.subplots(height, len(columns), sharex=True, sharey=True, squeeze=False)
    panels = []
    for place, parts in enumerate(columns):
        for axes, part in zip(grid[:, place], parts, strict=False):
            names = [str(part["task"].iloc[0]), MODE_NAMES[part["mode"].iloc[0]]]
            if by_demonstrations:
                names.insert(1, f"{part['demonstrations'].iloc[0]} demos")
            axes.set(title=", ".join(names), ylim=PERCENT, ylabel=y if place == 0 else "")
            panels.append((axes, part))
        grid[len(parts) - 1, place].set_xlabel(x)
        grid[len(parts) - 1, place].tick_params(labelbottom=True)
        for axes in grid[len(parts) :, place]:
            axes.set_axis_off()
    return figure, panels


def _scale(axes: Axes, x: np.ndarray) -> None:
    """A logarithmic axis where costs differ by far, linear below their smallest if some are 0."""
    positive = x[x > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        if (x == 0).any():
            axes.set_xscale("symlog", linthresh=positive.min())
        else:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if positive.max() < 1000 * positive.min() else (1,)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(short))


def short(number: float, _: object = None) -> str:
    """20000 as 20k, 1500000 as 1.5M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def _labels(data: pd.DataFrame, styles: dict[str, Style]) -> dict[str, Style]:
    """The styles of the labels that occur in the data, in the order of the plan."""
    present = set(data["label"])
    return {label: style for label, style in styles.items() if label in present}


def _label_handles(styles: dict[str, Style]) -> list[Line2D]:
    return [Line2D([], [], label=label, linestyle=style.line, **style.marks()) for label, style in styles.items()]


def _trial_handles(data: pd.DataFrame) -> list[Line2D]:
    handles = [Line2D([], [], color=GREY, marker=".", linestyle="", alpha=0.6, label="one seed")]
    if (data["status"] != "ok").any():
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle="", label="failed trial"))
    return handles


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
