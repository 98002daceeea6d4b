"""Estimates how long trials take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.planning.profiles import Profile
from benchmarks.records.schema import Summary, Trial
from methods import registry

START_SECONDS = 4.0
"""How long a worker takes to start, roughly."""
UNKNOWN_SECONDS = 60.0
"""For methods that neither records nor the profile know."""


@dataclass
class _Cost:
    """Sums over some trials: their number, seconds, and the environment steps they took and were allowed."""

    trials: int = 0
    seconds: float = 0.0
    steps: int = 0
    most_steps: int = 0

    def add(self, record: Summary) -> None:
        usage = record.usage
        self.trials += 1
        self.seconds += usage.training_seconds + usage.evaluation_seconds + START_SECONDS
        self.steps += usage.environment_steps
        self.most_steps += record.trial.budget.environment_steps

    def expect(self, trial: Trial) -> float:
        """Seconds of another trial: the mean of these, or where the budget of steps ended them, in proportion to it."""
        if self.most_steps and self.steps > 0.9 * self.most_steps:
            return self.seconds / self.most_steps * trial.budget.environment_steps
        return self.seconds / self.trials


class Estimator:
    """Estimates how long trials take, from records with the same method, task and budget.

    Falls back to records with another budget, then to the profile's guess, longer in proportion to the environment
    steps beyond the profile's.
    """

    def __init__(self, profile: Profile, records: Iterable[Summary]) -> None:
        self._profile = profile
        self._known: dict[tuple[Any, ...], _Cost] = defaultdict(_Cost)
        for record in records:
            self.learn(record)

    def learn(self, record: Summary) -> None:
        """Take a record into account; a failed one ended early and is left out."""
        if record.status == "ok":
            for key in _alike(record.trial):
                self._known[key].add(record)

    def seconds(self, trial: Trial) -> float:
        """Expected duration of a trial that was asked for: its method may be a file, which is imported."""
        known = (self._known[key] for key in _alike(trial) if key in self._known)
        if cost := next(known, None):
            return cost.expect(trial)
        method = registry.resolve(trial.method).name
        usual = self._profile.budget_of(method, trial.task, {})
        longer = trial.budget.environment_steps / max(usual.environment_steps, 1)
        return self._profile.seconds.get(method, UNKNOWN_SECONDS) * max(longer, 1.0)

    @property
    def guessing(self) -> bool:
        """Whether nothing is known from records."""
        return not self._known


def _alike(trial: Trial) -> tuple[tuple[Any, ...], ...]:
    """Keys of the trials that this one is compared with, the most similar first."""
    kind = (trial.method, trial.task)
    return (*kind, trial.budget.environment_steps, trial.budget.policy_updates), kind


def duration(seconds: float) -> str:
    """Seconds in people's units: "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
