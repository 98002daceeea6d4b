"""What is done already, what is left to do, and whether what is done may stand beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import envs
from benchmarks.errors import InputError
from benchmarks.planning.profiles import Profile
from benchmarks.planning.trials import Planned
from benchmarks.records import provenance
from benchmarks.records.schema import PlanRow, Provenance, Summary, Trial
from benchmarks.records.store import Store
from methods import registry

NAMED_DIFFERENCES = 4
"""How many differences a message spells out."""


@dataclass(frozen=True)
class Survey:
    """A results folder as seen from a plan.

    Attributes:
        planned: the trials asked for, with their places.
        neighbours: rows of the same experiments that were not asked for now, but will be in the same tables.
        records: what is known of the asked ones that have a readable record, by their id; beside: of the neighbours.
        damaged: what is wrong with unreadable ones, by their id.
        to_do: the trials to run, in the order of the plan.
        states: see `Store.state`; of the trials to run, by their id.
        codes: the digest of the code each trial depends on, by its id; of neighbours where it is known.
        files: the source files behind each of these digests.
    """

    planned: list[Planned]
    neighbours: list[PlanRow]
    records: dict[str, Summary]
    beside: dict[str, Summary]
    damaged: dict[str, str]
    to_do: list[Trial]
    states: dict[str, str]
    codes: dict[str, str]
    files: dict[str, dict[str, str]]

    @property
    def trials(self) -> dict[str, Trial]:
        """Every trial once, by its id: experiments may share some."""
        return {item.row.trial: item.trial for item in self.planned}

    @cached_property
    def drifted(self) -> frozenset[str]:
        """The trials whose record would be kept though it was made by other code."""
        kept = {i: record for i, record in (self.records | self.beside).items() if i not in self.states}
        return frozenset(i for i, code in self.codes.items() if i in kept and kept[i].provenance.code_digest != code)

    @property
    def rows(self) -> list[PlanRow]:
        """The rows for the plan, with a mark at those whose record was made by other code."""
        beside = [row for row in self.neighbours if row.trial in self.beside and row.trial in self.codes]
        rows = [*(item.row for item in self.planned), *beside]
        return [row.model_copy(update={"other_code": row.trial in self.drifted}) for row in rows]


def survey(store: Store, planned: list[Planned], retry_failed: bool) -> Survey:
    """Look at what a folder holds of a plan; changes nothing."""
    trials = {item.row.trial: item.trial for item in planned}
    states = {i: store.state(i) for i in trials}  # first: a record that another run adds from now on is newer
    records, damaged = store.summaries(trials)
    neighbours = _neighbours(store, planned)
    beside, _ = store.summaries({row.trial for row in neighbours} - set(trials))
    everything = trials | {i: record.trial for i, record in beside.items()}
    safe = {_kind(trial) for trial in trials.values()} | set(product(registry.BUILT_IN, envs.TASKS.values()))
    codes: dict[tuple[str, str], str] = {}
    files: dict[str, dict[str, str]] = {}
    for kind in dict.fromkeys(map(_kind, everything.values())):
        if kind in safe:  # what a record names must not be imported
            found = provenance.source_files(registry.resolve(kind[0]), kind[1])
            codes[kind] = provenance.digest(found)
            files[codes[kind]] = found
    kept = {i for i, record in records.items() if record.status == "ok" or not retry_failed}
    to_do = [trial for i, trial in trials.items() if i not in kept]
    return Survey(
        planned=planned,
        neighbours=neighbours,
        records=records,
        beside=beside,
        damaged=damaged,
        to_do=to_do,
        states={i: state for i, state in states.items() if i not in kept},
        codes={i: codes[_kind(trial)] for i, trial in everything.items() if _kind(trial) in codes},
        files=files,
    )


def refuse_drift(store: Store, found: Survey) -> None:
    """Do not mix results of other code with new ones.

    Raises:
        InputError: a record that would be kept was made by other source files; it says which differ.
    """
    other = {i: record for i, record in found.records.items() if i in found.drifted}
    if not other:
        return
    files = {
        name
        for i, record in other.items()
        for name in provenance.changed_files(store.code(record.provenance.code_digest), found.files[found.codes[i]])
    }
    raise InputError(
        f"{len(other)} of {len(found.records)} records in {store.root} were made by other code "
        f"(different: {_some(sorted(files)) or 'not known'}); start afresh with --results NEW_FOLDER, "
        "or keep them beside new ones with --accept-drift"
    )


def refuse_mixture(store: Store, profile: Profile, found: Survey, accept: bool) -> frozenset[PlanRow]:
    """Do not put trials of different settings under one label.

    Returns:
        earlier rows that differ and, since that is accepted, leave the plan; their records stay.

    Raises:
        InputError: the folder is of another profile, or such trials are there and `accept` is false.
    """
    earlier = store.plan()
    if earlier is None:
        return frozenset()
    if earlier.profile != profile.name:
        raise InputError(
            f"{store.root} holds results of profile {earlier.profile!r}, not {profile.name!r}; choose another --results"
        )
    new = {_place(item.row, item.trial): item.trial for item in found.planned}
    labels = {item.row.place[:2] for item in found.planned}
    trials = found.trials
    old_rows = [row for row in found.neighbours if row.trial not in trials and row.place[:2] in labels]
    differing: dict[str, None] = {}
    dropped: set[PlanRow] = set()
    for row in old_rows:
        record = found.beside.get(row.trial)
        current = new.get(_place(row, record.trial)) if record else None
        if record and current and (changed := _differences(fixed_part(record.trial), fixed_part(current))):
            dropped.add(row)
            differing |= dict.fromkeys(f"{row.label}: {difference}" for difference in changed)
    if dropped and not accept:
        raise InputError(
            f"{store.root} holds {len(dropped)} trials of this comparison with other settings "
            f"({_some(list(differing))}); choose another --results, or leave them out with --accept-drift"
        )
    return frozenset(dropped)


def doubts(made_by: Collection[Provenance]) -> list[str]:
    """Lines about records that are fair to compare in success but perhaps not in time or bit by bit."""
    here = provenance.versions()
    other = dict.fromkeys(difference for each in made_by for difference in _differences(each.versions, here))
    lines = [f"records here were made with other versions: {_some(list(other))}"] if other else []
    if any(each.machine != provenance.machine() for each in made_by):
        lines.append("records here were made on another machine: compare success, not seconds")
    return lines


def _neighbours(store: Store, planned: list[Planned]) -> list[PlanRow]:
    plan = store.plan()
    experiments, places = {item.row.experiment for item in planned}, {item.row.place for item in planned}
    rows = plan.rows if plan else []
    return [row for row in rows if row.experiment in experiments and row.place not in places]


def _kind(trial: Trial) -> tuple[str, str]:
    return trial.method, trial.task


def _place(row: PlanRow, trial: Trial) -> tuple[str, str, str]:
    return *row.place[:2], trial.task


def fixed_part(trial: Trial) -> dict[str, Any]:
    """What all trials under one label and task of an experiment have in common."""
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
