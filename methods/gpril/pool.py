"""Equal networks of several seeds as one: their weights lie side by side in one tensor, and one product serves all.

Each network keeps working on its own: its weights are views of the pool.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods.gpril.adam import step_all
from methods.gpril.ascent import LikelihoodAscent, gradient_of_stack
from methods.gpril.made import MadeStack
from methods.policy import GaussianNetwork


def pool(tensors: Sequence[Tensor]) -> Tensor:
    """Equal tensors as the rows of one, [S, ...], which they become views of."""
    together = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, row in zip(tensors, together, strict=True):
        tensor.data = row
    return together


def side_by_side(stacks: Sequence[MadeStack]) -> MadeStack:
    """Stacks of one shape as one that maps [S, n, D] given [S, n, C]; their weights become views of its weights."""
    together = copy.deepcopy(stacks[0])
    together._inverter = None
    together.weights = nn.Parameter(pool([stack.weights for stack in stacks]))
    return together


class PooledAscent:
    """The steps of S `LikelihoodAscent` on flows of one shape, computed at once.

    Args:
        ascents: with equal settings, on flows whose transform is a `MadeStack`.
    """

    def __init__(self, ascents: Sequence[LikelihoodAscent]) -> None:
        self.ascents = ascents
        self.stack = side_by_side([ascent.flow._transform for ascent in ascents])

    def step(self, x: Tensor, context: Tensor, moving: Sequence[int]) -> Tensor:
        """Make x [S, n, D] more likely given context [S, n, C] where `moving` has the seed's number.

        Returns:
            The gradients' norms before clipping, [S].
        """
        _, gradient = gradient_of_stack(self.stack, x, context)
        norms = torch.linalg.vector_norm(gradient, dim=(-2, -1))
        gradient /= (norms / self.ascents[0].clip).clamp_(min=1.0)[:, None, None]
        moved = [self.ascents[number].adam for number in moving]
        step_all(moved, [gradient[number] for number in moving], moved[0].learning_rate)
        return norms


class PooledPolicy:
    """S policies of one shape, evaluated at once.

    Attributes:
        parameters: of all of them, [S, ...] each, by name.
    """

    def __init__(self, networks: Sequence[GaussianNetwork]) -> None:
        own = [dict(network.named_parameters()) for network in networks]
        self.parameters = {name: pool([one[name] for one in own]).requires_grad_() for name in own[0]}
        template = networks[0]

        def forward(parameters: dict[str, Tensor], observations: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(template, parameters, (observations,))

        self._forward: Callable[..., tuple[Tensor, Tensor]] = torch.func.vmap(forward)

    def __call__(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [S, n, O] -> mean and sigma of the actions, [S, n, A] each."""
        return self._forward(self.parameters, observations)
