"""Trials that are killed or stopped are resumed from their snapshots, through the scheduler and the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.execution.executor import Listener, Started
from benchmarks.execution.local import LocalExecutor
from benchmarks.execution.scheduler import ONE_PRESS_SECONDS
from benchmarks.records.schema import Record
from benchmarks.records.store import Store
from benchmarks.trial import worker
from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.protocol import TrialRequest
from methods.interface import State
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import PATIENT
from tests.benchmarks.processes import finish, start, wait_for, workers_of

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


def test_a_killed_worker_is_resumed(bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CI", "1")
    arguments = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=4")
    said = finish(start(bench, *arguments, ALWAYS))
    assert "was killed by SIGKILL" in said
    (record,) = bench.records()
    assert outcome(record) == expected
    assert (record.provenance.starts, record.provenance.resumed) == (2, 1)
    assert not list((bench.results / "snapshots").iterdir()), "a finished trial needs them no more"
    assert bench.output(record).count("=== tests.benchmarks.fakes:Patient on") == 2


def test_a_trial_is_resumed_after_its_runner_was_killed(
    bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("BENCH", str(bench.folder))
    gate = bench.folder / "gate"
    arguments = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.gate={gate}", ALWAYS)
    runner = start(bench, *arguments)
    wait_for(lambda: list((bench.results / "snapshots").glob("*/state.npz")), runner)
    os.kill(runner.pid, signal.SIGKILL)
    finish(runner)
    wait_for(lambda: not workers_of(bench.folder))
    gate.touch()
    said = finish(start(bench, *arguments))
    (record,) = bench.records()
    assert outcome(record) == expected, said
    assert "1 of them resumes from a checkpoint" in said
    assert record.provenance.starts == 2 and record.provenance.resumed == 1
    assert not list((bench.results / "snapshots").iterdir())


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["ctrl-c", "sigterm", "sighup"])
def test_a_stopped_run_has_saved_a_checkpoint_and_resumes_with_the_same_bits(
    by: signal.Signals, bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("BENCH", str(bench.folder))
    gate = bench.folder / "gate"
    arguments = (f"--methods={PATIENT}", "--seeds=2", "--jobs=1", f"--set=patient.gate={gate}")
    runner = start(bench, *arguments)
    wait_for(Path(f"{gate}.reached").exists, runner)
    runner.send_signal(by)
    said = finish(runner)
    assert runner.returncode == 130 and "Traceback" not in said
    assert "stopping: 1 trial saves its checkpoint (up to 20 s; Ctrl-C again ends at once)" in said
    assert "stopped: 0 of 2 trials finished; 1 resumes from a checkpoint" in said
    assert "To resume: python -m benchmarks.run --methods" in said
    assert not workers_of(bench.folder) and not bench.records()
    assert not list((bench.results / "scratch").iterdir())

    gate.touch()
    runner = start(bench, *arguments)
    said = finish(runner)
    assert runner.returncode == 0, said
    first, _ = bench.records()
    assert outcome(first) == expected
    assert (first.provenance.starts, first.provenance.resumed) == (2, 1)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("catches=returns", "1 resumes from a checkpoint"),
        ("catches=raises", "1 resumes from a checkpoint"),
        ("offers=false", "seed 0 starts over: the method offers no snapshot"),
    ],
)
def test_whatever_a_method_makes_of_being_stopped_is_no_result(
    setting: str, said: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH", str(bench.folder))
    gate = bench.folder / "gate"
    runner = start(bench, f"--methods={PATIENT}", "--seeds=1", f"--set=patient.gate={gate}", f"--set=patient.{setting}")
    wait_for(Path(f"{gate}.reached").exists, runner)
    runner.send_signal(signal.SIGINT)
    output = " ".join(finish(runner).split())
    assert runner.returncode == 130 and said in output
    assert not bench.records() and not workers_of(bench.folder)


def test_a_second_signal_ends_a_run_whose_trial_does_not_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH", str(bench.folder))
    runner = start(bench, "--set=linear.trouble=hang", "--seeds=1", "--jobs=1")
    wait_for(lambda: list((bench.results / "tensorboard").glob("*/events*")), runner)  # it has reported
    runner.send_signal(signal.SIGINT)
    assert runner.stderr
    lines = [runner.stderr.readline()]
    while "stopping" not in lines[-1]:
        lines.append(runner.stderr.readline())
    time.sleep(2 * ONE_PRESS_SECONDS)
    runner.send_signal(signal.SIGINT)
    said = finish(runner)
    assert runner.returncode == 130 and "Traceback" not in said
    assert "seed 0 starts over: it saved no checkpoint in time" in said
    assert not workers_of(bench.folder) and not list((bench.results / "scratch").iterdir())


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.12, 0.5])
@pytest.mark.parametrize("then", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_while_workers_start_end_the_run_cleanly(
    gap: float, then: signal.Signals, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH", str(bench.folder))
    runner = start(bench, "--set=linear.trouble=hang", "--jobs=2")
    wait_for(lambda: workers_of(bench.folder), runner)
    runner.send_signal(signal.SIGINT)
    time.sleep(gap)
    runner.send_signal(then)  # it may have ended by now
    said = finish(runner)
    assert runner.returncode == 130 and "Traceback" not in said and "To resume:" in said, said
    assert not workers_of(bench.folder) and not list((bench.results / "scratch").iterdir())


def test_a_run_under_nohup_survives_its_terminal(bench: Bench) -> None:
    gate = bench.folder / "gate"
    runner = start(bench, f"--methods={PATIENT}", "--seeds=1", f"--set=patient.gate={gate}", hangup=signal.SIG_IGN)
    wait_for(Path(f"{gate}.reached").exists, runner)
    runner.send_signal(signal.SIGHUP)
    gate.touch()
    said = finish(runner)
    assert runner.returncode == 0, said


def test_a_trial_that_ran_out_of_time_is_resumed_if_it_is_tried_again(
    bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expected` has the trials run in this process; here the first one hangs after its third snapshot."""
    arguments = (f"--methods={PATIENT}", "--seeds=1", ALWAYS)
    save, taken = Snapshots.save, []

    class Hangs(BaseException):
        pass

    def third(snapshots: Snapshots, state: State) -> str:
        saved = save(snapshots, state)
        taken.append(state)
        if len(taken) == 3:
            raise Hangs
        return saved

    async def execute(executor: LocalExecutor, request: TrialRequest, listener: Listener) -> None:
        listener(Started())
        with pytest.raises(Hangs):
            worker.perform(request, listener)
        await asyncio.sleep(600.0)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "save", third)
        patch.setattr(LocalExecutor, "execute", execute)
        bench.run(*arguments, "--timeout=0.1")
    (late,) = bench.records()
    assert late.status == "timed out" and (late.provenance.starts, late.provenance.resumed) == (1, 0)
    bench.run(*arguments, "--retry-failed")
    (record,) = bench.records()
    assert outcome(record) == expected and (record.provenance.starts, record.provenance.resumed) == (2, 1)


def test_without_snapshots_a_trial_starts_over_and_its_record_says_so(
    bench: Bench, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    arguments = (f"--methods={PATIENT}", "--seeds=1", f"--set=patient.log={bench.log}", "--set=patient.killed_after=4")
    finish(start(bench, *arguments, "--save-every=0"))
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
