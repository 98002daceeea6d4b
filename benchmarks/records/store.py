"""The only writer of a results folder.

    records/<trial>.json    one finished trial each; .json.gz if compressed by `benchmarks.records.compact`
    attempts/               records that a retry replaced
    damaged/                damaged records, whose trials are repeated
    policies/<trial>/       final policies (not for version control)
    code/<digest>.json      the source files behind a code digest
    plan.json               which trials belong to which experiment
    snapshots/<trial>/      from which unfinished trials resume
    logs/<trial>.log        output of a trial, over all attempts (not for version control)
    tensorboard/<name>/     curves of a trial during training (not for version control)
    locks/, scratch/        of live runs: their locks, what they do (see `plans.Work`), files in the making

Files appear complete or not at all: they are written under a temporary name, flushed to disk and renamed. Temporary
files carry the token of their run. The kernel releases a run's lock when the run dies, and the next run removes its
temporary files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from filelock import BaseFileLock, FileLock, Timeout
from pydantic import ValidationError

from benchmarks.errors import InputError, cannot_read, cannot_write
from benchmarks.records import atomic
from benchmarks.records.files import COMPRESSED, GZIP, LARGEST, compressed, load_plan, load_record
from benchmarks.records.plans import Plan, PlanRow, Work
from benchmarks.records.schema import Record, RecordError, Summary, canonical
from envs.npz import ArrayFileError, read_small

T = TypeVar("T")
MOUNTS = Path("/proc/mounts")
NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs"),
    *("pvfs2", "smb3", "smbfs"),
}
"""Types of network file systems."""
WRITTEN = ("", "records", "attempts", "damaged", "code", "locks")
"""Folders in which files appear by being renamed."""
TOKEN = re.compile("[0-9a-f]{12}")
"""Of a run."""


class Store:
    """A results folder. Reading needs nothing; call `open` before writing, and `close` at the end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._token = secrets.token_hex(6)
        self._alive = FileLock(self._lock_path(f"run-{self._token}"))

    def open(self) -> None:
        """Create the folder and sweep what dead runs left.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            for name in ("records", "attempts", "damaged", "policies", "code", "snapshots", "logs", "locks", "scratch"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self._alive.acquire()
            self._sweep()
        except OSError as error:
            raise InputError(
                f"{cannot_write(Path(error.filename or self.root), error)}; choose another folder with --results"
            ) from None

    def close(self) -> None:
        """Leave no trace but the results."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._work_path(self._token).unlink(missing_ok=True)
        self._alive.release()
        Path(self._alive.lock_file).unlink(missing_ok=True)

    def read(self, trials: Iterable[str]) -> tuple[dict[str, Record], dict[str, str]]:
        """The finished ones among these trials, and what is wrong with the damaged ones.

        Raises:
            InputError: a file is there but cannot be read.
        """
        return self._read(trials, lambda record: record)

    def summaries(self, trials: Iterable[str]) -> tuple[dict[str, Summary], dict[str, str]]:
        """As `read`, without holding more than one whole record at a time."""
        return self._read(trials, lambda record: record.summary)

    def state(self, trial: str) -> str:
        """What tells the trial's record on the disk from one that replaces it, empty where there is none."""
        for path in self._record_paths(trial):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise cannot_read(path, error) from None
            return f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"  # files appear by being renamed
        return ""

    def claim(self, trial: str) -> BaseFileLock | None:
        """The lock of a trial, held until it is released or this process dies; None while another run holds it."""
        try:
            return self._lock(trial, blocking=False)
        except Timeout:
            return None

    def scratch(self, trial: str) -> Path:
        """An empty folder for a trial, removed when the run is over."""
        folder = self._scratch / trial
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from None
        return folder

    def snapshots(self, trial: str) -> Path:
        """The folder in which a trial keeps its snapshots; it outlives the run."""
        return self.root / "snapshots" / trial

    def log(self, trial: str) -> Path:
        """The file with everything a trial prints."""
        return self.root / "logs" / f"{trial}.log"

    def drop_snapshots(self, trial: str) -> None:
        """Remove the snapshots of a trial that is finished."""
        shutil.rmtree(self.snapshots(trial), ignore_errors=True)

    def save(self, record: Record, policy: Path | None = None) -> None:
        """Keep a trial's record, and its policy, a folder on the same disk.

        A record it replaces becomes an attempt, or is set aside where it is damaged.

        Raises:
            RunError: it could not be written; earlier records are whole.
        """
        trial = record.trial.id
        place, old = self._record_paths(trial)
        for path in (place, old):
            if path.exists():
                self._set_aside(path, trial)
        if policy is not None and policy.is_dir():
            self._move(policy, self.root / "policies" / trial)
        self._write(place, record.to_bytes())
        old.unlink(missing_ok=True)

    def save_attempt(self, record: Record) -> None:
        """Keep the record of an attempt that will be made again; raises RunError as `save` does."""
        self._keep(record.to_bytes(), record.trial.id, "attempts")

    def save_code(self, digest: str, files: Mapping[str, str]) -> None:
        """Remember which files a code digest stands for, so that a difference can be named."""
        path = self._code_path(digest)
        if not path.exists():
            self._write(path, canonical(dict(files)) + b"\n")

    def code(self, digest: str) -> dict[str, str]:
        """The files behind a code digest; empty where they are not known."""
        try:
            files = json.loads(read_small(self._code_path(digest)))
        except (OSError, ValueError, RecursionError):
            return {}
        return files if isinstance(files, dict) else {}

    def plan(self) -> Plan | None:
        """The folder's plan; None where there is none.

        Raises:
            InputError: it is damaged.
        """
        try:
            return load_plan(self.root / "plan.json")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise cannot_read(self.root / "plan.json", error) from None
        except RecordError as error:
            raise InputError(f"{error}; delete it: every run writes it again") from None

    def announce(self, work: Work, conflict: Callable[[Work, Work], str]) -> None:
        """Say what this run does until it closes, for runs that begin later.

        Args:
            work: what it does.
            conflict: says of the work of another run, and this, why they must not be at work at once; "" if they may.

        Raises:
            InputError: another run is at work here with which it must not be; nothing is announced.
        """
        with self._lock("plan"):  # so that of two runs that begin at once, one sees the other
            for token in sorted(self._others()):
                with suppress(OSError, ValidationError, ArrayFileError):  # it has not said anything yet
                    other = Work.model_validate_json(read_small(self._work_path(token), LARGEST))
                    if reason := conflict(other, work):
                        raise InputError(
                            f"another run is at work in {self.root} {reason}; wait until it has ended, "
                            "or choose another folder"
                        )
            self._write(self._work_path(self._token), work.model_dump_json().encode())

    def merge_plan(self, plan: Plan, dropped: frozenset[PlanRow] = frozenset()) -> Plan:
        """Add rows and demonstrators to the folder's plan and return the whole.

        Earlier rows leave it where they are `dropped`, or where their trial was never finished, no other run is at
        work, `plan` is about their experiment (of others it does not say what is still wanted), and their cell either
        has no record or is planned again from its first seed on: an unfinished one stays as planned, so that tables
        show what is missing.
        """
        with self._lock("plan"):
            known = self.plan()
            asked, experiments = {row.trial for row in plan.rows}, {row.experiment for row in plan.rows}
            old = known.rows if known else []
            if not self._others():
                kept = {row.trial for row in old if row.trial in asked or self.state(row.trial)}
                first_seeds: dict[tuple[str, str, str, int], int] = {}
                for row in old:
                    first_seeds[row.cell] = min(row.seed, first_seeds.get(row.cell, row.seed))
                replanned = {row.cell for row in plan.rows if row.seed == first_seeds.get(row.cell)}
                unfinished = {row.cell for row in old if row.trial in kept} - replanned
                old = [
                    row
                    for row in old
                    if row.experiment not in experiments or row.trial in kept or row.cell in unfinished
                ]
            named = {(row.experiment, row.trial) for row in plan.rows if row.variant}
            old = [row for row in old if row.variant or (row.experiment, row.trial) not in named]  # now with a key
            gone = {row.place for row in dropped}
            rows = {row.place: row for row in [*old, *plan.rows] if row.place not in gone}
            makers = [*(known.demonstrators if known else []), *plan.demonstrators]
            unique = {(maker.task, maker.digest): maker for maker in makers}
            merged = Plan(profile=plan.profile, rows=list(rows.values()), demonstrators=list(unique.values()))
            if merged != known:
                self._write(self.root / "plan.json", merged.model_dump_json(indent=1).encode() + b"\n")
        return merged

    def _read(self, trials: Iterable[str], keep: Callable[[Record], T]) -> tuple[dict[str, T], dict[str, str]]:
        kept: dict[str, T] = {}
        damaged: dict[str, str] = {}
        for trial in trials:
            path = self._record_paths(trial)[0]
            try:
                record = load_record(path)
                if record.trial.id != trial:
                    raise RecordError(f"{path}: it is the record of another trial, {record.trial.id}")
                kept[trial] = keep(record)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise cannot_read(path, error) from None
            except RecordError as error:
                damaged[trial] = str(error)
        return kept, damaged

    @property
    def _scratch(self) -> Path:
        return self.root / "scratch" / self._token

    def _record_paths(self, trial: str) -> tuple[Path, Path]:
        """Where a trial's record lies, plain or compressed."""
        path = self.root / "records" / f"{trial}.json"
        return path, compressed(path)

    def _code_path(self, digest: str) -> Path:
        return self.root / "code" / f"{digest[:16]}.json"

    def _work_path(self, token: str) -> Path:
        return self._lock_path(f"run-{token}").with_suffix(".json")

    def _lock_path(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def _lock(self, name: str, blocking: bool = True) -> BaseFileLock:
        """A lock that is held; raises RunError, and Timeout where it is another's and not to be waited for."""
        lock = FileLock(self._lock_path(name))
        try:
            lock.acquire(blocking=blocking)
        except Timeout:
            raise
        except OSError as error:
            raise cannot_write(Path(lock.lock_file), error) from None
        return lock

    def _set_aside(self, path: Path, trial: str) -> None:
        """Keep a copy of a record's file in another folder."""
        try:
            folder = "attempts" if load_record(path).trial.id == trial else "damaged"
        except RecordError:
            folder = "damaged"
        except OSError as error:
            raise cannot_read(path, error) from None
        self._keep(path.read_bytes(), trial, folder)

    def _keep(self, content: bytes, trial: str, folder: str) -> None:
        end = COMPRESSED if content.startswith(GZIP) else ""
        name = f"{trial}-{hashlib.sha256(content).hexdigest()[:8]}.json{end}"
        self._write(self.root / folder / name, content)

    def _move(self, source: Path, place: Path) -> None:
        try:
            for path in (*source.rglob("*"), source):
                atomic.flush(path)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(source, place)
            atomic.flush(place.parent)
        except OSError as error:
            raise cannot_write(place, error) from None

    def _write(self, path: Path, content: bytes) -> None:
        try:
            atomic.write(path, content, self._token)
        except OSError as error:
            raise cannot_write(path, error) from None

    def _sweep(self) -> None:
        """Remove what dead runs left: what was there before the living ones were counted, and is none of theirs."""
        folders = [self.root / name for name in WRITTEN]
        left = {path: path.name.split(".")[-2] for folder in folders for path in folder.glob(".*.tmp")}
        left = {path: token for path, token in left.items() if TOKEN.fullmatch(token)}  # not those of reports
        left |= {path: path.name for path in (self.root / "scratch").iterdir()}
        alive = {self._token, *self._others()}
        for path, token in left.items():
            if token in alive:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        for folder in (self.root / "snapshots").iterdir():  # of runs that died between a record and its snapshots' end
            if any(record.status == "ok" for record in self.summaries([folder.name])[0].values()):
                self.drop_snapshots(folder.name)

    def _others(self) -> set[str]:
        """The other runs at work here, by their tokens; the locks of dead ones are removed."""
        others = set()
        for path in (self.root / "locks").glob("run-*.lock"):
            token = path.stem.removeprefix("run-")
            lock = FileLock(path)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                others.add(token)
                continue
            self._work_path(token).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            lock.release()
        return others - {self._token}


def network_warning(folder: Path, mounts: Path | None = None) -> str:
    """A line to print before a run writes to `folder`; empty on a local disk, or where the system does not say.

    Args:
        folder: need not be there yet.
        mounts: a file that lists what is mounted, in the format of /proc/mounts; None takes the system's own.
    """
    kind = _filesystem(folder, mounts or MOUNTS)
    if kind not in NETWORK and not kind.startswith("fuse."):
        return ""
    return (
        f"{folder} is on a network file system ({kind}). Not promised there: that two runs at once never do a trial "
        "twice (its locks may not reach other machines, or outlive a dead run), and that a finished record survives a "
        "crash of the server. Run one at a time, or use --results on a local disk"
    )


def _filesystem(folder: Path, mounts: Path) -> str:
    """The type of the file system that holds a folder; empty where it is not known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    place, found = folder.resolve(), (0, "")
    for line in lines:
        _, point, kind, *_ = [*line.split(), "", "", ""]
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))  # a space is written \040
        if place.is_relative_to(mounted) and len(mounted.parts) >= found[0]:  # the last one of equals hides the others
            found = len(mounted.parts), kind
    return found[1]
