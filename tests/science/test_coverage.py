"""The intervals cover what they should with five seeds, and the table in the docs is what the simulation gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.science.coverage import BEFORE, ROWS, SEEDS, coverage, table

pytestmark = pytest.mark.science

PAGE = Path(__file__).parents[2] / "docs/statistics.md"


@pytest.mark.parametrize("name", ROWS)
def test_intervals_cover_with_five_seeds(name: str) -> None:
    assert coverage(name, 5) >= 0.90


@pytest.mark.parametrize("name", BEFORE)
def test_the_bootstrap_that_they_replace_does_not(name: str) -> None:
    assert coverage(name, 3) < 0.85


def test_the_docs_show_what_the_simulation_gives() -> None:
    rows = re.findall(r"^\| .*\|$", PAGE.read_text(), re.M)
    assert len(rows) == len(ROWS) + len(BEFORE) + 2 and all(row.count("|") == len(SEEDS) + 2 for row in rows)
    assert "\n".join(rows) == table()
