"""TRPO: what follows the end of an episode, gradients and Fisher products, and the size of a step."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.demonstrations import Statistics
from methods.gail.discriminator import DeferredRewards, Terminal
from methods.gail.trpo import SubsampledTRPO
from methods.policy import GaussianNetwork, PolicyShape
from methods.sb3_policy import SharedPolicy

GAMMA = 0.9


SHAPE = PolicyShape(1, 1, (-1.0,), (1.0,))


class Ending(gymnasium.Env[np.ndarray, np.ndarray]):
    """Its episodes end after 3 steps, by termination or by the clock in turn. Observes the step."""

    def __init__(self) -> None:
        self.observation_space = Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.time, self.episode = 0, -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.time, self.episode = 0, self.episode + 1
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        ended, by_clock = self.time == 3, self.episode % 2 == 1
        return self._observe(), 7.0, ended and not by_clock, ended and by_clock, {}

    def _observe(self) -> np.ndarray:
        return np.array([10.0 * self.episode + self.time], np.float32)


def reward_function(states: np.ndarray, actions: np.ndarray, reached: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """2 for a step of an episode, 0 for a transition that never took place."""
    went = (reached == states + 1.0).all(1) & (np.abs(actions) <= 1.0).all(1) & (ends == (reached[:, 0] % 20.0 == 3.0))
    return np.where(went, 2.0, 0.0).astype(np.float32)


def generator(terminal: Terminal, fisher_every: int = 1, scale: float = 1.0) -> SubsampledTRPO:
    torch.manual_seed(0)
    network = GaussianNetwork(SHAPE, Statistics.of(np.linspace(0.0, 20.0, 10)[:, None]))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    environments = DeferredRewards(DummyVecEnv([Ending]), reward_function, terminal, GAMMA, scale)
    trpo = SubsampledTRPO(
        SharedPolicy,
        environments,
        n_steps=6,
        batch_size=6,
        gamma=GAMMA,
        fisher_every=fisher_every,
        chained=terminal == "chain",
        policy_kwargs={"network": network, "critic_hidden": (8,)},
        seed=0,
        device="cpu",
    )
    trpo.rollout_buffer.rewards_of = environments.rewards
    trpo.set_logger(Logger(folder=None, output_formats=[]))  # SB3's own makes a folder for each training
    return trpo


@pytest.mark.parametrize("terminal", ["always", "absorbing", "terminal"])
def test_the_end_of_an_episode_is_followed_by_what_the_setting_says(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    trpo = generator(terminal)
    monkeypatch.setattr(trpo, "train", lambda: None)  # rewards as they were collected
    trpo.learn(6)
    with torch.no_grad():  # terminal observations of the first two episodes, reset() having been called once
        terminated, cut = (float(v) for v in trpo.policy.predict_values(torch.tensor([[3.0], [13.0]])))
    end = {"always": 2.0 + GAMMA * terminated, "absorbing": 2.0 / (1.0 - GAMMA), "terminal": 2.0}[terminal]
    wanted = np.array([2.0, 2.0, end, 2.0, 2.0, 2.0 + GAMMA * cut], np.float32)
    np.testing.assert_allclose(trpo.rollout_buffer.rewards[:, 0], wanted, rtol=1e-6)
    values, advantages = trpo.rollout_buffer.values[:, 0], trpo.rollout_buffer.advantages[:, 0]
    with torch.no_grad():
        states = torch.as_tensor(trpo.rollout_buffer.observations[:, 0])
        np.testing.assert_allclose(values, trpo.policy.predict_values(states)[:, 0], rtol=1e-5)
    assert advantages[2] == pytest.approx(end - values[2], rel=1e-5)  # nothing leaks in from the next episode


def test_chained_episodes_bootstrap_from_the_next_initial_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the cited implementation without its test for termination, for terminations and time limits alike."""
    trpo = generator("chain")
    monkeypatch.setattr(trpo, "train", lambda: None)
    trpo.learn(6)
    buffer = trpo.rollout_buffer
    np.testing.assert_array_equal(buffer.rewards[:, 0], [2.0] * 6)
    states = [*buffer.observations[:, 0], trpo._last_obs[0]]
    assert [float(state[0]) for state in states] == [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 20.0]
    with torch.no_grad():
        values = trpo.policy.predict_values(torch.tensor(np.array(states)))[:, 0].numpy()
    advantage, expected = 0.0, []
    for step in reversed(range(6)):
        advantage = 2.0 + GAMMA * values[step + 1] - values[step] + GAMMA * trpo.gae_lambda * advantage
        expected.append(advantage)
    np.testing.assert_allclose(buffer.advantages[:, 0], expected[::-1], rtol=1e-5)


def test_rewards_can_be_scaled_to_the_size_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    trpo = generator("absorbing", scale=1.0 - GAMMA)
    monkeypatch.setattr(trpo, "train", lambda: None)
    trpo.learn(6)
    np.testing.assert_allclose(trpo.rollout_buffer.rewards[:3, 0], [2.0 * (1.0 - GAMMA)] * 2 + [2.0], rtol=1e-6)


@pytest.mark.parametrize("every", [1, 3])
def test_gradients_and_fisher_products_are_the_librarys(every: int) -> None:
    trpo = generator("always", every)
    trpo.train = lambda: None  # type: ignore[method-assign]
    trpo.learn(6)
    trpo.policy.double()  # the order of sums, which depends on the machine, shows in single precision
    observations, actions, _, log_prob, advantages, _ = (part.double() for part in next(trpo.rollout_buffer.get()))
    states = torch.as_tensor(trpo.rollout_buffer.observations).double()

    def divergence(of: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            before = trpo.policy.get_distribution(of)
        return kl_divergence(trpo.policy.get_distribution(of), before).mean()

    def objective() -> torch.Tensor:
        ratio = torch.exp(trpo.policy.get_distribution(observations).log_prob(actions) - log_prob)
        return (advantages * ratio).mean()

    mine = trpo._compute_actor_grad(divergence(states), objective())
    library = super(SubsampledTRPO, trpo)._compute_actor_grad(divergence(states[::every]), objective())
    assert [id(p) for p in mine[0]] == [id(p) for p in library[0]] == [id(p) for p in trpo.policy.network.parameters()]
    assert mine[3] == [tuple(shape) for shape in library[3]]
    torch.testing.assert_close(mine[1], library[1])
    for _ in range(2):  # a product has no side effects
        vector = torch.randn(len(mine[1]), dtype=torch.float64)
        product = trpo.hessian_vector_product(mine[0], mine[2], vector)
        wanted = super(SubsampledTRPO, trpo).hessian_vector_product(library[0], library[2], vector)
        torch.testing.assert_close(product, wanted)
        assert float(product @ vector) > 0.0


def test_an_iteration_moves_whole_actions_by_less_than_the_bound() -> None:
    trpo = generator("always")
    before = deepcopy(trpo.policy.network)
    trpo.learn(6)
    states = torch.as_tensor(trpo.rollout_buffer.observations)
    with torch.no_grad():
        (old_mean, old_sigma), (mean, sigma) = before(states), trpo.policy.network(states)
    moved = (old_sigma / sigma).log() + (sigma**2 + (mean - old_mean) ** 2) / (2 * old_sigma**2) - 0.5
    assert 0.0 < float(moved.sum(1).mean()) <= trpo.target_kl
