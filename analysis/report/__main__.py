"""Writes tables, figures and a report from records: `python -m analysis.report DIR [--check]`."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from shutil import disk_usage

import click

from analysis.claims import claims_table
from analysis.figures.data import Series, all_series
from analysis.figures.draw import draw
from analysis.figures.style import styles
from analysis.load import Results, ResultsError, load
from analysis.names import MODE_NAMES
from analysis.report.html import render
from analysis.tables.build import Table, all_tables
from analysis.tables.render import csv, text
from benchmarks.records import atomic
from benchmarks.records.films import FOLDER, Film, current, read_films, unlisted
from benchmarks.records.schema import RecordError
from envs.commands import Command

PLAIN_NOTE = """\
Success in % of the final rollouts with sampled and with deterministic actions:
median [quartiles] over seeds. A trial that failed counts as 0."""
OWNED = {"tables": {".csv", ".md", ".tex"}, "figures": {".csv", ".png", ".pdf"}}


def write_report(directory: str | os.PathLike[str]) -> str:
    """Write `tables/`, `figures/` and `report.html` of a results folder, and return the main table as plain text.

    The two folders belong to the report: files of an earlier one that no longer follow from the records are removed.
    Notices about damaged or unplanned records go to standard error.

    Raises:
        ResultsError: there is nothing to report (see `load`), or the folder cannot be written.
    """
    directory = Path(directory)
    try:
        return _write(directory)
    except OSError as error:
        free = disk_usage(directory).free / 2**20
        place = error.filename or directory
        raise ResultsError(f"cannot write {place}: {error.strerror} ({free:,.0f} MiB free)") from None


def _write(directory: Path) -> str:
    results = _load(directory)
    for folder in OWNED:
        (directory / folder).mkdir(exist_ok=True)
    tables, series = _tables(results), list(all_series(results))
    files = _checked_files(tables, series)
    drawings, look, token = [], styles(results), secrets.token_hex(6)  # several runs may be reporting
    for one in series:
        drawing = draw(one, look, results.profile)
        files |= {f"figures/{name}": content for name, content in drawing.files.items()}
        drawings.append((one, drawing))
    files["report.html"] = render(results, tables, drawings, _films(directory, results))
    for name, content in files.items():
        atomic.write(directory / name, content, f"report-{token}")
    for name in _present(directory) - set(files):
        (directory / name).unlink(missing_ok=True)  # another run may be reporting as well
    return plain_text(tables[0], directory)


def check_report(directory: str | os.PathLike[str]) -> list[str]:
    """What on disk does not follow from the records: one line per file or film, none if all agree.

    Tables and the data of the figures are compared byte by byte. Pictures and the page, whose bytes depend on the
    versions of the drawing libraries too, are not compared.

    Raises:
        ResultsError: there is nothing to compare with; see `load`.
    """
    directory = Path(directory)
    results = _load(directory)
    expected = _checked_files(_tables(results), list(all_series(results)))
    lines = []
    for name, content in expected.items():
        path = directory / name
        if not path.is_file():
            lines.append(f"{path} is missing")
        elif path.read_bytes() != content:
            lines.append(f"{path} does not match the records")
    pictures = {f"{name.removesuffix('.csv')}{end}" for name in expected for end in (".png", ".pdf")}
    unexpected = sorted(_present(directory) - pictures - set(expected))
    lines += [f"{directory / name} does not come from the records" for name in unexpected]
    return lines + [
        f"{path} shows no trial of the records: python -m benchmarks.film {directory} --prune"
        for path in unlisted(directory, _films(directory, results))
    ]


@click.command(cls=Command)
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--check", is_flag=True, help="Write nothing; list the files that do not match the records, and exit with 1."
)
def main(directory: Path, check: bool) -> int:
    """Turn the records in DIRECTORY into tables/, figures/ and report.html, and print the main table."""
    try:
        if not check:
            click.echo(write_report(directory))
        elif lines := check_report(directory):
            click.echo("\n".join(lines))
            return 1
        else:
            click.echo(f"{directory}: tables and figure data match the records")
    except (ResultsError, OSError) as error:
        raise click.ClickException(str(error)) from None
    return 0


def _load(directory: Path) -> Results:
    results = load(directory)
    for notice in results.notices:
        print(notice, file=sys.stderr)
    return results


def _films(directory: Path, results: Results) -> list[Film]:
    """The films of the records whose files are there, in the order of the list; a damaged list is named on standard
    error."""
    try:
        listed = read_films(directory)
    except RecordError as error:
        print(error, file=sys.stderr)
        return []
    codes = dict(results.provenance[["trial", "code_digest"]].itertuples(index=False, name=None))
    return [film for film in current(listed, codes) if (directory / FOLDER / film.file).is_file()]


def _tables(results: Results) -> list[Table]:
    """The main table first; that of the claims where the plan holds an experiment of the paper."""
    claims = claims_table(results)
    return all_tables(results) + ([claims] if claims else [])


def _checked_files(tables: list[Table], series: list[Series]) -> dict[str, bytes]:
    """Path in the results folder -> content of all that follows from the records alone."""
    files = {f"tables/{name}": content for table in tables for name, content in table.files().items()}
    return files | {f"figures/{one.name}.csv": csv(one.data).encode() for one in series}


def _present(directory: Path) -> set[str]:
    """The files in the report's own folders."""
    return {
        f"{folder}/{path.name}"
        for folder, endings in OWNED.items()
        for path in (directory / folder).glob("*")
        if path.suffix in endings
    }


def plain_text(table: Table, directory: Path) -> str:
    """The main table for a terminal of 80 columns: one block per task, with what fits."""
    keys = [head for head in ("Experiment", "Task") if head in table.shown.columns]
    heads = [head for head in ("Demos", "Method", "Seeds", *MODE_NAMES.values()) if head in table.shown.columns]
    blocks = [table.title]
    for key, rows in table.shown.groupby(keys, sort=False):
        blocks.append(f"{', '.join(map(str, key))}\n{text(rows[heads])}")
    return "\n\n".join([*blocks, PLAIN_NOTE, f"Intervals, comparisons and figures: {directory / 'report.html'}"])


if __name__ == "__main__":
    main()
