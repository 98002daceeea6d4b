"""Whatever goes wrong in a trial is a record of that trial, and the others continue."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.schema import RecordError, read_record
from benchmarks.records.store import Store
from benchmarks.trial.protocol import read_message
from tests.benchmarks.conftest import Bench
from tests.benchmarks.processes import finish, start, wait_for, workers_of
from tests.reliability.kills import two_launchers

TROUBLES = {
    "raise": ("failed", "RuntimeError: something broke inside the method"),
    "refuse": ("failed", "these demonstrations are too short; record longer ones"),
    "overspend": ("failed", "the budget of 1000 environment steps is spent"),
    "action": ("diverged", "actions are not finite"),
    "training action": ("diverged", "an action in environment step 1 is not finite"),
    "observation": ("diverged", "the observation after environment step 1 is not finite"),
    "loss": ("diverged", "loss is nan at gradient step 7"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_methods_error_is_recorded_and_the_others_continue(bench: Bench, inline: None, trouble: str) -> None:
    status, said = TROUBLES[trouble]
    outcome = bench.run(f"--set=linear.trouble={trouble}", f"--set=linear.log={bench.log}")
    assert outcome.code == 1 and "1 of 2 trials failed, diverged or timed out" in outcome.err
    bad, good = bench.records()
    assert (bad.status, good.status) == (status, "ok")
    assert said in bad.error.splitlines()[0] and bad.success("sampled") == 0.0 and not bad.final
    assert bench.starts() == [0, 1], "an error of the method is not tried again"

    assert (
        "failed, diverged or timed out"
        in bench.run(f"--set=linear.trouble={trouble}", f"--set=linear.log={bench.log}").err
    )
    assert bench.starts() == [0, 1], "nor by the same command"
    bench.run(f"--set=linear.trouble={trouble}", f"--set=linear.log={bench.log}", "--retry-failed")
    assert bench.starts() == [0, 1, 0]
    (attempt,) = (bench.results / "attempts").iterdir()
    assert read_record(attempt.read_bytes(), "attempt") == bad


def test_a_result_of_a_newer_suite_ends_the_run_and_is_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `git pull` during a run: workers that start later have other fields in their records."""

    def older(line: bytes) -> Any:
        if line.startswith(b'{"record":'):
            raise RecordError("the worker's result: not a record of schema 1")
        return read_message(line)

    monkeypatch.setattr("benchmarks.execution.local.read_message", older)
    outcome = bench.run("--seeds=1", f"--set=linear.log={bench.log}")
    assert outcome.code == 1 and "was the suite updated during this run?" in outcome.err, outcome.err
    assert bench.starts() == [0] and not bench.records()


def test_a_simulation_that_is_not_finite_is_recorded_and_the_others_continue(bench: Bench, inline: None) -> None:
    own = [argument for argument in bench.arguments if not argument.startswith(("--tasks", "--demonstrations="))]
    outcome = bench._run([*own, "--tasks=peg", "--set=linear.trouble=simulation", "--set=linear.episodes=1"])
    assert outcome.code == 1
    bad, good = bench.records()
    assert (bad.status, good.status) == ("diverged", "ok")
    assert bad.error.startswith("PegInsertion-v0: the simulation became unstable 0.1 s into the episode")


def test_more_memory_than_there_is_fails_that_trial_alone(bench: Bench) -> None:
    assert bench.run("--set=linear.trouble=memory").code == 1
    bad, good = bench.records()
    assert (bad.status, good.status) == ("failed", "ok") and "Unable to allocate 32.0 GiB" in bad.error


def test_a_disk_that_is_full_for_a_worker_stops_the_run(bench: Bench) -> None:
    outcome = bench.run("--set=linear.trouble=disk", "--set=linear.unlucky=1", "--jobs=1", "--seeds=3")
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert re.fullmatch(r"error: cannot write /.*: No space left on device \([\d,]+ MiB free\); .* are whole", last)
    assert [(record.trial.seed, record.status) for record in bench.records()] == [(0, "ok")]


def test_an_unexpected_error_shows_where_it_came_from(bench: Bench, inline: None) -> None:
    bench.run("--set=linear.trouble=raise", "--seeds=1")
    (record,) = bench.records()
    assert "tests/benchmarks/fakes.py" in record.error and str(Path.cwd()) not in record.error


def test_a_killed_worker_is_tried_again(bench: Bench) -> None:
    outcome = bench.run("--set=linear.trouble=kill once", f"--set=linear.log={bench.log}")
    assert outcome.code == 0 and "was killed by SIGKILL" in outcome.err
    assert [record.status for record in bench.records()] == ["ok", "ok"]
    assert sorted(bench.starts()) == [0, 0, 1]
    (attempt,) = (bench.results / "attempts").iterdir()
    first = read_record(attempt.read_bytes(), "attempt")
    assert first.status == "failed" and "SIGKILL" in first.error


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("kill", "was killed by SIGKILL (perhaps by the system, out of memory"), ("exit", "exit status 3")],
)
def test_a_worker_that_always_dies_is_tried_three_times(bench: Bench, trouble: str, said: str) -> None:
    outcome = bench.run(f"--set=linear.trouble={trouble}", f"--set=linear.log={bench.log}", "--seeds=1")
    assert outcome.code == 1
    (record,) = bench.records()
    assert record.status == "failed" and said in record.error
    assert bench.starts() == [0, 0, 0]


def test_a_trial_that_takes_too_long_is_ended_and_keeps_its_curve(bench: Bench) -> None:
    outcome = bench.run("--set=linear.trouble=hang", "--seeds=1", "--timeout=15")
    assert outcome.code == 1
    (late,) = bench.records()
    assert late.status == "timed out" and "ended after 15 s" in late.error
    assert late.usage.training_seconds > 0.0
    assert len(late.curve) == 1 and late.curve[0].progress == 0.5


def test_no_worker_outlives_a_killed_runner(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH", str(bench.folder))
    runner = start(bench, f"--set=linear.log={bench.log}", "--set=linear.trouble=hang", "--jobs=2")
    wait_for(lambda: len(bench.starts()) == 2, runner)
    os.kill(runner.pid, signal.SIGKILL)
    finish(runner)
    wait_for(lambda: not workers_of(bench.folder))
    scratch = bench.results / "scratch"
    assert list(scratch.iterdir()), "a killed run leaves its scratch folder"
    finish(start(bench, "--seeds=1"))
    assert not list(scratch.iterdir()), "which the next one sweeps"


def test_two_runs_share_the_work(bench: Bench) -> None:
    arguments = (f"--set=linear.log={bench.log}", "--set=linear.pause=0.1", "--jobs=1", "--seeds=4")
    runs = [start(bench, *arguments) for _ in range(2)]
    said = [finish(run) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sorted(bench.starts()) == [0, 1, 2, 3]
    assert all(re.search(r"\[(\d)/\1\]", lines) for lines in said), "both end when all is done"


def test_two_launchers_at_once_do_no_trial_twice(bench: Bench, inline: None) -> None:
    two_launchers(bench, rounds=3)


def test_a_record_that_cannot_be_written_stops_the_run_and_spares_the_others(bench: Bench) -> None:
    """The system's limit on the size of a file stands for a full disk: writing fails half-way."""
    assert bench.run("--seeds=1").code == 0
    (whole,) = bench.records()
    runner = start(bench, "--seeds=3", "--jobs=1", largest_file=2000)
    last = finish(runner).splitlines()[-1]
    assert runner.returncode == 1
    place = re.escape(str(bench.results / "records"))
    assert re.fullmatch(rf"error: cannot write {place}/\w+\.json: File too large \([\d,]+ MiB free\); .* whole", last)
    assert bench.records() == [whole] and len(list((bench.results / "records").iterdir())) == 1
    assert bench.run("--seeds=3").code == 0 and len(bench.records()) == 3


@pytest.mark.parametrize(("place", "code"), [("records", 1), (".", 1), ("locks", 2)])
def test_a_folder_that_becomes_read_only_is_named(bench: Bench, inline: None, place: str, code: int) -> None:
    bench.run("--seeds=1")
    before = bench.records()
    with read_only(bench.results / place):
        outcome = bench.run("--seeds=2")
    assert outcome.code == code
    assert re.fullmatch(r"error: cannot write /.* \([\d,]+ MiB free\); .*", outcome.err.splitlines()[-1])
    assert str(bench.results / place) in outcome.err and "Traceback" not in outcome.err
    assert bench.records() == before
    assert bench.run("--seeds=2").code == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be added to the folder; for root, whom permissions do not stop, it is made immutable."""
    if os.geteuid():
        folder.chmod(0o500)
    elif subprocess.run(["chattr", "+i", folder], capture_output=True).returncode:
        pytest.skip("root may write anywhere on this file system")
    try:
        yield
    finally:
        if os.geteuid():
            folder.chmod(0o700)
        else:
            subprocess.run(["chattr", "-i", folder], check=True)


def test_a_run_stops_when_source_files_change(bench: Bench, inline: None) -> None:
    own = bench.folder / "own.py"
    own.write_text(
        "from pathlib import Path\nfrom tests.benchmarks.fakes import LeastSquares\n"
        "class Mine(LeastSquares):\n    name = 'mine'\n    def fit(self, *given):\n"
        "        if given[1].seeds.seed == 1:\n            Path(__file__).open('a').write('CHANGED = True')\n"
        "        return super().fit(*given)\n"
    )
    outcome = bench.run(f"--methods={own}:Mine", "--jobs=1", "--seeds=4")
    assert outcome.code == 1 and "source files changed while trials were running (own.py)" in outcome.err
    good, changed = bench.records()
    assert (good.status, changed.status) == ("ok", "failed") and "source files" in changed.error


def test_a_trial_that_another_run_finishes_while_this_one_looks_is_not_done_again(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = f"--set=linear.log={bench.log}"
    assert bench.run(logged, f"--results={bench.folder / 'other'}").code == 0
    look = Store.summaries

    def look_too_early(self: Store, trials: Iterable[str]) -> Any:
        found = look(self, trials)
        for path in (bench.folder / "other" / "records").glob("*.json"):
            if not (self.root / "records" / path.name).exists():
                (self.root / "records").mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.root / "records")
        return found

    monkeypatch.setattr(Store, "summaries", look_too_early)
    assert bench.run(logged).code == 0
    assert sorted(bench.starts()) == [0, 1]
    assert len(bench.records()) == 2 and not list((bench.results / "attempts").iterdir())
