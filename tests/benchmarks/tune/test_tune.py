"""Tuning: what it finds, how it resumes, what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from filelock import FileLock

from benchmarks.planning import profiles
from benchmarks.planning.search import Range, Space
from benchmarks.records.files import load_record
from benchmarks.records.schema import RecordError
from benchmarks.records.studies import Choice, Score, Study, load_study, study_files
from benchmarks.tune.proposals import UNIFORM_DRAWS, propose
from benchmarks.tune.search import FEWEST
from tests.benchmarks.conftest import Outcome, overridden
from tests.benchmarks.fakes import TASK
from tests.benchmarks.processes import PATIENCE, wait_for
from tests.benchmarks.tune.conftest import Run
from tests.benchmarks.tune.specimen import METHOD, PROFILE

pytest.importorskip("optuna", reason="Optuna is not installed: pip install optuna")


def study_of(folder: Path) -> Study:
    """The only study of a results folder."""
    (path,) = study_files(folder)
    return load_study(path)


def proposed(folder: Path) -> list[dict[str, object]]:
    """The settings tried in the only study of a results folder, but for the profile's own."""
    return [choice.values for choice in study_of(folder).choices[1:]]


def ending(outcome: Outcome) -> str:
    """What it printed after the last trial."""
    return outcome.out[outcome.out.index("\nThe best of") :]


def starts(folder: Path) -> int:
    return len((folder / "starts.log").read_text().split())


def test_a_search_finds_better_settings_and_prints_what_a_profile_needs(run: Run, tmp_path: Path) -> None:
    done = run("--trials=7")
    assert done.code == 0, done.err
    assert "The best of 7 choices of settings of shifted" in done.out and "those of the profile" in done.out
    snippet = tomllib.loads(done.out[done.out.index("[settings.") :])
    best = snippet["settings"]["shifted"]["TinySlot-v0"]
    assert best["kind"] == "plain" and 0.0 <= best["shift"] < 1.1 and best["episodes"] in (1, 2)
    records = [load_record(path) for path in (tmp_path / "results" / "records").glob("*.json")]
    of_best = [record for record in records if best.items() <= record.trial.settings.items()]
    cells = {(record.trial.demonstrations.episodes, record.trial.seed) for record in of_best}
    assert cells == {(3, 0), (3, 1), (5, 0), (5, 1)}, "what is printed is exactly what was measured"
    score = sum((record.success("sampled") + record.success("mean")) / 2 for record in of_best) / len(of_best)
    assert f"{100 * score:.1f}   " in done.out and score == study_of(tmp_path / "results").best.score
    others = [record for record in records if record.trial.settings["shift"] == 1.5]
    assert score > sum(record.success("sampled") for record in others) / len(others)
    profile = tmp_path / "better.toml"
    profile.write_text(PROFILE + done.out[done.out.index("[settings.") :])
    assert profiles.load(str(profile)).settings_of("shifted", TASK) == best


def test_it_is_resumed_and_repeats_nothing(run: Run, tmp_path: Path) -> None:
    """Three settings and then three more are the six of one search; another start trains nothing."""
    assert run("--trials=3").code == 0
    first = starts(tmp_path)
    assert run("--trials=6").code == 0
    assert first < starts(tmp_path) <= 6 * 4
    again, trained = run("--trials=6"), starts(tmp_path)
    assert again.code == 0 and starts(tmp_path) == trained
    assert run("--trials=6", f"--results={tmp_path / 'whole'}").code == 0
    assert proposed(tmp_path / "whole") == proposed(tmp_path / "results")


def test_a_lost_study_is_found_again_from_the_records_and_lost_records_from_the_study(run: Run, tmp_path: Path) -> None:
    whole = run("--trials=4")
    trained, study = starts(tmp_path), study_of(tmp_path / "results")
    (path,) = study_files(tmp_path / "results")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    damaged = run("--trials=4")
    assert damaged.code == 2 and "not a search of settings" in damaged.err and len(damaged.err.splitlines()) == 1
    path.unlink()
    assert ending(run("--trials=4")) == ending(whole)
    assert study_of(tmp_path / "results") == study and starts(tmp_path) == trained
    shutil.rmtree(tmp_path / "results")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert ending(run("--trials=4")) == ending(whole) and starts(tmp_path) == trained, "the committed file is enough"
    assert run("--trials=5").code == 0 and len(proposed(tmp_path / "results")) == 4


def test_a_study_is_a_small_file_with_a_line_for_each_choice(run: Run, tmp_path: Path) -> None:
    assert run("--trials=3").code == 0
    (path,) = study_files(tmp_path / "results")
    lines = path.read_text().splitlines()
    study = load_study(path)
    assert sum('"values"' in line for line in lines) == 3 and path.stat().st_size < 10_000
    assert study.choices[0].values == {"shift": 1.5, "episodes": 3, "kind": "plain"}, "the profile's own"
    assert [score.cell for score in study.choices[0].scores] == [
        ("TinySlot-v0", demonstrations, seed) for demonstrations in (3, 5) for seed in (0, 1)
    ]
    assert study.choices[0].core_seconds > 0 and study.choices[0].scores[0].rollouts == 8
    for change in ({"choices": [{"values": {}, "state": "done"}]}, {"unknown": 1}):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(RecordError, match="not a search of settings"):
            load_study(path)


def test_settings_worse_than_most_are_stopped_after_a_seed_and_never_win(run: Run, tmp_path: Path) -> None:
    """The rule is one for all; the profile's own settings are trained to the end, though they are the worst here."""
    space = "SEARCH = {'shift': {'low': 0.0, 'high': 1.5}}\n"
    (tmp_path / "shifted.py").write_text(METHOD + space)
    done = run("--trials=10", "--set=shifted.kind=plain", "--set=shifted.episodes=1")
    assert done.code == 0, done.err
    choices = study_of(tmp_path / "results").choices
    stopped = [choice for choice in choices if choice.state == "stopped"]
    assert choices[0].state == "complete" and len(choices[0].scores) == 4
    assert stopped and "stopped early" in done.err and f"{len(stopped)} choice" in done.out
    for choice in stopped:
        place = choices.index(choice)
        assert place >= FEWEST and {score.seed for score in choice.scores} == {0}
        earlier = [sum(s.success for s in one.scores if s.seed == 0) / 2 for one in choices[:place]]
        assert choice.score < sorted(earlier)[len(earlier) // 2]
    assert study_of(tmp_path / "results").best.state == "complete"
    whole = run("--trials=10", "--set=shifted.kind=plain", "--set=shifted.episodes=1", "--no-prune")
    assert whole.code == 2 and "--prune was true, now false" in whole.err, "another rule is another search"


def test_settings_that_can_no_longer_win_are_stopped_after_a_seed(run: Run, tmp_path: Path) -> None:
    """A second seed with 100 % would not make up for a first one with 0 %; one earlier choice is enough to know it."""
    (tmp_path / "shifted.py").write_text(METHOD + "SEARCH = {'kind': {'choices': ['plain', 'off']}}\n")
    done = run("--trials=2", "--set=shifted.shift=0.0", "--set=shifted.episodes=1")
    assert done.code == 0, done.err
    own, off = study_of(tmp_path / "results").choices
    assert own.state == "complete" and own.score > 0.5 and off.values == {"kind": "off"}
    assert off.state == "stopped" and {score.seed for score in off.scores} == {0}


def test_several_methods_and_tasks_have_a_study_each_and_one_over_the_tasks(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(METHOD.replace('name = "shifted"', 'name = "other"'))
    methods = f"--methods={tmp_path / 'shifted.py'}:Shifted,{tmp_path / 'other.py'}:Shifted"
    fixed = [f"--set=other.log={tmp_path / 'starts.log'}"]
    dry = run(methods, *fixed, "--trials=2", "--dry-run")
    assert dry.code == 0 and "shifted-TinySlot-v0" in dry.out and "core-hours" in dry.out, dry.err
    assert not (tmp_path / "starts.log").exists() and not (tmp_path / "results").exists()
    done = run(methods, *fixed, "--trials=2")
    assert done.code == 0, done.err
    one, two = map(load_study, study_files(tmp_path / "results"))
    assert (one.label, two.label) == ("other", "shifted") and len(one.choices) == len(two.choices) == 2
    assert [s.cell for s in one.choices[0].scores] == [s.cell for s in two.choices[0].scores]
    assert one.choices[1].values == two.choices[1].values, "the same search space, the same proposals"
    unknown = run(methods, "--set=othr.kind=off", "--trials=2")
    assert unknown.code == 2 and "did you mean 'other'?" in unknown.err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_method_that_cannot_be_trained_is_refused_before_any_other_is(
    run: Run, tmp_path: Path, more: tuple[str, ...]
) -> None:
    asking = METHOD.replace('name = "shifted"', 'name = "asking"\n    needs_expert = True')
    (tmp_path / "asking.py").write_text(asking)
    methods = f"--methods={tmp_path / 'shifted.py'}:Shifted,{tmp_path / 'asking.py'}:Shifted"
    done = run(methods, "--trials=1", "--set=budget.expert_queries=9", *more)
    assert done.code == 2 and "has none; leave one of them out" in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "starts.log").exists() and not (tmp_path / "results").exists()


def test_a_trial_that_takes_too_long_counts_as_nothing(arguments: list[str], tmp_path: Path) -> None:
    slow = ["--trials=1", "--set=shifted.pause=60", "--minutes=0.05", "--seeds=1", "--demos=3"]
    command = [sys.executable, "-m", "benchmarks.tune", *overridden(arguments, slow)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    (score,) = study_of(tmp_path / "results").choices[0].scores
    assert score.failed and score.success == 0.0 and score.rollouts == 0
    assert "1 trial failed or timed out, counted as 0." in done.stdout


def test_other_code_is_not_mixed_into_a_study(run: Run, tmp_path: Path) -> None:
    assert run("--trials=2").code == 0
    (tmp_path / "shifted.py").write_text(METHOD.replace("0.05 * self.settings.shift", "0.04 * self.settings.shift"))
    known = run("--trials=2")
    assert known.code == 0 and "The best of 2" in known.out, "what is there can still be shown"
    more = run("--trials=3")
    assert more.code == 2 and "was made by other code" in more.err and len(more.err.splitlines()) == 1


def test_ctrl_c_is_clean_and_the_same_command_resumes(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.tune", *arguments, "--trials=2", "--jobs=1", "--seeds=1"]

    def interruptible() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    slow = subprocess.Popen(
        [*command, "--set=shifted.pause=0.05"],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": interruptible},
    )
    wait_for(lambda: (tmp_path / "starts.log").exists() and starts(tmp_path) >= 3, slow)
    slow.send_signal(signal.SIGINT)
    _, err = slow.communicate(timeout=PATIENCE)
    assert slow.returncode == 130 and "To resume: python -m benchmarks.tune" in err and "Traceback" not in err, err
    finished = set((tmp_path / "results" / "records").iterdir())
    assert len(finished) >= 2 and starts(tmp_path) >= 3
    done = subprocess.run([*command, "--set=shifted.pause=0.05"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "The best of 2 choices" in done.stdout, done.stderr
    records = set((tmp_path / "results" / "records").iterdir())
    assert finished < records and len(records) == 2 * 2, "the settings that were interrupted are proposed again"
    assert len(proposed(tmp_path / "results")) == 1


def test_refused_combinations_and_failed_trials_count_as_nothing(run: Run, tmp_path: Path) -> None:
    space = "SEARCH = {'shift': {'choices': [1.95, 1.0]}, 'trouble': {'choices': ['raise', '']}}\n"
    (tmp_path / "shifted.py").write_text(METHOD + space)
    done = run("--trials=6")
    assert done.code == 0, done.err
    assert "refused by the method, counted as 0 %" in done.err and "shift = 1.95 is too much" in done.err
    assert "failed or timed out, counted as 0" in done.out


def test_other_questions_and_other_code_are_not_mixed(run: Run, tmp_path: Path) -> None:
    assert run("--trials=1").code == 0
    for more, named in (("--demos=3", "--demos was [3, 5], now [3]"), ("--seeds=1", "--seeds was [0, 1], now [0]")):
        other = run("--trials=1", more)
        assert other.code == 2 and named in other.err and len(other.err.splitlines()) == 1, other.err
    fixed = run("--trials=1", "--set=shifted.kind=plain")
    assert fixed.code == 2 and "is a search with other settings" in fixed.err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--methods=knm"], "did you mean 'knn'?"),
        (["--tasks=clipp"], "unknown task 'clipp'"),
        (["--demos=0"], "holds a number below 1"),
        (["--demos=7"], "ask for at most as many"),
        (["--trials=0"], "0 is not in the range"),
        (["--profile=tunning"], "did you mean 'tuning'?"),
        (["--set=shifted.shift=1", "--set=shifted.kind=off", "--set=shifted.episodes=1"], "fixes all that may be"),
    ],
)
def test_bad_input_is_one_line_and_trains_nothing(run: Run, tmp_path: Path, more: list[str], sentence: str) -> None:
    done = run(*overridden(["--trials=2"], more))
    assert done.code == 2 and sentence in done.err, done.err
    assert len(done.err.splitlines()) == 1 and not (tmp_path / "starts.log").exists()


def test_a_method_that_declares_nothing_is_told_how(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shifted.py").write_text(METHOD.replace("SEARCH", "RANGES"))
    done = run("--trials=2")
    assert done.code == 2 and "shifted does not say which settings may be searched; declare SEARCH =" in done.err


def test_two_searches_of_the_same_do_not_meet(run: Run, tmp_path: Path) -> None:
    assert run("--trials=1").code == 0
    (path,) = study_files(tmp_path / "results")
    with FileLock(tmp_path / "results" / "locks" / f"study-{path.stem}.lock"):
        busy = run("--trials=2")
    assert busy.code == 2 and "another search of shifted" in busy.err


def test_without_optuna_the_command_that_installs_it_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run("--trials=1")
    assert done.code == 2 and "pip install optuna" in done.err


def test_with_few_known_settings_a_proposal_keeps_most_of_the_best() -> None:
    space: Space = {f"x{number}": Range(0.0, 1.0) for number in range(9)}
    known = dict.fromkeys(space, 0.5)
    study = Study(method="any", label="any", profile="tuning", tasks=[], question={}, code={})
    better = Score(task="any", demonstrations=10, seed=0, success=0.5, rollouts=10)
    study.choices.append(Choice(values=known, state="complete", scores=[better]))
    kept = []
    while len(study.choices) < UNIFORM_DRAWS:
        values = propose(space, study)
        kept.append(sum(values[name] == known[name] for name in space))
        study.choices.append(
            Choice(values=values, state="complete", scores=[better.model_copy(update={"success": 0.1})])
        )
    assert max(kept) < len(space) and 4 <= sum(kept) / len(kept) <= 8
    assert all(value != 0.5 for value in propose(space, study).values()), "from then on the estimator has learned"
