"""The environments of a task: side by side, and those of a trial, which are seeded and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from benchmarks.trial.counting import Counted, CountedGroup, Counter
from envs import tasks
from envs.insertion.base import InsertionEnv
from envs.insertion.errors import SimulationUnstable
from envs.insertion.vector import InsertionVector
from methods.checkpointing import can_be_captured
from methods.env_group import SingleEnvs
from methods.interface import EnvGroup, SeedStreams, Task

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from benchmarks.trial.vectors import CountedInsertions


class CountedEnvironments:
    """Makes the environments of one trial.

    Attributes:
        made: those with an episode that outlives a call of the method, in the order they were made.
    """

    def __init__(self, task: Task, seeds: SeedStreams, counter: Counter) -> None:
        self.made: list[Counted | CountedInsertions] = []
        self._task, self._seeds, self._counter = task, seeds, counter
        self._seeded = 0

    def single(self) -> Counted:
        """See `FitContext.make_env`."""
        environment = Counted(_make(self._task), self._counter, self._seed())
        self.made.append(environment)
        return environment

    def vector(self, count: int) -> VecEnv:
        """See `FitContext.make_vector_env`; the insertion tasks are stepped together, with the seeds of single ones."""
        first = _make(self._task)
        if isinstance(first, InsertionEnv):
            from benchmarks.trial.vectors import CountedInsertions  # here, because it takes a second to import

            together = CountedInsertions(first, [self._seed() for _ in range(count)], self._counter)
            self.made.append(together)
            return together
        from stable_baselines3.common.vec_env import DummyVecEnv

        first.close()
        return DummyVecEnv([self.single] * count)

    def group(self, count: int) -> EnvGroup:
        """See `FitContext.make_env_group`."""
        return CountedGroup(make_group(self._task, count), self._counter)

    def can_be_captured(self) -> bool:
        """Whether the state of all that were made can be saved."""
        return all(can_be_captured(one.env) for one in self.made if isinstance(one, Counted))

    def _seed(self) -> int:
        self._seeded += 1
        return self._seeds.integer(f"environment {self._seeded}")


def make_group(task: Task, count: int) -> EnvGroup:
    """`count` environments of a task, the insertion tasks stepped together; nothing is counted."""
    first = _make(task)
    if isinstance(first, InsertionEnv):
        return InsertionVector(first, count)
    first.close()
    return _Singles(lambda: _make(task), count, task.horizon)


def _make(task: Task) -> gymnasium.Env[np.ndarray, np.ndarray]:
    return tasks.make(task.id)


class _Singles(SingleEnvs):
    """Single environments of a task from elsewhere, whose simulations may become unstable too."""

    def step_one(self, row: int, action: np.ndarray) -> tuple[np.ndarray, str]:
        try:
            observation, reason = super().step_one(row, action)
        except SimulationUnstable:
            observation, reason = np.full(self.environments[row].observation_space.shape or (), np.nan), ""
        return observation, reason if np.isfinite(observation).all() else "unstable"
