"""Tasks in files and modules of the user: found, refused with the real reason, and examined before anything trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest

from envs import tasks
from envs.demonstrations import load, save
from tests.benchmarks.conftest import Bench

REGISTER = "\nimport gymnasium\nfrom tests.tiny import TinySlot\ngymnasium.register('OwnSlot-v0', {entry})\n"
GOOD = REGISTER.format(entry="lambda **options: TinySlot(**options)")
BAD_TASKS = {
    "missing module": ("import robosuite_not_here", "ModuleNotFoundError: No module named 'robosuite_not_here'"),
    "syntax error": ("def f(:", "SyntaxError: invalid syntax, line 1"),
    "exception": ("raise RuntimeError('no licence\\nsecond line')", "RuntimeError: no licence"),
    "cancelled": ("import asyncio\nraise asyncio.CancelledError('no licence')", "CancelledError: no licence"),
    "cancelled constructor": (
        "import asyncio\ndef make():\n    raise asyncio.CancelledError('no licence')\n" + REGISTER.format(entry="make"),
        "CancelledError: no licence",
    ),
    "exit": ("import sys\nsys.exit('usage: x')", "SystemExit: usage: x"),
    "nothing registered": ("x = 1", "it registers no new task"),
    "another id": (GOOD.replace("OwnSlot", "OtherSlot"), "did you mean 'OtherSlot-v0'"),
    "an id like none of its own": (GOOD.replace("OwnSlot", "Xyz"), "has been imported; it registers Xyz-v0\n"),
    "constructor": (REGISTER.format(entry="lambda **options: open('/nowhere/display')"), "FileNotFoundError"),
    "no environment": (REGISTER.format(entry="dict"), "cannot be made"),
    "no success": (
        "class Quiet(__import__('tests.tiny').tiny.TinySlot):\n"
        "    def step(self, action):\n        return (*super().step(action)[:4], {})\n"
        + REGISTER.format(entry="Quiet, max_episode_steps=30"),
        "is_success",
    ),
}


@pytest.fixture(autouse=True)
def _forget_the_task() -> Iterator[None]:
    yield
    gymnasium.registry.pop("OwnSlot-v0", None)


def own_demonstrations(bench: Bench) -> str:
    (given,) = (argument for argument in bench.arguments if argument.startswith("--demonstrations="))
    path = bench.folder / "own.npz"
    save(dataclasses.replace(load(given.removeprefix("--demonstrations=")), task="OwnSlot-v0"), path)
    return f"--demonstrations={path}"


def test_a_task_may_live_in_a_file(bench: Bench) -> None:
    (bench.folder / "own_task.py").write_text(GOOD)
    task = f"--tasks={bench.folder / 'own_task.py'}:OwnSlot-v0"
    plan = bench.run(task, own_demonstrations(bench), "--seeds=1", "--dry-run")
    assert "OwnSlot-v0" in plan.out and "own_task.py" not in plan.out, "in a few columns"
    outcome = bench.run(task, own_demonstrations(bench), "--seeds=1")
    assert outcome.code == 0, outcome.err
    (record,) = bench.records()
    assert record.status == "ok", record.error
    again = bench.run(task, own_demonstrations(bench), "--seeds=1")
    assert "nothing to do: 1 trial done already in" in again.err


@pytest.mark.parametrize("case", BAD_TASKS)
def test_a_task_that_cannot_be_had_is_refused_with_the_reason(bench: Bench, case: str) -> None:
    code, said = BAD_TASKS[case]
    name = f"own_task_{list(BAD_TASKS).index(case)}.py"
    (bench.folder / name).write_text(code)
    outcome = bench.run(f"--tasks={bench.folder / name}:OwnSlot-v0", own_demonstrations(bench))
    assert outcome.code == 2 and outcome.err.startswith("error: ") and outcome.err.count("\n") == 1, outcome.err
    assert said in outcome.err
    assert not bench.results.exists()


def test_the_nearest_id_is_one_of_the_file_however_often_it_was_imported(tmp_path: Path) -> None:
    """Hopper-v5 is nearest among all; a file may register what another module makes."""
    (tmp_path / "hop_task.py").write_text(REGISTER.format(entry="'tests.tiny:TinySlot'").replace("OwnSlot", "Hops"))
    for _ in range(2):
        with pytest.raises(tasks.TaskError, match=r"did you mean 'Hops-v0'\? it registers Hops-v0$"):
            tasks.find(f"{tmp_path / 'hop_task.py'}:Hoper-v5")
    gymnasium.registry.pop("Hops-v0")


@pytest.mark.parametrize("end", ["", ":"])
def test_a_file_without_an_id_lists_those_it_registers(bench: Bench, end: str) -> None:
    path, one, other = bench.folder / f"two_tasks{len(end)}.py", f"One{len(end)}-v0", f"Two{len(end)}-v0"
    path.write_text(GOOD.replace("OwnSlot-v0", one) + GOOD.replace("OwnSlot-v0", other))
    outcome = bench.run(f"--tasks={path}{end}", own_demonstrations(bench))
    assert outcome.code == 2 and outcome.err.endswith(f"names no task; write {path}:{one} or {path}:{other}\n")
    nothing = bench.folder / f"no_tasks{len(end)}.py"
    nothing.write_text("x = 1")
    outcome = bench.run(f"--tasks={nothing}{end}", own_demonstrations(bench))
    assert outcome.code == 2 and "with the Id of a task that it registers" in outcome.err


@pytest.mark.parametrize(
    ("spaces", "said"),
    [
        ("action_space = gymnasium.spaces.Discrete(4)", "actions must be a one-dimensional Box"),
        ("observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3))", "flatten it"),
        ("action_space = gymnasium.spaces.Box(-1e30, 1e30, (2,))", "finite"),
        ("horizon = 0", "time limit"),
        ("dt = 0.1", "has no shipped demonstrations; give some"),
    ],
)
def test_what_is_wrong_with_a_task_is_said_before_demonstrations_are_asked_for(
    bench: Bench, spaces: str, said: str
) -> None:
    """Nobody should record demonstrations of a task that no method can learn."""
    code = GOOD.replace("entry", "").replace("lambda **options: TinySlot(**options)", "Own")
    own = f"class Own(TinySlot):\n    def __init__(self):\n        super().__init__()\n        self.{spaces}\n"
    name = f"unsupported_{abs(hash(spaces))}.py"
    (bench.folder / name).write_text(code.replace("gymnasium.register", f"{own}gymnasium.register"))
    given = tuple(argument for argument in bench.arguments if not argument.startswith("--demonstrations="))
    without = dataclasses.replace(bench, arguments=given)
    outcome = without.run(f"--tasks={bench.folder / name}:OwnSlot-v0")
    assert outcome.code == 2 and said in outcome.err and outcome.err.count("\n") == 1, outcome.err
