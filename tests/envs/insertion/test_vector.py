"""Environments stepped side by side do what single ones do, to the last bit."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import envs
from envs.demonstrations import load_task
from envs.insertion.base import make_env
from envs.insertion.clip import ClipInsertionEnv, ClipParameters
from envs.insertion.errors import ActionError, SimulationUnstable
from envs.insertion.peg import PegParameters
from envs.insertion.vector import InsertionVector, PegInsertionVectorEnv

both = pytest.mark.parametrize("task", list(envs.WITH_ACTIONS))
every = pytest.mark.parametrize("task", list(envs.TASKS))
COUNT = 5
OLD = not hasattr(gymnasium.vector, "AutoresetMode")  # Gymnasium 0.29


def actions_of(task: str, episode: int) -> np.ndarray:
    """What the demonstrator did in an episode [T, 7], and then some pushing and turning aside, which ends the rest."""
    shipped = load_task(envs.TASKS[task])
    shown = shipped.actions[shipped.episode == episode]
    return np.concatenate([shown, np.random.default_rng(episode).uniform(0.2, 1.0, (600, 7))])


def seed_of(task: str, episode: int) -> int:
    return load_task(envs.TASKS[task]).origin["reset_seeds"][episode]


def alone(task: str, episode: int) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Observations of an episode of a single environment, and its last info."""
    env = make_env(task)
    observation, info = env.reset(seed=seed_of(task, episode))
    observations = [observation]
    for action in actions_of(task, episode)[episode % 2 :]:  # every second one acts too early, and may fail
        observation, _, _, _, info = env.step(action)
        observations.append(observation)
        if info["end_reason"]:
            break
    return observations, info


@both
@pytest.mark.parametrize("threads", [1, 3])
def test_each_row_is_a_single_environment(task: str, threads: int) -> None:
    vector = InsertionVector(make_env(task), COUNT, threads)
    plans = [actions_of(task, row)[row % 2 :] for row in range(COUNT)]
    observations = vector.reset([seed_of(task, row) for row in range(COUNT)])
    seen = [[observation] for observation in observations]
    running = list(range(COUNT))
    while running:
        found, reasons = vector.step(np.array([plans[row][len(seen[row]) - 1] for row in running]), running)
        for row, observation in zip(running, found, strict=True):
            seen[row].append(observation)
        running = [row for row, reason in zip(running, reasons, strict=True) if not reason]
    for row in range(COUNT):
        wanted, info = alone(task, row)
        np.testing.assert_array_equal(seen[row], wanted)
        assert vector.environments[row].info() == info
    assert {environment.info()["end_reason"] for environment in vector.environments} >= {"success"}
    vector.close()


@every
def test_the_vector_environment_agrees_with_gymnasium_s_own(task: str) -> None:
    if OLD:
        mine: Any = gymnasium.make_vec(envs.TASKS[task], num_envs=COUNT, vectorization_mode="custom")
        theirs: Any = SyncVectorEnv([lambda: gymnasium.make(envs.TASKS[task])] * COUNT)
    else:
        mode = gymnasium.vector.AutoresetMode.SAME_STEP
        mine = gymnasium.make_vec(envs.TASKS[task], num_envs=COUNT)
        theirs = SyncVectorEnv([lambda: gymnasium.make(envs.TASKS[task])] * COUNT, autoreset_mode=mode)
        assert mine.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == mode
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space", "num_envs"):
        assert getattr(mine, name) == getattr(theirs, name), name
    rng = np.random.default_rng(0)
    ended = 0
    for one, other in zip(mine.reset(seed=3), theirs.reset(seed=3), strict=True):
        assert_same(one, other)
    for _ in range(60):
        actions = rng.uniform(-0.3, 1.0, (COUNT, 7)).astype(np.float32)
        results = [env.step(actions) for env in (mine, theirs)]
        ended += results[0][2].sum()
        if OLD:  # Gymnasium 0.29 calls the last observation otherwise, and nests no infos
            results = [(*rest, {name: infos[name] for name in ("time", "_time")}) for *rest, infos in results]
        for one, other in zip(*results, strict=True):
            assert_same(one, other)
    assert ended > COUNT, "episodes must end and be followed by others"
    first = [env.reset(seed=[7] * COUNT)[0] for env in (mine, theirs)]
    np.testing.assert_array_equal(*first)
    mine.close()


def test_a_vector_environment_closes_once_and_takes_threads_and_parameters() -> None:
    env = PegInsertionVectorEnv(2, threads=2, parameters=PegParameters(clearance=0.003))
    assert {one.parameters.clearance for one in env.vector.environments} == {0.003}
    env.close()
    env.close()
    assert env.closed


def assert_same(one: Any, other: Any) -> None:
    """Equal arrays of equal types, in dictionaries too."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        if one.dtype == object:
            for a, b in zip(one, other, strict=True):
                assert_same(a, b)
        else:
            np.testing.assert_array_equal(one, other)
    else:
        assert one == other


@both
def test_a_state_that_is_put_back_goes_on_with_the_same_bits(task: str) -> None:
    """In another vector, in the middle of contact, and past the end of the episode."""
    vector, other = InsertionVector(make_env(task), 3), InsertionVector(make_env(task), 3)
    plans = [actions_of(task, row) for row in range(3)]
    vector.reset([seed_of(task, row) for row in range(3)])
    other.reset([1, 2, 3])
    for step in range(30):
        vector.step(np.array([plan[step] for plan in plans]))
    other.set_state(copy.deepcopy(vector.get_state()))
    running, step = [0, 1, 2], 30
    while running:
        actions = np.array([plans[row][step] for row in running])
        (one, reasons), (two, again) = vector.step(actions, running), other.step(actions, running)
        np.testing.assert_array_equal(one, two)
        assert reasons == again
        running, step = [row for row, reason in zip(running, reasons, strict=True) if not reason], step + 1
    with pytest.raises(ActionError, match="has ended"):
        other.step(np.zeros((3, 7)))
    np.testing.assert_array_equal(vector.reset([None] * 3), other.reset([None] * 3))


def test_a_single_environment_s_state_can_be_put_back_too() -> None:
    env, other = make_env("peg"), make_env("peg")
    env.reset(seed=4)
    for _ in range(3):
        env.step(np.full(7, 0.1))
    other.set_state(env.get_state())
    for one, two in zip(env.step(np.full(7, -0.1)), other.step(np.full(7, -0.1)), strict=True):
        assert_same(one, two)


def test_an_unstable_row_is_named_and_leaves_the_others_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings into the working folder
    vector, calm = InsertionVector(make_env("peg"), 3), InsertionVector(make_env("peg"), 3)
    for one in (vector, calm):
        one.reset([0, 1, 2])
    vector.environments[1].data.qvel[3] = np.nan
    found, reasons = vector.step(np.zeros((3, 7)))
    assert reasons == ["", "unstable", ""]
    np.testing.assert_array_equal(found[[0, 2]], calm.step(np.zeros((3, 7)))[0][[0, 2]])
    with pytest.raises(ActionError, match=r"has ended \(unstable\)"):
        vector.step(np.zeros((3, 7)))
    np.testing.assert_array_equal(vector.reset([5], [1])[0], make_env("peg").reset(seed=5)[0])


def test_gymnasium_s_vector_environment_raises_where_a_single_one_does(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = PegInsertionVectorEnv(2)
    env.reset(seed=0)
    env.vector.environments[1].data.qvel[3] = 1e12
    with pytest.raises(SimulationUnstable, match=r"unstable 0\.1 s"):
        env.step(np.zeros((2, 7)))


@pytest.mark.parametrize("actions", [np.zeros((3, 7)), np.zeros((2, 6)), np.full((2, 7), np.nan)])
def test_bad_actions_are_refused_and_change_nothing(actions: np.ndarray) -> None:
    vector = InsertionVector(make_env("peg"), 2)
    with pytest.raises(ActionError, match="has not begun"):
        vector.step(np.zeros((2, 7)))
    vector.reset([0, 1])
    with pytest.raises(ActionError, match=r"\[2, 7\] finite numbers"):
        vector.step(actions)
    assert [environment.time for environment in vector.environments] == [0.0, 0.0]


@pytest.mark.parametrize(("count", "threads"), [(0, 1), (2, 0)])
def test_sizes_below_one_are_refused(count: int, threads: int) -> None:
    with pytest.raises(ValueError, match="at least one is needed"):
        InsertionVector(make_env("peg"), count, threads)


def test_options_reach_every_environment() -> None:
    vector = InsertionVector(make_env("peg", parameters=PegParameters(clearance=0.003)), 2)
    assert {environment.parameters.clearance for environment in vector.environments} == {0.003}
    vector.reset([0, 1], options={"pan": 0.2, "tilt": 0.0})
    orientations = [environment.socket_rotation() for environment in vector.environments]
    np.testing.assert_array_equal(*orientations)
    clip = ClipInsertionEnv(ClipParameters(rigid_prongs=True))
    assert clip.sibling().model is clip.model and clip.sibling().data is not clip.data
