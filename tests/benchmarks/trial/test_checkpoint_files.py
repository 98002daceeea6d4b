"""The file of a snapshot: written whole or not at all, read within limits, put aside where it is of no use."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.trial.checkpoints import DAMAGED, STATE, Snapshots
from benchmarks.trial.protocol import Event, Notice
from methods.interface import MethodError
from tests.benchmarks import examples


def new_snapshots(folder: Path | None, events: list[Event] | None = None, code: str = "0" * 64) -> Snapshots:
    return Snapshots(folder, 0.0, examples.trial(), code, (events if events is not None else []).append)


def test_a_period_passes_between_two_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.trial.checkpoints.perf_counter", lambda: now[0])
    snapshots = Snapshots(tmp_path, 300.0, examples.trial(), "", [].append)
    due = []
    for second in range(0, 1000, 100):
        now[0] = float(second)
        due.append(snapshots.due())
        if due[-1]:
            snapshots.save({})
    assert due == [False] + [False, False, True] * 3
    assert not Snapshots(None, 0.0, examples.trial(), "", [].append).due()


STATES: list[Any] = [
    {},
    {"nested": [{"deep": [1, 2.5, None, True, "text"]}, []], 7: "whole numbers are keys", "large": 2**127},
    {"array": np.arange(6, dtype=np.int16).reshape(2, 3), "none of it": np.zeros((0, 4)), "scalar": np.array(2.0)},
    {"tensor": torch.arange(3.0), "nan": float("nan"), "bits": torch.get_rng_state()},
]


@pytest.mark.parametrize("state", STATES, ids=range(len(STATES)))
def test_plain_data_survives(tmp_path: Path, state: Any) -> None:
    snapshots = new_snapshots(tmp_path)
    snapshots.save(state)
    found = snapshots.load()
    assert repr(found) == repr(state)
    for name, kept in (found or {}).items():
        assert type(kept) is type(state[name])
        if isinstance(kept, np.ndarray | torch.Tensor):
            assert kept.dtype == state[name].dtype and kept.shape == state[name].shape


@pytest.mark.parametrize(
    "culprit", [object(), np.array([{}]), {1.5: 0}, {"set": {1}}], ids=lambda one: type(one).__name__
)
def test_anything_else_is_refused_by_its_place(tmp_path: Path, culprit: Any) -> None:
    with pytest.raises(MethodError, match=r"snapshot\['state'\]\['here'\]\[1\]"):
        new_snapshots(tmp_path).save({"here": [0, culprit]})
    assert not (tmp_path / STATE).exists()


def test_a_snapshot_of_something_else_is_put_aside(tmp_path: Path) -> None:
    new_snapshots(tmp_path).save({})
    events: list[Event] = []
    assert new_snapshots(tmp_path, events, code="1" * 64).load() is None
    (note,) = events
    assert isinstance(note, Notice) and "starts over" in note.text and "other code" in note.text
    assert (tmp_path / DAMAGED).exists() and not (tmp_path / STATE).exists()
    assert new_snapshots(tmp_path).load() is None


def test_a_damaged_snapshot_is_put_aside(tmp_path: Path) -> None:
    """Cut at, or changed in, any of many bytes; only a change of what zip files say twice may go unnoticed."""
    new_snapshots(tmp_path).save({"array": np.arange(5), "number": 1.5})
    whole, rng = (tmp_path / STATE).read_bytes(), np.random.default_rng(0)
    harmless = 0
    for place in rng.integers(len(whole), size=200).tolist():
        cut, changed = whole[:place], bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        for content in (cut, bytes(changed)):
            (tmp_path / STATE).write_bytes(content)
            events: list[Event] = []
            found = new_snapshots(tmp_path, events).load()
            if found is not None:
                assert content is not cut
                assert found["array"].tolist() == [0, 1, 2, 3, 4] and found["number"] == 1.5
                harmless += 1
            else:
                assert len(events) == 1 and (tmp_path / DAMAGED).read_bytes() == content
    assert harmless < 100


def test_no_snapshot_takes_more_memory_than_its_file(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / STATE, array=np.zeros(2**24, np.uint8))
    events: list[Event] = []
    assert new_snapshots(tmp_path, events).load() is None
    (note,) = events
    assert isinstance(note, Notice) and "MiB" in note.text and (tmp_path / DAMAGED).exists()


def test_a_writer_that_is_killed_leaves_a_whole_snapshot(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    newest = 0
    for _ in range(20):
        child = os.fork()
        if child == 0:
            snapshots = new_snapshots(tmp_path)
            for number in itertools.count(newest):
                snapshots.save({"number": number, "array": np.full(200_000, number)})
        until = time.monotonic() + 30.0
        while not (tmp_path / STATE).exists() and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        state = new_snapshots(tmp_path).load()
        assert not list(tmp_path.glob(".*.tmp"))
        assert state is not None and state["number"] >= newest
        assert (state["array"] == state["number"]).all()
        newest = state["number"]
    assert newest > 0


def test_a_full_disk_costs_the_snapshot_and_not_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    snapshots = new_snapshots(tmp_path, events)
    snapshots.save({"number": 1})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        snapshots.save({"number": 2})
    (note,) = events
    assert isinstance(note, Notice) and "No space left on device" in note.text and str(tmp_path) in note.text
    assert snapshots.load() == {"number": 1}
    assert not list(tmp_path.glob(".*.tmp"))
