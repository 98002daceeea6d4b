"""Runs trials in local processes: one process and one thread a trial, as many at once as there are jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from filelock import BaseFileLock

from benchmarks import provenance
from benchmarks.errors import RunError
from benchmarks.messages import NOTHING, Order, read_event
from benchmarks.records import CurvePoint, Provenance, Record, Status, Trial, Usage, read_record
from benchmarks.store import Store
from methods import registry

RETRIES = 2
"""How often a trial is started again whose process died without a result (killed, out of memory)."""
OTHERS_SECONDS = 1.0
"""How often to look whether a trial that another run is doing is finished."""
STDERR_TAIL = 2000
LONGEST_EVENT = 2**28

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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


class LocalEngine:
    """Runs trials on this machine and keeps their records in a store."""

    def __init__(self, store: Store, view: View, jobs: int, timeout: float | None) -> None:
        """`timeout`: seconds after which a trial is ended and recorded as timed out; None is never."""
        self._store, self._view, self._jobs, self._timeout = store, view, jobs, timeout
        self._waiting: list[Trial] = []

    def run(self, trials: Sequence[Trial], codes: Mapping[str, str], states: Mapping[str, str]) -> None:
        """Do the trials in this order and return when each has a record.

        Args:
            trials: what to do.
            codes: the code digest of each, by its id.
            states: what `Store.state` said of each when it was planned; where that changed, another run has done it.

        Raises:
            RunError: a record could not be written, or source files changed. All workers are ended.
            KeyboardInterrupt: as it comes. All workers are ended.
        """
        self._waiting = list(trials)
        self._codes, self._states = codes, states
        try:
            asyncio.run(self._run())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as slots:
            for _ in range(min(self._jobs, len(self._waiting))):
                slots.create_task(self._slot())

    async def _slot(self) -> None:
        while self._waiting:
            claimed = self._claim()
            if claimed is None:
                await asyncio.sleep(OTHERS_SECONDS)
                continue
            trial, lock = claimed
            try:
                await self._do(trial)
            finally:
                lock.release()

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

    async def _do(self, trial: Trial) -> None:
        """Attempt a trial until it has a result, then keep it."""
        self._require_same_code(trial)
        scratch = self._store.scratch(trial.id)
        for retries_left in reversed(range(RETRIES + 1)):
            self._view.started(trial)
            record, died = await self._attempt(trial, scratch)
            if not (died and retries_left):
                break
            self._store.save_attempt(record)
            cause = record.error.splitlines()[0]
            self._view.note(f"{trial.method} on {trial.task}, seed {trial.seed}: {cause}; trying again")
            scratch = self._store.scratch(trial.id)
        self._store.save(record, scratch / "policy")
        self._view.finished(record)

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
        order = Order(trial=trial, code_digest=self._codes[trial.id], scratch=scratch.resolve())
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # so that Ctrl-C reaches the runner alone, and a worker's own children end with it
            limit=LONGEST_EVENT,
        )
        assert worker.stdin and worker.stdout and worker.stderr
        last_words = asyncio.create_task(_tail(worker.stderr))
        try:
            async with asyncio.timeout(self._timeout):
                with contextlib.suppress(ConnectionError):  # it died at once, which its exit status tells better
                    worker.stdin.write(order.model_dump_json().encode() + b"\n")
                    await worker.stdin.drain()
                async for line in worker.stdout:
                    self._hear(trial, line, heard)
                code = await worker.wait()
        except TimeoutError:
            error = f"ended after {self._timeout:g} s (--timeout)"
            return _unfinished(trial, "timed out", error, heard, made_by), False
        finally:
            _kill(worker)
            await worker.wait()
            words = await last_words
        if heard.record is not None:
            return heard.record, False
        error = f"the process {_cause(code)} without a result"
        return _unfinished(trial, "failed", "\n".join([error, *words.splitlines()]), heard, made_by), True

    def _hear(self, trial: Trial, line: bytes, heard: _Heard) -> None:
        try:
            if line.startswith(b'{"record":'):
                heard.record = read_record(line, "the worker's result")
                return
            event = read_event(line)
        except ValueError:
            return  # a line cut by the worker's death; a cut record is no record
        if isinstance(event, CurvePoint):
            heard.curve.append(event)
        else:
            heard.usage = event.usage
            self._view.progressed(trial, event.share)


def _unfinished(trial: Trial, status: Status, error: str, heard: _Heard, made_by: Provenance) -> Record:
    return Record(trial=trial, status=status, error=error, curve=heard.curve, usage=heard.usage, provenance=made_by)


def _environment() -> dict[str, str]:
    """One thread, the same hash order everywhere, and the modules this process sees."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(provenance.THREADS))
    return {**os.environ, **threads, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


async def _tail(stream: asyncio.StreamReader) -> str:
    """The end of what a worker wrote to its standard error."""
    kept = b""
    while chunk := await stream.read(2**16):
        kept = (kept + chunk)[-STDERR_TAIL:]
    return kept.decode(errors="replace").strip()


def _kill(worker: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


def _cause(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
