"""The state of a training run, with which an interrupted one resumes bit-identically.

A snapshot is plain data: `pack` turns nested dictionaries and lists of tensors, arrays, numbers and strings into JSON
and arrays, none of which can execute. Besides the method's own state it contains that of every environment with a
running episode, and of the global random generators of Python, NumPy and PyTorch.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from methods.interface import MethodError, State


class StatelessWrapper(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """A wrapper that remembers nothing from step to step: its state is that of the environment it wraps."""


def pack(state: Any) -> tuple[str, dict[str, np.ndarray]]:
    """JSON and the arrays it refers to by name; `unpack` is the inverse, except that tuples become lists.

    Raises:
        MethodError: the state holds something that is not plain data; the message says where.
    """
    arrays: dict[str, np.ndarray] = {}
    return json.dumps(_fold(state, arrays, "snapshot")), arrays


def unpack(text: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """The state that `pack` was given; tensors come back on the CPU. Raises ValueError or KeyError for other input."""
    return _unfold(json.loads(text), arrays)


def _fold(value: Any, arrays: dict[str, np.ndarray], place: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str | int) for key in value):
            raise MethodError(f"{place}: keys must be strings or whole numbers, not {list(value)}")
        return {"map": [[key, _fold(part, arrays, f"{place}[{key!r}]")] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_fold(part, arrays, f"{place}[{i}]") for i, part in enumerate(value)]}
    import torch  # here and below, so that planning a run does not wait for it

    kind = "tensor" if isinstance(value, torch.Tensor) else "array"
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        raise MethodError(
            f"{place} is a {type(value).__name__}; give tensors, arrays, numbers, strings, dictionaries or lists"
        )
    arrays[name := f"a{len(arrays)}"] = array
    return {kind: name}


def _unfold(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "map":
        return {key: _unfold(part, arrays) for key, part in value}
    if kind == "list":
        return [_unfold(part, arrays) for part in value]
    import torch

    return torch.from_numpy(arrays[value]) if kind == "tensor" else arrays[value]


def capture(method: State, environments: Sequence[Any]) -> State:
    """The complete state of a training: the method's own, its environments' and the global generators'."""
    import torch

    return {
        "method": method,
        "environments": [environment_state(environment) for environment in environments],
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore(state: State, environments: Sequence[Any]) -> State:
    """Restore environments and generators from what `capture` returned; returns the method's own state.

    Raises:
        MethodError: fewer environments have been made than the snapshot holds.
    """
    import torch

    if len(environments) < len(state["environments"]):
        raise MethodError(
            f"context.resume() was called with {len(environments)} environments made, but the snapshot holds "
            f"{len(state['environments'])}; make them all before it"
        )
    for environment, kept in zip(environments, state["environments"], strict=False):
        set_environment_state(environment, kept)
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    return state["method"]


def can_be_captured(environment: Any) -> bool:
    """Whether an environment, under wrappers that are known here, has `get_state` and `set_state`."""
    while not _has_state(environment):
        if not isinstance(environment, TimeLimit | OrderEnforcing | StatelessWrapper):
            return False
        environment = environment.env
    return True


def _has_state(environment: Any) -> bool:
    """Whether a layer saves and restores itself with all that is under it."""
    kind = type(environment)
    return callable(getattr(kind, "get_state", None)) and callable(getattr(kind, "set_state", None))


def environment_state(environment: Any) -> State:
    """The state of an environment that `can_be_captured`, and of its wrappers."""
    if _has_state(environment):
        state: State = environment.get_state()
        return state
    own: int | bool | None = None
    if isinstance(environment, TimeLimit):
        own = environment._elapsed_steps
    elif isinstance(environment, OrderEnforcing):
        own = environment._has_reset
    return {"wrapper": own, "inner": environment_state(environment.env)}


def set_environment_state(environment: Any, state: State) -> None:
    """The inverse of `environment_state`."""
    if _has_state(environment):
        environment.set_state(state)
        return
    if isinstance(environment, TimeLimit):
        environment._elapsed_steps = state["wrapper"]
    elif isinstance(environment, OrderEnforcing):
        environment._has_reset = state["wrapper"]
    set_environment_state(environment.env, state["inner"])
