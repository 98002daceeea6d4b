"""What all plots share: panels, axes, styles, legends, and figures that know what their points say."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.load import MODES
from analysis.tables.build import MODE_NAMES
from benchmarks.paper import Cost

COLUMN = 4.0  # inches: two columns stay legible at the width of a README
SUCCESS = "Success (% of roll-outs)"
COST_NAMES: dict[Cost, str] = {
    "episodes": "environment episodes",
    "environment_steps": "environment steps",
    "gradient_steps": "gradient steps",
    "training_seconds": "training time (s)",
}
WIDEST = 42  # letters of a panel's title
LABEL = 60  # and of a line of a label
ROWS = 4  # of a legend that there is room for anyway
LINE = 0.21  # inches: of a further one
PERCENT = (-4, 104)  # room for markers at 0 and 100
LEVEL = (0, (6, 3))  # dashes
EXPERT = (0, (1, 2))  # dots
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


@dataclass(frozen=True)
class Spot:
    """A drawn point, and what it says: `x` and `y` in the units of its axes, the `text` for people."""

    axes: Axes
    x: float
    y: float
    label: str
    colour: tuple[float, float, float]
    text: str


class Picture(Figure):
    """A figure that knows what its points say."""

    def __init__(self, *args: Any, **properties: Any) -> None:
        super().__init__(*args, **properties)
        self.spots: list[Spot] = []

    def places(self) -> list[dict[str, Any]]:
        """Where the spots lie: a row a spot, for a figure that has been drawn.

        `x` and `y` are shares of the picture's width and height from its upper left corner, and `panel` is the number
        of its axes; `label`, `colour` (#rrggbb) and `text` are the spot's.
        """
        rows = []
        for spot in self.spots:
            x, y = self.transFigure.inverted().transform(spot.axes.transData.transform((spot.x, spot.y)))
            place = {"x": round(float(x), 4), "y": round(1 - float(y), 4), "panel": self.axes.index(spot.axes)}
            rows.append({**place, "label": spot.label, "colour": to_hex(spot.colour), "text": spot.text})
        return rows


def panels(
    data: pd.DataFrame, x: str, y: str, by_demonstrations: bool = False
) -> tuple[Picture, list[tuple[Axes, pd.DataFrame]]]:
    """A panel a task and mode, and number of demonstrations if asked; the tasks, or else the modes, side by side."""
    by = ["demonstrations", "mode"] if by_demonstrations else ["mode"]
    columns = [[part for _, part in rows.groupby(by, observed=True)] for _, rows in data.groupby("task", observed=True)]
    if len(columns) == 1:
        columns = [columns[0][i :: len(MODES)] for i in range(len(MODES))]
    height = max(map(len, columns))
    figure = Picture(figsize=(COLUMN * len(columns), 0.9 + 2.2 * height))
    grid = figure.subplots(height, len(columns), sharex=True, sharey=True, squeeze=False)
    drawn = []
    for place, parts in enumerate(columns):
        for axes, part in zip(grid[:, place], parts, strict=False):
            names = [str(part["task"].iloc[0]), MODE_NAMES[part["mode"].iloc[0]]]
            if by_demonstrations:
                names.insert(1, f"{part['demonstrations'].iloc[0]} demos")
            axes.set(title=title(*names), ylabel=y if place == 0 else "")
            if y == SUCCESS:
                axes.set_ylim(PERCENT)
            drawn.append((axes, part))
        grid[len(parts) - 1, place].set_xlabel(x)
        grid[len(parts) - 1, place].tick_params(labelbottom=True)
        for axes in grid[len(parts) :, place]:
            axes.set_axis_off()
    return figure, drawn


def title(task: str, *others: str) -> str:
    """What a panel shows, in two lines where it would be wider than the panel."""
    line = ", ".join([task, *others])
    return line if len(line) <= WIDEST else f"{task}\n{', '.join(others)}"


def scale(axes: Axes, x: np.ndarray) -> None:
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


def present(data: pd.DataFrame, styles: dict[str, Style]) -> dict[str, Style]:
    """The styles of the labels that occur in the data, in the order of the plan."""
    found = set(data["label"])
    return {label: style for label, style in styles.items() if label in found}


def wrapped(label: str) -> str:
    """A label in lines that leave room for what is drawn: settings that were changed for a run are part of it."""
    return fill(label, LABEL)


def label_handles(styles: dict[str, Style]) -> list[Line2D]:
    """Legend entries of labels."""
    return [Line2D([], [], label=label, linestyle=style.line, **style.marks()) for label, style in styles.items()]


def trial_handles(data: pd.DataFrame) -> list[Line2D]:
    """Legend entries of single trials."""
    handles = [Line2D([], [], color=GREY, marker=".", linestyle="", alpha=0.6, label="one seed")]
    if (data["status"] != "ok").any():
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle="", label="failed trial"))
    return handles


def legend(figure: Figure, handles: list[Line2D]) -> None:
    """One legend for all panels, below them, in as many columns as fit; a long one makes the figure higher."""
    for handle in handles:
        handle.set_label(wrapped(str(handle.get_label())))
    lines = [line for handle in handles for line in str(handle.get_label()).splitlines()]
    longest = max(map(len, lines))
    room = int(figure.get_figwidth() // (0.7 + 0.075 * longest))  # inches: of a handle, and of a letter
    columns = max(1, min(4, room, len(handles)))
    figure.set_figheight(figure.get_figheight() + LINE * max(0, ceil(len(lines) / columns) - ROWS))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
