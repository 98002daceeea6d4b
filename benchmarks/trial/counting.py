"""Environments that are counted, so that the suite knows what a method used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from methods.checkpointing import environment_state, set_environment_state
from methods.interface import BudgetExceeded, Diverged, EnvGroup, State


class Counter:
    """Environment steps and episodes, summed over the environments of a trial."""

    def __init__(self, limit: int) -> None:
        self.limit, self.steps, self.episodes = limit, 0, 0

    def check(self, actions: np.ndarray, steps: int = 1) -> None:
        """Raises BudgetExceeded where so many more steps are too many, Diverged where an action is not finite."""
        if self.steps + steps > self.limit:
            raise BudgetExceeded(f"the budget of {self.limit} environment steps is spent; ask for no more")
        if not np.isfinite(actions).all():
            raise Diverged(f"an action in environment step {self.steps + 1} is not finite")

    def add(self, observations: np.ndarray, episodes: int, steps: int = 1) -> None:
        """Count steps and the episodes that ended with them; raises Diverged where an observation is not finite."""
        if not np.isfinite(observations).all():
            raise Diverged(f"the observation after environment step {self.steps + 1} is not finite")
        self.steps += steps
        self.episodes += episodes


class Counted(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Counts steps and episodes. Its first reset is seeded even where the method gives no seed: no trial is random."""

    def __init__(self, environment: gymnasium.Env[np.ndarray, np.ndarray], counter: Counter, seed: int) -> None:
        super().__init__(environment)
        self._counter = counter
        self._seed: int | None = seed

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        chosen, self._seed = (self._seed if seed is None else seed), None
        return self.env.reset(seed=chosen, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._counter.check(action)
        result = self.env.step(action)
        self._counter.add(result[0], bool(result[2] or result[3]))
        return result

    def get_state(self) -> State:
        return {"seed": self._seed, "environment": environment_state(self.env)}

    def set_state(self, state: State) -> None:
        self._seed = state["seed"]
        set_environment_state(self.env, state["environment"])


class CountedGroup:
    """A group of environments whose steps and episodes are counted."""

    def __init__(self, group: EnvGroup, counter: Counter) -> None:
        self._group, self._counter = group, counter

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        return self._group.reset(seeds, rows)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        self._counter.check(actions, len(rows))
        observations, reasons = self._group.step(actions, rows)
        if "unstable" in reasons:
            raise Diverged(f"the simulation became unstable after environment step {self._counter.steps}")
        self._counter.add(observations, sum(map(bool, reasons)), len(rows))
        return observations, reasons

    def close(self) -> None:
        self._group.close()
