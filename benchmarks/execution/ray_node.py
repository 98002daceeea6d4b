"""Runs a trial on a node of a Ray cluster, from the files that the node receives. Nothing here imports Ray."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.execution.executor import Message
from benchmarks.execution.local import LocalExecutor
from benchmarks.planning.trials import SHIPPED
from benchmarks.records import sources
from benchmarks.records.schema import Record, Trial
from benchmarks.trial.protocol import TrialRequest
from methods import registry

OURS = ("analysis", "benchmarks", "envs", "methods")
"""Each of them refuses to be imported beside others of these names, so all are sent."""
PREFIX = "gpril-benchmarks-"
YOUNG_SECONDS = 60.0
"""A folder so young may be about to be locked."""
LOOK_SECONDS = 1.0
"""How often to look for new output and snapshots of a silent trial."""

Folder = dict[str, bytes]
"""The files of a folder, by their relative paths."""


@dataclass(frozen=True)
class Files:
    """Files that belong into the request's folder for the policy or for snapshots, or what the log has grown by."""

    kind: Literal["policy", "snapshots", "log"]
    content: Folder


class Node:
    """An actor that runs one trial on its node, in a worker process as on a single machine."""

    def __init__(self) -> None:
        self._executor = LocalExecutor(jobs=1)
        self._trial: asyncio.Task[None] | None = None
        self._killed, self._ended = False, asyncio.Event()

    async def ready(self) -> None:
        """Answer once there is a place on a node."""

    async def execute(self, request: TrialRequest, snapshots: Folder) -> AsyncIterator[Message | Files]:
        """Run a trial in folders of this node instead of the request's.

        Args:
            request: what an executor is asked.
            snapshots: what the request's folder for snapshots holds.

        Yields:
            the worker's messages, and files as they change: those of the final policy just before the record.

        Raises:
            WorkerDied: as an executor does.
        """
        if self._killed:
            return
        try:
            with _own_folder() as folder:
                scratch, kept, log = folder / "scratch", folder / "snapshots", folder / "log"
                scratch.mkdir()
                write_folder(snapshots, kept)
                mine = request.model_copy(
                    update={"scratch": scratch, "snapshots": request.snapshots and kept, "log": log}
                )
                seen, printed = _stamps(kept), 0
                async for message in self._messages(mine):
                    before, seen = seen, _stamps(kept)
                    if changed := [path for path, stamp in seen.items() if before.get(path) != stamp]:
                        yield Files("snapshots", {path.name: path.read_bytes() for path in changed})
                    if new := _beyond(log, printed):
                        printed += len(new)
                        yield Files("log", {"log": new})
                    if isinstance(message, Record):
                        yield Files("policy", read_folder(scratch / "policy"))
                    if message is not None:
                        yield message
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Ask the trial to save a checkpoint and end."""
        self._executor.stop()

    async def kill(self) -> None:
        """End the trial at once, and wait until it has left nothing behind."""
        self._killed = True
        if self._trial is not None:
            self._trial.cancel()
            await self._ended.wait()

    async def _messages(self, request: TrialRequest) -> AsyncIterator[Message | None]:
        """The worker's messages; None every LOOK_SECONDS without one, and at the end."""
        queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._trial = asyncio.create_task(self._executor.execute(request, queue.put_nowait))
        self._trial.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while not (self._trial.done() and queue.empty()):
                try:
                    yield await asyncio.wait_for(queue.get(), LOOK_SECONDS)
                except TimeoutError:
                    yield None
            await self._trial
        finally:
            self._trial.cancel()
            await asyncio.gather(self._trial, return_exceptions=True)


def package_sources(trials: Iterable[Trial], folder: Path) -> list[str]:
    """Copy into an empty folder what these trials import and read, laid out so that it works as the current folder.

    Libraries are not sent: they belong to the node's own environment, and every record says which versions made it.

    Returns:
        files which trials name by a path that leaves the current folder: the nodes must have them at the same place.
    """
    kinds = {(trial.method, trial.task, trial.demonstrations.source): trial for trial in trials}.values()
    for name in sorted({package for trial in kinds for package in _packages(trial)}):
        _copy_package(name, folder)
    elsewhere = []
    for path in sorted({path for trial in kinds for path in _files(trial)}):
        if path.is_absolute() or ".." in path.parts:
            elsewhere.append(str(path))
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path)
    return elsewhere


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


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A temporary folder, locked while it is used; removes those of dead processes, whose locks died with them."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, of another user, or just gone
            if time.time() - left.stat().st_mtime > YOUNG_SECONDS:
                with _locked(left):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name, _locked(Path(name)):
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


def _beyond(path: Path, start: int) -> bytes:
    """What a file holds beyond its first bytes; nothing where it is not there yet."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def _packages(trial: Trial) -> set[str]:
    """Top-level packages whose source a trial depends on."""
    method = registry.resolve(trial.method)
    return {*OURS, *sources.own_packages(method, trial.task)}


def _files(trial: Trial) -> Iterator[Path]:
    """Files that a trial names by their path: a method, a task, demonstrations."""
    for place in (trial.method.rpartition(":")[0], trial.task.rpartition(":")[0]):
        if place.endswith(".py"):
            yield Path(place)
    if trial.demonstrations.source != SHIPPED:
        yield Path(trial.demonstrations.source)


def _copy_package(name: str, folder: Path) -> None:
    spec = find_spec(name)
    installed = Path(sysconfig.get_path("purelib"))
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin or ""])] if spec else []
    for place in places:
        if name not in OURS and place.is_relative_to(installed):
            continue
        if place.is_dir():
            shutil.copytree(place, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif place.is_file():
            shutil.copyfile(place, folder / place.name)
