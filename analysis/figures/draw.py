"""Draws each kind of figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import product
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from PIL import Image

from analysis.figures.data import SPREAD, Series
from analysis.figures.point_names import name_points
from analysis.figures.style import (
    COLUMN,
    EXPERT,
    GREY,
    PERCENT,
    SUCCESS,
    Line,
    Style,
    compressed,
    cut_out,
    encode,
    label_handles,
    legend,
    panels,
    plot_style,
    present,
    scale,
    short,
    title,
    trial_handles,
    wrapped,
)
from analysis.names import COST_NAMES, MODE_NAMES, PRICES
from analysis.tables.build import PIPELINE_CHECK
from benchmarks.paper import Centre, Kind
from benchmarks.records.schema import MODES
from envs.commands import plural

CENTRES: dict[Centre, str] = {"median": "median, quartiles", "mean": "mean, 95 % interval"}
SECONDS = "Seconds to insertion (simulated)"
MODE_LINES: dict[str, Line] = dict(zip(MODES, ("-", "--"), strict=True))
TICKS = (0.5, 1, 2, 3, 5, 10, 20, 30, 50)  # of an axis of seconds


class Drawing(NamedTuple):
    """One figure.

    Attributes:
        files: name -> content, as PNG and as PDF.
        panels: each panel as a PNG of its own.
        legend: each entry as a PNG of its line and marker, and its text.
    """

    files: dict[str, bytes]
    panels: list[bytes]
    legend: list[tuple[bytes, str]]


def draw(series: Series, look: dict[str, Style], profile: str) -> Drawing:
    """One figure as files.

    Args:
        series: what to draw.
        look: the style of each label.
        profile: of the run; the figures of "smoke" say that they mean nothing.
    """
    with plot_style():
        figure = PLOTS[series.figure.kind](series, present(series.data, look))
        if profile == "smoke":
            figure.suptitle(PIPELINE_CHECK, color="firebrick", fontsize="large", fontweight="bold")
        elif series.note:
            figure.suptitle(series.note, color=GREY, fontsize="small")
        picture = Image.open(BytesIO(encode(figure, "png"))).convert("RGB")
        figure.set_layout_engine("none")  # it has been laid out, which takes as long as drawing
        cut = cut_out(figure, picture)
        files = {f"{series.name}.png": compressed(picture), f"{series.name}.pdf": encode(figure, "pdf")}
        return Drawing(files, *cut)


@dataclass(frozen=True)
class Distribution:
    """Draws what the trials of a label achieved.

    Attributes:
        column: of the data.
        scale: factor from the column to the axis's unit.
        centre: how seeds are summarised.
        horizontal: whether the value's axis is.
    """

    column: str
    scale: float
    centre: Centre
    horizontal: bool = False

    @classmethod
    def of(cls, series: Series, horizontal: bool = False) -> Distribution:
        """That of a series."""
        if series.figure.kind == "seconds":
            return cls("seconds", 1.0, series.figure.centre, horizontal)
        return cls("success", 100.0, series.figure.centre, horizontal)

    @property
    def axis(self) -> str:
        """The label of the value's axis."""
        return SECONDS if self.column == "seconds" else SUCCESS

    def draw(self, axes: Axes, trials: pd.DataFrame, style: Style, at: float, aside: float, hollow: bool) -> None:
        """Bounds as a bar and their centre as a marker, with the single seeds as points a little aside.

        Args:
            axes: where.
            trials: one row per seed, in the columns of `Series.data`.
            style: of the label.
            at: position on the other axis.
            aside: how far from there the seeds are.
            hollow: whether the marker is.
        """
        if trials.empty:
            return
        places = np.full(len(trials), at + aside)
        ok, values = (trials["status"] == "ok").to_numpy(), self.scale * trials[self.column].to_numpy()
        centre, low, high = self.scale * trials[list(SPREAD[self.centre])].to_numpy(dtype=float)[0]
        self._plot(axes, values[ok], places[ok], ".", color=style.colour, alpha=0.5, markersize=6, markeredgewidth=0)
        self._plot(axes, values[~ok], places[~ok], "x", color=GREY, markersize=5, zorder=4)
        self._plot(axes, [low, high], [at, at], color=style.colour, linewidth=2)
        self._plot(axes, [centre], [at], linestyle="", markersize=7, zorder=3, **style.marks(hollow))

    def entries(self, data: pd.DataFrame) -> list[Line2D]:
        """The legend's entries of bars and single seeds."""
        bar = Line2D([], [], color=GREY, marker="|", linestyle="", markersize=11, markeredgewidth=2)
        bar.set_label(CENTRES[self.centre])
        return [bar, *trial_handles(data)]

    def expert(self, axes: Axes, expert: pd.DataFrame) -> list[Line2D]:
        """The demonstrator's own value as a dotted line, if it is known; returns its entry in the legend."""
        columns = ["success"] if self.column == "success" else list(SPREAD["median"])
        line, span = (axes.axvline, axes.axvspan) if self.horizontal else (axes.axhline, axes.axhspan)
        levels = self.scale * expert[columns].dropna().to_numpy(dtype=float)
        for level, *bounds in levels:
            line(level, color=GREY, linestyle=EXPERT, linewidth=1.3)
            if bounds:
                span(*bounds, color=GREY, alpha=0.1, linewidth=0)
        return [Line2D([], [], color=GREY, linestyle=EXPERT, label="the demonstrator")] if len(levels) else []

    def _plot(self, axes: Axes, values: Any, places: Any, *form: str, **look: Any) -> None:
        axes.plot(*((values, places) if self.horizontal else (places, values)), *form, **look)


def plot_trials(series: Series, look: dict[str, Style]) -> Figure:
    """Success, or seconds, by number of demonstrations, or by label where no task has several numbers."""
    numbers = series.data.groupby("task", observed=True)["demonstrations"].nunique()
    return (_by_demonstrations if numbers.max() > 1 else _by_label)(series, look)


def plot_interactions(series: Series, look: dict[str, Style]) -> Figure:
    """Final success by the episodes that training used: one point per label, the labels of a method connected."""
    data = series.data
    figure, drawn = panels(data, COST_NAMES["episodes"], SUCCESS, by_demonstrations=True)
    distribution = Distribution.of(series)
    experts: list[Line2D] = []
    plain = {method: min(rows["label"].unique(), key=len) for method, rows in data.groupby("method")}
    for axes, part in drawn:
        points = part.drop_duplicates("label").sort_values("median_episodes")
        for method, line in points.groupby("method"):
            style = look[plain[method]]
            axes.plot(line["median_episodes"], 100 * line["median"], color=style.colour, linewidth=1.2)
        for label, at in zip(points["label"], points["median_episodes"], strict=True):
            distribution.draw(axes, part[part["label"] == label], look[label], at, 0.0, hollow=False)
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        scale(axes, data["median_episodes"].to_numpy(dtype=float))
    methods = {label: Style(look[label].colour, look[label].marker, "-") for label in plain.values()}
    legend(figure, label_handles(methods) + distribution.entries(data) + experts)
    return figure


def plot_methods(series: Series, look: dict[str, Style]) -> Figure:
    """Success of many methods, the best on top: a row of panels per task, one per number of demonstrations."""
    cells = series.data.drop_duplicates(["task", "demonstrations", "label", "mode"])
    means = cells.groupby("label", observed=True)["mean"].mean()
    counts = cells.drop_duplicates(["task", "demonstrations", "label"]).groupby("label", observed=True).size()
    order = sorted(look, key=lambda label: (-counts[label], -means[label]))  # only those with all cells compare
    numbers = cells["demonstrations"].nunique()
    return _by_label(series, {label: look[label] for label in order}, columns=numbers if numbers > 1 else 2)


def plot_costs(series: Series, look: dict[str, Style]) -> Figure:
    """Mean success by cost: a row of panels per cost, one per kind of actions, with the front of the best."""
    data = series.data
    prices = data["price"].cat.remove_unused_categories().cat.categories
    modes = [part for _, part in data.groupby("mode", observed=True)]
    height = 3.4 + 0.12 * max(0, data["label"].nunique() - 10)
    figure = Figure(figsize=(COLUMN * len(modes), 0.2 + height * len(prices)))
    grid = figure.subplots(len(prices), len(modes), sharex="row", sharey=True, squeeze=False)
    for (row, price), (column, part) in product(enumerate(prices), enumerate(modes)):
        axes, points = grid[row, column], part[part["price"] == price]
        heading = (
            f"{MODE_NAMES[part['mode'].iloc[0]]}\nmean over {plural(part['cells'].iloc[0], 'cell')}, 95 % interval"
        )
        axes.set(title=heading, xlabel=PRICES[price], ylabel=SUCCESS, ylim=PERCENT)
        axes.tick_params(labelbottom=True, labelleft=True)
        scale(axes, data.loc[data["price"] == price, "used"].to_numpy(dtype=float))
        front = points[points["front"]]
        ends = np.array([*front["used"], points["used"].max()]), np.array([*front["mean"], front["mean"].max()])
        axes.step(ends[0], 100 * ends[1], where="post", color=GREY, linewidth=0.9, alpha=0.6)
        for label, used, *spread in points[["label", "used", "mean", "low", "high"]].itertuples(index=False):
            style, (mean, low, high) = look[label], (100 * share for share in spread)
            axes.plot([used, used], [low, high], color=style.colour, linewidth=1.2, alpha=0.6)
            axes.plot([used], [mean], linestyle="", markersize=7, zorder=3, **style.marks(style.line != "-"))
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # which lays it out: names are placed in the panels' final size
    for (row, price), (column, part) in product(enumerate(prices), enumerate(modes)):
        points = part[part["price"] == price]
        used = points["used"].to_numpy(dtype=float)
        mean, low, high = (100 * points[["mean", "low", "high"]].to_numpy(dtype=float)).T
        name_points(grid[row, column], used, mean, low, high, points["label"].tolist())
    return figure


def _by_label(series: Series, look: dict[str, Style], columns: int = 0) -> Figure:
    """Labels below each other, a panel per task and number of demonstrations, in so many columns; 0 is one row."""
    data = series.data
    cells = [part for _, part in data.groupby(["task", "demonstrations"], observed=True)]
    labels = list(map(wrapped, look))
    lines = max(label.count("\n") + 1 for label in labels)
    columns = min(columns, len(cells)) if columns else len(cells)
    height = 1.5 + max(0.35 if columns < len(cells) else 0.45, 0.2 * lines) * len(look)
    figure = Figure(figsize=((COLUMN + 1) * columns, height * ceil(len(cells) / columns)))
    grid = figure.subplots(ceil(len(cells) / columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
    distribution = Distribution.of(series, horizontal=True)
    modes = [mode for mode in MODES if (data["mode"] == mode).any()]
    experts: list[Line2D] = []
    for axes in grid[len(cells) :]:
        axes.set_axis_off()
    for axes, part in zip(grid, cells, strict=False):
        axes.set_title(title(str(part["task"].iloc[0]), int(part["demonstrations"].iloc[0])))
        for row, label in enumerate(look):
            own = part[part["label"] == label]
            lacking = [(float(row), "trials")] if own.empty else []
            for side, mode in enumerate(modes):
                trials = own[own["mode"] == mode]
                at = row + (0.4 * (side - 0.55) if len(modes) > 1 else 0.0)
                distribution.draw(axes, trials, look[label], at, 0.12, hollow=mode != MODES[0])
                lacking += [(at, MODE_NAMES[mode].lower())] if trials.empty and len(own) else []
            for at, what in lacking if distribution.column == "success" else ():  # nothing drawn looks almost like 0 %
                axes.text(0.0, at, f"no {what}", fontsize="x-small", color=GREY, verticalalignment="center")
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        axes.set(ylim=(len(look) - 0.5, -0.5), xlabel=distribution.axis)
        axes.set_yticks(range(len(look)), labels)
        axes.tick_params(labelleft=True, labelbottom=True)
        axes.grid(False, axis="y")
        _value_axis(axes, distribution, data)
    handles = [_mode_handle(mode, note=f": {CENTRES[series.figure.centre]}") for mode in modes]
    legend(figure, handles + trial_handles(data) + experts)
    return figure


def _value_axis(axes: Axes, distribution: Distribution, data: pd.DataFrame) -> None:
    """The horizontal axis of values: per cent, or seconds on a logarithmic scale where they differ by far."""
    if distribution.column == "success":
        axes.set_xlim(PERCENT)
        return
    values = data["seconds"].to_numpy(dtype=float)
    if values.max() > 4 * values.min() > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _by_demonstrations(series: Series, look: dict[str, Style]) -> Figure:
    data, centre = series.data, SPREAD[series.figure.centre][0]
    numbers = np.sort(data["demonstrations"].unique())
    # Labels stand side by side on the logarithmic axis, all together at most a tenth of it.
    gap = (numbers[-1] / numbers[0]) ** min(0.02, 0.08 / len(look))
    distribution = Distribution.of(series)
    figure, drawn = panels(data, "Demonstrations (episodes)", distribution.axis)
    experts: list[Line2D] = []
    for axes, part in drawn:
        for place, (label, style) in enumerate(look.items()):
            rows = part[part["label"] == label]
            dodge = gap ** (place - (len(look) - 1) / 2)
            centres = rows.drop_duplicates("demonstrations")
            x = dodge * centres["demonstrations"]
            height = distribution.scale * centres[centre]
            axes.plot(x, height, linestyle=style.line, color=style.colour, linewidth=1.5)
            for number, at in zip(centres["demonstrations"], x, strict=True):
                trials, aside = rows[rows["demonstrations"] == number], at * (gap**0.4 - 1)
                distribution.draw(axes, trials, style, at, aside, hollow=False)
        experts = distribution.expert(axes, _of_task(series.expert, part)) or experts
        axes.set_xscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.xaxis.set_minor_locator(NullLocator())
    legend(figure, label_handles(look) + distribution.entries(data) + experts)
    return figure


def plot_curves(series: Series, look: dict[str, Style]) -> Figure:
    """Learning curves: centres over seeds in their bands; labels without this cost as levels."""
    cost, columns = series.figure.cost, list(SPREAD[series.figure.centre])
    assert cost is not None
    data = series.data
    figure, drawn = panels(data, COST_NAMES[cost], SUCCESS, by_demonstrations=True)
    for axes, part in drawn:
        for label, style in look.items():
            rows = part[part["label"] == label]
            curve, level = rows[rows["point"].notna()], rows[rows["point"].isna()]
            _curve(axes, curve[[cost, *columns]], style)
            for height, bottom, top in 100 * level[columns].to_numpy(dtype=float):
                axes.axhline(height, color=style.colour, linestyle=style.line, linewidth=1.5)
                axes.axhspan(bottom, top, color=style.colour, alpha=0.12, linewidth=0)
                mark = Line2D([1.0], [height], markersize=4, zorder=3, clip_on=False, **style.marks())
                mark.set_transform(axes.get_yaxis_transform())  # at the right edge, without a say in the axis's limits
                axes.add_artist(mark)
        scale(axes, data[cost].to_numpy(dtype=float))
    free = present(data[data["point"].isna()], look)
    named = {label: style for label, style in look.items() if label not in free}
    named |= {f"{label} (final success)": style for label, style in free.items()}
    legend(figure, [*label_handles(named), _band(series.figure.centre)])
    return figure


def plot_curve_panels(series: Series, look: dict[str, Style]) -> Figure:
    """Learning curves: a row of panels per label that has this cost, a column per task and number of demonstrations."""
    cost, columns = series.figure.cost, list(SPREAD[series.figure.centre])
    assert cost is not None
    data = series.data[series.data["point"].notna()]
    look = present(data, look)
    cells = [part for _, part in data.groupby(["task", "demonstrations"], observed=True)]
    modes = [mode for mode in MODES if (data["mode"] == mode).any()]
    figure = Figure(figsize=(max(2 * COLUMN, 1 + 1.7 * len(cells)), 0.9 + 1.5 * len(look)))
    grid = figure.subplots(len(look), len(cells), sharex="row", sharey=True, squeeze=False)
    for (row, (label, style)), (column, part) in product(enumerate(look.items()), enumerate(cells)):
        axes, own = grid[row, column], part[part["label"] == label]
        for mode in modes:
            curve = own.loc[own["mode"] == mode, [cost, *columns]]
            _curve(axes, curve, replace(style, line=MODE_LINES[mode]), hollow=mode != MODES[0])
        axes.set_ylim(PERCENT)
        scale(axes, data.loc[data["label"] == label, cost].to_numpy(dtype=float))
        axes.tick_params(labelsize="small")
        if not row:
            task, number = part.iloc[0][["task", "demonstrations"]]
            axes.set_title(f"{title(task)}\n{plural(number, 'demonstration')}", fontsize="small")
        if row == len(look) - 1:
            axes.set_xlabel(COST_NAMES[cost], fontsize="small")
        if not column:
            axes.set_ylabel(wrapped(label, 18), fontsize="small")
    figure.supylabel(SUCCESS, fontsize="medium")
    legend(figure, [*(_mode_handle(mode, MODE_LINES[mode]) for mode in modes), _band(series.figure.centre)])
    return figure


def plot_seeds(series: Series, look: dict[str, Style]) -> Figure:
    """Every seed's learning curve, with that of the seed that ended best above them."""
    cost = series.figure.cost
    assert cost is not None
    data = series.data
    figure, drawn = panels(data, COST_NAMES[cost], SUCCESS, by_demonstrations=True)
    for axes, part in drawn:
        for (label, _, best), rows in part.groupby(["label", "seed", "best"], observed=True):
            style = look[str(label)]
            x, y = rows[cost].to_numpy(dtype=float), 100 * rows["success"].to_numpy()
            marks = style.marks() if best else {"color": style.colour, "alpha": 0.55}
            axes.plot(x, y, linestyle=style.line, linewidth=2.2 if best else 0.8, zorder=3 if best else 2, **marks)
        scale(axes, data[cost].to_numpy(dtype=float))
    named = {f"{label}, best seed": style for label, style in look.items()}
    legend(figure, [*label_handles(named), Line2D([], [], color=GREY, linewidth=0.8, label="the other seeds")])
    return figure


def plot_profile(series: Series, look: dict[str, Style]) -> Figure:
    """Performance profiles: the fraction of trials above each success."""
    figure, drawn = panels(series.data, "Success (% of rollouts) above x", "Trials (%)")
    for axes, part in drawn:
        axes.set_ylim(PERCENT)
        for label, style in look.items():
            x, y = (100 * part.loc[part["label"] == label, ["threshold", "fraction"]].to_numpy()).T
            axes.step(x, y, where="post", linestyle=style.line, markevery=10, markersize=4, **style.marks())
    legend(figure, label_handles(look))
    return figure


PLOTS: dict[Kind, Callable[[Series, dict[str, Style]], Figure]] = {
    "success": plot_trials,
    "seconds": plot_trials,
    "interactions": plot_interactions,
    "curves": plot_curves,
    "curve_panels": plot_curve_panels,
    "seeds": plot_seeds,
    "profile": plot_profile,
    "methods": plot_methods,
    "costs": plot_costs,
}


def _curve(axes: Axes, curve: pd.DataFrame, style: Style, hollow: bool = False) -> None:
    """A learning curve in its band; columns: the cost, the centre of the success and its bounds."""
    x, centre, low, high = curve.to_numpy(dtype=float).T
    axes.plot(x, 100 * centre, linestyle=style.line, markersize=4, zorder=3, **style.marks(hollow))
    axes.fill_between(x, 100 * low, 100 * high, color=style.colour, alpha=0.15, linewidth=0)


def _mode_handle(mode: str, line: Line = "", note: str = "") -> Line2D:
    """The legend's entry of a kind of actions."""
    marks = Style(GREY, "o", line).marks(mode != MODES[0])
    return Line2D([], [], label=MODE_NAMES[mode] + note, linestyle=line, **marks)


def _band(centre: Centre) -> Line2D:
    """The legend's entry of the bounds around a curve."""
    label = CENTRES[centre]
    return Line2D([], [], color=GREY, alpha=0.25, linewidth=9, solid_capstyle="butt", label=label)


def _of_task(expert: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    return expert[expert["task"] == str(part["task"].iloc[0])]
