"""Action chunking: temporal ensembling by hand, the divergence against PyTorch's, padding, and learning."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from methods.act import ActionChunking, ActNetwork, ActPolicy, Ensemble, Settings, Shape, kl_from_standard
from methods.interface import SettingsError, make_settings
from methods.supervised import Scaling
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

SMALL = {
    "hidden": 32,
    "feedforward": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "batch_size": 32,
    "chunk": 4,
    "ensembling": 0.01,
}


@pytest.mark.parametrize("m", [0.01, 0.5, -0.5])
def test_ensembling_is_the_weighted_mean_over_the_chunks_that_say_something(m: float) -> None:
    """Algorithm 2: at step t the chunks of t - k + 1 ... t, the oldest with weight exp(0)."""
    k, steps = 3, 7
    chunks = np.random.default_rng(0).normal(size=(steps, 2, k, 2))
    ensemble = Ensemble(3, k, 2, m)
    for t in range(steps):
        found = ensemble.add(chunks[t], [2, 0])
        asked = range(max(0, t - k + 1), t + 1)
        weights = np.exp(-m * np.arange(len(asked)))
        predictions = np.array([chunks[s][:, t - s] for s in asked])
        np.testing.assert_allclose(found, np.einsum("s,sna->na", weights / weights.sum(), predictions))
    ensemble.forget([0])
    np.testing.assert_allclose(ensemble.add(chunks[:1, 0], [0]), chunks[0, :1, 0])


def test_the_divergence_is_that_of_torch() -> None:
    mean, log_variance = torch.randn(2, 20, 5)
    posterior = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    prior = Independent(Normal(torch.zeros(5), torch.ones(5)), 1)
    torch.testing.assert_close(kl_from_standard(mean, log_variance), kl_divergence(posterior, prior))


def test_actions_beyond_the_end_of_an_episode_do_not_count() -> None:
    torch.manual_seed(0)
    network = ActNetwork(Shape(3, 2, Settings(**SMALL)), Scaling.unknown(3), Scaling.unknown(2)).eval()
    observations, actions = torch.randn(6, 3), torch.randn(6, 4, 2)
    inside = torch.tensor([True, True, False, False]).expand(6, 4)
    losses = []
    for beyond in (0.0, 5.0):
        torch.manual_seed(1)
        changed = torch.where(inside[..., None], actions, torch.tensor(beyond))
        losses.append(network.loss(observations, changed, inside, kl_weight=10.0))
    torch.testing.assert_close(*losses)


def test_the_loss_draws_the_latent_from_the_posterior_and_weighs_the_divergence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = ActNetwork(Shape(3, 2, Settings(**SMALL, latent=5)), Scaling.unknown(3), Scaling.unknown(2)).eval()
    with torch.no_grad():  # a posterior N(0.5, 2^2) whatever it reads
        network.to_latent.weight.zero_()
        network.to_latent.bias.copy_(torch.tensor([0.5, math.log(4.0)]).repeat_interleave(5))
    observations, actions = torch.randn(4_000, 3), torch.randn(4_000, 4, 2)
    drawn = []

    def decode(states: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        drawn.append(latent.detach())
        return actions + 0.25

    monkeypatch.setattr(network, "decode", decode)
    inside = torch.ones(4_000, 4, dtype=torch.bool)
    losses = [network.loss(observations, actions, inside, kl_weight).item() for kl_weight in (0.0, 10.0)]
    divergence = 5 * (0.5 * (0.5**2 + 4.0 - 1.0) - math.log(2.0))
    assert losses == pytest.approx([0.25, 0.25 + 10.0 * divergence], rel=1e-4)
    assert drawn[0].mean() == pytest.approx(0.5, abs=0.05) and drawn[0].std() == pytest.approx(2.0, rel=0.03)


def test_an_actor_ensembles_the_chunks_of_the_network() -> None:
    torch.manual_seed(0)
    network = ActNetwork(Shape(3, 2, Settings(**SMALL)), Scaling.unknown(3), Scaling(np.zeros(2), np.full(2, 0.2)))
    network.eval()
    actor, rng = ActPolicy(network).actor(1), np.random.default_rng(0)
    actor.start([0])
    observations = torch.randn(2, 1, 3)
    with torch.no_grad():
        first, second = (network(part)[0].numpy() for part in observations)
    np.testing.assert_allclose(actor.act(observations[0].numpy(), [0], True, rng)[0], first[0], atol=1e-6)
    weights = np.exp(-0.01 * np.arange(2))
    expected = (weights[0] * first[1] + weights[1] * second[0]) / weights.sum()
    np.testing.assert_allclose(actor.act(observations[1].numpy(), [0], True, rng)[0], expected, atol=1e-6)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(SettingsError, match="heads = 3 must divide hidden = 64"):
        make_settings(ActionChunking, {"heads": 3})


def test_it_learns_from_ten_demonstrations(tmp_path: Path) -> None:
    def learn(episodes: int) -> float:
        context = tiny_context(tmp_path, updates=300)
        settings = Settings(**SMALL, learning_rate=2e-3)
        return success(ActionChunking(settings).fit(demonstrate(episodes, seed=1), context), deterministic=True)

    assert learn(1) < 0.6 and learn(10) > 0.8
