"""A task as methods see it: described, checked against its demonstrations, with actions as fractions of its bounds.

Tasks have actions in metres, radians or newtons; methods have actions from -1 to 1. This module rescales everything
that passes between the two: demonstrations, environments and policies. Bounds of -1 and 1 change nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import TimeLimit

from envs import tasks
from envs.demonstrations import Demonstrations
from methods.checkpointing import StatelessWrapper
from methods.env_group import Env
from methods.interface import MethodError, Task

LARGEST_BOUND = 1e9
"""Actions beyond it are unbounded in effect, as where a space ends with the largest float."""
SEED = 20_000_101
"""Of the two resets that show whether a task obeys its seed."""
SMALL = 0.05
"""Demonstrated actions that vary by less than this fraction of the bounds drown in the noise of what methods learn."""


@dataclass(frozen=True)
class ActionBounds:
    """The bounds of a task's actions, and actions as fractions of them: -1 is the lowest, 1 the highest.

    Attributes:
        low, high: A numbers each, in the task's units, each low one below its high one.
        dtype: of the task's actions.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"

    @staticmethod
    def of(name: str, space: gymnasium.Space[Any]) -> ActionBounds:
        """The bounds of an action space; raises MethodError where actions cannot be fractions of them."""
        if not isinstance(space, Box) or len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
            raise MethodError(f"{name}: actions must be a one-dimensional Box of real numbers, not {space}")
        for i, (low, high) in enumerate(zip(space.low.tolist(), space.high.tolist(), strict=True)):
            if not (-LARGEST_BOUND <= low < high <= LARGEST_BOUND):  # false for NaN, too
                raise MethodError(
                    f"{name}: actions[{i}] is bounded by {low:g} and {high:g}, but methods act in fractions of the "
                    "bounds, which must be finite and the low one below the high one; give its action space such bounds"
                )
        return ActionBounds(tuple(space.low.tolist()), tuple(space.high.tolist()), str(space.dtype))

    @property
    def are_fractions(self) -> bool:
        """Whether the task's actions are fractions already, and so stay as they are, to the last bit."""
        return set(self.low) == {-1.0} and set(self.high) == {1.0}

    def to_task(self, fractions: np.ndarray) -> np.ndarray:
        """Actions [..., A] in the task's units from fractions."""
        if self.are_fractions:
            return fractions
        share = np.asarray(fractions, np.float64)
        # Exact at both ends, and never beyond them by rounding.
        return (np.array(self.low) * (1.0 - share) / 2.0 + np.array(self.high) * (1.0 + share) / 2.0).astype(self.dtype)

    def to_fractions(self, actions: np.ndarray) -> np.ndarray:
        """Fractions [..., A] float32 from actions in the task's units."""
        if self.are_fractions:
            return actions
        low, high = np.array(self.low), np.array(self.high)
        return ((2.0 * np.asarray(actions, np.float64) - low - high) / (high - low)).astype(np.float32)


class MethodView(StatelessWrapper):
    """An environment with actions in fractions and observations in float32, which share no memory with the task's."""

    def __init__(self, env: Env, name: str) -> None:
        """Args: the environment of the task `name`; raises MethodError as `ActionBounds.of` does."""
        super().__init__(env)
        self.bounds = ActionBounds.of(name, env.action_space)
        inner = env.observation_space
        assert isinstance(inner, Box)
        with np.errstate(over="ignore"):
            low, high = inner.low.astype(np.float32), inner.high.astype(np.float32)
        self.observation_space = Box(low, high, dtype=np.float32)
        self.action_space = Box(-1.0, 1.0, (len(self.bounds.low),), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return np.array(observation, np.float32), info

    def step(self, action: np.ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        found, reward, terminated, truncated, info = self.env.step(self.bounds.to_task(np.array(action)))
        return np.array(found, np.float32), reward, terminated, truncated, info


@dataclass(frozen=True)
class Inspection:
    """What was found out about a task.

    Attributes:
        task: what a method may know.
        bounds: of its actions, in its own units.
        warnings: what does not forbid training, but spoils it: a line each.
    """

    task: Task
    bounds: ActionBounds
    warnings: tuple[str, ...] = ()


def describe_task(name: str, demonstrations: Demonstrations) -> Task:
    """What a method may know about a task; see `inspect_task`."""
    return inspect_task(name, demonstrations).task


def inspect_task(name: str, demonstrations: Demonstrations) -> Inspection:
    """Make a task's environment, reset it, and hold its demonstrations against it.

    Raises:
        MethodError: the environment has no time limit, no flat boxes as spaces or no finite bounds of its actions, or
            it does not fit the demonstrations.
    """
    try:
        environment = tasks.make(name)
    except tasks.TaskError as error:
        raise MethodError(str(error)) from error
    try:
        return _inspect(name, environment, demonstrations)
    finally:
        environment.close()


def _inspect(name: str, environment: Env, demonstrations: Demonstrations) -> Inspection:
    unwrapped, observations = environment.unwrapped, environment.observation_space
    if not isinstance(observations, Box) or len(observations.shape) != 1:
        raise MethodError(f"{name}: observations must be a one-dimensional Box, not {observations}")
    bounds = ActionBounds.of(name, environment.action_space)
    horizon = time_limit(name, environment)
    dt = getattr(unwrapped, "dt", None)
    dt = demonstrations.dt if dt is None else dt
    if not isinstance(dt, Real) or not 0.0 < float(dt) < math.inf:
        raise MethodError(f"{name}: dt is {dt!r}, but it is the seconds of a control step, a positive number")
    plausible = getattr(unwrapped, "observation_range", None) or (observations.low, observations.high)
    _require_inside(name, "observations", demonstrations.observations, *plausible)
    if demonstrations.actions is not None:
        acted = demonstrations.actions[~demonstrations.terminal]
        _require_inside(name, "actions", acted, np.array(bounds.low), np.array(bounds.high))
    if not math.isclose(demonstrations.dt, dt, rel_tol=1e-6):
        raise MethodError(f"{name} has a step of {dt:g} s, but the demonstrations of {demonstrations.dt:g} s")
    actions = len(bounds.low)
    task = Task(
        id=name,
        observation_size=observations.shape[0],
        action_size=actions,
        action_low=np.full(actions, -1.0, np.float32),
        action_high=np.full(actions, 1.0, np.float32),
        horizon=horizon,
        dt=float(demonstrations.dt),
        kinematic_error=getattr(unwrapped, "kinematic_error", None),
    )
    return Inspection(task, bounds, (*_reset_twice(name, environment), *_small_actions(demonstrations, bounds)))


def time_limit(name: str, environment: Env) -> int:
    """The longest episode of an environment in steps: its own `horizon` or its registered time limit, if shorter.

    Raises:
        MethodError: it has neither, or one that is no positive whole number.
    """
    registered = environment.spec.max_episode_steps if environment.spec else None
    limits = [limit for limit in (getattr(environment.unwrapped, "horizon", None), registered) if limit is not None]
    for limit in limits:
        if not isinstance(limit, Real) or limit < 1 or not float(limit).is_integer():
            raise MethodError(f"{name}: its time limit is {limit!r}, but a positive whole number of steps is needed")
    if not limits:
        raise MethodError(f"{name} has no time limit; register it with max_episode_steps")
    return int(min(limits))


def _small_actions(demonstrations: Demonstrations, bounds: ActionBounds) -> tuple[str, ...]:
    """Warn where demonstrated actions hardly vary within the bounds, as where these are in other units."""
    if demonstrations.actions is None or demonstrations.terminal.all():
        return ()
    fractions = bounds.to_fractions(demonstrations.actions[~demonstrations.terminal])
    low, high = np.quantile(fractions, (0.01, 0.99), axis=0)
    constant = fractions.min(axis=0) == fractions.max(axis=0)
    small = np.flatnonzero(((high - low) / 2 < SMALL) & ~constant).tolist()
    if not small:
        return ()
    which = "all demonstrated actions" if len(small) == len(low) else f"actions{small} of the demonstrations"
    return (
        f"{which} vary by less than 1/{1 / SMALL:.0f} of the bounds, so that the noise of learnt policies drowns "
        "them; are the units right? If they are, give the action space bounds that fit them",
    )


def _reset_twice(name: str, environment: Env) -> tuple[str, ...]:
    """Warn where the same seed begins different episodes; raises MethodError where a reset does not work."""
    first, second = (_reset(name, environment) for _ in range(2))
    if np.array_equal(first, second, equal_nan=True):
        return ()
    return ("the seed of reset() is not obeyed: two episodes with one seed begin differently",)


def _reset(name: str, environment: Env) -> np.ndarray:
    try:
        found = environment.reset(seed=SEED)
    except TypeError as error:
        raise MethodError(f"{name}: reset(seed=..., options=...) must be possible ({error})") from None
    if not isinstance(found, tuple) or len(found) != 2:
        raise MethodError(f"{name}: reset() must return (observation, info), but it returned a {type(found).__name__}")
    observation = np.array(found[0])
    if observation.shape != environment.observation_space.shape:
        raise MethodError(
            f"{name}: reset() returned an observation of shape {observation.shape}, "
            f"but its space has {environment.observation_space.shape}"
        )
    return observation


def _require_inside(task: str, what: str, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse demonstrated values [N, n] of another size, or outside the range in which they mean something."""
    if values.shape[1] != len(low):
        raise MethodError(f"{task} has {len(low)} {what}, but the demonstrations have {values.shape[1]}")
    # Values were rounded to float32. Actions may be small numbers throughout, as in metres.
    smallest = 0.0 if what == "actions" else 1.0
    below, above = (1e-5 * np.maximum(np.abs(bound), smallest) for bound in (low, high))
    outside = ((values < low - below) | (values > high + above)).any(axis=0)
    if outside.any():
        i = int(outside.argmax())
        shown = f"{values[:, i].min():.4g} to {values[:, i].max():.4g}"
        raise MethodError(
            f"{what}[{i}] of the demonstrations is {shown}, but {low[i]:.4g} to {high[i]:.4g} is possible in {task}; "
            "are its units right (m, rad, s, Nm), and its order?"
        )


def method_view(environment: Env, name: str, horizon: int) -> Env:
    """An environment of the task `name` as methods see it, whose episodes end after `horizon` steps at the latest."""
    registered = environment.spec.max_episode_steps if environment.spec else None
    if registered is None or registered > horizon:
        environment = TimeLimit(environment, horizon)
    return MethodView(environment, name)


def with_fractions(demonstrations: Demonstrations, bounds: ActionBounds) -> Demonstrations:
    """Demonstrations for a method: actions are fractions, and the arrays share no memory with the suite's."""
    fields = {name: getattr(demonstrations, name) for name in ("observations", "episode", "time_step", "terminal")}
    if demonstrations.actions is not None:
        taken = ~demonstrations.terminal
        fields["actions"] = np.zeros_like(demonstrations.actions)
        fields["actions"][taken] = bounds.to_fractions(demonstrations.actions[taken])
    return replace(demonstrations, **{name: array.copy() for name, array in fields.items()})
