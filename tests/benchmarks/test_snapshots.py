"""A trial whose process died goes on from its snapshot, with the record of a trial that was never interrupted."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from benchmarks import provenance, worker
from benchmarks.context import TrialContext
from benchmarks.messages import Event, Note, Order
from benchmarks.records import BudgetChoice, DemonstrationChoice, Evaluation, Record, Trial
from benchmarks.snapshots import DAMAGED, STATE, Snapshots
from envs.demonstrations import load, load_task
from methods import registry
from methods.interface import MethodError
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import METHOD, TASK, Linear

SETTINGS: dict[str, dict[str, Any]] = {
    "gpril": {
        "initial_episodes": 3,
        "episodes_per_iteration": 2,
        "model_updates": 4,
        "policy_updates": 6,
        "burn_in": 8,
        "model_hidden": [8],
        "batch_size": 16,
        "warm_start": 6,
    },
    "gail": {"processes": 2, "batch_size": 50, "discriminator_batch": 32, "critic_batch": 50, "warm_start": 100},
    "bc": {"l2_grid": [1e-3, 1e-1], "batch_size": 16},
}


class Killed(BaseException):
    """As sudden as a signal: nothing in the worker catches it."""


def order(folder: Path, demonstrations: Path, method: str, name: str = "trial", task: str = TASK) -> Order:
    """To do a trial in `folder`, with a snapshot at every chance; demonstrations of insertion tasks are shipped."""
    shown = load(demonstrations) if task == TASK else load_task(task)
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    (folder / "scratch").mkdir(parents=True)
    trial = Trial(
        method=method,
        settings=SETTINGS.get(method, {}),
        task=task,
        demonstrations=DemonstrationChoice(
            source=str(demonstrations) if task == TASK else "shipped", digest=shown.digest, episodes=4
        ),
        seed=3,
        budget=BudgetChoice(environment_steps=600, policy_updates=100 if method == "bc" else 24),
        evaluation=Evaluation(rollouts=1, curve_points=3, curve_rollouts=1),
    )
    files = provenance.source_files(registry.resolve(method), task)
    return Order(
        trial=trial,
        code_digest=provenance.digest(files),
        scratch=folder / "scratch",
        snapshots=folder / name,
        save_every=0.0,
    )


def outcome(record: Record, scratch: Path) -> dict[str, Any]:
    """All of a record but times and how it came about, and the policy."""
    found = record.model_dump(exclude={"provenance": True, "usage": {"training_seconds", "evaluation_seconds"}})
    del found["usage"]["peak_memory_mib"]
    for point in found["curve"]:
        del point["training_seconds"]
    files = sorted(path for path in (scratch / "policy").rglob("*") if path.suffix == ".npz")
    weights = {path.name: dict(np.load(path)) for path in files}
    found["policy"] = {(f, n): array.tobytes() for f, arrays in weights.items() for n, array in arrays.items()}
    return found


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the process die at its n-th snapshot, which is kept; 0 lets it live."""
    save = Snapshots.save

    def arrange(moment: int) -> None:
        count = 0

        def dying(self: Snapshots, state: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            save(self, state)
            if count == moment:
                raise Killed

        monkeypatch.setattr(Snapshots, "save", dying)

    return arrange


@pytest.mark.parametrize(("method", "task"), [*((method, TASK) for method in SETTINGS), ("gail", "ClipInsertion-v0")])
def test_a_trial_that_died_ends_as_if_it_had_not(
    tmp_path: Path,
    demonstration_file: Path,
    killed_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    task: str,
) -> None:
    """GAIL's iterations end in the middle of episodes, on the clip in the middle of a simulation."""
    monkeypatch.setattr("methods.bc.CHECKPOINT_EVERY", 25)

    def done(name: str, events: list[Event]) -> tuple[Record, dict[str, Any]]:
        asked = order(tmp_path, demonstration_file, method, name, task)
        record = worker.perform(asked, events.append)
        return record, outcome(record, asked.scratch)

    record, whole = done("straight", [])
    assert record.status == "ok", record.error
    assert record.curve and whole["policy"] and record.diagnostics.series
    assert (record.provenance.starts, record.provenance.resumed, record.provenance.unsaved) == (1, 0, "")
    for attempt, moments in enumerate(np.random.default_rng(0).integers(1, 3, (2, 2)).tolist()):
        for moment in moments:
            killed_at(moment)
            with pytest.raises(Killed):
                done(f"{attempt}", [])
        killed_at(0)
        events: list[Event] = []
        record, again = done(f"{attempt}", events)
        assert again == whole
        assert (record.provenance.starts, record.provenance.resumed) == (3, 2)
        assert [event for event in events if not hasattr(event, "usage")] == record.curve, "the runner hears all of it"


def new_snapshots(folder: Path | None, events: list[Event] | None = None, code: str = "0" * 64) -> Snapshots:
    return Snapshots(folder, 0.0, examples.trial(), code, (events if events is not None else []).append)


def new_context(folder: Path, snapshots: Snapshots) -> TrialContext:
    return TrialContext(examples.trial(), tiny.demonstrate(episodes=2, seed=1), folder, [].append, snapshots)


def test_seconds_are_summed_over_attempts_and_stand_still_while_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr("benchmarks.meters.perf_counter", lambda: now[0])
    save = Snapshots.save

    def slow(self: Snapshots, state: dict[str, Any]) -> None:
        save(self, state)
        now[0] += 1000.0

    monkeypatch.setattr(Snapshots, "save", slow)
    context = new_context(tmp_path, new_snapshots(tmp_path))
    now[0] += 3.0
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.usage().training_seconds == 3.0
    now[0] += 5.0  # lost with the process

    context = new_context(tmp_path, new_snapshots(tmp_path))
    now[0] += 7.0  # to build everything again
    assert context.resume() == {}
    now[0] += 2.0
    assert context.usage().training_seconds == 3.0 + 2.0


def test_a_period_passes_between_two_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.snapshots.perf_counter", lambda: now[0])
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
    assert isinstance(note, Note) and "begins anew" in note.text and "other code" in note.text
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
    assert isinstance(note, Note) and "No space left on device" in note.text and str(tmp_path) in note.text
    assert snapshots.load() == {"number": 1}
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_record_says_why_nothing_could_be_kept(tmp_path: Path, demonstration_file: Path) -> None:
    asked = order(tmp_path, demonstration_file, METHOD)
    assert worker.perform(asked, [].append).provenance.unsaved == "the method offers no snapshot"
    asked = order(tmp_path, demonstration_file, METHOD).model_copy(update={"snapshots": None})
    assert worker.perform(asked, [].append).provenance.unsaved == "snapshots are off"
    asked = order(tmp_path, demonstration_file, METHOD).model_copy(update={"snapshots": tmp_path / "not" / "here"})
    assert worker.perform(asked, [].append).provenance.unsaved.startswith("the results folder cannot be seen")
    assert not (tmp_path / "not").exists()

    gymnasium.register("Forgetful-v0", entry_point=Forgetful)
    trial = examples.trial().model_copy(update={"task": "Forgetful-v0"})
    try:
        snapshots = new_snapshots(tmp_path)
        context = TrialContext(trial, tiny.demonstrate(episodes=2, seed=1), tmp_path, [].append, snapshots)
        context.make_env()
    finally:
        del gymnasium.registry["Forgetful-v0"]
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.unsaved() == "Forgetful-v0 has no get_state and set_state"
    assert not (tmp_path / STATE).exists()


class Forgetful(gymnasium.Env[np.ndarray, np.ndarray]):
    """A task of someone who did not think of saving its state."""

    observation_space = tiny.TinySlot().observation_space
    action_space = tiny.TinySlot().action_space
    horizon = 5
