"""The code digest covers what can change a trial's outcome, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.records import sources
from benchmarks.records.sources import tree_digest
from methods import registry

METHOD = """
from tests.benchmarks.fakes import LeastSquares
import helper
class Theirs(LeastSquares):
    name = "theirs"
"""


def files(method: str, task: str) -> set[str]:
    return set(sources.source_files(registry.resolve(method), task))


def digest(method: str, task: str = "PegInsertion-v0") -> str:
    return sources.digest(sources.source_files(registry.resolve(method), task))


def test_a_trial_depends_on_the_runner_its_method_its_task_and_what_they_import() -> None:
    bc = files("bc", "ClipInsertion-v0")
    folder = sources.ROOT / "benchmarks" / "trial"
    assert bc >= {path.relative_to(sources.ROOT).as_posix() for path in folder.rglob("*.py")}
    assert bc >= {f"methods/{name}.py" for name in ("bc", "policy", "interface", "checkpointing", "env_group")}
    assert bc >= {f"envs/insertion/{name}.py" for name in ("clip", "base", "vector")}
    assert {
        "envs/demonstrations.py",
        "envs/npz.py",
        "envs/sb3.py",
        "envs/assets/scene.xml",
        "envs/assets/sawyer.xml",
    } <= bc


def test_other_methods_other_tasks_and_the_rest_of_the_suite_do_not_matter() -> None:
    bc = files("bc", "PegInsertion-v0")
    others = ("methods/gail", "methods/gpril", "methods/registry.py", "envs/insertion/clip.py", "analysis", "tests")
    assert not [name for name in bc if name.startswith(others)]
    assert not [name for name in bc if name.startswith(("envs/__init__", "envs/tasks", "envs/experts", "envs/formats"))]
    runner = {name for name in bc if name.startswith("benchmarks/")}
    assert all(name.startswith("benchmarks/trial/") or name == "benchmarks/__init__.py" for name in runner)
    gpril = files("gpril", "PegInsertion-v0")
    assert {"methods/gpril/algorithm.py", "methods/gpril/flows/made.py", "methods/gpril/settings.py"} <= gpril
    assert "methods/bc.py" not in gpril


def test_the_demonstrator_matters_only_to_methods_that_query_it(monkeypatch: pytest.MonkeyPatch) -> None:
    method = registry.resolve("bc")
    assert not {name for name in files("bc", "PegInsertion-v0") if name.startswith("envs/experts")}
    monkeypatch.setattr(method, "needs_expert", True)
    with_experts = {name for name in files("bc", "PegInsertion-v0") if name.startswith("envs/experts")}
    assert with_experts == {f"envs/experts/{name}.py" for name in ("__init__", "scripted", "kinesthetic")}
    assert "envs/commands.py" not in files("bc", "PegInsertion-v0"), "what records demonstrations changes no outcome"


CODE = """
'''What it is.'''
import os  # why
RATE = 0.5
class Thing:
    '''A thing.'''
    size: int = 3
    '''Its size.'''
    def grow(self, by=1):
        '''Grow.'''
        return self.size + by
"""
SAME = {
    "docstring of a module": ("What it is.", "What it was."),
    "docstring of a class": ("'''A thing.'''", "'''Another.'''"),
    "docstring of a function, left out": ("        '''Grow.'''\n", ""),
    "what tuning may try": ("RATE = 0.5", "SEARCH = {'size': {'choices': [1, 2]}}\nRATE = 0.5"),
    "what tuning may try, with a type": ("RATE = 0.5", "SEARCH: dict = {}\nRATE = 0.5"),
    "docstring of an attribute": ("Its size.", "How large."),
    "comment": ("# why", "# because"),
    "layout": ("self.size + by", "(self.size\n            + by)"),
    "quotes": ("'''A thing.'''", '"""A thing."""'),
}
OTHER = {
    "constant": ("RATE = 0.5", "RATE = 0.25"),
    "default": ("by=1", "by=2"),
    "operator": ("self.size + by", "self.size - by"),
    "type of a constant": ("int = 3", "int = 3.0"),
    "import": ("import os", "import sys"),
    "name": ("Thing", "Think"),
}


@pytest.mark.parametrize("case", SAME)
def test_prose_and_layout_keep_the_digest(case: str) -> None:
    old, new = SAME[case]
    assert old in CODE
    assert tree_digest(CODE.encode()) == tree_digest(CODE.replace(old, new).encode())


@pytest.mark.parametrize("case", OTHER)
def test_whatever_is_executed_changes_the_digest(case: str) -> None:
    old, new = OTHER[case]
    assert old in CODE
    assert tree_digest(CODE.encode()) != tree_digest(CODE.replace(old, new).encode())


def test_a_docstring_that_is_the_whole_body_may_change() -> None:
    assert tree_digest(b"def f():\n    'old'\n") == tree_digest(b"def f():\n    'new'\n")


def test_what_cannot_be_parsed_is_compared_as_it_stands() -> None:
    assert tree_digest(b"print 'Python 2'") != tree_digest(b"print 'Python 3'")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "someones"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "method.py").write_text(
        "from . import deep\nfrom tests.benchmarks.fakes import LeastSquares\n"
        "class Theirs(LeastSquares):\n    name = 'theirs'\n    def later(self):\n        import someones.late\n"
    )
    (folder / "deep.py").write_text("import numpy\nfrom ... import beyond\n")
    (folder / "late.py").touch()
    (folder / "unrelated.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("someones")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_imports_are_followed_through_a_users_package(package: Path) -> None:
    (package / "deep.py").write_text("import numpy\n")
    found = files("someones.method:Theirs", "tests.tiny:TinySlot-v0")
    theirs = {name for name in found if name.startswith("someones/")}
    assert theirs == {f"someones/{name}.py" for name in ("__init__", "method", "deep", "late")}
    assert "tests/tiny.py" in found
    assert not [name for name in found if name.startswith(("numpy", "torch"))]

    before = digest("someones.method:Theirs")
    (package / "unrelated.py").write_text("changed = True")
    assert digest("someones.method:Theirs") == before
    (package / "late.py").write_text("changed = True")
    assert digest("someones.method:Theirs") != before


HARMFUL = {
    "an exception": "raise RuntimeError('no GPU here')",
    "sys.exit": "import sys\nsys.exit('usage: late')",
    "Python 2": "print 'hello'",
    "zero bytes": "x = 1\0",
    "an import beyond the package": "from ..... import nothing",
}


@pytest.mark.parametrize("case", HARMFUL)
def test_nothing_is_imported_to_find_what_a_trial_depends_on(package: Path, case: str) -> None:
    (package / "deep.py").write_text("x = 1")
    (package / "late.py").write_text(HARMFUL[case])
    before = digest("someones.method:Theirs")
    assert "someones/late.py" in files("someones.method:Theirs", "PegInsertion-v0")
    assert "someones.late" not in sys.modules
    (package / "late.py").write_text(HARMFUL[case] + "\n\n\nprint 2")
    assert digest("someones.method:Theirs") != before


def test_a_file_next_to_a_users_file_matters(tmp_path: Path) -> None:
    (tmp_path / "mine_with_helper.py").write_text(METHOD.replace("helper", "helper_of_mine"))
    (tmp_path / "helper_of_mine.py").write_text("import second_helper\nFACTOR = 1\n")
    (tmp_path / "second_helper.py").write_text("FACTOR = 1\n")
    method = f"{tmp_path / 'mine_with_helper.py'}:Theirs"
    assert {"mine_with_helper.py", "helper_of_mine.py", "second_helper.py"} <= files(method, "PegInsertion-v0")
    for helper in ("helper_of_mine.py", "second_helper.py"):
        before = digest(method)
        (tmp_path / helper).write_text("import second_helper\nFACTOR = 100\n")
        assert digest(method) != before


@pytest.mark.parametrize(
    ("helper", "code"),
    [
        ("first_helper", "import importlib\nimportlib.import_module('first_helper')"),
        ("later_helper", "def f():\n    __import__('later_helper')"),
    ],
)
def test_what_is_imported_by_its_name_matters(tmp_path: Path, helper: str, code: str) -> None:
    path = tmp_path / f"imports_{helper}.py"
    path.write_text(f"{code}\n{METHOD.replace('import helper', '')}")
    (tmp_path / f"{helper}.py").write_text("FACTOR = 1\n")
    before = digest(f"{path}:Theirs")
    (tmp_path / f"{helper}.py").write_text("FACTOR = 100\n")
    assert digest(f"{path}:Theirs") != before


@pytest.mark.parametrize("name", ["settings.json", "more/small.yaml", "weights.npz", "script.py"])
def test_a_data_file_that_a_users_file_names_matters(tmp_path: Path, name: str) -> None:
    path, data = tmp_path / f"names_{len(name)}_a_file.py", tmp_path / name
    path.write_text(f"SETTINGS = '{name}'\n{METHOD.replace('import helper', '')}")
    data.parent.mkdir(exist_ok=True)
    data.write_text("1")
    before = digest(f"{path}:Theirs")
    data.write_text("2")
    assert digest(f"{path}:Theirs") != before and name in files(f"{path}:Theirs", "PegInsertion-v0")


def test_what_a_method_writes_beside_itself_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "writes_a_table.py"
    path.write_text(f"LOG = 'curve.csv'\n{METHOD.replace('import helper', '')}")
    before = digest(f"{path}:Theirs")
    (tmp_path / "curve.csv").write_text("1")
    assert digest(f"{path}:Theirs") == before


def test_the_models_of_a_users_task_matter(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    mesh, model = tmp_path / "assets" / "part.stl", tmp_path / "scene.xml"
    mesh.write_text("solid")
    model.write_text("<mujoco/>")
    task = tmp_path / "task_with_models.py"
    task.write_text(
        "import gymnasium\nfrom tests import tiny\nMODEL = 'scene.xml'\n"
        "class Slot(tiny.TinySlot): pass\n"
        "gymnasium.register('SlotWithModels-v0', Slot, max_episode_steps=40)\n"
    )
    name = f"{task}:SlotWithModels-v0"
    assert {"task_with_models.py", "scene.xml", "assets/part.stl"} <= files("bc", name)
    for path in (mesh, model):
        before = digest("bc", name)
        path.write_text("changed")
        assert digest("bc", name) != before


def test_the_digest_is_the_same_in_every_process() -> None:
    code = (
        "from benchmarks.records import sources; from methods import registry; "
        "print(sources.digest(sources.source_files(registry.resolve('gail'), 'ClipInsertion-v0')))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest("gail", "ClipInsertion-v0")
