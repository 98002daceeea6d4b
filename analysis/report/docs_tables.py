"""Writes generated tables into the pages that show them: `python -m analysis.report.docs_tables`, from the root.

In a page, one comment names the table that follows and another marks its end:

    <!-- results/quick/tables/main.md -->
    ...
    <!-- end -->

The name is the path of a committed table, or that of a table of effects (`analysis.report.effects`), which is computed
from committed records. Until the tables of the comparison of all methods are committed, pages say "Not measured yet".
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from analysis.report import effects

MAIN, CLAIMS = "results/quick/tables/main.md", "results/standard/tables/claims.md"
SPEED, CHANGES = "results/speed/speed.md", "results/tuning/tables/changes.md"
RANKS, FIELD = "results/field/tables/ranks.md", "results/field/tables/field.md"
PENDING = "Not measured yet.\n"
"""Shown for the comparison of all methods until it is there."""
PAGES = {
    "README.md": [MAIN],
    "docs/fidelity.md": ["readings"],
    "docs/methods/gpril.md": ["departures"],
    "docs/results.md": [CLAIMS],
    "docs/speed.md": [SPEED],
    "docs/tuning.md": [CHANGES],
    "docs/which-method.md": [RANKS, FIELD],
}
"""Page -> the tables that it shows once they are there, in this order."""

PLACE = re.compile(rf"<!-- (results/\S+\.md|{'|'.join(effects.TABLES)}) -->\n(.*?)<!-- end -->\n", re.DOTALL)


def shown(text: str) -> list[str]:
    """The tables that a page's text shows."""
    return [table for table, _ in PLACE.findall(text)]


def is_there(table: str, root: Path) -> bool:
    """Whether a table can be shown; those of effects and of all methods always can, as "not measured yet"."""
    return table in effects.TABLES or table in (RANKS, FIELD) or (root / table).exists()


def updated(text: str, root: Path) -> str:
    """A page's text with its tables as they are below `root`; raises FileNotFoundError where one is not there."""

    def content(table: str) -> str:
        if table in effects.TABLES:
            return effects.committed(table, root)
        if table in (RANKS, FIELD) and not (root / table).exists():
            return PENDING
        return (root / table).read_text()

    return PLACE.sub(lambda found: f"<!-- {found[1]} -->\n{content(found[1])}<!-- end -->\n", text)


@click.command()
def main() -> None:
    """Write the tables into the pages that show them."""
    for name in PAGES:
        page = Path(name)
        before = page.read_text()
        if (after := updated(before, Path())) != before:
            page.write_text(after)
            click.echo(page)


if __name__ == "__main__":
    main()
