"""Counted environments behind stable-baselines3's interface, which takes a second to import."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.trial.counting import Counter
from envs.insertion.base import InsertionEnv
from envs.insertion.sb3 import InsertionVecEnv


class CountedInsertions(InsertionVecEnv):
    """Insertion environments stepped together, whose steps and episodes are counted."""

    def __init__(self, first: InsertionEnv, seeds: list[int], counter: Counter) -> None:
        """As many as there are seeds, which are those of the first reset."""
        super().__init__(first, len(seeds), seeds=seeds)
        self._counter = counter

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        self._counter.check(self._actions, self.num_envs)
        result = super().step_wait()
        self._counter.add(result[0], int(result[2].sum()), self.num_envs)
        return result
