"""The films of a results folder, which `python -m benchmarks.film` makes: `videos/films.csv` says what each shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from analysis.load import ResultsError

FOLDER, LIST = "videos", "films.csv"


@dataclass(frozen=True)
class Film:
    """One rollout of a trial's policy.

    Attributes:
        task, label, demonstrations, seed, trial: whose it is.
        policy: "best" or "median" among the `seeds` trials of that label, by the `share` of their successful rollouts.
        success, end, seconds: how the rollout ended.
        speed: playback speed-up factor.
        content: the WebP file.
    """

    task: str
    label: str
    demonstrations: int
    policy: str
    seeds: int
    seed: int
    share: float
    trial: str
    success: bool
    end: str
    seconds: float
    speed: int
    content: bytes


def films(directory: Path) -> list[Film]:
    """The films of a results folder whose files are there, in the order of the list.

    Raises:
        ResultsError: the list is damaged.
    """
    folder = directory / FOLDER
    if not (folder / LIST).is_file():
        return []
    names = [field.name for field in fields(Film) if field.name != "content"]
    try:
        rows = pd.read_csv(folder / LIST, dtype={"trial": "str"})[["file", *names]].to_dict(orient="records")
    except (ValueError, KeyError) as error:
        mend = f"`python -m benchmarks.film {directory}` writes it again"
        raise ResultsError(f"{folder / LIST} is no list of films ({error}): {mend}") from None
    there = [row for row in rows if (folder / row["file"]).is_file()]
    return [Film(**{name: row[name] for name in names}, content=(folder / row["file"]).read_bytes()) for row in there]
