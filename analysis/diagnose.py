"""One trial's diagnostics as a figure: `python -m analysis.diagnose DIR --method gpril --task clip --seed 0`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from analysis.figures.diagnostics import diagnostics, plot_diagnostics
from analysis.figures.render import encode, house_look
from analysis.load import ResultsError, plan_of, records_of
from analysis.tables.build import PIPELINE_CHECK
from analysis.tables.render import csv
from benchmarks.records.schema import Plan, PlanRow, Record

SHOWN = 12
"""Most trials that an error lists."""


@dataclass(frozen=True)
class Wanted:
    """Which trial is wanted; None is any.

    Attributes:
        trial: the beginning of its id.
        method: its label in the plan, or the name of its method.
        task: a part of its task's name, in any case.
        experiment: one it belongs to.
        demos: episodes it learns from.
        seed: its seed.
    """

    trial: str | None = None
    method: str | None = None
    task: str | None = None
    experiment: str | None = None
    demos: int | None = None
    seed: int | None = None

    def fits(self, record: Record, rows: Iterable[PlanRow]) -> bool:
        """Whether a record is wanted, whose places in the plan are `rows`."""
        trial = record.trial
        return (
            (self.trial is None or trial.id.startswith(self.trial))
            and (self.method is None or self.method in {trial.method, *(row.label for row in rows)})
            and (self.task is None or self.task.lower() in trial.task.lower())
            and (self.experiment is None or self.experiment in {row.experiment for row in rows})
            and (self.demos is None or self.demos == trial.demonstrations.episodes)
            and (self.seed is None or self.seed == trial.seed)
        )


def choose(directory: Path, plan: Plan, wanted: Wanted) -> Record:
    """The one record of a results folder that is wanted.

    Where a label is the name of a method too, as "gpril" beside "gpril, shuffled targets", the label is meant.
    Files that cannot be used are named on standard error.

    Raises:
        ResultsError: no record fits, or several do; the message lists what there is.
    """
    rows: dict[str, list[PlanRow]] = {}
    for row in plan.rows:
        rows.setdefault(row.trial, []).append(row)
    notices: list[str] = []
    records = list(records_of(directory, set(rows), notices))
    for notice in notices:
        print(notice, file=sys.stderr)
    fitting = [record for record in records if wanted.fits(record, rows[record.trial.id])]
    labelled = [record for record in fitting if wanted.method in {row.label for row in rows[record.trial.id]}]
    fitting = labelled or fitting
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise ResultsError(f"no record in {directory} fits; there are {_values(records, rows)}")
    lines = [f"  {record.trial.id}  {_describe(record, rows[record.trial.id])}" for record in fitting]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    raise ResultsError("\n".join([f"{len(fitting)} trials fit; name one with --trial:", *lines[:SHOWN], *more]))


def draw_diagnostics(directory: Path, wanted: Wanted, folder: Path) -> list[Path]:
    """Write one trial's diagnostics into `folder` as SVG, PNG and CSV; returns the files.

    Raises:
        ResultsError: there is no such trial, it reported nothing, or the folder cannot be written.
    """
    plan = plan_of(directory)
    record = choose(directory, plan, wanted)
    if not record.diagnostics.series and not record.curve:
        raise ResultsError(f"trial {record.trial.id} ({record.status}) reported nothing that could be drawn")
    title = _describe(record, [row for row in plan.rows if row.trial == record.trial.id])
    if record.status != "ok":
        first, *_ = record.error.splitlines() or [""]
        title += f"\n{record.status}: {first[:120]}"
    if plan.profile == "smoke":
        title += f"\n{PIPELINE_CHECK}"
    with house_look():
        figure = plot_diagnostics(record, title)
        files = {"svg": encode(figure, "svg"), "png": encode(figure, "png")}
    files["csv"] = csv(diagnostics(record)).encode()
    trial = record.trial
    stem = f"{trial.method}-{trial.task}-{trial.demonstrations.episodes}-demos-seed-{trial.seed}-{trial.id}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{quote(stem, safe='')}.{extension}" for extension in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
    except OSError as error:
        raise ResultsError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    return paths


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--method", help="The method, or its label in the plan.")
@click.option("--task", help="A part of the task's name, such as clip.")
@click.option("--demos", type=int, help="How many demonstrations it learnt from.")
@click.option("--seed", type=int)
@click.option("--experiment", help="An experiment it belongs to.")
@click.option("--trial", help="The trial's id, or the beginning of it.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write; default: DIRECTORY/figures/diagnostics.")
def main(directory: Path, out: Path | None, **wanted: Any) -> None:
    """Draw what a method reported while it trained on one trial of DIRECTORY: SVG, PNG, and the data as CSV."""
    try:
        for path in draw_diagnostics(directory, Wanted(**wanted), out or directory / "figures" / "diagnostics"):
            click.echo(path)
    except (ResultsError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


def _describe(record: Record, rows: Iterable[PlanRow]) -> str:
    trial, labels = record.trial, dict.fromkeys(row.label for row in rows)
    return f"{' / '.join(labels)}: {trial.task}, {trial.demonstrations.episodes} demonstrations, seed {trial.seed}"


def _values(records: list[Record], rows: dict[str, list[PlanRow]]) -> str:
    """What can be asked for, in words."""
    trials = [record.trial for record in records]
    found: dict[str, set[Any]] = {
        "methods": {row.label for trial in trials for row in rows[trial.id]} | {trial.method for trial in trials},
        "tasks": {trial.task for trial in trials},
        "experiments": {row.experiment for trial in trials for row in rows[trial.id]},
        "demonstrations": {trial.demonstrations.episodes for trial in trials},
        "seeds": {trial.seed for trial in trials},
    }
    return "; ".join(f"{name}: {', '.join(map(repr, sorted(values)))}" for name, values in found.items())


if __name__ == "__main__":
    main()
