"""Seeds that train as one: a record each, as if alone; those that fail leave the others alone."""

from __future__ import annotations

import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import provenance
from benchmarks.cohort_worker import perform
from benchmarks.messages import Order, is_record
from benchmarks.records import BudgetChoice, DemonstrationChoice, Evaluation, Record, Trial, read_record
from benchmarks.worker import perform as perform_alone
from envs.demonstrations import load
from methods import registry
from methods.policy import GaussianPolicy
from tests.benchmarks.conftest import Bench
from tests.benchmarks.fakes import METHOD, SOCIABLE, TASK
from tests.benchmarks.processes import start, wait_for, workers_of
from tests.methods.test_cohort import SHORT, TOLERANCE

TOGETHER = (f"--methods={SOCIABLE}", "--batch-seeds", "--seeds=3", "--jobs=1")


def outcome(record: Record) -> dict[str, Any]:
    """What a record says but for time and place."""
    timed = {"usage": {"training_seconds", "evaluation_seconds", "peak_memory_mib"}, "provenance": True}
    curve = [point.model_copy(update={"training_seconds": 0.0}) for point in record.curve]
    series = {name: points for name, points in record.diagnostics.series.items() if name != "company"}
    return record.model_dump(exclude=timed | {"curve": True, "diagnostics": True}) | {"curve": curve, "series": series}


def test_each_seed_has_a_record_as_if_it_were_alone(bench: Bench, inline: None, tmp_path: Path) -> None:
    assert bench.run(*TOGETHER).code == 0
    assert bench.run(f"--methods={SOCIABLE}", "--seeds=3", f"--results={tmp_path / 'alone'}").code == 0
    ours, alone = bench.records(), bench.records("alone")
    assert [record.trial.seed for record in ours] == [0, 1, 2]
    assert [outcome(record) for record in ours] == [outcome(record) for record in alone]
    assert {record.provenance.together for record in ours} == {3}
    assert {record.provenance.together for record in alone} == {1}
    assert all(record.diagnostics.series["company"] == [(0, 3.0)] for record in ours)
    for record in ours:
        policies = (
            bench.folder / folder / "policies" / record.trial.id / "weights.json" for folder in ("results", "alone")
        )
        mine, its = (path.read_bytes() for path in policies)
        assert mine == its


def test_seeds_of_different_trials_do_not_mix_and_other_methods_train_one_by_one(bench: Bench, inline: None) -> None:
    assert bench.run(*TOGETHER, f"--methods={SOCIABLE},{METHOD}", "--demos=2,4").code == 0
    told = {
        (record.trial.method, record.trial.demonstrations.episodes): (
            record.provenance.together,
            [value for _, value in record.diagnostics.series.get("company", [])],
        )
        for record in bench.records()
    }
    assert told == {(SOCIABLE, 2): (3, [3.0]), (SOCIABLE, 4): (3, [3.0]), (METHOD, 2): (1, []), (METHOD, 4): (1, [])}


@pytest.mark.parametrize("trouble", ["raise", "loss"])
def test_a_seed_that_fails_leaves_the_others_alone(bench: Bench, trouble: str) -> None:
    assert bench.run(*TOGETHER, f"--set=sociable.trouble={trouble}", "--set=sociable.unlucky=1").code == 1
    assert [record.status == "ok" for record in bench.records()] == [True, False, True]


def test_a_killed_process_is_tried_again_with_all_its_seeds(bench: Bench) -> None:
    trouble = ("--set=sociable.trouble=kill once", "--set=sociable.unlucky=1", f"--set=sociable.log={bench.log}")
    done = bench.run(*TOGETHER, *trouble)
    assert done.code == 0 and "was killed by SIGKILL" in done.err
    assert [record.status for record in bench.records()] == ["ok"] * 3
    assert {record.provenance.together for record in bench.records()} <= {2, 3}, "the first had its record already"


def test_seeds_that_take_too_long_end_as_timed_out(bench: Bench) -> None:
    assert bench.run(*TOGETHER, "--set=sociable.trouble=hang", "--timeout=2").code == 1
    assert [record.status for record in bench.records()] == ["timed out"] * 3


def test_no_process_outlives_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH", str(bench.folder))
    runner = start(bench, *TOGETHER, "--set=sociable.pause=30")
    wait_for(lambda: workers_of(bench.folder))
    runner.send_signal(signal.SIGINT)
    assert runner.wait(timeout=30) == 130
    wait_for(lambda: not workers_of(bench.folder))


def test_records_of_seeds_alone_and_together_are_not_mixed_silently(bench: Bench, inline: None) -> None:
    assert bench.run(f"--methods={SOCIABLE}", "--seeds=1").code == 0
    refused = bench.run(*TOGETHER)
    assert refused.code == 2 and "cohort_worker.py" in refused.err
    assert bench.run(f"--methods={METHOD}", "--seeds=1").code == 0
    assert bench.run(f"--methods={METHOD}", "--seeds=1", "--batch-seeds").code == 0, "others are not concerned"


def test_on_a_cluster_seeds_cannot_train_together(bench: Bench) -> None:
    refused = bench.run(*TOGETHER, "--engine=ray")
    assert refused.code == 2 and "--batch-seeds" in refused.err


def test_gpril_learns_the_same_alone_and_together(demonstration_file: Path, tmp_path: Path) -> None:
    """To the tolerance of its cohort; the files on which the records depend say how they were made."""
    settings = asdict(replace(SHORT, model_hidden=[16, 16]))
    shown = DemonstrationChoice(source=str(demonstration_file), digest=load(demonstration_file).digest, episodes=4)
    trial = Trial(
        method="gpril",
        settings=settings,
        task=TASK,
        demonstrations=shown,
        seed=0,
        budget=BudgetChoice(environment_steps=1500, policy_updates=60),
        evaluation=Evaluation(rollouts=4, curve_points=2, curve_rollouts=2),
    )
    method = registry.resolve("gpril")
    found: dict[bool, list[tuple[Record, GaussianPolicy]]] = {}
    for together in (False, True):
        files = provenance.source_files(method, TASK, together)
        assert ("methods/gpril/cohort.py" in files and "benchmarks/cohort_worker.py" in files) == together
        orders = []
        for seed in range(2):
            scratch = tmp_path / f"{together}{seed}"
            scratch.mkdir()
            seeded = trial.model_copy(update={"seed": seed})
            code = provenance.digest(files)
            orders.append(Order(trial=seeded, code_digest=code, together=together, scratch=scratch))
        records: dict[int, Record] = {}

        def keep(place: int, line: bytes, records: dict[int, Record] = records) -> None:
            if is_record(line):
                records[place] = read_record(line, "a record")

        if together:
            perform(orders, keep)
        else:
            for place, order in enumerate(orders):
                keep(place, perform_alone(order, lambda event: None).to_bytes())
        policies = [GaussianPolicy.load(order.scratch / "policy") for order in orders]
        found[together] = [(records[place], policies[place]) for place in range(2)]
    for (alone, its), (mine, ours) in zip(found[False], found[True], strict=True):
        assert (alone.status, mine.status) == ("ok", "ok"), mine.error
        for name, tensor in ours.network.state_dict().items():
            np.testing.assert_allclose(tensor, its.network.state_dict()[name], atol=TOLERANCE)
        assert mine.usage.gradient_steps == alone.usage.gradient_steps
        assert mine.usage.environment_steps == alone.usage.environment_steps
