"""A sample of committed trials trained again: how it is drawn, and what counts as equal and as agreement."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.errors import InputError
from benchmarks.records import retrain
from benchmarks.records.replay import ReplayError
from benchmarks.records.retrain import Retrained, agree, sample
from benchmarks.records.schema import Record, Trial

QUICK = Path(__file__).parents[3] / "results/quick"


def with_successes(record: Record, count: int) -> Record:
    """The record with `count` successes among its rollouts in each mode."""
    final = {
        mode: [rollout.model_copy(update={"success": i < count}) for i, rollout in enumerate(rollouts)]
        for mode, rollouts in record.final.items()
    }
    return record.model_copy(update={"final": final})


@pytest.fixture(scope="module")
def record() -> Record:
    return sample(QUICK, 1, 0)[0]


def test_a_sample_depends_on_its_seed_alone() -> None:
    first = [one.trial.id for one in sample(QUICK, 5, 3)]
    assert first == [one.trial.id for one in sample(QUICK, 5, 3)] and len(set(first)) == 5
    assert first != [one.trial.id for one in sample(QUICK, 5, 4)]
    assert len(sample(QUICK, 10_000, 0)) <= len(list((QUICK / "records").iterdir()))


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no records"):
        sample(tmp_path, 1, 0)
    done = CliRunner().invoke(retrain.main, [str(tmp_path)])
    assert done.exit_code == 2 and done.output.startswith("error: ") and len(done.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(25, 25, True), (25, 30, True), (25, 45, False), (50, 44, False)]
)
def test_agreement_is_an_interval_that_holds_no_difference(
    record: Record, before: int, after: int, expected: bool
) -> None:
    """Of 50 rollouts; both orders give the same answer."""
    old, new = with_successes(record, before), with_successes(record, after)
    assert agree(old, new, "sampled") is agree(new, old, "sampled") is expected


def test_verdicts(record: Record) -> None:
    half = with_successes(record, 25)
    times = half.usage.model_copy(update={"training_seconds": 1e6, "peak_memory_mib": 1e6})
    assert Retrained(half, half.model_copy(update={"usage": times})).verdict == "equal, bit by bit"
    assert Retrained(half, with_successes(record, 26)).verdict == "agrees"
    assert Retrained(half, with_successes(record, 50)).verdict == "does not agree"
    failed = Retrained(half, half.model_copy(update={"status": "failed", "final": {}}))
    assert failed.verdict == "does not agree: failed instead of ok" and not failed.agrees
    with_error = half.model_copy(update={"status": "failed", "final": {}, "error": "own.npz does not exist"})
    assert Retrained(half, with_error).verdict == "does not agree: failed instead of ok (own.npz does not exist)"
    absent = Retrained(half, None, "no such task")
    assert absent.verdict == "not trained: no such task" and not absent.agrees and not absent.equal


def test_the_exit_code_tells_whether_all_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    committed = {one.trial.id: one for one in sample(QUICK, 10_000, 0)}

    def same(trial: Trial, folder: Path, interrupt: bool) -> Record:
        return committed[trial.id]

    def broken(trial: Trial, folder: Path, interrupt: bool) -> Record:
        raise ReplayError("the process ended")

    monkeypatch.setattr(retrain, "run_here", same)
    done = CliRunner().invoke(retrain.main, [str(QUICK), "--sample=2"])
    assert (
        done.exit_code == 0 and "2 trials: 2 equal bit by bit, 0 different but in agreement, 0 neither" in done.output
    )
    monkeypatch.setattr(retrain, "run_here", broken)
    done = CliRunner().invoke(retrain.main, [str(QUICK), "--sample=2"])
    assert done.exit_code == 1 and "0 equal bit by bit, 0 different but in agreement, 2 neither" in done.output
