"""What an engine costs: trials that wait or compute, done by processes of this machine and on Ray, one and two at once.

`python -m benchmarks.speed.engines` prints seconds a trial beyond its own (claiming, a process that imports little, its
record on the disk) and trials an hour. Waiting takes no processor, so the figures tell about scheduling even on a
machine with other work, whose load is printed too. With `--rounds-of-work` trials compute instead, and what two
processes without any engine gain on this machine, whose cores may share caches, memory or more, stands beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import click
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from benchmarks import provenance
from benchmarks.engine import Engine, Workplace
from benchmarks.local import THREAD_VARIABLES, LocalWorkplace
from benchmarks.records import BudgetChoice, DemonstrationChoice, Evaluation, Record, Trial
from benchmarks.store import Store
from benchmarks.trials import SHIPPED
from methods import registry

METHOD, TASK = "bc", "ClipInsertion-v0"


class Waiting(LocalWorkplace):
    """Processes that wait."""

    module = "benchmarks.speed.waiting"


class _Silent:
    """A view for nobody."""

    def started(self, trial: Trial) -> None: ...

    def progressed(self, trial: Trial, share: float) -> None: ...

    def finished(self, record: Record) -> None: ...

    def note(self, message: str) -> None:
        click.echo(message, err=True)


@click.command(help="Time the engines on trials that only wait.")
@click.option("--seconds", default=2.0, show_default=True, help="How long a trial waits.")
@click.option("--trials", default=10, show_default=True, help="Trials of each measurement.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each kind; medians are shown.")
@click.option("--rounds-of-work", default=0, help="How much a trial computes, some 0.05 s each, instead of waiting.")
def main(seconds: float, trials: int, rounds: int, rounds_of_work: int) -> None:
    from benchmarks.ray_engine import LOCAL, RayWorkplace, Share, connect  # here, because Ray is an extra

    if rounds_of_work:
        seconds = min(_bare(1, rounds_of_work) for _ in range(rounds))
        gain = _gain(rounds, rounds_of_work)
        click.echo(f"without an engine: {seconds:.1f} s a trial, {gain:.2f} times as many by two at once")
    settings: dict[str, JsonValue] = {"seconds": 0.0 if rounds_of_work else seconds, "rounds": rounds_of_work}
    plan, share = [_trial(seed, settings) for seed in range(trials)], Share(cpus=1.0, gpus=0.0)
    engines: dict[str, Callable[[int], Workplace]] = {
        "local": Waiting,
        "ray": lambda jobs: RayWorkplace(share, jobs, Waiting(jobs=1)),
    }
    taken: dict[tuple[str, int], list[float]] = {(name, jobs): [] for name in engines for jobs in (1, 2)}
    with connect(LOCAL, share, 2, plan):
        _time(engines["ray"](2), plan[:2])  # Ray starts processes when they are needed first
        for _ in range(rounds):
            for name, jobs in taken:
                taken[name, jobs].append(_time(engines[name](jobs), plan) / trials)
    table = Table("engine", "at once", "s a trial beyond its own", "trials an hour", "times one at once", box=None)
    each = {kind: median(times) for kind, times in taken.items()}
    for (name, jobs), time in each.items():
        gain = each[name, 1] / time
        table.add_row(name, str(jobs), f"{time * jobs - seconds:.2f}", f"{3600 / time:.0f}", f"{gain:.2f}")
    Console(highlight=False).print(table)
    click.echo(f"{trials} trials of {seconds:g} s, {rounds} rounds; load of the machine {os.getloadavg()[0]:.1f}")


def _gain(rounds: int, work: int) -> float:
    """How many times as much two processes compute as one, in pairs of measurements taken side by side."""
    return median(2.0 * _bare(1, work) / _bare(2, work) for _ in range(rounds))


def _bare(processes: int, work: int) -> float:
    """Seconds that so many processes take which do the same work at once."""
    command = [sys.executable, "-c", f"from benchmarks.speed.waiting import compute; compute({work})"]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    before = perf_counter()
    running = [subprocess.Popen(command, env=environment) for _ in range(processes)]
    for process in running:
        process.wait()
    return perf_counter() - before


def _trial(seed: int, settings: dict[str, JsonValue]) -> Trial:
    return Trial(
        method=METHOD,
        settings=settings,
        task=TASK,
        demonstrations=DemonstrationChoice(source=SHIPPED, digest="", episodes=1),
        seed=seed,
        budget=BudgetChoice(environment_steps=0, policy_updates=0),
        evaluation=Evaluation(rollouts=1),
    )


def _time(workplace: Workplace, trials: list[Trial]) -> float:
    """Seconds that all trials take, in an empty results folder."""
    code = provenance.digest(provenance.source_files(registry.resolve(METHOD), TASK))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.open()
        engine = Engine(store, _Silent(), workplace, timeout=None, save_every=0.0)
        before = perf_counter()
        engine.run(trials, {trial.id: code for trial in trials}, {trial.id: "" for trial in trials})
        seconds = perf_counter() - before
        store.close()
    return seconds


if __name__ == "__main__":
    main()
