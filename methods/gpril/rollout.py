"""Collects self-supervised rollouts: whole episodes of the stochastic policy, several in parallel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from methods.gpril.replay import Episode
from methods.interface import EnvGroup
from methods.policy import GaussianNetwork

WIDTH = 10
"""Episodes side by side. The policy always acts on a batch of this many rows: matrix products round differently for
different numbers of rows, and the actions of one episode must not depend on when the others end."""


def collect_rollouts(
    group: EnvGroup,
    network: GaussianNetwork,
    seeds: Sequence[int],
    rng: np.random.Generator,
    exploration: np.ndarray | float = 0.0,
    exploration_steps: float = 1.0,
) -> list[Episode]:
    """One episode of the stochastic policy per seed, with the mean and sigma of every action.

    Args:
        group: at least as many environments as there are `seeds`.
        network: the policy.
        seeds: of the episodes; at most WIDTH.
        rng: draws actions and exploration.
        exploration: standard deviation of a bias added to the actions, one number or one per episode; 0 for none.
        exploration_steps: mean number of steps before that bias is drawn again.
    """
    low, high = (np.array(bound, np.float32) for bound in (network.shape.action_low, network.shape.action_high))
    device, shape = network.shift.device, (WIDTH, len(low))
    running = list(range(len(seeds)))
    lengths = np.zeros(len(seeds), np.int64)
    observations = np.zeros((WIDTH, network.shape.observation_size), np.float32)
    observations[running] = group.reset(seeds, running)
    bias_sigma = np.zeros((WIDTH, 1), np.float32)
    bias_sigma[running, 0] = exploration
    bias = bias_sigma * rng.standard_normal(shape, dtype=np.float32)
    states: list[np.ndarray] = [observations]
    actions: list[np.ndarray] = []
    means: list[np.ndarray] = []
    sigmas: list[np.ndarray] = []
    while running:
        with torch.no_grad():
            mean, sigma = (part.cpu().numpy() for part in network(torch.from_numpy(observations).to(device)))
        if bias_sigma.any():
            fresh = bias_sigma * rng.standard_normal(shape, dtype=np.float32)
            bias = np.where(rng.random((WIDTH, 1)) < 1.0 / exploration_steps, fresh, bias)
        action = np.clip(mean + bias + sigma * rng.standard_normal(shape, dtype=np.float32), low, high)
        observations = observations.copy()
        observations[running], ends = group.step(action[running], running)
        lengths[running] += 1
        states.append(observations)
        actions.append(action)
        means.append(mean)
        sigmas.append(np.hypot(sigma, bias_sigma))
        running = [row for row, end in zip(running, ends, strict=True) if not end]
    columns = [np.array(column) for column in (actions, means, sigmas)]
    stacked = np.array(states)
    return [
        Episode(stacked[: length + 1, row], *(column[:length, row] for column in columns))
        for row, length in enumerate(lengths)
    ]
