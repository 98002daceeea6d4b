"""Tasks by name: a short name of `envs.TASKS`, a Gymnasium id, "module:Id" or "path/to/file.py:Id"."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from envs import TASKS
from envs.loading import LoadError, load_module, reason

LAST_COUNTS = "only the step that ends an episode counts: end it where it succeeds, or go on reporting success"
"""About a success that is reported too early."""
_REGISTERED: dict[str, set[str]] = {}
"""Ids that were new when a module or file was imported, by its name."""


class TaskError(ValueError):
    """A task does not exist or cannot be made; the message gives the reason in one line."""


def find(name: str) -> EnvSpec:
    """The Gymnasium entry of a task; the module or file of "module:Id" and "file.py:Id" is imported first.

    Raises:
        TaskError: importing it failed, or nothing of that name is registered.
    """
    name = TASKS.get(name, name)
    place, _, identity = f"{name}:".rpartition(":") if name.endswith(".py") else name.rpartition(":")
    own = _registered_by(place, name) if place else []
    if identity in gymnasium.registry:
        return gymnasium.registry[identity]
    if place and not identity:
        choices = " or ".join(f"{place}:{one}" for one in own) or f"{place}:Id, with the Id of a task that it registers"
        raise TaskError(f"{name!r} names no task; write {choices}")
    known = own or [*TASKS, *TASKS.values()]
    near = get_close_matches(identity, known, n=1)
    if not near and not place:
        near = get_close_matches(identity, gymnasium.registry, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if place:
        there = f"it registers {', '.join(own)}" if own else "it registers no new task: call gymnasium.register"
        raise TaskError(f"unknown task {name!r}: {place} has been imported; {hint}{there}")
    raise TaskError(
        f"unknown task {name!r}; {hint}known: {', '.join(known)}, or any Gymnasium id, module:Id, file.py:Id"
    )


def _registered_by(place: str, name: str) -> list[str]:
    """The ids of what a module or file registers, or has registered; raises TaskError where importing it fails."""
    before = set(gymnasium.registry)
    try:
        module = load_module(place).__name__
    except LoadError as error:
        raise TaskError(f"task {name!r}: {error}") from error
    _REGISTERED.setdefault(place, set()).update(set(gymnasium.registry) - before)
    made = {key for key, spec in gymnasium.registry.items() if f"{_home(spec)}.".startswith(f"{module}.")}
    return sorted(made | _REGISTERED[place] & set(gymnasium.registry))


def _home(spec: EnvSpec) -> str:
    """The module of what makes a task's environment."""
    entry = spec.entry_point
    return entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", None) or ""


def render_modes(name: str) -> list[str]:
    """The render modes that the class of a task declares; raises TaskError as `find`."""
    entry: Any = find(name).entry_point
    try:
        kind = entry if callable(entry) else gymnasium.envs.registration.load_env_creator(entry)
    except KeyboardInterrupt:
        raise
    except BaseException:  # `make` tells why; SystemExit comes from imported files
        return []
    return _modes(getattr(kind, "metadata", None))


def _modes(metadata: Any) -> list[str]:
    return list(metadata.get("render_modes") or []) if isinstance(metadata, dict) else []


def _require_render_mode(name: str, mode: str, modes: list[str]) -> None:
    """Raises TaskError where a task cannot draw itself so; Gymnasium shows people "rgb_array", too."""
    if not {mode.removesuffix("_list"), "rgb_array" if mode == "human" else mode} & {*modes}:
        raise TaskError(
            f"{name} cannot draw itself: its metadata has no render mode {mode!r} (it has "
            f"{', '.join(modes) or 'none'}); name it in metadata = {{'render_modes': [...]}}, take render_mode in the "
            "constructor and draw in render()"
        )


def make(name: str, **options: Any) -> gymnasium.Env[np.ndarray, np.ndarray]:
    """An environment of a task, without Gymnasium's passive checker.

    Args:
        name: as for `find`.
        options: passed to `gymnasium.make`.

    Raises:
        TaskError: as `find`, or it cannot draw itself in the `render_mode` among the options, or the constructor
            failed, a missing dependency included.
    """
    spec, mode = find(name), options.get("render_mode")
    if mode and (declared := render_modes(name)):
        _require_render_mode(name, mode, declared)
    try:
        with warnings.catch_warnings():
            if mode:  # Gymnasium warns of what is told below
                warnings.filterwarnings("ignore", r".*render", UserWarning)
            made = gymnasium.make(spec, disable_env_checker=True, **options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if mode and isinstance(error, TypeError) and "render_mode" in str(error):
            _require_render_mode(name, mode, [])
        raise TaskError(f"task {name!r} cannot be made ({reason(error)})") from error
    if mode:
        try:
            _require_render_mode(name, mode, _modes(made.metadata))
        except TaskError:
            made.close()
            raise
    return made


def short_name(task: str) -> str:
    """The short name of a task, or the name itself if it has none."""
    return next((short for short, identity in TASKS.items() if identity == task), task)


def brief_name(task: str) -> str:
    """The short name of a task, or its id without the module or file that registers it."""
    return short_name(task).rpartition(":")[2]
