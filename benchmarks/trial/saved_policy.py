"""Saved policies of any class: what the suite writes with one, and how to load it to act in its task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmarks.records.schema import Count, Trial, TrialId
from envs.npz import ArrayFileError, read_small
from methods import registry
from methods.env_group import Env, checked_actions
from methods.interface import Actor, MethodError, Policy, Task
from methods.task_boundary import ActionBounds

FILE = "trial.json"
"""Beside what `Policy.save` wrote."""
Size = Annotated[int, Field(ge=1)]


class Description(BaseModel):
    """The origin of a saved policy, and the task that it acts in.

    Attributes:
        trial: id of its trial.
        method, task, seed: of the trial.
        demonstrations: number of episodes that it learned from.
        observation_size: O.
        action_low, action_high: bounds of the task's actions, in its units; the policy acts in fractions of them.
        action_dtype: of the task's actions.
        horizon: longest episode, in control steps.
        dt: seconds between two control steps.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    format: Literal[1] = 1
    trial: TrialId
    method: str
    task: str
    seed: Count
    demonstrations: Size
    observation_size: Size
    action_low: list[float]
    action_high: list[float]
    action_dtype: Literal["float16", "float32", "float64"]
    horizon: Size
    dt: Annotated[float, Field(gt=0.0)]

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> Self:
        pairs = list(zip(self.action_low, self.action_high, strict=True))
        if not pairs or not all(low < high for low, high in pairs):
            raise ValueError("each low bound must be below its high one")
        return self

    @property
    def bounds(self) -> ActionBounds:
        """The bounds of the task's actions."""
        return ActionBounds(tuple(self.action_low), tuple(self.action_high), self.action_dtype)


@dataclass(frozen=True)
class SavedPolicy:
    """A trained policy that acts in its task's own units.

    Attributes:
        policy: as the method returned it; its actions are fractions of the bounds.
        description: its origin and its task.
    """

    policy: Policy
    description: Description

    def actor(self, count: int) -> Actor:
        """As `Policy.actor`, but with actions in the task's units, for a robot or an environment without wrappers."""
        return _TaskActor(self.policy.actor(count), self.description.bounds)

    def require_fits(self, environment: Env) -> None:
        """Raises MethodError if an environment, in its own units, does not match the one the policy was trained for."""
        known, shape = self.description, environment.observation_space.shape
        bounds = ActionBounds.of(known.task, environment.action_space)
        if shape != (known.observation_size,) or bounds != known.bounds:
            raise MethodError(
                f"the policy was trained for {known.observation_size} observations, actions in {known.action_low} to "
                f"{known.action_high}, but {known.task} has {shape} and {list(bounds.low)} to {list(bounds.high)} now"
            )


class _TaskActor(Actor):
    def __init__(self, inner: Actor, bounds: ActionBounds) -> None:
        self._inner, self._bounds = inner, bounds

    def start(self, rows: Sequence[int]) -> None:
        self._inner.start(rows)

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        seen = np.array(observations, np.float32)
        fractions = self._inner.act(seen, rows, deterministic, rng)
        return self._bounds.to_task(checked_actions(fractions, len(rows), len(self._bounds.low)))


def save(policy: Policy, folder: str | os.PathLike[str], trial: Trial, task: Task, bounds: ActionBounds) -> None:
    """Save a policy together with its description."""
    folder = Path(folder)
    policy.save(folder)
    folder.mkdir(parents=True, exist_ok=True)
    description = Description(
        trial=trial.id,
        method=trial.method,
        task=trial.task,
        seed=trial.seed,
        demonstrations=trial.demonstrations.episodes,
        observation_size=task.observation_size,
        action_low=list(bounds.low),
        action_high=list(bounds.high),
        action_dtype=bounds.dtype,  # type: ignore[arg-type]  # one of NumPy's, and validated
        horizon=task.horizon,
        dt=task.dt,
    )
    (folder / FILE).write_text(description.model_dump_json(indent=1) + "\n")


def describe(folder: str | os.PathLike[str]) -> Description:
    """The description of a saved policy; raises MethodError if there is none that is usable."""
    folder = Path(folder)
    try:
        return Description.model_validate_json(read_small(folder / FILE))
    except FileNotFoundError:
        raise MethodError(f"{folder}: no saved policy, or one of an earlier version: there is no {FILE}") from None
    except (OSError, ArrayFileError, ValidationError) as error:
        raise MethodError(f"{folder / FILE}: it does not describe a policy ({_first_line(error)})") from None


def load(folder: str | os.PathLike[str], methods: Sequence[str] = ()) -> SavedPolicy:
    """Load a policy that a trial saved.

    Args:
        folder: `policies/<trial>` of a results folder.
        methods: names of methods whose code may be imported, `module:Class` or `file.py:Class`, in whatever folder the
            file lies now. Methods that are built in or installed under a name need not be among them; of others a file
            must not decide which code is run.

    Raises:
        MethodError: naming the folder, and what is wrong with it.
    """
    folder = Path(folder)
    description = describe(folder)
    trained_by = description.method
    named = [name for name in methods if name == trained_by or _file_and_class(name) == _file_and_class(trained_by)]
    if not named and trained_by not in registry.names():
        raise MethodError(
            f"{folder}: it was trained by {trained_by}, whose code is run only if you name it: --method {trained_by}"
        )
    kind = registry.policy_class(registry.resolve(named[0] if named else trained_by))
    try:
        return SavedPolicy(kind.load(folder), description)
    except MethodError:
        raise
    except Exception as error:  # whatever somebody's class raises where files are missing or of another class
        raise MethodError(f"{folder}: {kind.__name__} cannot be loaded from it ({_first_line(error)})") from error


def _file_and_class(method: str) -> tuple[str, str]:
    place, _, name = method.rpartition(":")
    return (Path(place).name if place.endswith(".py") else place), name


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
