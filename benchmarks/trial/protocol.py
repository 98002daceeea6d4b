"""The protocol between runner and worker; cheap to import, unlike the worker.

The runner writes one `TrialRequest` as a line of JSON to the worker's standard input, and later `STOP` if need be. The
worker writes its messages as lines to its standard output, the last of which is a `Record`, `Interrupted` or `Abort`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from benchmarks.records.schema import CurvePoint, Record, Share, Trial, Usage, read_record

NOTHING = Usage(
    environment_steps=0, episodes=0, gradient_steps=0, training_seconds=0.0, evaluation_seconds=0.0, peak_memory_mib=0.0
)
"""The usage of a trial that has not begun."""
STOP = b"stop\n"
"""The line that asks a worker to save a checkpoint and end."""


class TrialRequest(BaseModel):
    """What the runner asks of a worker.

    Attributes:
        trial: what to do.
        code_digest: of the source files when the run was planned.
        scratch: an empty folder; the final policy is left in its sub-folder "policy".
        snapshots: a folder for snapshots of this trial, which may hold those of an earlier process; None for none.
        save_every: seconds between two snapshots.
        log: the file to which everything the trial prints is appended; None where its output is not redirected.
    """

    model_config = ConfigDict(frozen=True)

    trial: Trial
    code_digest: str
    scratch: Path
    snapshots: Path | None = None
    save_every: float = 0.0
    log: Path | None = None


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Progress(_Message):
    """How far a trial is.

    Attributes:
        share: fraction of the training done, in [0, 1].
        usage: what it has cost so far.
        scalars: what the method reported since the last of these: (gradient step, value) by name, thinned.
    """

    share: Share
    usage: Usage
    scalars: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)


class Notice(_Message):
    """Something about the trial that is worth a line."""

    text: str


class Interrupted(_Message):
    """The trial was stopped on request; `unsaved` says why it has no checkpoint, and is empty where it has one."""

    unsaved: str


class Abort(_Message):
    """Why the worker ends without a record, and the run with it: any other trial would meet the same."""

    reason: str


Event = Progress | CurvePoint | Notice | Interrupted | Abort
Emit = Callable[[Event], None]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def read_message(line: bytes) -> Event | Record:
    """Parse a worker's line: `event.model_dump_json()` or `Record.to_bytes()`; raises ValueError."""
    if line.startswith(b'{"record":'):
        return read_record(line, "the worker's result")
    return _EVENT.validate_json(line)
