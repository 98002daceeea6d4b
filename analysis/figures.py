"""The figures as files: one look for all, a style for each method, and nothing in them that varies between runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Literal

import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.load import Results
from analysis.plots import PLOTS, Line, Style
from analysis.series import Series
from analysis.tables import PIPELINE_CHECK

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


def styles(results: Results) -> dict[str, Style]:
    """The style of each label, in the order of the plan and the same in every figure.

    A method keeps its colour: its further labels are paler, with another marker and another line.
    """
    palette = sns.color_palette("colorblind")
    pairs = results.scores[["label", "method"]].drop_duplicates().sort_values(["label", "method"])
    methods = list(dict.fromkeys([*KNOWN_METHODS, *pairs["method"]]))
    drawn = dict.fromkeys(methods, 0)
    chosen: dict[str, Style] = {}
    for label, method in zip(pairs["label"], pairs["method"], strict=True):
        if label in chosen:  # one label for several methods: the first one's style
            continue
        place, variant = methods.index(method), drawn[method]
        drawn[method] += 1
        paleness = 0.7 * (1 - 0.5**variant)
        red, green, blue = (part + paleness * (1 - part) for part in palette[place % len(palette)])
        marker = MARKERS[(place + 3 * variant) % len(MARKERS)]
        chosen[label] = Style((red, green, blue), marker, LINES[variant % len(LINES)])
    return chosen


def draw(series: Series, look: dict[str, Style], profile: str) -> dict[str, bytes]:
    """File name -> content: one figure as PNG and as PDF.

    Args:
        series: what to draw.
        look: the style of each label.
        profile: of the run; the figures of "smoke" say that they mean nothing.
    """
    with house_look():
        figure = PLOTS[series.kind](series, look)
        if profile == "smoke":
            figure.suptitle(PIPELINE_CHECK, color="firebrick", fontsize="large", fontweight="bold")
        files = {f"{series.name}.png": encode(figure, "png")}
        figure.set_layout_engine("none")  # it has been laid out, which takes as long as drawing
        return files | {f"{series.name}.pdf": encode(figure, "pdf")}


def house_look() -> AbstractContextManager[None]:
    """While this context lasts, Matplotlib draws and saves in the look of the house."""
    return rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper", font_scale=1.1) | LOOK)


def encode(figure: Figure, extension: Literal["png", "pdf", "svg"]) -> bytes:
    """A figure's file, the same for the same figure."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format=extension, dpi=DPI, metadata={VARYING[extension]: None})
    return buffer.getvalue()
