"""Maximum-likelihood training of a flow: the gradient, its clip and Adam, with as few calls as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from nflows.flows import Flow
from torch import Tensor
from torch.optim.adam import adam

from methods.gpril.made import MadeStack

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Ascended(NamedTuple):
    """What one step saw, before it moved the weights: mean log density and the gradient's norm before clipping, []."""

    log_prob: Tensor
    gradient_norm: Tensor


class LikelihoodAscent:
    """Adam on the mean log density of a flow.

    The step is that of `log_prob(...).mean()`, `clip_grad_norm_` and `torch.optim.Adam(weight_decay=l2, fused=True)`,
    without the bookkeeping of autograd and optimizers, which takes a quarter of a step of small networks.

    Args:
        flow: over a standard normal; its parameters are changed in place.
        learning_rate: of Adam.
        l2: the loss has l2 / 2 times the sum of all squared weights and biases; masked weights stay zero.
        clip: largest L2 norm of the likelihood's gradient (paper, appendix B: 100).
    """

    def __init__(self, flow: Flow, learning_rate: float, l2: float = 0.0, clip: float = math.inf) -> None:
        self.flow = flow
        self.learning_rate = learning_rate
        self.l2 = l2
        self.clip = clip
        self._parameters = list(flow.parameters())
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [parameter.new_zeros((), dtype=torch.float32) for parameter in self._parameters]

    def step(self, x: Tensor, context: Tensor) -> Ascended:
        """Make x [n, D] more likely given the context [n, C]."""
        transform = self.flow._transform
        if isinstance(transform, MadeStack):
            log_prob, gradient = gradient_of_stack(transform, x, context)
            gradients = [gradient]
        else:
            mean = self.flow.log_prob(x, context=context).mean()
            log_prob, gradients = mean.detach(), list(torch.autograd.grad(-mean, self._parameters))
        norm = total_norm(gradients)
        adam_step([self], [gradients], (norm / self.clip).clamp_(min=1.0).float())
        return Ascended(log_prob, norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments and steps; the weights are the flow's."""
        return {"means": self._means, "squares": self._squares, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, stored in zip(
            (self._means, self._squares, self._steps), (state["means"], state["squares"], state["steps"]), strict=True
        ):
            for tensor, value in zip(mine, stored, strict=True):
                tensor.copy_(value)


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The L2 norm [] of a gradient that lies in several tensors."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients]))


@torch.no_grad()
def gradient_of_stack(stack: MadeStack, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """The mean log density over a standard normal, and the gradient of its negative; [S] and [S, ...] for S stacks."""
    count, features = x.shape[-2:]
    z, logabsdet, kept = stack.forward_pass(stack.weights, x, context)
    log_prob = logabsdet.sub_(z.square().sum(-1), alpha=0.5).mean(-1) - 0.5 * math.log(2.0 * math.pi) * features
    share = 1.0 / count
    constant = torch.full_like(logabsdet, -share)
    return log_prob, stack.backward_pass(stack.weights, kept, z * share, constant)[0]


def adam_step(
    ascents: Sequence[LikelihoodAscent], gradients: Sequence[Sequence[Tensor]], scale: Tensor | None = None
) -> None:
    """Move the weights of flows with equal settings by their gradients, divided by `scale` [], in one fused call."""
    first = ascents[0]
    with torch.no_grad():
        adam(
            [tensor for ascent in ascents for tensor in ascent._parameters],
            [tensor for parts in gradients for tensor in parts],
            [tensor for ascent in ascents for tensor in ascent._means],
            [tensor for ascent in ascents for tensor in ascent._squares],
            [],
            [tensor for ascent in ascents for tensor in ascent._steps],
            fused=True,
            grad_scale=scale,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=first.learning_rate,
            weight_decay=first.l2,
            eps=EPSILON,
            maximize=False,
        )
