"""What is written about a trial: the schema of records and plans, and nothing else.

Records are JSON. Reading one validates every field (unknown fields, wrong types and non-finite numbers are refused)
and its digest, so a record that loads is whole.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

SCHEMA: Literal[1] = 1
Mode = Literal["sampled", "mean"]
Status = Literal["ok", "failed", "diverged", "timed out"]


class RecordError(ValueError):
    """A record or plan is damaged or of another schema; the message names the file and the field."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0.0)]


class DemonstrationChoice(_Model):
    """Which demonstrations a trial learns from.

    Attributes:
        source: "shipped" or a file's path as the user gave it.
        digest: sha256 of the whole set.
        episodes: how many episodes are used, from `start` on.
        every: keep each n-th state (and the final one).
        final_only: keep the final state of each episode alone.
        states_alone: drop the actions.
    """

    source: str
    digest: str
    episodes: Annotated[int, Field(ge=1)]
    start: Count = 0
    every: Annotated[int, Field(ge=1)] = 1
    final_only: bool = False
    states_alone: bool = False


class BudgetChoice(_Model):
    """See `methods.interface.Budget`."""

    environment_steps: Count
    policy_updates: Count


class Evaluation(_Model):
    """How a trial is evaluated.

    Attributes:
        rollouts: final roll-outs, for sampled and for mean actions each.
        first_seed: roll-out i resets its environment with seed `first_seed + i`, the same for every method.
        curve_points: evaluations spread evenly over the training.
        curve_rollouts: roll-outs of each of these, for sampled and for mean actions each.
    """

    rollouts: Annotated[int, Field(ge=1)]
    first_seed: Count = 2_000_000
    curve_points: Count = 0
    curve_rollouts: Count = 0


class Trial(_Model):
    """One method on one task with one seed: everything that can change the outcome but the code."""

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
        """16 hexadecimal digits of the sha256 of the trial's canonical JSON."""
        return hashlib.sha256(canonical(self.model_dump(mode="json"))).hexdigest()[:16]


class Rollout(_Model):
    """One evaluation episode.

    Attributes:
        seed: the environment's seed.
        success: whether the goal was reached.
        seconds: simulated length.
        end: "success", "workspace", "timeout", "unstable", or a task's own word.
    """

    seed: Count
    success: bool
    seconds: Seconds
    end: str


class CurvePoint(_Model):
    """The policy at one moment of its training; costs are those of training alone."""

    progress: Share
    environment_steps: Count
    episodes: Count
    gradient_steps: Count
    training_seconds: Seconds
    sampled: Share
    mean: Share


class Usage(_Model):
    """What the trial cost."""

    environment_steps: Count
    episodes: Count
    gradient_steps: Count
    training_seconds: Seconds
    evaluation_seconds: Seconds
    peak_memory_mib: Seconds


class Provenance(_Model):
    """What made the record.

    Attributes:
        code_digest: sha256 over the source files the trial depends on.
        versions: of Python and the libraries that can change a number.
        machine: processor, cores, system.
        threads: threads the trial was allowed.
        commit: git commit with "+" where the tree had changes; empty outside a checkout.
        started: UTC, ISO 8601.
        starts: processes that worked on the trial; more than one where it was interrupted.
        resumed: how many of them went on from a snapshot instead of the trial's beginning.
        unsaved: why no snapshot could be kept, so that an interruption means to begin anew; empty where one could.
    """

    code_digest: str
    versions: dict[str, str]
    machine: dict[str, str]
    threads: int
    commit: str
    started: str
    starts: Annotated[int, Field(ge=1)] = 1
    resumed: Count = 0
    unsaved: str = ""


class Diagnostics(_Model):
    """Scalars a method reported while it trained: one list of (gradient step, value) a name."""

    series: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)


class Record(_Model):
    """The outcome of one trial. `final` is empty, and counts as success 0, unless the status is "ok"."""

    schema_version: Literal[1] = SCHEMA
    trial: Trial
    status: Status
    error: str = ""
    curve: list[CurvePoint] = Field(default_factory=list)
    final: dict[Mode, list[Rollout]] = Field(default_factory=dict)
    diagnostics: Diagnostics = Diagnostics()
    usage: Usage
    provenance: Provenance

    def success(self, mode: Mode) -> float:
        """Share of successful final roll-outs in [0, 1]; 0 for a trial that did not end well."""
        rollouts = self.final.get(mode, [])
        return sum(rollout.success for rollout in rollouts) / len(rollouts) if rollouts else 0.0

    def to_bytes(self) -> bytes:
        """The record's file: its canonical content and the digest that guards it."""
        content = self.model_dump(mode="json")
        return canonical({"record": content, "sha256": hashlib.sha256(canonical(content)).hexdigest()}) + b"\n"


class PlanRow(_Model):
    """One trial's place in an experiment.

    Attributes:
        experiment: its name.
        label: how tables and figures call this variant of the method.
        trial: the trial's id.
    """

    experiment: str
    label: str
    trial: str


class Plan(_Model):
    """Which trials belong to which experiment of a results folder; written by the runner, read by the analysis."""

    schema_version: Literal[1] = SCHEMA
    profile: str
    rows: list[PlanRow]


def read_record(content: bytes, name: str) -> Record:
    """Parse a record's file.

    Raises:
        RecordError: naming the file `name` and what is wrong with it.
    """
    try:
        document = json.loads(content)
        stated = document["sha256"]
        body = document["record"]
        text = canonical(body)
        if hashlib.sha256(text).hexdigest() != stated:
            raise RecordError(f"{name}: its content does not match its digest; the file was changed or cut")
        return Record.model_validate_json(text)
    except RecordError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{name}: not a record of schema {SCHEMA} ({_first_line(error)})") from None


def read_plan(content: bytes, name: str) -> Plan:
    """Parse a plan's file; raises RecordError as `read_record` does."""
    try:
        return Plan.model_validate_json(content)
    except ValueError as error:
        raise RecordError(f"{name}: not a plan of schema {SCHEMA} ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[:3])[:200]
