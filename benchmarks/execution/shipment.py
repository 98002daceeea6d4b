"""What the nodes of a cluster need of this machine's files: the source of every trial, and data of one's own.

Libraries are not sent: they belong to the node's own environment, and every record says which versions made it.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.planning.trials import SHIPPED
from benchmarks.records import sources
from benchmarks.records.schema import Trial
from methods import registry

OURS = ("benchmarks", "envs", "methods")


def pack(trials: Iterable[Trial], folder: Path) -> list[str]:
    """Copy into an empty folder what these trials import and read, laid out so that it works as the current folder.

    Returns:
        files which trials name by a path that leaves the current folder: the nodes must have them at the same place.
    """
    kinds = {(trial.method, trial.task, trial.demonstrations.source): trial for trial in trials}.values()
    for name in sorted({package for trial in kinds for package in _packages(trial)}):
        _copy_package(name, folder)
    elsewhere = []
    for path in sorted({path for trial in kinds for path in _files(trial)}):
        if path.is_absolute() or ".." in path.parts:
            elsewhere.append(str(path))
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path)
    return elsewhere


def _packages(trial: Trial) -> set[str]:
    """Top-level packages whose source a trial depends on."""
    method = registry.resolve(trial.method)
    return {*OURS, *sources.own_packages(method, trial.task)}


def _files(trial: Trial) -> Iterator[Path]:
    """Files that a trial names by their path: a method, a task, demonstrations."""
    for place in (trial.method.rpartition(":")[0], trial.task.rpartition(":")[0]):
        if place.endswith(".py"):
            yield Path(place)
    if trial.demonstrations.source != SHIPPED:
        yield Path(trial.demonstrations.source)


def _copy_package(name: str, folder: Path) -> None:
    spec = find_spec(name)
    installed = Path(sysconfig.get_path("purelib"))
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin or ""])] if spec else []
    for place in places:
        if name not in OURS and place.is_relative_to(installed):
            continue
        if place.is_dir():
            shutil.copytree(place, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif place.is_file():
            shutil.copyfile(place, folder / place.name)
