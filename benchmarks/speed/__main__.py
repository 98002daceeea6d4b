"""The command line of the speed comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.records.provenance import machine
from envs.commands import Command

if TYPE_CHECKING:
    from benchmarks.speed.timing import Comparison

WIDTH = 200
"""Columns of text that the table takes where it is not shown on a terminal."""


def _measure(module: str) -> Iterator[Comparison]:
    """The comparisons of a module beside this one, imported here because all of them import torch."""
    found: Iterator[Comparison] = import_module(f"benchmarks.speed.{module}").measure()
    return found


SUBJECTS: dict[str, Callable[[], Iterator[Comparison]]] = {
    "flows": partial(_measure, "flows"),
    "env": partial(_measure, "environments"),
    "loop": partial(_measure, "loop"),
    "gail": partial(_measure, "gail"),
}

Document = dict[str, dict[str, Any]]
"""Subject -> machine, its rate of dense products, and the comparisons."""


@click.command(
    cls=Command,
    help="Time the suite and comparable libraries alternately in one run: median processor time on one core.",
)
@click.option("--only", default=",".join(SUBJECTS), show_default=True, help="What to time, comma-separated.")
@click.option(
    "--json",
    "file",
    type=click.Path(path_type=Path),
    help="JSON file to write, with a .md table next to it; results of other subjects in it are kept.",
)
def main(only: str, file: Path | None) -> None:
    subjects = [name.strip() for name in only.split(",") if name.strip()]
    for name in subjects:
        if name not in SUBJECTS:
            raise click.ClickException(f"--only {name!r}: choose from {', '.join(SUBJECTS)}")
    document = _read(file) if file else {}
    from benchmarks.speed.timing import chosen, gemm_rate

    found: list[Comparison] = []
    for name in subjects:
        measured = []
        for comparison in chosen(SUBJECTS[name]()):
            measured.append(comparison)
            click.echo(f"{comparison.name}: {comparison.ratio:.2f} x {comparison.peer}", err=True)
        found += measured
        comparisons = [asdict(one) for one in measured]
        document[name] = {"machine": machine(), "gemm_gflops": gemm_rate() / 1e9, "comparisons": comparisons}
    _show(found)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(document, indent=1) + "\n")
        file.with_suffix(".md").write_text(markdown(document))


def _read(file: Path) -> Document:
    """An earlier report; raises ClickException where the file holds something else."""
    if not file.exists():
        return {}
    try:
        document: Document = json.loads(file.read_text())
        markdown({**document})  # what is no report has no such table
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        raise click.ClickException(f"--json {file}: is there and is no report of speed; name another file") from None
    return document


def markdown(document: Document) -> str:
    """The table of a report, from what stands in its JSON file."""
    lines = ["| what | peer | times faster [quartiles] | |", "|---|---|---:|---|"]
    for one in (one for name in SUBJECTS if name in document for one in document[name]["comparisons"]):
        ratio = f"{one['ratio']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        lines.append(f"| {one['name']} | {one['peer']} | {ratio} | {one['note']} |")
    return "\n".join(lines) + "\n"


def _show(found: list[Comparison]) -> None:
    table = Table("what", "peer", "ours, ms", "peer, ms", "times faster [quartiles]", "note", box=None)
    for one in found:
        ratio = f"{one.ratio:.2f} [{one.low:.2f}, {one.high:.2f}]"
        table.add_row(one.name, one.peer, f"{one.ours_ms:.2f}", f"{one.peer_ms:.2f}", ratio, one.note)
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(table)


if __name__ == "__main__":
    main()
