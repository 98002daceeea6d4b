"""A `FitContext` without a runner, for the conformance check, comparisons of speed and tests."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from methods.conformance.point_task import TASK, PointTask
from methods.env_group import Env, SingleEnvs
from methods.interface import (
    Budget,
    BudgetExceeded,
    EnvGroup,
    Expert,
    FitContext,
    MethodError,
    Policy,
    SeedStreams,
    State,
    Stopped,
    Task,
)

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


class PlainContext(FitContext):
    """Counts, enforces the budget and keeps what a method tells it; evaluates nothing.

    Attributes:
        reports: (gradient step, scalars) in the order they came.
        checkpoints: (progress, gradient steps) in the order they came.
        offers: which checkpoints made in this context, counted from 1, offered a snapshot.
        counts: "environments" made, "steps" and "episodes" in them, and "queries" of the demonstrator.
        ignored_stop: whether the method kept training after `Stopped` was raised.
    """

    def __init__(
        self,
        budget: Budget,
        seed: int,
        scratch: Path,
        task: Task = TASK,
        environment: Callable[[], Env] = PointTask,
        *,
        group: Callable[[int], EnvGroup] | None = None,
        vector: Callable[[int], VecEnv] | None = None,
        watch: Callable[[Policy], None] = lambda policy: None,
        stop_at: int = 0,
        after: PlainContext | None = None,
    ) -> None:
        """Make a context for one training.

        Args:
            budget, seed, scratch, task: see `FitContext`. There is an expert if the budget allows queries and the
                environment has `make_expert(rng)`.
            environment: makes one environment.
            group: makes `count` environments for `make_env_group`; None makes single ones.
            vector: makes `count` environments for `make_vector_env`, uncounted; None makes single, counted ones.
            watch: called with the policy of every checkpoint.
            stop_at: raise Stopped at this checkpoint made here, counted from 1, and at all later ones; 0 never does.
            after: the context of a stopped training, whose snapshot `resume` returns.
        """
        self.task = task
        self.budget = budget
        self.seeds = SeedStreams(seed)
        self.device = "cpu"
        self.scratch = scratch
        self.expert: Expert | None = None
        if budget.expert_queries and hasattr(environment, "make_expert"):
            self.expert = _CountedExpert(self)
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.checkpoints: list[tuple[float, int]] = []
        self.offers: list[int] = []
        self.counts = {"environments": 0, "steps": 0, "episodes": 0, "queries": 0}
        self.ignored_stop = False
        self._environment, self._group, self._vector = environment, group, vector
        self._watch, self._stop_at, self._after = watch, stop_at, after
        self._kept: tuple[str, dict[str, np.ndarray]] | None = None
        self._environments: list[Env] = []
        self._made_here = 0
        self._process = os.getpid()

    @property
    def environment_steps(self) -> int:
        return self.counts["steps"]

    @property
    def episodes(self) -> int:
        return self.counts["episodes"]

    @property
    def expert_queries(self) -> int:
        return self.counts["queries"]

    @property
    def used_elsewhere(self) -> bool:
        """Whether an environment was made or stepped in another process, where nothing can be counted."""
        return self._mark.exists()

    @property
    def _mark(self) -> Path:
        return self.scratch.with_name(f"{self.scratch.name}.other-process")

    def require_own_process(self) -> None:
        """Raises MethodError in any process but the one that made this context."""
        if os.getpid() != self._process:
            with suppress(OSError):
                self._mark.touch()
            raise MethodError(OTHER_PROCESS)

    def spend(self, steps: int) -> None:
        """Count control steps before they are taken; raises BudgetExceeded where they are too many."""
        self.require_own_process()
        if self.counts["steps"] + steps > self.budget.environment_steps:
            raise BudgetExceeded(f"the budget of {self.budget.environment_steps} environment steps is spent")
        self.counts["steps"] += steps

    def make_env(self) -> Env:
        self.require_own_process()
        self.counts["environments"] += 1
        seed = self.seeds.integer(f"environment {self.counts['environments']}")
        self._environments.append(self._environment())
        return _Counted(self._environments[-1], seed, self)

    def make_vector_env(self, count: int) -> VecEnv:
        if self._vector:
            return self._vector(count)
        from stable_baselines3.common.vec_env import DummyVecEnv  # here, because it imports torch

        return DummyVecEnv([self.make_env] * count)

    def make_env_group(self, count: int) -> EnvGroup:
        if self._group:
            return _CountedGroup(self._group(count), self)
        return SingleEnvs([self.make_env() for _ in range(count)])

    def report(self, step: int, **scalars: float) -> None:
        self.reports.append((step, scalars))

    def checkpoint(
        self,
        policy: Policy,
        progress: float,
        gradient_steps: int,
        snapshot: Callable[[], State] | None = None,
    ) -> None:
        self.require_own_process()
        self.checkpoints.append((_fraction(progress), _count(gradient_steps)))
        self._watch(policy)
        self._made_here += 1
        number = self._made_here
        if snapshot is not None:
            self.offers.append(number)
        if not self._stop_at or number < self._stop_at:
            return
        if number == self._stop_at and snapshot is not None:
            from methods.checkpointing import capture, pack  # here, because it imports torch

            told = {"reports": self.reports, "checkpoints": self.checkpoints, "counts": self.counts}
            self._kept = pack(told | {"training": capture(snapshot(), self._environments)})
        self.ignored_stop = number > self._stop_at
        raise Stopped("the suite stops this training")

    def resume(self) -> State | None:
        if self._after is None or self._after._kept is None:
            return None
        from methods.checkpointing import restore, unpack

        state = unpack(*self._after._kept)
        self.reports = [(step, scalars) for step, scalars in state["reports"]]
        self.checkpoints = [(progress, steps) for progress, steps in state["checkpoints"]]
        self.counts |= state["counts"]
        return restore(state["training"], self._environments)


OTHER_PROCESS = (
    "an environment of this context was used in another process, where its steps cannot be counted; "
    "use context.make_vector_env(count), and step it in the process that called fit"
)


class _Counted(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """An environment whose steps and episodes are counted."""

    def __init__(self, env: Env, seed: int, context: PlainContext) -> None:
        super().__init__(env)
        self.context = context
        env.reset(seed=seed)  # so that a method which never seeds it is still repeatable

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.context.spend(1)
        result = self.env.step(action)
        self.context.counts["episodes"] += bool(result[2] or result[3])
        return result


class _CountedGroup:
    """A group of environments whose steps and episodes are counted."""

    def __init__(self, group: EnvGroup, context: PlainContext) -> None:
        self._inner, self._context = group, context

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        return self._inner.reset(seeds, rows)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        self._context.spend(len(rows))
        observations, reasons = self._inner.step(actions, rows)
        self._context.counts["episodes"] += sum(map(bool, reasons))
        return observations, reasons

    def close(self) -> None:
        self._inner.close()


class _CountedExpert:
    """The demonstrator of a context's environments, whose answers are counted."""

    def __init__(self, context: PlainContext) -> None:
        self._context = context

    def action(self, environment: Env) -> np.ndarray:
        """See `Expert.action`."""
        counted: Any = environment
        while isinstance(counted, gymnasium.Wrapper) and not isinstance(counted, _Counted):
            counted = counted.env
        if not isinstance(counted, _Counted) or counted.context is not self._context:
            raise MethodError("the expert answers for environments of its own context; give it one of make_env()")
        counts, limit = self._context.counts, self._context.budget.expert_queries
        if counts["queries"] >= limit:
            raise BudgetExceeded(f"the budget of {limit} expert queries is spent")
        counts["queries"] += 1
        unwrapped: Any = counted.unwrapped
        # A demonstrator without history, so that its answers are the same after a training was resumed.
        rng = self._context.seeds.generator(f"expert query {counts['queries']}")
        return np.asarray(unwrapped.make_expert(rng).act(), np.float32)


def _fraction(progress: Any) -> float:
    if not _is_number(progress):
        raise MethodError(f"context.checkpoint was given progress {progress!r}; a number from 0 to 1 is needed")
    return float(progress)


def _count(gradient_steps: Any) -> int:
    if not _is_number(gradient_steps) or gradient_steps != int(gradient_steps) or gradient_steps < 0:
        raise MethodError(f"context.checkpoint was given {gradient_steps!r} gradient steps; give a whole number")
    return int(gradient_steps)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.number) and math.isfinite(value)
