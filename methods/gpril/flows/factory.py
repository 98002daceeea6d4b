"""Builds and samples conditional masked autoregressive flows, the generative models B^s and B^a of GPRIL.

Paper, section 2.3 and appendix B: stacked MADEs (Papamakarios et al., 2017), two of them with hidden layers of 500 and
500 units. Every flow here is an nflows `Flow` over a standard normal; `KINDS` lists the available transforms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    ReversePermutation,
)
from nflows.transforms.base import Transform
from torch import Tensor

from methods.gpril.flows.made import MadeStack
from methods.interface import MethodError

BINS = 8
"""Bins of a spline, as in most experiments of Durkan et al. (2019)."""
TAIL_BOUND = 4.0
"""Beyond +-TAIL_BOUND a spline is the identity, in standard deviations of its affine layer."""


@dataclass(frozen=True)
class FlowShape:
    """Architecture of a flow.

    Attributes:
        features: D, the dimensions modelled.
        context: C, the dimensions conditioned on.
        hidden: units of the hidden layers of each MADE.
        layers: number of stacked MADEs; each after the first sees the dimensions in reverse order.
        sigma_floor: lower bound of every sigma_i of every layer (paper, appendix B: min(sigma_i)), in the unit of the
            modelled features. Floors multiply: a stack of L layers has |det dx/dz| >= sigma_floor ** (L * D), so its
            density is nowhere above the peak of a Gaussian with sigma = sigma_floor ** L in every dimension.
        identity_start: start as the standard normal, whatever the context; otherwise last layers are random.

    Raises MethodError for sizes or a floor that no flow can have.
    """

    features: int
    context: int
    hidden: tuple[int, ...] = (500, 500)
    layers: int = 2
    sigma_floor: float = 0.1
    identity_start: bool = True

    def __post_init__(self) -> None:
        for name in ("features", "context", "layers"):
            if getattr(self, name) < 1:
                raise MethodError(f"a flow's {name} must be 1 or more, not {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise MethodError(f"a flow's hidden layers must be one or more, of 1 unit or more, not {self.hidden}")
        if not 0.0 <= self.sigma_floor < 1.0:
            raise MethodError(f"sigma_floor must be in [0, 1), since sigma starts at 1; it is {self.sigma_floor}")


def _fast(shape: FlowShape) -> Transform:
    return MadeStack(shape.features, shape.context, shape.hidden, shape.layers, shape.sigma_floor, shape.identity_start)


def _nflows(shape: FlowShape) -> Transform:
    """nflows' own MADEs: no floor, random initial weights, and a first dimension that ignores the context in each."""
    return _stack(shape, lambda: MaskedAffineAutoregressiveTransform(**_network(shape)))


def _spline(shape: FlowShape) -> Transform:
    """Layers of one affine MADE followed by nflows' monotonic rational-quadratic splines (Durkan et al., 2019).

    The MADE shifts and scales the data into the interval in which the spline acts, and makes the first dimension depend
    on the context, which nflows' spline ignores. The MADE's sigma has the floor; the spline may be steeper, so the
    floor does not hold for the stack.
    """

    def layer() -> Transform:
        affine = MadeStack(shape.features, shape.context, shape.hidden, 1, shape.sigma_floor, shape.identity_start)
        spline = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            **_network(shape), num_bins=BINS, tails="linear", tail_bound=TAIL_BOUND
        )
        if shape.identity_start:
            last = spline.autoregressive_net.final_layer
            last.weight.data.zero_()
            last.bias.data.zero_()  # bins of equal width and height, with slopes of one between them
            last.bias.data.view(shape.features, -1)[:, 2 * BINS :] = math.log(math.expm1(1.0 - spline.min_derivative))
        return CompositeTransform([affine, spline])

    return _stack(shape, layer)


def _network(shape: FlowShape) -> dict[str, Any]:
    """Arguments of nflows' MADE. Raises MethodError for hidden layers that it cannot have."""
    if len(set(shape.hidden)) > 1:
        raise MethodError(f"nflows' hidden layers must have equally many units, not {shape.hidden}; use flow 'fast'")
    return {
        "features": shape.features,
        "hidden_features": shape.hidden[0],
        "context_features": shape.context,
        "num_blocks": len(shape.hidden) - 1,
        "use_residual_blocks": False,
    }


def _stack(shape: FlowShape, layer: Callable[[], Transform]) -> Transform:
    """`shape.layers` layers, with the order of dimensions reversed between them."""
    transforms = [layer()]
    for _ in range(shape.layers - 1):
        transforms += [ReversePermutation(shape.features), layer()]
    return CompositeTransform(transforms)


KINDS: dict[str, Callable[[FlowShape], Transform]] = {"fast": _fast, "nflows": _nflows, "spline": _spline}
"""Name of a kind of flow -> its transform from data to noise; any conditional nflows transform can be added."""


def make_flow(shape: FlowShape, kind: str = "fast") -> Flow:
    """A new flow; `flow.log_prob(x [n, D], context=c [n, C])` is its log density [n].

    Weights are drawn from torch's global generator.

    Raises:
        MethodError: the kind is unknown, or cannot have this shape.
    """
    if kind not in KINDS:
        raise MethodError(f"unknown flow {kind!r}; available: {', '.join(KINDS)}")
    return Flow(KINDS[kind](shape), StandardNormal([shape.features]))


@torch.no_grad()
def sample(
    flow: Flow, context: Tensor, generator: torch.Generator | None = None, noise: Tensor | None = None
) -> Tensor:
    """One sample [n, D] per row of `context` [n, C], without gradients.

    Args:
        flow: made by `make_flow`.
        context: values to condition on; samples have its type and device.
        generator: source of the noise; None for torch's global generator.
        noise: standard normal [n, D] to transform instead of fresh noise.
    """
    if noise is None:
        (features,) = flow._distribution._shape  # nflows' own `sample` takes no generator and fails in float64
        size = (len(context), features)
        noise = torch.randn(size, generator=generator, dtype=context.dtype, device=context.device)
    return flow._transform.inverse(noise, context)[0]
