"""Retrains a random sample of a results folder's trials: `python -m benchmarks.records.retrain results/quick`.

Each trial is run with this checkout's code on this machine. Its outcome is bit-identical (except for times and memory),
or it agrees (in both modes the 95 % interval of the difference in success includes 0), or neither. The interval covers
the final rollouts alone, not how much the outcome of training varies.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import hypot
from pathlib import Path

import click
from rich.table import Table

from benchmarks.errors import InputError, one_line
from benchmarks.records.files import load_record, record_files
from benchmarks.records.replay import ReplayError, differences, print_table, run_here
from benchmarks.records.schema import MODE_WORDS, MODES, Mode, Record, RecordError
from envs.commands import Command, plural
from methods.interface import MethodError


@dataclass(frozen=True)
class Retrained:
    """A committed record and that of the same trial trained again; `new` is None where it could not be, with why."""

    old: Record
    new: Record | None
    reason: str = ""

    @property
    def equal(self) -> bool:
        """Whether all bits but those of times and memory are equal."""
        return self.new is not None and not differences(self.old, self.new)

    @property
    def agrees(self) -> bool:
        """Whether it is equal, or ended well with a success that agrees in each mode."""
        if self.new is None or self.new.status != self.old.status:
            return False
        return self.equal or (self.new.status == "ok" and all(agree(self.old, self.new, mode) for mode in MODES))

    @property
    def verdict(self) -> str:
        """What came out, in words."""
        if self.new is None:
            return f"not trained: {self.reason}"
        if self.equal:
            return "equal, bit by bit"
        if self.new.status != self.old.status:
            reason = one_line(self.new.error or "").strip()
            return f"does not agree: {self.new.status} instead of {self.old.status}" + (
                f" ({reason})" if reason else ""
            )
        return "agrees" if self.agrees else "does not agree"


def agree(old: Record, new: Record, mode: Mode) -> bool:
    """Whether the 95 % interval of the difference in success includes 0.

    It is Newcombe's, from two Wilson intervals ("Interval estimation for the difference between independent
    proportions", 1998, method 10).
    """
    from scipy.stats import binomtest  # here, because --help does without SciPy

    counts = [[rollout.success for rollout in record.final.get(mode, [])] for record in (old, new)]
    if not all(counts):
        return not any(counts)
    (low, high), (least, most) = (binomtest(sum(one), len(one)).proportion_ci(0.95, method="wilson") for one in counts)
    before, after = (sum(one) / len(one) for one in counts)
    if before > after:
        return before - after <= hypot(before - low, most - after)
    return after - before <= hypot(after - least, high - before)


def sample(results: Path, count: int, seed: int) -> list[Record]:
    """A random sample of the records of trials that ended well, the same for equal seeds.

    Raises:
        InputError: there is none.
        RecordError: a record is damaged.
    """
    names = list(record_files(results).values())
    random.Random(seed).shuffle(names)
    found: list[Record] = []
    for path in names:
        if len(found) == count:
            break
        record = load_record(path)
        if record.status == "ok":
            found.append(record)
    if not found:
        raise InputError(f"{results} holds no records of successful trials; name a folder such as results/quick")
    return found


def retrain(records: Sequence[Record], jobs: int) -> list[Retrained]:
    """Train the trials of records again, `jobs` at once; the result has their order."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(jobs) as pool:

        def one(number: int) -> Retrained:
            old = records[number]
            try:
                return Retrained(old, run_here(old.trial, Path(name) / str(number), interrupt=False))
            except (ReplayError, InputError, MethodError) as error:
                return Retrained(old, None, str(error))

        return list(pool.map(one, range(len(records))))


def show(results: Sequence[Retrained]) -> None:
    """Print a table of the trials and what came out."""
    table = Table(
        "trial", "method", "task", "seed", "code", *(f"{word} actions" for word in MODE_WORDS.values()), "result"
    )
    for one in results:
        trial, success = one.old.trial, []
        for mode in MODES:
            after = f"{100 * one.new.success(mode):.0f}" if one.new else "-"
            success.append(f"{100 * one.old.success(mode):.0f} / {after}")
        same = one.new is not None and one.new.provenance.code_digest == one.old.provenance.code_digest
        table.add_row(
            trial.id, trial.method, trial.task, str(trial.seed), "same" if same else "another", *success, one.verdict
        )
    print_table(table, 160)


@click.command(cls=Command, help=__doc__.splitlines()[0] if __doc__ else "")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--sample", "count", type=click.IntRange(min=1), default=2, help="Number of trials.  [default: 2]")
@click.option("--seed", type=int, default=0, help="Seed that draws the sample.  [default: 0]")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="Parallel trials.")
def main(results: Path, count: int, seed: int, jobs: int) -> int:
    try:
        found = retrain(sample(results, count, seed), jobs)
    except (InputError, RecordError, OSError) as error:
        raise click.ClickException(str(error)) from None
    show(found)
    click.echo("Success in % of the final rollouts: committed / retrained.")
    equal, agreeing = sum(one.equal for one in found), sum(one.agrees for one in found)
    click.echo(
        f"{plural(len(found), 'trial')}: {equal} equal bit by bit, {agreeing - equal} different but in agreement, "
        f"{len(found) - agreeing} neither"
    )
    return 0 if agreeing == len(found) else 1


if __name__ == "__main__":
    main()
