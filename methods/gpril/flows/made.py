"""Stacked conditional masked autoencoders (MADEs) as an nflows transform that wastes little arithmetic on masks.

Paper, section 2.2 and equation 2: x_i = mu_i + sigma_i z_i, where mu_i and sigma_i are functions of x_1 .. x_(i-1) and
of the context. Germain et al. (2015) compute all of them with one masked network: a hidden unit of degree d sees the
first d inputs, and output i sees the units of degree i or less (i counts from 0).

Two departures from a stack of `nflows.transforms.MaskedAffineAutoregressiveTransform`, which is otherwise the model:

- Degrees run from 0 to D - 1, not from 1, so the first dimension has units too and depends on the context.
- Units are sorted by degree. The rows of every weight matrix then read a prefix of its columns which never gets shorter
  from row to row (a *staircase*): products skip most of what is masked, and the inverse computes each unit once instead
  of the whole network D times.

Inside, arrays are unit-major, [units, n], so that a run of units is contiguous. Biases are the first column of each
matrix, fed by a unit that is always one. All weights are one parameter, so that clipping and Adam are single passes.
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

from methods.gpril.flows.masked_matmul import Layout
from methods.gpril.flows.sampling import Inverter, chunk_width


class MadeStack(Transform):
    """L MADEs, the dimensions in reverse order after each but the last; in one MADE, z_i = (x_i - mu_i) / sigma_i.

    sigma = sigma_floor + softplus(u), the softplus scaled so that u = 0 gives sigma = 1.

    Args:
        features: D.
        context: C.
        hidden: units of the hidden layers (ReLU) of each MADE; the context enters the first of them.
        layers: L.
        sigma_floor: lower bound of every sigma_i, in [0, 1).
        identity_start: begin as the identity (but for the order of dimensions), with last matrices of zero.

    Several stacks of one shape work as one where their weights are [S, L, size] (`pool.side_by_side`); every array then
    has S in front.

    Gradients are those of `forward`, once (no second derivatives). `inverse` gives values without gradients, and two
    threads must not call it at once, since it keeps its work space.
    """

    mask: Tensor

    def __init__(
        self, features: int, context: int, hidden: Sequence[int], layers: int, sigma_floor: float, identity_start: bool
    ) -> None:
        super().__init__()
        self.layout = Layout(features, context, hidden)
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
        width = inputs.shape[-2]
        if not self.weights.is_cuda:  # a GPU has no such cache, and wants few calls
            width = chunk_width(self.layout, width, self.weights.shape[:-2].numel())
        if self._inverter is None or not self._inverter.fits(self.weights, width):
            self._inverter = Inverter(self.layout, self.weights, width, self.sigma_floor, self.beta)
        chunks = zip(inputs.split(width, -2), context.split(width, -2), strict=True)
        values, logabsdets = zip(*(self._inverter.run(*chunk) for chunk in chunks), strict=True)
        return torch.cat(values, -2), torch.cat(logabsdets, -1)

    def _check(self, inputs: Tensor, context: Tensor) -> None:
        rows = inputs.shape[:-1]
        expected = (*rows, self.layout.features), (*rows, self.layout.context)
        if (inputs.shape, context.shape) != expected:
            shapes = tuple(inputs.shape), tuple(context.shape)
            raise ValueError(f"inputs and context must have the shapes {expected}, not {shapes}")

    def forward_pass(self, weights: Tensor, inputs: Tensor, context: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """As `forward`, outside of autograd, with what `backward_pass` needs: u, sigma, z and units of each MADE."""
        self._check(inputs, context)
        layout = self.layout
        rows = inputs.mT
        *stacked, _, count = rows.shape
        lead = torch.cat((rows.new_ones(*stacked, 1, count), context.mT), -2)
        log_sigma = rows.new_zeros(*stacked, count)
        kept = []
        for layer, vector in enumerate(weights.unbind(-2)):
            rows = rows.flip(-2) if layer else rows
            units = [torch.cat((lead, rows), -2)]
            matrices = layout.matrices(vector)
            for staircase, matrix in zip(layout.staircases[:-1], matrices, strict=False):
                above = rows.new_empty(*stacked, 1 + staircase.rows, count)
                above[..., 0, :] = 1.0
                staircase.product(matrix, units[-1], above[..., 1:, :])
                units.append(above.relu_())
            parameters = rows.new_empty(*stacked, layout.features, 2, count)
            layout.staircases[-1].product(matrices[-1], units[-1], parameters.flatten(-3, -2))
            mean, spread = parameters.unbind(-2)
            sigma = softplus(spread, self.beta).add_(self.sigma_floor)
            rows = (rows - mean).div_(sigma)
            log_sigma += sigma.log().sum(-2)
            kept += [spread, sigma, rows, *units]
        return rows.mT, log_sigma.neg_(), kept

    def backward_pass(
        self,
        weights: Tensor,
        kept: Sequence[Tensor],
        z_gradient: Tensor,
        logabsdet_gradient: Tensor,
        needs: tuple[bool, bool] = (False, False),
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The gradients of the weights and, where `needs` says so, of the inputs and of the context."""
        layout, depth = self.layout, len(self.layout.staircases)
        result = torch.zeros_like(weights)
        rows_gradient, logabsdet_gradient = z_gradient.mT, logabsdet_gradient.unsqueeze(-2)
        *stacked, _, count = rows_gradient.shape
        context_gradient = z_gradient.new_zeros(*stacked, layout.context, count) if needs[1] else None
        for layer in range(weights.shape[-2] - 1, -1, -1):
            spread, sigma, rows, *units = kept[(3 + depth) * layer : (3 + depth) * (layer + 1)]
            matrices, results = (layout.matrices(vectors.select(-2, layer)) for vectors in (weights, result))
            gradient = rows.new_empty(*stacked, layout.features, 2, count)
            direct = torch.div(rows_gradient, sigma, out=gradient.select(-2, 0))
            slope = torch.sigmoid(spread * self.beta).div_(sigma)
            torch.addcmul(logabsdet_gradient, rows_gradient, rows, out=gradient.select(-2, 1)).mul_(slope)
            gradient = gradient.neg_().flatten(-3, -2)
            for index in range(depth - 1, 0, -1):
                staircase = layout.staircases[index]
                staircase.weight_gradient(gradient, units[index], results[index])
                gradient = staircase.unit_gradient(matrices[index], gradient).mul_(units[index][..., 1:, :].sign())
            layout.staircases[0].weight_gradient(gradient, units[0], results[0])
            if layer or needs[0]:
                rows_gradient = layout.staircases[0].unit_gradient(matrices[0], gradient).sub_(direct)
                rows_gradient = rows_gradient.flip(-2) if layer else rows_gradient
            if context_gradient is not None:
                context_gradient += matrices[0][..., 1 : 1 + layout.context].mT @ gradient
        return (
            result.mul_(self.mask),
            rows_gradient.mT if needs[0] else None,
            None if context_gradient is None else context_gradient.mT,
        )


class _Forward(torch.autograd.Function):
    """`MadeStack.forward` with its backward pass written out: the fewest operations, and no products over masks."""

    @staticmethod
    def forward(ctx: Any, stack: MadeStack, inputs: Tensor, context: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        z, logabsdet, kept = stack.forward_pass(weights, inputs, context)
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
