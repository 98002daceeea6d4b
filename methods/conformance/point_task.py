"""The small task of the conformance check: a point that must reach a goal, its demonstrator and demonstrations."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.demonstrations import Demonstrations
from methods.interface import State, Task

HORIZON = 40
DT = 0.1
SPEED = 0.1
"""Distance that a full action covers in one step; start and goal lie in a square of side 2."""
REACHED = 0.1
"""Distance at which the goal counts as reached."""
NOISE = 0.05
"""Standard deviation of the demonstrator's actions."""


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

    def make_expert(self, rng: np.random.Generator) -> PointExpert:
        """The demonstrator, as any task may offer one; `rng` draws its noise."""
        return PointExpert(self, rng)

    def get_state(self) -> State:
        return {"state": self._state.copy(), "steps": self._steps, "random": self.np_random.bit_generator.state}

    def set_state(self, state: State) -> None:
        self._state, self._steps = state["state"], state["steps"]
        self.np_random.bit_generator.state = state["random"]


class PointExpert:
    """Walks straight to the goal, with slightly noisy actions."""

    def __init__(self, environment: PointTask, rng: np.random.Generator) -> None:
        self._environment, self._rng = environment, rng

    def reset(self) -> None:
        """Begin an episode; nothing is remembered."""

    def act(self) -> np.ndarray:
        """The action [2] float32 for where the point is now."""
        state = self._environment._state
        direction = (state[2:] - state[:2]) / SPEED
        noisy = direction / max(1.0, np.abs(direction).max()) + self._rng.normal(0.0, NOISE, 2)
        return np.clip(noisy, -1.0, 1.0).astype(np.float32)


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
    """Episodes of the demonstrator."""
    env, rng = PointTask(), np.random.default_rng(seed)
    expert = env.make_expert(rng)
    trajectories = []
    for _ in range(episodes):
        state, _ = env.reset(seed=int(rng.integers(2**31)))
        states, actions, ended = [state], list[np.ndarray](), False
        while not ended:
            actions.append(expert.act())
            state, _, reached, late, _ = env.step(actions[-1])
            states.append(state)
            ended = reached or late
        trajectories.append((states, actions))
    origin = {"expert": "straight to the goal", "seed": seed}
    return Demonstrations.from_trajectories(trajectories, TASK.id, DT, origin)
