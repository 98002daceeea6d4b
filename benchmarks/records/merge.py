"""Merges the results folders of runs on several machines into one: their plans, records and policies.

\b
python -m benchmarks.records.merge results/all results/job-*
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.errors import InputError, RunError
from benchmarks.planning.reuse import fixed_part, place_of
from benchmarks.records.files import load_plan, load_record, record_files
from benchmarks.records.plans import Plan, PlanRow, Work
from benchmarks.records.proofs import kind_of, same_results
from benchmarks.records.replay import differences
from benchmarks.records.schema import Record, RecordError, Summary
from benchmarks.records.store import Store
from envs.commands import Command, plural


@dataclass(frozen=True)
class Found:
    """A record in one of the folders: of the whole record only the summary is held, since there may be thousands."""

    folder: Path
    path: Path
    summary: Summary


def merge(target: Path, sources: Sequence[Path]) -> tuple[int, int]:
    """Bring the plans, records, policies and code digests of results folders into one, which may hold results already.

    Of a trial with several records one that ended well is kept; those that did not become attempts.

    Returns:
        how many trials the merged folder has, and how many of its plan are missing.

    Raises:
        InputError: a folder has no plan or a damaged record, a run is at work in the target, or the results may not be
            mixed: the folders have different profiles, two records of a trial that both ended well differ, or trials
            that share a row of the tables have other settings or were made by other code. Nothing is merged then.
        RunError: a file cannot be read or written.
    """
    sources = [folder for folder in sources if folder.resolve() != target.resolve()]
    if not sources:
        raise InputError(f"{target} is the only folder; name others to merge into it")
    plans = {folder: _plan(folder) for folder in (target, *sources) if folder != target or record_files(target)}
    profiles = {plan.profile: folder for folder, plan in plans.items()}
    if len(profiles) > 1:
        named = " and ".join(f"{profile!r} ({folder})" for profile, folder in list(profiles.items())[:2])
        raise InputError(f"these folders hold results of different profiles, {named}; merge those of one")
    files = {folder: record_files(folder) for folder in plans}
    chosen: dict[str, list[Found]] = {}
    rows: dict[tuple[str, str, str], PlanRow] = {}
    for folder, plan in plans.items():
        for row in plan.rows:
            if row.trial not in chosen:
                chosen[row.trial] = _chosen(
                    [_read(one, own[row.trial]) for one, own in files.items() if row.trial in own]
                )
            found = chosen[row.trial]
            if row.place not in rows or (found and found[0].folder == folder):  # which knows what made the record
                rows[row.place] = row
    cells: dict[tuple[str, str, str], Found] = {}
    for row in rows.values():
        if (found := chosen[row.trial]) and not row.other_code:
            first = found[0]
            _refuse_mixture(row.label, cells.setdefault(place_of(row, first.summary.trial), first), first)

    store = Store(target)
    store.open()
    try:
        work = Work(profile=next(iter(profiles)), codes={}, settings={})
        store.announce(work, lambda *_: "(merging would change its plan)")
        for first, *others in filter(None, chosen.values()):
            if first.folder != target:
                store.save(load_record(first.path), _copy_of_policy(store, first))
            for other in others:
                if other.folder != target:  # `save` has kept that
                    store.save_attempt(load_record(other.path))
        for folder in sources:
            for path in (folder / "code").glob("*.json"):
                shutil.copyfile(path, target / "code" / path.name)
        makers = [maker for plan in plans.values() for maker in plan.demonstrators]
        merged = store.merge_plan(Plan(profile=next(iter(profiles)), rows=list(rows.values()), demonstrators=makers))
    except OSError as error:
        raise RunError(f"cannot copy {error.filename or 'files'} to {target}: {error.strerror or error}") from None
    finally:
        store.close()
    trials = {row.trial for row in merged.rows}
    return len(trials), len(trials) - len(trials & set(record_files(target)))


def _plan(folder: Path) -> Plan:
    try:
        return load_plan(folder / "plan.json")
    except OSError as error:
        raise InputError(
            f"{folder / 'plan.json'}: {error.strerror}; name results folders, such as results/quick (the command that "
            "made one writes its plan again)"
        ) from None


def _read(folder: Path, path: Path) -> Found:
    try:
        return Found(folder, path, load_record(path).summary)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _chosen(found: list[Found]) -> list[Found]:
    """One trial's records without repetitions, the one to keep first.

    Raises:
        InputError: two that ended well differ.
    """
    if len(found) < 2:
        return found
    kept: list[tuple[Found, Record]] = []
    for one in sorted(found, key=lambda one: one.summary.status != "ok"):
        record = load_record(one.path)
        if any(not differences(record, other) for _, other in kept):
            continue
        if kept and record.status == "ok":
            raise InputError(
                f"{kept[0][0].path} and {one.path} are different results of the same trial; remove one of the two files"
            )
        kept.append((one, record))
    return [one for one, _ in kept]


def _refuse_mixture(label: str, one: Found, other: Found) -> None:
    """Raises InputError where two trials of a row of the tables differ in more than seed and demonstrations."""
    before, after = fixed_part(one.summary.trial), fixed_part(other.summary.trial)
    old, new = one.summary.provenance.code_digest, other.summary.provenance.code_digest
    if changed := [key for key in before | after if before.get(key) != after.get(key)]:
        difference = f"{changed[0]} is {before.get(changed[0])!r} and {after.get(changed[0])!r}"
    elif not same_results(old, new, kind_of(one.summary.trial)):
        difference = "other code"
    else:
        return
    raise InputError(
        f"{one.folder} and {other.folder} differ in what made the trials of {label} ({difference}); "
        "merge only folders of the same settings and code"
    )


def _copy_of_policy(store: Store, found: Found) -> Path | None:
    name = found.summary.trial.id
    policy = found.folder / "policies" / name
    if not policy.is_dir():
        return None
    return Path(shutil.copytree(policy, store.scratch(name) / "policy"))


@click.command(cls=Command, help=__doc__)
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(target: Path, sources: tuple[Path, ...]) -> None:
    try:
        trials, missing = merge(target, sources)
    except (InputError, RecordError, RunError) as error:
        raise click.ClickException(str(error)) from None
    lacking = f", {missing} of them not finished" * bool(missing)
    click.echo(f"{target}: {plural(trials, 'trial')}{lacking}; python -m analysis.report {target} makes the tables")


if __name__ == "__main__":
    main()
