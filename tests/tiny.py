"""A tiny insertion task that learns in seconds: a point must pass a narrow slot in a wall to reach the floor behind it.

The slot's position changes every episode and is part of the observation. A point that misses the slot touches the wall
and slides; only a correction brings it in. This is the insertion problem in two dimensions, without physics.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.demonstrations import Demonstrations

ID = "TinySlot-v0"
SLOT_HALF_WIDTH = 0.05
DEPTH = 0.3
SPEED = 0.1


class TinySlot(gymnasium.Env[np.ndarray, np.ndarray]):
    """Observation: position x, z and slot position [3]; action: velocity in [-1, 1]^2; success: below the wall."""

    metadata: dict[str, Any] = {"render_modes": []}
    horizon = 60
    dt = 0.1

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._state = np.zeros(3)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        slot = self.np_random.uniform(-0.5, 0.5)
        self._state = np.array([self.np_random.uniform(-1.0, 1.0), self.np_random.uniform(0.6, 1.0), slot])
        self._steps = 0
        return self._observe(), self._info("")

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        x, z, slot = self._state
        dx, dz = SPEED * np.clip(np.asarray(action, dtype=float), -1.0, 1.0)
        inside = abs(x - slot) < SLOT_HALF_WIDTH
        if z <= 0.0 or (inside and z + dz <= 0.0):  # in the slot: its walls hold the point
            x = float(np.clip(x + dx, slot - SLOT_HALF_WIDTH, slot + SLOT_HALF_WIDTH))
            z = z + dz
        else:
            x, z = x + dx, max(z + dz, 1e-3)
        self._state = np.array([x, z, slot])
        self._steps += 1
        success = z <= -DEPTH
        left = abs(x) > 1.5 or z > 1.5
        reason = "success" if success else "workspace" if left else "timeout" if self._steps >= self.horizon else ""
        return self._observe(), float(success), success or left, reason == "timeout", self._info(reason)

    def get_state(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "steps": self._steps, "random": self.np_random.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self._state, self._steps = state["state"], state["steps"]
        self.np_random.bit_generator.state = state["random"]

    def _observe(self) -> np.ndarray:
        return self._state.astype(np.float32)

    def _info(self, reason: str) -> dict[str, Any]:
        return {
            "is_success": reason == "success",
            "end_reason": reason,
            "time": self._steps * self.dt,
            "depth": max(-float(self._state[1]), 0.0),
        }


def register() -> None:
    """Make `gymnasium.make(ID)` work; importing this module does it, and so `make("tests.tiny:" + ID)`."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, entry_point="tests.tiny:TinySlot", disable_env_checker=True, order_enforce=False)


register()


def demonstrate(episodes: int, seed: int, noise: float = 0.15) -> Demonstrations:
    """A noisy expert: above the slot first, then down."""
    env = TinySlot()
    rng = np.random.default_rng(seed)
    trajectories: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
    while len(trajectories) < episodes:
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        states, actions, ended, info = [observation], list[np.ndarray](), False, {"is_success": False}
        while not ended:
            x, height, slot = observation
            offset = slot - x
            down = -1.0 if abs(offset) < 0.04 else -0.2 * (height > 0.2)
            action = np.array([offset / SPEED, down])
            actions.append(np.clip(action + noise * rng.standard_normal(2), -1.0, 1.0).astype(np.float32))
            observation, _, terminated, truncated, info = env.step(actions[-1])
            states.append(observation)
            ended = terminated or truncated
        if info["is_success"]:
            trajectories.append((states, actions))
    origin = {"expert": "tiny slot", "noise": noise, "seed": seed}
    return Demonstrations.from_trajectories(trajectories, ID, env.dt, origin)
