"""Writes what trials report during training as TensorBoard event files: `tensorboard --logdir RESULTS/tensorboard`."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from time import time
from typing import Any

from benchmarks.execution.executor import Message
from benchmarks.records.schema import CurvePoint
from benchmarks.trial.protocol import Progress

USAGE = ("environment_steps", "episodes", "training_seconds")
LONGEST_NAME = 100


class EventFile:
    """The event file of one attempt at a trial. Nothing is written where TensorBoard is not installed.

    Steps are gradient steps. Tags are the names of what the method reports, "success/sampled (%)",
    "success/deterministic (%)" and "usage/...".
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: of this trial; it may hold the files of earlier attempts."""
        self._folder = folder
        self._file: Any = None
        self._off = False

    def hear(self, message: Message) -> None:
        """Write what a worker's message holds. No trial fails because its events cannot be written."""
        if self._off:
            return
        try:
            if isinstance(message, Progress):
                self._write_progress(message)
            elif isinstance(message, CurvePoint) and self._file is not None:  # before it, a resumed trial repeats some
                success = {"sampled": message.sampled, "deterministic": message.mean}
                known = [(f"success/{mode} (%)", 100.0 * x) for mode, x in success.items() if x is not None]
                self._write(message.gradient_steps, known)
                self._file.flush()
        except (ImportError, OSError):
            self._off = True

    def close(self) -> None:
        """Write what is buffered."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                self._off = True

    def _write_progress(self, message: Progress) -> None:
        usage = message.usage
        if self._file is None:
            self._open(usage.gradient_steps)
        self._write(usage.gradient_steps, [(f"usage/{name}", getattr(usage, name)) for name in USAGE])
        by_step: dict[int, list[tuple[str, float]]] = defaultdict(list)
        for name, points in message.scalars.items():
            for step, value in points:
                by_step[step].append((name, value))
        for step, scalars in by_step.items():
            self._write(step, scalars)
        self._file.flush()

    def _open(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        again = self._folder.is_dir()
        self._folder.mkdir(parents=True, exist_ok=True)
        now = time()
        path = self._folder / f"events.out.tfevents.{now:.6f}.{os.getpid()}"
        self._file = RecordWriter(path.open("wb"))
        self._write_event(file_version="brain.Event:2")
        if again:  # what an earlier attempt wrote beyond this step is hidden
            self._write_event(step=step, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, scalars: list[tuple[str, float]]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars]
        self._write_event(step=step, summary=Summary(value=values))

    def _write_event(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._file.write(Event(wall_time=time(), **fields).SerializeToString())


def folder_name(name: str, trial: str) -> str:
    """A trial's folder below `tensorboard/`: readable, and no other trial's."""
    readable = re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")
    return f"{readable[:LONGEST_NAME]}-{trial[:8]}"
