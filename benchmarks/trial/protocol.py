"""What runner and worker say to each other; light to import, unlike the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.records.schema import CurvePoint, Share, Trial, Usage

NOTHING = Usage(
    environment_steps=0, episodes=0, gradient_steps=0, training_seconds=0.0, evaluation_seconds=0.0, peak_memory_mib=0.0
)
"""The usage of a trial that has not begun."""
BEGUN = b""
"""What a workplace yields before the first line of a worker, when its process has begun."""


class Order(BaseModel):
    """What the runner asks of a worker.

    Attributes:
        trial: what to do.
        code_digest: of the source files when the run was planned.
        scratch: an empty folder; the final policy is left in its sub-folder "policy".
        snapshots: a folder for snapshots of this trial, which may hold those of an earlier process; None for none.
        save_every: seconds between two snapshots.
    """

    model_config = ConfigDict(frozen=True)

    trial: Trial
    code_digest: str
    scratch: Path
    snapshots: Path | None = None
    save_every: float = 0.0


class Progress(BaseModel):
    """What a worker tells while it trains: the share done, in [0, 1], and what it has used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Share
    usage: Usage


class Note(BaseModel):
    """Something about the trial that is worth a line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str


class Halt(BaseModel):
    """Why the worker ends without a record, and the run with it: any other trial would meet the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str


Event = Progress | CurvePoint | Note | Halt
Emit = Callable[[Event], None]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def read_event(line: bytes) -> Event:
    """Parse an event's line, as `event.model_dump_json()` wrote it; raises ValueError."""
    return _EVENT.validate_json(line)


def is_record(line: bytes) -> bool:
    """Whether a line is a record, as `Record.to_bytes` wrote it, and no event."""
    return line.startswith(b'{"record":')
