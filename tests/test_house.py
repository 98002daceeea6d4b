"""Rules of the house: who may import whom, and that nothing we read can execute code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("analysis", "benchmarks", "envs", "methods")
MAY_IMPORT = {
    "envs": {"envs"},
    "methods": {"methods", "envs.demonstrations", "envs.npz", "envs.loading", "envs.tasks", "envs.commands"},
    "benchmarks": {"benchmarks", "methods", "envs"},
    "benchmarks/run.py": {"benchmarks", "methods", "envs", "analysis"},
    "benchmarks/tune/report.py": {"benchmarks", "methods", "envs", "analysis.statistics"},
    "analysis": {"analysis", "benchmarks.records", "benchmarks.paper", "envs.commands"},
}
UNSAFE = re.compile(
    r"\bimport (pickle|jsonpickle|joblib|dill|marshal|shelve)\b|allow_pickle=True|torch\.load\(|(?<!\.)\beval\("
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
    """The physics must wait until an environment is made."""
    code = "import sys, envs; envs.register_tasks(); print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


COMMANDS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for path in sources()
    if '__name__ == "__main__"' in path.read_text() or path.name == "__main__.py"
]


HEAVY = {"torch", "pandas", "matplotlib", "scipy", "stable_baselines3", "optuna", "imitation"}
"""What takes longer to import than a person should wait for help."""
LIGHT = [name for name in COMMANDS if not name.startswith(("benchmarks.trial.worker", "analysis.report"))]


@pytest.mark.parametrize(("command", "option"), [*((name, "--help") for name in LIGHT), ("benchmarks.run", "--list")])
def test_help_and_lists_import_nothing_large(command: str, option: str) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{command!r}, {option!r}]\n"
        "try:\n"
        f"    runpy.run_module({command!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr
    assert not HEAVY & set(done.stderr.split())


PEOPLE_RUN = [name for name in COMMANDS if name != "benchmarks.trial.worker"]


@pytest.mark.parametrize("command", PEOPLE_RUN)
def test_an_unknown_option_is_one_line(tmp_path: Path, command: str) -> None:
    done = started_beside(tmp_path, "-m", command, "--nonsense")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: No such option '--nonsense'")


@pytest.mark.parametrize("command", PEOPLE_RUN)
def test_ctrl_c_while_a_command_is_imported_is_one_line(tmp_path: Path, command: str) -> None:
    """A module that all commands import is replaced by one that presses Ctrl-C."""
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = started_beside(tmp_path, "-m", command)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped before anything was done\n")


def test_programs_that_import_the_suite_keep_their_own_ctrl_c(tmp_path: Path) -> None:
    code = "import benchmarks, envs, methods, analysis, signal as s; assert s.getsignal(2) is s.default_int_handler"
    done = started_beside(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def started_beside(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that is searched before the suite, as where the suite is installed."""
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | paths, capture_output=True, text=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The usual layout of somebody else's repository."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").touch()
    (tmp_path / "analysis.py").write_text("MINE = True\n")
    return tmp_path


def test_other_repositories_are_not_harmed(repository: Path) -> None:
    """Gymnasium runs the plug-ins of every installed package, so one of ours could break every program."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "gymnasium.envs" not in project.get("entry-points", {})
    done = started_beside(repository, "-c", "import gymnasium, envs, analysis; gymnasium.make('CartPole-v1')")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [name for name in COMMANDS if not name.startswith(("envs.", "analysis."))])
def test_a_hidden_package_is_named_in_one_sentence(repository: Path, command: str) -> None:
    done = started_beside(repository, "-m", command)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {repository / 'envs'} hides this suite's package 'envs'")
    assert "PYTHONSAFEPATH=1" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("hidden", ["envs", "methods", "benchmarks"])
@pytest.mark.parametrize("kind", ["package", "folder", "module"])
def test_each_way_of_hiding_a_package_is_seen(tmp_path: Path, hidden: str, kind: str) -> None:
    if kind == "module":
        (tmp_path / f"{hidden}.py").touch()
    else:
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / ("__init__.py" if kind == "package" else "notes.txt")).touch()
    done = started_beside(tmp_path, "-m", "analysis.report", "--help")
    if kind == "folder":  # Python prefers a package further down the path to a folder without __init__.py
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2 and f"hides this suite's package '{hidden}'" in done.stderr, done.stderr
    safe = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "analysis.report", "--help"]
    assert subprocess.run(command, cwd=tmp_path, env=os.environ | safe, capture_output=True).returncode == 0


def test_a_hidden_package_is_an_import_error_for_programs(repository: Path) -> None:
    done = started_beside(repository, "-c", "import methods.registry")
    assert done.returncode == 1 and "ImportError:" in done.stderr and "hides this suite's package 'envs'" in done.stderr


@pytest.mark.parametrize("command", [name for name in COMMANDS if name.startswith("envs.")])
def test_the_commands_of_envs_need_nothing_else(tmp_path: Path, command: str) -> None:
    for name in ("methods", "benchmarks", "analysis"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    done = started_beside(tmp_path, "-m", command, "--help")
    assert done.returncode == 0, done.stderr
