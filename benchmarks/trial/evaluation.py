"""Evaluation by the suite: the same environment seeds for every method, at no cost to its budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.records.schema import MODES, Mode, Rollout
from benchmarks.trial.environments import is_shipped, make_group
from methods.env_group import Env, Episode, SingleEnvs, roll_out
from methods.interface import EnvGroup, MethodError, Policy, Stopped, Task

if TYPE_CHECKING:
    from envs.insertion.vector import InsertionVector

WIDTH = 20
"""Episodes side by side. A constant, so that a rollout depends on neither their number nor when the others end."""


def modes_of(policy: Policy) -> list[Mode]:
    """The modes of a policy, sampled actions first; raises MethodError where it is no policy, or has none."""
    if not isinstance(policy, Policy):
        raise MethodError(f"a {type(policy).__name__} is not a methods.interface.Policy; return one from fit()")
    modes = [mode for mode in MODES if mode in policy.modes]
    if not modes or set(modes) != set(policy.modes):
        raise MethodError(f"{type(policy).__name__}.modes is {policy.modes!r}; one or both of {MODES} are possible")
    return modes


class Evaluator:
    """Evaluates policies on one task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._group: InsertionVector | SingleEnvs | None = None

    def evaluate(
        self,
        policy: Policy,
        rollouts: int,
        first_seed: int,
        deterministic: bool,
        stop: threading.Event | None = None,
    ) -> list[Rollout]:
        """Roll out a policy with environment seeds `first_seed`, `first_seed + 1`, ...

        Raises:
            Stopped: `stop` was set meanwhile.
            Diverged: an action is not finite.
            MethodError: the task does not say whether an episode succeeded, or the actions have a wrong shape.
        """
        self._group = self._group or make_group(self._task, WIDTH)
        found: list[Rollout] = []
        for start in range(first_seed, first_seed + rollouts, WIDTH):
            episodes = roll_out(
                self._group if stop is None else _Stoppable(self._group, stop),
                policy,
                range(start, min(start + WIDTH, first_seed + rollouts)),
                action_size=self._task.action_size,
                width=WIDTH,
                deterministic=deterministic,
                rng=np.random.default_rng(start),
            )
            found += [rollout_of(episode, self._task.dt, self._group.environments[0]) for episode in episodes]
        return found

    def close(self) -> None:
        """Close the environments."""
        if self._group:
            self._group.close()
        self._group = None


class _Stoppable(EnvGroup):
    """A group whose steps raise `Stopped` once an event is set."""

    def __init__(self, group: EnvGroup, stop: threading.Event) -> None:
        self._group, self._stop = group, stop

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        return self._group.reset(seeds, rows)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        if self._stop.is_set():
            raise Stopped
        return self._group.step(actions, rows)

    def close(self) -> None:
        self._group.close()


def rollout_of(episode: Episode, dt: float, environment: Env) -> Rollout:
    """What a record keeps of an episode of this environment or its like, whose steps last `dt` seconds."""
    misses, retries = environment.misses_and_retries(episode.observations) if is_shipped(environment) else (None, None)
    return Rollout(
        seed=episode.seed,
        success=episode.end == "success",
        seconds=round(len(episode.actions) * dt, 6),
        end=episode.end,
        misses=misses,
        retries=retries,
    )
