"""Writes generated tables into the pages that show them: `python -m analysis.report.docs_tables`, from the root.

In a page, one comment names the table that follows and another marks its end:

    <!-- results/quick/tables/main.md -->
    ...
    <!-- end -->

The name is the path of a committed table, or that of a block: effects (`analysis.report.effects`), findings
(`analysis.report.findings`), diagnostics (`analysis.report.training`), searches (`analysis.report.searches`) or a
method's results (`analysis.report.method_results`), computed from committed files. A block without records says "Not
measured yet".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click

from analysis.report import effects, findings, method_results, searches, training
from envs.commands import Command

MAIN, CLAIMS = "results/quick/tables/main.md", "results/standard/tables/claims.md"
SPEED, CHANGES = "results/speed/speed.md", "results/tuning/tables/changes.md"
RANKS = "results/field/tables/ranks.md"
TRAINING, SEARCHES = "quick/diagnostics", "tune/searches"
_METHOD_PAGES = Path(__file__).parents[2].glob("docs/methods/*.md")
METHODS = sorted(page.stem for page in _METHOD_PAGES if page.stem != "index")
"""The methods that have a page."""
PAGES = {
    "README.md": ["standard/headline", MAIN],
    "docs/fidelity.md": ["readings"],
    **{f"docs/methods/{name}.md": [f"field/{name}"] for name in METHODS},
    "docs/methods/gpril.md": ["field/gpril", "departures"],
    "docs/results.md": ["standard/claims", *findings.TABLES, "standard/statements"],
    "docs/speed.md": [SPEED],
    "docs/tuning.md": [SEARCHES, CHANGES],
    "docs/which-method.md": [RANKS],
    "methods/gpril/README.md": [TRAINING],
    "results/README.md": ["results/versions"],
}
"""Page -> the tables that it shows once they are there, in this order."""
BLOCKS: Mapping[str, Callable[[Path], str]] = {
    **{name: partial(effects.committed, name) for name in effects.TABLES},
    **findings.BLOCKS,
    TRAINING: training.table,
    SEARCHES: searches.table,
    **{f"field/{name}": partial(method_results.tables, name) for name in METHODS},
}
"""Name of a block -> its text in Markdown, from the records that are committed below a folder."""
PLACE = re.compile(
    rf"<!-- (results/\S+\.md|{'|'.join(sorted(BLOCKS, key=len, reverse=True))}) -->\n(.*?)<!-- end -->\n", re.DOTALL
)


def shown(text: str) -> list[str]:
    """The tables that a page's text shows."""
    return [table for table, _ in PLACE.findall(text)]


def updated(text: str, root: Path) -> str:
    """A page's text with its tables as they are below `root`; raises FileNotFoundError where one is not there."""

    def content(table: str) -> str:
        return BLOCKS[table](root) if table in BLOCKS else (root / table).read_text()

    return PLACE.sub(lambda found: f"<!-- {found[1]} -->\n{content(found[1])}<!-- end -->\n", text)


@click.command(cls=Command)
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
