"""Sampling from stacked MADEs: the inverse pass, in which each hidden unit is computed only once."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from methods.gpril.flows.masked_matmul import WeightLayout

WORKING_SET = 2**19
"""Units times samples inverted at once: large chunks amortise calls, but the units should fit the cache (2 MB)."""


def chunk_width(layout: WeightLayout, count: int) -> int:
    """Number of rows per chunk when `count` samples are inverted in equal chunks."""
    most = max(1, WORKING_SET // sum(matrix.columns for matrix in layout.matrices))
    chunks = max(1, math.ceil(count / most))
    return max(1, math.ceil(count / chunks))


class _Step(NamedTuple):
    """Views needed to invert one dimension of one MADE."""

    hidden: list[tuple[Tensor, Tensor, Tensor]]  # weights, units below, units of this dimension's degree
    weight: Tensor
    below: Tensor
    parameters: Tensor
    mean: Tensor
    spread: Tensor
    noise: Tensor
    value: Tensor


class Inverter:
    """Inverts stacked MADEs for up to `width` samples at a time; all views are created once and reused.

    Args:
        layout: of the weights of one MADE.
        weights: [L, layout.size]; read when `run` is called, so in-place updates are seen.
        width: largest number of samples per call.
        sigma_floor: added to the scaled softplus.
        beta: of the softplus.
    """

    def __init__(self, layout: WeightLayout, weights: Tensor, width: int, sigma_floor: float, beta: float) -> None:
        weights = weights.detach()
        self._weights, self._width, self._floor, self._beta = weights, width, sigma_floor, beta
        shared = 1 + layout.context
        self._units = [weights.new_ones(matrix.columns, width) for matrix in layout.matrices]
        self._context, self._values = self._units[0][1:shared], self._units[0][shared:]
        self._parameters = weights.new_empty(layout.features, 2, width)
        self._noise = weights.new_empty(layout.features, width)
        self._steps = [
            [self._step(layout, layout.views(vector), dimension) for dimension in range(layout.features)]
            for vector in weights
        ]

    def _step(self, layout: WeightLayout, weights: list[Tensor], dimension: int) -> _Step:
        hidden = []
        for index, degrees in enumerate(layout.degrees):
            first, last = bisect_left(degrees, dimension), bisect_right(degrees, dimension)
            if first < last:
                prefix = layout.matrices[index].prefix[first]
                below = self._units[index][:prefix]
                above = self._units[index + 1][1 + first : 1 + last]
                hidden.append((weights[index][first:last, :prefix], below, above))
        first, prefix = 2 * dimension, layout.matrices[-1].prefix[2 * dimension]
        parameters = self._parameters[dimension]
        mean, spread = parameters.unbind()
        return _Step(
            hidden=hidden,
            weight=weights[-1][first : first + 2, :prefix],
            below=self._units[-1][:prefix],
            parameters=parameters,
            mean=mean,
            spread=spread,
            noise=self._noise[dimension],
            value=self._values[dimension],
        )

    def fits(self, weights: Tensor, width: int) -> bool:
        """Whether this inverter reads these very weights (same memory, type and device) and has this width."""
        own = self._weights
        same = (own.data_ptr(), own.dtype, own.device) == (weights.data_ptr(), weights.dtype, weights.device)
        return same and self._width == width

    def run(self, noise: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z [m, D] and context [m, C], m <= width -> x [m, D] and log |det dx/dz| [m]."""
        count = len(noise)
        self._context[:, :count] = context.T
        self._noise[:, :count] = noise.T
        log_sigma = noise.new_zeros(self._width)
        for layer in range(len(self._steps) - 1, -1, -1):
            torch.mul(self._noise, self._floor, out=self._parameters[:, 0])
            self._parameters[:, 1] = 0.0
            for step in self._steps[layer]:
                self._invert(step)
            spread = self._parameters[:, 1]
            log_sigma += softplus(spread, self._beta).add_(self._floor).log_().sum(0)
            if layer:
                self._noise[:] = self._values.flip(0)
        # A copy even of one dimension, whose transpose is contiguous already: the next call overwrites the buffer.
        return self._values[:, :count].T.clone(memory_format=torch.contiguous_format), log_sigma[:count]

    def _invert(self, step: _Step) -> None:
        """value = mean + (floor + softplus(spread)) * noise, with the parameters initialised to (floor * noise, 0)."""
        hidden, weight, below, parameters, mean, spread, noise, value = step
        for matrix, lower, units in hidden:
            torch.mm(matrix, lower, out=units)
            units.relu_()
        parameters.addmm_(weight, below)
        torch.addcmul(mean, softplus(spread, self._beta), noise, out=value)
