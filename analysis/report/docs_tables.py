"""Copies committed tables into the pages that show them: `python -m analysis.report.docs_tables`, from the root.

A page says with a comment which table follows, and with another one where it ends:

    <!-- results/quick/tables/main.md -->
    ...
    <!-- end -->
"""

from __future__ import annotations

import re
from pathlib import Path

import click

MAIN, CLAIMS = "results/quick/tables/main.md", "results/standard/tables/claims.md"
SPEED, CHANGES = "results/speed/speed.md", "results/tuning/tables/changes.md"
PAGES = {"README.md": [MAIN], "docs/results.md": [CLAIMS], "docs/speed.md": [SPEED], "docs/tuning.md": [CHANGES]}
"""Page -> the tables that it shows once they are there, in this order."""

PLACE = re.compile(r"<!-- (results/\S+\.md) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def shown(text: str) -> list[str]:
    """The tables that a page's text shows."""
    return [table for table, _ in PLACE.findall(text)]


def updated(text: str, root: Path) -> str:
    """A page's text with its tables as they are below `root`; raises FileNotFoundError where one is not there."""
    return PLACE.sub(lambda found: f"<!-- {found[1]} -->\n{(root / found[1]).read_text()}<!-- end -->\n", text)


@click.command()
def main() -> None:
    """Copy the committed tables into the pages that show them."""
    for name in PAGES:
        page = Path(name)
        before = page.read_text()
        if (after := updated(before, Path())) != before:
            page.write_text(after)
            click.echo(page)


if __name__ == "__main__":
    main()
