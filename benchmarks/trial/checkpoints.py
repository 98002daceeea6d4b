"""The snapshots of one trial, in a folder that outlives the process, so that the next process can resume.

state.npz      the newest snapshot, arrays and JSON; replaced atomically, so a killed writer leaves the previous one
starts.log     a line for each process: "began", and "resumed" if it resumed from a snapshot
damaged.npz    a snapshot that could not be used
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.records import atomic, provenance
from benchmarks.records.schema import Trial, canonical
from benchmarks.trial.protocol import Emit, Notice
from envs.npz import read_arrays
from methods.checkpointing import pack, unpack
from methods.interface import State

STATE, DAMAGED, STARTS = "state.npz", "damaged.npz", "starts.log"


class Snapshots:
    """Where a trial keeps its snapshots and when."""

    def __init__(self, folder: Path | None, period: float, trial: Trial, code_digest: str, emit: Emit) -> None:
        """`folder`: of this trial alone, None for no snapshots; `period`: seconds between two of them."""
        self.off = "snapshots are off" if folder is None else ""
        if folder is not None and not folder.parent.is_dir():
            self.off = "the results folder cannot be seen from where the trial was done"
        self.folder = None if self.off else folder
        self.period, self._emit = period, emit
        # Other libraries or another processor round differently, and the trial would not be the same.
        made_by = [trial.id, code_digest, provenance.versions(), provenance.machine()["processor"]]
        self._identity = hashlib.sha256(canonical(made_by)).hexdigest()
        self._last = perf_counter()
        self._begun = False
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            for cut in self.folder.glob(".*.tmp"):  # what a killed process was writing
                cut.unlink()

    def due(self) -> bool:
        """Whether it is time for one."""
        return self.folder is not None and perf_counter() - self._last >= self.period

    def save(self, state: State) -> str:
        """Replace the snapshot; where it cannot be written the former one stays. Returns why, empty where it was."""
        assert self.folder is not None
        text, arrays = pack({"identity": self._identity, "state": state})
        arrays["json"] = np.frombuffer(text.encode(), np.uint8)
        try:
            atomic.write(self.folder / STATE, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
        except OSError as error:
            self._emit(Notice(text=f"cannot keep a snapshot in {self.folder} ({error.strerror}); training continues"))
            return f"it cannot be written ({error.strerror})"
        finally:
            self._last = perf_counter()
        return ""

    def load(self) -> State | None:
        """The newest snapshot; None where there is none, or none of use, which is then put aside with a note."""
        place = None if self.folder is None else self.folder / STATE
        if place is None or not place.exists():
            return None
        try:
            kept = _read(place)
            if kept["identity"] != self._identity:
                raise ValueError("it is of another trial, other code or libraries, or another processor")
            state: State = kept["state"]
        except Exception as error:  # a damaged archive fails in a dozen ways
            os.replace(place, place.with_name(DAMAGED))
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._emit(Notice(text=f"the snapshot {place} is set aside and the trial starts over: {reason}"))
            return None
        return state

    def log_began(self) -> None:
        """Count this process among those that worked on the trial, once; one that ended while it imported did not."""
        if not self._begun and self.folder is not None:
            self._log("began")
        self._begun = True

    def log_resumed(self) -> None:
        """Count this process among those that resumed from what `load` gave."""
        self._log("resumed")

    def _log(self, event: str) -> None:
        assert self.folder is not None
        with (self.folder / STARTS).open("a") as file:
            file.write(f"{event}\n")


def history(folder: Path | None) -> dict[str, int]:
    """How often a trial with this folder was started and resumed, as fields of `Provenance`."""
    try:
        events = [] if folder is None else (folder / STARTS).read_text().split()
    except OSError:
        events = []
    return {"starts": max(events.count("began"), 1), "resumed": events.count("resumed")}


def _read(path: Path) -> State:
    arrays = read_arrays(path, limit=path.stat().st_size)  # it is not compressed, so it cannot hold more
    return unpack(arrays.pop("json").tobytes().decode(), arrays)
