"""What is said about where a record comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.records import provenance


def test_versions_and_machine_are_stated() -> None:
    made_by = provenance.describe("0" * 64)
    assert {"python", "numpy", "torch", "mujoco", "imitation"} <= set(made_by.versions)
    assert made_by.machine["processor"] and int(made_by.machine["cores"]) > 0
    assert made_by.threads == 1 and made_by.started.endswith("+00:00")


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit.__wrapped__() == ""
