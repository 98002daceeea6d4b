"""A `FitContext` without a runner, for the conformance check, comparisons of speed and tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from methods.conformance.point_task import TASK, PointTask
from methods.counting import (
    CountedEnv,
    CountedGroup,
    Counter,
    SteppedTogether,
    counted_environment,
    real_number,
    whole_number,
)
from methods.env_group import Env, SingleEnvs
from methods.interface import Budget, EnvGroup, Expert, FitContext, Policy, SeedStreams, State, Stopped, Task

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


class PlainContext(FitContext):
    """Counts, enforces the budget and keeps what a method tells it; evaluates nothing.

    Attributes:
        reports: (gradient step, scalars) in the order they came.
        checkpoints: (progress, gradient steps) in the order they came.
        offers: which checkpoints made in this context, counted from 1, offered a snapshot.
        counter: of steps and episodes in the environments made here, and queries of the demonstrator.
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
        group: Callable[[int], SteppedTogether] | None = None,
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
        self.counter = Counter(budget)
        self.ignored_stop = False
        self._environment, self._group, self._vector = environment, group, vector
        self._watch, self._stop_at, self._after = watch, stop_at, after
        self._kept: tuple[str, dict[str, np.ndarray]] | None = None
        self._environments: list[CountedEnv | CountedGroup] = []
        self._made = self._checkpoints_here = 0

    @property
    def environment_steps(self) -> int:
        return self.counter.steps

    @property
    def episodes(self) -> int:
        return self.counter.episodes

    @property
    def expert_queries(self) -> int:
        return self.counter.queries

    def make_env(self) -> Env:
        self._made += 1
        seed = self.seeds.integer(f"environment {self._made}")
        self._environments.append(made := CountedEnv(self._environment(), self.counter, self._made - 1, seed))
        return made

    def make_vector_env(self, count: int) -> VecEnv:
        if self._vector:
            return self._vector(count)
        from stable_baselines3.common.vec_env import DummyVecEnv  # here, because it imports torch

        return DummyVecEnv([self.make_env] * count)

    def make_env_group(self, count: int) -> EnvGroup:
        make = self._group or (lambda count: SingleEnvs([self._environment() for _ in range(count)]))
        self._environments.append(group := CountedGroup(make(count), self.counter))
        return group

    def report(self, step: int, **scalars: float) -> None:
        self.reports.append((step, scalars))

    def checkpoint(
        self,
        policy: Policy,
        progress: float,
        gradient_steps: int,
        snapshot: Callable[[], State] | None = None,
    ) -> None:
        self.counter.require_own_process()
        self.checkpoints.append((real_number("progress", progress), whole_number("gradient_steps", gradient_steps)))
        self._watch(policy)
        self._checkpoints_here += 1
        number = self._checkpoints_here
        if snapshot is not None:
            self.offers.append(number)
        if not self._stop_at or number < self._stop_at:
            return
        if number == self._stop_at and snapshot is not None:
            from methods.checkpointing import capture, pack  # here, because it imports torch

            training = capture(snapshot(), self._running)  # first, as it may wait for steps that count
            kept = {"reports": self.reports, "checkpoints": self.checkpoints, "counts": self.counts}
            self._kept = pack(kept | {"training": training})
        self.ignored_stop = number > self._stop_at
        raise Stopped("the suite stops this training")

    def resume(self) -> State | None:
        if self._after is None or self._after._kept is None:
            return None
        from methods.checkpointing import restore, unpack

        state = unpack(*self._after._kept)
        self.reports = [(step, scalars) for step, scalars in state["reports"]]
        self.checkpoints = [(progress, steps) for progress, steps in state["checkpoints"]]
        self.counter.steps, self.counter.episodes, self.counter.queries, self._made = state["counts"]
        return restore(state["training"], self._running)

    @property
    def counts(self) -> list[int]:
        """Steps, episodes, queries, and environments made."""
        return [self.counter.steps, self.counter.episodes, self.counter.queries, self._made]

    @property
    def _running(self) -> list[CountedEnv | CountedGroup]:
        """Those in whose episodes a snapshot may fall."""
        return [environment for environment in self._environments if environment.open]


class _CountedExpert:
    """The demonstrator of a context's environments, whose answers are counted."""

    def __init__(self, context: PlainContext) -> None:
        self._context = context

    def action(self, environment: Env) -> np.ndarray:
        """See `Expert.action`."""
        inside: Any = counted_environment(environment, self._context.counter).unwrapped
        self._context.counter.query()
        # A demonstrator without history, so that its answers are the same after a training was resumed.
        rng = self._context.seeds.generator(f"expert query {self._context.expert_queries}")
        return np.asarray(inside.make_expert(rng).act(), np.float32)
