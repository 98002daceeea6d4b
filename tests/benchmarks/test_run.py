"""The command line from end to end: running, resuming, refusing."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.records.files import load_plan
from benchmarks.records.schema import Record
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
    assert again.code == 0 and "nothing to do: 2 trials done already in" in again.err
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
    assert before.code == 0 and "7 trials to do" in before.out and "a rough estimate" in before.out
    assert re.search(r"compare +\S+ +7 +0\.1 ", before.out), "core-hours of each experiment and task"
    assert "7 trials to do, 0.1 core-hours, " in before.out
    assert not bench.results.exists()
    bench.run("--seeds=1")
    files = {path: path.stat().st_mtime_ns for path in bench.results.rglob("*")}
    after = bench.run("--dry-run")
    assert "1 trial to do" in after.out and "from the records" in after.out
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
    assert outcome.code == 0 and outcome.err.startswith("note: bc-l2, clip: 'BC, L2 0 (l2=0.5)' and ")
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
    "too many demonstrations": (["--demos=4,7"], "has 6 demonstrations"),
    "no demonstrations": (["--demos=0"], "below 1"),
    "demonstrations that are no number": (["--demos=ten"], "'ten'"),
    "no demonstration file": (["--demonstrations=none.npz"], "none.npz"),
    "another task's demonstrations": (["--tasks=peg"], "demonstrations of TinySlot-v0"),
    "negative budget": (["--set=budget.environment_steps=-1"], "environment_steps = -1"),
    "budget": (["--set=budget.environment_step=1"], "did you mean 'environment_steps'"),
    "no seeds": (["--seeds=0"], "--seeds"),
    "endless seeds": (["--seeds=99999999999999999999"], "--seeds"),
    "no jobs": (["--jobs=-1"], "--jobs"),
    "timeout": (["--timeout=0"], "--timeout"),
    "device": (["--device=abacus"], "abacus"),
    "option": (["--sedes=3"], "--seeds"),
    **{
        f"empty {name}": ([f"--{name}={blank}"], f"'--{name}': it is empty")
        for name, blank in {
            "methods": "",
            "tasks": " ",
            "demos": ",",
            "profile": "",
            "experiment": "",
            "results": "",
            "demonstrations": "",
            "set": "",
            "list": "",
        }.items()
    },
    "endless timeout": (["--timeout=inf"], "'--timeout': inf is not a finite number"),
    "no time at all": (["--save-every=nan"], "'--save-every': nan is not a finite number"),
    "empty entry": (["--demos=5,,10"], "'5,,10' has an empty entry"),
    "bytes": (["--tasks=a\udcff.py:X-v0"], "not UTF-8 text"),
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


def test_plain_arrays_are_said_to_need_an_import(bench: Bench) -> None:
    np.savez(path := bench.folder / "plain.npz", observations=np.ones((3, 3)), lengths=[2])
    outcome = bench.run(f"--demonstrations={path}")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert f"imported by python -m envs.formats import arrays {path} --task" in outcome.err


def test_an_error_is_one_line_of_a_terminal_whatever_it_quotes(bench: Bench) -> None:
    outcome = bench.run("--methods=\x1b[2J\nbc" + "x" * 5000)
    assert outcome.code == 2 and outcome.err.count("\n") == 1 and len(outcome.err) < 1100
    assert outcome.err[:-1].isprintable()


def test_an_option_that_is_given_twice_is_refused(bench: Bench) -> None:
    outcome = bench._run([*bench.arguments, "--seeds=1", "--seeds=2"])
    assert outcome.code == 2 and outcome.err.startswith("error: --seeds is given twice; give it once")


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
    assert (
        outcome.err.startswith("error: observations[")
        and str(path) in outcome.err
        and "are its units right" in outcome.err
    )


def test_an_unwritable_folder_is_refused(bench: Bench) -> None:
    file = bench.folder / "file"
    file.touch()
    for place in (file, file / "below"):
        outcome = bench.run(f"--results={place}")
        assert outcome.code == 2 and outcome.err.count("\n") == 1 and str(place) in outcome.err


def test_a_comma_in_the_path_of_a_file_separates_nothing(bench: Bench) -> None:
    own = bench.folder / "a,b.py"
    own.write_text("from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n")
    outcome = bench.run(f"--methods={own}:Mine,bc", "--dry-run")
    assert outcome.code == 0 and "4 trials to " in outcome.out, outcome.err


def test_results_go_to_a_folder_named_after_the_profile(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    own = [argument for argument in bench.arguments if not argument.startswith("--results")]
    assert bench._run([*own, "--seeds=1"]).code == 0
    assert len(list(Path("results/runs/tests/records").iterdir())) == 1
