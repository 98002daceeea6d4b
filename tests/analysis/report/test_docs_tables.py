"""Tables within pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.report.docs_tables import CLAIMS, MAIN, PAGES, main, shown, updated

PAGE = """before
<!-- results/quick/tables/main.md -->
old
table
<!-- end -->
between, <!-- a comment -->
<!-- results/standard/tables/claims.md -->
<!-- end -->
after
"""


def test_tables_are_copied_and_the_rest_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(PAGE) == [MAIN, CLAIMS]
    for table in shown(PAGE):
        (tmp_path / table).parent.mkdir(parents=True)
        (tmp_path / table).write_text(f"| {Path(table).stem} \\1 |\n")
    after = PAGE.replace("old\ntable\n", "| main \\1 |\n").replace("claims.md -->\n", "claims.md -->\n| claims \\1 |\n")
    assert updated(PAGE, tmp_path) == after == updated(after, tmp_path)

    for page in PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(PAGE if page == "README.md" else "no table here\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main)
    assert result.exit_code == 0 and result.stdout == "README.md\n"
    assert (tmp_path / "README.md").read_text() == after
