"""All networks except the policy: two critics evaluated as one, and plain multilayer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.interface import FitContext
from methods.policy import GaussianNetwork, compress

KNEE = 2.0
"""Normalised observations are compressed logarithmically beyond this many standard deviations."""

N = TypeVar("N", bound=nn.Module)


class Features:
    """What critics and discriminators see of states, actions and ends.

    Attributes:
        pairs: O + 1 + A, numbers seen of a state and an action; the one between them is 1 where the episode ended.
    """

    def __init__(self, network: GaussianNetwork, action_scale: float) -> None:
        """Observations are normalised as for the policy and compressed, actions divided by `action_scale`."""
        self._network, self._action_scale = network, action_scale
        self._action_size = network.shape.action_size
        self.pairs = network.shape.observation_size + 1 + self._action_size

    def encode(self, observations: np.ndarray) -> np.ndarray:
        """Features [..., O] of observations [..., O], float32."""
        states = torch.tensor(observations, device=self._network.shift.device)
        return compress(self._network.normalise(states), KNEE).cpu().numpy()

    def of_pairs(self, features: Tensor, actions: Tensor) -> Tensor:
        """Features [..., O] of states and actions [..., A] as [..., O + 1 + A]."""
        return torch.cat([features, torch.zeros_like(features[..., :1]), actions / self._action_scale], -1)

    def of_ends(self, features: Tensor) -> Tensor:
        """Features [..., O] of terminal states as pairs [..., O + 1 + A] with an action of 0."""
        ended = torch.ones_like(features[..., :1])
        return torch.cat([features, ended, features.new_zeros(*features.shape[:-1], self._action_size)], -1)


class TwinCritics(nn.Module):
    """Two networks of the same shape, ReLU after layer normalisation: inputs [n, D] -> values [2, n]."""

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [inputs, *hidden, 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            bound = 1.0 / math.sqrt(before)  # as torch's linear layers
            self.weights.append(nn.Parameter(torch.empty(2, before, after).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(2, 1, after).uniform_(-bound, bound)))
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(2, 1, size)) for size in hidden)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(2, 1, size)) for size in hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        values = inputs.expand(2, *inputs.shape)
        for i, (gain, shift) in enumerate(zip(self.gains, self.shifts, strict=True)):
            values = torch.baddbmm(self.biases[i], values, self.weights[i])
            values = F.relu(torch.addcmul(shift, F.layer_norm(values, values.shape[-1:]), gain))
        return torch.baddbmm(self.biases[-1], values, self.weights[-1]).squeeze(-1)


def perceptron(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """A network with ReLU units: [n, `inputs`] -> [n, 1]."""
    sizes = [inputs, *hidden]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def seeded(context: FitContext, name: str, make: Callable[[], N]) -> N:
    """A new network, with initial weights that depend on the trial's seed and `name` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seeds.integer(name))
        return make().to(context.device)
