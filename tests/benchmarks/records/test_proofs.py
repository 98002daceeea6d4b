"""Code that is proven to give the same results is accepted like the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks.records import proofs, replay
from benchmarks.records.proofs import Proof
from tests.benchmarks import examples
from tests.benchmarks.conftest import Bench

A, B, C, D = (letter * 64 for letter in "abcd")
ALL = "all states and actions"


def proof(*pairs: tuple[str, str]) -> Proof:
    return Proof(
        pairs=[proofs.Pair(old=old, new=new, kinds=[ALL]) for old, new in pairs],
        old_commit="1" * 40,
        new_commit="2" * 40,
        processor="abacus",
        versions={"python": "3.11"},
        trials=["0" * 16],
        date="2030-01-01",
    )


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "proofs.json"
    monkeypatch.setattr(proofs, "FILE", path)
    proofs._representatives.cache_clear()
    yield path
    proofs._representatives.cache_clear()


def test_proofs_are_kept_and_combined(file: Path) -> None:
    assert not proofs.same_results(A, B, ALL)
    for each in (proof((A, B)), proof((C, D)), proof((B, C))):
        proofs.add(each)
    proofs._representatives.cache_clear()
    assert proofs.same_results(A, D, ALL) and proofs.same_results(D, B, ALL)
    assert not proofs.same_results(A, "e" * 64, ALL)
    assert not proofs.same_results(A, B, "final states"), "proven for another kind of trials only"
    final = "final states"
    assert proofs.one_code_gives_all((ALL, digest) for digest in (A, B, C, D))
    assert not proofs.one_code_gives_all([(ALL, A), (ALL, "e" * 64)])
    assert not proofs.one_code_gives_all([(final, A), (final, B)])
    assert proofs.one_code_gives_all([(final, B), (ALL, A)]), "B gives both"


def test_a_proof_is_added_to_those_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "proofs.json"
    proofs.add(proof((A, B)), path)
    proofs.add(proof((B, C)), path)
    assert [(each.pairs[0].old, each.pairs[0].new) for each in proofs.load(path)] == [(A, B), (B, C)]
    path.write_text("{}")
    with pytest.raises(ValueError, match="restore it"):
        proofs.load(path)


def test_records_of_code_that_is_proven_equal_are_used(bench: Bench, inline: None, file: Path) -> None:
    own = bench.folder / "own.py"
    own.write_text("from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n")
    method = f"--methods={own}:Mine"
    assert bench.run(method, "--seeds=1").code == 0
    own.write_text(own.read_text() + "    unused = 1\n")
    assert "made by other code" in bench.run(method, "--seeds=1").err
    assert bench.run(method, f"--results={bench.folder / 'new'}", "--seeds=1").code == 0
    (old,), (new,) = bench.records(), bench.records("new")
    proofs.add(proof((old.provenance.code_digest, new.provenance.code_digest)))
    proofs._representatives.cache_clear()
    accepted = bench.run(method, "--seeds=1")
    assert accepted.code == 0 and "nothing to do: 1 trial done already in" in accepted.err


def changed(**values: Any) -> replay.Record:
    record = examples.record()
    return record.model_copy(update=values)


def test_times_and_provenance_are_not_compared_but_everything_else_is() -> None:
    record = examples.record()
    slower = record.usage.model_copy(update={"training_seconds": 99.0, "peak_memory_mib": 1.0})
    elsewhere = record.provenance.model_copy(update={"commit": "abc", "code_digest": A})
    assert replay.differences(record, changed(usage=slower, provenance=elsewhere)) == ()
    more = record.usage.model_copy(update={"gradient_steps": 1})
    assert replay.differences(record, changed(usage=more)) == ("usage.gradient_steps",)
    rollouts = {"sampled": record.final["sampled"], "mean": record.final["mean"][:1]}
    assert replay.differences(record, changed(final=rollouts)) == ("final.mean",)
    made = [rollout.model_copy(update={"misses": 0, "retries": 0}) for rollout in record.final["sampled"]]
    assert replay.differences(record, changed(final={**record.final, "sampled": made})) == (), "old code did not count"
    assert len(replay.differences(changed(final={**record.final, "sampled": made}), record)) == 4
    other = record.final["mean"][1].model_copy(update={"seconds": 1.0 + 2**-50})
    rollouts = {"sampled": record.final["sampled"], "mean": [record.final["mean"][0], other]}
    assert replay.differences(record, changed(final=rollouts)) == ("final.mean[1].seconds",)


def test_one_difference_leaves_a_kind_of_trial_unproven() -> None:
    def comparison(old: str, new: str, *differences: str) -> replay.Comparison:
        def made_by(digest: str) -> replay.Record:
            return changed(provenance=examples.record().provenance.model_copy(update={"code_digest": digest}))

        return replay.Comparison(made_by(old), made_by(new), False, differences)

    found = replay.proof_of([comparison(A, B), comparison(A, B, "final"), comparison(C, D)], "1" * 40)
    assert found.pairs == [proofs.Pair(old=C, new=D, kinds=[ALL])]


def test_arguments_of_the_runner_choose_the_trials(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def compare(*arguments: Any) -> list[replay.Comparison]:
        asked.append(arguments)
        return [replay.Comparison(examples.record(), examples.record(), False, ())]

    monkeypatch.setattr(replay, "compare", compare)
    chosen = ("--profile", "tuning", "--experiment=readings", "--set", "budget.policy_updates=300")
    done = CliRunner().invoke(replay.main, ["HEAD", "--trials=3", "--jobs=1", "--", *chosen])
    assert done.exit_code == 0 and asked == [("HEAD", 3, 1, chosen)]
    assert CliRunner().invoke(replay.main, ["HEAD", "--jobs=1"]).exit_code == 0 and asked[1] == ("HEAD", 100, 1, ())
    assert not file.exists(), "records of one code prove nothing new"


@pytest.mark.reliability
def test_a_commit_gives_the_same_results_as_itself() -> None:
    comparisons = replay.compare("HEAD", wanted=1, jobs=1)
    assert [(one.interrupted, one.differences) for one in comparisons] == [(True, ())]
