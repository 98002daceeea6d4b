"""Reads a results folder into tidy frames; it only reads, counts and looks up.

A results folder holds `plan.json` (which trials belong to which experiment) and the records of trials, plain or
compressed, in `records/`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records.files import load_plan, load_record, record_files
from benchmarks.records.plans import Plan
from benchmarks.records.proofs import kind_of, one_code_gives_all
from benchmarks.records.schema import (
    FIRST_RELEASE,
    MODES,
    CurvePoint,
    DemonstrationChoice,
    Record,
    RecordError,
    Trial,
)
from envs.commands import plural

CURVE_TYPES: dict[str, str] = {
    "trial": "str",
    "point": "int64",
    "progress": "float64",
    "environment_steps": "int64",
    "episodes": "int64",
    "gradient_steps": "int64",
    "training_seconds": "float64",
    "sampled": "float64",
    "mean": "float64",
    "rollouts": "int64",
}
ROLLOUT_TYPES = {
    "trial": "str",
    "mode": "str",
    "seed": "int64",
    "success": "bool",
    "seconds": "float64",
    "end": "str",
    "misses": "float64",
    "retries": "float64",
}
EXPERT_TYPES = {
    "task": "str",
    "digest": "str",
    "success": "float64",
    "median": "float64",
    "q1": "float64",
    "q3": "float64",
}
GROUP = ["experiment", "task", "demonstrations", "label"]
OTHER_CODE, OTHER_VERSION = MARKS = (" [other code]", f" [version {FIRST_RELEASE}]")
"""What the label of a record ends with that is not compared with the rest of its experiment: it was made by other code
and kept on demand, or is of the first release while others of the experiment are not."""


class ResultsError(ValueError):
    """A folder holds no results that could be reported; the message says what is missing and how to fix it."""


@dataclass(frozen=True)
class Results:
    """What a results folder holds, one frame per kind of row.

    `experiment`, `label`, `task` and `mode` are ordered categories: the first three in the order of the plan, "sampled"
    before "mean". Within an experiment, records of other code or of another version of the suite have a label, a
    variant and a base of their own (`MARKS`), so that nothing is computed from both.

    Attributes:
        profile: the profile that was run.
        scores: one row per (experiment, task, demonstrations, label, seed, mode), sorted so; a mode that a policy does
            not have has no row. Columns: trial, method, status, error; `variant` and `base`, the keys of the variant
            and of the one it changes (see `PlanRow`); `version`, of the suite (see `Provenance.version`); `conditions`,
            words for the set of demonstrations and the evaluation, which comparable trials share; `drawn`, whether the
            seed drew its own demonstrations; `shown`, what the method saw of the demonstrated actions ("actions",
            "states", or "inferred actions"); `success`, the fraction of successful final rollouts, and `best`, the
            largest on the learning curve (NaN without one), both in [0, 1] and 0 unless the status is "ok"; `rollouts`
            and `successes`, final counts; the fields of `Usage`; and `core_seconds`, the seconds of training times the
            threads, shared by trials that trained as one.
        curve: one row per (trial, point) of a learning curve: progress in [0, 1], environment_steps, episodes,
            gradient_steps, training_seconds, the success in each mode (NaN in one that the policy does not have), and
            `rollouts`, how many the success is measured on.
        rollouts: one row per final rollout of a trial with status "ok": trial, mode, seed, success, seconds, end, and
            misses and retries (see `Rollout`), NaN where they were not recorded.
        missing: planned trials without a usable record: experiment, label, variant, base, trial, task, demonstrations,
            seed.
        expert: one row per set of demonstrations that a record learned from: task, digest, success, and the quartiles
            of the seconds to insertion (see `benchmarks.records.schema.Demonstrator`); no rows where the plan has none.
        provenance: one row per record: trial, method, task, kind (see `proofs.kind_of`), version, code_digest, commit,
            started, threads, machine, versions.
        notices: lines for the reader about files and records that were left out or look wrong.
    """

    profile: str
    scores: pd.DataFrame
    curve: pd.DataFrame
    rollouts: pd.DataFrame
    missing: pd.DataFrame
    expert: pd.DataFrame
    provenance: pd.DataFrame
    notices: tuple[str, ...]

    @property
    def trials(self) -> pd.DataFrame:
        """The scores, one row per trial of each experiment and label: those of its first mode."""
        return self.scores.drop_duplicates(["experiment", "label", "trial"])


def load(directory: str | os.PathLike[str]) -> Results:
    """Read the plan and the records of a results folder.

    Damaged files are named in `notices` and never used, as are records that the plan does not know.

    Raises:
        ResultsError: the folder, its plan or every usable record is missing, or the plan is damaged.
    """
    directory = Path(directory)
    plan = plan_of(directory)
    planned = {row.trial for row in plan.rows}
    notices: list[str] = []
    columns = _Columns()
    for record in records_of(directory, planned, notices):
        columns.add(record)
    if not columns.trials:
        problems = "".join(f"\n{notice}" for notice in notices)
        raise ResultsError(f"{directory} holds no usable record of the {len(planned)} planned trials{problems}")

    rows = pd.DataFrame([row.model_dump() for row in plan.rows]).drop_duplicates(ignore_index=True)
    recorded = pd.DataFrame(columns.trials)
    marks = _marks(rows, recorded)
    del rows["other_code"]
    labels = [f"{label}{mark}" for label in rows["label"].unique() for mark in ("", *MARKS)]
    for name in ("label", "variant", "base"):
        rows[name] = (rows[name] + marks).where(rows[name] != "", "")
    trials = rows[["experiment", "label", "variant", "base", "trial"]].merge(recorded, on="trial")
    missing = rows[~rows["trial"].isin(recorded["trial"])].reset_index(drop=True)
    orders: dict[str, list[str]] = {
        "experiment": sorted(rows["experiment"].unique()),  # the paper's order, whatever was run first
        "label": [name for name in labels if name in set(rows["label"])],
        "task": list(dict.fromkeys([*rows["task"], *trials["task"]])),
    }
    for name, order in orders.items():
        for frame in (trials, missing):
            frame[name] = pd.Categorical(frame[name], order, ordered=True)
    curve = pd.DataFrame(columns.curve).astype(CURVE_TYPES)
    rollouts = pd.DataFrame(columns.rollouts).astype(ROLLOUT_TYPES)
    rollouts["mode"] = pd.Categorical(rollouts["mode"], MODES, ordered=True)
    scores = _scores(trials, curve, rollouts)
    provenance = pd.DataFrame(columns.provenance)
    expert = _demonstrators(plan, columns.demonstrations)
    notices += _warnings(scores, provenance)
    for mark in MARKS:
        if labelled := trials["trial"][trials["label"].astype(str).str.endswith(mark)].nunique():
            notices.append(f"made by other code than the rest, and labelled so: {plural(labelled, 'record')}{mark}")
    notices += filter(None, [version_note(scores)])
    return Results(plan.profile, scores, curve, rollouts, missing, expert, provenance, tuple(notices))


def version_note(scores: pd.DataFrame) -> str:
    """Which experiments have records of the first release, in words; empty where none does."""
    old = (scores["version"] == FIRST_RELEASE).groupby(scores["experiment"], observed=True)
    whole, any_of_it = old.all(), old.any()
    if not any_of_it.any():
        return ""
    shared = not scores.loc[scores["version"] == FIRST_RELEASE, "drawn"].any()
    what = f"Records of version {FIRST_RELEASE} of the suite" + ", whose seeds share their demonstrations" * shared
    if whole.all():
        return f"{what}."
    of_it = [
        f"{prefix}{', '.join(map(str, names))}"
        for prefix, names in (("", whole[whole].index), ("some of ", whole[any_of_it & ~whole].index))
        if len(names)
    ]
    return f"{what}: {'; '.join(of_it)}. All others are of later versions."


def mark_of(label: str) -> str:
    """Which of `MARKS` a label ends with; empty for none."""
    return next((mark for mark in MARKS if label.endswith(mark)), "")


def _marks(rows: pd.DataFrame, recorded: pd.DataFrame) -> pd.Series:
    """What is added to the label of each row of the plan: one of `MARKS`, or nothing."""
    versions = rows["trial"].map(recorded.set_index("trial")["version"])
    mixed = versions.groupby(rows["experiment"]).transform("nunique") > 1
    marks = pd.Series("", rows.index).mask(mixed & (versions == FIRST_RELEASE), OTHER_VERSION)
    return marks.mask(rows["other_code"], OTHER_CODE)


class _Columns:
    """Grows the frames' columns record by record, so that no more than one record is held at a time."""

    def __init__(self) -> None:
        self.trials: list[dict[str, Any]] = []
        self.provenance: list[dict[str, Any]] = []
        self.curve: dict[str, list[Any]] = {name: [] for name in CURVE_TYPES}
        self.rollouts: dict[str, list[Any]] = {name: [] for name in ROLLOUT_TYPES}
        self.demonstrations: set[tuple[str, str]] = set()

    def add(self, record: Record) -> None:
        trial = record.trial
        key, made_by = trial.id, record.provenance
        self.demonstrations.add((trial.task, trial.demonstrations.digest))
        self.trials.append(
            {
                "trial": key,
                "method": trial.method,
                "task": trial.task,
                "demonstrations": trial.demonstrations.episodes,
                "seed": trial.seed,
                "conditions": _conditions(trial),
                "drawn": trial.demonstrations.draw_seed is not None,
                "shown": _shown(trial.demonstrations),
                "status": record.status,
                "error": record.error,
                "version": made_by.version,
                **record.usage.model_dump(),
                "core_seconds": record.usage.training_seconds * made_by.threads / made_by.together,
            }
        )
        self.provenance.append(
            {
                "trial": key,
                "method": trial.method,
                "task": trial.task,
                "kind": kind_of(trial),
                "version": made_by.version,
                **made_by.model_dump(),
                "machine": ", ".join(f"{name}: {value}" for name, value in sorted(made_by.machine.items())),
                "versions": ", ".join(f"{name} {value}" for name, value in sorted(made_by.versions.items())),
            }
        )
        curve = _comparable(record)
        _extend(self.curve, trial=[key] * len(curve), point=range(len(curve)))
        _extend(self.curve, rollouts=[trial.evaluation.curve_rollouts or trial.evaluation.rollouts] * len(curve))
        _extend(self.curve, **_transposed(curve, CURVE_TYPES.keys() - {"trial", "point", "rollouts"}))
        for mode, rollouts in record.final.items() if record.status == "ok" else ():
            _extend(self.rollouts, trial=[key] * len(rollouts), mode=[mode] * len(rollouts))
            _extend(self.rollouts, **_transposed(rollouts, ROLLOUT_TYPES.keys() - {"trial", "mode"}))


def _conditions(trial: Trial) -> str:
    chosen, evaluation = trial.demonstrations, trial.evaluation
    end = "" if chosen.stop is None else f" to {chosen.stop}"
    drawn = "" if chosen.draw_seed is None else ", drawn by seed"
    shown = f"demonstrations {chosen.digest[:8]} from {chosen.start}{end or ' on'}{drawn}"
    return f"{shown}, {plural(evaluation.rollouts, 'rollout')} from seed {evaluation.first_seed} on"


def _shown(chosen: DemonstrationChoice) -> str:
    if chosen.inference_steps:
        return "inferred actions"
    return "states" if chosen.states_alone or chosen.final_only else "actions"


def _comparable(record: Record) -> list[CurvePoint]:
    """The learning curve with a last point that is measured on the rollouts of the others.

    That point is the final evaluation, which counts more rollouts; its first ones have the seeds of the others'.
    """
    first = record.trial.evaluation.curve_rollouts
    if record.status != "ok" or not record.curve:
        return record.curve
    shares: dict[str, float] = {}
    for mode, rollouts in record.final.items():
        same = rollouts[:first] or rollouts
        shares[mode] = sum(rollout.success for rollout in same) / len(same)
    return [*record.curve[:-1], record.curve[-1].model_copy(update=shares)]


def _transposed(rows: Sequence[Any], names: Iterable[str]) -> dict[str, Iterable[Any]]:
    """The attributes of these names, one column each."""
    return {name: map(attrgetter(name), rows) for name in names}


def _extend(columns: dict[str, list[Any]], **values: Iterable[Any]) -> None:
    for name, more in values.items():
        columns[name].extend(more)


def plan_of(directory: Path) -> Plan:
    """The plan of a results folder; raises ResultsError as `load` does."""
    if not directory.is_dir():
        raise ResultsError(f"{directory} is not a folder; name a results folder, such as results/quick")
    path = directory / "plan.json"
    try:
        plan = load_plan(path)
        rows = [row.model_copy(update={"variant": row.variant or row.label}) for row in plan.rows]
        return plan.model_copy(update={"rows": rows})  # plans that were written before variants had keys
    except FileNotFoundError:
        fix = (
            "name a results folder, or run the command that made them again, which writes the plan and repeats no trial"
        )
        raise ResultsError(f"{directory} has no plan.json, which says what its records are; {fix}") from None
    except (RecordError, OSError) as error:
        raise ResultsError(str(error)) from None


def records_of(directory: Path, planned: set[str], notices: list[str]) -> Iterator[Record]:
    """Records of the plan, in the order of their names; what is wrong with the others is added to `notices`."""
    unplanned = []
    for name, path in record_files(directory).items():
        if name not in planned:
            unplanned.append(name)
            continue
        try:
            record = load_record(path)
        except (RecordError, OSError) as error:
            notices.append(f"not used: {error}")
            continue
        if record.trial.id != name:
            notices.append(f"not used: {path}: it is the record of trial {record.trial.id}, which is not its name")
            continue
        yield record
    if unplanned:
        shown = ", ".join(unplanned[:3]) + (", ..." if len(unplanned) > 3 else "")
        notices.append(f"left out because the plan does not list them: {plural(len(unplanned), 'record')} ({shown})")


def _demonstrators(plan: Plan, learned_from: set[tuple[str, str]]) -> pd.DataFrame:
    """Those whose demonstrations (task, digest) a record learned from."""
    rows = [
        {name: getattr(maker, name) for name in EXPERT_TYPES}
        for maker in plan.demonstrators
        if (maker.task, maker.digest) in learned_from
    ]
    return pd.DataFrame(rows, columns=list(EXPERT_TYPES)).astype(EXPERT_TYPES)


def _scores(trials: pd.DataFrame, curve: pd.DataFrame, rollouts: pd.DataFrame) -> pd.DataFrame:
    """The trials' rows, once for each mode that their policy has, with what was achieved in it."""
    key = ["trial", "mode"]
    counts = rollouts.groupby(key, observed=True)["success"].agg(rollouts="size", successes="sum")
    best = curve.groupby("trial")[list(MODES)].max().melt(var_name="mode", value_name="best", ignore_index=False)
    scores = trials.merge(pd.DataFrame({"mode": MODES}), how="cross")
    scores = scores.join(counts, on=key).join(best.set_index("mode", append=True), on=key)
    scores = scores.fillna({"rollouts": 0, "successes": 0}).astype({"rollouts": int, "successes": int})
    # A trial that failed counts as 0 in the modes that its variant's policies have on any task, or in all if nothing
    # shows which.
    has = scores["rollouts"] > 0
    variant = [scores["experiment"], scores["variant"]]
    known = has.groupby([*variant, scores["mode"]], observed=True).transform("any")
    any_known = has.groupby(variant, observed=True).transform("any")
    scores = scores[has | ((scores["status"] != "ok") & (known | ~any_known))]
    scores = scores.assign(success=scores["successes"] / scores["rollouts"].clip(lower=1))
    scores["best"] = scores[["best", "success"]].max(axis=1, skipna=False).where(scores["status"] == "ok", 0.0)
    scores["mode"] = pd.Categorical(scores["mode"], MODES, ordered=True)
    return scores.sort_values([*GROUP, "seed", "trial", "mode"], ignore_index=True)


def _warnings(scores: pd.DataFrame, provenance: pd.DataFrame) -> list[str]:
    """Lines about rows that should perhaps not be compared."""
    notices = []
    for (method, task), made in provenance.groupby(["method", "task"]):
        if (versions := made["code_digest"].nunique()) > 1:
            proven = one_code_gives_all(zip(made["kind"], made["code_digest"], strict=True))
            words = f"{versions} versions of the code, proven equal" if proven else f"{versions} different versions"
            notices.append(f"{method} on {task}: records made by {words}{'' if proven else ' of the code'}")
    trials = scores.drop_duplicates(["experiment", "label", "trial"])
    for (experiment, task, demonstrations), cell in trials.groupby(GROUP[:3], observed=True)["conditions"]:
        if cell.nunique() > 1:
            different = "; ".join(sorted(cell.unique()))
            where = f"{experiment}, {task}, {plural(int(str(demonstrations)), 'demonstration')}"
            notices.append(f"{where}: not comparable: {different}")
    twins = trials.groupby([*GROUP, "seed"], observed=True).size()
    for experiment, task, demonstrations, label in dict.fromkeys(key[:-1] for key in twins[twins > 1].index):
        where = f"{experiment}, {task}, {plural(demonstrations, 'demonstration')}, {label}"
        notices.append(f"{where}: different trials share a seed and a label; each is counted")
    return notices
