"""More than ten thousand damaged and hostile files; tests/test_hostile.py reads some hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.fuzz import fuzz

pytestmark = [pytest.mark.reliability, pytest.mark.filterwarnings("ignore")]


def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    ends = fuzz(tmp_path, count=600)
    print()
    for name, tally in ends.items():
        print(f"{name}: {sum(tally.values())} files, " + ", ".join(f"{n} {end}" for end, n in tally.most_common()))
    total = sum(sum(tally.values()) for tally in ends.values())
    print(f"{total} files in all; nothing executed, nothing overwritten, no traceback")
    assert total >= 10_000
    for path in (path for path in tmp_path.rglob("*") if path.suffix in (".npz", ".json")):
        assert path.stat().st_size < 6000, f"{path.name} was not cut at every byte"
