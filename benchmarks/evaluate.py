"""Roll-outs owned by the suite: the same seeds for every method, sampled and mean actions, charged to nobody."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from benchmarks.records import Rollout
from envs.errors import SimulationUnstable
from methods.interface import Diverged, MethodError, Policy, Task

WIDTH = 20
"""Environments stepped in lockstep, so that the policy acts on a batch. It is a constant, and the batch always has this
many rows, because matrix products round differently for different numbers of rows: roll-out i must depend on the policy
and its seed alone, not on how many roll-outs there are or when the others end."""


class Evaluator:
    """Evaluates policies on one task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._nowhere = np.zeros(task.observation_size, np.float32)
        self._environments: list[gymnasium.Env[np.ndarray, np.ndarray]] = []

    def evaluate(self, policy: Policy, rollouts: int, first_seed: int, deterministic: bool) -> list[Rollout]:
        """Roll out a policy with environment seeds `first_seed`, `first_seed + 1`, ...

        Raises:
            Diverged: an action is not finite.
            MethodError: the task does not say whether an episode succeeded, or the actions have a wrong shape.
        """
        seeds = range(first_seed, first_seed + rollouts)
        return [
            rollout
            for start in range(0, rollouts, WIDTH)
            for rollout in self._lockstep(policy, seeds[start : start + WIDTH], deterministic)
        ]

    def close(self) -> None:
        """Close the environments."""
        for environment in self._environments:
            environment.close()

    def _lockstep(self, policy: Policy, seeds: range, deterministic: bool) -> list[Rollout]:
        while len(self._environments) < len(seeds):
            self._environments.append(gymnasium.make(self._task.id, disable_env_checker=True))
        rng = np.random.default_rng(seeds[0])
        observations = np.zeros((WIDTH, self._task.observation_size), np.float32)
        for row, seed in enumerate(seeds):
            observations[row] = self._environments[row].reset(seed=seed)[0]
        observations[len(seeds) :] = observations[0]
        ended: dict[int, Rollout] = {}
        for step in range(1, self._task.horizon + 1):
            actions = checked_actions(policy.act(observations, deterministic, rng), WIDTH, self._task)
            for row, seed in enumerate(seeds):
                if row in ended:
                    continue
                observations[row], end = self._step(row, actions[row], last=step == self._task.horizon)
                if end:
                    seconds = round(step * self._task.dt, 6)
                    ended[row] = Rollout(seed=seed, success=end == "success", seconds=seconds, end=end)
            if len(ended) == len(seeds):
                break
        return [ended[row] for row in range(len(seeds))]

    def _step(self, row: int, action: np.ndarray, last: bool) -> tuple[np.ndarray, str]:
        try:
            observation, _, terminated, truncated, info = self._environments[row].step(action)
        except SimulationUnstable:
            return self._nowhere, "unstable"
        if not np.isfinite(observation).all():
            return self._nowhere, "unstable"
        return observation, _end(info, terminated, truncated or last, self._task.id)


def checked_actions(actions: np.ndarray, rows: int, task: Task) -> np.ndarray:
    """Actions [rows, A] as they came from a policy.

    Raises:
        Diverged: one is not finite.
        MethodError: they have another shape.
    """
    if np.shape(actions) != (rows, task.action_size):
        raise MethodError(f"the policy's actions have shape {np.shape(actions)}, not {(rows, task.action_size)}")
    if not np.isfinite(actions).all():
        raise Diverged("the policy's actions are not finite")
    return actions


def _end(info: dict[str, Any], terminated: bool, truncated: bool, task: str) -> str:
    """How the episode ended, in a word; empty while it goes on."""
    if not (terminated or truncated):
        return ""
    if "is_success" not in info:
        raise MethodError(f"{task} does not set info['is_success'] where an episode ends, and nothing else counts")
    if info["is_success"]:
        return "success"
    return str(info.get("end_reason") or ("workspace" if terminated else "timeout"))
