"""Self-supervision: what the policy does, seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from methods.gpril.replay import Episode
from methods.interface import EnvGroup
from methods.policy import GaussianNetwork

WIDTH = 10
"""Episodes side by side. The policy acts on a batch of always this many rows, because matrix products round differently
for different numbers of rows: what a row does must not depend on when the others end."""


def roll_outs(
    group: EnvGroup,
    network: GaussianNetwork,
    seeds: Sequence[int],
    rng: np.random.Generator,
    exploration: np.ndarray | float = 0.0,
    exploration_steps: float = 1.0,
) -> list[Episode]:
    """An episode of the stochastic policy for each seed, with the mean and sigma of every action it took.

    `group` has as many environments as there are `seeds`, or more; at most WIDTH are used. `exploration`, a number or
    one an episode, is the standard deviation of a bias of the actions, drawn anew every `exploration_steps` on average.
    """
    low, high = (np.array(bound, np.float32) for bound in (network.shape.action_low, network.shape.action_high))
    device, shape = network.shift.device, (WIDTH, len(low))
    running = list(range(len(seeds)))
    lengths = np.zeros(len(seeds), np.int64)
    observations = np.zeros((WIDTH, network.shape.observation_size), np.float32)
    observations[running] = group.reset(seeds, running)
    lean = np.zeros((WIDTH, 1), np.float32)
    lean[running, 0] = exploration
    bias = lean * rng.standard_normal(shape, dtype=np.float32)
    seen, steps = [observations], list[tuple[np.ndarray, ...]]()
    while running:
        with torch.no_grad():
            mean, sigma = (part.cpu().numpy() for part in network(torch.from_numpy(observations).to(device)))
        if lean.any():
            fresh = lean * rng.standard_normal(shape, dtype=np.float32)
            bias = np.where(rng.random((WIDTH, 1)) < 1.0 / exploration_steps, fresh, bias)
        actions = np.clip(mean + bias + sigma * rng.standard_normal(shape, dtype=np.float32), low, high)
        observations = observations.copy()
        observations[running], ends = group.step(actions[running], running)
        lengths[running] += 1
        seen.append(observations)
        steps.append((actions, mean, np.hypot(sigma, lean)))
        running = [row for row, end in zip(running, ends, strict=True) if not end]
    states, columns = np.array(seen), [np.array(column) for column in zip(*steps, strict=True)]
    return [
        Episode(states[: length + 1, row], *(column[:length, row] for column in columns))
        for row, length in enumerate(lengths)
    ]
