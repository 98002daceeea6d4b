"""The context that a method gets for one trial: counted environments, seeds, and a clock that stops for evaluation."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, NoReturn

import gymnasium
import numpy as np

from benchmarks.records.schema import CurvePoint, Diagnostics, Mode, Rollout, Trial, Usage
from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.clock import Stopwatch, peak_memory_mib
from benchmarks.trial.environments import TrialEnvironments
from benchmarks.trial.evaluation import Evaluator, modes_of
from benchmarks.trial.expert import CountedExpert, has_expert
from benchmarks.trial.protocol import Emit, Notice, Progress
from envs.demonstrations import Demonstrations
from methods import registry
from methods.checkpointing import restore
from methods.counting import ELSEWHERE, CountedEnv, Counter, real_number, whole_number
from methods.env_group import checked_actions, close_all
from methods.interface import (
    Budget,
    Diverged,
    EnvGroup,
    FitContext,
    MethodError,
    Policy,
    SeedStreams,
    State,
    Stopped,
)
from methods.task_boundary import inspect_task, with_fractions

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

SERIES_LENGTH = 256
"""Most points kept of a diagnostic; a longer series is thinned evenly."""
REPORT_SECONDS = 0.5
"""Shortest time between two progress events."""
PROBE = 8
"""Demonstrated observations a policy must answer with finite actions at every checkpoint."""


class TrialContext(FitContext):
    """The `FitContext` of one trial. Close it at the end.

    Attributes:
        demonstrations: what the method learns from: actions are fractions, and no array can be written.
        bounds: of the task's actions, in its own units.
        curve: the evaluations so far.
    """

    def __init__(
        self,
        trial: Trial,
        demonstrations: Demonstrations,
        scratch: Path,
        emit: Emit,
        snapshots: Snapshots,
        stop: threading.Event | None = None,
    ) -> None:
        """Begin a trial; raises MethodError where task and demonstrations do not fit.

        Args:
            trial, demonstrations, scratch: what to do, from what, and a folder for the method.
            emit: tells the runner about progress and evaluations.
            snapshots: keep the state of the training.
            stop: set from outside where the training is to be saved and ended.
        """
        inspection, budget = inspect_task(trial.task, demonstrations), trial.budget
        for warning in inspection.warnings:
            emit(Notice(text=warning))
        self.task, self.bounds = inspection.task, inspection.bounds
        self.demonstrations = with_fractions(demonstrations, self.bounds)
        self.budget = Budget(budget.environment_steps, budget.policy_updates, budget.expert_queries)
        self.seeds = SeedStreams(trial.seed)
        self.device = trial.device
        self.scratch = scratch
        self.curve: list[CurvePoint] = []
        self._evaluation = trial.evaluation
        self._evaluator = Evaluator(self.task)
        self._probe = demonstrations.observations[:PROBE].copy()
        self._emit = emit
        self._series: dict[str, _Series] = {}
        self._unsent: dict[str, _Series] = {}
        self._counter = Counter(self.budget)
        self._environments = TrialEnvironments(self.task, self.seeds, self._counter)
        self._expert = CountedExpert(self.task.id, self.bounds, self.seeds, self._counter)
        self.expert = self._expert if budget.expert_queries and has_expert(self.task) else None
        self._snapshots = snapshots
        self._stop = stop or threading.Event()
        self._stopped: Stopped | None = None
        self._snapshot: State | None = None
        self._looked = False
        self._policy_class = registry.policy_class(registry.resolve(trial.method))
        self._offers_snapshots = False
        self._unsaved: str | None = None
        self._gradient_steps = 0
        self._passed = 0
        self._clock = Stopwatch()
        self._started = self._clock.seconds
        self._evaluating = 0.0
        self._earlier_peak = 0.0
        self._last_event = -math.inf

    @property
    def environment_steps(self) -> int:
        return self._counter.steps

    @property
    def episodes(self) -> int:
        return self._counter.episodes

    @property
    def expert_queries(self) -> int:
        return self._counter.queries

    def require_own_process(self) -> None:
        """Raises MethodError where another process tried to use an environment, even if the method ignored that."""
        if self.left_process:
            raise MethodError(ELSEWHERE)

    @property
    def left_process(self) -> bool:
        """Whether another process tried to use an environment made here."""
        return self._counter.left_process

    def make_env(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        self._snapshots.log_began()
        return self._environments.single()

    def make_vector_env(self, count: int) -> VecEnv:
        self._snapshots.log_began()
        return self._environments.vector(count)

    def make_env_group(self, count: int) -> EnvGroup:
        self._snapshots.log_began()
        return self._environments.group(count)

    def report(self, step: int, **scalars: float) -> None:
        """See `FitContext`; raises Diverged where a scalar is not finite, MethodError where it is no number."""
        place = whole_number("step", step)
        for name, value in scalars.items():
            number = real_number(name, value, finite=False)
            if not math.isfinite(number):
                raise Diverged(f"{name} is {number} at gradient step {place}")
            for kept in (self._series, self._unsent):
                kept.setdefault(name, _Series()).add(place, number)

    def checkpoint(
        self,
        policy: Policy,
        progress: float,
        gradient_steps: int,
        snapshot: Callable[[], State] | None = None,
    ) -> None:
        self._gradient_steps = whole_number("gradient_steps", gradient_steps)
        progress = min(max(real_number("progress", progress), 0.0), 1.0)
        self._try_out(policy)
        if perf_counter() - self._last_event > REPORT_SECONDS:
            self._tell(progress)
        self._offers_snapshots |= snapshot is not None
        unsaved = self.unsaved()
        can_stop = snapshot is not None or bool(unsaved)  # else a later call of this method offers a snapshot
        pending = None
        if self._due(progress):
            try:
                self._evaluate_point(policy, progress, can_stop and self._can_be_saved(policy))
            except Stopped:
                pending = {"progress": progress, "policy": _files_of(policy)}
        stop = self._stop.is_set() and can_stop
        if snapshot is not None and (stop or self._snapshots.due()) and not unsaved:
            with self._clock.stopped():
                training = self._environments.capture(snapshot)
                unsaved = self.unsaved() or self._snapshots.save(
                    self._state() | {"training": training, "expert": self._expert.get_state(), "pending": pending}
                )
        if stop:
            self._end(unsaved)

    def _try_out(self, policy: Policy) -> None:
        """Let an actor answer a few demonstrated observations; raises Diverged or MethodError where it cannot."""
        mode, rows = modes_of(policy)[-1], range(len(self._probe))
        actor = policy.actor(len(rows))
        actor.start(rows)
        actions = actor.act(self._probe.copy(), rows, mode == "mean", np.random.default_rng(0))
        checked_actions(actions, len(rows), self.task.action_size)

    def _end(self, unsaved: str) -> NoReturn:
        self._stopped = Stopped(unsaved)
        raise self._stopped

    def raise_if_stopped(self) -> None:
        """Raise `Stopped` again where `checkpoint` did and the method caught it."""
        if self._stopped is not None:
            raise self._stopped

    def trained_policy(self) -> Policy | None:
        """What an earlier process had trained when it was stopped in its final evaluation; None in all other cases.

        Raises:
            Stopped: as `finish` does, which is to come.
        """
        state = self._load_snapshot()
        if state is None or "trained" not in state:
            return None
        self._restore(state)
        self._unsaved = state["unsaved"]
        return self._load_policy(state["trained"])

    def resume(self) -> State | None:
        state = self._load_snapshot()
        if state is None:
            return None
        self._snapshot = None  # it may be large
        self._offers_snapshots = True
        self._restore(state)
        method = restore(state["training"], self._environments.running)
        singles = [made for made in self._environments.running if isinstance(made, CountedEnv)]
        self._expert.set_state(state["expert"], singles)
        if pending := state["pending"]:
            self._tell(pending["progress"])
            try:
                self._evaluate_point(self._load_policy(pending["policy"]), pending["progress"], can_stop=True)
            except Stopped:
                self._end("")  # the snapshot is still there
        return method

    def _load_snapshot(self) -> State | None:
        """What an earlier process has saved, which is read once."""
        if not self._looked:
            self._looked, self._snapshot = True, self._snapshots.load()
        return self._snapshot

    def _restore(self, state: State) -> None:
        """Take over what an earlier process had counted and reported."""
        self._snapshots.log_began()
        self._snapshots.log_resumed()
        for name, kept in state["series"].items():
            points = [(step, value) for step, value in kept["points"]]
            self._series[name] = _Series(points, kept["count"], kept["stride"])
        for point in map(CurvePoint.model_validate, state["curve"]):
            self.curve.append(point)
            self._emit(point)  # the runner keeps the curve of a process that dies
        self._counter.steps, self._counter.episodes = state["environment_steps"], state["episodes"]
        self._counter.queries = state["expert_queries"]
        self._gradient_steps, self._passed = state["gradient_steps"], state["passed"]
        self._evaluating, self._earlier_peak = state["evaluation_seconds"], state["peak_memory_mib"]
        self._started = self._clock.seconds - state["training_seconds"]
        self._environments.seeded = state["seeded"]

    def unsaved(self) -> str:
        """Why no snapshot can be kept; empty where one can."""
        if self._unsaved is not None:
            return self._unsaved
        if self._snapshots.off:
            return self._snapshots.off
        if not self._offers_snapshots:
            return "the method offers no snapshot"
        if not self._environments.can_be_captured:
            return f"{self.task.id} has no get_state and set_state"
        if not self._expert.can_be_captured():
            return f"the expert of {self.task.id} has no get_state and set_state"
        return ""

    def _state(self) -> State:
        """What has been counted and reported so far."""
        usage = self.usage().model_dump()
        return usage | {
            "series": {name: vars(series) for name, series in self._series.items()},
            "curve": [point.model_dump() for point in self.curve],
            "passed": self._passed,
            "seeded": self._environments.seeded,
        }

    def _can_be_saved(self, policy: Policy) -> bool:
        """Whether this very policy can be evaluated by another process."""
        return type(policy) is self._policy_class

    def _load_policy(self, files: Mapping[str, np.ndarray]) -> Policy:
        """The policy that `_files_of` was given."""
        with TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.tobytes())
            return self._policy_class.load(Path(folder))

    def finish(self, policy: Policy) -> dict[Mode, list[Rollout]]:
        """The final evaluation, which is the last point of the curve as well.

        Raises:
            Stopped: the suite is to stop; `trained_policy` has the policy in the next process.
        """
        self._tell(1.0)
        can_stop = not self._snapshots.off and self._can_be_saved(policy)
        try:
            final = self.evaluate(policy, self._evaluation.rollouts, self._evaluation.first_seed, can_stop)
        except Stopped:
            self._end(self._snapshots.save(self._state() | {"trained": _files_of(policy), "unsaved": self.unsaved()}))
        if self._evaluation.curve_points:
            self._add_point(1.0, final)
        return final

    def evaluate(
        self, policy: Policy, rollouts: int, first_seed: int, can_stop: bool = False
    ) -> dict[Mode, list[Rollout]]:
        """Roll out in every mode that the policy has, while the training clock stands still.

        Raises:
            Stopped: the suite is to stop, and this evaluation `can_stop`.
        """
        before, stop = perf_counter(), self._stop if can_stop else None
        try:
            with self._clock.stopped():
                return {
                    mode: self._evaluator.evaluate(policy, rollouts, first_seed, mode == "mean", stop)
                    for mode in modes_of(policy)
                }
        finally:
            self._evaluating += perf_counter() - before

    def close(self) -> None:
        """Close every environment that was made for the trial; raises the first error after all were tried."""
        close_all([self._environments, self._evaluator])

    def usage(self) -> Usage:
        """What the trial has cost so far."""
        return Usage(
            environment_steps=self.environment_steps,
            episodes=self.episodes,
            gradient_steps=self._gradient_steps,
            training_seconds=self._clock.seconds - self._started,
            evaluation_seconds=self._evaluating,
            peak_memory_mib=max(peak_memory_mib(), self._earlier_peak),
            expert_queries=self.expert_queries,
        )

    def diagnostics(self) -> Diagnostics:
        """What the method reported."""
        return Diagnostics(series={name: series.points for name, series in self._series.items()})

    def _tell(self, progress: float) -> None:
        """Send the runner what is new."""
        self._last_event = perf_counter()
        self._snapshots.log_began()
        scalars = {name: series.points for name, series in self._unsent.items()}
        self._unsent.clear()
        self._emit(Progress(share=min(max(progress, 0.0), 1.0), usage=self.usage(), scalars=scalars))

    def _due(self, progress: float) -> bool:
        """Whether the next of the evenly spaced evaluations has been reached; the last is the final one."""
        points = self._evaluation.curve_points if self._evaluation.curve_rollouts else 0
        reached = math.floor(progress * points + 1e-9)
        if self._passed < reached < points:
            self._passed = reached
            return True
        return False

    def _evaluate_point(self, policy: Policy, progress: float, can_stop: bool) -> None:
        """An evaluation of the learning curve; raises Stopped as `evaluate` does."""
        choice = self._evaluation
        self._add_point(progress, self.evaluate(policy, choice.curve_rollouts, choice.first_seed, can_stop))

    def _add_point(self, progress: float, rollouts: dict[Mode, list[Rollout]]) -> None:
        usage = self.usage()
        point = CurvePoint(
            progress=progress,
            environment_steps=usage.environment_steps,
            episodes=usage.episodes,
            gradient_steps=usage.gradient_steps,
            training_seconds=usage.training_seconds,
            sampled=_success(rollouts.get("sampled")),
            mean=_success(rollouts.get("mean")),
        )
        self.curve.append(point)
        self._emit(point)


def _files_of(policy: Policy) -> dict[str, np.ndarray]:
    """The files of a saved policy, as bytes [n] uint8."""
    with TemporaryDirectory() as temporary:
        policy.save(folder := Path(temporary) / "policy")
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): np.frombuffer(path.read_bytes(), np.uint8) for path in files}


@dataclass
class _Series:
    """A series thinned to every 1st, 2nd, 4th, ... of its points, so that it never holds more than SERIES_LENGTH."""

    points: list[tuple[int, float]] = field(default_factory=list)
    count: int = 0
    stride: int = 1

    def add(self, step: int, value: float) -> None:
        if self.count % self.stride == 0:
            self.points.append((step, value))
        self.count += 1
        if len(self.points) > SERIES_LENGTH:
            self.points = self.points[::2]
            self.stride *= 2


def _success(rollouts: list[Rollout] | None) -> float | None:
    """Fraction of successful rollouts; None where the policy does not have this mode."""
    return sum(rollout.success for rollout in rollouts) / len(rollouts) if rollouts else None
