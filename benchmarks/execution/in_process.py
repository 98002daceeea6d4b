"""Runs trials in this process, for debuggers: `breakpoint()` works, and output goes to the screen."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import torch

from benchmarks.errors import RunError
from benchmarks.execution.console import say
from benchmarks.execution.executor import Listener, Started
from benchmarks.execution.signals import SIGNALS
from benchmarks.records import provenance
from benchmarks.trial.protocol import Abort, Interrupted, TrialRequest
from benchmarks.trial.worker import perform
from methods.interface import Stopped


class InProcessExecutor:
    """One trial at a time; see `benchmarks.execution.executor.Executor`. The event loop stands still meanwhile."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def slots(self) -> int:
        return 1

    async def execute(self, request: TrialRequest, listener: Listener) -> None:
        torch.set_num_threads(provenance.THREADS)
        with suppress(ImportError):  # workers are told by their environment
            import threadpoolctl

            threadpoolctl.threadpool_limits(provenance.THREADS)
        listener(Started())
        try:
            with self._interruptible():
                record = perform(request.model_copy(update={"log": None}), listener, self._stop)
        except Stopped as stopped:
            listener(Interrupted(unsaved=str(stopped)))
        except RunError as problem:
            listener(Abort(reason=str(problem)))
        else:
            listener(record)

    def stop(self) -> None:
        self._stop.set()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C ask the trial to stop and the second end it, as the event loop cannot."""

        def interrupt(signum: int, frame: FrameType | None) -> None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            self._stop.set()
            say("stopping at the next checkpoint; Ctrl-C again ends at once")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, interrupt) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
