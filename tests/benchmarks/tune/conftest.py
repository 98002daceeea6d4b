"""The command line of tuning, on the tiny task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.tune import __main__ as command_line
from tests.benchmarks.conftest import Outcome, overridden
from tests.benchmarks.fakes import TASK
from tests.benchmarks.tune.specimen import METHOD, PROFILE

Run = Callable[..., Outcome]


@pytest.fixture
def arguments(tmp_path: Path, demonstration_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("CI", "1")
    (tmp_path / "shifted.py").write_text(METHOD)
    (tmp_path / "tests.toml").write_text(PROFILE)
    return [
        *(f"--methods={tmp_path / 'shifted.py'}:Shifted", f"--tasks={TASK}", f"--profile={tmp_path / 'tests.toml'}"),
        *(f"--demonstrations={demonstration_file}", "--demos=3,5", f"--set=shifted.log={tmp_path / 'starts.log'}"),
        f"--results={tmp_path / 'results'}",
    ]


@pytest.fixture
def run(arguments: list[str], capsys: pytest.CaptureFixture[str], inline: None) -> Run:
    """The command line in this process, with more options, which override the fixture's own."""

    def run(*more: str) -> Outcome:
        code = command_line.main(overridden(arguments, more))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
