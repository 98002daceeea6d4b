"""Roll-outs owned by the suite: the same seeds for every method, sampled and mean actions, charged to nobody."""

from __future__ import annotations

import numpy as np

from benchmarks.records.schema import Rollout
from benchmarks.trial.environments import make_group
from methods.interface import Diverged, EnvGroup, MethodError, Policy, Task

WIDTH = 20
"""Environments stepped in lockstep, so that the policy acts on a batch. It is a constant, and the batch always has this
many rows, because matrix products round differently for different numbers of rows: roll-out i must depend on the policy
and its seed alone, not on how many roll-outs there are or when the others end."""


class Evaluator:
    """Evaluates policies on one task."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._group: EnvGroup | None = None

    def evaluate(self, policy: Policy, rollouts: int, first_seed: int, deterministic: bool) -> list[Rollout]:
        """Roll out a policy with environment seeds `first_seed`, `first_seed + 1`, ...

        Raises:
            Diverged: an action is not finite.
            MethodError: the task does not say whether an episode succeeded, or the actions have a wrong shape.
        """
        self._group = self._group or make_group(self._task, WIDTH)
        seeds = range(first_seed, first_seed + rollouts)
        return [
            rollout
            for start in range(0, rollouts, WIDTH)
            for rollout in self._lockstep(self._group, policy, seeds[start : start + WIDTH], deterministic)
        ]

    def close(self) -> None:
        """Close the environments."""
        if self._group:
            self._group.close()

    def _lockstep(self, group: EnvGroup, policy: Policy, seeds: range, deterministic: bool) -> list[Rollout]:
        rng = np.random.default_rng(seeds[0])
        running = list(range(len(seeds)))
        observations = np.zeros((WIDTH, self._task.observation_size), np.float32)
        observations[running] = group.reset(seeds, running)
        observations[len(seeds) :] = observations[0]
        ended: dict[int, Rollout] = {}
        step = 0
        while running:
            step += 1
            actions = checked_actions(policy.act(observations, deterministic, rng), WIDTH, self._task)
            observations[running], reasons = group.step(actions[running], running)
            for row, end in zip(running, reasons, strict=True):
                if end:
                    seconds = round(step * self._task.dt, 6)
                    ended[row] = Rollout(seed=seeds[row], success=end == "success", seconds=seconds, end=end)
                    if end == "unstable":
                        observations[row] = 0.0  # it need not be finite
            running = [row for row in running if row not in ended]
        return [ended[row] for row in range(len(seeds))]


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
