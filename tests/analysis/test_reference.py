"""A run against reference results: what is compared, what agrees, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.load import ResultsError, load
from analysis.reference import against_reference, compare
from tests.analysis.synthetic import Folder, make_record


def results(directory: Path, bc: float = 0.6, seeds: int = 5, profile: str = "quick", shift: int = 0) -> Path:
    """GPRIL with about 80 % on the clip, and BC with another success on the peg."""
    folder = Folder(profile=profile)
    for seed in range(seeds):
        for method, task, share in (("gpril", "ClipInsertion-v0", 0.8), ("bc", "PegInsertion-v0", bc)):
            value = share + 0.05 * (seed % 3 - 1)
            record = make_record(method, task, seed=seed + shift, success={"sampled": value, "mean": value}, points=0)
            folder.add(method.upper(), record, "compare", variant=method)
            folder.add(method.upper(), record, "fig1b", variant=method)  # the same trial counts once
    return folder.write(directory)


def test_a_run_that_agrees_and_one_that_does_not(tmp_path: Path) -> None:
    reference = results(tmp_path / "reference/quick", 0.6, seeds=8)
    run = results(tmp_path / "mine", 0.2, shift=100)
    compared = compare(load(run), load(reference)).set_index(["variant", "mode"])
    assert compared["agree"].to_dict() == {
        ("bc", "sampled"): False,
        ("bc", "mean"): False,
        ("gpril", "sampled"): True,
        ("gpril", "mean"): True,
    }
    assert compared.loc[("bc", "sampled"), "difference"] == pytest.approx(-0.4, abs=0.02)
    said = against_reference(run, tmp_path / "reference")
    assert "2 of 4 comparisons agree" in said and "one in twenty" in said
    assert "Deterministic" in said and max(map(len, said.splitlines())) <= 80


def test_one_seed_is_no_disagreement(tmp_path: Path) -> None:
    results(tmp_path / "reference/quick")
    said = against_reference(results(tmp_path / "mine", 0.0, seeds=1, shift=50), tmp_path / "reference")
    assert "?" in said and "agree:" not in said and "single seed" in said


def test_what_cannot_be_compared_is_left_out(tmp_path: Path) -> None:
    reference = results(tmp_path / "reference/quick")
    assert against_reference(reference, tmp_path / "reference") == "", "the reference results themselves"
    assert against_reference(results(tmp_path / "other", profile="mine"), tmp_path / "reference") == ""
    folder = Folder(profile="quick")
    record = make_record("gpril", "ClipInsertion-v0")
    chosen = record.trial.demonstrations.model_copy(update={"digest": "e" * 64})
    record = record.model_copy(update={"trial": record.trial.model_copy(update={"demonstrations": chosen})})
    folder.add("GPRIL", record, "compare", variant="gpril")
    assert against_reference(folder.write(tmp_path / "own"), tmp_path / "reference") == "", "other demonstrations"
    with pytest.raises(ResultsError, match="is not a folder"):
        against_reference(tmp_path / "nowhere", tmp_path / "reference")


def test_a_damaged_reference_does_not_fail_a_run(tmp_path: Path) -> None:
    reference = results(tmp_path / "reference/quick")
    (reference / "plan.json").write_text("{}")
    assert against_reference(results(tmp_path / "mine"), tmp_path / "reference") == ""
