"""What made a result: the source files it depends on, the versions of libraries, the machine."""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from importlib.util import find_spec, resolve_name
from pathlib import Path

import gymnasium
from gymnasium.envs.registration import EnvSpec

import envs
from benchmarks.records.schema import Provenance, canonical
from methods.interface import Method

ROOT = Path(__file__).parent.parent.parent
THREADS = 1
RUNNER = (
    "benchmarks.trial.worker",
    "benchmarks.trial.context",
    "benchmarks.trial.counting",
    "benchmarks.trial.evaluation",
    "benchmarks.trial.clock",
    "benchmarks.trial.environments",
    "benchmarks.trial.checkpoints",
    "benchmarks.trial.vectors",
    "envs.insertion.sb3",
    "envs.insertion.vector",
    "methods.env_group",
    "methods.checkpointing",
)
"""The runner's modules that can change the outcome of a trial."""
LISTS = ("envs", "methods.registry")
"""Modules that only know where others are; what they import is no dependency."""
LIBRARIES = ("numpy", "torch", "mujoco", "gymnasium", "stable-baselines3", "sb3-contrib", "imitation", "nflows")


def find_task(task: str) -> EnvSpec:
    """The Gymnasium entry of a task; for "module:Id" the module is imported first, as `gymnasium.make` does.

    Raises:
        KeyError: no such task is registered.
    """
    module, _, name = task.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError:
            raise KeyError(task) from None
    return gymnasium.registry[name]


def source_files(method: type[Method], task: str) -> dict[str, str]:
    """Path and sha256 of every source file that a trial of this method on this task depends on.

    These are the runner's own modules, the shipped tasks' models, and whatever the modules of method and task import
    from `envs`, `methods` and their own top-level packages. Libraries are recorded by their versions instead.
    """
    task_module = _task_module(task)
    modules = [method.__module__, task_module]
    found = {name: _file(name) for name in RUNNER}
    found |= _imported(modules, packages(method, task))
    contents = {_label(name, path): path.read_bytes() for name, path in found.items() if path is not None}
    if task_module.startswith("envs."):
        package = Path(str(envs.__file__)).parent
        for path in (package / "assets").rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                contents[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    return {label: hashlib.sha256(content).hexdigest() for label, content in sorted(contents.items())}


def packages(method: type[Method], task: str) -> set[str]:
    """Top-level packages whose source can change the outcome of a trial."""
    return {"envs", "methods", method.__module__.split(".")[0], _task_module(task).split(".")[0]}


def _task_module(task: str) -> str:
    entry = find_task(task).entry_point
    return entry.split(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")


def digest(files: Mapping[str, str]) -> str:
    """sha256 over the paths and contents of source files."""
    return hashlib.sha256(canonical(dict(files))).hexdigest()


def changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The files that differ, or are in one of them alone; none where the old ones are not known."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)] if old else []


def describe(code_digest: str) -> Provenance:
    """The provenance of a trial that starts now on this machine."""
    return Provenance(
        code_digest=code_digest,
        versions=versions(),
        machine=machine(),
        threads=THREADS,
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@cache
def versions() -> dict[str, str]:
    """Python and the installed libraries that can change a number."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str]:
    """Processor, number of cores, system."""
    return {"processor": _processor(), "cores": str(os.cpu_count()), "system": platform.platform()}


@cache
def commit() -> str:
    """The checkout's commit, with "+" where its source differs from it; empty outside a checkout."""
    if _git("rev-parse", "--show-toplevel") != str(ROOT.resolve()):
        return ""
    changes = _git("status", "--porcelain", "--", "benchmarks", "envs", "methods")
    return _git("rev-parse", "HEAD") + ("+" if changes else "")


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _imported(modules: Iterable[str], packages: set[str]) -> dict[str, Path | None]:
    """The files of these modules and of all they import, directly or not, from these top-level packages."""
    found: dict[str, Path | None] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in LISTS or name.split(".")[0] not in packages:
            continue
        found[name] = path = _file(name)
        if path is not None:
            waiting += _imports(path, name)
        if "." in name:  # importing a.b runs a/__init__.py
            waiting.append(name.rpartition(".")[0])
    return found


def _file(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


def _imports(path: Path, module: str) -> tuple[str, ...]:
    """Names a file imports, also inside functions; `from a import b` may mean the module a.b, so it is tried too."""
    return _named(path.read_bytes(), module if path.name == "__init__.py" else module.rpartition(".")[0])


@cache
def _named(source: bytes, package: str) -> tuple[str, ...]:
    """Kept, since most of a run's trials depend on the same files."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _label(module: str, path: Path) -> str:
    depth = module.count(".") + 1 + (path.name == "__init__.py")
    return "/".join(path.parts[-depth:])
