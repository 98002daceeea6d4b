"""The list of films of a results folder, `videos/films.csv`, which says what each file shows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.records.schema import Count, Mode, Positive, RecordError, Seconds, Share

FOLDER, LIST = "videos", "films.csv"


class Film(BaseModel):
    """One rollout of a trial's policy.

    Attributes:
        file: its name in the folder.
        task, label, demonstrations, seed, trial: whose it is.
        policy: "best" or "median" among the `seeds` trials of that label, by the `share` of their successful rollouts.
        code: digest of the code that made the record.
        actions, rollout_seed: which rollout of the record it is.
        success, end, seconds: how the rollout ended.
        speed: playback speed-up factor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    task: str
    label: str
    demonstrations: Positive
    policy: str
    seeds: Positive
    seed: Count
    share: Share
    trial: str
    code: str
    actions: Mode
    rollout_seed: Count
    success: bool
    end: str
    seconds: Seconds
    speed: Positive


def read_films(directory: Path) -> list[Film]:
    """The films that a results folder lists, in order; none where it has no list.

    Raises:
        RecordError: the list is damaged.
        OSError: it cannot be read.
    """
    path = directory / FOLDER / LIST
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames != list(Film.model_fields):
                raise ValueError("its columns are others")
            return [Film.model_validate(row) for row in rows]
    except FileNotFoundError:
        return []
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise RecordError(
            f"{path} is not a list of films ({reason}); `python -m benchmarks.film {directory}` writes it again"
        ) from None


def current(films: Iterable[Film], codes: Mapping[str, str]) -> list[Film]:
    """The films that show what the records are about; `codes`: digest of the code behind each planned trial."""
    return [film for film in films if codes.get(film.trial) == film.code]


def prune(directory: Path, codes: Mapping[str, str]) -> list[Path]:
    """Remove the films that are not `current`, and those that are not listed, and return their paths.

    Raises:
        RecordError: the list is damaged.
        OSError: a file cannot be read or removed.
    """
    return keep_only(directory, current(read_films(directory), codes))


def keep_only(directory: Path, films: Sequence[Film]) -> list[Path]:
    """Write the list of a results folder's films, or remove it if there are none, and remove all other films.

    Returns:
        The paths of the removed films.

    Raises:
        OSError: a file cannot be written or removed.
    """
    path = directory / FOLDER / LIST
    if films:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(Film.model_fields), lineterminator="\n")
            writer.writeheader()
            writer.writerows(film.model_dump() for film in films)
    else:
        path.unlink(missing_ok=True)
    others = unlisted(directory, films)
    for path in others:
        path.unlink()
    return others


def unlisted(directory: Path, films: Iterable[Film]) -> list[Path]:
    """The files of films of a results folder that are none of these, in order."""
    files = {film.file for film in films}
    return sorted(path for path in (directory / FOLDER).glob("*.webp") if path.name not in files)
