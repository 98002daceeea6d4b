"""Draws what a method reported while it trained.

`python -m analysis.diagnose DIR --method gpril --task clip --seed 0`
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--method", help="The method, or the key or label of a variant.")
@click.option("--task", help="A part of the task's name, such as clip.")
@click.option("--demos", type=int, help="How many demonstrations it learned from.")
@click.option("--seed", type=int)
@click.option("--experiment", help="An experiment it belongs to.")
@click.option("--trial", help="The trial's id, or the beginning of it.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write; default: DIRECTORY/figures/diagnostics.")
def main(directory: Path, out: Path | None, **wanted: Any) -> None:
    """Draw what a method reported while it trained on one trial of DIRECTORY: SVG, PNG, and the data as CSV."""
    from analysis.figures.diagnostics import ResultsError, Wanted, draw_diagnostics  # which takes a while

    try:
        for path in draw_diagnostics(directory, Wanted(**wanted), out or directory / "figures" / "diagnostics"):
            click.echo(path)
    except (ResultsError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
