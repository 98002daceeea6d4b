"""Names beside points: none over another, all in the panel, in the order of the points."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.point_names import MARKER, places

PANEL = np.array([0.0, 0.0, 260.0, 280.0])
NOTHING = np.zeros((0, 4))


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one[:2] < other[2:] - 1e-9).all() and (other[:2] < one[2:] - 1e-9).all())


def sizes(count: int) -> np.ndarray:
    """Of names with 3 to 18 letters."""
    return np.column_stack([4.0 * (3 + np.arange(count) * 7 % 16), np.full(count, 9.0)])


@pytest.mark.parametrize("spread", [8.0, 60.0, 260.0])
@pytest.mark.parametrize("seed", range(3))
def test_nineteen_names_hide_neither_each_other_nor_a_point(spread: float, seed: int) -> None:
    """Points within a few points of each other, as methods of equal cost are, or anywhere in the panel."""
    rng = np.random.default_rng(seed)
    low = (PANEL[2:] - spread) / 2 * [rng.random(), 1.0]
    points = np.clip(low + spread * rng.random((19, 2)), 8.0, PANEL[2:] - 8.0)
    boxes = places(points, sizes(19), NOTHING, PANEL)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], sizes(19))
    assert (boxes[:, :2] >= PANEL[:2]).all() and (boxes[:, 2:] <= PANEL[2:]).all()
    assert not any(overlap(boxes[i], boxes[j]) for i in range(19) for j in range(i))
    markers = np.column_stack([points - MARKER, points + MARKER])
    hidden = sum(overlap(box, marker) for box in boxes for marker in markers)
    assert hidden == 0 if spread < 260.0 else hidden <= 1


def test_names_of_points_above_each_other_are_listed_in_their_order() -> None:
    heights = np.array([150.0, 148.0, 149.0, 40.0, 151.0, 149.5])
    boxes = places(np.column_stack([np.full(6, 10.0), heights]), sizes(6), NOTHING, PANEL)
    assert list(np.argsort(boxes[:, 1])) == list(np.argsort(heights))
    assert boxes[3, 1] < 40.0 < boxes[3, 3], "one that has room is level with its point"
    assert np.ptp(boxes[:, 0]) == 0.0


def test_a_single_name_is_beside_its_point_and_leftwards_at_the_right_edge() -> None:
    (box,) = places(np.array([[100.0, 100.0]]), sizes(1), NOTHING, PANEL)
    assert 100.0 + MARKER < box[0] < 100.0 + 3 * MARKER and box[1] < 100.0 < box[3]
    (box,) = places(np.array([[255.0, 100.0]]), sizes(1), NOTHING, PANEL)
    assert 255.0 - 3 * MARKER < box[2] < 255.0 - MARKER
