"""Runs trials to their records: claims each in the store, tries again what died, and tells a view what happens.

Where trials run is a workplace's matter: processes of this machine (`local`) or of a cluster's nodes (`ray_cluster`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import BaseFileLock

from benchmarks.errors import RunError, WorkerDied
from benchmarks.records import provenance
from benchmarks.records.schema import CurvePoint, Provenance, Record, Status, Trial, Usage, read_record
from benchmarks.records.store import Store
from benchmarks.trial.checkpoints import history
from benchmarks.trial.protocol import NOTHING, Abort, Notice, Progress, TrialRequest, is_record, read_message
from methods import registry

RETRIES = 2
"""How often a trial is started again whose process died without a result (killed, out of memory)."""
LOOK_SECONDS = 1.0
"""How often to look whether there is more room, or a trial that another run is doing is finished."""


class Workplace(Protocol):
    """Where trials are done."""

    def room(self) -> int:
        """How many trials can be at work at once; it may change while they are."""

    def work(self, order: TrialRequest) -> AsyncGenerator[bytes, None]:
        """Do a trial in a process of its own, which ends when the generator is closed.

        Yields:
            `messages.BEGUN` once the process has begun, then the lines it says; see `benchmarks.trial.worker`.

        Raises:
            WorkerDied: it did not end well.
        """


class View(Protocol):
    """Who is told what happens."""

    def started(self, trial: Trial) -> None:
        """A trial begins, or begins again."""

    def progressed(self, trial: Trial, share: float) -> None:
        """A share of a trial is done, in [0, 1]."""

    def finished(self, record: Record) -> None:
        """A trial has its record; it may have been made by another run on the same folder."""

    def note(self, message: str) -> None:
        """Something worth a line."""


@dataclass
class _Heard:
    """What a worker has told so far."""

    usage: Usage = NOTHING
    curve: list[CurvePoint] = field(default_factory=list)
    record: Record | None = None


class Engine:
    """Runs trials at a workplace and keeps their records in a store."""

    def __init__(
        self,
        store: Store,
        view: View,
        workplace: Workplace,
        timeout: float | None,
        save_every: float,
    ) -> None:
        """Make an engine.

        Args:
            store: where records go.
            view: is told what happens.
            workplace: where trials are done.
            timeout: seconds after which a trial is ended and recorded as timed out; None is never.
            save_every: seconds between two snapshots of a trial; 0 takes none.
        """
        self._store, self._view, self._workplace = store, view, workplace
        self._timeout, self._save_every = timeout, save_every
        self._waiting: list[Trial] = []

    def run(self, trials: Sequence[Trial], codes: Mapping[str, str], states: Mapping[str, str]) -> None:
        """Do the trials in this order and return when each has a record.

        Args:
            trials: what to do.
            codes: the code digest of each, by its id.
            states: what `Store.state` said of each when it was planned; where that changed, another run has done it.

        Raises:
            RunError: a record could not be written, or source files changed. All workers are ended.
            KeyboardInterrupt: as it comes, and for SIGTERM, which clusters send. All workers are ended.
        """
        self._waiting = list(trials)
        self._codes, self._states = codes, states
        try:
            asyncio.run(self._run())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        whole = asyncio.current_task()
        assert whole is not None
        with suppress(RuntimeError):  # Windows refuses, and so does any thread but the main one
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, whole.cancel)
        async with asyncio.TaskGroup() as group:
            while self._waiting:
                while len(running) < self._workplace.room() and (claimed := self._claim()):
                    task = group.create_task(self._do(*claimed))
                    running.add(task)
                    task.add_done_callback(running.discard)
                pause = asyncio.create_task(asyncio.sleep(LOOK_SECONDS))
                await asyncio.wait([*running, pause], return_when=asyncio.FIRST_COMPLETED)
                pause.cancel()

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
            scratch = self._store.scratch(trial.id)
            for retries_left in reversed(range(RETRIES + 1)):
                record, died = await self._attempt(trial, scratch)
                if not (died and retries_left):
                    break
                self._store.save_attempt(record)
                cause = record.error.splitlines()[0]
                self._view.note(f"{trial.method} on {trial.task}, seed {trial.seed}: {cause}; trying again")
                scratch = self._store.scratch(trial.id)
            self._store.save(record, scratch / "policy")
            if not died and record.status != "timed out":  # those may go on where they were, if they are tried again
                self._store.drop_snapshots(trial.id)
            self._view.finished(record)
        finally:
            lock.release()

    def _require_same_code(self, trial: Trial) -> None:
        """Stop before trials of one run are made by different code; each of them would have to be repeated."""
        digest = self._codes[trial.id]
        files = provenance.source_files(registry.resolve(trial.method), trial.task)
        if provenance.digest(files) != digest:
            names = provenance.changed_files(self._store.code(digest), files)
            raise RunError(
                f"source files changed while trials were running ({', '.join(names)}); what is finished is kept. "
                "Undo the change and run the same command to go on, or start afresh with --results NEW_FOLDER"
            )

    async def _attempt(self, trial: Trial, scratch: Path) -> tuple[Record, bool]:
        """One worker's life: the record of its trial, and whether it died without a result."""
        made_by = provenance.describe(self._codes[trial.id])
        heard = _Heard()
        snapshots = self._store.snapshots(trial.id).resolve() if self._save_every else None
        order = TrialRequest(
            trial=trial,
            code_digest=self._codes[trial.id],
            scratch=scratch.resolve(),
            snapshots=snapshots,
            save_every=self._save_every,
        )
        error = "the process ended without a result"
        try:
            async with aclosing(self._workplace.work(order)) as lines:
                await anext(lines)  # it has begun; until then it waited for a place, which is no part of the timeout
                self._view.started(trial)
                async with asyncio.timeout(self._timeout):
                    async for line in lines:
                        self._hear(trial, line, heard)
        except TimeoutError:
            error = f"ended after {self._timeout:g} s (--timeout)"
            return _unfinished(trial, "timed out", error, heard, made_by, snapshots), False
        except WorkerDied as death:
            error = str(death)
        if heard.record is not None:
            return heard.record, False
        return _unfinished(trial, "failed", error, heard, made_by, snapshots), True

    def _hear(self, trial: Trial, line: bytes, heard: _Heard) -> None:
        try:
            if is_record(line):
                heard.record = read_record(line, "the worker's result")
                return
            event = read_message(line)
        except ValueError:
            return  # a line cut by the worker's death; a cut record is no record
        if isinstance(event, Abort):
            raise RunError(event.reason)
        if isinstance(event, CurvePoint):
            heard.curve.append(event)
        elif isinstance(event, Notice):
            self._view.note(event.text)
        elif isinstance(event, Progress):
            heard.usage = event.usage
            self._view.progressed(trial, event.share)


def _unfinished(
    trial: Trial, status: Status, error: str, heard: _Heard, made_by: Provenance, snapshots: Path | None
) -> Record:
    made_by = made_by.model_copy(update=history(snapshots))
    return Record(trial=trial, status=status, error=error, curve=heard.curve, usage=heard.usage, provenance=made_by)
