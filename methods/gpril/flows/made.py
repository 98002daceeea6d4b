"""Stacked conditional masked autoencoders (MADEs) as an nflows transform that skips most masked arithmetic.

Paper, section 2.3 and equation 2: x_i = mu_i + sigma_i z_i, where mu_i and sigma_i are functions of x_1 .. x_(i-1) and
of the context. Germain et al. (2015) compute all of them with one masked network: a hidden unit of degree d sees the
first d inputs, and output i sees the units of degree i or less (i counts from 0).

Two differences from a stack of `nflows.transforms.MaskedAffineAutoregressiveTransform`, which is otherwise the model:

- Degrees run from 0 to D - 1, not from 1, so the first dimension has units too and depends on the context.
- Units are sorted by degree. Every row of a weight matrix then reads a prefix of its columns (see `MaskedMatrix`), so
  products skip most masked entries, and the inverse computes each unit once instead of running the network D times.

Internally arrays are unit-major, [units, n], so that a run of units is contiguous. Biases are the first column of each
matrix, multiplied by a unit that is always one. All weights are one parameter, so clipping and Adam are single passes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from methods.gpril.flows.masked_matmul import WeightLayout
from methods.gpril.flows.sampling import Inverter, chunk_width


class MadeStack(Transform):
    """L MADEs, with the order of dimensions reversed between them; in one MADE, z_i = (x_i - mu_i) / sigma_i.

    sigma = sigma_floor + softplus(u), the softplus scaled so that u = 0 gives sigma = 1.

    Args:
        features: D.
        context: C.
        hidden: units of the hidden layers (ReLU) of each MADE; the context enters the first of them.
        layers: L.
        sigma_floor: lower bound of every sigma_i, in [0, 1).
        identity_start: start as the identity (but for the order of dimensions), with last matrices of zero.

    `forward` has first derivatives only. `inverse` has no gradients, and is not thread-safe: it reuses its buffers.
    """

    mask: Tensor

    def __init__(
        self, features: int, context: int, hidden: Sequence[int], layers: int, sigma_floor: float, identity_start: bool
    ) -> None:
        super().__init__()
        self.layout = WeightLayout(features, context, hidden)
        self.sigma_floor = sigma_floor
        self.beta = math.log(2.0) / (1.0 - sigma_floor)
        self.weights = nn.Parameter(torch.stack([self.layout.initial_weights(identity_start) for _ in range(layers)]))
        self.register_buffer("mask", self.layout.mask(), persistent=False)
        self._inverter: Inverter | None = None

    def forward(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x [n, D] and context [n, C] -> z [n, D] and log |det dz/dx| [n]."""
        return _Forward.apply(self, inputs, context, self.weights)  # type: ignore[no-any-return]

    @torch.no_grad()
    def inverse(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z [n, D] and context [n, C] -> x [n, D] and log |det dx/dz| [n], without gradients."""
        self._check(inputs, context)
        # A GPU has no cache to fit the units into, and prefers few calls.
        width = len(inputs) if self.weights.is_cuda else chunk_width(self.layout, len(inputs))
        if self._inverter is None or not self._inverter.fits(self.weights, width):
            self._inverter = Inverter(self.layout, self.weights, width, self.sigma_floor, self.beta)
        chunks = zip(inputs.split(width), context.split(width), strict=True)
        values, logabsdets = zip(*(self._inverter.run(*chunk) for chunk in chunks), strict=True)
        return torch.cat(values), torch.cat(logabsdets)

    def _check(self, inputs: Tensor, context: Tensor) -> None:
        rows = inputs.shape[:-1]
        expected = (*rows, self.layout.features), (*rows, self.layout.context)
        if (inputs.shape, context.shape) != expected:
            shapes = tuple(inputs.shape), tuple(context.shape)
            raise ValueError(f"inputs and context must have the shapes {expected}, not {shapes}")

    def forward_pass(self, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """`forward` outside of autograd, with the intermediate values that `backward_pass` needs.

        Returns:
            z [n, D], log |det dz/dx| [n], and for each MADE u, sigma, z and the units of each layer.
        """
        self._check(inputs, context)
        layout = self.layout
        rows, count = inputs.T, len(inputs)
        shared = torch.cat((rows.new_ones(1, count), context.T))
        log_sigma = rows.new_zeros(count)
        kept = []
        for layer, vector in enumerate(self.weights):
            rows = rows.flip(0) if layer else rows
            units = [torch.cat((shared, rows))]
            *hidden, last = zip(layout.matrices, layout.views(vector), strict=True)
            for matrix, weight in hidden:
                above = rows.new_empty(1 + matrix.rows, count)
                above[0] = 1.0
                matrix.product(weight, units[-1], above[1:])
                units.append(above.relu_())
            parameters = rows.new_empty(layout.features, 2, count)
            last[0].product(last[1], units[-1], parameters.flatten(0, 1))
            mean, spread = parameters.unbind(1)
            sigma = softplus(spread, self.beta).add_(self.sigma_floor)
            rows = (rows - mean).div_(sigma)
            log_sigma += sigma.log().sum(0)
            kept += [spread, sigma, rows, *units]
        return rows.T, log_sigma.neg_(), kept

    def backward_pass(
        self,
        weights: Tensor,
        kept: Sequence[Tensor],
        z_gradient: Tensor,
        logabsdet_gradient: Tensor,
        needs: tuple[bool, bool] = (False, False),
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of the weights and, where `needs` says so, of the inputs and of the context.

        Args:
            weights: [L, size], as in the forward pass.
            kept: what `forward_pass` kept.
            z_gradient: [n, D], of the loss with respect to z.
            logabsdet_gradient: [n], of the loss with respect to log |det dz/dx|.
            needs: whether the gradients of inputs and context are wanted.
        """
        layout, depth = self.layout, len(self.layout.matrices)
        result = torch.zeros_like(weights)
        rows_gradient, count = z_gradient.T, len(z_gradient)
        context_gradient = z_gradient.new_zeros(layout.context, count) if needs[1] else None
        for layer in range(len(weights) - 1, -1, -1):
            spread, sigma, rows, *units = kept[(3 + depth) * layer : (3 + depth) * (layer + 1)]
            views, results = layout.views(weights[layer]), layout.views(result[layer])
            gradient = rows.new_empty(layout.features, 2, count)
            direct = torch.div(rows_gradient, sigma, out=gradient[:, 0])
            slope = torch.sigmoid(spread * self.beta).div_(sigma)
            torch.addcmul(logabsdet_gradient, rows_gradient, rows, out=gradient[:, 1]).mul_(slope)
            gradient = gradient.neg_().flatten(0, 1)
            for index in range(depth - 1, 0, -1):
                matrix = layout.matrices[index]
                matrix.weight_gradient(gradient, units[index], results[index])
                gradient = matrix.unit_gradient(views[index], gradient).mul_(units[index][1:].sign())
            layout.matrices[0].weight_gradient(gradient, units[0], results[0])
            if layer or needs[0]:
                rows_gradient = layout.matrices[0].unit_gradient(views[0], gradient).sub_(direct)
                rows_gradient = rows_gradient.flip(0) if layer else rows_gradient
            if context_gradient is not None:
                context_gradient += views[0][:, 1 : 1 + layout.context].T @ gradient
        return (
            result.mul_(self.mask),
            rows_gradient.T if needs[0] else None,
            None if context_gradient is None else context_gradient.T,
        )


class _Forward(torch.autograd.Function):
    """`MadeStack.forward` with its backward pass written out, so that it skips masked products too."""

    @staticmethod
    def forward(ctx: Any, stack: MadeStack, inputs: Tensor, context: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        z, logabsdet, kept = stack.forward_pass(inputs, context)
        ctx.stack = stack
        ctx.save_for_backward(weights, *kept)
        return z, logabsdet

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, z_gradient: Tensor, logabsdet_gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *kept = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:3]
        of_weights, *others = ctx.stack.backward_pass(weights, kept, z_gradient, logabsdet_gradient, needs)
        return None, *others, of_weights
