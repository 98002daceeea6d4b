"""The environments of a trial: as methods see them, seeded, counted, and closed with the trial."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

import gymnasium
import numpy as np

from envs import tasks
from envs.insertion.errors import SimulationUnstable
from methods.checkpointing import can_be_captured, environment_state, set_environment_state
from methods.env_group import Env, SingleEnvs, close_all
from methods.interface import Budget, BudgetExceeded, Diverged, EnvGroup, MethodError, SeedStreams, State, Task
from methods.task_boundary import method_view

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from envs.insertion.base import InsertionEnv
    from envs.insertion.vector import InsertionVector
    from envs.sb3 import GroupVecEnv

ELSEWHERE = (
    "an environment of context was stepped or reset in another process, where nothing is counted; "
    "use context.make_vector_env or context.make_env_group, which step many in this one"
)


class Counter:
    """What a method used: environment steps and episodes, summed over all environments, and queries of the expert."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.steps = self.episodes = self.queries = 0
        self._process = os.getpid()
        self._left = mmap.mmap(-1, 1)  # shared with forked processes

    def require_own_process(self) -> None:
        """Raises MethodError in any process but that of the trial, which is then told so by `left_process`."""
        if os.getpid() != self._process:
            self._left[0] = 1
            raise MethodError(ELSEWHERE)

    @property
    def left_process(self) -> bool:
        """Whether another process tried to use an environment."""
        return bool(self._left[0])

    def __reduce__(self) -> NoReturn:
        raise MethodError(ELSEWHERE)  # it is being sent to another process

    def charge(self, actions: np.ndarray, steps: int = 1) -> None:
        """Before `steps` steps: raises BudgetExceeded where they are too many, Diverged for an action not finite."""
        self.require_own_process()
        if self.steps + steps > self.budget.environment_steps:
            raise BudgetExceeded(
                f"the budget of {self.budget.environment_steps} environment steps is spent; ask for no more"
            )
        if not np.isfinite(actions).all():
            raise Diverged(f"an action in environment step {self.steps + 1} is not finite")

    def add(self, observations: np.ndarray, episodes: int, steps: int = 1) -> None:
        """After steps with which so many episodes ended; raises Diverged where an observation is not finite."""
        if not np.isfinite(observations).all():
            raise Diverged(f"the observation after environment step {self.steps + 1} is not finite")
        self.steps += steps
        self.episodes += episodes

    def query(self) -> None:
        """Before a query of the expert; raises BudgetExceeded where it is one too many."""
        self.require_own_process()
        if self.queries >= self.budget.expert_queries:
            raise BudgetExceeded(f"the budget of {self.budget.expert_queries} expert queries is spent; ask for no more")
        self.queries += 1


class CountedEnv(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """A single environment whose steps are counted.

    Its first reset is seeded even where the method gives no seed, so that a trial can be repeated.

    Attributes:
        number: how many were made before it in its trial.
        episode: how many episodes have begun; 0 before the first.
        running: whether an episode is running.
        open: whether it has not been closed; the trial closes it where the method does not.
        counter: counts its steps.
    """

    def __init__(self, environment: Env, counter: Counter, number: int, seed: int) -> None:
        super().__init__(environment)
        self.number, self.episode, self.running, self.open = number, 0, False, True
        self.counter = counter
        self._seed: int | None = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.counter.require_own_process()
        chosen, self._seed = (self._seed if seed is None else seed), None
        found = self.env.reset(seed=chosen, options=options)
        self.episode, self.running = self.episode + 1, True
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.counter.charge(action)
        result = self.env.step(action)
        self.running = not (result[2] or result[3])
        self.counter.add(result[0], not self.running)
        return result

    def get_state(self) -> State:
        own = {"number": self.number, "seed": self._seed, "episode": self.episode, "running": self.running}
        return own | {"environment": environment_state(self.env)}

    def set_state(self, state: State) -> None:
        self.number, self._seed = state["number"], state["seed"]
        self.episode, self.running = state["episode"], state["running"]
        set_environment_state(self.env, state["environment"])

    def can_be_captured(self) -> bool:
        """Whether its state can be saved."""
        return can_be_captured(self.env)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.env.close()


class CountedGroup(EnvGroup):
    """A group of environments whose steps and episodes are counted.

    Attributes:
        open: see `CountedEnv`.
    """

    def __init__(self, group: InsertionVector | SingleEnvs, counter: Counter) -> None:
        self._group, self._counter, self.open = group, counter, True

    @property
    def environments(self) -> Sequence[Env]:
        """The single environments, whose own steps are not counted."""
        return self._group.environments

    def reset(self, seeds: Sequence[int | None], rows: Sequence[int]) -> np.ndarray:
        self._counter.require_own_process()
        return self._group.reset(seeds, rows)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        self._counter.charge(actions, len(rows))
        observations, reasons = self._group.step(actions, rows)
        if "unstable" in reasons:
            raise Diverged(f"the simulation became unstable after environment step {self._counter.steps}")
        self._counter.add(observations, sum(map(bool, reasons)), len(rows))
        return observations, reasons

    def get_state(self) -> State:
        return {"environments": [environment_state(environment) for environment in self.environments]}

    def set_state(self, state: State) -> None:
        for environment, kept in zip(self.environments, state["environments"], strict=True):
            set_environment_state(environment, kept)

    def can_be_captured(self) -> bool:
        """Whether its state can be saved."""
        return all(can_be_captured(environment) for environment in self.environments)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._group.close()


class TrialEnvironments:
    """Makes the environments of one trial.

    Attributes:
        can_be_captured: whether a snapshot can hold all of them; also after they were closed.
        seeded: how many single environments have been given a seed, side by side or alone.
    """

    def __init__(self, task: Task, seeds: SeedStreams, counter: Counter) -> None:
        self._task, self._seeds, self._counter = task, seeds, counter
        self._made: list[tuple[CountedEnv | CountedGroup, CountedEnv | GroupVecEnv | None]] = []
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
        self._keep(group, None)
        return group

    @property
    def running(self) -> list[CountedEnv | GroupVecEnv]:
        """Those open ones in whose episodes a snapshot may fall, in the order they were made.

        Episodes of a group are whole within a call of the method, so no snapshot falls into them.
        """
        return [running for one, running in self._made if one.open and running is not None]

    def close(self) -> None:
        """Close all that are open; raises the first error after all were tried."""
        close_all([one for one, _ in self._made])

    def _keep(self, made: CountedEnv | CountedGroup, running: CountedEnv | GroupVecEnv | None) -> None:
        self._made = [pair for pair in self._made if pair[0].open]
        self._made.append((made, running))
        self.can_be_captured &= running is None or made.can_be_captured()

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
