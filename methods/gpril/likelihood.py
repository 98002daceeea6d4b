"""Maximum-likelihood training of a flow: gradient, gradient clipping and Adam in few calls."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from nflows.flows import Flow
from torch import Tensor

from methods.gpril.flows.made import MadeStack
from methods.gpril.flows.optimizer import Adam

Reduction = Literal["mean", "sum"]
"""How the log density of a batch enters the loss. The paper's algorithm 1 prints sums, which weaken the L2 term and
make the gradient clip bind more often than means do."""


class StepResult(NamedTuple):
    """Mean log density of the batch and norm of the gradient before clipping, [] each, before the weights moved."""

    log_prob: Tensor
    gradient_norm: Tensor


class LikelihoodTrainer:
    """Adam on the log density of a flow.

    A step equals `log_prob(...).mean()` (or `sum()`), `clip_grad_norm_` and
    `torch.optim.Adam(weight_decay=l2, fused=True)`, without the bookkeeping of autograd.

    Args:
        flow: over a standard normal; its parameters are changed in place.
        learning_rate: of Adam.
        l2: the loss includes l2 / 2 times the sum of all squared weights and biases; masked weights stay zero.
        clip: largest L2 norm of the likelihood's gradient (paper, appendix B: 100).
        reduction: of the batch's log densities.
    """

    def __init__(
        self,
        flow: Flow,
        learning_rate: float,
        l2: float = 0.0,
        clip: float = math.inf,
        reduction: Reduction = "mean",
    ) -> None:
        self.flow = flow
        self.clip = clip
        self.reduction = reduction
        self.adam = Adam(flow.parameters(), learning_rate, l2)

    def step(self, x: Tensor, context: Tensor) -> StepResult:
        """Make x [n, D] more likely given the context [n, C]."""
        transform, weight = self.flow._transform, 1.0 if self.reduction == "sum" else 1.0 / len(x)
        if isinstance(transform, MadeStack):
            log_prob, gradient = gradient_of_stack(transform, x, context, weight)
            gradients = [gradient]
        else:
            mean = self.flow.log_prob(x, context=context).mean()
            loss = -mean if self.reduction == "mean" else -mean * len(x)
            log_prob, gradients = mean.detach(), list(torch.autograd.grad(loss, self.adam.parameters))
        norm = total_norm(gradients)
        self.adam.step(gradients, scale=(norm / self.clip).clamp_(min=1.0).float())
        return StepResult(log_prob, norm)

    def state_dict(self) -> dict[str, Any]:
        """Adam's moments and step counts; the weights belong to the flow."""
        return self.adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.adam.load_state_dict(state)


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The L2 norm [] of a gradient that is spread over several tensors."""
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in gradients]))


@torch.no_grad()
def gradient_of_stack(stack: MadeStack, x: Tensor, context: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Mean log density [] over a standard normal, and the gradient of minus `weight` times the batch's sum of it."""
    z, logabsdet, kept = stack.forward_pass(x, context)
    log_prob = logabsdet.sub_(z.square().sum(-1), alpha=0.5).mean(-1) - 0.5 * math.log(2.0 * math.pi) * x.shape[-1]
    constant = torch.full_like(logabsdet, -weight)
    return log_prob, stack.backward_pass(stack.weights, kept, z * weight, constant)[0]
