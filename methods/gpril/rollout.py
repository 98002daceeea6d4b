"""Self-supervision: what the policy does, seen."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch

from methods.gpril.replay import Episode
from methods.policy import GaussianNetwork


def roll_out(
    env: gymnasium.Env[np.ndarray, np.ndarray],
    network: GaussianNetwork,
    rng: np.random.Generator,
    exploration: float = 0.0,
    exploration_steps: float = 1.0,
) -> Episode:
    """One episode of the stochastic policy, with the mean and sigma of every action it took.

    `exploration` is the standard deviation of a bias of the actions, drawn anew every `exploration_steps` on average.
    """
    low, high = (np.array(bound, np.float32) for bound in (network.shape.action_low, network.shape.action_high))
    device = network.shift.device
    observation, _ = env.reset()
    observations, actions, means, sigmas = [observation], [], [], []
    bias = exploration * rng.standard_normal(low.shape, dtype=np.float32) if exploration else np.zeros_like(low)
    ended = False
    while not ended:
        with torch.no_grad():
            mean, sigma = (part[0].cpu().numpy() for part in network(torch.from_numpy(observation[None]).to(device)))
        if exploration and rng.random() < 1.0 / exploration_steps:
            bias = exploration * rng.standard_normal(mean.shape, dtype=np.float32)
        action = np.clip(mean + bias + sigma * rng.standard_normal(mean.shape, dtype=np.float32), low, high)
        observation, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        observations.append(observation)
        actions.append(action)
        means.append(mean)
        sigmas.append(np.hypot(sigma, exploration))
    return Episode(*(np.array(column, np.float32) for column in (observations, actions, means, sigmas)))
