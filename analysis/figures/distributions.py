"""Plots of what single trials achieved, with their centre and spread over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.figures.data import SPREAD, Series
from analysis.figures.panels import (
    COLUMN,
    COST_NAMES,
    EXPERT,
    GREY,
    PERCENT,
    SUCCESS,
    Picture,
    Spot,
    Style,
    label_handles,
    legend,
    panels,
    present,
    scale,
    title,
    trial_handles,
    wrapped,
)
from analysis.load import MODES
from analysis.tables.build import MODE_NAMES
from benchmarks.paper import Centre

CENTRES: dict[Centre, str] = {"median": "median, quartiles", "mean": "mean, 95 % interval"}


@dataclass(frozen=True)
class Value:
    """What a trial achieved: its column, its axis, how much of the axis's unit one of it is, and how it is written."""

    column: str
    axis: str
    worth: float
    form: str


VALUES = {
    "success": Value("success", SUCCESS, 100.0, "{:.0f} %"),
    "interactions": Value("success", SUCCESS, 100.0, "{:.0f} %"),
    "seconds": Value("seconds", "Seconds to insertion (simulated)", 1.0, "{:.1f} s"),
}


@dataclass(frozen=True)
class Distribution:
    """Draws what the trials of a label achieved.

    Attributes:
        figure: whose points say what they are.
        value: what is drawn.
        centre: over seeds.
        horizontal: whether the value's axis is.
    """

    figure: Picture
    value: Value
    centre: Centre
    horizontal: bool = False

    @classmethod
    def of(cls, series: Series, figure: Picture, horizontal: bool = False) -> Distribution:
        """That of a series."""
        return cls(figure, VALUES[series.view.kind], series.view.centre, horizontal)

    def draw(
        self, axes: Axes, trials: pd.DataFrame, style: Style, mode: str, at: float, aside: float, where: str
    ) -> None:
        """Bounds as a bar and their centre as a marker, with the single seeds as points a little aside.

        Args:
            axes: where.
            trials: a row a seed, in the columns of `Series.data`.
            style: of the label.
            mode: of the actions.
            at: on the other axis.
            aside: how far from there the seeds are.
            where: the other axis's value, in words.
        """
        if trials.empty:
            return
        places = np.full(len(trials), at + aside)
        ok, values = (trials["status"] == "ok").to_numpy(), self.value.worth * trials[self.value.column].to_numpy()
        centre, low, high = self.value.worth * trials[list(SPREAD[self.centre])].to_numpy(dtype=float)[0]
        self._plot(axes, values[ok], places[ok], ".", color=style.colour, alpha=0.5, markersize=6, markeredgewidth=0)
        self._plot(axes, values[~ok], places[~ok], "x", color=GREY, markersize=5, zorder=4)
        self._plot(axes, [low, high], [at, at], color=style.colour, linewidth=2)
        self._plot(axes, [centre], [at], linestyle="", markersize=7, zorder=3, **style.marks(mode))
        x, y = (centre, at) if self.horizontal else (at, centre)
        label, text = str(trials["label"].iloc[0]), f"{spread(self.value, centre, low, high)}, {len(trials)} seeds"
        label, text = (f"{label}, {where}", text) if self.horizontal else (label, f"{text}, {where}")
        self.figure.spots.append(Spot(axes, x, y, label, style.colour, text))

    def expert(self, axes: Axes, expert: pd.DataFrame) -> list[Line2D]:
        """The demonstrator's own value as a dotted line, if it is known; returns its entry in the legend."""
        columns = {"success": ["success"], "seconds": list(SPREAD["median"])}[self.value.column]
        line, span = (axes.axvline, axes.axvspan) if self.horizontal else (axes.axhline, axes.axhspan)
        levels = self.value.worth * expert[columns].dropna().to_numpy(dtype=float)
        for level, *bounds in levels:
            line(level, color=GREY, linestyle=EXPERT, linewidth=1.3)
            if bounds:
                span(*bounds, color=GREY, alpha=0.1, linewidth=0)
        return [Line2D([], [], color=GREY, linestyle=EXPERT, label="the demonstrator")] if len(levels) else []

    def _plot(self, axes: Axes, values: Any, places: Any, *form: str, **look: Any) -> None:
        axes.plot(*((values, places) if self.horizontal else (places, values)), *form, **look)


def spread(value: Value, centre: float, low: float, high: float) -> str:
    """`88 % [86, 90]`, without bounds where there are none."""
    number = value.form.partition(" ")[0]
    return value.form.format(centre) + ("" if np.isnan(low) else f" [{number.format(low)}, {number.format(high)}]")


def plot_trials(series: Series, styles: dict[str, Style]) -> Picture:
    """Success, or seconds, against the number of demonstrations, or by label where no task has several numbers."""
    numbers = series.data.groupby("task", observed=True)["demonstrations"].nunique()
    return (_against_demonstrations if numbers.max() > 1 else _by_label)(series, present(series.data, styles))


def plot_interactions(series: Series, styles: dict[str, Style]) -> Picture:
    """Final success against the episodes that training used: a point a label, the labels of a method connected."""
    data, styles = series.data, present(series.data, styles)
    figure, drawn = panels(data, COST_NAMES["episodes"].capitalize(), SUCCESS, by_demonstrations=True)
    distribution = Distribution.of(series, figure)
    experts: list[Line2D] = []
    for axes, part in drawn:
        points = part.drop_duplicates("label").sort_values("median_episodes")
        for _, line in points.groupby("method", observed=True):
            colour = styles[line["label"].iloc[0]].colour
            axes.plot(line["median_episodes"], 100 * line["median"], color=colour, linewidth=1, alpha=0.6)
        for label, at in zip(points["label"], points["median_episodes"], strict=True):
            trials, where = part[part["label"] == label], f"{at:,.0f} {COST_NAMES['episodes']}"
            distribution.draw(axes, trials, styles[label], part["mode"].iloc[0], at, 0.0, where)
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        scale(axes, data["median_episodes"].to_numpy(dtype=float))
    legend(figure, label_handles(styles) + trial_handles(data) + experts)
    return figure


def _by_label(series: Series, styles: dict[str, Style]) -> Picture:
    tasks = [part for _, part in series.data.groupby("task", observed=True)]
    labels = list(map(wrapped, styles))
    lines = max(label.count("\n") + 1 for label in labels)
    figure = Picture(figsize=(COLUMN * max(2, len(tasks)), 1.3 + max(0.45, 0.2 * lines) * len(styles)))
    grid = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    distribution = Distribution.of(series, figure, horizontal=True)
    experts: list[Line2D] = []
    for axes, part in zip(grid, tasks, strict=True):
        axes.set_title(title(str(part["task"].iloc[0]), f"{part['demonstrations'].iloc[0]} demos"))
        for (row, label), (side, mode) in product(enumerate(styles), enumerate(MODES)):
            trials = part[(part["label"] == label) & (part["mode"] == mode)]
            at = row + 0.4 * (side - 0.55)
            distribution.draw(axes, trials, styles[label], mode, at, 0.12, MODE_NAMES[mode])
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        axes.set(ylim=(len(styles) - 0.5, -0.5), xlabel=distribution.value.axis)
        if distribution.value.axis == SUCCESS:
            axes.set_xlim(PERCENT)
        axes.set_yticks(range(len(styles)), labels)
        axes.grid(False, axis="y")
    grey, centre = Style(GREY, "o", "-"), CENTRES[series.view.centre]
    handles = [Line2D([], [], label=f"{MODE_NAMES[mode]}: {centre}", **grey.marks(mode)) for mode in MODES]
    legend(figure, handles + trial_handles(series.data) + experts)
    return figure


def _against_demonstrations(series: Series, styles: dict[str, Style]) -> Picture:
    data, centre = series.data, SPREAD[series.view.centre][0]
    numbers = np.sort(data["demonstrations"].unique())
    gap = (numbers[-1] / numbers[0]) ** 0.025  # between labels side by side on the logarithmic axis
    value = VALUES[series.view.kind]
    figure, drawn = panels(data, "Demonstrations (episodes)", value.axis)
    distribution = Distribution.of(series, figure)
    experts: list[Line2D] = []
    for axes, part in drawn:
        for place, (label, style) in enumerate(styles.items()):
            rows = part[part["label"] == label]
            dodge = gap ** (place - (len(styles) - 1) / 2)
            centres = rows.drop_duplicates("demonstrations")
            x = dodge * centres["demonstrations"]
            axes.plot(x, value.worth * centres[centre], style.line, color=style.colour, linewidth=1.5)
            for number, at in zip(centres["demonstrations"], x, strict=True):
                trials, aside = rows[rows["demonstrations"] == number], at * (gap**0.4 - 1)
                distribution.draw(axes, trials, style, part["mode"].iloc[0], at, aside, f"{number} demonstrations")
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        axes.set_xscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
    legend(figure, label_handles(styles) + trial_handles(data) + experts)
    return figure


def _of_task(expert: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    return expert[expert["task"] == str(part["task"].iloc[0])]
