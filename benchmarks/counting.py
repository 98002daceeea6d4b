"""Environments that are counted, so that the suite knows what a method used."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from methods.interface import BudgetExceeded, Diverged, State
from methods.snapshot import environment_state, set_environment_state


class Counter:
    """Environment steps and episodes, summed over the environments of a trial."""

    def __init__(self, limit: int) -> None:
        self.limit, self.steps, self.episodes = limit, 0, 0


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
        counter = self._counter
        if counter.steps >= counter.limit:
            raise BudgetExceeded(f"the budget of {counter.limit} environment steps is spent; ask for no more")
        if not np.isfinite(action).all():
            raise Diverged(f"an action in environment step {counter.steps + 1} is not finite")
        result = self.env.step(action)
        if not np.isfinite(result[0]).all():
            raise Diverged(f"the observation after environment step {counter.steps + 1} is not finite")
        counter.steps += 1
        counter.episodes += bool(result[2] or result[3])
        return result

    def get_state(self) -> State:
        return {"seed": self._seed, "environment": environment_state(self.env)}

    def set_state(self, state: State) -> None:
        self._seed = state["seed"]
        set_environment_state(self.env, state["environment"])
