"""Names beside points: where each is written so that it hides neither another name nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from analysis.figures.style import GREY

Array: TypeAlias = NDArray[np.float64]

MARKER = 5.0
"""Half the size of a marker, in points as all lengths here."""
GAP = 3.0
"""Between a marker and its name."""
LINE = 1.25
"""Height of a line of text, in sizes of its font."""
STEPS = 24
"""How many half lines a name may be moved up or down."""
ASIDE = (0.0, 12.0, 30.0, 60.0)
"""How far it may be moved away sideways."""
SWEEPS = 8
"""Times that each name is moved to its best place, given the others."""
OUTSIDE, ON_NAME, ON_POINT, ON_BAR, CROSSING = 1e6, 1e5, 1e4, 8.0, 1e3
"""What a place costs besides its distance: outside of the panel, over a name, a point or a bar, with crossing lines."""


def name_points(axes: Axes, x: Array, y: Array, low: Array, high: Array, names: Sequence[str]) -> None:
    """Write each point's name near it; a line leads to a name that is not beside its point.

    Args:
        axes: of a figure that has been laid out, with final limits and scales.
        x, y: of the points [n], in the units of the axes.
        low, high: ends of each point's vertical bar [n].
        names: one for each.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    renderer, unit = FigureCanvasAgg(figure).get_renderer(), figure.dpi / 72.0
    points, lows, highs = (axes.transData.transform(np.column_stack([x, ends])) / unit for ends in (y, low, high))
    font = FontProperties(size="x-small")
    widths = [renderer.get_text_width_height_descent(name, font, ismath=False)[0] / unit for name in names]
    sizes = np.column_stack([widths, np.full(len(names), LINE * font.get_size_in_points())])
    bars = np.column_stack([lows - 1.0, highs + 1.0])
    boxes = places(points, sizes, bars, np.array(axes.bbox.extents) / unit)
    at = zip(x, y, strict=True)
    for name, point, (across, up), (left, bottom, right, top) in zip(names, at, points, boxes, strict=True):
        leftwards = right < across
        place = (right if leftwards else left) - across, (bottom + top) / 2 - up
        moved = max(abs(place[0]) - GAP, abs(place[1])) > MARKER + 0.5
        leader = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (float(leftwards), 0.5), "shrinkA": 0}
        axes.annotate(
            name,
            point,
            place,
            textcoords="offset points",
            horizontalalignment="right" if leftwards else "left",
            verticalalignment="center",
            fontproperties=font,
            arrowprops=leader if moved else None,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.2},
        ).set_in_layout(False)


def places(points: Array, sizes: Array, bars: Array, panel: Array) -> Array:
    """Where to write names: boxes [n, 4] of left, bottom, right and top.

    Names are placed one after the other, from the highest point to the lowest, and then moved while that helps.

    Args:
        points: [n, 2].
        sizes: width and height of each name, [n, 2].
        bars: boxes of what a name should rather not be written over, [n, 4].
        panel: the box that it must not leave, [4].
    """
    markers = np.column_stack([points - MARKER, points + MARKER])
    wanted = np.column_stack([points[:, 0], _spread(points, sizes, panel)])
    candidates = [_candidates(place, size) for place, size in zip(wanted, sizes, strict=True)]
    chosen = np.full((len(points), 4), np.nan)  # nothing overlaps a box that is not there yet
    ends = np.full((len(points), 2), np.nan)
    for sweep in range(SWEEPS):
        before = chosen.copy()
        for i in np.argsort(-points[:, 1], kind="stable"):
            boxes, others = candidates[i], np.arange(len(points)) != i
            edges = np.where(boxes[:, 2] < points[i, 0], boxes[:, 2], boxes[:, 0])
            nearest = np.column_stack([edges, boxes[:, 1::2].mean(axis=1)])
            lines = points[i] + np.linspace(0.0, 1.0, 9)[:, None, None] * (nearest - points[i])
            seen = np.concatenate([lines, lines], axis=2)  # as boxes without an extent
            cost = np.linalg.norm(nearest - wanted[i], axis=1)
            cost += OUTSIDE * ((boxes[:, :2] < panel[:2]) | (boxes[:, 2:] > panel[2:])).any(axis=1)
            cost += ON_NAME * _overlaps(boxes, chosen[others]).sum(axis=1)
            cost += ON_POINT * _overlaps(boxes, markers).sum(axis=1) + ON_BAR * _overlaps(boxes, bars).sum(axis=1)
            cost += CROSSING * _overlaps(seen, chosen[others]).any(axis=0).sum(axis=1)
            cost += CROSSING * _crossings(points[i], nearest, points[others], ends[others]).sum(axis=1)
            best = int(np.argmin(cost))
            chosen[i], ends[i] = boxes[best], nearest[best]
        if sweep and np.array_equal(before, chosen):
            break
    return chosen


def _spread(points: Array, sizes: Array, panel: Array) -> Array:
    """Heights [n] of the names if those of points above each other were listed beside them, as near as possible."""
    heights = points[:, 1].copy()
    order = np.lexsort((points[:, 1], points[:, 0]))
    for column in np.split(order, np.flatnonzero(np.diff(points[order, 0]) > MARKER) + 1):
        upwards = column[np.argsort(points[column, 1], kind="stable")]
        lines = np.cumsum(sizes[upwards, 1])
        found = isotonic_regression(points[upwards, 1] - lines).x + lines
        found -= max(0.0, found[-1] + sizes[upwards[-1], 1] / 2 - panel[3])
        heights[upwards] = found + max(0.0, panel[1] - found[0] + sizes[upwards[0], 1] / 2)
    return heights


def _candidates(place: Array, size: Array) -> Array:
    """Boxes [k, 4] in which a name may be: to the right or left of where it is wanted [2], at some heights."""
    width, height = size
    ups = 0.5 * height * np.array(sorted(range(-STEPS, STEPS + 1), key=abs))
    starts = [start for aside in ASIDE for start in (MARKER + GAP + aside, -MARKER - GAP - aside - width)]
    left, bottom = (part.ravel() for part in np.meshgrid(starts, ups - height / 2))
    return np.column_stack([left, bottom, left + width, bottom + height]) + np.tile(place, 2)


def _overlaps(boxes: Array, others: Array) -> NDArray[np.bool_]:
    """Which of boxes [..., k, 4] overlap which others [m, 4]: [..., k, m]; none overlaps a box of NaN."""
    one = boxes[..., None, :]
    return np.asarray((one[..., :2] < others[:, 2:]).all(axis=-1) & (one[..., 2:] > others[:, :2]).all(axis=-1))


def _crossings(start: Array, ends: Array, others: Array, other_ends: Array) -> NDArray[np.bool_]:
    """Which of the lines from a point [2] to ends [k, 2] cross which lines from [m, 2] to [m, 2]: [k, m]."""

    def side(a: Array, b: Array, c: Array) -> Array:
        (ux, uy), (vx, vy) = np.moveaxis(b - a, -1, 0), np.moveaxis(c - a, -1, 0)
        return np.sign(ux * vy - uy * vx)

    ends = ends[:, None]
    apart = side(start, ends, others) * side(start, ends, other_ends) < 0
    return np.asarray(apart & (side(others, other_ends, start) * side(others, other_ends, ends) < 0))
