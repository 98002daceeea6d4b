"""An environment that is put back to a saved state goes on bit by bit, from the middle of a contact too."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import TASKS
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv, make_env
from methods.checkpointing import can_be_captured, environment_state, pack, set_environment_state, unpack

STEPS = 50


def in_contact(task: str, seed: int) -> InsertionEnv:
    """An environment in which the part touches the inside of the socket."""
    env = make_env(task)
    _, info = env.reset(seed=seed)
    expert = Expert(env, ExpertSettings(), np.random.default_rng(seed))
    while info["depth"] < 0.004:
        *_, info = env.step(expert.act())
    while not env.data.ncon:  # to the side, where the expert would go straight in
        *_, info = env.step(np.array([0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert not info["end_reason"]
    return env


def go_on(env: gymnasium.Env, actions: np.ndarray) -> list[Any]:
    """What an environment answers; episodes that end are followed by others, so its generator counts too."""
    outcomes: list[Any] = []
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        outcomes.append((observation.tolist(), reward, terminated, truncated, info))
        if terminated or truncated:
            outcomes.append(env.reset()[0].tolist())
    return outcomes


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(2))
def test_a_contact_goes_on_bit_by_bit(task: str, seed: int) -> None:
    env = in_contact(task, seed)
    state = pack(env.get_state())
    actions = np.random.default_rng(seed).uniform(-0.5, 0.5, (STEPS, 7))
    outcomes = go_on(env, actions)

    other = make_env(task)
    other.reset(seed=99)
    go_on(other, actions[:7])
    other.set_state(unpack(*state))
    assert go_on(other, actions) == outcomes


def test_the_solvers_warm_start_is_part_of_the_state() -> None:
    """Without it the first steps already round differently, so the test above could fail."""
    env = in_contact("clip", 0)
    state = env.get_state()
    actions = np.full((STEPS, 7), 0.1)
    outcomes = go_on(env, actions)
    env.set_state(state)
    env.data.qacc_warmstart[:] = 0.0
    assert go_on(env, actions) != outcomes


def test_what_a_state_is_made_of() -> None:
    env = make_env("clip")
    assert env.get_state()["_end_reason"] is None, "an environment that was never reset has a state as well"
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(7))
    other = make_env("clip")
    other.set_state(env.get_state())
    assert other.time == env.time and other.warnings() == env.warnings()
    np.testing.assert_array_equal(other.tip_position(), env.tip_position())
    np.testing.assert_array_equal(other.socket_rotation(), env.socket_rotation())


def test_gymnasiums_own_wrappers_are_captured_with_the_environment() -> None:
    gymnasium.register("Limited-v0", entry_point="methods.conformance.point_task:PointTask", max_episode_steps=5)
    try:
        env, other = (gymnasium.make("Limited-v0", disable_env_checker=True) for _ in range(2))
    finally:
        del gymnasium.registry["Limited-v0"]
    assert can_be_captured(env)
    env.reset(seed=1)
    for _ in range(3):
        env.step(np.zeros(2))
    set_environment_state(other, environment_state(env))
    assert go_on(other, np.zeros((9, 2))) == go_on(env, np.zeros((9, 2)))
    assert not can_be_captured(gymnasium.make("Pendulum-v1"))
