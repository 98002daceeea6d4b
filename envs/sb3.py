"""A group of environments behind stable-baselines3's `VecEnv` interface, which takes a second to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from envs.insertion.errors import SimulationUnstable

State = dict[str, Any]
Env = gymnasium.Env[np.ndarray, np.ndarray]


class Group(Protocol):
    """Environments side by side, as `envs.insertion.vector.InsertionVector`: none is reset by itself."""

    @property
    def environments(self) -> Sequence[Env]:
        """The single environments."""

    def reset(self, seeds: Sequence[int | None], rows: Sequence[int]) -> np.ndarray:
        """Start an episode in each of `rows`; where a seed is None the row continues with its own random numbers."""

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """Take an action [k, A] in each of `rows`; returns observations [k, O] and how each episode ended, or ""."""

    def get_state(self) -> Any:
        """All that decides how the episodes continue, as plain data."""

    def set_state(self, state: Any) -> None:
        """Continue from what `get_state` gave."""

    def close(self) -> None:
        """Close the environments."""


class GroupVecEnv(VecEnv):
    """Steps all environments of a group, and resets each where its episode ends.

    Rewards are 1 where an episode ends in success and 0 elsewhere. Only the infos of ended episodes hold something:
    `terminal_observation`, `TimeLimit.truncated`, `is_success` and `end_reason`.
    """

    def __init__(self, group: Group, seeds: Sequence[int | None]) -> None:
        """`seeds`: of the first reset, one per environment; None for any."""
        self.group, first = group, group.environments[0]
        self._actions = np.zeros((0, 0), np.float32)
        super().__init__(len(group.environments), first.observation_space, first.action_space)
        self._rows = range(self.num_envs)
        self._seeds = list(seeds)

    def reset(self) -> np.ndarray:
        """Start an episode in each environment; seeds given before are used once, options are not supported."""
        observations = self.group.reset(self._seeds, self._rows)
        self._reset_seeds()
        self.reset_infos = [{} for _ in self._rows]
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all and reset those whose episode ends; raises SimulationUnstable."""
        observations, reasons = self.group.step(self._actions, self._rows)
        if "unstable" in reasons:
            raise SimulationUnstable(f"the simulation of environment {reasons.index('unstable')} became unstable", {})
        infos: list[dict[str, Any]] = [{} for _ in reasons]
        ended = [row for row, reason in enumerate(reasons) if reason]
        for row in ended:
            infos[row] = {
                "terminal_observation": observations[row].copy(),
                "TimeLimit.truncated": reasons[row] == "timeout",
                "is_success": reasons[row] == "success",
                "end_reason": reasons[row],
            }
        if ended:
            observations[ended] = self.group.reset([None] * len(ended), ended)
        rewards = np.array([reason == "success" for reason in reasons], np.float32)
        return observations, rewards, np.array([bool(reason) for reason in reasons]), infos

    def get_state(self) -> State:
        """All that decides how the episodes continue."""
        return {"group": self.group.get_state(), "seeds": self._seeds}

    def set_state(self, state: State) -> None:
        """Continue from what `get_state` gave."""
        self.group.set_state(state["group"])
        self._seeds = state["seeds"]

    def close(self) -> None:
        self.group.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(environment, attr_name) for environment in self._targets(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        for environment in self._targets(indices):
            setattr(environment, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        return [getattr(environment, method_name)(*args, **kwargs) for environment in self._targets(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._targets(indices)]

    def _targets(self, indices: VecEnvIndices) -> list[Env]:
        return [self.group.environments[row] for row in self._get_indices(indices)]
