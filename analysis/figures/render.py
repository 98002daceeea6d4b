"""The figures as files: one look for all, a style for each method, and nothing in them that varies between runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any, Literal, NamedTuple

import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.data import Series
from analysis.figures.draw import PLOTS
from analysis.figures.panels import Line, Style
from analysis.load import Results
from analysis.tables.build import PIPELINE_CHECK

DPI = 150
VARYING = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}  # metadata that differ from run to run
LOOK = {
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "gpril-benchmarks",  # names within the file are the same each time
    "text.parse_math": False,  # a label may hold a dollar sign
}

# A method's place in this row, and after it in the plan, is its place in the colour-blind safe palette and the markers.
KNOWN_METHODS = ("gpril", "gail", "bc")
MARKERS = "osD^vP*X<>"
LINES: tuple[Line, ...] = ("-", "--", "-.", ":")
WHITE, BLACK, CRIMSON = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.8, 0.1, 0.4)
SHADES = ((0.0, WHITE), (0.5, WHITE), (0.5, BLACK), (0.5, CRIMSON), (0.3, WHITE), (0.3, BLACK))
"""How far the colours of a method's labels are from its own, and towards what."""


def styles(results: Results, experiment: str) -> dict[str, Style]:
    """The style of each label of an experiment, in the order of the plan.

    A method has its colour in every figure, and the label that is its name the plain one. Its further labels are of
    another shade, with another marker and another line.
    """
    palette = sns.color_palette("colorblind")
    pairs = results.scores[["label", "method", "experiment"]].drop_duplicates().sort_values(["label", "method"])
    methods = list(dict.fromkeys([*KNOWN_METHODS, *pairs["method"]]))
    plain = set(pairs["label"].str.lower()) & set(methods)
    drawn = {method: int(method in plain) for method in methods}
    chosen: dict[str, Style] = {}
    for label, method in pairs.loc[pairs["experiment"] == experiment, ["label", "method"]].to_numpy():
        if label in chosen:  # one label for several methods: the first one's style
            continue
        place, variant = methods.index(method), 0
        if label.lower() != method:
            variant, drawn[method] = drawn[method], drawn[method] + 1
        shade, goal = SHADES[variant % len(SHADES)]
        own = palette[place % len(palette)]
        red, green, blue = (part + shade * (other - part) for part, other in zip(own, goal, strict=True))
        marker = MARKERS[(place + 3 * variant) % len(MARKERS)]
        chosen[label] = Style((red, green, blue), marker, LINES[variant % len(LINES)])
    return chosen


class Drawing(NamedTuple):
    """One figure.

    Attributes:
        files: name -> content, as PNG and as PDF.
        places: where its points lie and what they say; see `canvas.Picture.places`.
    """

    files: dict[str, bytes]
    places: list[dict[str, Any]]


def draw(series: Series, look: dict[str, Style], profile: str) -> Drawing:
    """One figure as files.

    Args:
        series: what to draw.
        look: the style of each label.
        profile: of the run; the figures of "smoke" say that they mean nothing.
    """
    with house_look():
        figure = PLOTS[series.view.kind](series, look)
        if profile == "smoke":
            figure.suptitle(PIPELINE_CHECK, color="firebrick", fontsize="large", fontweight="bold")
        files = {f"{series.name}.png": encode(figure, "png")}
        figure.set_layout_engine("none")  # it has been laid out, which takes as long as drawing
        return Drawing(files | {f"{series.name}.pdf": encode(figure, "pdf")}, figure.places())


def house_look() -> AbstractContextManager[None]:
    """While this context lasts, Matplotlib draws and saves in the look of the house."""
    return rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper", font_scale=1.1) | LOOK)


def encode(figure: Figure, extension: Literal["png", "pdf", "svg"]) -> bytes:
    """A figure's file, the same for the same figure."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format=extension, dpi=DPI, metadata={VARYING[extension]: None})
    return buffer.getvalue()
