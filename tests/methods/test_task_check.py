"""The check of a task passes tasks that keep the contract, and names what is wrong with others."""

from __future__ import annotations

import re
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium.spaces import Box, Discrete

from envs.demonstrations import save
from envs.tasks import LAST_COUNTS
from methods.check import main
from methods.conformance.point_task import PointTask, demonstrate
from methods.conformance.tasks import TaskChecks, check_task, require_supported, require_task
from methods.interface import MethodError
from tests import tiny

HORIZON = 40
SHARED: dict[str, Any] = {}


class FaultyTask(PointTask):
    """The check's own point task, with the faults that are asked for."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        if fault == "raises":
            raise RuntimeError("no licence\nfound")
        if fault == "process":
            self.child = subprocess.Popen(["sleep", "60"])
        if fault == "closes late":
            self.child = subprocess.Popen(["sleep", "60"])
        if fault == "thread":
            self.go_on = True
            threading.Thread(target=self._wait, name="simulator", daemon=True).start()
        if fault == "file":
            SHARED.setdefault("files", []).append(open("/dev/zero", "rb"))  # noqa: SIM115
        if fault == "image":
            self.observation_space = Box(0, 255, (8, 8, 3), np.uint8)
        if fault == "discrete":
            self.action_space = Discrete(3)  # type: ignore[assignment]
        if fault == "no actions":
            self.action_space = Box(-1.0, 1.0, (0,), np.float32)
        if fault == "unbounded":
            self.action_space = Box(-np.inf, np.inf, (2,), np.float32)
        if fault == "float64":
            self.observation_space = Box(-np.inf, np.inf, (4,), np.float64)
            self.action_space = Box(-1.0, 1.0, (2,), np.float64)
        if fault == "horizon":
            self.horizon = 2.5
        if fault == "dt":
            self.dt = -1.0

    def _wait(self) -> None:
        threading.Event().wait(4.0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.fault == "ignores the seed":
            seed = None
        observation, info = super().reset(seed=seed, options=options)
        if self.fault == "global generator":
            self._state[0] = np.random.rand()
        if self.fault == "counts resets":
            self._state[0] += 0.1 * SHARED.setdefault("resets", 0)
            SHARED["resets"] += 1
        observation = self._state.copy()
        if self.fault == "float64":
            return observation.astype(float), info
        if self.fault == "old reset":
            return observation
        if self.fault == "objects":
            return observation.astype(object), info
        if self.fault == "list":
            return observation.tolist(), info
        if self.fault == "view":
            return self._state, info
        if self.fault == "shape":
            return observation[:3], info
        return observation, info

    def step(self, action: np.ndarray) -> Any:
        if self.fault == "shared state":
            self._state[0] += SHARED.setdefault("offset", 0.0)
            SHARED["offset"] += 0.01
        if self.fault == "changes actions":
            action *= 0.5
        observation, reward, terminated, truncated, info = super().step(action)
        if self.fault == "old step":
            return observation, reward, terminated, info
        if self.fault == "nan":
            observation[0] = np.nan
        if self.fault == "nan later" and self._steps > 4:
            observation[0] = np.nan
        if self.fault == "array done":
            terminated = np.array([terminated])
        if self.fault == "passing":
            terminated, info["is_success"] = False, terminated and self._steps < HORIZON
        if self.fault == "no is_success":
            info = {"success": info["is_success"]}
        if self.fault == "half a success":
            info["is_success"] = 0.5
        if self.fault == "success as a number":
            info["is_success"] = np.float32(info["is_success"])
        if self.fault == "view":
            observation = self._state
        return observation, reward, terminated, truncated and self.fault != "never ends", info

    def get_state(self) -> Any:
        state = super().get_state()
        return {**state, "state": 0 * state["state"]} if self.fault == "forgets" else state

    def make_expert(self, rng: np.random.Generator) -> Any:
        expert = super().make_expert(rng)
        if self.fault == "wild expert":
            expert.act = lambda: np.full(2, 3.0)  # type: ignore[method-assign]
        return object() if self.fault == "no expert" else expert

    def close(self) -> None:
        if self.fault == "no close":
            raise OSError("the simulator hangs")
        if self.fault == "closes late":
            self.child.terminate()
            self.child.wait()


@pytest.fixture(autouse=True)
def _clean() -> Any:
    SHARED.clear()
    yield
    for file in SHARED.get("files", []):
        file.close()


def make(fault: str = "", limit: int | None = HORIZON) -> str:
    name = f"Faulty{''.join(letter for letter in fault.title() if letter.isalnum())}-v0"
    gymnasium.registry.pop(name, None)
    gymnasium.register(name, entry_point=FaultyTask, kwargs={"fault": fault}, max_episode_steps=limit)
    return name


def problems(name: str, **more: Any) -> dict[str, str]:
    return {result.promise: result.problem for result in TaskChecks(name, **more).run() if result.problem}


@pytest.mark.parametrize("name", ["clip", "peg", "physical-varying", f"tests.tiny:{tiny.ID}"])
def test_tasks_that_keep_the_contract_pass(name: str) -> None:
    results = list(check_task(name))
    assert len(results) >= 12 and not [result for result in results if result.problem]


@pytest.mark.parametrize("fault", ["", "float64", "success as a number", "closes late"])
def test_what_the_contract_allows_is_not_a_violation(fault: str) -> None:
    assert problems(make(fault)) == {}
    remarks = {result.promise: result.remark for result in TaskChecks(make(fault)).run() if result.remark}
    assert ("float32" in str(remarks)) == (fault == "float64")


@pytest.mark.parametrize(
    ("fault", "promise", "words"),
    [
        ("raises", "its environment", "RuntimeError: no licence"),
        ("image", "observations and actions", "flatten it"),
        ("discrete", "observations and actions", "one-dimensional Box"),
        ("unbounded", "observations and actions", "finite"),
        ("no actions", "observations and actions", "at least one number"),
        ("horizon", "it has a time limit", "2.5.*whole number"),
        ("dt", "it has a time limit", "dt is -1.0"),
        ("old reset", "reset takes", r"return \(observation, info\)"),
        ("list", "reset takes", "return a NumPy array"),
        ("objects", "reset takes", "of type object; return numbers"),
        ("no close", "it can be closed", r"close\(\) failed \(OSError: the simulator hangs\)"),
        ("shape", "reset takes", r"of shape \(3,\), but its space says \(4,\)"),
        ("old step", "step returns", r"five values .*; return \(observation, reward"),
        ("nan", "step returns", "not finite"),
        ("array done", "step returns", "terminated = array.*True or False"),
        ("nan later", "an episode ends", "step 5 .*not finite"),
        ("no is_success", "an episode ends", "set info\\['is_success'\\]"),
        ("half a success", "an episode ends", "make it True or False"),
        ("ignores the seed", "equal seeds", "super\\(\\).reset\\(seed=seed\\)"),
        ("global generator", "equal seeds", "global generators"),
        ("counts resets", "equal seeds", "reset everything that an episode changes"),
        ("shared state", "environments do not", "keep all state in self"),
        ("view", "a returned observation", "return a copy"),
        ("changes actions", "a returned observation", "work on a copy"),
        ("forgets", "the state", "get_state must return everything"),
        ("wild expert", "the demonstrator", "clip it to the action space"),
        ("no expert", "the demonstrator", "no reset and no act"),
        ("process", "close ends", "the process 'sleep'; end them in close"),
        ("thread", "close ends", "the thread 'simulator'"),
        ("file", "close ends", "the open file /dev/zero"),
    ],
)
def test_a_violation_is_found_and_its_mend_named(fault: str, promise: str, words: str) -> None:
    found = problems(make(fault))
    named = [text for name, text in found.items() if name.startswith(promise)]
    assert named and re.search(words, named[0]), found


def test_a_task_without_a_time_limit_is_named() -> None:
    assert "max_episode_steps" in problems(make("", limit=None))["it has a time limit"]


def test_demonstrations_that_do_not_fit_are_named(tmp_path: Path) -> None:
    name = make()
    good = replace(demonstrate(2, seed=0), task=name)
    assert problems(name, demonstrations=good) == {}
    for wrong, words in (
        (replace(good, task="Other-v0"), "of the task 'Other-v0'"),
        (replace(good, observations=good.observations[:, :3]), "has 4 observations, but the demonstrations have 3"),
        (replace(good, actions=5.0 * good.actions), "are its units right"),  # type: ignore[operator]
    ):
        assert words in problems(name, demonstrations=wrong)["the demonstrations fit"]
        with pytest.raises(MethodError, match=re.escape(words)):
            require_task(name, wrong)
    save(good, tmp_path / "good.npz")
    done = CliRunner().invoke(main, ["--task", name, "--demonstrations", str(tmp_path / "good.npz")])
    assert done.exit_code == 0 and "ok    the demonstrations fit" in done.output, done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "Nothing-v0"], "unknown task 'Nothing-v0'"),
        (["--task", "no_such_module:X-v0"], "ModuleNotFoundError: No module named 'no_such_module'"),
        (["--task", "clip", "--demonstrations", "nothing.npz"], "nothing.npz: no such file"),
    ],
)
def test_what_cannot_be_found_is_one_line_with_the_reason(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and words in done.output and len(done.output.splitlines()) == 1


def test_plain_arrays_given_as_demonstrations_are_said_to_need_an_import(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", observations=np.ones((3, 2)), lengths=[2])
    done = CliRunner().invoke(main, ["--task", "clip", "--demonstrations", str(tmp_path / "plain.npz")])
    assert done.exit_code == 2 and len(done.output.splitlines()) == 1
    assert "holds 'lengths'" in done.output and "python -m envs.formats import arrays" in done.output
    done = CliRunner().invoke(main, ["--task", "clpi", "--demonstrations", str(tmp_path / "plain.npz")])
    assert done.exit_code == 2 and "did you mean 'clip'" in done.output and "import arrays" not in done.output


def test_a_task_in_a_file_of_the_user_is_checked(tmp_path: Path) -> None:
    (tmp_path / "my_slot.py").write_text(
        "import gymnasium\nfrom tests.tiny import TinySlot\n"
        "gymnasium.register('MySlot-v0', entry_point=TinySlot, max_episode_steps=60)\n"
    )
    done = CliRunner().invoke(main, ["--task", f"{tmp_path / 'my_slot.py'}:MySlot-v0"])
    assert done.exit_code == 0, done.output


def test_a_task_without_a_demonstrator_is_not_said_to_have_a_good_one() -> None:
    def remark(name: str) -> str | None:
        found = [result.remark for result in check_task(name) if result.promise.startswith("the demonstrator")]
        return found[0] if found else None

    assert remark(make()) == ""
    assert str(remark(make("passing"))).endswith(f"was true earlier, but {LAST_COUNTS}")
    assert str(remark(f"tests.tiny:{tiny.ID}")).startswith("it has none (no make_expert(rng))")
    assert remark("peg") is None, "what demonstrates it is no part of it"


def test_remarks_about_demonstrations_are_shown(tmp_path: Path) -> None:
    name = make()
    good = replace(demonstrate(2, seed=0), task=name)
    small = replace(good, actions=np.float32(1e-3) * good.actions)  # type: ignore[operator]
    results = {result.promise: result for result in TaskChecks(name, demonstrations=small).run()}
    assert results["the demonstrations fit"].problem == "" and "1/20" in results["the demonstrations fit"].remark
    (remark,) = require_task(name, small)
    assert remark.startswith(f"task {name}: all demonstrated actions vary")


@pytest.mark.parametrize("fault", ["image", "discrete", "unbounded", "horizon", "raises"])
def test_a_task_nobody_could_demonstrate_is_refused_without_motion(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("reset", "step"):
        monkeypatch.setattr(FaultyTask, name, lambda self, *arguments, **options: pytest.fail("it moved"))
    with pytest.raises(MethodError, match="task Faulty"):
        require_supported(make(fault))
    require_supported(make())


@pytest.mark.parametrize("fault", ["no close", "no is_success"])
def test_nothing_is_printed_beside_a_refusal(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    name = make(fault)
    good = replace(demonstrate(2, seed=0), task=name)
    with pytest.raises(MethodError, match=r"close|is_success"):
        require_task(name, good)
    assert capfd.readouterr() == ("", "")


def test_the_gentle_check_only_takes_the_middle_action(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[np.ndarray] = []
    step = FaultyTask.step
    monkeypatch.setattr(FaultyTask, "step", lambda self, action: [taken.append(action.copy()), step(self, action)][1])
    assert require_task(make()) == []
    assert taken and not np.any(taken)
    for fault, words in (("no is_success", "is_success"), ("old step", "five values"), ("unbounded", "finite")):
        with pytest.raises(MethodError, match=f"^task Faulty.*{words}"):
            require_task(make(fault))
