"""How each kind of series is plotted: what happens over training, and which function draws what."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.lines import Line2D

from analysis.figures.data import SPREAD, Series
from analysis.figures.distributions import VALUES, plot_interactions, plot_trials, spread
from analysis.figures.panels import (
    COST_NAMES,
    GREY,
    LEVEL,
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
)
from benchmarks.paper import Kind


def plot_curves(series: Series, styles: dict[str, Style]) -> Picture:
    """Learning curves: centres over seeds in their bands; labels without this cost as levels."""
    cost, columns = series.view.cost, list(SPREAD[series.view.centre])
    assert cost is not None
    data, styles = series.data, present(series.data, styles)
    figure, drawn = panels(data, COST_NAMES[cost].capitalize(), SUCCESS, by_demonstrations=True)
    for axes, part in drawn:
        for label, style in styles.items():
            rows = part[part["label"] == label]
            curve, level = rows[rows["point"].notna()], rows[rows["point"].isna()]
            x, heights = curve[cost].to_numpy(dtype=float), 100 * curve[columns].to_numpy(dtype=float)
            centre, low, high = heights.T
            axes.plot(x, centre, linestyle=style.line, markersize=4, zorder=3, **style.marks())
            axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
            for at, height in zip(x, heights, strict=True):
                text = f"{spread(VALUES['success'], *height)} at {at:,.0f} {COST_NAMES[cost]}"
                figure.spots.append(Spot(axes, at, height[0], label, style.colour, text))
            for height, bottom, top in 100 * level[columns].to_numpy(dtype=float):
                axes.axhline(height, color=style.colour, linestyle=LEVEL, linewidth=1.5)
                axes.axhspan(bottom, top, color=style.colour, alpha=0.12, linewidth=0)
        scale(axes, data[cost].to_numpy(dtype=float))
    free = present(data[data["point"].isna()], styles)
    handles = label_handles({label: style for label, style in styles.items() if label not in free})
    for label, style in free.items():
        handles.append(Line2D([], [], color=style.colour, linestyle=LEVEL, label=f"{label} (final success)"))
    legend(figure, handles)
    return figure


def plot_seeds(series: Series, styles: dict[str, Style]) -> Picture:
    """Every seed's learning curve, with that of the seed that ended best above them."""
    cost = series.view.cost
    assert cost is not None
    data, styles = series.data, present(series.data, styles)
    figure, drawn = panels(data, COST_NAMES[cost].capitalize(), SUCCESS, by_demonstrations=True)
    for axes, part in drawn:
        for (label, seed, best), rows in part.groupby(["label", "seed", "best"], observed=True):
            style = styles[str(label)]
            x, y = rows[cost].to_numpy(dtype=float), 100 * rows["success"].to_numpy()
            look = style.marks() if best else {"color": style.colour, "alpha": 0.55}
            axes.plot(x, y, linestyle=style.line, linewidth=2.2 if best else 0.8, zorder=3 if best else 2, **look)
            name = f"{label}, seed {seed}{' (the best)' if best else ''}"
            for at, height in zip(x, y, strict=True):
                text = f"{height:.0f} % at {at:,.0f} {COST_NAMES[cost]}"
                figure.spots.append(Spot(axes, at, height, name, style.colour, text))
        scale(axes, data[cost].to_numpy(dtype=float))
    named = {f"{label}, best seed": style for label, style in styles.items()}
    legend(figure, [*label_handles(named), Line2D([], [], color=GREY, linewidth=0.8, label="the other seeds")])
    return figure


def plot_profile(series: Series, styles: dict[str, Style]) -> Picture:
    """Performance profiles: the share of trials above each success."""
    styles = present(series.data, styles)
    figure, drawn = panels(series.data, "Success (% of roll-outs) above x", "Share of trials (%)")
    for axes, part in drawn:
        axes.set_ylim(PERCENT)
        for label, style in styles.items():
            x, y = (100 * part.loc[part["label"] == label, ["threshold", "share"]].to_numpy()).T
            axes.step(x, y, where="post", linestyle=style.line, markevery=10, markersize=4, **style.marks())
    legend(figure, label_handles(styles))
    return figure


PLOTS: dict[Kind, Callable[[Series, dict[str, Style]], Picture]] = {
    "success": plot_trials,
    "seconds": plot_trials,
    "interactions": plot_interactions,
    "curves": plot_curves,
    "seeds": plot_seeds,
    "profile": plot_profile,
}
