"""The interface of executors, which run trials for the scheduler: see `local`, `in_process` and `ray_cluster`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.records.schema import Record
from benchmarks.trial.protocol import Event, TrialRequest


@dataclass(frozen=True)
class Started:
    """The trial has its place and its process; until then it waited, which is no part of its time limit."""


Message = Started | Event | Record
Listener = Callable[[Message], None]


class Executor(Protocol):
    """Runs trials."""

    def slots(self) -> int:
        """How many trials can run at once; it may change while they do."""

    async def execute(self, request: TrialRequest, listener: Listener) -> None:
        """Run a trial to its end. Where this is cancelled, or the listener raises, the trial is killed.

        Args:
            request: what to do.
            listener: is called with `Started`, then with each message of the worker.

        Raises:
            WorkerDied: it ended without a final message: a record, `Interrupted` or `Abort`.
        """

    def stop(self) -> None:
        """Ask all trials that are running to save a checkpoint and end."""
