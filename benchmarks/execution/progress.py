"""Progress of running trials: a live view with a bar for each, or plain lines on a pipe and in CI."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from benchmarks.errors import one_line
from benchmarks.execution.console import new_console
from benchmarks.planning.estimate import Estimator, duration, together
from benchmarks.records.schema import MODE_WORDS, CurvePoint, Record, Trial, Usage

QUIET_SECONDS = 60.0
"""Longest time without a line about progress where there are no bars."""
OWN_SPEED = 0.2
"""Share of a training after which its own speed alone tells how long the rest takes."""
WIDE = 92
"""Columns of a terminal that has room for the bars of single trials beside their steps."""


class PlainView:
    """A line for each trial that ends, and one about progress now and then."""

    def __init__(
        self,
        names: Mapping[str, str],
        to_do: Sequence[Trial],
        estimator: Estimator,
        jobs: int,
        log_of: Mapping[str, str] | None = None,
    ) -> None:
        """Show nothing yet.

        Args:
            names: what to call each trial, by its id.
            to_do: the trials of this run.
            estimator: how long they take.
            jobs: how many run at once.
            log_of: where what a trial printed can be read, by its id.
        """
        self._names, self._estimator, self._jobs, self._log_of = names, estimator, jobs, log_of or {}
        self._open = {trial.id: trial for trial in to_do}
        self._total = len(to_do)
        self._shares: dict[str, float] = {}
        self._usage: dict[str, Usage] = {}
        self._points: dict[str, CurvePoint] = {}
        self._last_line = monotonic()
        self.console = new_console()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def name(self, trial: Trial) -> str:
        return self._names[trial.id]

    def started(self, trial: Trial) -> None:
        self._shares[trial.id] = 0.0
        self._usage.pop(trial.id, None)
        self._points.pop(trial.id, None)

    def progressed(self, trial: Trial, share: float, usage: Usage) -> None:
        self._shares[trial.id], self._usage[trial.id] = share, usage

    def evaluated(self, trial: Trial, point: CurvePoint) -> None:
        self._points[trial.id] = point

    def finished(self, record: Record) -> None:
        trial = record.trial.id
        self._estimator.learn(record)
        self._open.pop(trial, None)
        self._shares.pop(trial, None)
        line = f"[{self._done}/{self._total}] {self._names[trial]}: {outcome(record)}"
        if record.status != "ok" and trial in self._log_of:
            line += f" (output: {self._log_of[trial]})"
        self.note(f"{line}; {self.time_left()}" if self._open else line)

    def note(self, message: str) -> None:
        self._last_line = monotonic()
        self.console.print(one_line(message))

    def tick(self) -> None:
        if monotonic() - self._last_line > QUIET_SECONDS and self._shares:
            running = ", ".join(f"{self._names[i]} {self._state(i)}" for i in self._shares)
            self.note(f"[{self._done}/{self._total}] running: {running}; {self.time_left()}")

    def time_left(self) -> str:
        """An estimate, in words."""
        return f"about {duration(together(map(self._seconds_left, self._open.values()), self._jobs))} left"

    def _seconds_left(self, trial: Trial) -> float:
        """What a trial still takes: more and more by its own speed, less and less by the estimate."""
        expected, share = self._estimator.seconds(trial), self._shares.get(trial.id, 0.0)
        if share and (usage := self._usage.get(trial.id)):
            known = min(share / OWN_SPEED, 1.0)
            own = (usage.training_seconds + usage.evaluation_seconds) / share
            expected = known * own + (1.0 - known) * expected
        return expected * (1.0 - share)

    @property
    def _done(self) -> int:
        return self._total - len(self._open)

    def _state(self, trial: str) -> str:
        """How far a running trial is, and its success in the newest evaluation."""
        done = f"{100 * self._shares[trial]:.0f} %" if self._shares[trial] < 1.0 else "evaluating"
        if steps := _steps(self._usage.get(trial)):
            done += f", {steps}"
        return f"{done} (success {_so_far(self._points[trial])})" if trial in self._points else done


class LiveView(PlainView):
    """A bar for all trials, and a line with progress, steps and success for each that is running."""

    def __init__(
        self,
        names: Mapping[str, str],
        to_do: Sequence[Trial],
        estimator: Estimator,
        jobs: int,
        log_of: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(names, to_do, estimator, jobs, log_of)
        name = TextColumn("{task.description}", markup=False, table_column=_column(ratio=1))
        self._all = Progress(
            name,
            BarColumn(bar_width=10),
            TextColumn("{task.completed}/{task.total}", table_column=_column()),
            TextColumn("{task.fields[left]}", table_column=_column()),
            expand=True,
        )
        self._overall = self._all.add_task("all trials", total=self._total, left="")
        self._running = Progress(
            name,
            *([BarColumn(bar_width=10)] if self.console.width >= WIDE else []),
            TextColumn("{task.percentage:>3.0f} %", table_column=_column()),
            TextColumn("{task.fields[steps]}", table_column=_column()),
            TextColumn("{task.fields[success]}", table_column=_column(width=17)),
            TimeElapsedColumn(),
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}
        view = Group(self._all, self._running)
        self._live = Live(view, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> PlainView:
        self._refresh()
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.stop()

    def started(self, trial: Trial) -> None:
        super().started(trial)
        self._remove_bar(trial.id)
        self._bars[trial.id] = self._running.add_task(self._names[trial.id], total=1.0, steps="", success="")
        self._refresh()

    def progressed(self, trial: Trial, share: float, usage: Usage) -> None:
        super().progressed(trial, share, usage)
        self._running.update(self._bars[trial.id], completed=share, steps=_steps(usage))
        if share >= 1.0:
            self._running.update(self._bars[trial.id], success="evaluating")
        self._refresh()

    def evaluated(self, trial: Trial, point: CurvePoint) -> None:
        super().evaluated(trial, point)
        self._running.update(self._bars[trial.id], success=f"success {_so_far(point)}")

    def finished(self, record: Record) -> None:
        self._remove_bar(record.trial.id)
        super().finished(record)
        self._refresh()

    def tick(self) -> None:
        self._refresh()

    def _remove_bar(self, trial: str) -> None:
        if trial in self._bars:
            self._running.remove_task(self._bars.pop(trial))

    def _refresh(self) -> None:
        self._all.update(self._overall, completed=self._done, left=self.time_left())


def new_view(
    names: Mapping[str, str],
    to_do: Sequence[Trial],
    estimator: Estimator,
    jobs: int,
    log_of: Mapping[str, str] | None = None,
    plain: bool = False,
) -> PlainView:
    """Bars on a terminal; lines elsewhere, in CI and where they are asked for."""
    live = new_console().is_terminal and not os.environ.get("CI") and not plain
    return (LiveView if live else PlainView)(names, to_do, estimator, jobs, log_of)


def outcome(record: Record) -> str:
    """How a trial ended, in a few words."""
    seconds = duration(record.usage.training_seconds + record.usage.evaluation_seconds)
    if record.status == "ok":
        success = (
            f"{100 * record.success(mode):.0f} % {word}" for mode, word in MODE_WORDS.items() if mode in record.final
        )
        return f"success {', '.join(success)}, in {seconds}"
    return f"{record.status} after {seconds}: {record.error.splitlines()[0] if record.error else 'no reason given'}"


def _steps(usage: Usage | None) -> str:
    """What moves within a phase of minutes: "12,345 updates", or "4,096 steps" of the environment before the first."""
    if usage and usage.gradient_steps:
        return f"{usage.gradient_steps:,} updates"
    return f"{usage.environment_steps:,} steps" if usage and usage.environment_steps else ""


def _so_far(point: CurvePoint) -> str:
    """Success with sampled and with deterministic actions, as "40 / 35 %"."""
    return " / ".join("-" if x is None else f"{100 * x:.0f}" for x in (point.sampled, point.mean)) + " %"


def _column(ratio: int | None = None, width: int | None = None) -> Column:
    return Column(ratio=ratio, width=width, no_wrap=True, overflow="ellipsis")
