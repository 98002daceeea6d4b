"""The command line from end to end: running, resuming, refusing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import provenance, worker
from benchmarks.local import LocalWorkplace
from benchmarks.messages import BEGUN, Order
from benchmarks.records import Plan, PlanRow, Record, load_plan
from envs.demonstrations import load_task, save
from tests.benchmarks import fakes
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import METHOD

TIMES = {"training_seconds", "evaluation_seconds", "peak_memory_mib", "started"}


def results_of(record: Record) -> Any:
    """A record without what may differ between two runs."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key not in TIMES}
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(record.model_dump(mode="json"))


def test_a_run_leaves_a_record_a_trial_and_does_none_twice(bench: Bench) -> None:
    logged = f"--set=linear.log={bench.log}"
    first = bench.run(logged)
    assert first.code == 0, first.err
    assert "report of results" in first.out
    records = bench.records()
    assert [(record.trial.seed, record.status) for record in records] == [(0, "ok"), (1, "ok")]
    plan = load_plan(bench.results / "plan.json")
    assert [row.trial for row in plan.rows] == [record.trial.id for record in records]
    assert {row.label for row in plan.rows} == {f'linear (log="{bench.log}")'}
    assert (bench.results / "policies" / records[0].trial.id / "weights.json").is_file()
    assert not list((bench.results / "scratch").iterdir())

    again = bench.run(logged)
    assert again.code == 0 and "all 2 trials are in" in again.err
    more = bench.run(logged, "--seeds=3")
    assert "2 of 3 trials" in more.err
    assert sorted(bench.starts()) == [0, 1, 2]
    assert [results_of(record) for record in bench.records()][:2] == [results_of(record) for record in records]


def test_one_and_two_jobs_give_equal_results(bench: Bench) -> None:
    assert bench.run("--jobs=1").code == 0
    assert bench.run("--jobs=2", f"--results={bench.folder / 'two'}").code == 0
    assert list(map(results_of, bench.records())) == list(map(results_of, bench.records("two")))


def test_costs_and_curve_are_those_of_training_alone(bench: Bench, inline: None) -> None:
    assert bench.run("--seeds=1").code == 0
    (record,) = bench.records()
    steps = [value for _, value in record.diagnostics.series["steps"]]
    assert record.usage.environment_steps == steps[-1]
    assert record.usage.episodes == 3
    assert record.usage.gradient_steps == 3
    assert [point.environment_steps for point in record.curve] == steps
    assert [point.episodes for point in record.curve] == [1, 2, 3]
    assert record.curve[-1].progress == 1.0
    assert record.curve[-1].sampled == record.success("sampled")
    assert [rollout.seed for rollout in record.final["mean"]] == list(range(2_000_000, 2_000_005))
    assert len(record.final["sampled"]) == 5


def test_a_dry_run_changes_nothing_and_counts(bench: Bench, inline: None) -> None:
    before = bench.run("--dry-run", "--seeds=7")
    assert before.code == 0 and "7 trials to do" in before.out and "a rough guess" in before.out
    assert not bench.results.exists()
    bench.run("--seeds=1")
    files = {path: path.stat().st_mtime_ns for path in bench.results.rglob("*")}
    after = bench.run("--dry-run")
    assert "1 trials to do" in after.out and "from the records" in after.out
    assert {path: path.stat().st_mtime_ns for path in bench.results.rglob("*")} == files


def test_a_method_may_live_in_a_file(bench: Bench) -> None:
    own = bench.folder / "own.py"
    own.write_text(
        "from dataclasses import dataclass\n"
        "from tests.benchmarks.fakes import LeastSquares, Settings\n"
        "class Mine(LeastSquares):\n"
        "    name = 'mine'\n"
    )
    outcome = bench.run(f"--methods={own}:Mine", "--seeds=1", "--set=mine.episodes=2")
    assert outcome.code == 0, outcome.err
    (record,) = bench.records()
    assert record.status == "ok" and record.usage.episodes == 2
    (row,) = load_plan(bench.results / "plan.json").rows
    assert row.label == "mine (episodes=2)"
    (code,) = (bench.results / "code").iterdir()
    assert {"own.py", "tests/benchmarks/fakes.py"} <= set(json.loads(code.read_text()))


def test_a_label_is_shown_as_it_is(bench: Bench) -> None:
    outcome = bench.run("--dry-run", "--set=linear.log=[red]:smile:")
    assert outcome.code == 0 and '(log="[red]:smile:")' in outcome.out


def test_labels_that_are_the_same_trials_are_noted(bench: Bench) -> None:
    tuning = ("--profile=quick", "--methods=bc", "--tasks=clip", "--experiment=bc-l2", "--seeds=1", "--dry-run")
    outcome = bench._run([*tuning, "--set=bc.l2=0.5", f"--results={bench.results}"])
    assert outcome.code == 0 and outcome.err.startswith("note: bc-l2, clip: 'bc, L2 0 (l2=0.5)' and ")
    assert outcome.err.count("\n") == 1


def test_the_list_names_everything(bench: Bench) -> None:
    outcome = bench.run("--list")
    assert outcome.code == 0
    for name in ("gpril", "gail", "bc", "clip", "PegInsertion-v0", "compare", "placebo", "smoke", "quick", "paper"):
        assert name in outcome.out


BAD_INPUT = {
    "method": (["--methods=linearr"], "there is no method 'linearr'"),
    "nearest method": (["--methods=gprill"], "did you mean 'gpril'"),
    "task": (["--tasks=pegg"], "unknown task 'pegg'; did you mean 'peg'"),
    "profile": (["--profile=quik"], "unknown profile 'quik'; did you mean 'quick'"),
    "no such profile file": (["--profile=none.toml"], "none.toml"),
    "experiment": (["--experiment=compar"], "unknown experiment 'compar'; did you mean 'compare'"),
    "setting": (["--set=linear.episods=3"], "did you mean 'episodes'"),
    "setting's type": (["--set=linear.episodes=many"], "linear.episodes = 'many'"),
    "setting that is not finite": (["--set=linear.pause=NaN"], "not a finite number"),
    "setting's form": (["--set=episodes"], "METHOD.SETTING=VALUE"),
    "setting of another method": (["--set=bc.l2=1"], "unknown method in --set 'bc'"),
    "too many demonstrations": (["--demos=4,7"], "have 6 episodes"),
    "no demonstrations": (["--demos=0"], "below 1"),
    "demonstrations that are no number": (["--demos=ten"], "'ten'"),
    "no demonstration file": (["--demonstrations=none.npz"], "none.npz"),
    "another task's demonstrations": (["--tasks=peg"], "demonstrations of TinySlot-v0"),
    "negative budget": (["--set=budget.environment_steps=-1"], "environment_steps = -1"),
    "budget": (["--set=budget.environment_step=1"], "did you mean 'environment_steps'"),
    "no seeds": (["--seeds=0"], "--seeds"),
    "no jobs": (["--jobs=-1"], "--jobs"),
    "timeout": (["--timeout=0"], "--timeout"),
    "device": (["--device=abacus"], "abacus"),
    "option": (["--sedes=3"], "--seeds"),
    "two methods of one name": ([f"--methods={METHOD},{fakes.__file__}:LeastSquares"], "called 'linear'"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_line(bench: Bench, case: str) -> None:
    arguments, said = BAD_INPUT[case]
    outcome = bench.run(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1
    assert said in outcome.err
    assert not outcome.out and not bench.results.exists()


def test_an_error_is_one_line_of_a_terminal_whatever_it_quotes(bench: Bench) -> None:
    outcome = bench.run("--methods=\x1b[2J\nbc" + "x" * 5000)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and len(outcome.err) < 1100
    assert outcome.err[:-1].isprintable()


def test_a_task_of_ones_own_needs_demonstrations(bench: Bench) -> None:
    own = [argument for argument in bench.arguments if not argument.startswith("--demonstrations")]
    outcome = bench._run(own)
    assert outcome.code == 2 and "--demonstrations FILE.npz" in outcome.err


def test_demonstrations_in_other_units_are_refused_before_anything_runs(bench: Bench) -> None:
    path = bench.folder / "large.npz"
    peg = load_task("peg").subset(episodes=4)
    save(dataclasses.replace(peg, observations=peg.observations * np.float32(1000.0)), path)
    outcome = bench.run("--tasks=peg", f"--demonstrations={path}")
    assert outcome.code == 2 and not bench.results.exists()
    assert f"error: {path}: observations[" in outcome.err and "are its units right" in outcome.err


def test_an_unwritable_folder_is_refused(bench: Bench) -> None:
    file = bench.folder / "file"
    file.touch()
    for place in (file, file / "below"):
        outcome = bench.run(f"--results={place}")
        assert outcome.code == 2 and outcome.err.count("\n") == 1 and str(place) in outcome.err


def test_a_damaged_record_is_set_aside_and_done_again(bench: Bench, inline: None) -> None:
    bench.run()
    path = sorted((bench.results / "records").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    outcome = bench.run()
    assert outcome.code == 0 and f"damaged, so it is done again: {path}" in outcome.err
    assert [file.read_bytes() for file in (bench.results / "damaged").iterdir()] == [whole[:-20]]
    assert len(bench.records()) == 2


def test_records_of_other_code_are_refused_or_accepted(bench: Bench, inline: None) -> None:
    own = bench.folder / "own.py"
    own.write_text("from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n")
    method = f"--methods={own}:Mine"
    assert bench.run(method, "--seeds=1").code == 0
    own.write_text(own.read_text() + "# changed\n")
    refused = bench.run(method)
    assert refused.code == 2 and "made by other code" in refused.err and "own.py" in refused.err
    assert len(bench.records()) == 1
    accepted = bench.run(method, "--accept-drift")
    assert accepted.code == 0
    digests = {record.provenance.code_digest for record in bench.records()}
    assert len(bench.records()) == 2 and len(digests) == 2
    plan = bench.results / "plan.json"
    assert [row.other_code for row in load_plan(plan).rows] == [True, False], "tables and figures label them"

    assert bench.run("--seeds=1", "--accept-drift").code == 0
    rows = {row.label: row.other_code for row in load_plan(plan).rows if row.seed == 0}
    assert rows == {"mine": True, "linear": False}, "another method's record is still of other code"


def test_what_a_record_names_is_never_imported(bench: Bench, inline: None) -> None:
    """A method's name in a record may be the path of a file; only what the command line asks for is run."""
    bench.run("--seeds=1")
    evil, canary = bench.folder / "evil.py", bench.folder / "canary"
    evil.write_text(f"from pathlib import Path\nPath({str(canary)!r}).touch()\n")
    (record,) = bench.records()
    trial = record.trial.model_copy(update={"method": f"{evil}:Evil", "seed": 7})
    planted = record.model_copy(update={"trial": trial})
    (bench.results / "records" / f"{trial.id}.json").write_bytes(planted.to_bytes())
    plan = bench.results / "plan.json"
    rows = [*load_plan(plan).rows, PlanRow.of("compare", "linear", trial)]
    plan.write_text(Plan(profile="tests", rows=rows).model_dump_json())
    assert bench.run("--seeds=2", "--accept-drift").code == 0
    assert not canary.exists()


def test_records_of_other_versions_and_machines_are_pointed_out(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "note:" not in bench.run("--seeds=1").err
    newer = provenance.versions() | {"torch": "99.0"}
    monkeypatch.setattr("benchmarks.provenance.versions", lambda: newer)
    monkeypatch.setattr("benchmarks.provenance.machine", lambda: {"processor": "abacus"})
    outcome = bench.run("--seeds=2")
    assert outcome.code == 0
    assert "now '99.0'" in outcome.err and "made on another machine" in outcome.err


def test_other_settings_never_mix_under_one_label(bench: Bench, inline: None) -> None:
    profile = bench.folder / "tests.toml"
    assert bench.run("--seeds=1").code == 0
    profile.write_text(profile.read_text().replace("rollouts = 5", "rollouts = 3"))
    refused = bench.run()
    assert refused.code == 2 and "evaluation.rollouts was 5, now 3" in refused.err
    assert bench.run("--accept-drift").code == 0
    plan = load_plan(bench.results / "plan.json")
    kept = {record.trial.id: len(record.final["mean"]) for record in bench.records()}
    assert sorted(kept.values()) == [3, 3, 5]
    assert [kept[row.trial] for row in plan.rows] == [3, 3]
    assert bench.run("--set=evaluation.rollouts=4", "--seeds=1").code == 0, "a changed setting has its own label"
    profile.rename(profile.with_name("other.toml"))
    other = bench.run(f"--profile={profile.with_name('other.toml')}")
    assert other.code == 2 and "profile 'tests', not 'other'" in other.err


def test_trials_never_run_leave_the_plan(bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.engine.Engine.run", interrupted)
        outcome = bench.run("--seeds=9")
    assert outcome.code == 130 and "To go on: python -m benchmarks.run" in outcome.err
    plan = bench.results / "plan.json"
    assert len(load_plan(plan).rows) == 9
    bench.run("--seeds=1")
    assert len(load_plan(plan).rows) == 1


def test_records_of_other_libraries_and_machines_are_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once when they are made, as on a cluster, and once when others are added."""

    async def elsewhere(place: LocalWorkplace, order: Order) -> AsyncGenerator[bytes, None]:
        yield BEGUN
        made = worker.perform(order, lambda event: None)
        there = {"versions": made.provenance.versions | {"numpy": "0.1"}, "machine": {"processor": "abacus"}}
        yield made.model_copy(update={"provenance": made.provenance.model_copy(update=there)}).to_bytes()

    monkeypatch.setattr(LocalWorkplace, "work", elsewhere)
    for seeds in ("--seeds=1", "--seeds=2"):
        said = bench.run(seeds).err
        assert "numpy was '0.1', now" in said and "another machine: compare success, not seconds" in said
    assert said.count("note: ") == 4


def test_results_go_to_a_folder_named_after_the_profile(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    own = [argument for argument in bench.arguments if not argument.startswith("--results")]
    assert bench._run([*own, "--seeds=1"]).code == 0
    assert len(list(Path("results/tests/records").iterdir())) == 1
