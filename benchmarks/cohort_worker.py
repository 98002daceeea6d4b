"""Trials that differ in their seeds alone, trained as one in one process; otherwise as `benchmarks.worker` does one.

`python -m benchmarks.cohort_worker` reads the orders as one line of JSON, a list. Each line that it writes begins with
the place of a trial in that list; what follows is what the worker of this trial alone would write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks import provenance, worker
from benchmarks.context import TrialContext
from benchmarks.errors import RunError
from benchmarks.messages import Event, Halt, Order
from benchmarks.meters import Stopwatch
from benchmarks.records import Record
from envs.demonstrations import Demonstrations
from methods.cohort import Ask, Cohort, take_turns
from methods.interface import Method, Policy

Write = Callable[[int, bytes], None]


def perform(orders: Sequence[Order], write: Write) -> None:
    """Do trials. Whatever goes wrong in one becomes the status and error of its record.

    Args:
        orders: trials that differ in their seeds alone, of a method with a cohort.
        write: takes a trial's place in `orders` and a line about it, last its record.
    """
    shared, clock = _Shared(), Stopwatch()

    def run(place: int, ask: Ask) -> None:
        def emit(event: Event) -> None:
            write(place, event.model_dump_json().encode() + b"\n")

        try:
            record = worker.perform(orders[place], emit, partial(shared.fit, ask), clock)
        except RunError as problem:
            emit(Halt(reason=str(problem)))
        else:
            write(place, _shared_by(record, len(orders)).to_bytes())

    take_turns([partial(run, place) for place in range(len(orders))], shared.serve)


class _Shared:
    """The cohort, which is made when the first trial has its method."""

    _cohort: Cohort

    def fit(self, ask: Ask, method: Method, demonstrations: Demonstrations, context: TrialContext) -> Policy:
        if not hasattr(self, "_cohort"):
            module, _, name = method.cohort.partition(":")
            self._cohort = getattr(import_module(module), name)(method.settings)
        return self._cohort.fit(demonstrations, context, ask)

    def serve(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        return self._cohort.serve(asked)


def _shared_by(record: Record, trials: int) -> Record:
    made_by = record.provenance.model_copy(update={"together": trials})
    return record.model_copy(update={"provenance": made_by})


def main() -> None:
    """The process: see the module's docstring."""
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever libraries print must not mix with the lines
    with open(0, "rb", buffering=0, closefd=False) as given:
        orders = TypeAdapter(list[Order]).validate_json(given.readline())
    worker.depend_on_runner()
    torch.set_num_threads(provenance.THREADS)
    with os.fdopen(channel, "wb") as lines:

        def write(place: int, line: bytes) -> None:
            lines.write(b"%d " % place + line)
            lines.flush()

        perform(orders, write)


if __name__ == "__main__":
    main()
