"""The demonstrator that a method may query: counted, in fractions, of this trial's environments, and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.context import TrialContext
from benchmarks.trial.expert import demonstrator_of, has_expert
from envs import TASKS, WITH_ACTIONS
from envs.demonstrations import load_task
from methods.interface import BudgetExceeded, MethodError
from methods.task_boundary import describe_task
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import Linear
from tests.benchmarks.trial.test_checkpoint_files import new_snapshots

NAME = "Asked-v0"


class Steering(tiny.TinySlot):
    """The tiny task in other units, with a demonstrator that counts its own steps."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box(0.0, 0.02, (2,), np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(action / 0.01 - 1.0)

    def make_expert(self, rng: np.random.Generator) -> Helmsman:
        return Helmsman(self, rng)


class Helmsman:
    def __init__(self, env: Steering, rng: np.random.Generator) -> None:
        self.env, self.rng, self.steps, self.resets = env, rng, 0, 0

    def reset(self) -> None:
        self.steps, self.resets = 0, self.resets + 1

    def act(self) -> np.ndarray:
        self.steps += 1
        return np.array([0.001 * self.steps, 0.01 + 0.001 * self.rng.standard_normal()])

    def get_state(self) -> dict[str, Any]:
        return {"steps": self.steps, "resets": self.resets, "random": self.rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        self.steps, self.resets = state["steps"], state["resets"]
        self.rng.bit_generator.state = state["random"]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register(NAME, entry_point=Steering, disable_env_checker=True)
    yield
    del gymnasium.registry[NAME]


def new_context(folder: Path, queries: int = 5, task: str = NAME, snapshots: Snapshots | None = None) -> TrialContext:
    trial = examples.trial()
    budget = trial.budget.model_copy(update={"expert_queries": queries})
    shown = tiny.demonstrate(2, 1) if task == NAME else load_task(task).subset(2)
    if task == NAME:
        assert shown.actions is not None
        actions = (0.01 * (shown.actions + 1.0)).astype(np.float32)
        actions[shown.terminal] = 0.0
        shown = replace(shown, actions=actions)
    trial = trial.model_copy(update={"task": task, "budget": budget})
    return TrialContext(trial, shown, folder, [].append, snapshots or Snapshots(None, 0.0, trial, "", [].append))


def test_queries_are_counted_and_limited_and_in_fractions(tmp_path: Path) -> None:
    context = new_context(tmp_path, queries=3)
    env = context.make_env()
    env.reset()
    assert context.expert is not None
    found = [context.expert.action(env) for _ in range(3)]
    assert [action.dtype for action in found] == [np.float32] * 3 and found[0].shape == (2,)
    np.testing.assert_allclose([action[0] for action in found], [-0.9, -0.8, -0.7], atol=1e-6)
    assert context.expert_queries == context.usage().expert_queries == 3
    with pytest.raises(BudgetExceeded, match="budget of 3 expert queries"):
        context.expert.action(env)
    assert context.expert_queries == 3 and context.environment_steps == 0


def test_each_environment_has_a_demonstrator_that_forgets_with_its_episode(tmp_path: Path) -> None:
    context = new_context(tmp_path, queries=100)
    one, two = context.make_env(), context.make_env()
    expert = context.expert
    assert expert is not None
    one.reset(), two.reset()
    first = [expert.action(one), expert.action(two), expert.action(one)]
    np.testing.assert_allclose([action[0] for action in first], [-0.9, -0.9, -0.8], atol=1e-6)
    assert first[0][1] != first[1][1], "random streams of their own"
    one.reset()
    assert expert.action(one)[0] == pytest.approx(-0.9, abs=1e-6)
    assert expert.action(gymnasium.Wrapper(two))[0] == pytest.approx(-0.8, abs=1e-6)
    again = new_context(tmp_path, queries=100)
    env = again.make_env()
    env.reset()
    assert again.expert is not None
    np.testing.assert_array_equal(again.expert.action(env), first[0])


def test_it_is_asked_in_running_episodes_of_this_trial_only(tmp_path: Path) -> None:
    context = new_context(tmp_path)
    env = context.make_env()
    assert context.expert is not None
    with pytest.raises(MethodError, match="without a running episode"):
        context.expert.action(env)
    env.reset()
    while not any(env.step(np.ones(2))[2:4]):
        pass
    with pytest.raises(MethodError, match="without a running episode"):
        context.expert.action(env)
    foreign = new_context(tmp_path).make_env()
    foreign.reset()
    for other in (gymnasium.make(NAME), foreign):
        with pytest.raises(MethodError, match="made by context"):
            context.expert.action(other)
    assert context.expert_queries == 0


def test_without_a_budget_or_a_demonstrator_there_is_none(tmp_path: Path) -> None:
    assert new_context(tmp_path, queries=0).expert is None
    for name, task in TASKS.items():
        assert has_expert(describe_task(task, load_task(task))) == (name in WITH_ACTIONS), "a hand takes no actions"
    assert demonstrator_of(gymnasium.make(tiny.ID)) is None


@pytest.mark.parametrize("task", ["ClipInsertion-v0", "PegInsertion-v0"])
def test_the_demonstrator_of_a_shipped_task_inserts(tmp_path: Path, task: str) -> None:
    context = new_context(tmp_path, queries=500, task=task)
    env = context.make_env()
    env.reset(seed=3)
    assert context.expert is not None
    ended, info = False, {"is_success": False}
    while not ended:
        action = context.expert.action(env)
        assert np.abs(action).max() <= 1.0
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    assert info["is_success"] and context.expert_queries == context.environment_steps


@pytest.mark.parametrize("task", [NAME, "ClipInsertion-v0"])
def test_a_resumed_trial_gets_the_same_answers(tmp_path: Path, task: str) -> None:
    def walk(context: TrialContext, env: gymnasium.Env, steps: int) -> list[bytes]:
        assert context.expert is not None
        found = []
        for _ in range(steps):
            found.append(context.expert.action(env))
            env.step(found[-1])
        return [action.tobytes() for action in found]

    (tmp_path / "kept").mkdir()
    size = {NAME: (4, 2), "ClipInsertion-v0": (29, 7)}[task]
    context = new_context(tmp_path, 100, task, new_snapshots(tmp_path / "kept"))
    context.make_env().close()
    env = context.make_env()
    env.reset()
    walk(context, env, 7)
    context.checkpoint(Linear(np.zeros(size)), 0.5, 1, dict)
    straight = walk(context, env, 5)

    again = new_context(tmp_path, 100, task, new_snapshots(tmp_path / "kept"))
    other = again.make_env()
    assert again.resume() == {}
    assert again.expert_queries == 7
    assert walk(again, other, 5) == straight


def test_a_demonstrator_that_cannot_be_saved_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Helmsman, "get_state")
    context = new_context(tmp_path, snapshots=new_snapshots(tmp_path))
    env = context.make_env()
    env.reset()
    assert context.expert is not None
    context.expert.action(env)
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.unsaved() == f"the expert of {NAME} has no get_state and set_state"


@pytest.mark.parametrize("answer", [np.zeros(3), np.full(2, np.nan), 1.0])
def test_an_answer_that_is_no_action_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(Helmsman, "act", lambda self: answer)
    context = new_context(tmp_path)
    env = context.make_env()
    env.reset()
    assert context.expert is not None
    with pytest.raises(MethodError, match=f"the expert of {NAME} gave the action"):
        context.expert.action(env)
