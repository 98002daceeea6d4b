"""The networks besides the policy: two critics evaluated as one, and plain multilayer perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.interface import FitContext
from methods.policy import GaussianNetwork, compress

KNEE = 2.0
"""Normalised observations are compressed logarithmically beyond this many standard deviations."""

N = TypeVar("N", bound=nn.Module)


class Features:
    """What critics and discriminators see of states, actions and ends."""

    def __init__(self, network: GaussianNetwork, action_scale: float) -> None:
        """Observations are normalised as for the policy and compressed, actions divided by `action_scale`."""
        self._network, self._action_scale = network, action_scale
        self.states = network.shape.observation_size + 1
        self.pairs = self.states + network.shape.action_size

    def of_states(self, states: Tensor, ended: float | Tensor = 0.0) -> Tensor:
        """States [..., O] as [..., O + 1], the last entry telling whether (1) or not (0) the episode ended there."""
        normalised = compress(self._network.normalise(states), KNEE)
        flag = torch.as_tensor(ended, dtype=normalised.dtype, device=normalised.device)
        return torch.cat([normalised, flag.expand(normalised.shape[:-1]).unsqueeze(-1)], -1)

    def of_pairs(self, states: Tensor, actions: Tensor) -> Tensor:
        """States [..., O] and actions [..., A] as [..., O + 1 + A], with flag 0."""
        return torch.cat([self.of_states(states), actions / self._action_scale], -1)

    def of_ends(self, states: Tensor) -> Tensor:
        """Terminal states [..., O] as pairs [..., O + 1 + A], with flag 1 and an action of 0."""
        flagged = self.of_states(states, 1.0)
        return torch.cat([flagged, flagged.new_zeros(*flagged.shape[:-1], self.pairs - self.states)], -1)


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
    """A network with tanh units: [n, `inputs`] -> [n, 1]."""
    sizes = [inputs, *hidden]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1))


def seeded(context: FitContext, name: str, make: Callable[[], N]) -> N:
    """A new network, with initial weights that depend on the trial's seed and `name` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seeds.integer(name))
        return make().to(context.device)
