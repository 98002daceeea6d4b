"""The schema of a results folder's `plan.json`: which trials belong to which experiment."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from benchmarks.records.schema import SCHEMA, Count, Positive, Seconds, StrictModel, Trial, TrialId
from envs.demonstrations import Demonstrations


class PlanRow(StrictModel):
    """One trial's place in an experiment.

    Attributes:
        experiment: its name.
        label: the name of this variant of the method in tables and figures.
        variant: its key, by which figures and claims find it (see `benchmarks.paper.Variant`); "" in plans that were
            written before variants had keys.
        base: key of the variant that it changes, with which tables compare it; "" where it changes none.
        trial: the trial's id.
        task, demonstrations, seed: of the trial, so that one without a record is missing in the right place.
        other_code: its record was made by other code than the run that planned it, and kept on demand.
    """

    experiment: str
    label: str
    trial: TrialId
    task: str
    demonstrations: Positive
    seed: Count
    variant: str = ""
    base: str = ""
    other_code: bool = False

    @staticmethod
    def of(experiment: str, label: str, trial: Trial, variant: str = "", base: str = "") -> PlanRow:
        """The place of `trial`."""
        return PlanRow(
            experiment=experiment,
            label=label,
            variant=variant,
            base=base,
            trial=trial.id,
            task=trial.task,
            demonstrations=trial.demonstrations.episodes,
            seed=trial.seed,
        )

    @property
    def place(self) -> tuple[str, str, str]:
        """What makes it one row of a plan and not two."""
        return self.experiment, self.variant or self.label, self.trial

    @property
    def cell(self) -> tuple[str, str, str, int]:
        """What it has in common with the rows that differ in the seed only."""
        return *self.place[:2], self.task, self.demonstrations


class Demonstrator(StrictModel):
    """What the maker of a set of demonstrations achieved.

    Attributes:
        task: as trials name it.
        digest: of the set, as trials name it.
        episodes: how many were demonstrated.
        failed: attempts that were left out; None if the set does not say.
        median, q1, q3: quartiles of the simulated seconds of the demonstrated episodes.
    """

    task: str
    digest: str
    episodes: Positive
    failed: Count | None
    median: Seconds
    q1: Seconds
    q3: Seconds

    @staticmethod
    def of(task: str, demonstrations: Demonstrations) -> Demonstrator:
        """The maker of a whole set."""
        stated = demonstrations.origin.get("failed_attempts")
        q1, median, q3 = (round(float(value), 6) for value in np.quantile(demonstrations.lengths, (0.25, 0.5, 0.75)))
        return Demonstrator(
            task=task,
            digest=demonstrations.digest,
            episodes=demonstrations.episodes,
            failed=stated if isinstance(stated, int) and stated >= 0 else None,
            median=median,
            q1=q1,
            q3=q3,
        )

    @property
    def success(self) -> float | None:
        """Fraction of successful attempts in [0, 1]; None if it is not known."""
        return None if self.failed is None else self.episodes / (self.episodes + self.failed)


class Plan(StrictModel):
    """Which trials belong to which experiment of a results folder; written by the runner, read by the analysis.

    Attributes:
        profile: name of the profile.
        rows: one per trial and experiment.
        demonstrators: one per set of demonstrations that the trials learn from.
    """

    schema_version: Literal[1] = SCHEMA
    profile: str
    rows: list[PlanRow]
    demonstrators: list[Demonstrator] = Field(default_factory=list)


class Work(StrictModel):
    """What a run does while it is at work in a results folder, for others that begin there before it has records.

    Attributes:
        profile: name of the profile.
        codes: method and task, in words -> digest of the code that trains it.
        settings: experiment, variant and task, in words -> what all its trials have in common.
    """

    profile: str
    codes: dict[str, str]
    settings: dict[str, dict[str, Any]]
