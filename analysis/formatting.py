"""Numbers as text, the same in tables, claims, reports and docs."""

from __future__ import annotations

from math import isnan

from analysis.statistics import Estimate

NOTHING = "–"
"""Stands where there is no number."""


def percent(share: float, form: str = ".0f") -> str:
    """A fraction as text, in per cent."""
    return written(100 * share, form)


def written(number: float, form: str) -> str:
    """A number as text; what rounds to zero has no minus."""
    text = format(round(number, 9), form)  # halves go to the even neighbour, whatever the noise of sums
    return format(0.0, form) if text.strip("+-0.") == "" else text


def written_bound(number: float, form: str) -> str:
    """A bound of an interval as text; -0 is one below zero, so that it can be seen whether the interval includes 0."""
    return format(round(number, 9) or 0.0, form)  # noise has no sign, and does not decide where halves go


def with_bounds(estimate: Estimate, form: str, scale: float = 1.0, unit: str = "") -> str:
    """`+43 points [+34, +53]`, without bounds where they are not known."""
    low, high = (written_bound(scale * bound, form) for bound in (estimate.low, estimate.high))
    value = f"{written(scale * estimate.value, form)}{unit}"
    return value if isnan(estimate.low) else f"{value} [{low}, {high}]"
