"""Adam as one fused call, without the bookkeeping of torch's optimizers (a quarter of a step of small networks)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """`torch.optim.Adam(weight_decay=l2, fused=True)` whose gradients are passed to `step`.

    Attributes:
        parameters: changed in place.
        learning_rate: may be changed between steps.
        l2: coupled weight decay; the loss includes l2 / 2 times the sum of all squared parameters.
    """

    def __init__(self, parameters: Iterable[Tensor], learning_rate: float, l2: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.l2 = l2
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.steps = [parameter.new_zeros((), dtype=torch.float32) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], scale: Tensor | None = None) -> None:
        """Take one step along the negative gradient (one tensor per parameter), after dividing it by `scale` []."""
        adam(
            self.parameters,
            list(gradients),
            self.means,
            self.squares,
            [],
            self.steps,
            fused=True,
            grad_scale=scale,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.learning_rate,
            weight_decay=self.l2,
            eps=EPSILON,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Moments and step counts."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, into the existing tensors."""
        for name, own in self.state_dict().items():
            for tensor, value in zip(own, state[name], strict=True):
                tensor.copy_(value)
