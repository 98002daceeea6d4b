"""The schema of records.

Records are JSON. Reading one strictly validates its digest and every field, so a record that loads is intact.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SCHEMA: Literal[1] = 1
FIRST_DEFAULTS = frozenset(
    {
        *("DemonstrationChoice.start", "DemonstrationChoice.every", "DemonstrationChoice.final_only"),
        *("DemonstrationChoice.states_alone", "Evaluation.first_seed", "Evaluation.curve_points"),
        *("Evaluation.curve_rollouts", "Trial.device"),
    }
)
"""Fields with a default that have always been part of a trial's id. All later ones are left out where they have their
default, so that a new field does not orphan the records made before."""
Mode = Literal["sampled", "mean"]
MODES: tuple[Mode, ...] = get_args(Mode)
MODE_WORDS: Mapping[Mode, str] = {"sampled": "sampled", "mean": "deterministic"}
"""What people call the actions of each mode."""
Status = Literal["ok", "failed", "diverged", "timed out"]

FIRST_RELEASE, SECOND_RELEASE = "0.1.0", "0.2.0"
"""Versions of the suite whose records do not state it, or not all; see `Provenance.version`."""
_FRAME = b'{"record":%b,"sha256":"%b"}\n'
_FRAMED = re.compile(rb'\{"record":(.*),"sha256":"([0-9a-f]{64})"\}\s*', re.DOTALL)


class RecordError(ValueError):
    """A record or plan is damaged or of another schema; the message names the file and the field."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class StrictModel(BaseModel):
    """Unknown fields, values of other types and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


TrialId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0.0)]


class DemonstrationChoice(StrictModel):
    """Which demonstrations a trial learns from.

    Attributes:
        source: "shipped" or a file's path as the user gave it.
        digest: sha256 of the whole set.
        episodes: how many episodes are used.
        start: first episode that may be used.
        every: keep each n-th state (and the final one).
        offset: the first state kept, if `every` is above 1.
        final_only: keep only the final state of each episode.
        states_alone: drop the actions.
        draw_seed: seed that draws the episodes from `start` to `stop`; None takes the first ones from `start` on.
        stop: the first episode that may not be drawn; None for the end of the set.
        statistics: which states normalise observations: all states of these episodes as they were recorded, or only
            those that are shown.
        inference_steps: own steps from which actions are inferred before the method trains; 0 infers none.
    """

    source: str
    digest: str
    episodes: Positive
    start: Count = 0
    every: Positive = 1
    final_only: bool = False
    states_alone: bool = False
    draw_seed: Count | None = None
    stop: Count | None = None
    offset: Count = 0
    statistics: Literal["recorded", "shown"] = "recorded"
    inference_steps: Count = 0


class BudgetChoice(StrictModel):
    """See `methods.interface.Budget`."""

    environment_steps: Count
    policy_updates: Count
    expert_queries: Count = 0


class Evaluation(StrictModel):
    """How a trial is evaluated.

    Attributes:
        rollouts: final rollouts, for each of sampled and deterministic actions.
        first_seed: rollout i resets its environment with seed `first_seed + i`, the same for every method.
        curve_points: evaluations spread evenly over the training.
        curve_rollouts: rollouts of each of these, for each of sampled and deterministic actions.
    """

    rollouts: Positive
    first_seed: Count = 2_000_000
    curve_points: Count = 0
    curve_rollouts: Count = 0


class Trial(StrictModel):
    """One method on one task with one seed: everything that can change the outcome, except for the code."""

    method: str
    settings: dict[str, JsonValue]
    task: str
    demonstrations: DemonstrationChoice
    seed: Count
    budget: BudgetChoice
    evaluation: Evaluation
    device: str = "cpu"

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the sha256 of the trial's identity."""
        return hashlib.sha256(canonical(self.identity())).hexdigest()[:16]

    def identity(self) -> dict[str, Any]:
        """What distinguishes this trial from others: its fields, without the folders of files.

        The digests of demonstrations and code tell whether two files with the same name are equal.
        """
        values = _identity(self)
        values["demonstrations"]["source"] = "shipped"
        return values | {"method": _without_folder(self.method), "task": _without_folder(self.task)}


def _identity(model: BaseModel) -> dict[str, Any]:
    values = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        later = not field.is_required() and f"{type(model).__name__}.{name}" not in FIRST_DEFAULTS
        if isinstance(value, BaseModel):
            values[name] = _identity(value)
        elif later and value == field.get_default():
            del values[name]
    return values


def _without_folder(place: str) -> str:
    """ "folder/file.py:Name" as "file.py:Name"; other names are returned unchanged."""
    where, colon, name = place.rpartition(":")
    return f"{Path(where).name}:{name}" if colon and where.endswith(".py") else place


class Rollout(StrictModel):
    """One evaluation episode.

    Attributes:
        seed: the environment's seed.
        success: whether the goal was reached.
        seconds: simulated length.
        end: "success", "workspace", "timeout", "unstable", or a task's own word.
        misses: how often the part came to the socket's mouth and moved away again (see
            `envs.insertion.outcome.misses_and_retries`); None for other tasks than the suite's, and in old records.
        retries: how often it then came back to the mouth; None likewise.
    """

    seed: Count
    success: bool
    seconds: Seconds
    end: str
    misses: Count | None = None
    retries: Count | None = None


class CurvePoint(StrictModel):
    """The policy at one point of training; costs are those of training alone.

    Attributes:
        sampled, mean: fraction of successful rollouts with sampled and with deterministic actions; None if the
            policy does not have that mode.
    """

    progress: Share
    environment_steps: Count
    episodes: Count
    gradient_steps: Count
    training_seconds: Seconds
    sampled: Share | None = None
    mean: Share | None = None


class Usage(StrictModel):
    """What the trial cost."""

    environment_steps: Count
    episodes: Count
    gradient_steps: Count
    training_seconds: Seconds
    evaluation_seconds: Seconds
    peak_memory_mib: Seconds
    expert_queries: Count = 0


class Provenance(StrictModel):
    """The provenance of a record.

    Attributes:
        code_digest: sha256 over the source files the trial depends on.
        versions: of Python and the libraries that can change a number.
        machine, threads: processor, cores and system; how many threads the trial was allowed.
        commit: git commit, with "+" if the tree had changes; empty outside a checkout.
        started: UTC, ISO 8601.
        suite: version of the suite; empty in records made before version 0.2.0 stated it.
        starts: processes that worked on the trial; more than one if it was interrupted.
        resumed: how many of them resumed from a snapshot instead of starting over.
        unsaved: why no snapshot could be saved, so that an interrupted trial starts over; otherwise empty.
        together: number of trials that were trained jointly in its process; each states the seconds of all of them.
    """

    code_digest: Digest
    versions: dict[str, str]
    machine: dict[str, str]
    threads: int
    commit: str
    started: str
    suite: str = ""
    starts: Positive = 1
    resumed: Count = 0
    unsaved: str = ""
    together: Positive = 1

    @property
    def version(self) -> str:
        """The release of the suite that made it, or that its code was developed for.

        Of records that do not state it, those of the first release were made with Gymnasium before 1.0.
        """
        if self.suite:
            return self.suite.partition(".dev")[0]
        return FIRST_RELEASE if self.versions.get("gymnasium", "").startswith("0.") else SECOND_RELEASE


class Diagnostics(StrictModel):
    """Scalars that a method reported during training: for each name a list of (gradient step, value)."""

    series: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)


class Summary(StrictModel):
    """The part of a record that a run keeps in memory: small, however many rollouts there were."""

    trial: Trial
    status: Status
    usage: Usage
    provenance: Provenance


class Record(Summary):
    """The outcome of one trial. `final` is empty, and counts as success 0, unless the status is "ok"."""

    schema_version: Literal[1] = SCHEMA
    error: str = ""
    curve: list[CurvePoint] = Field(default_factory=list)
    final: dict[Mode, list[Rollout]] = Field(default_factory=dict)
    diagnostics: Diagnostics = Diagnostics()

    @property
    def summary(self) -> Summary:
        """The part that is small."""
        return Summary(trial=self.trial, status=self.status, usage=self.usage, provenance=self.provenance)

    def success(self, mode: Mode) -> float:
        """Fraction of successful final rollouts, in [0, 1].

        It is 0 for a trial that failed, and NaN if the policy does not have this mode.
        """
        rollouts = self.final.get(mode, [])
        if not rollouts:
            return math.nan if self.status == "ok" else 0.0
        return sum(rollout.success for rollout in rollouts) / len(rollouts)

    def to_bytes(self) -> bytes:
        """The record's file: its canonical content and the digest that guards it."""
        content = canonical(self.model_dump(mode="json"))
        return _FRAME % (content, hashlib.sha256(content).hexdigest().encode())


def read_record(content: bytes, name: str) -> Record:
    """Parse a record's file, called `name` in the message of the RecordError it may raise."""
    framed = _FRAMED.fullmatch(content)
    if not framed:
        raise RecordError(f"{name}: not a record; the file was cut, or is another one")
    if hashlib.sha256(framed[1]).hexdigest().encode() != framed[2]:
        raise RecordError(f"{name}: its content does not match its digest; the file was changed")
    try:
        return Record.model_validate_json(framed[1])
    except ValueError as error:
        raise RecordError(f"{name}: not a record of schema {SCHEMA} ({first_problem(error)})") from None


def first_problem(error: Exception) -> str:
    """What pydantic says of the first field that is wrong."""
    lines = [line for line in str(error).splitlines() if "For further information" not in line]
    return " ".join(lines[:3])[:200]
