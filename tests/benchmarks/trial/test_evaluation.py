"""The suite's own roll-outs: fixed seeds, no influence of one on another."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import envs
from benchmarks.trial.environments import make_environment
from benchmarks.trial.evaluation import WIDTH, Evaluator, rollout_of
from envs.demonstrations import load_task
from envs.insertion.errors import SimulationUnstable
from methods.env_group import Episode
from methods.interface import Diverged, MethodError, Policy
from methods.task_boundary import describe_task
from tests import tiny
from tests.benchmarks.fakes import TASK, Linear

DEMONSTRATIONS = tiny.demonstrate(episodes=4, seed=0)
TASK_SHAPE = describe_task(TASK, DEMONSTRATIONS)


def clone() -> Linear:
    observations, actions = DEMONSTRATIONS.pairs()
    return Linear(np.linalg.lstsq(np.column_stack([observations, np.ones(len(actions))]), actions, rcond=None)[0])


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_roll_out_depends_on_its_policy_and_seed_alone(deterministic: bool) -> None:
    evaluator = Evaluator(TASK_SHAPE)
    many = evaluator.evaluate(clone(), WIDTH + 7, 100, deterministic)
    assert [rollout.seed for rollout in many] == list(range(100, 107 + WIDTH))
    assert evaluator.evaluate(clone(), 5, 100, deterministic) == many[:5]
    assert Evaluator(TASK_SHAPE).evaluate(clone(), WIDTH + 7, 100, deterministic) == many
    assert evaluator.evaluate(clone(), 7, 100 + WIDTH, deterministic) == many[WIDTH:]
    assert {rollout.end for rollout in many} == {"success", "timeout"}


def test_roll_outs_are_those_of_the_environment_stepped_alone() -> None:
    policy = clone()
    for rollout in Evaluator(TASK_SHAPE).evaluate(policy, 6, 40, deterministic=True):
        environment = tiny.TinySlot()
        observation, info = environment.reset(seed=rollout.seed)
        steps, ended = 0, False
        while not ended:
            action = policy.act(observation[None], True, np.random.default_rng(0))[0]
            observation, _, terminated, truncated, info = environment.step(action)
            steps, ended = steps + 1, terminated or truncated
        assert rollout.seconds == round(steps * 0.1, 6)
        assert (rollout.success, rollout.end) == (info["is_success"], info["end_reason"])


def test_sampled_actions_differ_from_mean_ones() -> None:
    evaluator = Evaluator(TASK_SHAPE)
    sampled, mean = (evaluator.evaluate(clone(), 10, 0, deterministic) for deterministic in (False, True))
    assert sampled != mean


def test_actions_that_are_not_finite_are_divergence() -> None:
    with pytest.raises(Diverged):
        Evaluator(TASK_SHAPE).evaluate(Linear(np.full((4, 2), np.nan)), 1, 0, deterministic=True)


class Odd(tiny.TinySlot):
    """Breaks after ten steps, or does not say how an episode ended."""

    silent = False

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self._steps == 10 and not self.silent:
            raise SimulationUnstable("it exploded", info)
        return observation, reward, terminated, truncated, {}


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        gymnasium.registry, tiny.ID, gymnasium.envs.registration.EnvSpec(tiny.ID, entry_point=Odd, order_enforce=False)
    )


def still() -> Policy:
    return Linear(np.zeros((4, 2)))


def test_an_unstable_simulation_is_a_roll_out_that_failed(odd: None) -> None:
    rollouts = Evaluator(TASK_SHAPE).evaluate(still(), 2, 0, deterministic=True)
    assert [(rollout.success, rollout.end, rollout.seconds) for rollout in rollouts] == [(False, "unstable", 1.0)] * 2


def test_a_task_must_say_whether_it_succeeded(odd: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "silent", True)
    with pytest.raises(MethodError, match="is_success"):
        Evaluator(TASK_SHAPE).evaluate(still(), 1, 0, deterministic=True)


def test_misses_and_retries_are_those_of_the_suites_own_tasks() -> None:
    (rollout, *_) = Evaluator(TASK_SHAPE).evaluate(clone(), 1, 100, deterministic=True)
    assert (rollout.misses, rollout.retries) == (None, None)
    demonstrations = load_task("peg")
    environment = make_environment(describe_task(envs.TASKS["peg"], demonstrations))
    observations, actions = demonstrations.trajectories()[0]
    assert actions is not None
    there_and_back = np.concatenate([observations, observations[::-1], observations])
    seen = rollout_of(Episode(7, there_and_back, there_and_back[1:, :7], "success"), 0.1, environment)
    assert (seen.misses, seen.retries, seen.success) == (1, 1, True)
