"""Compresses the records of results folders: `python -m benchmarks.records.compact results/standard`.

The suite reads both forms. A compressed record has about a third of the size; `zcat` shows it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import click

from benchmarks.errors import InputError
from benchmarks.records import atomic
from benchmarks.records.files import COMPRESSED, compressed, load_record, record_files
from benchmarks.records.schema import RecordError
from envs.commands import Command


def compact(results: Path) -> tuple[int, int, int]:
    """Compress each record of a results folder that is not compressed yet.

    Returns:
        how many there were, and their bytes before and after.

    Raises:
        InputError: the folder holds no records, one of them is damaged, or one cannot be written.
    """
    files = record_files(results)
    if not files:
        raise InputError(f"{results} holds no records; name a results folder, such as results/quick")
    count = before = after = 0
    for path in files.values():
        if path.suffix == COMPRESSED:
            continue
        try:
            record = load_record(path)
            if compressed(path).exists() and load_record(compressed(path)) != record:
                raise InputError(f"{path} and {compressed(path).name} are two records of one trial; remove one of them")
            content = path.read_bytes()
            smaller = gzip.compress(content, mtime=0)  # without the time equal records give equal files
            atomic.write(compressed(path), smaller)
            path.unlink()
        except RecordError as error:
            raise InputError(f"{error}; `python -m benchmarks.run` runs that trial again") from None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        count, before, after = count + 1, before + len(content), after + len(smaller)
    return count, before, after


@click.command(cls=Command, help="Compress the records of results folders, like those in the repository.")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(results: tuple[Path, ...]) -> None:
    try:
        for folder in results:
            count, before, after = compact(folder)
            click.echo(f"{folder}: {count} records compressed, {before / 1e6:.2f} MB to {after / 1e6:.2f} MB")
    except InputError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
