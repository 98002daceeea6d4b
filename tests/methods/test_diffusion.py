"""Diffusion: the schedule, a step of DDIM, sampling from a known distribution, chunks at work, and learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.conformance.context import PlainContext
from methods.diffusion import Denoiser, Diffusion, DiffusionPolicy, Settings, Shape, ddim_step, squared_cosine
from methods.interface import Budget, SettingsError, make_settings
from methods.supervised import Scaling
from tests.methods.worlds import TINY, success, tiny_context
from tests.tiny import TinySlot, demonstrate

SMALL: dict[str, Any] = {"hidden": 64, "blocks": 2, "batch_size": 128, "chunk": 4, "execute": 2, "warmup": 20}


def test_the_schedule_is_that_of_nichol_and_dhariwal() -> None:
    abar = squared_cosine(100)
    t = np.arange(1, 100) / 100  # the last beta is capped
    closed = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(abar[:-1], closed, rtol=1e-9)
    assert abar[-1] == pytest.approx(abar[-2] * 0.001)


def test_a_step_of_ddim_is_equation_12_of_song_et_al() -> None:
    """Their form: sqrt(a') (x - sqrt(1 - a) e) / sqrt(a) + sqrt(1 - a') e, for the noise e that the network tells."""
    torch.manual_seed(0)
    x, noise = torch.randn(2, 5, 4, 3)
    a, b = 0.3, 0.6
    clean = (x - math.sqrt(1 - a) * noise) / math.sqrt(a)
    torch.testing.assert_close(ddim_step(x, clean, a, b), math.sqrt(b) * clean + math.sqrt(1 - b) * noise)
    torch.testing.assert_close(ddim_step(x, clean, a, 1.0), clean)


class Exact(Denoiser):
    """Knows that scaled actions are N(mean, sigma^2), so that it can tell the expected noise in closed form."""

    mean, sigma = 0.2, 0.25

    def forward(self, noisy: Tensor, level: Tensor, history: Tensor) -> Tensor:
        abar = self.abar[level][:, None, None]
        variance = abar * self.sigma**2 + 1 - abar
        noise = (1 - abar).sqrt() * (noisy - abar.sqrt() * self.mean) / variance
        return noise if self.shape.settings.prediction == "noise" else (noisy - (1 - abar).sqrt() * noise) / abar.sqrt()


class Knowing(Denoiser):
    """Knows the clean chunk, a constant, and so the noise in x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e."""

    clean = 0.4

    def forward(self, noisy: Tensor, level: Tensor, history: Tensor) -> Tensor:
        abar = self.abar[level][:, None, None]
        noise = (noisy - abar.sqrt() * self.clean) / (1 - abar).sqrt()
        return noise if self.shape.settings.prediction == "noise" else torch.full_like(noisy, self.clean)


@pytest.mark.parametrize("prediction", ["noise", "actions"])
def test_the_loss_is_zero_for_a_network_that_knows_the_answer(prediction: Any) -> None:
    settings = Settings(chunk=2, execute=1, prediction=prediction, hidden=4, history=1)
    network = Knowing(Shape(3, 2, settings), Scaling.unknown(3), Scaling(np.array([0.1, 0.0]), np.array([0.5, 1.0])))
    actions = torch.tensor([0.3, 0.4]).expand(2_000, 2, 2)  # 0.4 when scaled
    assert network.loss(torch.zeros(2_000, 1, 3), actions) < 1e-6
    assert network.loss(torch.zeros(2_000, 1, 3), actions + 0.1) > 1e-3


def test_the_policy_acts_with_averaged_weights(tmp_path: Path) -> None:
    moments: list[tuple[Tensor, Tensor]] = []

    class Watching(PlainContext):
        def checkpoint(self, policy: Any, progress: float, gradient_steps: int, snapshot: Any = None) -> None:
            moments.append((policy.network.read.weight.clone(), snapshot()["network"]["read.weight"].clone()))

    context = Watching(Budget(0, 60), 0, tmp_path, TINY, TinySlot)
    policy = Diffusion(Settings(**SMALL, learning_rate=2e-3)).fit(demonstrate(2, seed=1), context)
    (early, trained), (late, last) = moments
    assert torch.equal(late, policy.network.read.weight) and not torch.equal(late, last)
    # It moves from where it was towards the trained weights, and is smoother than they are.
    assert (late - last).norm() < (early - last).norm() and not torch.equal(early, trained)


@pytest.mark.parametrize("prediction", ["noise", "actions"])
@pytest.mark.parametrize(("sampling_steps", "share"), [(10, 0.79), (100, 0.97)])
def test_sampling_with_the_exact_denoiser_gives_the_distribution(
    prediction: Any, sampling_steps: int, share: float
) -> None:
    """Its mean, and so much of its spread as that many steps of DDIM keep."""
    settings = Settings(chunk=2, execute=1, prediction=prediction, sampling_steps=sampling_steps, hidden=4, history=1)
    network = Exact(Shape(3, 2, settings), Scaling.unknown(3), Scaling(np.array([0.1, 0.0]), np.array([0.5, 1.0])))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((20_000, 2, 2), dtype=np.float32))
    drawn = network.sample(torch.zeros(20_000, 1, 3), noise)
    mean, sigma = drawn.mean((0, 1)), drawn.std((0, 1))
    torch.testing.assert_close(mean, torch.tensor([0.2, 0.2]), atol=0.02, rtol=0)
    torch.testing.assert_close(sigma, share * torch.tensor([0.125, 0.25]), atol=0.005, rtol=0)


def test_an_actor_takes_the_first_actions_of_a_chunk_and_then_draws_another() -> None:
    torch.manual_seed(0)
    network = Denoiser(Shape(3, 2, Settings(**SMALL, history=3)), Scaling.unknown(3), Scaling.unknown(2)).eval()
    observations = torch.randn(5, 1, 3)
    actor = DiffusionPolicy(network).actor(2)
    actor.start([1])
    found = [actor.act(o.numpy(), [1], False, np.random.default_rng(step))[0] for step, o in enumerate(observations)]
    for step, seen in ((0, [0, 0, 0]), (2, [0, 1, 2]), (4, [2, 3, 4])):  # the first one stands for those before it
        noise = torch.from_numpy(np.random.default_rng(step).standard_normal((1, 4, 2), dtype=np.float32))
        with torch.no_grad():
            chunk = network.sample(observations[seen].transpose(0, 1), noise)[0].clamp(-1.0, 1.0)
        np.testing.assert_allclose(found[step : step + 2], chunk[:2][: len(found) - step], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"chunk": 4, "execute": 5}, "execute = 5 actions cannot be taken of chunk = 4"),
        ({"sampling_steps": 7}, "sampling_steps = 7 must divide noise_levels = 100"),
        ({"hidden": 65}, "hidden = 65 must be even"),
        ({"prediction": "velocity"}, "velocity"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        make_settings(Diffusion, values)


def test_it_learns_from_ten_demonstrations(tmp_path: Path) -> None:
    def learn(episodes: int) -> float:
        context = tiny_context(tmp_path, updates=400)
        policy = Diffusion(Settings(**SMALL, learning_rate=2e-3)).fit(demonstrate(episodes, seed=1), context)
        return success(policy)

    assert learn(1) < 0.6 and learn(10) > 0.9
