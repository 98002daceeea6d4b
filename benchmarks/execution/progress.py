"""What the user sees while trials run: a live view with a bar each, or plain lines on a pipe and in CI."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks.planning.profiles import Profile
from benchmarks.records.schema import MODES, Record, Summary, Trial
from methods import registry

START_SECONDS = 4.0
"""What a worker needs to start, roughly."""
UNKNOWN_SECONDS = 60.0
"""For methods that neither records nor the profile know."""


@dataclass
class _Cost:
    """Of some trials together: how many they are, their seconds, and the environment steps they took and could have."""

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
        """Seconds of another trial: as long as these took, or where steps are what ended them, a step as long."""
        if self.most_steps and self.steps > 0.9 * self.most_steps:
            return self.seconds / self.most_steps * trial.budget.environment_steps
        return self.seconds / self.trials


class Estimator:
    """How long trials take: what records of the same method, task and budget say; or of another budget, as none of this
    one is there yet; else the profile's guess, longer with more environment steps than the profile gives."""

    def __init__(self, profile: Profile, records: Iterable[Summary]) -> None:
        self._profile = profile
        self._known: dict[tuple[Any, ...], _Cost] = defaultdict(_Cost)
        for record in records:
            self.learn(record)

    def learn(self, record: Summary) -> None:
        """Take a record into account; failed ones ended early and say nothing."""
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
    """The kinds of trials that say how long this one takes, the most telling first."""
    kind = (trial.method, trial.task)
    return (*kind, trial.budget.environment_steps, trial.budget.policy_updates), kind


class PlainView:
    """A line for each trial that ends."""

    def __init__(self, names: Mapping[str, str], to_do: Sequence[Trial], estimator: Estimator, jobs: int) -> None:
        """`names`: what to call each trial, by its id."""
        self._names, self._estimator, self._jobs = names, estimator, jobs
        self._open = {trial.id: trial for trial in to_do}
        self._total = len(to_do)
        self._shares: dict[str, float] = {}
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def started(self, trial: Trial) -> None:
        self._shares[trial.id] = 0.0

    def progressed(self, trial: Trial, share: float) -> None:
        self._shares[trial.id] = share

    def finished(self, record: Record) -> None:
        self._estimator.learn(record)
        self._open.pop(record.trial.id, None)
        self._shares.pop(record.trial.id, None)
        done = self._total - len(self._open)
        line = f"[{done}/{self._total}] {self._names[record.trial.id]}: {outcome(record)}"
        self.note(f"{line}; {self.time_left()}" if self._open else line)

    def note(self, message: str) -> None:
        self.console.print(message)

    def time_left(self) -> str:
        """An estimate, in words."""
        seconds = sum(self._estimator.seconds(t) * (1.0 - self._shares.get(i, 0.0)) for i, t in self._open.items())
        return f"about {duration(seconds / self._jobs)} left"


class LiveView(PlainView):
    """Bars: one for all trials and one for each that is running."""

    def __init__(self, names: Mapping[str, str], to_do: Sequence[Trial], estimator: Estimator, jobs: int) -> None:
        super().__init__(names, to_do, estimator, jobs)
        text, bar = TextColumn("{task.description}", markup=False), BarColumn(bar_width=30)
        self._all = Progress(text, bar, TextColumn("{task.completed}/{task.total}"), TextColumn("{task.fields[left]}"))
        self._overall = self._all.add_task("all trials", total=self._total, left="")
        self._running = Progress(text, bar, TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
        self._bars: dict[str, TaskID] = {}
        self._live = Live(Group(self._all, self._running), console=self.console, refresh_per_second=4)

    def __enter__(self) -> PlainView:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def started(self, trial: Trial) -> None:
        super().started(trial)
        self._remove_bar(trial.id)
        self._bars[trial.id] = self._running.add_task(self._names[trial.id], total=1.0)
        self._refresh()

    def progressed(self, trial: Trial, share: float) -> None:
        super().progressed(trial, share)
        self._running.update(self._bars[trial.id], completed=share)
        self._refresh()

    def finished(self, record: Record) -> None:
        self._remove_bar(record.trial.id)
        super().finished(record)
        self._refresh()

    def _remove_bar(self, trial: str) -> None:
        if trial in self._bars:
            self._running.remove_task(self._bars.pop(trial))

    def _refresh(self) -> None:
        self._all.update(self._overall, completed=self._total - len(self._open), left=self.time_left())


def new_view(names: Mapping[str, str], to_do: Sequence[Trial], estimator: Estimator, jobs: int) -> PlainView:
    """Bars on a terminal, lines elsewhere and in CI."""
    live = Console(stderr=True).is_terminal and not os.environ.get("CI")
    return (LiveView if live else PlainView)(names, to_do, estimator, jobs)


def outcome(record: Record) -> str:
    """How a trial ended, in a few words."""
    seconds = duration(record.usage.training_seconds + record.usage.evaluation_seconds)
    if record.status == "ok":
        reached = ", ".join(f"{record.success(mode):.2f} {mode}" for mode in MODES if mode in record.final)
        return f"success {reached}, in {seconds}"
    return f"{record.status} after {seconds}: {record.error.splitlines()[0] if record.error else 'no reason given'}"


def duration(seconds: float) -> str:
    """Seconds in people's units: "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
