"""Runs trials until all have records: it locks each in the store, retries those that died, and reports to a view.

Executors decide where trials run: in processes on this machine (`local`) or on a cluster's nodes (`ray_cluster`), or in
the runner's own process (`in_process`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import BaseFileLock

from benchmarks.errors import RunError, RunStopped, WorkerDied, one_line
from benchmarks.execution.event_files import EventFile, folder_name
from benchmarks.execution.executor import Executor, Message, Started
from benchmarks.execution.signals import SIGNALS
from benchmarks.records import provenance
from benchmarks.records.schema import CurvePoint, Provenance, Record, Status, Trial, Usage
from benchmarks.records.store import Store
from benchmarks.trial.checkpoints import STATE, history
from benchmarks.trial.protocol import NOTHING, Abort, Interrupted, Notice, Progress, TrialRequest
from envs.commands import plural
from methods import registry

RETRIES = 2
"""How often a trial is started again whose process died without a result (killed, out of memory)."""
LOOK_SECONDS = 1.0
"""How often to look whether there are more slots, or a trial that another run is doing is finished."""
STOP_SECONDS = 20.0
"""How long running trials may take to save a checkpoint once the run is to stop. Clusters kill after 30 s."""
SETTLE_SECONDS = 0.1
"""Time to read what workers have said before the signal came."""
ONE_PRESS_SECONDS = 0.2
"""Signals that follow one another so quickly are one: a wrapper passes on the Ctrl-C that reached us as well."""


class View(Protocol):
    """Shows a run to the user."""

    def name(self, trial: Trial) -> str:
        """What to call a trial."""

    def started(self, trial: Trial) -> None:
        """A trial starts, or starts again."""

    def progressed(self, trial: Trial, share: float, usage: Usage) -> None:
        """A fraction of a trial is done, in [0, 1], at the cost of `usage` so far."""

    def evaluated(self, trial: Trial, point: CurvePoint) -> None:
        """A trial has been evaluated while it trains."""

    def finished(self, record: Record) -> None:
        """A trial has its record; it may have been made by another run on the same folder."""

    def note(self, message: str) -> None:
        """Something worth a line."""

    def tick(self) -> None:
        """About a second has passed."""


@dataclass
class Report:
    """What a worker has reported so far."""

    started: float | None = None
    usage: Usage = NOTHING
    curve: list[CurvePoint] = field(default_factory=list)
    training: bool = False
    last_word: Record | Interrupted | None = None


class Scheduler:
    """Runs trials on an executor and keeps their records in a store."""

    def __init__(self, store: Store, view: View, executor: Executor, timeout: float | None, save_every: float) -> None:
        """Make a scheduler.

        Args:
            store: where records go.
            view: shows the run to the user.
            executor: where trials run.
            timeout: seconds after which a trial is ended and recorded as timed out; None is never.
            save_every: seconds between two snapshots of a trial; 0 takes none.
        """
        self._store, self._view, self._executor = store, view, executor
        self._timeout, self._save_every = timeout, save_every
        self._waiting: list[Trial] = []
        self._running: dict[asyncio.Task[None], Trial] = {}
        self._reports: dict[str, Report] = {}
        self._stop_asked: float | None = None
        self._unsaved: dict[str, str] = {}
        self._noticed: set[str] = set()

    def run(self, trials: Sequence[Trial], codes: Mapping[str, str], states: Mapping[str, str]) -> None:
        """Run the trials in this order and return when each has a record.

        Args:
            trials: what to do.
            codes: the code digest of each, by its id.
            states: what `Store.state` said of each when it was planned; where that changed, another run has done it.

        Raises:
            RunError: a record could not be written, or source files changed. All workers are killed.
            RunStopped: Ctrl-C, SIGTERM or SIGHUP. Running trials have saved a checkpoint if they could do so soon.
        """
        self._waiting = list(trials)
        self._codes, self._states = codes, states
        try:
            asyncio.run(self._run())
        except KeyboardInterrupt:  # the second one while a trial runs in this process
            self._stop_asked = self._stop_asked or 0.0
        if self._stop_asked is not None:
            raise RunStopped(self._what_is_kept(trials))

    async def _run(self) -> None:
        self._signalled = asyncio.Event()
        with self._signal_handlers():
            try:
                while (self._waiting or self._running) and self._stop_asked is None:
                    while len(self._running) < self._executor.slots() and (claimed := self._claim()):
                        self._running[asyncio.create_task(self._do(*claimed))] = claimed[0]
                    await self._wait(LOOK_SECONDS)
                    self._view.tick()
                if self._stop_asked is not None and self._running:
                    await self._wind_down()
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        """Until a trial ends, a signal comes, or so long; raises what a trial raised."""
        signalled = asyncio.create_task(self._signalled.wait())
        await asyncio.wait([*self._running, signalled], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            if not task.cancelled():
                task.result()

    async def _wind_down(self) -> None:
        """Let running trials save a checkpoint and end, for so long or until the next signal."""
        self._signalled.clear()
        self._executor.stop()
        await self._wait(SETTLE_SECONDS)
        for task, trial in self._running.items():
            if trial.id not in self._reports or not self._reports[trial.id].training:
                task.cancel()  # it has nothing to save yet
        training = sum(report.training for report in self._reports.values())
        if training:
            trials = "1 trial saves its checkpoint" if training == 1 else f"{training} trials save their checkpoints"
            self._view.note(f"stopping: {trials} (up to {STOP_SECONDS:.0f} s; Ctrl-C again ends at once)")
        clock = asyncio.get_running_loop().time
        until = clock() + STOP_SECONDS
        while self._running and not self._signalled.is_set() and clock() < until:
            await self._wait(until - clock())

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        """Have signals ask this run to stop, but those that were ignored, as by nohup and in the background."""
        loop = asyncio.get_running_loop()
        earlier = {}

        def stop() -> None:
            if self._stop_asked is None:
                self._stop_asked = loop.time()
            elif loop.time() - self._stop_asked < ONE_PRESS_SECONDS:
                return
            self._signalled.set()

        for number in SIGNALS:
            with suppress(RuntimeError, ValueError):  # Windows refuses, and so does any thread but the main one
                if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                    loop.add_signal_handler(number, stop)
                    earlier[number] = handler
        try:
            yield
        finally:
            for number, handler in earlier.items():
                loop.remove_signal_handler(number)
                # Whoever is impatient by now would only interrupt the tidying up.
                signal.signal(number, handler if self._stop_asked is None else signal.SIG_IGN)

    def _what_is_kept(self, trials: Sequence[Trial]) -> str:
        """What becomes of each trial when the run is started again, in words."""
        left = [trial for trial in trials if self._store.state(trial.id) == self._states[trial.id]]
        resumable = [trial for trial in left if self._save_every and (self._store.snapshots(trial.id) / STATE).exists()]
        parts = [f"{len(trials) - len(left)} of {plural(len(trials), 'trial')} finished"]
        if resumable:
            parts.append(f"{len(resumable)} resume{'s' * (len(resumable) == 1)} from a checkpoint")
        for trial in left:
            reason = self._unsaved.get(trial.id)
            if reason and trial not in resumable:
                parts.append(f"{self._view.name(trial)} starts over: {reason}")
        return "; ".join(parts)

    def _claim(self) -> tuple[Trial, BaseFileLock] | None:
        """The first waiting trial that no other run is doing, and its lock."""
        for trial in list(self._waiting):
            lock = self._store.claim(trial.id)
            if lock is None:
                continue
            self._waiting.remove(trial)
            if self._store.state(trial.id) == self._states[trial.id]:
                return trial, lock
            lock.release()
            for record in self._store.read([trial.id])[0].values():
                self._view.finished(record)
        return None

    async def _do(self, trial: Trial, lock: BaseFileLock) -> None:
        """Attempt a trial until it has a result, and keep it."""
        try:
            self._require_same_code(trial)
            retries_left = RETRIES
            while True:
                scratch = self._store.scratch(trial.id)
                record, died = await self._attempt(trial, scratch)
                if record is None or (died and self._stop_asked is not None):
                    return
                if not died or not retries_left:
                    break
                retries_left -= 1
                self._store.save_attempt(record)
                cause = record.error.splitlines()[0]
                self._view.note(one_line(f"{self._view.name(trial)}: {cause}; trying again"))
            self._store.save(record, scratch / "policy")
            if not died and record.status != "timed out":  # those may be resumed, if they are tried again
                self._store.drop_snapshots(trial.id)
            self._view.finished(record)
        finally:
            self._reports.pop(trial.id, None)
            lock.release()

    def _require_same_code(self, trial: Trial) -> None:
        """Stop before trials of one run are made by different code; each of them would have to be repeated."""
        digest = self._codes[trial.id]
        files = provenance.source_files(registry.resolve(trial.method), trial.task)
        if provenance.digest(files) != digest:
            names = provenance.changed_files(self._store.code(digest), files)
            raise RunError(
                f"source files changed while trials were running ({', '.join(names)}); what is finished is kept. "
                "Undo the change and run the same command to resume, or start over with --results NEW_FOLDER"
            )

    async def _attempt(self, trial: Trial, scratch: Path) -> tuple[Record | None, bool]:
        """One worker's life: the record of its trial, None if it was stopped; and whether it died without one."""
        made_by = provenance.describe(self._codes[trial.id])
        report = self._reports[trial.id] = Report()
        snapshots = self._store.snapshots(trial.id).resolve() if self._save_every else None
        request = TrialRequest(
            trial=trial,
            code_digest=self._codes[trial.id],
            scratch=scratch.resolve(),
            snapshots=snapshots,
            save_every=self._save_every,
            log=self._store.log(trial.id).resolve(),
        )
        events = EventFile(self._store.root / "tensorboard" / folder_name(self._view.name(trial), trial.id))
        error, loop = "the process ended without a result", asyncio.get_running_loop()
        status: Status = "failed"
        try:
            async with asyncio.timeout(None) as limit:

                def listen(message: Message) -> None:
                    if isinstance(message, Started):
                        report.started = loop.time()
                        if self._timeout is not None:
                            limit.reschedule(report.started + self._timeout)
                    events.hear(message)
                    self._handle(trial, message, report)

                await self._executor.execute(request, listen)
        except TimeoutError:
            error, status = f"ended after {self._timeout:g} s (--timeout)", "timed out"
        except WorkerDied as death:
            error = str(death)
        except asyncio.CancelledError:
            if not isinstance(report.last_word, Record):
                self._unsaved.setdefault(trial.id, "it saved no checkpoint in time" if report.training else "")
                raise  # else it was finished, though its process has not ended yet
        finally:
            events.close()
        if isinstance(report.last_word, Interrupted):
            self._unsaved[trial.id] = report.last_word.unsaved
            return None, False
        if report.last_word is not None:
            return report.last_word, False
        if report.started is not None and not report.usage.training_seconds:  # it has not said what it used
            seconds = round(loop.time() - report.started, 3)
            report.usage = report.usage.model_copy(update={"training_seconds": seconds})
        return _unfinished(trial, status, error, report, made_by, snapshots), status == "failed"

    def _handle(self, trial: Trial, message: Message, report: Report) -> None:
        match message:
            case Abort():
                raise RunError(message.reason)
            case Record() | Interrupted():
                report.last_word = message
            case Started():
                self._view.started(trial)
            case Notice() if message.text not in self._noticed:  # other trials may well say the same
                self._noticed.add(message.text)
                self._view.note(f"{self._view.name(trial)}: {message.text}")
            case CurvePoint():
                report.curve.append(message)
                self._view.evaluated(trial, message)
            case Progress():
                report.usage, report.training = message.usage, True
                self._view.progressed(trial, message.share, message.usage)


def _unfinished(
    trial: Trial, status: Status, error: str, report: Report, made_by: Provenance, snapshots: Path | None
) -> Record:
    made_by = made_by.model_copy(update=history(snapshots))
    return Record(trial=trial, status=status, error=error, curve=report.curve, usage=report.usage, provenance=made_by)
