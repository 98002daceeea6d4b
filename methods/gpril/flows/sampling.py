"""Sampling: the inverse of stacked MADEs, in which each hidden unit is computed once."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from methods.gpril.flows.masked_matmul import Layout, multiply

WORKING_SET = 2**19
"""Units times samples inverted at once: more amortise calls better, but the units should stay in the cache (2 MB)."""


def chunk_width(layout: Layout, count: int, flows: int = 1) -> int:
    """Rows of the equal chunks in which `count` samples of each of so many flows are inverted."""
    most = max(1, WORKING_SET // (flows * sum(staircase.columns for staircase in layout.staircases)))
    chunks = max(1, math.ceil(count / most))
    return max(1, math.ceil(count / chunks))


class _Step(NamedTuple):
    """Views with which one dimension of one MADE is inverted."""

    hidden: list[tuple[Tensor, Tensor, Tensor]]  # weights, units below, units of this dimension's degree
    weight: Tensor
    below: Tensor
    parameters: Tensor
    mean: Tensor
    spread: Tensor
    noise: Tensor
    value: Tensor


class Inverter:
    """Inverts stacked MADEs for `width` samples at a time; every view that it needs is cut once and kept.

    Args:
        layout: of the weights.
        weights: [L, layout.size], or [S, L, layout.size] for S flows at once; looked at when `run` is called, so
            updates in place are seen.
        width: most samples of one call.
        sigma_floor: added to the scaled softplus.
        beta: of the softplus.
    """

    def __init__(self, layout: Layout, weights: Tensor, width: int, sigma_floor: float, beta: float) -> None:
        weights = weights.detach()
        self._weights, self._width, self._floor, self._beta = weights, width, sigma_floor, beta
        stacked, lead = weights.shape[:-2], 1 + layout.context
        self._units = [weights.new_ones(*stacked, staircase.columns, width) for staircase in layout.staircases]
        self._context, self._values = self._units[0][..., 1:lead, :], self._units[0][..., lead:, :]
        self._parameters = weights.new_empty(*stacked, layout.features, 2, width)
        self._noise = weights.new_empty(*stacked, layout.features, width)
        self._steps = [
            [self._step(layout, matrices, dimension) for dimension in range(layout.features)]
            for matrices in (layout.matrices(vector) for vector in weights.unbind(-2))
        ]

    def _step(self, layout: Layout, matrices: list[Tensor], dimension: int) -> _Step:
        hidden = []
        for index, degrees in enumerate(layout.degrees):
            first, last = bisect_left(degrees, dimension), bisect_right(degrees, dimension)
            if first < last:
                reach = layout.staircases[index].reach[first]
                below = self._units[index][..., :reach, :]
                above = self._units[index + 1][..., 1 + first : 1 + last, :]
                hidden.append((matrices[index][..., first:last, :reach], below, above))
        first, reach = 2 * dimension, layout.staircases[-1].reach[2 * dimension]
        parameters = self._parameters[..., dimension, :, :]
        mean, spread = parameters.unbind(-2)
        return _Step(
            hidden=hidden,
            weight=matrices[-1][..., first : first + 2, :reach],
            below=self._units[-1][..., :reach, :],
            parameters=parameters,
            mean=mean,
            spread=spread,
            noise=self._noise[..., dimension, :],
            value=self._values[..., dimension, :],
        )

    def fits(self, weights: Tensor, width: int) -> bool:
        """Whether this looks at these weights, wherever they were moved or copied, and has this width."""
        mine = self._weights
        same = (mine.data_ptr(), mine.dtype, mine.device) == (weights.data_ptr(), weights.dtype, weights.device)
        return same and self._width == width

    def run(self, noise: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z [m, D] and context [m, C], m <= width -> x [m, D] and log |det dx/dz| [m]; S in front for S flows."""
        count = noise.shape[-2]
        self._context[..., :count] = context.mT
        self._noise[..., :count] = noise.mT
        log_sigma = noise.new_zeros(*noise.shape[:-2], self._width)
        for layer in range(len(self._steps) - 1, -1, -1):
            torch.mul(self._noise, self._floor, out=self._parameters[..., 0, :])
            self._parameters[..., 1, :] = 0.0
            for step in self._steps[layer]:
                self._invert(step)
            spread = self._parameters[..., 1, :]
            log_sigma += softplus(spread, self._beta).add_(self._floor).log_().sum(-2)
            if layer:
                self._noise[:] = self._values.flip(-2)
        return self._values[..., :count].mT.contiguous(), log_sigma[..., :count]

    def _invert(self, step: _Step) -> None:
        """value = mean + (floor + softplus(spread)) * noise, where the parameters begin as (floor * noise, 0)."""
        hidden, weight, below, parameters, mean, spread, noise, value = step
        for matrix, lower, units in hidden:
            multiply(matrix, lower, units)
            units.relu_()
        if parameters.dim() == 2:
            parameters.addmm_(weight, below)
        else:
            parameters.baddbmm_(weight, below)
        torch.addcmul(mean, softplus(spread, self._beta), noise, out=value)
