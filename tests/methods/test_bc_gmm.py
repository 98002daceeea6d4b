"""Mixtures: the density against PyTorch's, how actions are drawn, and two ways round an obstacle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from envs.demonstrations import Demonstrations
from methods import registry
from methods.bc_gmm import BcGmm, Mixture, MixtureHead, Settings
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate


def some_mixture(n: int) -> Mixture:
    torch.manual_seed(0)
    with torch.no_grad():
        return MixtureHead(6, 3, components=4, smallest_sigma=0.05)(torch.randn(n, 6))


def test_log_densities_are_those_of_torch() -> None:
    mixture, actions = some_mixture(50), torch.rand(50, 3)
    components = Independent(Normal(mixture.means, mixture.sigmas), 1)
    reference = MixtureSameFamily(Categorical(logits=mixture.logits), components)
    torch.testing.assert_close(mixture.log_prob(actions), reference.log_prob(actions))
    assert mixture.sigmas.min() > 0.05 and mixture.means.abs().max() < 1.0
    with torch.no_grad():  # means stay in the action range whatever the features are
        far = MixtureHead(6, 3, components=4, smallest_sigma=0.05)(100.0 * torch.randn(50, 6))
    assert 0.9 < far.means.abs().max() <= 1.0


def test_components_are_drawn_by_weight_and_deterministic_actions_are_the_mean() -> None:
    n = 20_000
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(n, 3)
    means = torch.tensor([[-0.5], [0.0], [0.5]]).expand(n, 3, 1)
    mixture = Mixture(logits, means, torch.full((n, 3, 1), 0.1))
    plain = mixture.act(False, False, np.random.default_rng(0))
    np.testing.assert_allclose([(plain == value).mean() for value in (-0.5, 0.0, 0.5)], [0.2, 0.5, 0.3], atol=0.015)
    noisy = mixture.act(False, True, np.random.default_rng(0))
    assert (noisy - plain).std() == pytest.approx(0.1, rel=0.03)
    mean = mixture.act(True, True, np.random.default_rng(0))
    np.testing.assert_allclose(mean, 0.05, atol=1e-6)


@pytest.mark.parametrize("name", ["bc-gmm", "bc-rnn"])
def test_two_ways_stay_two_ways(tmp_path: Path, name: str) -> None:
    """Where half the demonstrations turn left and half turn right, no action lies between."""
    rng = np.random.default_rng(0)
    episodes, length = 300, 4
    side = np.repeat(rng.choice([-0.5, 0.5], episodes), length)
    time_step = np.tile(np.arange(length, dtype=np.int32), episodes)
    terminal = time_step == length - 1
    actions = np.column_stack([side, 0.3 * side]).astype(np.float32)
    actions[terminal] = 0.0
    observations = rng.normal(size=(episodes * length, 3)).astype(np.float32)
    episode = np.repeat(np.arange(episodes, dtype=np.int32), length)
    data = Demonstrations(observations, actions, episode, time_step, terminal, dt=0.1, task="fork", origin={})
    method = registry.resolve(name)
    settings = method.Settings(hidden=32 if name == "bc-rnn" else (32,), components=2, learning_rate=5e-3)
    actor = method(settings).fit(data, tiny_context(tmp_path, updates=300)).actor(200)
    actor.start(range(200))
    sampled = actor.act(rng.normal(size=(200, 3)).astype(np.float32), range(200), False, rng)[:, 0]
    assert np.abs(np.abs(sampled) - 0.5).max() < 0.15 and 0.2 < (sampled > 0).mean() < 0.8


def test_it_learns_from_ten_demonstrations(tmp_path: Path) -> None:
    def learn(episodes: int) -> float:
        context = tiny_context(tmp_path, updates=300)
        return success(BcGmm(Settings(learning_rate=3e-3, batch_size=128)).fit(demonstrate(episodes, seed=1), context))

    assert learn(1) < 0.3 and learn(10) > 0.9
