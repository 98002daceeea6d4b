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
    """Sums over some trials: their number, seconds, the environment steps they took, and what they were allowed."""

    trials: int = 0
    training: float = 0.0
    evaluation: float = 0.0
    steps: int = 0
    most_steps: int = 0
    most_updates: int = 0

    def add(self, record: Summary) -> None:
        usage = record.usage
        self.trials += 1
        self.training += usage.training_seconds
        self.evaluation += usage.evaluation_seconds + START_SECONDS
        self.steps += usage.environment_steps
        self.most_steps += record.trial.budget.environment_steps
        self.most_updates += record.trial.budget.policy_updates

    def expect(self, trial: Trial) -> float:
        """Seconds of another trial: the mean of these, with a training in proportion to its environment steps where
        these ended theirs, otherwise to its updates."""
        by_steps = self.most_steps and self.steps > 0.9 * self.most_steps
        allowed = trial.budget.environment_steps if by_steps else trial.budget.policy_updates
        most = self.most_steps if by_steps else self.most_updates
        training = self.training / most * allowed if most else self.training / self.trials
        return training + self.evaluation / self.trials


class Estimator:
    """Estimates how long trials take, from records with the same method, task and budget.

    Falls back to records with another budget, then to the profile's guess. This is longer in proportion to whichever
    part of the trial's budget is most above the profile's, and never shorter: a trial also starts and is evaluated.
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
        usual = dict(self._profile.budget_of(method, trial.task, {}))
        longer = (allowed / usual[name] for name, allowed in trial.budget if usual[name])
        return self._profile.seconds.get(method, UNKNOWN_SECONDS) * max([1.0, *longer])

    @property
    def guessing(self) -> bool:
        """Whether nothing is known from records."""
        return not self._known


def _alike(trial: Trial) -> tuple[tuple[Any, ...], ...]:
    """Keys of the trials that this one is compared with, the most similar first."""
    kind = (trial.method, trial.task)
    return (*kind, trial.budget.environment_steps, trial.budget.policy_updates), kind


def together(seconds: Iterable[float], jobs: int) -> float:
    """How long trials take that are run so many at once: at least as long as the longest."""
    each = list(seconds)
    return max(sum(each) / jobs, max(each, default=0.0))


def duration(seconds: float) -> str:
    """Seconds in people's units: "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
