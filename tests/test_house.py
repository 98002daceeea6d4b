"""Rules of the house: who may import whom, what the README shows, and that nothing we read can execute code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.report import docs_tables as pages

ROOT = Path(__file__).parent.parent
PACKAGES = ("analysis", "benchmarks", "envs", "methods")
MAY_IMPORT = {
    "envs": {"envs"},
    "methods": {"methods", "envs.demonstrations", "envs.npz"},
    "benchmarks": {"benchmarks", "methods", "envs"},
    "benchmarks/run.py": {"benchmarks", "methods", "envs", "analysis"},
    "analysis": {"analysis", "benchmarks.records.schema", "benchmarks.paper"},
}
UNSAFE = re.compile(
    r"\bimport (pickle|jsonpickle|joblib|dill|marshal|shelve)\b|allow_pickle=True|torch\.load\(|\beval\("
)


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Our modules that a file imports, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= whole if node.module in PACKAGES else {node.module}
    return {name for name in names if name.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_follow_the_rules(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    allowed = MAY_IMPORT.get(place, MAY_IMPORT[place.split("/")[0]])
    broken = {name for name in imported(path) if not any(name == a or name.startswith(f"{a}.") for a in allowed)}
    assert not broken, f"{place} imports {sorted(broken)}; it may import {sorted(allowed)}"


def test_every_rule_is_about_something() -> None:
    """The rules above would hold for no files, or for files without imports, too."""
    assert len(sources()) > 40
    assert "analysis.report.__main__" in imported(ROOT / "benchmarks/run.py")
    assert "envs.demonstrations" in imported(ROOT / "methods/gpril/algorithm.py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_read_that_could_execute(path: Path) -> None:
    assert not UNSAFE.findall(path.read_text())


def test_registering_the_tasks_is_light() -> None:
    """Gymnasium loads `envs` whenever it is imported; the physics must wait until an environment is made."""
    code = "import sys, gymnasium, envs; envs.register_tasks(); print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("page", pages.PAGES)
def test_pages_show_the_committed_tables(page: str) -> None:
    text = (ROOT / page).read_text()
    there = [table for table in pages.PAGES[page] if (ROOT / table).exists()]
    assert pages.shown(text) == there, f"{page} has no place for a table; analysis/pages.py says how one is marked"
    assert pages.updated(text, ROOT) == text, "python -m analysis.report.docs_tables copies the tables into the pages"


@pytest.mark.parametrize("resumable", [False, True])
def test_the_method_in_the_readme_keeps_the_contract(tmp_path: Path, resumable: bool) -> None:
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"```python\n# mine\.py\n(.*?)```", readme, re.S)
    loop = re.search(r"```python\n(        done = 0\n.*?)```", readme, re.S)
    assert shown and loop, "the README shows how to add a method, and how it goes on where it was interrupted"
    assert len(shown[1].splitlines()) < 40
    before, _, rest = shown[1].partition("        for update")
    after = rest.partition("context.checkpoint(policy, update / updates, update)\n")[2]
    (tmp_path / "mine.py").write_text(before + loop[1] + after if resumable else shown[1])
    check = [sys.executable, "-m", "methods.check", f"{tmp_path / 'mine.py'}:Mine"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
