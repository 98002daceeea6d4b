"""What is done already, what is left to do, and whether what is done may stand beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import provenance
from benchmarks.errors import InputError
from benchmarks.profiles import Profile
from benchmarks.records import PlanRow, Record, Trial
from benchmarks.store import Store
from benchmarks.trials import Planned
from methods import registry

NAMED_DIFFERENCES = 4
"""How many differences a message spells out."""


@dataclass(frozen=True)
class Survey:
    """A results folder as seen from a plan.

    Attributes:
        planned: the trials asked for, with their places.
        records: those that have a readable record, by their id.
        damaged: what is wrong with unreadable ones, by their id.
        to_do: the trials to run, in the order of the plan.
        states: see `Store.state`; of the trials to run, by their id.
        codes: the digest of the code each trial depends on, by its id.
        files: the source files behind each of these digests.
    """

    planned: list[Planned]
    records: dict[str, Record]
    damaged: dict[str, str]
    to_do: list[Trial]
    states: dict[str, str]
    codes: dict[str, str]
    files: dict[str, dict[str, str]]

    @property
    def trials(self) -> dict[str, Trial]:
        """Every trial once, by its id: experiments may share some."""
        return {item.row.trial: item.trial for item in self.planned}


def survey(store: Store, planned: list[Planned], retry_failed: bool) -> Survey:
    """Look at what a folder holds of a plan; changes nothing."""
    trials = {item.row.trial: item.trial for item in planned}
    records, damaged = store.read(trials)
    by_kind: dict[tuple[str, str], str] = {}
    files: dict[str, dict[str, str]] = {}
    for kind in {(trial.method, trial.task): None for trial in trials.values()}:
        found = provenance.source_files(registry.resolve(kind[0]), kind[1])
        by_kind[kind] = provenance.digest(found)
        files[by_kind[kind]] = found
    kept = {i for i, record in records.items() if record.status == "ok" or not retry_failed}
    to_do = [trial for i, trial in trials.items() if i not in kept]
    return Survey(
        planned=planned,
        records=records,
        damaged=damaged,
        to_do=to_do,
        states={trial.id: store.state(trial.id) for trial in to_do},
        codes={i: by_kind[trial.method, trial.task] for i, trial in trials.items()},
        files=files,
    )


def refuse_drift(store: Store, found: Survey) -> None:
    """Do not mix results of other code with new ones.

    Raises:
        InputError: a record that would be kept was made by other source files; it says which differ.
    """
    going = {trial.id for trial in found.to_do}
    other = {i: r for i, r in found.records.items() if i not in going and r.provenance.code_digest != found.codes[i]}
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
    labels = {(item.row.experiment, item.row.label) for item in found.planned}
    trials = found.trials
    old_rows = [row for row in earlier.rows if row.trial not in trials and (row.experiment, row.label) in labels]
    old_records, _ = store.read({row.trial for row in old_rows})
    differing: dict[str, None] = {}
    dropped: set[PlanRow] = set()
    for row in old_rows:
        record = old_records.get(row.trial)
        current = new.get(_place(row, record.trial)) if record else None
        if record and current and (changed := _differences(_fixed_part(record.trial), _fixed_part(current))):
            dropped.add(row)
            differing |= dict.fromkeys(f"{row.label}: {difference}" for difference in changed)
    if dropped and not accept:
        raise InputError(
            f"{store.root} holds {len(dropped)} trials of this comparison with other settings "
            f"({_some(list(differing))}); choose another --results, or leave them out with --accept-drift"
        )
    return frozenset(dropped)


def doubts(found: Survey) -> list[str]:
    """Lines about kept records that are fair to compare in success but perhaps not in time or bit by bit."""
    going = {trial.id for trial in found.to_do}
    kept = [record.provenance for i, record in found.records.items() if i not in going]
    here = provenance.versions()
    other = dict.fromkeys(difference for made_by in kept for difference in _differences(made_by.versions, here))
    lines = [f"records here were made with other versions: {_some(list(other))}"] if other else []
    if any(made_by.machine != provenance.machine() for made_by in kept):
        lines.append("records here were made on another machine: compare success, not seconds")
    return lines


def _place(row: PlanRow, trial: Trial) -> tuple[str, str, str]:
    return row.experiment, row.label, trial.task


def _fixed_part(trial: Trial) -> dict[str, Any]:
    """What all trials under one label and task have in common."""
    values = trial.model_dump(mode="json")
    del values["seed"], values["demonstrations"]["episodes"]
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
