"""Whole episodes side by side: the same ones as alone, and counted."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from benchmarks.trial.environments import make_group
from envs.demonstrations import Demonstrations, load_task
from envs.insertion.vector import InsertionVector
from methods.counting import CountedEnv, CountedGroup, Counter
from methods.env_group import end_reason
from methods.interface import Budget, BudgetExceeded, Diverged, EnvGroup, MethodError, Task
from methods.task_boundary import describe_task
from tests import tiny


def task_of(name: str) -> tuple[Task, Demonstrations]:
    demonstrations = tiny.demonstrate(episodes=3, seed=0) if name == tiny.ID else load_task(name)
    return describe_task(name, demonstrations), demonstrations


@pytest.mark.parametrize("name", [tiny.ID, "PegInsertion-v0"])
def test_an_episode_does_not_depend_on_its_neighbours(name: str) -> None:
    task, demonstrations = task_of(name)
    group = make_group(task, 3)
    assert isinstance(group, InsertionVector) == (name != tiny.ID)
    assert demonstrations.actions is not None
    plans = [demonstrations.actions[demonstrations.episode == row][:20] for row in range(3)]
    observations = group.reset([4, 5], [0, 2])
    assert observations.dtype == np.float32
    for row, seed, first in ((0, 4, observations[0]), (2, 5, observations[1])):
        env = gymnasium.make(name)
        np.testing.assert_array_equal(env.reset(seed=seed)[0], first)
        for action in plans[row][:5]:
            found, reasons = group.step(action[None], [row])
            observation, *_ = env.step(action)
            np.testing.assert_array_equal(found[0], observation)
            assert reasons == [""]
    group.close()


@pytest.mark.parametrize("name", [tiny.ID, "PegInsertion-v0"])
def test_every_episode_ends_and_says_how(name: str) -> None:
    task, _ = task_of(name)
    group = make_group(task, 2)
    group.reset([0, 1], [0, 1])
    away = np.ones((1, task.action_size), np.float32)
    still = np.zeros((1, task.action_size), np.float32)
    ends = []
    for row, action in enumerate((away, still)):
        reason = ""
        for _ in range(task.horizon):
            _, (reason,) = group.step(action, [row])
            if reason:
                break
        ends.append(reason)
    assert ends == ["workspace", "timeout"]


def test_the_reason_is_the_task_s_own_word_where_it_has_one() -> None:
    assert end_reason({}, False, False) == ""
    assert end_reason({"is_success": True}, True, False) == "success"
    assert end_reason({"is_success": False, "end_reason": "broken"}, True, False) == "broken"
    assert end_reason({"is_success": False}, True, False) == "workspace"
    assert end_reason({"is_success": False}, False, True) == "timeout"
    with pytest.raises(MethodError, match="is_success"):
        end_reason({}, True, False)


def test_steps_and_episodes_of_a_group_are_counted_and_the_budget_holds() -> None:
    task, _ = task_of("PegInsertion-v0")
    counter = Counter(Budget(41, 0))
    group: EnvGroup = CountedGroup(make_group(task, 2), counter)
    group.reset([0, 1], [0, 1])
    running = [0, 1]
    while running:
        _, reasons = group.step(np.tile([1.0, 0, 0, 0, 0, 0, 0], (len(running), 1)), running)
        running = [row for row, reason in zip(running, reasons, strict=True) if not reason]
    assert counter.episodes == 2 and 2 < counter.steps < 40
    group.reset([0, 1], [0, 1])
    while counter.steps + 2 <= 41:
        group.step(np.zeros((2, 7)), [0, 1])
    spent = counter.steps
    with pytest.raises(BudgetExceeded, match="41 environment steps"):
        group.step(np.zeros((2, 7)), [0, 1])
    assert counter.steps == spent


def test_episodes_that_a_reset_cuts_off_count_but_not_a_second_reset() -> None:
    task, _ = task_of("PegInsertion-v0")
    counter = Counter(Budget(100, 0))
    group: EnvGroup = CountedGroup(make_group(task, 2), counter)
    group.reset([0, 1], [0, 1])
    group.reset([0, 1], [0, 1])
    assert counter.episodes == 0
    group.step(np.zeros((1, 7)), [1])
    group.reset([2, 3], [0, 1])
    assert counter.episodes == 1
    group.step(np.zeros((1, 7)), [1])
    group.reset([4], [0])
    assert counter.episodes == 1
    single = CountedEnv(gymnasium.make(task.id), counter, 0, 0)
    single.reset()
    single.reset()
    assert counter.episodes == 1
    single.step(np.zeros(7))
    state = single.get_state()
    single.reset()
    assert counter.episodes == 2
    single.set_state(state)
    single.reset()
    assert counter.episodes == 3
    single.close()


def test_a_group_that_is_trained_in_stops_where_numbers_are_not_finite(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings into the working folder
    task, _ = task_of("PegInsertion-v0")
    inner, counter = make_group(task, 2), Counter(Budget(100, 0))
    assert isinstance(inner, InsertionVector)
    group: EnvGroup = CountedGroup(inner, counter)
    group.reset([0, 1], [0, 1])
    with pytest.raises(Diverged, match="action in environment step 1"):
        group.step(np.full((2, 7), np.nan), [0, 1])
    inner.environments[1].data.qvel[3] = np.nan
    with pytest.raises(Diverged, match="unstable after environment step 0"):
        group.step(np.zeros((2, 7)), [0, 1])
