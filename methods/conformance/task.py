"""The small world of the conformance check: a point that must reach a goal, its demonstrations, and a context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from envs.demonstrations import Demonstrations
from methods.checkpointing import capture, pack, restore, unpack
from methods.env_group import SingleEnvs
from methods.interface import Budget, BudgetExceeded, EnvGroup, FitContext, Policy, SeedStreams, State, Task

HORIZON = 40
DT = 0.1
SPEED = 0.1
"""Way of a full action in one step; start and goal lie in a square of side 2."""
REACHED = 0.1
"""Distance at which the goal counts as reached."""


class PointTask(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observation: position and goal [4]; action: velocity in [-1, 1]^2; ends on reaching the goal or after 4 s."""

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (4,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._state = np.zeros(4, np.float32)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._state = self.np_random.uniform(-1.0, 1.0, 4).astype(np.float32)
        self._steps = 0
        return self._state.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._state[:2] += SPEED * np.clip(action, -1.0, 1.0)
        self._steps += 1
        reached = bool(np.linalg.norm(self._state[2:] - self._state[:2]) < REACHED)
        late = not reached and self._steps >= HORIZON
        return self._state.copy(), float(reached), reached, late, {"is_success": reached}

    def get_state(self) -> State:
        return {"state": self._state.copy(), "steps": self._steps, "random": self.np_random.bit_generator.state}

    def set_state(self, state: State) -> None:
        self._state, self._steps = state["state"], state["steps"]
        self.np_random.bit_generator.state = state["random"]


TASK = Task(
    id="point",
    observation_size=4,
    action_size=2,
    action_low=np.full(2, -1.0, np.float32),
    action_high=np.full(2, 1.0, np.float32),
    horizon=HORIZON,
    dt=DT,
)


def demonstrate(episodes: int, seed: int) -> Demonstrations:
    """Straight, slightly noisy ways to the goal."""
    env, rng = PointTask(), np.random.default_rng(seed)
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    lengths: list[int] = []
    for _ in range(episodes):
        state, _ = env.reset(seed=int(rng.integers(2**31)))
        ended, first = False, len(actions)
        while not ended:
            way = (state[2:] - state[:2]) / SPEED
            action = np.clip(way / max(1.0, np.abs(way).max()) + rng.normal(0.0, 0.05, 2), -1.0, 1.0)
            observations.append(state)
            actions.append(action.astype(np.float32))
            state, _, reached, late, _ = env.step(action)
            ended = reached or late
        observations.append(state)
        actions.append(np.zeros(2, np.float32))
        lengths.append(len(actions) - first)
    time_step = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    return Demonstrations(
        observations=np.array(observations, np.float32),
        actions=np.array(actions, np.float32),
        episode=np.repeat(np.arange(episodes, dtype=np.int32), lengths),
        time_step=time_step,
        terminal=np.append(time_step[1:] == 0, True),
        dt=DT,
        task=TASK.id,
        origin={"expert": "straight to the goal", "seed": seed},
    )


class Interrupted(Exception):
    """A training was ended to see whether another goes on where it stopped."""


class CheckContext(FitContext):
    """A context that keeps what it is told, and refuses steps beyond the budget; of the point task if not of another.

    Attributes:
        reports: (gradient step, scalars) in the order they came.
        checkpoints: (progress, gradient steps) in the order they came.
        snapshots: how many of these offered a snapshot.
    """

    def __init__(
        self,
        budget: Budget,
        seed: int,
        scratch: Path,
        task: Task = TASK,
        environment: Callable[[], gymnasium.Env[np.ndarray, np.ndarray]] = PointTask,
        interrupt: int = 0,
        after: CheckContext | None = None,
    ) -> None:
        """Make a context for one training.

        Args:
            budget, seed, scratch, task: see `FitContext`.
            environment: makes one.
            interrupt: raise Interrupted at this snapshot, counted from 1; 0 never does.
            after: that of an interrupted training, to go on from its snapshot.
        """
        self.task = task
        self.environment = environment
        self.budget = budget
        self.seeds = SeedStreams(seed)
        self.device = "cpu"
        self.scratch = scratch
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.checkpoints: list[tuple[float, int]] = []
        self.snapshots = 0
        self.counts = {"environments": 0, "steps": 0, "episodes": 0}
        self._interrupt = interrupt
        self._after = after
        self._kept: tuple[str, dict[str, np.ndarray]] | None = None
        self._environments: list[gymnasium.Env[np.ndarray, np.ndarray]] = []

    @property
    def environment_steps(self) -> int:
        return self.counts["steps"]

    @property
    def episodes(self) -> int:
        return self.counts["episodes"]

    def make_env(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        self.counts["environments"] += 1
        seed = self.seeds.integer(f"environment {self.counts['environments']}")
        self._environments.append(self.environment())
        return _Counted(self._environments[-1], seed, self.counts, self.budget.environment_steps)

    def make_vector_env(self, count: int) -> VecEnv:
        return DummyVecEnv([self.make_env] * count)

    def make_env_group(self, count: int) -> EnvGroup:
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
        self.checkpoints.append((progress, gradient_steps))
        if snapshot is None:
            return
        self.snapshots += 1
        if self.snapshots == self._interrupt:
            told = {"reports": self.reports, "checkpoints": self.checkpoints, "counts": self.counts}
            self._kept = pack(told | {"training": capture(snapshot(), self._environments)})
            raise Interrupted

    def resume(self) -> State | None:
        if self._after is None or self._after._kept is None:
            return None
        state = unpack(*self._after._kept)
        self.reports = [(step, scalars) for step, scalars in state["reports"]]
        self.checkpoints = [(progress, steps) for progress, steps in state["checkpoints"]]
        self.counts |= state["counts"]
        return restore(state["training"], self._environments)


class _Counted(gymnasium.Wrapper):  # type: ignore[type-arg]
    def __init__(self, env: gymnasium.Env, seed: int, counts: dict[str, int], limit: int) -> None:
        super().__init__(env)
        self.counts, self.limit = counts, limit
        env.reset(seed=seed)  # so that a method which never seeds it is still repeatable

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        if self.counts["steps"] >= self.limit:
            raise BudgetExceeded(f"the budget of {self.limit} environment steps is spent")
        self.counts["steps"] += 1
        result = self.env.step(action)
        self.counts["episodes"] += bool(result[2] or result[3])
        return result
