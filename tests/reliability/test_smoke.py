"""The smoke profile, GPRIL, GAIL and BC on both tasks: uninterrupted, with one worker and two, and killed at random."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records.files import load_record
from tests.benchmarks.processes import workers_of

pytestmark = pytest.mark.reliability

CLOCK = {
    *("training_seconds", "evaluation_seconds", "peak_memory_mib", "started"),
    *("starts", "resumed"),
}
"""What the clock and interruptions decide, in records."""
TIMED = {"tables/costs.csv", "tables/costs.md", "tables/costs.tex"}
"""And in tables; the figures' data that the clock decides have `seconds` in their name."""
KILLS = 20


def start(results: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.run", "--profile=smoke", f"--results={results}", *more]
    environment = {**os.environ, "CI": "1", "BENCH": str(results)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(results: Path, *more: str) -> float:
    """Run it to its end; returns the seconds it took."""
    began = time.monotonic()
    runner = start(results, *more)
    _, said = runner.communicate()
    assert runner.returncode == 0, said.decode()
    return time.monotonic() - began


def outcome(results: Path) -> dict[str, Any]:
    """What must not depend on the number of workers or on interruptions: tables, figures' data, records, weights."""
    kept: dict[str, Any] = {}
    for path in sorted([*results.glob("tables/*"), *results.glob("figures/*.csv")]):
        name = path.relative_to(results).as_posix()
        if name not in TIMED and "seconds" not in name:
            kept[name] = path.read_bytes()
    for path in sorted(results.glob("records/*.json")):
        kept[path.name] = _without_clock(load_record(path).model_dump(mode="json"))
    for path in sorted(results.glob("policies/*/policy.*")):
        kept[f"{path.parent.name}/{path.name}"] = path.read_bytes()
    return kept


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clock(item) for key, item in value.items() if key not in CLOCK}
    return [_without_clock(item) for item in value] if isinstance(value, list) else value


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """An uninterrupted run with two workers, and its seconds."""
    results = tmp_path_factory.mktemp("straight")
    seconds = finish(results, "--jobs=2")
    found = outcome(results)
    assert len([name for name in found if name.endswith(".npz")]) == 12, "three methods, two tasks, two seeds"
    return found, seconds


def test_the_same_command_twice_gives_the_same_bytes(straight: tuple[dict[str, Any], float], tmp_path: Path) -> None:
    """With one worker instead of two; records differ in nothing but the clock."""
    finish(tmp_path, "--jobs=1")
    assert not differences(outcome(tmp_path), straight[0])


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(
    straight: tuple[dict[str, Any], float], tmp_path: Path
) -> None:
    """A worker and then the runner are killed in each of ten lives; no record that is there is ever touched again."""
    expected, seconds = straight
    rng = random.Random(0)
    folder, killed, lives = tmp_path / "0", {"worker": 0, "runner": 0}, 0
    finished: dict[Path, bytes] = {}
    while sum(killed.values()) < KILLS:
        lives += 1
        runner = start(folder, "--jobs=2", "--save-every=0.5")
        while not workers_of(folder) and runner.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.0, 0.12) * seconds)
        if killed["worker"] < KILLS / 2 and (workers := workers_of(folder)):
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed["worker"] += 1
            time.sleep(rng.uniform(0.0, 0.06) * seconds)
        if runner.poll() is None:
            runner.kill()
            killed["runner"] += 1
        runner.communicate()
        while workers_of(folder):  # they die with their runner
            time.sleep(0.05)
        assert {path: path.read_bytes() for path in finished} == finished, "a finished trial was done again"
        finished |= {path: path.read_bytes() for path in folder.glob("records/*.json")}
        if runner.returncode == 0:  # it was quicker than the kills: those that are left go to another run
            assert not differences(outcome(folder), expected)
            folder, finished = tmp_path / str(lives), {}
    finish(folder, "--jobs=2")
    assert {path: path.read_bytes() for path in finished} == finished
    assert not differences(outcome(folder), expected)
    litter = [*folder.glob("scratch/*"), *folder.rglob("*.tmp")]
    resumed = [json.loads(path.read_bytes())["record"]["provenance"]["resumed"] for path in folder.glob("records/*")]
    print(
        f"\n{killed} in {lives} lives; trials that went on from a snapshot: {sum(map(bool, resumed))} of {len(resumed)}"
    )
    assert not litter
