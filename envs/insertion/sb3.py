"""Insertion environments as stable-baselines3 takes them: a `VecEnv` that steps them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from envs.insertion.base import InsertionEnv
from envs.insertion.vector import InsertionVector


class InsertionVecEnv(VecEnv):
    """`first` and its siblings behind SB3's interface, with the results of its `DummyVecEnv`.

    Only ended episodes have an info, which holds `terminal_observation` and `TimeLimit.truncated` beside what the
    environment says; those of running ones are empty, because making them takes time and nobody looks.
    """

    def __init__(self, first: InsertionEnv, count: int, threads: int = 1, seeds: Sequence[int] | None = None) -> None:
        """`count` environments on so many threads; `seeds` are those of the first reset, one an environment."""
        self.vector = InsertionVector(first, count, threads)
        self._actions = np.zeros((count, *first.action_space.shape), np.float32)  # type: ignore[misc]
        super().__init__(count, first.observation_space, first.action_space)
        if seeds is not None:
            self._seeds = list(seeds)

    def reset(self) -> np.ndarray:
        """Start an episode in each environment; seeds and options given before are used once."""
        pairs = zip(self.vector.environments, self._seeds, self._options, strict=True)
        found = [environment.reset(seed=seed, options=options) for environment, seed, options in pairs]
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [info for _, info in found]
        return np.array([observation for observation, _ in found])

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all, starting anew where an episode ends; raises SimulationUnstable."""
        observations, reasons = self.vector.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in reasons]
        ended = [row for row, reason in enumerate(reasons) if reason]
        for row in ended:
            environment = self.vector.environments[row]
            environment.check_stable()
            infos[row] = environment.info() | {
                "terminal_observation": observations[row].copy(),
                "TimeLimit.truncated": reasons[row] == "timeout",
            }
            observations[row], self.reset_infos[row] = environment.reset()
        dones = np.array([bool(reason) for reason in reasons])
        return observations, np.array([reason == "success" for reason in reasons], np.float32), dones, infos

    def get_state(self) -> list[dict[str, Any]]:
        """See `InsertionVector.get_state`."""
        return self.vector.get_state()

    def set_state(self, state: list[dict[str, Any]]) -> None:
        """Go on from what `get_state` gave."""
        self.vector.set_state(state)

    def close(self) -> None:
        self.vector.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(environment, attr_name) for environment in self._targets(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        for environment in self._targets(indices):
            setattr(environment, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        return [getattr(environment, method_name)(*args, **kwargs) for environment in self._targets(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._targets(indices)]

    def _targets(self, indices: VecEnvIndices) -> list[InsertionEnv]:
        return [self.vector.environments[row] for row in self._get_indices(indices)]
