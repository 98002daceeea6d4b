"""The environments of a trial: as methods see them, seeded, counted, and closed with the trial."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard

from envs import tasks
from envs.insertion.errors import SimulationUnstable
from methods.checkpointing import capture
from methods.counting import CountedEnv, CountedGroup, Counter
from methods.env_group import Env, SingleEnvs, close_all
from methods.interface import EnvGroup, MethodError, SeedStreams, State, Task
from methods.task_boundary import method_view

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from envs.insertion.base import InsertionEnv
    from envs.insertion.vector import InsertionVector
    from envs.sb3 import GroupVecEnv


class TrialEnvironments:
    """Makes the environments of one trial.

    Attributes:
        can_be_captured: whether a snapshot can hold all of them, also after they were closed; of a group only where
            it falls into an episode.
        seeded: how many single environments have been given a seed, side by side or alone.
    """

    def __init__(self, task: Task, seeds: SeedStreams, counter: Counter) -> None:
        self._task, self._seeds, self._counter = task, seeds, counter
        self._made: list[tuple[CountedEnv | CountedGroup, CountedEnv | CountedGroup | GroupVecEnv]] = []
        self.seeded = 0
        self.can_be_captured = True

    def single(self) -> CountedEnv:
        """See `FitContext.make_env`."""
        number = self.seeded
        environment = CountedEnv(make_environment(self._task), self._counter, number, self._seed())
        self._keep(environment, environment)
        return environment

    def vector(self, count: int) -> VecEnv:
        """See `FitContext.make_vector_env`; its first reset has the seeds of `count` single environments."""
        from envs.sb3 import GroupVecEnv

        group = CountedGroup(make_group(self._task, count), self._counter)
        found = GroupVecEnv(group, [self._seed() for _ in range(count)])
        self._keep(group, found)
        return found

    def group(self, count: int) -> EnvGroup:
        """See `FitContext.make_env_group`."""
        group = CountedGroup(make_group(self._task, count), self._counter)
        self._keep(group, group)
        return group

    @property
    def running(self) -> list[CountedEnv | CountedGroup | GroupVecEnv]:
        """Those open ones in whose episodes a snapshot may fall, in the order they were made, groups last."""
        made = [running for one, running in self._made if one.open]
        return sorted(made, key=lambda running: isinstance(running, CountedGroup))

    def capture(self, snapshot: Callable[[], State]) -> State | None:
        """The state of the training, see `methods.checkpointing.capture`; None where not all `can_be_captured`.

        The last groups are left out if nothing runs in them, since a resumed method need not make them again.
        """
        method = snapshot()  # first, since it may wait for episodes that another thread steps
        running = self.running
        while running and isinstance(running[-1], CountedGroup) and not running[-1].running:
            running.pop()
        groups = [one for one in running if isinstance(one, CountedGroup) and one.running]
        self.can_be_captured &= all(group.can_be_captured() for group in groups)
        return capture(method, running) if self.can_be_captured else None

    def close(self) -> None:
        """Close all that are open; raises the first error after all were tried."""
        close_all([one for one, _ in self._made])

    def _keep(self, made: CountedEnv | CountedGroup, running: CountedEnv | CountedGroup | GroupVecEnv) -> None:
        self._made = [pair for pair in self._made if pair[0].open]
        self._made.append((made, running))
        self.can_be_captured &= isinstance(running, CountedGroup) or made.can_be_captured()

    def _seed(self) -> int:
        self.seeded += 1
        return self._seeds.integer(f"environment {self.seeded}")


def make_environment(task: Task) -> Env:
    """An environment of a task as methods see it, whose episodes end after `task.horizon` steps at the latest.

    A shipped task is that by itself, and without a wrapper.
    """
    environment = tasks.make(task.id)
    return environment if is_shipped(environment) else method_view(environment, task.id, task.horizon)


def is_shipped(environment: Env) -> TypeGuard[InsertionEnv]:
    """Whether this is one of the suite's own tasks without wrappers; MuJoCo is not imported to find out."""
    base = sys.modules.get("envs.insertion.base")
    return base is not None and isinstance(environment, base.InsertionEnv)


def make_group(task: Task, count: int) -> InsertionVector | SingleEnvs:
    """`count` environments of a task, shipped ones stepped together; nothing is counted."""
    if count < 1:
        raise MethodError(f"{count} environments: at least one is needed")
    first = make_environment(task)
    if is_shipped(first):
        from envs.insertion.vector import InsertionVector

        return InsertionVector(first, count)
    made = [first]
    try:
        made += [make_environment(task) for _ in range(count - 1)]
    except BaseException:
        close_all(made)
        raise
    return SingleEnvs(made, unstable=(SimulationUnstable,))
