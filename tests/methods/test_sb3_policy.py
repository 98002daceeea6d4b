"""The shared policy behind stable-baselines3's interface is the shared policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import kl_divergence

from envs.demonstrations import Statistics
from methods.policy import GaussianNetwork, GaussianPolicy, PolicyShape
from methods.sb3_policy import SharedPolicy, spaces

SHAPE = PolicyShape(3, 2, (-1.0, -1.0), (1.0, 1.0))


@pytest.fixture
def observations() -> np.ndarray:
    return np.random.default_rng(0).normal(2.0, 3.0, (40, 3)).astype(np.float32)


@pytest.fixture
def network(observations: np.ndarray) -> GaussianNetwork:
    torch.manual_seed(0)
    network = GaussianNetwork(SHAPE, Statistics.of(observations))
    for parameter in network.parameters():  # away from the flat initial heads
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def wrap(network: GaussianNetwork, critic: tuple[int, ...] | None = None) -> SharedPolicy:
    return SharedPolicy(*spaces(SHAPE), lambda _: 1e-3, network, critic)


def test_it_acts_exactly_as_the_gaussian_policy(network: GaussianNetwork, observations: np.ndarray) -> None:
    actions, _ = wrap(network).predict(observations, deterministic=True)
    np.testing.assert_array_equal(actions, GaussianPolicy(network).act(observations, True, np.random.default_rng(0)))


def test_likelihood_entropy_and_divergence_are_those_of_whole_actions(
    network: GaussianNetwork, observations: np.ndarray
) -> None:
    policy, states = wrap(network), torch.from_numpy(observations)
    mean, sigma = network(states)
    actions = mean + 0.5 * sigma
    _, likelihood, entropy = policy.evaluate_actions(states, actions)
    torch.testing.assert_close(likelihood, network.log_prob(states, actions))
    torch.testing.assert_close(entropy, (0.5 * np.log(2 * np.pi * np.e) + sigma.log()).sum(-1))
    now = policy.get_distribution(states)
    with torch.no_grad():
        before = policy.get_distribution(states)
        network.mean.bias += 0.03
    divergence = kl_divergence(policy.get_distribution(states), before)
    torch.testing.assert_close(divergence, (0.03**2 / (2 * sigma**2)).sum(-1))
    torch.testing.assert_close(now.distribution.mean, mean)  # a new object each time: the old one is not moved


def test_samples_have_the_sigma_of_their_observation(network: GaussianNetwork) -> None:
    states = torch.tensor([[2.0, 2.0, 2.0], [9.0, -6.0, 5.0]])
    torch.manual_seed(1)
    samples, _, likelihood = wrap(network).forward(states.repeat_interleave(20_000, 0))
    mean, sigma = network(states)
    for row, part in enumerate(samples.split(20_000)):
        torch.testing.assert_close(part.mean(0), mean[row], atol=2e-3, rtol=0)
        torch.testing.assert_close(part.std(0), sigma[row], atol=0, rtol=0.03)
    torch.testing.assert_close(likelihood, network.log_prob(states.repeat_interleave(20_000, 0), samples))


def test_only_the_critic_belongs_to_the_optimiser_and_only_if_there_is_one(network: GaussianNetwork) -> None:
    actor = list(network.parameters())
    assert len(list(wrap(network).parameters())) == len(actor)
    with_critic = wrap(network, (300, 200))
    stepped = [parameter for group in with_critic.optimizer.param_groups for parameter in group["params"]]
    assert not {id(parameter) for parameter in stepped} & {id(parameter) for parameter in actor}
    assert len(stepped) == 6 and len(list(with_critic.parameters())) == len(actor) + 6
    assert all(
        "value" in name for name, parameter in with_critic.named_parameters() if any(parameter is p for p in stepped)
    )


def test_the_critic_sees_normalised_observations(network: GaussianNetwork, observations: np.ndarray) -> None:
    policy, states = wrap(network, (8,)), torch.from_numpy(observations)
    assert policy.value_critic is not None
    torch.testing.assert_close(policy.predict_values(states), policy.value_critic(network.normalise(states)))
    assert not wrap(network).predict_values(states).any()


def test_float64_observations_are_accepted(network: GaussianNetwork, observations: np.ndarray) -> None:
    policy, states = wrap(network, (8,)), torch.from_numpy(observations)
    actions, values, likelihood = policy.forward(states.double(), deterministic=True)
    assert actions.dtype == values.dtype == likelihood.dtype == torch.float32
    torch.testing.assert_close(actions, network(states)[0])
    torch.testing.assert_close(policy.predict_values(states.double()), policy.predict_values(states))
    torch.testing.assert_close(
        policy.get_distribution(states.double()).log_prob(actions), network.log_prob(states, actions)
    )
