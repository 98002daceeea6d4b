"""Whole episodes in parallel: a group of single environments, and the lockstep rollout of a policy in any group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np

from methods.interface import Actor, Diverged, EnvGroup, MethodError

Env = gymnasium.Env[np.ndarray, np.ndarray]


class SingleEnvs(EnvGroup):
    """A group of single environments, stepped one after the other; each ends its own episodes."""

    def __init__(self, environments: Sequence[Env], unstable: tuple[type[Exception], ...] = ()) -> None:
        """`unstable`: exceptions of a step that end its episode as "unstable", as non-finite observations do."""
        self.environments = list(environments)
        self._unstable = unstable

    def reset(self, seeds: Sequence[int | None], rows: Sequence[int]) -> np.ndarray:
        """See `EnvGroup.reset`; a seed may be None, which continues with the row's own random numbers."""
        chosen = zip(rows, seeds, strict=True)
        return np.array([self.environments[row].reset(seed=seed)[0] for row, seed in chosen], np.float32)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        found = [self._step_one(row, action) for row, action in zip(rows, actions, strict=True)]
        return np.array([observation for observation, _ in found], np.float32), [reason for _, reason in found]

    def _step_one(self, row: int, action: np.ndarray) -> tuple[np.ndarray, str]:
        environment = self.environments[row]
        try:
            observation, _, terminated, truncated, info = environment.step(action)
        except self._unstable:
            return np.full(environment.observation_space.shape or (), np.nan), "unstable"
        if not np.isfinite(observation).all():
            return observation, "unstable"
        return observation, end_reason(info, terminated, truncated)

    def close(self) -> None:
        """Close each; raises the first error after all were tried."""
        close_all(self.environments)


class Closable(Protocol):
    """Something to be closed."""

    def close(self) -> None:
        """Close it."""


def close_all(several: Sequence[Closable]) -> None:
    """Close each of them; raises the first error after all were tried."""
    errors = []
    for one in several:
        try:
            one.close()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def end_reason(info: dict[str, Any], terminated: bool, truncated: bool) -> str:
    """How an episode ends with this step, in a word; empty while it is running.

    A failure by termination may have a word of the task's own, `info["end_reason"]`; truncation is always "timeout".

    Raises:
        MethodError: it ends, and the task does not say whether it succeeded.
    """
    if not (terminated or truncated):
        return ""
    if "is_success" not in info:
        raise MethodError("the task does not set info['is_success'] where an episode ends, and nothing else counts")
    if info["is_success"]:
        return "success"
    return str(info.get("end_reason") or "workspace") if terminated else "timeout"


class ActorSource(Protocol):
    """What can be rolled out: a `Policy`, or anything else with actors."""

    def actor(self, count: int) -> Actor:
        """See `Policy.actor`."""


@dataclass(frozen=True)
class Episode:
    """A whole episode of T steps.

    Attributes:
        seed: of the environment's reset.
        observations: [T + 1, O] float32.
        actions: [T, A] float32, fractions of the task's bounds.
        end: how it ended, see `EnvGroup.step`.
    """

    seed: int
    observations: np.ndarray
    actions: np.ndarray
    end: str


def roll_out(
    group: EnvGroup,
    policy: ActorSource,
    seeds: Sequence[int],
    *,
    action_size: int,
    width: int,
    deterministic: bool,
    rng: np.random.Generator,
    after_step: Callable[[int], object] = lambda step: None,
) -> list[Episode]:
    """One episode per seed, in lockstep, until all have ended.

    The actor has `width` rows and acts on all of them at every step, whoever is still running: matrix products round
    differently for different numbers of rows, so only then does an episode depend on nothing but the policy, its seed,
    its row and `rng`. Rows without an episode see row 0's first observation.

    Args:
        group: environments 0, 1, ... for the seeds, and as many as there are seeds.
        policy: gives the actor.
        seeds: at most `width`.
        action_size: A.
        width: rows of the actor.
        deterministic: see `Actor.act`.
        rng: for the actor.
        after_step: called with the number of steps taken, first with 0 after the reset.

    Raises:
        Diverged: an action is not finite.
        MethodError: the actions have a wrong shape, or the task does not say whether an episode succeeded.
    """
    if not 1 <= len(seeds) <= width:
        raise ValueError(f"{len(seeds)} seeds for an actor of {width} rows: 1 to {width} are possible")
    running, everyone = list(range(len(seeds))), list(range(width))
    first = group.reset(seeds, running)
    current = np.concatenate([first, np.repeat(first[:1], width - len(seeds), axis=0)]).astype(np.float32)
    actor = policy.actor(width)
    actor.start(everyone)
    seen, taken, ends = [current.copy()], list[np.ndarray](), dict[int, str]()
    lengths = [0] * len(seeds)
    after_step(0)
    while running:
        # A copy, because a policy may normalise in place.
        actions = checked_actions(actor.act(current.copy(), everyone, deterministic, rng), width, action_size)
        current[running], reasons = group.step(actions[running], running)
        seen.append(current.copy())
        taken.append(actions)
        for row, end in zip(running, reasons, strict=True):
            lengths[row] += 1
            if end:
                ends[row] = end
            if end == "unstable":
                current[row] = 0.0  # it need not be finite
        running = [row for row in running if row not in ends]
        after_step(len(taken))
    states, moves = np.array(seen), np.array(taken)
    return [
        Episode(seed, states[: length + 1, row], moves[:length, row], ends[row])
        for row, (seed, length) in enumerate(zip(seeds, lengths, strict=True))
    ]


def checked_actions(actions: np.ndarray, rows: int, action_size: int) -> np.ndarray:
    """A copy of a policy's actions, [rows, A] float32.

    Raises:
        Diverged: one is not finite.
        MethodError: they have another shape.
    """
    try:
        found = np.array(actions, dtype=np.float32)
    except (TypeError, ValueError):
        raise MethodError(f"the policy's actions are {type(actions).__name__}, not an array of numbers") from None
    if found.shape != (rows, action_size):
        raise MethodError(f"the policy's actions have shape {found.shape}, not {(rows, action_size)}")
    if not np.isfinite(found).all():
        raise Diverged("the policy's actions are not finite")
    return found
