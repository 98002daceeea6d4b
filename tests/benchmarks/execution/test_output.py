"""What trials print and leave behind, how they are debugged, and what can be watched while they train."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.execution.event_files import EventFile, folder_name
from benchmarks.execution.executor import Listener, Started
from benchmarks.execution.local import LocalExecutor
from benchmarks.records.schema import CurvePoint
from benchmarks.trial import worker
from benchmarks.trial.protocol import NOTHING, Progress, TrialRequest
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import LEFT_BEHIND
from tests.benchmarks.processes import alive

CHATTY = """
import logging, os, subprocess, sys, warnings
from tests.benchmarks.fakes import LeastSquares
class Chatty(LeastSquares):
    name = "chatty"
    def fit(self, demonstrations, context):
        print("printed")
        print("to stderr", file=sys.stderr)
        logging.getLogger("third_party").info("logged")
        warnings.warn("warned")
        subprocess.run(["echo", "by a child"])
        os.write(1, b"unbuffered")
        assert sys.stdin.read() == ""
        if context.seeds.seed == 1:
            raise RuntimeError("with a traceback")
        return super().fit(demonstrations, context)
"""


@pytest.mark.parametrize("left", LEFT_BEHIND)
def test_a_trial_ends_with_its_worker_whatever_it_leaves_behind(bench: Bench, left: str) -> None:
    try:
        outcome = bench.run(f"--set=linear.trouble={left}", f"--set=linear.log={bench.log}", "--seeds=1")
        (record,) = bench.records()
        if left == "escaped child of a dead process":
            assert record.status == "failed" and "exit status 3" in record.error
        else:
            assert record.status == "ok" and outcome.code == 0
        if left == "child":
            (child,) = children(bench)
            assert not alive(child), "it was in the worker's session"
    finally:
        for process in children(bench):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def children(bench: Bench) -> list[int]:
    """The processes that trials have left behind."""
    path = Path(f"{bench.log}.children")
    return [int(process) for process in path.read_text().split()] if path.exists() else []


def test_a_record_that_was_received_wins_over_the_time_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def execute(executor: LocalExecutor, request: TrialRequest, listener: Listener) -> None:
        listener(Started())
        listener(worker.perform(request, listener))
        await asyncio.sleep(600.0)

    monkeypatch.setattr(LocalExecutor, "execute", execute)
    assert bench.run("--seeds=1", "--timeout=0.01").code == 0
    (record,) = bench.records()
    assert record.status == "ok"


def test_all_output_of_a_trial_is_in_its_log_which_a_failure_names(bench: Bench) -> None:
    own = bench.folder / "chatty.py"
    own.write_text(CHATTY)
    outcome = bench.run(f"--methods={own}:Chatty")
    assert outcome.code == 1
    good, bad = bench.records()
    for record in (good, bad):
        header, *lines = bench.output(record).splitlines()
        assert header.startswith(
            f"=== {own}:Chatty on {good.trial.task}, 4 demonstrations, seed {record.trial.seed}: 2"
        )
        assert {"printed", "to stderr", "by a child"} < set(lines)
        text = "\n".join(lines)
        assert "INFO third_party: logged" in text and "UserWarning: warned" in text and "unbuffered" in text
    assert "Traceback" in text and "RuntimeError: with a traceback" in text
    assert f"(output: {bench.results / 'logs' / bad.trial.id}.log)" in outcome.err
    assert "printed" not in outcome.err + outcome.out


def test_a_debugger_can_stop_in_a_trial_of_this_process(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner at a terminal of its own, where the method's breakpoint is answered by hand."""
    own = bench.folder / "mine.py"
    own.write_text(
        "from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n"
        "    def fit(self, demonstrations, context):\n        answer = 6 * 7\n        breakpoint()\n"
        "        print('the answer is', answer)\n        return super().fit(demonstrations, context)\n"
    )
    ours, theirs = pty.openpty()
    arguments = bench.command(f"--methods={own}:Mine", "--seeds=1", "--jobs=0")
    command = [sys.executable, "-m", "tests.benchmarks.without_report", *arguments]
    environment = {**os.environ, "TERM": "dumb"}
    environment.pop("CI")
    runner = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    while b"(Pdb)" not in said:
        said += os.read(ours, 1024)
    os.write(ours, b"answer = answer + 1\nc\n")
    with suppress(OSError):  # the terminal is gone with the runner
        while chunk := os.read(ours, 1024):
            said += chunk
    assert runner.wait() == 0, said.decode()
    assert b"the answer is 43" in said and b"1 trial to run, 1 at once" in said
    (record,) = bench.records()
    assert record.status == "ok" and not list((bench.results / "logs").iterdir())


def test_trials_in_this_process_have_the_results_of_workers(bench: Bench) -> None:
    bench.run("--jobs=2")
    bench.run("--jobs=0", f"--results={bench.folder / 'here'}")
    for there, here in zip(bench.records(), bench.records("here"), strict=True):
        assert here.final == there.final and here.diagnostics == there.diagnostics


@pytest.mark.parametrize("option", ["--timeout=5", "--engine=ray"])
def test_what_cannot_be_done_in_this_process_is_refused(bench: Bench, option: str) -> None:
    outcome = bench.run("--jobs=0", option)
    assert outcome.code == 2 and "in this process" in outcome.err and not bench.results.exists()


def test_what_a_trial_reports_is_in_event_files(bench: Bench) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    bench.run("--seeds=1")
    (record,) = bench.records()
    (folder,) = (bench.results / "tensorboard").iterdir()
    assert folder.name == f"linear-TinySlot-v0-4-demos-seed-0-{record.trial.id[:8]}"
    read = events.EventAccumulator(str(folder)).Reload()
    steps = [(event.step, event.value) for event in read.Scalars("steps")]
    assert steps == record.diagnostics.series["steps"]
    for mode, tag in (("sampled", "success/sampled (%)"), ("mean", "success/deterministic (%)")):
        found = [event.value for event in read.Scalars(tag)]
        assert found == pytest.approx([100.0 * getattr(point, mode) for point in record.curve])
    assert read.Scalars("usage/environment_steps")[-1].value == record.usage.environment_steps


def test_a_resumed_trial_hides_what_was_reported_beyond_its_checkpoint(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    usage = NOTHING.model_copy(update={"gradient_steps": 30})
    first = EventFile(tmp_path / "trial")
    first.hear(Progress(share=0.3, usage=usage, scalars={"loss": [(10, 1.0), (20, 2.0), (30, 3.0)]}))
    first.close()
    point = CurvePoint(
        progress=0.1, environment_steps=0, episodes=0, gradient_steps=10, training_seconds=0.0, sampled=0.5, mean=0.5
    )
    second = EventFile(tmp_path / "trial")
    second.hear(point)  # an old one, which a resumed worker repeats
    usage = NOTHING.model_copy(update={"gradient_steps": 20})
    second.hear(Progress(share=0.2, usage=usage, scalars={"loss": [(20, 2.0), (30, 4.0)]}))
    second.close()
    read = events.EventAccumulator(str(tmp_path / "trial")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(10, 1.0), (20, 2.0), (30, 4.0)]
    assert not any(tag.startswith("success") for tag in read.Tags()["scalars"])


def test_no_trial_fails_for_want_of_a_chart(bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
        assert bench.run("--seeds=1").code == 0
    (bench.results / "tensorboard").mkdir(exist_ok=True)
    (bench.results / "tensorboard").rename(bench.results / "elsewhere")
    (bench.results / "tensorboard").write_text("a file")
    assert bench.run("--seeds=2").code == 0


def test_a_trials_folder_can_be_read_and_is_its_own() -> None:
    assert folder_name("BC (rate=0.5, x=../..), clip, seed 3", "0123456789abcdef") == (
        "BC-rate=0.5-x=..-..-clip-seed-3-01234567"
    )
    assert len(folder_name("x" * 300, "0123456789abcdef")) < 120
