"""Before training, a runner finds in a moment what no trial can use, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import pytest

from envs.demonstrations import Demonstrations
from methods import registry
from methods.conformance import preflight
from methods.conformance.preflight import find_problem
from methods.interface import FitContext, Method, MethodError, Policy
from tests.methods.test_check import KEPT, Constant, Faulty

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


@pytest.mark.parametrize("name", ["bc", "gail", "gpril", *(f"{HERE / place}" for place in KEPT)])
def test_methods_that_keep_the_contract_pass(name: str) -> None:
    assert find_problem(registry.resolve(name), {}) == ""


def test_a_light_method_takes_a_moment_and_is_asked_once() -> None:
    method = registry.resolve(f"{HERE / 'knn_specimen.py'}:Knn")
    begun = perf_counter()
    assert find_problem(method, {"k": 2}) == ""
    first = perf_counter() - begun
    assert first < 5.0  # 0.1 s on an idle core
    for _ in range(100):
        find_problem(method, {"k": 2})
    assert perf_counter() - begun < first + 0.5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("silent", "never calls context.checkpoint"),
        ("shape", r"shape \(2,\)"),
        ("type", "float64"),
        ("nan", "not finite"),
        ("bounds", "fractions of the task's bounds"),
        ("batch", "statistics of the batch"),
        ("by place", "indexed by `rows`"),
        ("start forgets nothing", "start must forget"),
        ("shared", "keep the memory of an episode in the Actor"),
        ("changes observations", "work on a copy"),
        ("string", r"modes = \('mean',\)"),
        ("other processes", "another process"),
        ("nothing", "its policy is a NoneType"),
    ],
)
def test_what_no_trial_can_use_is_found(fault: str, words: str) -> None:
    assert re.search(words, find_problem(Faulty, {"fault": fault}))


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("leaking_specimen.py:LeakingCloning", "keep the memory of each row apart"),
        ("naive_specimen.py:NaiveCloning", "keep the memory of an episode in an Actor"),
    ],
)
def test_memory_that_leaks_is_found(place: str, words: str) -> None:
    assert words in find_problem(registry.resolve(f"{HERE / place}"), {})


@dataclass(frozen=True)
class Settings:
    how: str = ""


class Particular(Method):
    """Cannot train on the check's task, or ends its process in the attempt."""

    name: ClassVar[str] = "particular"
    Settings: ClassVar[type] = Settings
    policy: ClassVar[type[Policy] | None] = Constant

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Any:
        how = self.settings.how
        if how == "refuses":
            raise MethodError(f"{context.task.observation_size} observations are too few")
        if how == "fails":
            raise IndexError("index 20 is out of bounds")
        if how == "exits":
            os._exit(3)
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hangs":
            os.fork() or time.sleep(60.0)
            time.sleep(60.0)
        return None


def test_a_class_that_cannot_be_made_from_its_settings_is_found() -> None:
    def own(self: Method) -> None:
        pass

    found = find_problem(type("Closed", (Particular,), {"__init__": own}), {"how": ""})
    assert found.startswith("TypeError: ") and found.endswith("must be called with nothing but its settings")


@pytest.mark.parametrize("how", ["refuses", "fails", "exits", "dies", "hangs"])
def test_a_training_that_fails_on_the_small_task_is_not_refused(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "LIMIT", 1)
    begun = perf_counter()
    assert find_problem(Particular, {"how": how}) == ""
    assert perf_counter() - begun < 20.0


def test_it_leaves_this_process_as_it_was(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd")), os.getcwd()
    find_problem(Faulty, {"fault": "exit"})
    assert (set(os.listdir("/proc/self/fd")), os.getcwd()) == before
    assert capfd.readouterr() == ("", "")
