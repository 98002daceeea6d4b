"""Trials in processes of this machine: one process and one thread a trial."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

from benchmarks.errors import WorkerDied
from benchmarks.records import provenance
from benchmarks.trial.protocol import BEGUN, TrialRequest

STDERR_TAIL = 2000
LONGEST_EVENT = 2**28

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class LocalWorkplace:
    """This machine; see `benchmarks.execution.scheduler.Workplace`."""

    module = "benchmarks.trial.worker"
    """What a trial's process runs."""

    def __init__(self, jobs: int) -> None:
        """`jobs`: how many trials may be at work at once."""
        self._jobs = jobs

    def room(self) -> int:
        return self._jobs

    async def work(self, order: TrialRequest) -> AsyncGenerator[bytes, None]:
        async with aclosing(lines_of(self.module, order.model_dump_json().encode())) as lines:
            async for line in lines:
                yield line


async def lines_of(module: str, orders: bytes) -> AsyncGenerator[bytes, None]:
    """A process that is told what to do, and the lines it says after BEGUN; it ends when the generator is closed.

    Raises:
        WorkerDied: it did not end well.
    """
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
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
        yield BEGUN
        with contextlib.suppress(ConnectionError):  # it died at once, which its exit status tells better
            worker.stdin.write(orders + b"\n")
            await worker.stdin.drain()
        async for line in worker.stdout:
            yield line
        code = await worker.wait()
    finally:
        _kill(worker)
        await worker.wait()
        words = await last_words
    if code:
        raise WorkerDied("\n".join([f"the process {_cause(code)} without a result", *words.splitlines()]))


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
    if code > 0:
        return f"ended with exit status {code}"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (perhaps by the system, out of memory: try fewer --jobs)"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
