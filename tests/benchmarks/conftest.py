"""A comparison that takes seconds: the linear method on the tiny task."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import run as command_line
from benchmarks.execution.executor import Listener, Started
from benchmarks.execution.local import LocalExecutor
from benchmarks.records.schema import Record, read_record
from benchmarks.trial import worker
from benchmarks.trial.protocol import TrialRequest
from envs.demonstrations import save
from tests import tiny
from tests.benchmarks.fakes import METHOD, TASK

PROFILE = """
summary = "for the tests"
[suite]
seeds = 2
demonstrations = [4]
[evaluation]
rollouts = 5
curve_points = 3
curve_rollouts = 4
[budget.default]
environment_steps = 1000
policy_updates = 10
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bench:
    """A results folder and the command line that fills it."""

    folder: Path
    arguments: tuple[str, ...]
    _run: Callable[[list[str]], Outcome]

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def log(self) -> Path:
        """A line, the seed, for each fit of a method that was told to log there."""
        return self.folder / "starts.log"

    def run(self, *more: str) -> Outcome:
        """Run the command line in this process; these options override the bench's own."""
        return self._run(self.command(*more))

    def command(self, *more: str) -> list[str]:
        """The arguments of `run`."""
        return overridden(self.arguments, more)

    def records(self, folder: str = "results") -> list[Record]:
        """All records, by seed."""
        paths = (self.folder / folder / "records").glob("*.json")
        return sorted((read_record(path.read_bytes(), path.name) for path in paths), key=lambda r: r.trial.seed)

    def output(self, record: Record) -> str:
        """What its trial printed."""
        return (self.folder / "results" / "logs" / f"{record.trial.id}.log").read_text()

    def starts(self) -> list[int]:
        """The seeds of the fits so far, in order."""
        return [int(seed) for seed in self.log.read_text().split()] if self.log.exists() else []


def overridden(arguments: Sequence[str], more: Sequence[str]) -> list[str]:
    """Arguments of the form --NAME=VALUE with others instead, in their places, and more."""

    def name(argument: str) -> str:
        return argument.rpartition("=")[0] if argument.startswith("--set=") else argument.partition("=")[0]

    instead = {name(argument): argument for argument in more}
    own = [instead.get(name(argument), argument) for argument in arguments]
    return [*own, *(argument for argument in more if argument not in own)]


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in this process, which is quicker where processes are not what is tested."""

    async def execute(executor: LocalExecutor, request: TrialRequest, listener: Listener) -> None:
        listener(Started())
        listener(worker.perform(request, listener))

    monkeypatch.setattr(LocalExecutor, "execute", execute)


@pytest.fixture(scope="session")
def demonstration_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demonstrations") / "tiny.npz"
    save(tiny.demonstrate(episodes=6, seed=0), path)
    return path


@pytest.fixture
def bench(
    tmp_path: Path,
    demonstration_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Bench:
    """The report itself is the analysis' matter, so it is only named here."""
    report = ModuleType("analysis.report.__main__")
    report.ResultsError = ValueError  # type: ignore[attr-defined]
    report.write_report = lambda folder: f"report of {folder.name}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "analysis.report.__main__", report)
    reference = ModuleType("analysis.reference")
    reference.against_reference = lambda folder: ""  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "analysis.reference", reference)
    monkeypatch.setenv("CI", "1")
    profile = tmp_path / "tests.toml"
    profile.write_text(PROFILE)

    def run(arguments: list[str]) -> Outcome:
        code = command_line.main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    files = (f"--demonstrations={demonstration_file}", f"--profile={profile}", f"--results={tmp_path / 'results'}")
    return Bench(tmp_path, (f"--methods={METHOD}", f"--tasks={TASK}", *files), run)
