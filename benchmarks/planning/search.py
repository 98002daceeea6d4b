"""The search space of tuning: the mapping `SEARCH` in the module of a method or of its settings.

    SEARCH = {
        "learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
        "chunk": {"choices": [8, 16]},
    }

If both bounds are whole numbers, so are the values. A method without its own `SEARCH` uses that of its `Settings`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from benchmarks.errors import InputError, unknown
from methods.interface import Method, reasons

NAME = "SEARCH"
DIGITS = 3
"""Significant digits of the numbers tried, so that what is printed is exactly what was measured."""


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, whole ones if both are; on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def rounded(self, value: float) -> float:
        """A value to be tried instead of one that the sampler proposed."""
        return value if self.whole else min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Choices:
    """One of some values, each as JSON."""

    values: tuple[str, ...]


Space = dict[str, Range | Choices]


def space_of(method: type[Method]) -> Space:
    """What a method's module declares.

    Raises:
        InputError: it declares nothing, or something that cannot be searched.
    """
    places = dict.fromkeys((method.__module__, method.Settings.__module__))
    declared = next((found for place in places if (found := getattr(sys.modules[place], NAME, None)) is not None), None)
    if declared is None:
        raise InputError(
            f"{method.name} does not say which settings may be searched; declare {NAME} = "
            '{"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}, say, in its module ' + method.__module__
        )
    if not isinstance(declared, Mapping) or not declared:
        raise InputError(f"{NAME} of {method.name} is {declared!r}; it must name at least one setting")
    known = [field.name for field in fields(method.Settings)]
    for name in declared:
        if name not in known:
            raise unknown(f"setting in {NAME} of {method.name}", str(name), known)
    return {name: _dimension(method, name, entry) for name, entry in declared.items()}


def _dimension(method: type[Method], name: str, entry: Any) -> Range | Choices:
    place = f"{NAME}[{name!r}] of {method.name} is {entry!r}"
    keys = set(entry) if isinstance(entry, Mapping) else set()
    found: Range | Choices
    if keys == {"choices"}:
        try:
            values = tuple(json.dumps(value, allow_nan=False) for value in entry["choices"])
        except (TypeError, ValueError):
            raise InputError(f"{place}; its choices must be a list of values that JSON has") from None
        if len(set(values)) < 2 or len(set(values)) < len(values):
            raise InputError(f"{place}; give at least two choices, all different")
        found, ends = Choices(values), [json.loads(value) for value in values]
    elif {"low", "high"} <= keys <= {"low", "high", "log"}:
        low, high, log = entry["low"], entry["high"], entry.get("log", False)
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
        if not numbers or not low < high or not isinstance(log, bool) or (log and low <= 0):
            raise InputError(f"{place}; low must be below high, and above 0 on a logarithmic scale")
        found, ends = Range(low, high, log), [low, high]
    else:
        raise InputError(f'{place}; write {{"low": ..., "high": ..., "log": ...}} or {{"choices": [...]}}')
    allowed = TypeAdapter(get_type_hints(method.Settings, include_extras=True)[name])
    for end in ends:  # of this setting alone: combinations are judged as they are proposed
        try:
            allowed.validate_python(end)
        except ValidationError as error:
            raise InputError(f"{place}, but {end!r} is no value of it: {reasons(error)}") from None
    return found
