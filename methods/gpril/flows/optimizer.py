"""Adam as one fused call, for one network or for several with equal settings at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """`torch.optim.Adam(weight_decay=l2, fused=True)` on gradients that are handed over.

    It lacks the bookkeeping of torch's optimizers, which takes a quarter of a step of small networks.

    Attributes:
        parameters: changed in place.
        learning_rate: may be changed between steps.
        l2: the loss has l2 / 2 times the sum of all squared parameters.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, l2: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.l2 = l2
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [parameter.new_zeros((), dtype=torch.float32) for parameter in self.parameters]

    def step(self, gradients: Sequence[Tensor], scale: Tensor | None = None) -> None:
        """Descend one gradient, a tensor a parameter, divided by `scale` []."""
        step_all([self], gradients, self.learning_rate, scale)

    def state_dict(self) -> dict[str, Any]:
        """Moments and steps."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, mine in self.state_dict().items():
            for tensor, value in zip(mine, state[name], strict=True):
                tensor.copy_(value)


@torch.no_grad()
def step_all(
    optimizers: Sequence[Adam], gradients: Sequence[Tensor], learning_rate: float | Tensor, scale: Tensor | None = None
) -> None:
    """A step of several optimizers with equal settings, whose gradients follow each other."""
    adam(
        [tensor for one in optimizers for tensor in one.parameters],
        list(gradients),
        [tensor for one in optimizers for tensor in one.means],
        [tensor for one in optimizers for tensor in one.squares],
        [],
        [tensor for one in optimizers for tensor in one.steps],
        fused=True,
        grad_scale=scale,
        amsgrad=False,
        beta1=BETAS[0],
        beta2=BETAS[1],
        lr=learning_rate,
        weight_decay=optimizers[0].l2,
        eps=EPSILON,
        maximize=False,
    )
