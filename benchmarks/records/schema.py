"""The schema of records and plans.

Records are JSON. Reading one strictly validates its digest and every field, so a record that loads is intact.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from envs.demonstrations import Demonstrations
from envs.npz import ArrayFileError, read_small

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
Status = Literal["ok", "failed", "diverged", "timed out"]

LARGEST = 2**28
"""Most bytes of a record or a plan, once it is decompressed."""
COMPRESSED = ".gz"
"""What the name of a record's file ends with where it is compressed (see `benchmarks.records.compact`)."""
GZIP = b"\x1f\x8b"
"""What such a file begins with."""
_FRAME = b'{"record":%b,"sha256":"%b"}\n'
_FRAMED = re.compile(rb'\{"record":(.*),"sha256":"([0-9a-f]{64})"\}\s*', re.DOTALL)


class RecordError(ValueError):
    """A record or plan is damaged or of another schema; the message names the file and the field."""


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


TrialId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0.0)]


class DemonstrationChoice(_Model):
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
    episodes: Annotated[int, Field(ge=1)]
    start: Count = 0
    every: Annotated[int, Field(ge=1)] = 1
    final_only: bool = False
    states_alone: bool = False
    draw_seed: Count | None = None
    stop: Count | None = None
    offset: Count = 0
    statistics: Literal["recorded", "shown"] = "recorded"
    inference_steps: Count = 0


class BudgetChoice(_Model):
    """See `methods.interface.Budget`."""

    environment_steps: Count
    policy_updates: Count
    expert_queries: Count = 0


class Evaluation(_Model):
    """How a trial is evaluated.

    Attributes:
        rollouts: final rollouts, for each of sampled and deterministic actions.
        first_seed: rollout i resets its environment with seed `first_seed + i`, the same for every method.
        curve_points: evaluations spread evenly over the training.
        curve_rollouts: rollouts of each of these, for each of sampled and deterministic actions.
    """

    rollouts: Annotated[int, Field(ge=1)]
    first_seed: Count = 2_000_000
    curve_points: Count = 0
    curve_rollouts: Count = 0


class Trial(_Model):
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


class Rollout(_Model):
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


class CurvePoint(_Model):
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


class Usage(_Model):
    """What the trial cost."""

    environment_steps: Count
    episodes: Count
    gradient_steps: Count
    training_seconds: Seconds
    evaluation_seconds: Seconds
    peak_memory_mib: Seconds
    expert_queries: Count = 0


class Provenance(_Model):
    """The provenance of a record.

    Attributes:
        code_digest: sha256 over the source files the trial depends on.
        versions: of Python and the libraries that can change a number.
        machine, threads: processor, cores and system; how many threads the trial was allowed.
        commit: git commit, with "+" if the tree had changes; empty outside a checkout.
        started: UTC, ISO 8601.
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
    starts: Annotated[int, Field(ge=1)] = 1
    resumed: Count = 0
    unsaved: str = ""
    together: Annotated[int, Field(ge=1)] = 1


class Diagnostics(_Model):
    """Scalars that a method reported during training: for each name a list of (gradient step, value)."""

    series: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)


class Summary(_Model):
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


class PlanRow(_Model):
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
    demonstrations: Annotated[int, Field(ge=1)]
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


class Demonstrator(_Model):
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
    episodes: Annotated[int, Field(ge=1)]
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


class Plan(_Model):
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


def record_files(results: Path) -> dict[str, Path]:
    """The files of a results folder's records by the trials in their names, in order, compressed or not."""
    found = {path.name.split(".")[0]: path for path in (results / "records").glob(f"*.json{COMPRESSED}")}
    return dict(sorted((found | {path.stem: path for path in (results / "records").glob("*.json")}).items()))


def load_record(path: Path) -> Record:
    """Read a record's file, `NAME.json`, or `NAME.json.gz` where only that is there.

    Raises:
        RecordError: naming the file and what is wrong with it.
        OSError: it cannot be read, or is not there.
    """
    if path.suffix != COMPRESSED and not path.exists() and (other := compressed(path)).exists():
        path = other
    return read_record(_content(path), str(path))


def compressed(path: Path) -> Path:
    """Where the compressed form of a record's file lies."""
    return path.with_name(path.name + COMPRESSED)


def load_plan(path: Path) -> Plan:
    """Read a plan's file; raises RecordError and OSError as `load_record` does."""
    try:
        return Plan.model_validate_json(_content(path))
    except ValidationError as error:
        raise RecordError(f"{path}: not a plan of schema {SCHEMA} ({_first_line(error)})") from None


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
        raise RecordError(f"{name}: not a record of schema {SCHEMA} ({_first_line(error)})") from None


def _content(path: Path) -> bytes:
    try:
        content = read_small(path, LARGEST)
        return _decompressed(content) if path.suffix == COMPRESSED else content
    except (ArrayFileError, zlib.error) as error:
        raise RecordError(f"{path}: {error}") from None


def _decompressed(content: bytes) -> bytes:
    """The content of a gzip file; raises zlib.error where it is damaged, cut, or would be larger than `LARGEST`."""
    stream = zlib.decompressobj(wbits=31)
    found = stream.decompress(content, LARGEST)
    if not stream.eof or stream.unused_data:
        raise zlib.error("not one whole gzip file of a record")
    return found


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[:3])[:200]
