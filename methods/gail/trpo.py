"""sb3-contrib's TRPO on the shared policy, with cheaper Fisher products and one critic pass per rollout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor, nn

from methods.policy import GaussianNetwork
from methods.sb3_policy import SharedPolicy


class Fisher:
    """The Fisher matrix F = E[J^T M J] of a Gaussian policy on a batch of states, as products with vectors.

    J is the Jacobian of mean and sigma with respect to the weights, M the Fisher information of a Gaussian in mean and
    sigma: 1 / sigma^2 and 2 / sigma^2. F equals the Hessian of the divergence from the current policy, but costs far
    less than differentiating twice.
    """

    def __init__(self, network: GaussianNetwork, states: Tensor) -> None:
        self._parameters = list(network.parameters())
        self._outputs = network(states)
        precision = self._outputs[1].detach() ** -2 / len(states)
        self._information = (precision, 2.0 * precision)
        # J^T u is linear in u, so its derivative with respect to u, applied to a vector, is J times the vector.
        self._probes = tuple(torch.zeros_like(output, requires_grad=True) for output in self._outputs)
        self._pulled = torch.autograd.grad(self._outputs, self._parameters, self._probes, create_graph=True)

    def __call__(self, vector: Tensor) -> Tensor:
        """F times a vector [P] over all weights, in the order of `network.parameters()`."""
        sizes = [parameter.numel() for parameter in self._parameters]
        parts = [part.view_as(of) for part, of in zip(vector.split(sizes), self._parameters, strict=True)]
        pushed = torch.autograd.grad(self._pulled, self._probes, parts, retain_graph=True)
        weighted = [weight * part for weight, part in zip(self._information, pushed, strict=True)]
        return _flat(torch.autograd.grad(self._outputs, self._parameters, weighted, retain_graph=True))


class DeferredRolloutBuffer(RolloutBuffer):
    """Computes values and rewards of a whole rollout at once, when advantages are computed, instead of in every step.

    Attributes:
        critic: values [n, 1] of states [n, O].
        rewards_of: rewards [T, N] of the steps taken at observations [T, N, O], added to those of the environments.
        chained: treat the environments' episodes as one endless stream: the state after the end of an episode is the
            first of the next one, so its value is bootstrapped from, and advantages carry over (see `Terminal`).
    """

    critic: Callable[[Tensor], Tensor]
    rewards_of: Callable[[np.ndarray], np.ndarray]
    chained = False

    def compute_returns_and_advantage(self, last_values: Tensor, dones: np.ndarray) -> None:
        self.rewards += self.rewards_of(self.observations)
        with torch.no_grad():
            values = self.critic(torch.as_tensor(self.observations, device=self.device))
        self.values = values.squeeze(-1).cpu().numpy()
        if self.chained:
            self.episode_starts[:] = 0.0
            dones = np.zeros_like(dones)
        super().compute_returns_and_advantage(last_values, dones)


class SubsampledTRPO(TRPO):
    """sb3-contrib's TRPO with Fisher products on every n-th state only, as in the cited implementation (n = 5).

    The products are those of `Fisher`, and the objective's gradient takes one backward pass, where the library
    differentiates the divergence twice and takes one pass per parameter. The critic is evaluated once per rollout.
    """

    policy: SharedPolicy
    rollout_buffer: DeferredRolloutBuffer

    def __init__(self, *args: Any, fisher_every: int, chained: bool = False, **options: Any) -> None:
        """See `TRPO`; `fisher_every` is n, `chained` as in `DeferredRolloutBuffer`."""
        super().__init__(*args, **{**options, "rollout_buffer_class": DeferredRolloutBuffer})
        self.fisher_every = fisher_every
        self.policy.deferred_values = True
        self.rollout_buffer.critic = self.policy.predict_values
        self.rollout_buffer.chained = chained

    def _compute_actor_grad(
        self, kl_div: Tensor, policy_objective: Tensor
    ) -> tuple[list[nn.Parameter], Tensor, Tensor, list[tuple[int, ...]]]:
        parameters = list(self.policy.network.parameters())
        objective = _flat(torch.autograd.grad(policy_objective, parameters))
        states = torch.as_tensor(self.rollout_buffer.observations[:: self.fisher_every], device=self.device)
        self._fisher = Fisher(self.policy.network, states)
        # The divergence is least at the current policy, so its gradient, which only the library's products need, is 0.
        return parameters, objective, torch.zeros_like(objective), [tuple(part.shape) for part in parameters]

    def hessian_vector_product(
        self, params: list[nn.Parameter], grad_kl: Tensor, vector: Tensor, retain_graph: bool = True
    ) -> Tensor:
        return self._fisher(vector) + self.cg_damping * vector


def _flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
