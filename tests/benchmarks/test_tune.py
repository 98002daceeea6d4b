"""Tuning: what is searched, how it resumes, what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import tune
from benchmarks.errors import InputError
from benchmarks.planning import profiles
from benchmarks.planning.search import Choices, Range, space_of
from benchmarks.records.schema import load_record
from methods import registry
from tests.benchmarks.conftest import Outcome
from tests.benchmarks.fakes import TASK
from tests.benchmarks.processes import PATIENCE, wait_for

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install optuna")

METHOD = '''
from dataclasses import dataclass
import numpy as np
from methods.interface import MethodError
from tests.benchmarks import fakes

SEARCH = {"shift": {"low": 0.0, "high": 2.0}, "episodes": {"low": 1, "high": 2}, "kind": {"choices": ["plain", "off"]}}

@dataclass(frozen=True)
class Settings(fakes.Settings):
    """Up to a `shift` of 1 it hits the slot; the kind "off" never does."""
    shift: float = 1.5
    kind: str = "plain"
    def __post_init__(self):
        if self.shift > 1.9:
            raise MethodError(f"shift = {self.shift} is too much")

class Aiming(fakes.Linear):
    """Moves over the slot and then down; `weights` is by how much it misses the middle."""
    def act(self, observations, deterministic, rng):
        x, z, slot = observations.astype(float).T[:3]
        offset = slot + self.weights[0] - x
        down = np.where(np.abs(offset) < 0.02, -1.0, -0.2 * (z > 0.2))
        actions = np.column_stack([10.0 * offset, down])
        if not deterministic:
            actions = actions + 0.05 * rng.standard_normal(actions.shape)
        return np.clip(actions, -1.0, 1.0).astype(np.float32)

class Shifted(fakes.LeastSquares):
    name = "shifted"
    policy = Aiming
    Settings = Settings
    def fit(self, demonstrations, context):
        super().fit(demonstrations, context)
        return Aiming(np.array([0.05 * self.settings.shift + (self.settings.kind == "off")]))
'''
PROFILE = """
summary = "for the tests"
[suite]
seeds = 1
demonstrations = [4]
[evaluation]
rollouts = 4
[budget.default]
environment_steps = 1000
policy_updates = 10
"""
Run = Callable[..., Outcome]


@pytest.fixture
def arguments(tmp_path: Path, demonstration_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("CI", "1")
    (tmp_path / "shifted.py").write_text(METHOD)
    (tmp_path / "tests.toml").write_text(PROFILE)
    return [
        *(f"--method={tmp_path / 'shifted.py'}:Shifted", f"--task={TASK}", f"--profile={tmp_path / 'tests.toml'}"),
        *(f"--demonstrations={demonstration_file}", "--demos=3,5", f"--set=shifted.log={tmp_path / 'starts.log'}"),
        f"--results={tmp_path / 'results'}",
    ]


@pytest.fixture
def run(arguments: list[str], capsys: pytest.CaptureFixture[str], inline: None) -> Run:
    """The command line in this process, with more options, which override earlier ones."""

    def run(*more: str) -> Outcome:
        code = tune.main([*arguments, *more])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def proposed(folder: Path) -> list[dict[str, object]]:
    """Parameters of the finished trials of the only study of a results folder."""
    (path,) = (folder / "studies").glob("*.journal")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    return [trial.params for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]


def ending(outcome: Outcome) -> str:
    """What it printed after the last trial."""
    return outcome.out[outcome.out.index("\nThe best of") :]


def starts(folder: Path) -> int:
    return len((folder / "starts.log").read_text().split())


def test_a_search_finds_better_settings_and_prints_what_a_profile_needs(run: Run, tmp_path: Path) -> None:
    done = run("--trials=6")
    assert done.code == 0, done.err
    assert "The best of 6 settings of shifted" in done.out and "those of the profile" in done.out
    snippet = tomllib.loads(done.out[done.out.index("[settings.") :])
    best = snippet["settings"]["shifted"]["TinySlot-v0"]
    assert best["kind"] == "plain" and 0.0 <= best["shift"] < 1.1 and best["episodes"] in (1, 2)
    records = [load_record(path) for path in (tmp_path / "results" / "records").glob("*.json")]
    of_best = [record for record in records if best.items() <= record.trial.settings.items()]
    cells = {(record.trial.demonstrations.episodes, record.trial.seed) for record in of_best}
    assert cells == {(3, 0), (3, 1), (5, 0), (5, 1)}, "what is printed is exactly what was measured"
    score = sum((record.success("sampled") + record.success("mean")) / 2 for record in of_best) / len(of_best)
    assert f"{100 * score:.1f}   " in done.out
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
    assert first < starts(tmp_path) <= 7 * 4
    again, trained = run("--trials=6"), starts(tmp_path)
    assert again.code == 0 and starts(tmp_path) == trained
    assert run("--trials=6", f"--results={tmp_path / 'whole'}").code == 0
    assert proposed(tmp_path / "whole") == proposed(tmp_path / "results")


def test_a_lost_study_is_found_again_from_the_records(run: Run, tmp_path: Path) -> None:
    whole = run("--trials=4")
    trained, settings = starts(tmp_path), proposed(tmp_path / "results")
    (path,) = (tmp_path / "results" / "studies").glob("*.journal")
    path.write_bytes(b"no journal\n" + path.read_bytes())
    damaged = run("--trials=4")
    assert damaged.code == 2 and "is damaged" in damaged.err and len(damaged.err.splitlines()) == 1
    path.unlink()
    assert ending(run("--trials=4")) == ending(whole)
    assert proposed(tmp_path / "results") == settings and starts(tmp_path) == trained
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')  # the process was killed while it wrote
    assert ending(run("--trials=4")) == ending(whole)
    assert run("--trials=5").code == 0 and len(proposed(tmp_path / "results")) == 5


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
    assert len(finished) >= 2
    done = subprocess.run([*command, "--set=shifted.pause=0.05"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "The best of 2" in done.stdout, done.stderr
    records = set((tmp_path / "results" / "records").iterdir())
    assert finished < records and len(records) == 3 * 2, "the settings that were interrupted are proposed again"
    assert len(proposed(tmp_path / "results")) == 2


def test_refused_combinations_and_failed_trials_count_as_nothing(run: Run, tmp_path: Path) -> None:
    space = "SEARCH = {'shift': {'choices': [1.95, 1.0]}, 'trouble': {'choices': ['raise', '']}}\n"
    (tmp_path / "shifted.py").write_text(METHOD + space)
    done = run("--trials=6")
    assert done.code == 0, done.err
    assert "refused by the method, counted as 0 %" in done.err and "shift = 1.95 is too much" in done.err
    assert "did not end well, counted as 0" in done.out


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
        (["--method=knm"], "did you mean 'knn'?"),
        (["--task=clipp"], "unknown task 'clipp'"),
        (["--demos=0"], "holds a number below 1"),
        (["--demos=7"], "ask for at most as many"),
        (["--trials=0"], "0 is not in the range"),
        (["--profile=tunning"], "did you mean 'tuning'?"),
        (["--set=shifted.shift=1", "--set=shifted.kind=off", "--set=shifted.episodes=1"], "fixes all that may be"),
    ],
)
def test_bad_input_is_one_line_and_trains_nothing(run: Run, tmp_path: Path, more: list[str], sentence: str) -> None:
    done = run("--trials=2", *more)
    assert done.code == 2 and sentence in done.err, done.err
    assert len(done.err.splitlines()) == 1 and not (tmp_path / "starts.log").exists()


def test_a_method_that_declares_nothing_is_told_how(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shifted.py").write_text(METHOD.replace("SEARCH", "RANGES"))
    done = run("--trials=2")
    assert done.code == 2 and "shifted does not say which settings may be searched; declare SEARCH =" in done.err


def test_two_searches_of_the_same_do_not_meet(run: Run, tmp_path: Path) -> None:
    assert run("--trials=1").code == 0
    (path,) = (tmp_path / "results" / "studies").glob("*.journal")
    with tune.FileLock(tmp_path / "results" / "locks" / f"study-{path.stem}.lock"):
        busy = run("--trials=2")
    assert busy.code == 2 and "another search of shifted" in busy.err


def test_without_optuna_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = run("--trials=1")
    assert done.code == 2 and "pip install 'gpril-benchmarks[tune]'" in done.err


@pytest.mark.parametrize("name", registry.names())
def test_each_method_of_the_suite_says_what_may_be_searched(name: str) -> None:
    space = space_of(registry.resolve(name))
    assert space and all(isinstance(dimension, Range | Choices) for dimension in space.values())


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ("{}", "must name at least one setting"),
        ("{'shfit': {'choices': [1, 2]}}", "did you mean 'shift'?"),
        ("{'shift': {'low': 1.0}}", "write {"),
        ("{'shift': {'low': 1.0, 'high': 1.0}}", "low must be below high"),
        ("{'shift': {'low': 0, 'high': 1, 'log': True}}", "above 0 on a logarithmic scale"),
        ("{'shift': {'choices': [1]}}", "at least two choices"),
        ("{'episodes': {'low': 1.5, 'high': 2.5}}", "episodes"),
    ],
)
def test_a_declaration_that_cannot_be_searched_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str, sentence: str
) -> None:
    path = tmp_path / "declared.py"
    path.write_text(METHOD + f"\nSEARCH = {space}\n")
    with pytest.raises(InputError) as refused:
        space_of(registry.resolve(f"{path}:Shifted"))
    assert sentence in str(refused.value)
