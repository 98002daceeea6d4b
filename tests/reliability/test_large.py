"""Ten thousand planned trials: how long a run takes to start, to find everything done, and to draw it all again."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.planning import experiments, profiles
from benchmarks.planning.trials import PlannedTrial, Request, plan
from benchmarks.records import provenance
from benchmarks.records.plans import Plan
from methods import registry
from tests.analysis.synthetic import make_record

pytestmark = pytest.mark.reliability

SEEDS, DEMONSTRATIONS = 417, (5, 10, 25, 50)
GRID = (f"--seeds={SEEDS}", f"--demos={','.join(map(str, DEMONSTRATIONS))}")


def fill(results: Path) -> int:
    """A record of a realistic size for each trial of the quick profile on this grid; returns how many."""
    request = Request(
        profiles.load("quick"), tuple(experiments.find("compare")), seeds=SEEDS, demonstrations=DEMONSTRATIONS
    )
    planned = plan(request).trials
    made = make_record(rollouts=50, points=10)
    (results / "records").mkdir(parents=True)
    for item in planned:
        made_by = made.provenance.model_copy(update={"code_digest": _digest(item)})
        record = made.model_copy(update={"trial": item.trial, "provenance": made_by})
        (results / "records" / f"{item.row.trial}.json").write_bytes(record.to_bytes())
    (results / "plan.json").write_text(
        Plan(profile="quick", rows=[item.row for item in planned]).model_dump_json(indent=1)
    )
    return len(planned)


_digests: dict[tuple[str, str], str] = {}


def _digest(item: PlannedTrial) -> str:
    kind = (item.trial.method, item.trial.task)
    if kind not in _digests:
        _digests[kind] = provenance.digest(provenance.source_files(registry.resolve(kind[0]), kind[1]))
    return _digests[kind]


def test_a_sweep_of_ten_thousand_trials_is_no_burden(tmp_path: Path) -> None:
    results = tmp_path / "results"
    print()
    run = (sys.executable, "-m", "benchmarks.run", *GRID)
    empty = _timed("start with nothing done", *run, "--dry-run", f"--results={tmp_path / 'empty'}")
    trials = fill(results)
    assert f"{trials} trials to do" in empty and trials > 10_000
    full = _timed("start with all done", *run, "--dry-run", f"--results={results}")
    assert "0 trials to do" in full
    table = _timed("resume and report", *run, f"--results={results}")
    assert f"{SEEDS}" in table
    alone = _timed("report alone", sys.executable, "-m", "analysis.report.__main__", str(results))
    assert f"{SEEDS}" in alone and table.startswith(alone)
    assert table.removeprefix(alone).startswith("\nCompared with the reference results")


def _timed(name: str, *command: str) -> str:
    """Run it and print what it took; the processor's time is the figure where other programs run as well."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "CI": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name}: {spent:.1f} s of processor time, {time.monotonic() - began:.1f} s by the clock")
    return done.stdout
