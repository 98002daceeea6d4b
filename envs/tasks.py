"""Tasks by name: a short name of `envs.TASKS`, a Gymnasium id, "module:Id" or "path/to/file.py:Id"."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from envs import TASKS
from envs.loading import LoadError, load_module, reason


class TaskError(ValueError):
    """A task does not exist or cannot be made; the message gives the reason in one line."""


def find(name: str) -> EnvSpec:
    """The Gymnasium entry of a task; the module or file of "module:Id" and "file.py:Id" is imported first.

    Raises:
        TaskError: importing it failed, or nothing of that name is registered.
    """
    name = TASKS.get(name, name)
    place, _, identity = f"{name}:".rpartition(":") if name.endswith(".py") else name.rpartition(":")
    before = set(gymnasium.registry)
    if place:
        try:
            load_module(place)
        except LoadError as error:
            raise TaskError(f"task {name!r}: {error}") from error
    if identity in gymnasium.registry:
        return gymnasium.registry[identity]
    new = sorted(set(gymnasium.registry) - before)
    if place and not identity:
        choices = " or ".join(f"{place}:{one}" for one in new) or f"{place}:Id, with the Id of a task that it registers"
        raise TaskError(f"{name!r} names no task; write {choices}")
    known = new if place and new else [*TASKS, *TASKS.values()]
    near = get_close_matches(identity, known, n=1) or get_close_matches(identity, gymnasium.registry, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TaskError(
        f"unknown task {name!r}; {hint}known: {', '.join(known)}, or any Gymnasium id, module:Id, file.py:Id"
    )


def make(name: str, **options: Any) -> gymnasium.Env[np.ndarray, np.ndarray]:
    """An environment of a task, without Gymnasium's passive checker.

    Args:
        name: as for `find`.
        options: passed to `gymnasium.make`.

    Raises:
        TaskError: as `find`, or the constructor failed, a missing dependency included.
    """
    spec = find(name)
    try:
        return gymnasium.make(spec, disable_env_checker=True, **options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise TaskError(f"task {name!r} cannot be made ({reason(error)})") from error


def short_name(task: str) -> str:
    """The short name of a task, or the name itself if it has none."""
    return next((short for short, identity in TASKS.items() if identity == task), task)
