"""Groups of environments behind stable-baselines3's interface say what its own `DummyVecEnv` says of single ones."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import envs
from envs.insertion.base import make_env
from envs.insertion.errors import SimulationUnstable
from envs.insertion.vector import InsertionVector
from envs.sb3 import GroupVecEnv

COUNT = 4


def together(task: str, seeds: list[int | None]) -> GroupVecEnv:
    return GroupVecEnv(InsertionVector(make_env(task), len(seeds)), seeds)


def pair(task: str) -> tuple[GroupVecEnv, DummyVecEnv]:
    return together(task, [None] * COUNT), DummyVecEnv([lambda: gymnasium.make(envs.TASKS[task])] * COUNT)


@pytest.mark.parametrize("task", list(envs.TASKS))
def test_it_steps_as_sb3_s_own_does(task: str) -> None:
    mine, theirs = pair(task)
    assert (mine.observation_space, mine.action_space) == (theirs.observation_space, theirs.action_space)
    rng = np.random.default_rng(0)
    for venv in (mine, theirs):
        venv.seed(5)
    np.testing.assert_array_equal(mine.reset(), theirs.reset())
    ended = 0
    for _ in range(60):
        actions = rng.uniform(-0.3, 1.0, (COUNT, 7)).astype(np.float32)
        (*one, infos), (*two, their_infos) = mine.step(actions), theirs.step(actions)
        for a, b in zip(one, two, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        for info, their_info, done in zip(infos, their_infos, one[2], strict=True):
            if done:
                np.testing.assert_array_equal(info.pop("terminal_observation"), their_info["terminal_observation"])
            assert info == ({name: their_info[name] for name in info} if done else {})
            assert set(info) == ({"TimeLimit.truncated", "is_success", "end_reason"} if done else set())
        ended += one[2].sum()
    assert ended > COUNT


def test_an_episode_that_is_cut_off_by_the_clock_is_said_to_be() -> None:
    venv = together("peg", [None] * 2)
    venv.reset()
    for _ in range(499):
        assert not venv.step(np.zeros((2, 7)))[2].any()
    _, rewards, dones, infos = venv.step(np.zeros((2, 7)))
    assert dones.all() and not rewards.any()
    assert [(info["TimeLimit.truncated"], info["end_reason"]) for info in infos] == [(True, "timeout")] * 2


def test_seeds_given_at_the_start_are_those_of_the_first_reset_only() -> None:
    venv = together("clip", [8, 3])
    first = venv.reset()
    np.testing.assert_array_equal(first, [make_env("clip").reset(seed=seed)[0] for seed in (8, 3)])
    assert (venv.reset() != first).any(axis=1).all()


def test_a_state_that_is_put_back_continues_with_the_same_bits() -> None:
    one, two = together("clip", [0, 1]), together("clip", [2, 3])
    actions = np.random.default_rng(1).uniform(-0.2, 0.9, (80, 2, 7))
    one.reset()
    for action in actions[:10]:
        one.step(action)
    two.set_state(one.get_state())
    dones = 0
    for action in actions[10:]:
        (a, *_), (b, _, done, _) = one.step(action), two.step(action)
        np.testing.assert_array_equal(a, b)
        dones += done.sum()
    assert dones, "also across resets"


def test_attributes_and_methods_of_the_environments_can_be_reached() -> None:
    mine, theirs = pair("peg")
    mine.reset(), theirs.reset()
    assert mine.get_attr("horizon") == theirs.get_attr("horizon") == [500] * COUNT
    assert mine.env_method("warnings", indices=[1, 2]) == [{}, {}]
    mine.set_attr("note", 3, indices=1)
    assert mine.get_attr("note", indices=[1]) == [3]
    assert mine.env_is_wrapped(gymnasium.Wrapper) == [False] * COUNT
    mine.close()


def test_an_unstable_simulation_is_raised(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings into the working folder
    venv = together("peg", [None] * 2)
    venv.reset()
    venv.group.environments[1].data.qvel[3] = np.nan
    with pytest.raises(SimulationUnstable, match="unstable"):
        venv.step(np.zeros((2, 7)))


def test_a_restored_state_has_used_the_first_seeds_as_the_saved_one_had() -> None:
    one, two = together("clip", [0, 1]), together("clip", [0, 1])
    one.reset()
    two.set_state(one.get_state())
    np.testing.assert_array_equal(one.reset(), two.reset())
    assert (together("clip", [0, 1]).reset() != two.reset()).any()
