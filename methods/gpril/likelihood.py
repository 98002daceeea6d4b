"""Maximum-likelihood training of a flow: the gradient and its clip, with as few calls as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from nflows.flows import Flow
from torch import Tensor

from methods.gpril.flows.made import MadeStack
from methods.gpril.flows.optimizer import Adam


class Ascended(NamedTuple):
    """What one step saw, before it moved the weights: mean log density and the gradient's norm before clipping, []."""

    log_prob: Tensor
    gradient_norm: Tensor


class LikelihoodAscent:
    """Adam on the mean log density of a flow.

    The step is that of `log_prob(...).mean()`, `clip_grad_norm_` and `torch.optim.Adam(weight_decay=l2, fused=True)`,
    without the bookkeeping of autograd.

    Args:
        flow: over a standard normal; its parameters are changed in place.
        learning_rate: of Adam.
        l2: the loss has l2 / 2 times the sum of all squared weights and biases; masked weights stay zero.
        clip: largest L2 norm of the likelihood's gradient (paper, appendix B: 100).
    """

    def __init__(self, flow: Flow, learning_rate: float, l2: float = 0.0, clip: float = math.inf) -> None:
        self.flow = flow
        self.clip = clip
        self.adam = Adam(flow.parameters(), learning_rate, l2)

    def step(self, x: Tensor, context: Tensor) -> Ascended:
        """Make x [n, D] more likely given the context [n, C]."""
        transform = self.flow._transform
        if isinstance(transform, MadeStack):
            log_prob, gradient = gradient_of_stack(transform, x, context)
            gradients = [gradient]
        else:
            mean = self.flow.log_prob(x, context=context).mean()
            log_prob, gradients = mean.detach(), list(torch.autograd.grad(-mean, self.adam.parameters))
        norm = total_norm(gradients)
        self.adam.step(gradients, scale=(norm / self.clip).clamp_(min=1.0).float())
        return Ascended(log_prob, norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments and steps; the weights are the flow's."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state)


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
