"""Searches of settings, `studies/NAME.json` of a results folder: small files that can be read and committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from benchmarks.records import atomic
from benchmarks.records.files import LARGEST
from benchmarks.records.schema import Count, RecordError, Seconds, Share, StrictModel
from envs.npz import ArrayFileError, read_small

FOLDER = "studies"
State = Literal["complete", "stopped", "refused"]


class Score(StrictModel):
    """What one training with some settings achieved.

    Attributes:
        task, demonstrations, seed: of the trial; the task by its short name, if it has one.
        success: fraction of successful rollouts, mean of the modes that the policy has; 0 if it failed.
        rollouts: of all modes.
        failed: whether the trial did not end well.
    """

    task: str
    demonstrations: Count
    seed: Count
    success: Share
    rollouts: Count
    failed: bool = False

    @property
    def cell(self) -> tuple[str, int, int]:
        """What is equal for all settings."""
        return self.task, self.demonstrations, self.seed


class Choice(StrictModel):
    """Settings that were tried.

    Attributes:
        values: the settings searched.
        state: "stopped" early, since the first seeds were worse than most; "refused" by the method.
        scores: of its trainings.
        core_seconds: what training and evaluating them took.
    """

    values: dict[str, JsonValue]
    state: State
    scores: list[Score] = Field(default_factory=list)
    core_seconds: Seconds = 0.0

    @property
    def score(self) -> float:
        """Mean success in [0, 1]; 0 if the method refused the settings."""
        return self.mean()

    @property
    def failed(self) -> int:
        """Trainings that did not end well."""
        return sum(score.failed for score in self.scores)

    def mean(self, demonstrations: int | None = None) -> float:
        """Mean success over its trainings, or those with a number of demonstrations; 0 without any."""
        chosen = [one.success for one in self.scores if demonstrations in (None, one.demonstrations)]
        return sum(chosen) / len(chosen) if chosen else 0.0


class Study(StrictModel):
    """A search of one method's settings.

    Attributes:
        method, label: the method as it was asked for, and its name in tables.
        profile: whose budgets, demonstrations and seeds were used.
        tasks: short names.
        question: all that is equal for its choices, as name -> JSON: only searches of the same question are continued.
        code: digest of the code that made it, by task.
        choices: in the order of the search; the first one is the profile's own settings.
    """

    schema_version: Literal[1] = 1
    method: str
    label: str
    profile: str
    tasks: list[str]
    question: dict[str, str]
    code: dict[str, str]
    choices: list[Choice] = Field(default_factory=list)

    @property
    def best(self) -> Choice:
        """The choice with the highest score that was trained to the end; the first one of equals.

        Raises:
            ValueError: no choice was.
        """
        return max((choice for choice in self.choices if choice.state == "complete"), key=lambda choice: choice.score)

    def to_bytes(self) -> bytes:
        """The file's content: one line for each choice, so that differences between versions are legible."""
        head = self.model_dump(mode="json", exclude={"choices"})
        lines = ",\n  ".join(json.dumps(choice.model_dump(mode="json")) for choice in self.choices)
        return f'{json.dumps(head, indent=1)[:-2]},\n "choices": [\n  {lines}\n ]\n}}\n'.encode()


def load_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        RecordError: naming the file and what is wrong with it.
        OSError: it cannot be read, or is not there.
    """
    try:
        return Study.model_validate_json(read_small(path, LARGEST))
    except ArrayFileError as error:
        raise RecordError(f"{path}: {error}") from None
    except ValidationError as error:
        reason = " ".join(str(error).split())[:200]
        raise RecordError(f"{path}: not a search of settings ({reason})") from None


def write_study(path: Path, study: Study) -> None:
    """Write a study's file; raises OSError where that is impossible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, study.to_bytes())


def study_files(directory: Path) -> list[Path]:
    """The studies of a results folder, by name."""
    return sorted((directory / FOLDER).glob("*.json"))
