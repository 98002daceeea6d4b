"""Digests of an object's contents by name, so that two points in time can be compared."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

DEEPEST = 12
"""Levels of nested objects that are looked at."""


def fingerprint(value: Any) -> dict[str, str]:
    """Digests of all arrays, tensors, numbers, strings and generators that an object holds, by their place in it."""
    found: dict[str, str] = {}
    _walk(value, "", found, {}, 0)
    return found


def first_difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The first place that was added, removed or changed; empty if there is none."""
    return next((place for place in {**old, **new} if old.get(place) != new.get(place)), "")


def _walk(value: Any, place: str, found: dict[str, str], seen: dict[int, Any], depth: int) -> None:
    torch = sys.modules.get("torch")
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        found[place] = repr(value)
        return
    if id(value) in seen or depth > DEEPEST:
        return
    seen[id(value)] = value  # kept, so that its id is not given to another object meanwhile
    if torch and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
        found[place] = f"{value.dtype}{value.shape}{hashlib.sha256(content).hexdigest()}"
        return
    if isinstance(value, np.random.Generator):
        value = value.bit_generator
    if isinstance(value, np.random.BitGenerator):
        value = value.state
    if isinstance(value, Mapping):
        parts = [(f"[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = [(f"[{i}]", part) for i, part in enumerate(value)]
    elif isinstance(value, type) or (callable(value) and not hasattr(value, "parameters")):
        return
    else:
        attributes = getattr(value, "__dict__", {})
        slots = {name: getattr(value, name, None) for name in getattr(type(value), "__slots__", ())}
        parts = [(f".{name}" if place else name, part) for name, part in {**attributes, **slots}.items()]
    found[place or "."] = type(value).__name__ + str(len(parts))
    for name, part in parts:
        _walk(part, place + name, found, seen, depth + 1)
