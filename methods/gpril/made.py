"""A conditional masked autoencoder (MADE) as an nflows transform that wastes little arithmetic on its masks.

Paper, section 2.2 and equation 2: x_i = mu_i + sigma_i z_i, where mu_i and sigma_i are functions of x_1 .. x_(i-1) and
of the context. Germain et al. (2015) compute all of them with one masked network: a hidden unit of degree d sees the
first d inputs, and output i sees the units of degree i or less (i counts from 0).

Two departures from `nflows.transforms.MaskedAffineAutoregressiveTransform`, which is otherwise the model:

- Degrees run from 0 to D - 1, not from 1, so the first dimension has units too and depends on the context.
- Units are sorted by degree. The rows of every weight matrix then read a prefix of its columns which never gets shorter
  from row to row (a *staircase*): products skip most of what is masked, and the inverse computes each unit once instead
  of the whole network D times.

Inside, arrays are unit-major, [units, n], so that a run of units is contiguous. Biases are the first column of each
matrix, fed by a unit that is always one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

BLOCK_ROWS = 64
"""Rows of a block in training: smaller blocks skip more of the mask, but matrix products get less efficient."""

CHUNK = 512
"""Most samples inverted at once: more amortise calls better, but the units of a chunk should stay in the cache."""


class Staircase:
    """The shape of a matrix whose row r may only read its first `reach[r]` columns; reach never falls from row to row.

    Attributes:
        reach: columns a row reads, one a row.
        columns: columns of the matrix.
    """

    def __init__(self, reach: Sequence[int], columns: int) -> None:
        self.reach = tuple(reach)
        self.columns = columns
        rows = len(reach)
        count = max(1, rows // BLOCK_ROWS)
        edges = [rows * k // count for k in range(count + 1)]
        self._row_blocks = [(a, b, reach[b - 1]) for a, b in zip(edges, edges[1:], strict=False)]
        edges = [columns * k // count for k in range(count + 1)]
        self._column_blocks = [(a, b, bisect_right(reach, a)) for a, b in zip(edges, edges[1:], strict=False)]

    def mask(self) -> Tensor:
        """1 where a weight may differ from 0, [rows, columns]."""
        return (torch.arange(self.columns) < torch.tensor(self.reach)[:, None]).float()

    def product(self, weight: Tensor, units: Tensor, out: Tensor) -> None:
        """out = weight @ units, [rows, n], for a weight that is 0 outside the staircase."""
        for first, last, reach in self._row_blocks:
            torch.mm(weight[first:last, :reach], units[:reach], out=out[first:last])

    def weight_gradient(self, gradient: Tensor, units: Tensor, mask: Tensor) -> Tensor:
        """gradient @ units.T, [rows, columns], zero outside the staircase."""
        result = gradient.new_zeros(len(self.reach), self.columns)
        for first, last, reach in self._row_blocks:
            torch.mm(gradient[first:last], units[:reach].t(), out=result[first:last, :reach])
        return result.mul_(mask)

    def unit_gradient(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """weight.T @ gradient, [columns, n]."""
        result = gradient.new_empty(self.columns, gradient.shape[1])
        for first, last, row in self._column_blocks:
            torch.mm(weight[row:, first:last].t(), gradient[row:], out=result[first:last])
        return result


class ConditionalMade(Transform):
    """z_i = (x_i - mu_i) / sigma_i, where mu_i and sigma_i depend on x_1 .. x_(i-1) and on the context.

    sigma = sigma_floor + softplus(u), the softplus scaled so that u = 0 gives sigma = 1.

    Args:
        features: D.
        context: C.
        hidden: units of the hidden layers (ReLU); the context enters the first.
        sigma_floor: lower bound of every sigma_i, in [0, 1).
        identity_start: begin as z = x, with the last layer's weights at zero.

    Gradients are those of `forward`, once (no second derivatives). `inverse` gives values without gradients, and two
    threads must not call it at once, since it keeps its work space.
    """

    def __init__(
        self, features: int, context: int, hidden: Sequence[int], sigma_floor: float, identity_start: bool
    ) -> None:
        super().__init__()
        self.features = features
        self.context = context
        self.sigma_floor = sigma_floor
        self.beta = math.log(2.0) / (1.0 - sigma_floor)
        self.degrees = [[unit * features // units for unit in range(units)] for units in hidden]
        self.staircases = list(self._make_staircases())
        self.weights = nn.ParameterList()
        for index, staircase in enumerate(self.staircases):
            mask = staircase.mask()
            self.register_buffer(f"mask_{index}", mask, persistent=False)
            fan_in = mask[:, 1:].sum(dim=1, keepdim=True).clamp_min(1.0)
            weight = (2.0 * torch.rand_like(mask) - 1.0) * mask / fan_in.sqrt()
            self.weights.append(nn.Parameter(weight))
        if identity_start:
            nn.init.zeros_(self.weights[-1])
        self._plan: InversePlan | None = None

    def _make_staircases(self) -> list[Staircase]:
        """Of the matrices into the hidden layers and into the interleaved outputs (mu_0, u_0, mu_1, u_1, ...)."""
        lead = 1 + self.context
        staircases = [Staircase([lead + degree for degree in self.degrees[0]], lead + self.features)]
        outputs = [dimension for dimension in range(self.features) for _ in range(2)]
        for below, degrees in zip(self.degrees, [*self.degrees[1:], outputs], strict=True):
            staircases.append(Staircase([1 + bisect_right(below, degree) for degree in degrees], 1 + len(below)))
        return staircases

    @property
    def masks(self) -> list[Tensor]:
        return [getattr(self, f"mask_{index}") for index in range(len(self.staircases))]

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [n, D] and context [n, C] -> z [n, D] and log |det dz/dx| [n]."""
        return _Forward.apply(self, inputs, context, *self.weights)

    @torch.no_grad()
    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z [n, D] and context [n, C] -> x [n, D] and log |det dx/dz| [n], without gradients."""
        assert context is not None
        count = len(inputs)
        chunks = max(1, -(-count // CHUNK))
        width = -(-count // chunks)
        if self._plan is None or not self._plan.fits(self, width):
            self._plan = InversePlan(self, width)
        parts = [self._plan.run(z, c) for z, c in zip(inputs.split(width), context.split(width), strict=True)]
        if len(parts) == 1:
            return parts[0]
        values, logabsdets = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(logabsdets)


class _Forward(torch.autograd.Function):
    """`ConditionalMade.forward` with its backward pass written out: the fewest products, and none over masks."""

    @staticmethod
    def forward(ctx: Any, made: ConditionalMade, inputs: Tensor, context: Tensor, *weights: Tensor) -> Any:
        count = len(inputs)
        x = inputs.t()
        units = [torch.cat((x.new_ones(1, count), context.t(), x))]
        for staircase, weight in zip(made.staircases[:-1], weights, strict=False):
            layer = x.new_empty(1 + len(weight), count)
            layer[0] = 1.0
            staircase.product(weight, units[-1], layer[1:])
            units.append(layer.relu_())
        parameters = x.new_empty(made.features, 2, count)
        made.staircases[-1].product(weights[-1], units[-1], parameters.view(-1, count))
        mean, spread = parameters.unbind(1)
        sigma = softplus(spread, made.beta).add_(made.sigma_floor)
        z = (x - mean).div_(sigma)
        ctx.made = made
        ctx.save_for_backward(spread, sigma, z, *units, *weights)
        return z.t(), sigma.log().sum(0).neg_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, z_gradient: Tensor, logabsdet_gradient: Tensor) -> Any:
        made: ConditionalMade = ctx.made
        spread, sigma, z, *rest = ctx.saved_tensors
        depth = len(made.staircases)
        units, weights = rest[:depth], rest[depth:]
        direct = z_gradient.t() / sigma
        spread_gradient = torch.addcmul(logabsdet_gradient / sigma, direct, z)
        spread_gradient.mul_(torch.sigmoid(made.beta * spread))
        gradient = torch.stack((direct, spread_gradient), dim=1).view(2 * made.features, -1).neg_()
        weight_gradients: list[Tensor] = []
        for index in range(depth - 1, 0, -1):
            staircase = made.staircases[index]
            weight_gradients.append(staircase.weight_gradient(gradient, units[index], made.masks[index]))
            gradient = staircase.unit_gradient(weights[index], gradient)[1:].mul_(units[index][1:].sign())
        weight_gradients.append(made.staircases[0].weight_gradient(gradient, units[0], made.masks[0]))
        input_gradient = context_gradient = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            below = made.staircases[0].unit_gradient(weights[0], gradient)
            context_gradient = below[1 : 1 + made.context].t()
            input_gradient = (below[1 + made.context :] + direct).t()
        return None, input_gradient, context_gradient, *reversed(weight_gradients)


@dataclass(frozen=True)
class _Dimension:
    """The views of the work space with which one dimension is inverted."""

    layers: list[tuple[Tensor, Tensor, Tensor]]  # weight, units below, this degree's units
    weight: Tensor
    below: Tensor
    parameters: Tensor
    mean: Tensor
    spread: Tensor
    scale: Tensor
    noise: Tensor
    value: Tensor


class InversePlan:
    """The inverse of a `ConditionalMade` for `width` samples: every view it needs is cut once and kept."""

    def __init__(self, made: ConditionalMade, width: int) -> None:
        weight = made.weights[0]
        self._made = made
        self._key = self._key_of(made, width)
        lead = 1 + made.context
        layers = [weight.new_ones(1 + len(degrees), width) for degrees in made.degrees]
        units = [weight.new_ones(lead + made.features, width), *layers]
        self._inputs = units[0]
        self._context = units[0][1:lead]
        self._values = units[0][lead:]
        self._noise = weight.new_zeros(made.features, width)
        self._parameters = weight.new_zeros(made.features, 2, width)
        self._scale = weight.new_zeros(made.features, width)
        self._dimensions = []
        for dimension in range(made.features):
            steps = []
            for index, degrees in enumerate(made.degrees):
                first, last = bisect_right(degrees, dimension - 1), bisect_right(degrees, dimension)
                if first < last:
                    reach = made.staircases[index].reach[first]
                    rows = made.weights[index].detach()[first:last, :reach]
                    steps.append((rows, units[index][:reach], units[index + 1][1 + first : 1 + last]))
            reach = made.staircases[-1].reach[2 * dimension]
            parameters = self._parameters[dimension]
            self._dimensions.append(
                _Dimension(
                    layers=steps,
                    weight=made.weights[-1].detach()[2 * dimension : 2 * dimension + 2, :reach],
                    below=units[-1][:reach],
                    parameters=parameters,
                    mean=parameters[0],
                    spread=parameters[1],
                    scale=self._scale[dimension],
                    noise=self._noise[dimension],
                    value=self._values[dimension],
                )
            )

    @staticmethod
    def _key_of(made: ConditionalMade, width: int) -> tuple[Any, ...]:
        return (width, *((weight.data_ptr(), weight.dtype, weight.device) for weight in made.weights))

    def fits(self, made: ConditionalMade, width: int) -> bool:
        """Whether the plan is for this width and still looks at the weights `made` has now."""
        return self._key == self._key_of(made, width)

    def run(self, noise: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z [m, D] and context [m, C], m <= width -> x [m, D] and log |det dx/dz| [m]."""
        count, floor, beta = len(noise), self._made.sigma_floor, self._made.beta
        self._context[:, :count] = context.t()
        self._noise[:, :count] = noise.t()
        torch.mul(self._noise, floor, out=self._parameters[:, 0])
        self._parameters[:, 1] = 0.0
        for dimension in self._dimensions:
            for weight, below, out in dimension.layers:
                torch.mm(weight, below, out=out)
                out.relu_()
            dimension.parameters.addmm_(dimension.weight, dimension.below)
            torch._C._nn.softplus(dimension.spread, beta, 20.0, out=dimension.scale)
            torch.addcmul(dimension.mean, dimension.scale, dimension.noise, out=dimension.value)
        values = self._values[:, :count].t().contiguous()
        return values, (self._scale[:, :count] + floor).log_().sum(0)
