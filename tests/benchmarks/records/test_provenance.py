"""What is said about where a record comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.records import provenance
from benchmarks.records.schema import FIRST_RELEASE, SECOND_RELEASE
from benchmarks.records.version import VERSION


def test_versions_and_machine_are_stated() -> None:
    made_by = provenance.describe("0" * 64)
    assert {"python", "numpy", "torch", "mujoco", "imitation"} <= set(made_by.versions)
    assert made_by.machine["processor"] and int(made_by.machine["cores"]) > 0
    assert made_by.threads == 1 and made_by.started.endswith("+00:00")


def test_a_record_states_its_release_and_those_that_do_not_are_told_apart_by_gymnasium() -> None:
    made_by = provenance.describe("0" * 64)
    assert made_by.suite == VERSION and made_by.version == VERSION.removesuffix(".dev0")
    old = made_by.model_copy(update={"versions": {"gymnasium": "0.29.1"}})
    assert old.version == made_by.version, "the oldest versions that are supported make no record of the first release"
    assert old.model_copy(update={"suite": ""}).version == FIRST_RELEASE
    assert made_by.model_copy(update={"suite": "", "versions": {"gymnasium": "1.4.0"}}).version == SECOND_RELEASE


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit.__wrapped__() == ""
