"""Runs trials in processes on this machine, each with one thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from benchmarks.errors import RunError, WorkerDied, cannot_write
from benchmarks.execution.executor import Listener, Started
from benchmarks.records import provenance
from benchmarks.records.schema import Record, RecordError, Trial
from benchmarks.trial.protocol import STOP, Abort, Interrupted, TrialRequest, read_message
from envs.commands import plural

LAST_WORDS = 2000
"""Most bytes of a dead worker's log that its record quotes."""
LONGEST_LINE = 2**28
POLL_SECONDS = 0.2
"""How often to look whether a silent worker is still alive."""
EXIT_SECONDS = 5.0
"""How long a worker may take to exit after its final message, for what libraries do at exit."""


class LocalExecutor:
    """This machine; see `benchmarks.execution.executor.Executor`."""

    module = "benchmarks.trial.worker"
    """What a worker runs."""

    def __init__(self, jobs: int) -> None:
        """`jobs`: how many trials may run at once."""
        self._jobs = jobs
        self._workers: set[Worker] = set()

    def slots(self) -> int:
        return self._jobs

    async def execute(self, request: TrialRequest, listener: Listener) -> None:
        worker = Worker(self.module, request)
        self._workers.add(worker)
        try:
            listener(Started())
            async with aclosing(worker.lines()) as lines:
                async for line in lines:
                    try:
                        message = read_message(line)
                    except ValueError as error:
                        if isinstance(error, RecordError) and line.endswith(b"\n"):
                            raise RunError(
                                f"{error}; was the suite updated during this run? What is finished is kept, and the "
                                "same command resumes"
                            ) from None
                        continue  # it was cut by the worker's death
                    listener(message)
                    if isinstance(message, Record | Interrupted | Abort):
                        await worker.exited(EXIT_SECONDS)
                        return
            await worker.exited(EXIT_SECONDS)
        finally:
            self._workers.discard(worker)
            code = worker.end()
        raise WorkerDied("\n".join([f"the process {_cause(code)} without a result", *worker.last_words()]))

    def stop(self) -> None:
        for worker in self._workers:
            worker.send(STOP)


class Worker:
    """A process that was sent a request.

    It is the leader of a session, so that Ctrl-C reaches the runner alone and its children can be killed with it. A
    child may leave that session, and may hold the pipe open for as long as it likes: the worker's end counts, and not
    the pipe's.
    """

    def __init__(self, module: str, request: TrialRequest) -> None:
        """Start it; raises WorkerDied where it cannot be, and RunError where its log cannot be written."""
        self._log, self._log_start = request.log, 0
        with _open_log(request.log, request.trial) as log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkerDied(f"no process can be started ({error.strerror})") from None
        self.send(request.model_dump_json().encode() + b"\n")

    def send(self, line: bytes) -> None:
        """Write to its standard input; where it is dead, its exit status says more than an error would."""
        assert self._process.stdin
        with suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """What it writes to its standard output, until it has ended."""
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        dead = False
        line = asyncio.ensure_future(reader.readline())
        try:
            while True:
                await asyncio.wait([line], timeout=POLL_SECONDS)
                if line.done():
                    with suppress(ValueError):  # longer than any message
                        if not (content := line.result()):
                            return
                        yield content
                    line = asyncio.ensure_future(reader.readline())
                elif dead:
                    return  # what it wrote has been read, whoever else holds the pipe
                else:
                    dead = self._has_exited()
        finally:
            line.cancel()
            transport.close()

    async def exited(self, seconds: float) -> None:
        """Wait until it has ended, but not longer than this."""
        until = asyncio.get_running_loop().time() + seconds
        while not self._has_exited() and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(POLL_SECONDS / 4)

    def end(self) -> int:
        """Kill what is left of it and of its session; returns its exit status."""
        with suppress(ProcessLookupError, PermissionError):  # macOS has the latter for a group of dead processes
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        return code

    def last_words(self) -> list[str]:
        """The end of what it printed."""
        if self._log is None:
            return []
        with self._log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - LAST_WORDS, self._log_start))
            return log.read().decode(errors="replace").strip().splitlines()

    def _has_exited(self) -> bool:
        """Whether it has ended. It stays a zombie, so that its number still belongs to its group."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _open_log(path: Path | None, trial: Trial) -> BinaryIO:
    """Open a trial's log to append to it, after a header line naming the trial."""
    if path is None:
        return open(os.devnull, "ab")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    episodes = plural(trial.demonstrations.episodes, "demonstration")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab")
        log.write(f"=== {trial.method} on {trial.task}, {episodes}, seed {trial.seed}: {now}\n".encode())
        log.flush()
    except OSError as error:
        raise cannot_write(path, error) from None
    return log


def _environment() -> dict[str, str]:
    """That of a process that trains, which finds the modules that this one does."""
    return {**os.environ, **provenance.ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _cause(code: int) -> str:
    if code > 0:
        return f"ended with exit status {code}"
    if code == 0:
        return "ended"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (perhaps by the system, out of memory: try fewer --jobs)"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
