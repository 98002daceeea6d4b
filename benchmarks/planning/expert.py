"""What the demonstrator itself achieved: `python -m benchmarks.planning.expert DIR` writes DIR/expert.csv.

Demonstrations hold successes alone; how often their maker failed stands in `Demonstrations.origin`.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.errors import cannot_write
from benchmarks.records.schema import RecordError, Trial, load_record
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task

FILE = "expert.csv"


@dataclass(frozen=True)
class Expert:
    """One set of demonstrations.

    Attributes:
        task: Gymnasium id, or module:Id, as the records name it.
        digest: of the set, as the records name it.
        episodes: demonstrated.
        failed: attempts left out; None where the set does not say.
        success: share of successful attempts in [0, 1]; None likewise.
        median, q1, q3: simulated seconds of the demonstrated episodes.
    """

    task: str
    digest: str
    episodes: int
    failed: int | None
    success: float | None
    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, demonstrations: Demonstrations) -> Expert:
        """What a whole set says of its maker."""
        episodes, said = demonstrations.episodes, demonstrations.origin.get("failed_attempts")
        failed = said if isinstance(said, int) and said >= 0 else None
        success = None if failed is None else episodes / (episodes + failed)
        q1, median, q3 = (
            round(float(seconds), 6) for seconds in np.quantile(demonstrations.lengths, (0.25, 0.5, 0.75))
        )
        return cls(demonstrations.task, demonstrations.digest, episodes, failed, success, median, q1, q3)


def write(directory: Path, trials: Iterable[Trial]) -> list[str]:
    """Add the demonstrations that trials learn from to the file of a results folder; returns what could not be added.

    A set that cannot be read any more, or has changed since, is named and left out.

    Raises:
        OSError: the file cannot be written.
    """
    path = directory / FILE
    rows: dict[tuple[str, str], dict[str, Any]] = {(row["task"], row["digest"]): row for row in _read(path)}
    problems = []
    sets = {(trial.task, trial.demonstrations.digest): trial.demonstrations.source for trial in trials}
    for (task, digest), source in sets.items():
        if (task, digest) in rows:
            continue
        try:
            demonstrations = load_task(task) if source == "shipped" else load(source)
        except (DemonstrationError, OSError) as error:
            problems.append(str(error))
            continue
        if demonstrations.digest == digest:
            rows[task, digest] = asdict(Expert.of(demonstrations)) | {"task": task}
        else:
            problems.append(f"{source} demonstrations of {task} are not those that the records learnt from")
    if rows:
        temporary = directory / f".{FILE}.{os.getpid()}.tmp"
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Expert)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[key] for key in sorted(rows))
        os.replace(temporary, path)
    return problems


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of an earlier file; none where there is none, or another one."""
    names = [field.name for field in fields(Expert)]
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            return list(rows) if rows.fieldnames == names else []
    except (OSError, ValueError):
        return []


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Write what the demonstrator of DIRECTORY's records achieved, which figures show for reference."""
    trials = []
    for path in sorted((directory / "records").glob("*.json")):
        try:
            trials.append(load_record(path).trial)
        except (RecordError, OSError) as error:
            click.echo(f"not used: {error}", err=True)
    if not trials:
        click.echo(f"Error: {directory} holds no record; name a results folder, such as results/quick", err=True)
        sys.exit(2)
    try:
        problems = write(directory, trials)
    except OSError as error:
        click.echo(f"Error: {cannot_write(directory / FILE, error)}", err=True)
        sys.exit(2)
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    click.echo(directory / FILE)


if __name__ == "__main__":
    main()
