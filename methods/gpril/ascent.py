"""Maximum-likelihood training of a flow: the gradient, its clip and Adam, with as few calls as possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
            log_prob, gradients = _gradient_of_stack(transform, x, context)
        else:
            mean = self.flow.log_prob(x, context=context).mean()
            log_prob, gradients = mean.detach(), list(torch.autograd.grad(-mean, self._parameters))
        norm = total_norm(gradients)
        with torch.no_grad():
            adam(
                self._parameters,
                gradients,
                self._means,
                self._squares,
                [],
                self._steps,
                fused=True,
                grad_scale=(norm / self.clip).clamp_(min=1.0).float(),  # gradients are divided by it
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=self.learning_rate,
                weight_decay=self.l2,
                eps=EPSILON,
                maximize=False,
            )
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
def _gradient_of_stack(stack: MadeStack, x: Tensor, context: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The mean log density over a standard normal, and the gradient of its negative."""
    count, features = x.shape
    z, logabsdet, kept = stack.forward_pass(stack.weights, x, context)
    log_prob = logabsdet.sub_(z.square().sum(1), alpha=0.5).mean() - 0.5 * math.log(2.0 * math.pi) * features
    share = 1.0 / count
    return log_prob, [stack.backward_pass(stack.weights, kept, z * share, z.new_full((count,), -share))[0]]
