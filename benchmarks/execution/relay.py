"""A trial at a node of a cluster: done by a local process, whose words are passed on.

Nothing here knows the cluster's library, so that the node's side of a trial is the local one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from benchmarks.errors import WorkerDied
from benchmarks.execution.local import LocalWorkplace
from benchmarks.records.schema import RecordError, read_record
from benchmarks.trial.protocol import TrialRequest, is_record

Folder = dict[str, bytes]
"""The files of a folder, by their relative paths."""
Kind = Literal["policy", "snapshots"]
PREFIX = "gpril-benchmarks-"
YOUNG_SECONDS = 60.0
"""A folder so young may be about to be locked."""
WAKE_SECONDS = 0.5


def relay(order: TrialRequest, snapshots: Folder, workplace: LocalWorkplace) -> Iterator[bytes | tuple[Kind, Folder]]:
    """Do a trial on this machine, in folders of its own instead of the order's.

    Args:
        order: what a workplace is asked.
        snapshots: what the order's folder for snapshots holds.
        workplace: of this machine.

    Yields:
        what a workplace yields; files for the order's folder for snapshots when they changed; and just before the
        record those of the final policy.

    Raises:
        WorkerDied: as a workplace does.
    """
    with _own_folder() as folder, asyncio.Runner() as runner:
        scratch, kept = folder / "scratch", folder / "snapshots"
        scratch.mkdir()
        write_folder(snapshots, kept)
        mine = order.model_copy(update={"scratch": scratch, "snapshots": order.snapshots and kept})
        lines, death, seen = workplace.work(mine), None, _stamps(kept)
        while True:
            try:
                line = runner.run(_next(lines))
            except WorkerDied as problem:
                death, line = problem, None
            before, seen = seen, _stamps(kept)
            if changed := [path for path, stamp in seen.items() if before.get(path) != stamp]:
                yield "snapshots", {path.name: path.read_bytes() for path in changed}
            if line is None:
                break
            if is_record(line):
                yield "policy", read_folder(scratch / "policy")
            yield line
        if death is not None:
            raise death


def read_folder(folder: Path) -> Folder:
    """The files of a folder; none where there is no such folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_folder(content: Folder, folder: Path) -> None:
    """Write files below a folder, each as a whole."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(data)
        os.replace(temporary, path)


def with_commit(line: bytes, commit: str) -> bytes:
    """A record says which commit made it, which a node that was sent the files alone cannot know; others stay."""
    try:
        record = read_record(line, "a node's line")
    except RecordError:
        return line  # it is an event, or was cut by the worker's death
    made_by = record.provenance.model_copy(update={"commit": commit})
    return record.model_copy(update={"provenance": made_by}).to_bytes()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder, locked while it is used; removes those of dead processes, whose locks died with them."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, of another user, or just gone
            if time.time() - left.stat().st_mtime > YOUNG_SECONDS:
                with _locked(left):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _locked(Path(name)):
        yield Path(name)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; raises OSError where another process does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _stamps(folder: Path) -> dict[Path, int]:
    """When each file of a folder was written; those that are being written have hidden names."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next line; None at the end. Wakes now and then, since a cancelled task is told between two Python steps."""
    waiting = asyncio.ensure_future(anext(lines, None))
    while not waiting.done():
        await asyncio.wait([waiting], timeout=WAKE_SECONDS)
    return waiting.result()
