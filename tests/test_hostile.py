"""Whatever others may have written is read as data or refused in one line; see tests/reliability for thousands more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.fuzz import fuzz

pytestmark = pytest.mark.filterwarnings("ignore")


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    ends = fuzz(tmp_path, count=20)
    assert set(ends) == {
        *("demonstrations", "demonstrations' header", "policies' weights", "policies' shape"),
        *("records", "plans", "snapshots"),
    }
    for name, tally in ends.items():
        assert tally["refused"] > 0.5 * sum(tally.values()), name
