"""Trials whose processes are killed go on from their snapshots, through the engine and the command line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from benchmarks.execution.local import LocalWorkplace
from benchmarks.records.schema import Record
from benchmarks.records.store import Store
from benchmarks.trial import worker
from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.protocol import BEGUN, TrialRequest
from methods.interface import State
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import PATIENT
from tests.benchmarks.processes import start, wait_for, workers_of

ALWAYS = "--save-every=0.000001"


def outcome(record: Record) -> dict[str, Any]:
    """What does not depend on times, on interruptions and on the settings that arrange them."""
    found = record.model_dump(include={"status", "final", "diagnostics", "curve"})
    for point in found["curve"]:
        del point["training_seconds"]
    return found | {"steps": record.usage.environment_steps, "gradient_steps": record.usage.gradient_steps}


@pytest.fixture
def expected(bench: Bench, inline: None) -> dict[str, Any]:
    """The outcome of a trial that nothing interrupted."""
    bench.run(f"--methods={PATIENT}", "--seeds=1", f"--results={bench.folder / 'straight'}")
    (record,) = bench.records("straight")
    assert record.status == "ok" and record.provenance.starts == 1
    return outcome(record)


def test_a_killed_worker_goes_on(bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CI", "1")
    arguments = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=4")
    said = start(bench, *arguments, ALWAYS).communicate(timeout=60)[1]
    assert "was killed by SIGKILL" in said
    (record,) = bench.records()
    assert outcome(record) == expected
    assert (record.provenance.starts, record.provenance.resumed) == (2, 1)
    assert not list((bench.results / "snapshots").iterdir()), "a finished trial needs them no more"


def test_a_killed_runner_goes_on(bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("BENCH", str(bench.folder))
    slow = (f"--methods={PATIENT}", "--seeds=1", "--set=patient.pause=0.3", ALWAYS)
    runner = start(bench, *slow)
    snapshots = bench.results / "snapshots"
    wait_for(lambda: list(snapshots.glob("*/state.npz")))
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate(timeout=30)
    wait_for(lambda: not workers_of(bench.folder), seconds=10.0)
    said = start(bench, *slow).communicate(timeout=60)[1]
    (record,) = bench.records()
    assert outcome(record) == expected, said
    assert "1 of them are in the middle of their training" in said
    assert record.provenance.starts == 2 and record.provenance.resumed == 1
    assert not list(snapshots.iterdir())


def test_a_trial_that_was_ended_by_the_clock_goes_on_if_it_is_tried_again(
    bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expected` has the trials done in this process; here the first one hangs after its third snapshot."""
    arguments = (f"--methods={PATIENT}", "--seeds=1", ALWAYS)
    save, taken = Snapshots.save, []

    class Hangs(BaseException):
        pass

    def third(snapshots: Snapshots, state: State) -> None:
        save(snapshots, state)
        taken.append(state)
        if len(taken) == 3:
            raise Hangs

    async def work(place: LocalWorkplace, order: TrialRequest) -> AsyncGenerator[bytes, None]:
        yield BEGUN
        with pytest.raises(Hangs):
            worker.perform(order, lambda event: None)
        await asyncio.sleep(600.0)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "save", third)
        patch.setattr(LocalWorkplace, "work", work)
        bench.run(*arguments, "--timeout=0.1")
    (late,) = bench.records()
    assert late.status == "timed out" and (late.provenance.starts, late.provenance.resumed) == (1, 0)
    bench.run(*arguments, "--retry-failed")
    (record,) = bench.records()
    assert outcome(record) == expected and (record.provenance.starts, record.provenance.resumed) == (2, 1)


def test_without_snapshots_a_trial_begins_anew_and_its_record_says_so(
    bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    arguments = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=4")
    start(bench, *arguments, "--save-every=0").communicate(timeout=60)
    (record,) = bench.records()
    assert outcome(record) == expected
    assert record.provenance.resumed == 0 and record.provenance.unsaved == "snapshots are off"


def test_snapshots_that_outlived_their_trial_are_swept(bench: Bench, inline: None) -> None:
    bench.run(f"--methods={PATIENT}", "--seeds=1")
    (record,) = bench.records()
    left = Store(bench.results).snapshots(record.trial.id)
    left.mkdir()
    (left / "state.npz").write_bytes(b"noise")
    (left.parent / "0123456789abcdef").mkdir()
    bench.run(f"--methods={PATIENT}", "--seeds=1")
    assert [folder.name for folder in left.parent.iterdir()] == ["0123456789abcdef"], "of a trial without a record"
