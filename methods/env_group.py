"""Episodes side by side in ordinary Gymnasium environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np

from methods.interface import EnvGroup, MethodError

Env = gymnasium.Env[np.ndarray, np.ndarray]


class SingleEnvs(EnvGroup):
    """A group of single environments, stepped one after the other, whose episodes end after `horizon` steps at last."""

    def __init__(self, make: Callable[[], Env], count: int, horizon: int) -> None:
        self.horizon = horizon
        self.environments = [make() for _ in range(count)]
        self._steps = [0] * count

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        for row in rows:
            self._steps[row] = 0
        chosen = zip(rows, seeds, strict=True)
        return np.array([self.environments[row].reset(seed=seed)[0] for row, seed in chosen], np.float32)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        found = [self.step_one(row, action) for row, action in zip(rows, actions, strict=True)]
        return np.array([observation for observation, _ in found], np.float32), [reason for _, reason in found]

    def step_one(self, row: int, action: np.ndarray) -> tuple[np.ndarray, str]:
        """The next observation [O] of a row, and why its episode ends now."""
        observation, _, terminated, truncated, info = self.environments[row].step(action)
        self._steps[row] += 1
        return observation, end_reason(info, terminated, truncated or self._steps[row] >= self.horizon)

    def close(self) -> None:
        for environment in self.environments:
            environment.close()


def end_reason(info: dict[str, Any], terminated: bool, truncated: bool) -> str:
    """How an episode ends with this step, in a word; empty while it goes on.

    Raises:
        MethodError: it ends, and the task does not say whether it succeeded.
    """
    if not (terminated or truncated):
        return ""
    if "is_success" not in info:
        raise MethodError("the task does not set info['is_success'] where an episode ends, and nothing else counts")
    if info["is_success"]:
        return "success"
    return str(info.get("end_reason") or ("workspace" if terminated else "timeout"))
