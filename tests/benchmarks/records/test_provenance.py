"""The code digest covers what a trial depends on, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.records import provenance
from methods import registry

MODULES = ("context", "counting", "environments", "evaluate", "meters", "snapshots", "vectors", "worker")
RUNNER = {f"benchmarks/{name}.py" for name in MODULES}


def files(method: str, task: str) -> set[str]:
    return set(provenance.source_files(registry.resolve(method), task))


def test_a_trial_depends_on_its_method_its_task_and_what_they_import() -> None:
    bc = files("bc", "ClipInsertion-v0")
    assert bc >= RUNNER | {
        "methods/bc.py",
        "methods/policy.py",
        "methods/interface.py",
        "envs/clip.py",
    }
    assert {"envs/insertion.py", "envs/vector.py", "envs/sb3.py", "envs/demonstrations.py"} <= bc
    assert any(name.startswith("envs/assets/") and name.endswith(".xml") for name in bc)


def test_other_methods_tasks_and_the_rest_of_the_runner_do_not_matter() -> None:
    bc = files("bc", "PegInsertion-v0")
    others = ("methods/gail.py", "methods/gpril/", "methods/registry.py", "envs/clip.py", "analysis/", "tests/")
    assert not [name for name in bc if name.startswith(others)]
    assert {name for name in bc if name.startswith("benchmarks/")} == RUNNER
    gpril = files("gpril", "PegInsertion-v0")
    assert {"methods/gpril/algorithm.py", "methods/gpril/__init__.py", "methods/gpril/settings.py"} <= gpril
    assert "methods/gail.py" not in gpril


def test_the_list_of_tasks_does_not_matter_but_what_is_in_its_package_does() -> None:
    """Registering a task leaves the records of the others as they are."""
    peg = files("gail", "PegInsertion-v0")
    assert "envs/__init__.py" not in peg
    assert {"envs/arrays.py", "envs/display.py", "envs/judge.py", "envs/peg.py", "envs/readings.py"} <= peg
    assert not peg & {"envs/demonstrate.py", "envs/expert.py", "envs/pictures.py"}, "they make data, not trials"


def test_imports_are_followed_through_a_file_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "someones"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text(
        "from . import deep\nfrom tests.benchmarks.fakes import LeastSquares\n"
        "class Theirs(LeastSquares):\n    name = 'theirs'\n    def later(self):\n        import someones.late\n"
    )
    (package / "deep.py").write_text("import numpy\n")
    (package / "late.py").write_text("")
    (package / "unrelated.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = files("someones.method:Theirs", "tests.tiny:TinySlot-v0")
    theirs = {name for name in found if name.startswith("someones/")}
    assert theirs == {f"someones/{name}.py" for name in ("__init__", "method", "deep", "late")}
    assert "tests/tiny.py" in found

    before = provenance.digest(provenance.source_files(registry.resolve("someones.method:Theirs"), "PegInsertion-v0"))
    (package / "unrelated.py").write_text("# changed")
    same = provenance.digest(provenance.source_files(registry.resolve("someones.method:Theirs"), "PegInsertion-v0"))
    (package / "late.py").write_text("# changed")
    other = provenance.digest(provenance.source_files(registry.resolve("someones.method:Theirs"), "PegInsertion-v0"))
    assert before == same != other


def test_versions_and_machine_are_told() -> None:
    made_by = provenance.describe("0" * 64)
    assert {"python", "numpy", "torch", "mujoco", "imitation"} <= set(made_by.versions)
    assert made_by.machine["processor"] and int(made_by.machine["cores"]) > 0
    assert made_by.threads == 1 and made_by.started.endswith("+00:00")


def test_outside_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit.__wrapped__() == ""
