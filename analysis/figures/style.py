"""Parts that all figures share: the style of each method and variant, panels, axes, legends and files.

A method has one colour and one marker in every figure; its variants differ in line style.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from textwrap import fill
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from PIL import Image
from scipy.spatial import cKDTree

from analysis.load import MARKS, Results
from analysis.names import MODE_NAMES, task_name
from benchmarks.paper import COMPARED, FIGURES
from envs.commands import plural

DPI = 150
COLUMN = 4.2  # inches: two columns stay legible at the width of a README
SUCCESS = "Success (% of rollouts)"
PERCENT = (-4, 104)  # room for markers at 0 and 100
GREY = (0.35, 0.35, 0.35)
Line: TypeAlias = Literal["-", "--", ":", "-.", ""] | tuple[int, tuple[int, ...]]
EXPERT: Line = (0, (1, 2))
LINES: tuple[Line, ...] = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (5, 5)))
LINES += ((0, (5, 1, 1, 1)), (0, (10, 3)), (0, (2, 2)), (0, (7, 1, 1, 1, 1, 1)))
MARKERS = "osD^vP*X<"
DARKER = 0.55  # the colours of the methods after the tenth, compared with those of the first ten
TITLE = 40  # letters that fit above a panel
LABEL = 30  # and beside it
ROWS = 4  # of a legend that fit without making the figure higher
LETTER, HANDLE, LEGEND_ROW = 0.075, 0.7, 0.21  # inches: of a legend

VARYING = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}  # metadata that differ from run to run
LOOK = {
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "gpril-benchmarks",  # names within the file are the same each time
    "text.parse_math": False,  # a label may hold a dollar sign
}


@dataclass(frozen=True)
class Style:
    """How a variant is drawn: colour as red, green and blue in [0, 1], Matplotlib's marker and line style."""

    colour: tuple[float, float, float]
    marker: str
    line: Line

    def marks(self, hollow: bool = False) -> dict[str, Any]:
        """Properties of markers."""
        face = "white" if hollow else self.colour
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face, "markeredgewidth": 1.3}


def styles(results: Results) -> dict[str, Style]:
    """The style of each label, in the order of the plan.

    Methods of the paper come first, others follow in the order of their names. A method by itself has a solid line; of
    its variants, those in most figures of the paper come first, others follow in the order of the plan.
    """
    palette = sns.color_palette("colorblind")
    palette = [*palette, *((DARKER * r, DARKER * g, DARKER * b) for r, g, b in palette)]
    pairs = results.scores[["label", "method", "variant", "base"]].drop_duplicates().sort_values("label")
    methods = [variant.method for variant in COMPARED]
    methods += sorted(set(pairs["method"]) - set(methods))
    paper = (variant for experiment in FIGURES for variant in experiment.variants if variant.base)
    changed = [key for key, _ in Counter((variant.method, variant.key) for variant in paper).most_common()]
    changed += pairs.loc[
        (pairs["base"] != "") | pairs["variant"].str.endswith(MARKS), ["method", "variant"]
    ].itertuples(index=False, name=None)
    places: dict[str, dict[str, int]] = {}
    for method, key in changed:
        of_method = places.setdefault(method, {})
        of_method.setdefault(key, len(of_method))
    here = set(pairs["variant"])
    lines = {method: _lines({key: at for key, at in keys.items() if key in here}) for method, keys in places.items()}
    chosen: dict[str, Style] = {}
    for label, method, key, _ in pairs.itertuples(index=False, name=None):
        place, line = methods.index(method), lines.get(method, {}).get(key, LINES[0])
        chosen.setdefault(label, Style(palette[place % len(palette)], MARKERS[place % len(MARKERS)], line))
    return chosen


def _lines(places: dict[str, int]) -> dict[str, Line]:
    """The line of each variant by its place among all; where two share one, the later takes the next that is free."""
    dashed = LINES[1:]
    chosen: dict[str, Line] = {}
    for key, place in places.items():
        wanted = [dashed[(place + shift) % len(dashed)] for shift in range(len(dashed))]
        chosen[key] = next((line for line in wanted if line not in chosen.values()), wanted[0])
    return chosen


def present(data: pd.DataFrame, look: dict[str, Style]) -> dict[str, Style]:
    """The styles of the labels that occur in the data, in the order of the plan."""
    found = set(data["label"])
    return {label: style for label, style in look.items() if label in found}


def title(task: str, demonstrations: int | None = None, mode: str | None = None) -> str:
    """`Clip insertion, 10 demonstrations, sampled actions`, in two lines where it is wider than a panel."""
    words = [task_name(task)]
    if demonstrations is not None:
        words.append(plural(demonstrations, "demonstration"))
    if mode is not None:
        words.append(MODE_NAMES[mode].lower())
    line = ", ".join(words)
    return line if len(line) <= TITLE else f"{', '.join(words[:-1])}\n{words[-1]}"


def panels(
    data: pd.DataFrame, x: str, y: str, by_demonstrations: bool = False
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """One panel per task and mode, and number of demonstrations if asked; the tasks, or else the modes, side by side.

    Each panel has its own title and axes, so that it can be shown alone.
    """
    by = ["demonstrations", "mode"] if by_demonstrations else ["mode"]
    columns = [[part for _, part in rows.groupby(by, observed=True)] for _, rows in data.groupby("task", observed=True)]
    modes = data["mode"].nunique()
    if len(columns) == 1:
        columns = [columns[0][i::modes] for i in range(modes)]
    height = max(map(len, columns))
    figure = Figure(figsize=(COLUMN * len(columns), 0.9 + 2.5 * height))
    grid = figure.subplots(height, len(columns), sharex=True, sharey=True, squeeze=False)
    drawn = []
    for place, parts in enumerate(columns):
        for axes, part in zip(grid[:, place], parts, strict=False):
            first = part.iloc[0]
            number = int(first["demonstrations"]) if by_demonstrations else None
            axes.set(title=title(str(first["task"]), number, first["mode"]), xlabel=x, ylabel=y)
            axes.tick_params(labelbottom=True, labelleft=True)
            if y == SUCCESS:
                axes.set_ylim(PERCENT)
            drawn.append((axes, part))
        for axes in grid[len(parts) :, place]:
            axes.set_axis_off()
    return figure, drawn


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


def wrapped(label: str, width: int = LABEL) -> str:
    """A label in lines that leave room for what is drawn: settings that were changed for a run are part of it."""
    return fill(label, width)


def label_handles(look: dict[str, Style]) -> list[Line2D]:
    """Legend entries of labels."""
    return [Line2D([], [], label=label, linestyle=style.line, **style.marks()) for label, style in look.items()]


def trial_handles(data: pd.DataFrame) -> list[Line2D]:
    """Legend entries of single trials."""
    handles = [Line2D([], [], color=GREY, marker=".", linestyle="", alpha=0.6, label="one seed")]
    if (data["status"] != "ok").any():
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle="", label="failed trial"))
    return handles


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """One legend for all panels, below them, in as many columns as fit; a long one makes the figure higher."""
    for handle in handles:
        handle.set_label(wrapped(str(handle.get_label()), 2 * LABEL))
    lines = [line for handle in handles for line in str(handle.get_label()).splitlines()]
    room = int(figure.get_figwidth() // (HANDLE + LETTER * max(map(len, lines))))
    columns = max(1, min(4, room, len(handles)))
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * max(0, ceil(len(lines) / columns) - ROWS))
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns, frameon=False, handlelength=3.2)


def plot_style() -> AbstractContextManager[None]:
    """While this context lasts, Matplotlib draws and saves in the style of all figures."""
    return rc_context(sns.axes_style("whitegrid") | sns.plotting_context("paper", font_scale=1.1) | LOOK)


def encode(figure: Figure, extension: Literal["png", "pdf", "svg"]) -> bytes:
    """A figure's file, the same for the same figure."""
    FigureCanvasAgg(figure)
    buffer = BytesIO()
    figure.savefig(buffer, format=extension, dpi=DPI, metadata={VARYING[extension]: None})
    return buffer.getvalue()


def cut_out(figure: Figure, whole: Image.Image) -> tuple[list[bytes], list[tuple[bytes, str]]]:
    """A figure's panels as pictures of their own, and the entries of its legend, each a picture and its text.

    Args:
        figure: that has been laid out, as by `encode`.
        whole: its picture.
    """
    figure.set_dpi(DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    shown = (axes for axes in figure.axes if axes.axison)
    pictures = [_cut(whole, axes.get_tightbbox(renderer), 6) for axes in shown]
    entries = []
    for legend_ in figure.legends:
        for handle, text in zip(legend_.legend_handles, legend_.get_texts(), strict=True):
            if handle is not None:
                entries.append((_cut(whole, handle.get_window_extent(renderer), 8), " ".join(text.get_text().split())))
    return pictures, entries


def compressed(picture: Image.Image) -> bytes:
    """A PNG with a palette of the most frequent colours, which is enough for a plot and takes a third of the room.

    A palette of averages, as Pillow would choose it, merges the colours of methods with small markers.
    """
    buffer = BytesIO()
    values = np.asarray(picture.convert("RGB")).astype(np.int64) @ (1 << 16, 1 << 8, 1)
    found, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:256]
    channels = found[:, None] >> (16, 8, 0) & 255
    nearest = cKDTree(channels[kept]).query(channels)[1].astype(np.uint8)
    image = Image.fromarray(nearest[places].reshape(values.shape), "P")
    image.putpalette(channels[kept].astype(np.uint8).tobytes())
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def _cut(whole: Image.Image, box: Bbox | None, margin: int) -> bytes:
    assert box is not None
    left, right = max(0, int(box.x0) - margin), min(whole.width, ceil(box.x1) + margin)
    top, bottom = max(0, whole.height - ceil(box.y1) - margin), min(whole.height, whole.height - int(box.y0) + margin)
    return compressed(whole.crop((left, top, right, bottom)))
