"""Counts what training uses: steps and episodes of its environments, and queries to the demonstrator.

The suite uses it in trials, the conformance check in its own training runs.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import gymnasium
import numpy as np

from methods.checkpointing import can_be_captured, environment_state, set_environment_state
from methods.env_group import Env
from methods.interface import Budget, BudgetExceeded, Diverged, EnvGroup, MethodError, State

ELSEWHERE = (
    "an environment of context was stepped or reset in another process, where nothing is counted; "
    "use context.make_vector_env or context.make_env_group, which step many in this one"
)


class Counter:
    """What a method used: environment steps and episodes, summed over all environments, and queries of the expert.

    An episode counts when it ends, or when a reset cuts it off after a step.
    """

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
        self._under_way = False  # a step was taken, and the episode has not ended
        self.counter = counter
        self._seed: int | None = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.counter.require_own_process()
        chosen, self._seed = (self._seed if seed is None else seed), None
        found = self.env.reset(seed=chosen, options=options)
        self.counter.episodes += self._under_way
        self.episode, self.running, self._under_way = self.episode + 1, True, False
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.counter.charge(action)
        result = self.env.step(action)
        self.running = self._under_way = not (result[2] or result[3])
        self.counter.add(result[0], not self.running)
        return result

    def get_state(self) -> State:
        own = {"number": self.number, "seed": self._seed, "episode": self.episode, "running": self.running}
        return own | {"environment": environment_state(self.env)}

    def set_state(self, state: State) -> None:
        self.number, self._seed = state["number"], state["seed"]
        self.episode, self.running = state["episode"], state["running"]
        self._under_way = self.running
        set_environment_state(self.env, state["environment"])

    def can_be_captured(self) -> bool:
        """Whether its state can be saved."""
        return can_be_captured(self.env)

    def close(self) -> None:
        if self.open:
            self.open = False
            self.env.close()


def counted_environment(environment: Any, counter: Counter) -> CountedEnv:
    """The counted environment within wrappers of a method's own; raises MethodError if `counter` does not count it."""
    while isinstance(environment, gymnasium.Wrapper) and not isinstance(environment, CountedEnv):
        environment = environment.env
    if not isinstance(environment, CountedEnv) or environment.counter is not counter:
        raise MethodError("the expert can be asked in an environment made by context.make_env() only")
    return environment


class SteppedTogether(EnvGroup, Protocol):
    """A group that shows its single environments, and need not be given seeds."""

    @property
    def environments(self) -> Sequence[Env]:
        """One for each row."""

    def reset(self, seeds: Sequence[int | None], rows: Sequence[int]) -> np.ndarray:
        """See `EnvGroup.reset`; a seed may be None, which continues with the row's own random numbers."""


class CountedGroup(EnvGroup):
    """A group of environments whose steps and episodes are counted.

    Attributes:
        open: see `CountedEnv`.
        running: rows whose episode has begun and not ended.
    """

    def __init__(self, group: SteppedTogether, counter: Counter) -> None:
        self._group, self._counter, self.open = group, counter, True
        self.running: set[int] = set()
        self._under_way: set[int] = set()  # the rows of these in which a step was taken

    @property
    def environments(self) -> Sequence[Env]:
        """The single environments, whose own steps are not counted."""
        return self._group.environments

    def reset(self, seeds: Sequence[int | None], rows: Sequence[int]) -> np.ndarray:
        self._counter.require_own_process()
        observations = self._group.reset(seeds, rows)
        self._counter.episodes += len(self._under_way & set(rows))
        self.running |= set(rows)
        self._under_way -= set(rows)
        return observations

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        self._counter.charge(actions, len(rows))
        observations, reasons = self._group.step(actions, rows)
        if "unstable" in reasons:
            raise Diverged(f"the simulation became unstable after environment step {self._counter.steps}")
        self._counter.add(observations, sum(map(bool, reasons)), len(rows))
        self.running -= {row for row, reason in zip(rows, reasons, strict=True) if reason}
        self._under_way = self._under_way.union(rows) & self.running
        return observations, reasons

    def get_state(self) -> State:
        """Of the rows that are running; in the others nothing is left of an episode."""
        several = enumerate(self.environments)
        return {"environments": [environment_state(one) if row in self.running else None for row, one in several]}

    def set_state(self, state: State) -> None:
        for row, (environment, kept) in enumerate(zip(self.environments, state["environments"], strict=True)):
            if kept is not None:
                set_environment_state(environment, kept)
                self.running.add(row)
                self._under_way.add(row)

    def can_be_captured(self) -> bool:
        """Whether the state of every row could be saved."""
        return all(can_be_captured(environment) for environment in self.environments)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._group.close()


def real_number(name: str, value: Any, finite: bool = True) -> float:
    """A number as a float, whatever library it comes from; raises MethodError where it is none, or not `finite`."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor of several numbers raises the last
        raise MethodError(f"{name} is {value!r:.60}, but a number is needed") from None
    if finite and not math.isfinite(number):
        raise MethodError(f"{name} is {number}, but a finite number is needed")
    return number


def whole_number(name: str, value: Any) -> int:
    """A count as an int, whatever library or type it comes from; raises MethodError where it is no whole number."""
    number = real_number(name, value)
    if not number.is_integer() or number < 0:
        raise MethodError(f"{name} is {value!r:.60}, but a whole number of at least 0 is needed")
    return int(number)
