"""As often as it takes to believe it; tests/benchmarks has a short version of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.conftest import Bench
from tests.reliability.kills import kill_while_saving, two_launchers

pytestmark = pytest.mark.reliability


def test_200_kills_while_records_are_written(tmp_path: Path) -> None:
    kill_while_saving(tmp_path, kills=200)


def test_50_rounds_of_two_launchers(bench: Bench, inline: None) -> None:
    two_launchers(bench, rounds=50)
