"""Rollouts of GPRIL: whole episodes side by side, independent of each other, and their exploration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from methods.env_group import SingleEnvs
from methods.gpril.rollout import WIDTH, collect_rollouts
from methods.policy import GaussianNetwork, PolicyShape
from tests.methods.worlds import TINY
from tests.tiny import TinySlot, demonstrate


def test_exploration_is_a_bias_held_for_some_steps_and_part_of_sigma() -> None:
    """Actions deviate from the policy's mean by a bias that persists; the recorded sigma is the total deviation."""
    torch.manual_seed(0)
    network = GaussianNetwork(PolicyShape.of(TINY), demonstrate(2, 0).statistics)
    network.set_sigma(0.011)
    deviations, spreads = {}, {}
    for exploration in (0.0, 0.3):
        rng, group = np.random.default_rng(0), SingleEnvs([TinySlot() for _ in range(10)])
        tens = [range(first, first + 10) for first in range(0, 60, 10)]
        episodes = [
            e for ten in tens for e in collect_rollouts(group, network, ten, rng, exploration, exploration_steps=10.0)
        ]
        deviations[exploration] = [episode.actions - episode.means for episode in episodes]
        spreads[exploration] = float(np.mean([episode.sigmas.mean() for episode in episodes]))
    assert np.concatenate(deviations[0.0]).std() == pytest.approx(0.011, rel=0.1)
    assert spreads[0.0] == pytest.approx(0.011, rel=0.1)
    assert np.concatenate(deviations[0.3]).std() == pytest.approx(spreads[0.3], rel=0.1)
    now, later = (np.concatenate([part[s] for part in deviations[0.3]]) for s in (np.s_[:-10], np.s_[10:]))
    assert np.mean(now * later) / np.mean(now**2) == pytest.approx(0.9**10, abs=0.15)


def test_rollouts_are_whole_episodes_of_the_policy() -> None:
    """Replaying the actions gives the observations; mean and sigma are the policy's; any number of episodes."""
    torch.manual_seed(0)
    network = GaussianNetwork(PolicyShape.of(TINY), demonstrate(2, 0).statistics)
    network.set_sigma(0.05)
    group = SingleEnvs([TinySlot() for _ in range(WIDTH)])
    for seeds in (list(range(WIDTH)), [7, 3]):
        episodes = collect_rollouts(group, network, seeds, np.random.default_rng(0))
        assert len(episodes) == len(seeds)
        for seed, episode in zip(seeds, episodes, strict=True):
            env = TinySlot()
            observation, _ = env.reset(seed=seed)
            ended = False
            for step, action in enumerate(episode.actions):
                assert not ended and np.array_equal(episode.observations[step], observation)
                observation, _, terminated, truncated, _ = env.step(action)
                ended = terminated or truncated
            assert ended and np.array_equal(episode.observations[-1], observation)
            with torch.no_grad():
                mean, sigma = network(torch.from_numpy(episode.observations[:-1]))
            np.testing.assert_allclose(episode.means, mean, atol=1e-6)
            np.testing.assert_allclose(episode.sigmas, sigma, atol=1e-6)
    assert np.std([e.actions[0] - e.means[0] for e in episodes]) > 0.0


def test_an_episode_does_not_depend_on_when_the_others_end() -> None:
    class Short(TinySlot):
        """Ends after its first step."""

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            observation, reward, *_ = super().step(action)
            return observation, reward, True, False, self._info("workspace")

    network = GaussianNetwork(PolicyShape.of(TINY), demonstrate(2, 0).statistics)
    groups = [SingleEnvs([kind() for kind in kinds]) for kinds in ([TinySlot] * 3, [TinySlot, Short, Short])]
    one, two = (collect_rollouts(group, network, [0, 1, 2], np.random.default_rng(0)) for group in groups)
    np.testing.assert_array_equal(one[0].observations, two[0].observations)
    assert [len(episode.actions) for episode in two[1:]] == [1, 1]
