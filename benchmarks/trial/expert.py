"""The demonstrator of a task, asked for the action it would take, and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from benchmarks.trial.environments import make_environment
from envs import TASKS, WITH_ACTIONS
from methods.counting import CountedEnv, Counter, counted_environment
from methods.env_group import Env
from methods.interface import Expert, MethodError, SeedStreams, State, Task
from methods.task_boundary import ActionBounds


class Demonstrator(Protocol):
    """What a task's `make_expert(rng)` returns: it looks at the environment it was made by, and acts there.

    With `get_state` and `set_state` (plain data, the generator's state in it) a trial that queries it can be resumed.
    """

    def reset(self) -> None:
        """Forget the last episode; called once the environment has begun another."""

    def act(self) -> np.ndarray:
        """The action [A], in the task's own units, that it would take now."""


def demonstrator_of(environment: Env) -> Callable[[np.random.Generator], Demonstrator] | None:
    """What makes a demonstrator acting in this environment; None where the task has none.

    A task of your own offers one by a method `make_expert(rng)` of its environment. Tasks that are demonstrated by
    moving the arm by hand have none, since a hand takes no actions.
    """
    inside: Any = environment.unwrapped
    if callable(own := getattr(inside, "make_expert", None)):
        return own  # type: ignore[no-any-return]
    task = environment.spec.id if environment.spec else ""
    for name in WITH_ACTIONS:
        if TASKS[name] == task:
            from envs.experts.kinesthetic import demonstrator

            chosen = demonstrator(name)
            return lambda rng: chosen.expert(inside, chosen.settings, rng)
    return None


def has_expert(task: Task) -> bool:
    """Whether a task has a demonstrator that can be queried."""
    environment = make_environment(task)
    try:
        return demonstrator_of(environment) is not None
    finally:
        environment.close()


class CountedExpert(Expert):
    """The demonstrators of a trial's environments, each with a random stream of its own."""

    def __init__(self, task: str, bounds: ActionBounds, seeds: SeedStreams, counter: Counter) -> None:
        """Args: the task's id and bounds of actions, the trial's streams and counter."""
        self._task, self._bounds, self._seeds, self._counter = task, bounds, seeds, counter
        self._at_work: dict[int, tuple[Demonstrator, int]] = {}  # by the environment's number; with its episode

    def action(self, environment: Env) -> np.ndarray:
        counted = counted_environment(environment, self._counter)
        if not counted.running:
            raise MethodError("the expert was asked in an environment without a running episode; reset it first")
        self._counter.query()
        chosen = np.array(self._demonstrator(counted).act())
        size = len(self._bounds.low)
        if chosen.shape != (size,) or not np.isfinite(chosen).all():
            raise MethodError(f"the expert of {self._task} gave the action {chosen}, not {size} finite numbers")
        return self._bounds.to_fractions(chosen).astype(np.float32)

    def _demonstrator(self, counted: CountedEnv) -> Demonstrator:
        found, episode = self._at_work.get(counted.number) or (self._make(counted), 0)
        if episode != counted.episode:
            found.reset()
        self._at_work[counted.number] = found, counted.episode
        return found

    def _make(self, counted: CountedEnv) -> Demonstrator:
        make = demonstrator_of(counted)
        assert make is not None, "there would be no expert otherwise"
        return make(self._seeds.generator(f"expert {counted.number}"))

    def can_be_captured(self) -> bool:
        """Whether the state of every demonstrator that was asked can be saved."""
        return all(hasattr(found, "get_state") and hasattr(found, "set_state") for found, _ in self._at_work.values())

    def get_state(self) -> State:
        """What the demonstrators remember; only where it `can_be_captured`."""
        found: dict[int, Any] = self._at_work  # type: ignore[assignment]
        return {"demonstrators": [[key, one.get_state(), episode] for key, (one, episode) in found.items()]}

    def set_state(self, state: State, environments: list[CountedEnv]) -> None:
        """Continue from what `get_state` gave, in these environments."""
        by_number = {environment.number: environment for environment in environments}
        for number, own, episode in state["demonstrators"]:
            if number in by_number:
                found: Any = self._make(by_number[number])
                found.set_state(own)
                self._at_work[number] = found, episode
