"""Merges the results folders of runs on several machines into one.

\b
python -m benchmarks.records.merge results/all results/job-*
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.errors import InputError, RunError
from benchmarks.planning.reuse import fixed_part
from benchmarks.records.files import load_plan, load_record, record_files
from benchmarks.records.plans import Plan
from benchmarks.records.proofs import kind_of, same_results
from benchmarks.records.replay import differences
from benchmarks.records.schema import Record, RecordError, Trial
from benchmarks.records.store import Store
from envs.commands import Command, plural


@dataclass(frozen=True)
class Found:
    """A record in one of the folders."""

    folder: Path
    record: Record


def merge(target: Path, sources: Sequence[Path]) -> tuple[int, int]:
    """Bring the plans, records, policies and code digests of results folders into one, which may hold results already.

    Of a trial with several records one that ended well is kept; the others become attempts.

    Returns:
        how many trials the merged folder has, and how many of its plan are missing.

    Raises:
        InputError: a folder holds no results or a damaged record, or the results may not be mixed: the folders have
            different profiles, two records of a trial that both ended well differ, or trials that share a row of the
            tables have other settings or were made by other code. Nothing is written then.
        RunError: a file cannot be written.
    """
    sources = [folder for folder in sources if folder.resolve() != target.resolve()]
    folders = [*([target] if (target / "plan.json").exists() else []), *sources]
    plans = {folder: _plan(folder) for folder in folders}
    profiles = {plan.profile: folder for folder, plan in plans.items()}
    if len(profiles) > 1:
        named = " and ".join(f"{profile!r} ({folder})" for profile, folder in list(profiles.items())[:2])
        raise InputError(f"these folders hold results of different profiles, {named}; merge those of one")
    rows = [row for plan in plans.values() for row in plan.rows]
    chosen = {name: _chosen(list(_records(folders, name))) for name in dict.fromkeys(row.trial for row in rows)}
    cells: dict[tuple[str, str, str], Found] = {}
    for row in rows:
        if (found := chosen[row.trial]) and not row.other_code:
            _refuse_mixture(row.label, cells.setdefault((*row.place[:2], row.task), found[0]), found[0])

    store = Store(target)
    store.open()
    try:
        for first, *others in filter(None, chosen.values()):
            if first.folder != target:
                store.save(first.record, _copy_of_policy(store, first))
            for other in others:
                store.save_attempt(other.record)
        for folder in sources:
            for path in (folder / "code").glob("*.json"):
                shutil.copyfile(path, target / "code" / path.name)
        makers = [maker for plan in plans.values() for maker in plan.demonstrators]
        merged = store.merge_plan(Plan(profile=next(iter(profiles)), rows=rows, demonstrators=makers))
    except OSError as error:
        raise RunError(f"cannot write {error.filename or target}: {error.strerror}") from None
    finally:
        store.close()
    trials = {row.trial for row in merged.rows}
    return len(trials), len(trials) - len(trials & set(record_files(target)))


def _plan(folder: Path) -> Plan:
    try:
        return load_plan(folder / "plan.json")
    except OSError as error:
        raise InputError(
            f"{folder / 'plan.json'}: {error.strerror}; name results folders, such as results/quick"
        ) from None


def _records(folders: Sequence[Path], trial: str) -> Iterator[Found]:
    for folder in folders:
        try:
            yield Found(folder, load_record(folder / "records" / f"{trial}.json"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(f"{folder / 'records'}: {error.strerror}") from None


def _chosen(found: list[Found]) -> list[Found]:
    """One trial's records without repetitions, the one to keep first.

    Raises:
        InputError: two that ended well differ.
    """
    ordered = sorted(found, key=lambda one: one.record.status != "ok")
    kept: list[Found] = []
    for one in ordered:
        if any(not differences(one.record, other.record) for other in kept):
            continue
        if kept and one.record.status == "ok":
            raise InputError(
                f"{kept[0].folder} and {one.folder} hold different results of trial {one.record.trial.id}; "
                f"keep one of them: remove records/{one.record.trial.id}.json from the other folder"
            )
        kept.append(one)
    return kept


def _refuse_mixture(label: str, one: Found, other: Found) -> None:
    """Raises InputError where two trials of a row of the tables differ in more than seed and demonstrations."""
    trials: tuple[Trial, Trial] = (one.record.trial, other.record.trial)
    before, after = map(fixed_part, trials)
    if changed := [key for key in before | after if before.get(key) != after.get(key)]:
        difference = f"{changed[0]} is {before.get(changed[0])!r} and {after.get(changed[0])!r}"
    else:
        old, new = (each.record.provenance.code_digest for each in (one, other))
        if same_results(old, new, kind_of(trials[0])):
            return
        difference = "other code"
    raise InputError(
        f"{one.folder} and {other.folder} differ in what made the trials of {label} ({difference}); "
        "merge only folders of the same settings and code"
    )


def _copy_of_policy(store: Store, found: Found) -> Path | None:
    name = found.record.trial.id
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
