"""Proves that a change of the code changes no result: `python -m benchmarks.records.replay OLD_COMMIT [-- ARGUMENTS]`.

A sample of small trials is run by the old commit's own command line in a temporary worktree, then by this checkout, on
this machine. If everything except times and memory is bit-identical, the pairs of code digests are added to
`benchmarks/records/proofs.json`, and from then on runs and tables accept records of either code. One trial is killed in
the middle of its training and resumed by this checkout.

ARGUMENTS for `benchmarks.run` choose other trials, such as those of an experiment with its own settings:

    python -m benchmarks.records.replay OLD_COMMIT -- --profile tuning --experiment readings --seeds 1 \\
        --set budget.environment_steps=8192 --set budget.policy_updates=300
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from benchmarks.errors import InputError
from benchmarks.records import proofs, provenance
from benchmarks.records.files import load_record
from benchmarks.records.schema import Record, Trial
from benchmarks.trial.checkpoints import STATE
from benchmarks.trial.protocol import Abort, TrialRequest, read_message
from envs.commands import Command, plural
from methods import registry

SMALL = ("--profile=smoke", "--seeds=1", "--demos=5", "--set=budget.environment_steps=4000")
EXPLORING = ("--set=gpril.exploration=0.2", "--set=gpril.exploration_share=0.5")
SAMPLE = (
    ("--experiment=states", "--methods=gpril", "--tasks=peg"),
    ("--experiment=states", "--methods=gpril", "--tasks=peg", *EXPLORING),
    ("--experiment=placebo", "--methods=gpril", "--tasks=clip"),
    ("--experiment=fig2b", "--methods=gail"),
    ("--experiment=fig2f", "--methods=gpril"),
)
"""Arguments of the runner besides a comparison of each method: states only, every tenth state, final states, with and
without exploration, controls, and the physical tasks."""
NOT_COMPARED = frozenset({"trial", "provenance", "training_seconds", "evaluation_seconds", "peak_memory_mib"})
"""Fields of records that may differ: times, memory, and what made the record."""
PERIOD = 0.2
"""Seconds between two checkpoints of the trial that is killed."""


class ReplayError(RuntimeError):
    """The replay could not be done; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """One trial under both commits; `differences` are dotted names of fields, none where all bits are equal."""

    old: Record
    new: Record
    interrupted: bool
    differences: tuple[str, ...]


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of a commit of this repository; raises ReplayError if there is no such commit."""
    place = folder / "old"
    git = ["git", "-C", str(provenance.ROOT), "worktree"]
    added = subprocess.run([*git, "add", "--detach", str(place), commit], capture_output=True, text=True)
    if added.returncode:
        raise ReplayError(f"{commit} cannot be checked out: {added.stderr.strip().splitlines()[-1]}")
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], capture_output=True)


def old_records(checkout: Path, results: Path, wanted: int, jobs: int, arguments: Sequence[str] = ()) -> list[Record]:
    """Records of trials, made by the command line of another checkout.

    Args:
        checkout: its folder.
        results: where they go.
        wanted: at most so many.
        jobs: at once.
        arguments: of its runner, which choose the trials; none for the sample.

    Raises:
        ReplayError: it could not be started.
    """
    environment = {**os.environ, **provenance.ENVIRONMENT, "PYTHONPATH": str(checkout)}
    runner = [sys.executable, "-m", "benchmarks.run"]
    listed = subprocess.run([*runner, "--list"], cwd=checkout, env=environment, capture_output=True, text=True)
    if listed.returncode:
        raise ReplayError(f"the old runner does not start: {listed.stderr.strip().splitlines()[-1]}")
    methods = [name for name in registry.BUILT_IN if f"  {name} " in listed.stdout]
    compared = [("--experiment=compare", f"--methods={name}") for name in methods]
    sample = [(*SMALL, *command) for command in (*compared, *SAMPLE)]
    for number, command in enumerate([tuple(arguments)] if arguments else sample):
        if len(list(results.rglob("records/*.json"))) >= wanted:
            break
        click.echo(f"old code: {' '.join(command)}", err=True)
        place = [f"--results={results / str(number)}", f"--jobs={jobs}"]
        done = subprocess.run(
            [*runner, *command, *place], cwd=checkout, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            click.echo(f"  not run in full: {done.stderr.strip().splitlines()[-1]}", err=True)
    records = {path.stem: load_record(path) for path in sorted(results.rglob("records/*.json"))}
    return [record for record in records.values() if record.status == "ok"][:wanted]


def run_here(trial: Trial, folder: Path, interrupt: bool) -> Record:
    """Run a trial with this checkout's code, in a process of its own.

    Args:
        folder: an empty folder for this trial.
        interrupt: kill the process when it has saved a checkpoint, and let another one resume.

    Raises:
        ReplayError: there is no record.
    """
    method = registry.resolve(trial.method)
    request = TrialRequest(
        trial=trial,
        code_digest=provenance.digest(provenance.source_files(method, trial.task)),
        scratch=folder / "scratch",
        snapshots=folder / "snapshots" if interrupt else None,
        save_every=PERIOD,
    )
    request.scratch.mkdir(parents=True)
    if interrupt:
        with _worker(request) as process:
            while process.poll() is None and not (folder / "snapshots" / STATE).exists():
                sleep(0.01)
            process.kill()
        shutil.rmtree(request.scratch)
        request.scratch.mkdir()
    with _worker(request) as process:
        assert process.stdout is not None
        for line in process.stdout:
            message = read_message(line)
            if isinstance(message, Record):
                return message
            if isinstance(message, Abort):
                raise ReplayError(message.reason)
    raise ReplayError(f"the process of trial {trial.id} ended without a result")


@contextmanager
def _worker(request: TrialRequest) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.trial.worker"],
        cwd=provenance.ROOT,
        env={**os.environ, **provenance.ENVIRONMENT, "PYTHONPATH": str(provenance.ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(request.model_dump_json().encode() + b"\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def differences(old: Record, new: Record) -> tuple[str, ...]:
    """Dotted names of what differs between two records of one trial, but for times, memory and provenance.

    Fields that the old record does not state, because its code did not know them, are not compared.
    """
    return tuple(_differences(old, new, ""))


def _differences(old: Any, new: Any, place: str) -> Iterator[str]:
    if isinstance(old, BaseModel) and isinstance(new, BaseModel):
        stated = [name for name in type(old).model_fields if name in old.model_fields_set - NOT_COMPARED]
        old, new = ({name: getattr(model, name) for name in stated} for model in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, f"{place}[{number}]")
    elif old != new:
        yield place


def compare(commit: str, wanted: int, jobs: int, arguments: Sequence[str] = ()) -> list[Comparison]:
    """Run trials under another commit and here, see `old_records`; raises ReplayError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with worktree(commit, folder) as checkout:
            old = old_records(checkout, folder / "results", wanted, jobs, arguments)
        if not old:
            raise ReplayError("the old code finished no trial")
        interruptible = [record.trial.method != "bc" for record in old]  # it ends too soon
        interrupted = interruptible.index(True) if True in interruptible else -1

        def again(number: int) -> Comparison:
            record = old[number]
            new = run_here(record.trial, folder / f"new-{number}", number == interrupted)
            found = differences(record, new)
            if number == interrupted and not new.provenance.resumed:
                found = ("it could not be interrupted", *found)
            return Comparison(record, new, number == interrupted, found)

        click.echo(f"this code: {plural(len(old), 'trial')}", err=True)
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(again, range(len(old))))


def show(comparisons: list[Comparison]) -> None:
    """Print a table of what was compared."""
    table = Table("method", "task", "learns from", "result")
    for one in comparisons:
        kind = proofs.kind_of(one.old.trial) + " (killed and resumed)" * one.interrupted
        result = f"differs: {', '.join(one.differences[:3])}" if one.differences else "equal"
        table.add_row(one.old.trial.method, one.old.trial.task, kind, result)
    print_table(table, 140)


def print_table(table: Table, width: int) -> None:
    """Print a table as wide as the terminal, or with so many columns into a file or another program."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = width
    console.print(table)


def proof_of(comparisons: list[Comparison], old_commit: str) -> proofs.Proof:
    """What equal comparisons prove: for each method and task, the kinds of trials all of which are equal."""
    kinds: dict[tuple[str, str], dict[str, bool]] = {}
    for one in comparisons:
        pair = (one.old.provenance.code_digest, one.new.provenance.code_digest)
        kind = proofs.kind_of(one.old.trial)
        equal = kinds.setdefault(pair, {})
        equal[kind] = equal.get(kind, True) and not one.differences
    pairs = [
        proofs.Pair(old=old, new=new, kinds=sorted(kind for kind, equal in found.items() if equal))
        for (old, new), found in sorted(kinds.items())
        if old != new and any(found.values())
    ]
    first = comparisons[0].new.provenance
    return proofs.Proof(
        pairs=pairs,
        old_commit=old_commit,
        new_commit=provenance.commit(),
        processor=first.machine["processor"],
        versions=first.versions,
        trials=sorted({one.old.trial.id for one in comparisons if not one.differences}),
        date=datetime.now(UTC).date().isoformat(),
    )


@click.command(cls=Command, help=__doc__.splitlines()[0] if __doc__ else "")
@click.argument("old_commit")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--trials", type=click.IntRange(min=1), default=100, help="Largest number of trials.  [default: all]")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="Parallel trials.")
def main(old_commit: str, arguments: tuple[str, ...], trials: int, jobs: int) -> int:
    try:
        proofs.load()  # a damaged file is better found before than after the trials
        comparisons = compare(old_commit, trials, jobs, arguments)
    except (ReplayError, InputError) as error:
        raise click.ClickException(str(error)) from None
    show(comparisons)
    proof = proof_of(comparisons, provenance.git("rev-parse", old_commit))
    different = sum(bool(one.differences) for one in comparisons)
    click.echo(f"{len(comparisons) - different} of {plural(len(comparisons), 'trial')} equal, bit by bit")
    if proof.pairs:
        proofs.add(proof)
        click.echo(
            f"added {plural(len(proof.pairs), 'pair')} of code digests to {proofs.FILE.relative_to(provenance.ROOT)}"
        )
    return 1 if different else 0


if __name__ == "__main__":
    main()
