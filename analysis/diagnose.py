"""Plots the diagnostics that a method reported during training.

`python -m analysis.diagnose DIR --method gpril --task clip --seed 0`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from envs.commands import Command


@click.command(cls=Command)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--method", help="Method, or key or label of a variant.")
@click.option("--task", help="Part of the task's name, such as clip.")
@click.option("--demos", type=int, help="Number of demonstrations.")
@click.option("--seed", type=int)
@click.option("--experiment", help="Experiment that the trial belongs to.")
@click.option("--trial", help="Id of the trial, or its beginning.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write; default: DIRECTORY/figures/diagnostics.")
def main(directory: Path, out: Path | None, **wanted: Any) -> None:
    """Draw what a method reported while it trained on one trial of DIRECTORY: SVG, PNG, and the data as CSV."""
    from analysis.figures.diagnostics import ResultsError, Wanted, draw_diagnostics  # which takes a while

    try:
        for path in draw_diagnostics(directory, Wanted(**wanted), out or directory / "figures" / "diagnostics"):
            click.echo(path)
    except (ResultsError, OSError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
