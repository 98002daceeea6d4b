"""Processes that share this one's memory and are killed, or compete, at random moments."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

from benchmarks import run as command_line
from benchmarks.records.store import Store
from tests.benchmarks import examples
from tests.benchmarks.conftest import Bench

FORK = multiprocessing.get_context("fork")
"""A forked process has everything imported already, so that there may be hundreds."""


def kill_while_saving(folder: Path, kills: int) -> None:
    """Kill a writer of records over and over: what it said it saved is there, and whole; no litter stays."""
    rng = random.Random(0)
    said: set[str] = set()
    for number in range(kills):
        reading, writing = os.pipe()
        writer = FORK.Process(target=_save_for_ever, args=(folder, 10_000 * number, writing))
        writer.start()
        os.close(writing)
        with os.fdopen(reading) as lines:
            said.add(lines.readline().strip())
            time.sleep(rng.uniform(0.0, 0.03))
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            said |= {line.strip() for line in lines if line.endswith("\n")}
        writer.join()
        writer.close()
    store = Store(folder)
    store.open()
    there = {path.name.removesuffix(".json") for path in (folder / "records").iterdir()}
    records, damaged = store.read(there)
    assert not damaged and len(records) == len(there), "each file in it is a whole record, and none is temporary"
    assert len(said) >= kills and said <= there
    assert not list((folder / "scratch").iterdir())
    for trial in said:
        assert (folder / "policies" / trial / "weights.json").read_text() == "[1, 2, 3]"
    store.close()


def _save_for_ever(folder: Path, start: int, said: int) -> None:
    store = Store(folder)
    store.open()
    record = examples.record(0, seconds=1.0)
    for seed in range(start, start + 10_000):
        trial = record.trial.model_copy(update={"seed": seed})
        policy = store.scratch(trial.id) / "policy"
        policy.mkdir()
        (policy / "weights.json").write_text("[1, 2, 3]")
        store.save(record.model_copy(update={"trial": trial}), policy)
        os.write(said, f"{trial.id}\n".encode())


def two_launchers(bench: Bench, rounds: int) -> None:
    """Two runs on one new results folder, started at the same time, over and over: no trial is done twice."""
    rng, seeds = random.Random(0), 4
    for number in range(rounds):
        folder = bench.folder / f"round {number}"
        log = bench.folder / f"round {number}.log"
        options = f"--results={folder}", f"--set=linear.log={log}", f"--seeds={seeds}", "--jobs=1"
        arguments = bench.command(*options)
        launchers = [FORK.Process(target=_launch, args=(arguments,)) for _ in range(2)]
        for launcher in launchers:
            launcher.start()
            time.sleep(rng.uniform(0.0, 0.05))
        for launcher in launchers:
            launcher.join()
        assert [launcher.exitcode for launcher in launchers] == [0, 0]
        assert sorted(map(int, log.read_text().split())) == list(range(seeds)), f"round {number}"
        assert len(bench.records(folder.name)) == seeds and not list((folder / "attempts").iterdir())


def _launch(arguments: list[str]) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        os._exit(command_line.main(arguments))
