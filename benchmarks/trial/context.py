"""What a method gets from the suite for one trial: counted environments, seeds, a clock that stops for evaluation."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import gymnasium
import numpy as np

from benchmarks.records.schema import CurvePoint, Diagnostics, Rollout, Trial, Usage
from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.clock import Stopwatch, peak_memory_mib
from benchmarks.trial.counting import Counter
from benchmarks.trial.environments import CountedEnvironments
from benchmarks.trial.evaluation import Evaluator, checked_actions
from benchmarks.trial.protocol import Emit, Progress
from envs import tasks
from envs.demonstrations import Demonstrations
from methods.checkpointing import capture, restore
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
    Task,
)

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

SERIES_LENGTH = 256
"""Most points kept of a diagnostic; a longer series is thinned evenly."""
REPORT_SECONDS = 0.5
"""Shortest time between two progress events."""
PROBE = 8
"""Demonstrated observations a policy must answer with finite actions at every checkpoint."""


def describe_task(name: str, demonstrations: Demonstrations) -> Task:
    """What a method may know about a task; its `kinematic_error` is the environment's, where that has one.

    Raises:
        MethodError: the environment has no time limit or no flat boxes as spaces, or does not fit the demonstrations.
    """
    environment = tasks.make(name)
    observations, actions = environment.observation_space, environment.action_space
    limit = environment.spec.max_episode_steps if environment.spec else None
    horizon = getattr(environment.unwrapped, "horizon", limit)
    dt = getattr(environment.unwrapped, "dt", demonstrations.dt)
    for space in (observations, actions):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise MethodError(f"{name}: observations and actions must be one-dimensional boxes, but one is {space}")
    assert isinstance(observations, gymnasium.spaces.Box) and isinstance(actions, gymnasium.spaces.Box)
    plausible = getattr(environment.unwrapped, "observation_range", (observations.low, observations.high))
    environment.close()
    if not horizon:
        raise MethodError(f"{name} has no time limit; register it with max_episode_steps")
    _require_inside(name, "observations", demonstrations.observations, *plausible)
    if demonstrations.actions is not None:
        _require_inside(name, "actions", demonstrations.actions, actions.low, actions.high)
    if not math.isclose(demonstrations.dt, dt, rel_tol=1e-6):
        raise MethodError(f"{name} has a step of {dt:g} s, but the demonstrations of {demonstrations.dt:g} s")
    return Task(
        id=name,
        observation_size=observations.shape[0],
        action_size=actions.shape[0],
        action_low=actions.low.astype(np.float32),
        action_high=actions.high.astype(np.float32),
        horizon=int(horizon),
        dt=float(demonstrations.dt),
        kinematic_error=getattr(environment.unwrapped, "kinematic_error", None),
    )


def _require_inside(task: str, what: str, values: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Refuse demonstrated values [N, n] of another size, or outside the range in which they mean something."""
    if values.shape[1] != len(low):
        raise MethodError(f"{task} has {len(low)} {what}, but the demonstrations have {values.shape[1]}")
    below, above = (1e-5 * np.maximum(np.abs(bound), 1.0) for bound in (low, high))  # values were rounded to float32
    outside = ((values < low - below) | (values > high + above)).any(axis=0)
    if outside.any():
        i = int(outside.argmax())
        shown = f"{values[:, i].min():.4g} to {values[:, i].max():.4g}"
        raise MethodError(
            f"{what}[{i}] of the demonstrations is {shown}, but {low[i]:.4g} to {high[i]:.4g} is possible in {task}; "
            "are its units right (m, rad, s, Nm), and its order?"
        )


class TrialContext(FitContext):
    """The `FitContext` of one trial.

    Attributes:
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
        """Begin a trial.

        Args:
            trial, demonstrations, scratch: what to do, from what, and a folder for the method.
            emit: tells the runner about progress and evaluations.
            snapshots: keep the state of the training.
            stop: set from outside where the training is to be saved and ended.
        """
        self.task = describe_task(trial.task, demonstrations)
        self.budget = Budget(trial.budget.environment_steps, trial.budget.policy_updates)
        self.seeds = SeedStreams(trial.seed)
        self.device = trial.device
        self.scratch = scratch
        self.curve: list[CurvePoint] = []
        self._evaluation = trial.evaluation
        self._evaluator = Evaluator(self.task)
        self._probe = demonstrations.observations[:PROBE]
        self._emit = emit
        self._series: dict[str, _Series] = {}
        self._unsent: dict[str, _Series] = {}
        self._counter = Counter(self.budget.environment_steps)
        self._environments = CountedEnvironments(self.task, self.seeds, self._counter)
        self._snapshots = snapshots
        self._stop = stop or threading.Event()
        self._stopped: Stopped | None = None
        self._offers_snapshots = False
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

    def make_env(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        return self._environments.single()

    def make_vector_env(self, count: int) -> VecEnv:
        return self._environments.vector(count)

    def make_env_group(self, count: int) -> EnvGroup:
        return self._environments.group(count)

    def report(self, step: int, **scalars: float) -> None:
        """See `FitContext`; raises Diverged where a scalar is not finite."""
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at gradient step {step}")
            for kept in (self._series, self._unsent):
                kept.setdefault(name, _Series()).add(int(step), float(value))

    def checkpoint(
        self,
        policy: Policy,
        progress: float,
        gradient_steps: int,
        snapshot: Callable[[], State] | None = None,
    ) -> None:
        self._gradient_steps = gradient_steps
        probe = policy.act(self._probe, True, np.random.default_rng(0))
        checked_actions(probe, len(self._probe), self.task)
        if perf_counter() - self._last_event > REPORT_SECONDS:
            self._tell(progress)
        if self._due(progress):
            choice = self._evaluation
            self._add_point(progress, self.evaluate(policy, choice.curve_rollouts, choice.first_seed))
        self._offers_snapshots |= snapshot is not None
        stop, unsaved = self._stop.is_set(), self.unsaved()
        if snapshot is not None and (stop or self._snapshots.due()) and not unsaved:
            with self._clock.stopped():
                unsaved = self._snapshots.save(self._state(snapshot()))
        if stop and (snapshot is not None or unsaved):  # else a later call of this method offers one
            self._stopped = Stopped(unsaved)
            raise self._stopped

    def raise_if_stopped(self) -> None:
        """Raise `Stopped` again where `checkpoint` did and the method caught it."""
        if self._stopped is not None:
            raise self._stopped

    def resume(self) -> State | None:
        state = self._snapshots.load()
        if state is None:
            return None
        self._offers_snapshots = True
        for name, kept in state["series"].items():
            points = [(step, value) for step, value in kept["points"]]
            self._series[name] = _Series(points, kept["count"], kept["stride"])
        for point in map(CurvePoint.model_validate, state["curve"]):
            self.curve.append(point)
            self._emit(point)  # the runner keeps the curve of a process that dies
        self._counter.steps, self._counter.episodes = state["environment_steps"], state["episodes"]
        self._gradient_steps, self._passed = state["gradient_steps"], state["passed"]
        self._evaluating, self._earlier_peak = state["evaluation_seconds"], state["peak_memory_mib"]
        self._started = self._clock.seconds - state["training_seconds"]
        return restore(state["training"], self._environments.made)

    def unsaved(self) -> str:
        """Why no snapshot can be kept; empty where one can."""
        if self._snapshots.off:
            return self._snapshots.off
        if not self._offers_snapshots:
            return "the method offers no snapshot"
        if not self._environments.can_be_captured():
            return f"{self.task.id} has no get_state and set_state"
        return ""

    def _state(self, method: State) -> State:
        """What `resume` needs, and the method's own state in it."""
        usage = self.usage().model_dump()
        return usage | {
            "series": {name: vars(series) for name, series in self._series.items()},
            "curve": [point.model_dump() for point in self.curve],
            "passed": self._passed,
            "training": capture(method, self._environments.made),
        }

    def finish(self, policy: Policy) -> dict[str, list[Rollout]]:
        """The final evaluation, which is the last point of the curve as well."""
        self._tell(1.0)
        final = self.evaluate(policy, self._evaluation.rollouts, self._evaluation.first_seed)
        if self._evaluation.curve_points:
            self._add_point(1.0, final)
        return final

    def evaluate(self, policy: Policy, rollouts: int, first_seed: int) -> dict[str, list[Rollout]]:
        """Roll out with sampled and with mean actions, while the training clock stands still."""
        before = perf_counter()
        try:
            with self._clock.stopped():
                return {
                    mode: self._evaluator.evaluate(policy, rollouts, first_seed, deterministic=mode == "mean")
                    for mode in ("sampled", "mean")
                }
        finally:
            self._evaluating += perf_counter() - before

    def usage(self) -> Usage:
        """What the trial has cost so far."""
        return Usage(
            environment_steps=self.environment_steps,
            episodes=self.episodes,
            gradient_steps=self._gradient_steps,
            training_seconds=self._clock.seconds - self._started,
            evaluation_seconds=self._evaluating,
            peak_memory_mib=max(peak_memory_mib(), self._earlier_peak),
        )

    def diagnostics(self) -> Diagnostics:
        """What the method reported."""
        return Diagnostics(series={name: series.points for name, series in self._series.items()})

    def _tell(self, progress: float) -> None:
        """Send the runner what is new."""
        self._last_event = perf_counter()
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

    def _add_point(self, progress: float, rollouts: dict[str, list[Rollout]]) -> None:
        usage = self.usage()
        point = CurvePoint(
            progress=progress,
            environment_steps=usage.environment_steps,
            episodes=usage.episodes,
            gradient_steps=usage.gradient_steps,
            training_seconds=usage.training_seconds,
            sampled=_share(rollouts["sampled"]),
            mean=_share(rollouts["mean"]),
        )
        self.curve.append(point)
        self._emit(point)


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


def _share(rollouts: list[Rollout]) -> float:
    return sum(rollout.success for rollout in rollouts) / len(rollouts)
