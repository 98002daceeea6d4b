"""Finds what a results folder already contains, what is left to do, and whether both may be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import envs
from benchmarks.errors import InputError
from benchmarks.planning.profiles import Profile
from benchmarks.planning.trials import PlannedTrial
from benchmarks.records import proofs, provenance
from benchmarks.records.plans import Plan, PlanRow, Work
from benchmarks.records.schema import Provenance, Summary, Trial
from benchmarks.records.store import Store
from envs.commands import plural
from methods import registry
from methods.interface import Method

NAMED_DIFFERENCES = 4
"""How many differences a message spells out."""


@dataclass(frozen=True)
class TrialStatus:
    """What a folder holds of one trial: of a record it keeps only the summary, since there may be thousands.

    Attributes:
        trial: as it was planned, or as its record states it.
        code: digest of the source files it depends on now; "" if they are not known, since importing what a record
            names is not safe.
        record: of its last attempt; None if there is none that can be read.
        damage: what is wrong with a record that cannot be read; "" for none.
        state: see `Store.state`.
        to_do: whether it is to be run.
    """

    trial: Trial
    code: str = ""
    record: Summary | None = None
    damage: str = ""
    state: str = ""
    to_do: bool = False

    @property
    def kept(self) -> Summary | None:
        """The record, if it will not be replaced."""
        return None if self.to_do else self.record

    @property
    def has_other_code(self) -> bool:
        """Whether its record is kept though other code made it, which is not proven to give the same results."""
        made_by = self.kept and self.kept.provenance.code_digest
        return bool(self.code and made_by and not proofs.same_results(made_by, self.code, proofs.kind_of(self.trial)))


@dataclass(frozen=True)
class ExistingResults:
    """A results folder compared with what was asked for.

    Attributes:
        planned: the trials asked for, with their places; experiments may share some.
        asked: their status, by id.
        neighbours: rows of the same experiments that were not asked for now, but will be in the same tables.
        others: the status of those that have a record, by id.
        files: the source files behind each digest of code.
        plan: the folder's plan.
    """

    planned: list[PlannedTrial]
    asked: dict[str, TrialStatus]
    neighbours: list[PlanRow]
    others: dict[str, TrialStatus]
    files: dict[str, dict[str, str]]
    plan: Plan | None

    @property
    def to_do(self) -> list[Trial]:
        """The trials to run, in the order of the plan."""
        return [status.trial for status in self.asked.values() if status.to_do]

    @property
    def records(self) -> dict[str, Summary]:
        """Records of the trials asked for, by id."""
        return {i: status.record for i, status in self.asked.items() if status.record}

    @property
    def codes(self) -> dict[str, str]:
        """The digest of the code that each trial to run depends on, by its id."""
        return {i: status.code for i, status in self.asked.items() if status.to_do}

    @property
    def states(self) -> dict[str, str]:
        """See `Store.state`; of the trials to run, by id."""
        return {i: status.state for i, status in self.asked.items() if status.to_do}

    @property
    def damage(self) -> list[str]:
        """What is wrong with records that cannot be read."""
        return [status.damage for status in self.asked.values() if status.damage]

    @property
    def rows(self) -> list[PlanRow]:
        """The rows for the plan, marked if their record was made by other code."""
        statuses = self.others | self.asked
        known = [row for row in self.neighbours if row.trial in statuses and statuses[row.trial].code]
        rows = [*(item.row for item in self.planned), *known]
        return [row.model_copy(update={"other_code": statuses[row.trial].has_other_code}) for row in rows]


def compare(store: Store, planned: list[PlannedTrial], retry_failed: bool) -> ExistingResults:
    """Look up what a folder holds of the planned trials; changes nothing."""
    trials = {item.row.trial: item for item in planned}
    states = {i: store.state(i) for i in trials}  # first: a record that another run adds from now on is newer
    records, damage = store.summaries(trials)
    earlier = store.plan()
    neighbours = _neighbours(earlier, planned)
    other_records, _ = store.summaries({row.trial for row in neighbours} - set(trials))
    safe: dict[tuple[str, str], type[Method]] = {
        (name, task): registry.resolve(name)
        for name, task in {_kind(record.trial) for record in other_records.values()}
        & set(product(registry.BUILT_IN, envs.TASKS.values()))
    }
    safe |= {_kind(item.trial): item.method for item in planned}
    files = {kind: provenance.source_files(method, kind[1]) for kind, method in safe.items()}
    codes = {kind: provenance.digest(found) for kind, found in files.items()}

    asked = {}
    for i, item in trials.items():
        record = records.get(i)
        done = record is not None and (record.status == "ok" or not retry_failed)
        asked[i] = TrialStatus(
            item.trial, codes[_kind(item.trial)], record, damage.get(i, ""), states[i], to_do=not done
        )
    others = {
        i: TrialStatus(record.trial, codes.get(_kind(record.trial), ""), record) for i, record in other_records.items()
    }
    digests = {codes[kind]: found for kind, found in files.items()}
    return ExistingResults(planned, asked, neighbours, others, digests, earlier)


def refuse_other_code(store: Store, existing: ExistingResults) -> None:
    """Do not mix results of other code with new ones.

    Raises:
        InputError: a record that would be kept was made by other source files; it says which differ.
    """
    other = [status for status in existing.asked.values() if status.has_other_code]
    if not other:
        return
    files = {
        name
        for status in other
        if status.record
        for name in provenance.changed_files(
            store.code(status.record.provenance.code_digest), existing.files[status.code]
        )
    }
    raise InputError(
        f"made by other code: {len(other)} of {plural(len(existing.records), 'record')} in {store.root} "
        f"(different: {_some(sorted(files)) or 'not known'}); start afresh with --results NEW_FOLDER, "
        "or keep them beside new ones with --accept-drift"
    )


def refuse_mixture(store: Store, profile: Profile, existing: ExistingResults, accept: bool) -> frozenset[PlanRow]:
    """Do not put trials of different settings under one label.

    Returns:
        earlier rows that differ and, since that is accepted, leave the plan; their records stay.

    Raises:
        InputError: the folder is of another profile, or such trials are there and `accept` is false.
    """
    earlier = existing.plan
    if earlier is None:
        return frozenset()
    if earlier.profile != profile.name:
        raise InputError(
            f"{store.root} holds results of profile {earlier.profile!r}, not {profile.name!r}; choose another --results"
        )
    new = {place_of(item.row, item.trial): item.trial for item in existing.planned}
    variants = {(item.row.experiment, item.row.place[1]) for item in existing.planned}
    differing: dict[str, None] = {}
    dropped: set[PlanRow] = set()
    for row in existing.neighbours:
        if row.trial in existing.asked or row.place[:2] not in variants or row.trial not in existing.others:
            continue
        trial = existing.others[row.trial].trial
        current = new.get(place_of(row, trial))
        if current and (changed := _differences(fixed_part(trial), fixed_part(current))):
            dropped.add(row)
            differing |= dict.fromkeys(f"{row.label}: {difference}" for difference in changed)
    if dropped and not accept:
        raise InputError(
            f"{store.root} holds {plural(len(dropped), 'trial')} of this comparison with other settings "
            f"({_some(list(differing))}); choose another --results, or leave them out with --accept-drift"
        )
    return frozenset(dropped)


def announce(store: Store, profile: Profile, existing: ExistingResults) -> None:
    """Tell other runs in the folder what this one does, and do not mix with what they do.

    Records alone do not tell: of two runs that overlap, the second may begin before the first has any.

    Raises:
        InputError: another run at work there has another profile, other code for the same method and task, or other
            settings under the same label.
    """
    settings = {", ".join(place_of(item.row, item.trial)): fixed_part(item.trial) for item in existing.planned}
    codes = {" on ".join(_kind(trial)): existing.codes[trial.id] for trial in existing.to_do}
    store.announce(Work(profile=profile.name, codes=codes, settings=settings), _conflict)


def unchanged(store: Store, existing: ExistingResults) -> bool:
    """Whether no other run has changed the folder's plan, or records of the trials to run, since they were compared."""
    return store.plan() == existing.plan and all(store.state(i) == state for i, state in existing.states.items())


def _conflict(theirs: Work, mine: Work) -> str:
    if theirs.profile != mine.profile:
        return f"with profile {theirs.profile!r}, not {mine.profile!r}"
    if other := [kind for kind, code in mine.codes.items() if theirs.codes.get(kind, code) != code]:
        return f"with other code ({_some(other)})"
    for place, values in mine.settings.items():
        if changed := _differences(theirs.settings.get(place, values), values):
            return f"with other settings of {place} ({_some(changed)})"
    return ""


def version_warnings(made_by: Iterable[Provenance]) -> list[str]:
    """Lines about records that can be compared in success but perhaps not in time or bit by bit."""
    here, made_by = provenance.versions(), list(made_by)
    other = dict.fromkeys(difference for each in made_by for difference in _differences(each.versions, here))
    lines = [f"records here were made with other versions: {_some(list(other))}"] if other else []
    if any(each.machine != provenance.machine() for each in made_by):
        lines.append("records here were made on another machine: compare success, not seconds")
    return lines


def _neighbours(plan: Plan | None, planned: Collection[PlannedTrial]) -> list[PlanRow]:
    experiments, places = {item.row.experiment for item in planned}, {item.row.place for item in planned}
    rows = plan.rows if plan else []
    return [row for row in rows if row.experiment in experiments and row.place not in places]


def _kind(trial: Trial) -> tuple[str, str]:
    return trial.method, trial.task


def place_of(row: PlanRow, trial: Trial) -> tuple[str, str, str]:
    """Experiment, variant and task: trials of one place differ in seed and number of demonstrations only."""
    return *row.place[:2], trial.task.rpartition(":")[2]


def fixed_part(trial: Trial) -> dict[str, Any]:
    """What all trials of a variant and task of an experiment have in common, as dotted names and values."""
    values = trial.identity()
    del values["seed"], values["demonstrations"]["episodes"]
    values["demonstrations"]["drawn"] = values["demonstrations"].pop("draw_seed", None) is not None
    return _flat(values)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in keys]


def _some(items: Sequence[str]) -> str:
    rest = len(items) - NAMED_DIFFERENCES
    return ", ".join([*items[:NAMED_DIFFERENCES], *([f"and {rest} more"] if rest > 0 else [])])
