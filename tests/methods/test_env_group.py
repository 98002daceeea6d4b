"""Lockstep rollouts: memory per episode, no influence of one row on another, nothing spoilt by policies in place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from methods.env_group import SingleEnvs, checked_actions, end_reason, roll_out
from methods.interface import Actor, Diverged, MethodError, Policy
from tests.tiny import TinySlot


class Unsaved(Policy):
    """For tests that save nothing."""

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Policy:
        raise NotImplementedError


class Chunks(Unsaved):
    """Chooses an action at an episode's start and every third step, and repeats it in between."""

    def actor(self, count: int) -> Actor:
        return ChunkActor(count)


class ChunkActor(Actor):
    def __init__(self, count: int) -> None:
        self.left, self.chunk = np.full(count, -1), np.zeros((count, 2), np.float32)
        self.started: list[list[int]] = []

    def start(self, rows: Sequence[int]) -> None:
        self.started.append(list(rows))
        self.left[list(rows)] = 0

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        rows = list(rows)
        assert (self.left[rows] >= 0).all(), "a row acts only after it was started"
        x, slot = observations[:, 0], observations[:, 2]
        fresh = np.stack([np.clip((slot - x) / 0.1, -1, 1), np.full(len(rows), -0.4)], axis=1)
        due = self.left[rows] == 0
        self.chunk[rows] = np.where(due[:, None], fresh, self.chunk[rows])
        self.left[rows] = np.where(due, 2, self.left[rows] - 1)
        return self.chunk[rows]


def group(count: int) -> SingleEnvs:
    return SingleEnvs([TinySlot() for _ in range(count)])


def run(policy: Policy, seeds: Sequence[int], width: int, deterministic: bool = True) -> list:
    rng = np.random.default_rng(0)
    return roll_out(group(width), policy, seeds, action_size=2, width=width, deterministic=deterministic, rng=rng)


def test_a_policy_with_memory_acts_in_each_episode_as_if_alone() -> None:
    together = run(Chunks(), range(10, 17), 9)
    for episode in together:
        env, actor = TinySlot(), ChunkActor(1)
        actor.start([0])
        observation, info = env.reset(seed=episode.seed)
        for step, action in enumerate(episode.actions):
            np.testing.assert_array_equal(episode.observations[step], observation)
            (own,) = actor.act(observation[None], [0], True, np.random.default_rng(0))
            np.testing.assert_array_equal(action, own)
            observation, _, terminated, truncated, info = env.step(action)
        assert (terminated or truncated) and info["end_reason"] == episode.end
        np.testing.assert_array_equal(episode.observations[-1], observation)
        assert len(episode.observations) == len(episode.actions) + 1
    assert len({len(episode.actions) for episode in together}) > 1
    assert [episode.seed for episode in together] == list(range(10, 17))


def test_one_policy_serves_several_actors_at_once() -> None:
    policy = Chunks()
    one, two = policy.actor(2), policy.actor(2)
    one.start([0, 1])
    with pytest.raises(AssertionError, match="only after it was started"):
        two.act(np.zeros((2, 3), np.float32), [0, 1], True, np.random.default_rng(0))


class InPlace(Unsaved):
    """Normalises its observations in place, and reuses the array it returns."""

    def __init__(self) -> None:
        self.out = np.zeros((5, 2), np.float32)
        self.seen: list[np.ndarray] = []

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        self.seen.append(observations.copy())
        self.out[:] = 0.0
        self.out[:, 1] = -0.3 - 0.1 * observations[:, 1]
        observations -= 5.0
        observations /= 1e-3
        return self.out


def test_a_policy_that_works_in_place_spoils_nothing() -> None:
    policy = InPlace()
    for episode in run(policy, [3, 4, 5], 5):
        env = TinySlot()
        np.testing.assert_array_equal(episode.observations[0], env.reset(seed=episode.seed)[0])
        for step, action in enumerate(episode.actions):
            assert action[1] == np.float32(-0.3 - 0.1 * episode.observations[step][1])
            np.testing.assert_array_equal(env.step(action)[0], episode.observations[step + 1])
    assert {len(seen) for seen in policy.seen} == {5}, "always all rows"
    for seen in policy.seen:
        np.testing.assert_array_equal(seen[3:], np.repeat(policy.seen[0][:1], 2, axis=0))


def test_steps_are_announced_from_the_reset_on() -> None:
    steps: list[int] = []
    rng = np.random.default_rng(0)
    more = {"action_size": 2, "width": 3, "deterministic": True, "rng": rng}
    episodes = roll_out(group(2), Chunks(), [0, 1], after_step=steps.append, **more)  # type: ignore[arg-type]
    assert steps == list(range(max(len(episode.actions) for episode in episodes) + 1))


@pytest.mark.parametrize("seeds", [[], [0, 1, 2]])
def test_there_are_as_many_episodes_as_rows_at_most(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{len(seeds)} seeds for an actor of 2 rows"):
        run(Chunks(), seeds, 2)


def test_actions_are_checked_and_copied() -> None:
    given = np.zeros((2, 2), np.float32)
    found = checked_actions(given, 2, 2)
    assert found.dtype == np.float32 and not np.shares_memory(found, given)
    assert checked_actions([[1, 2], [3, 4]], 2, 2).tolist() == [[1, 2], [3, 4]]  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"shape \(2,\), not \(2, 2\)"):
        checked_actions(np.zeros(2), 2, 2)
    for nonsense in (None, "up", [[1], [1, 2]], {}):
        with pytest.raises(MethodError, match="policy's actions"):
            checked_actions(nonsense, 2, 2)  # type: ignore[arg-type]
    for bad in (np.nan, np.inf, 1e39):
        with pytest.raises(Diverged, match="not finite"), np.errstate(over="ignore"):
            checked_actions(np.full((2, 2), bad), 2, 2)


def test_truncation_is_a_timeout_whatever_the_task_calls_it() -> None:
    """So that a learner may bootstrap there; how an episode failed by termination is the task's own word."""
    assert end_reason({"is_success": False, "end_reason": "late"}, False, True) == "timeout"
    assert end_reason({"is_success": False, "end_reason": "broken"}, True, True) == "broken"
    assert end_reason({"is_success": True, "end_reason": "late"}, False, True) == "success"
