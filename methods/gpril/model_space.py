"""The space in which the predecessor models work: observations and actions in units that suit a flow.

Observations are normalised with the demonstrations' statistics and, where the settings say so, compressed or taken
relative to the target; actions are scaled or taken relative to the policy. Every such map is invertible. All functions
take tensors [n, ...], or [S, n, ...] for the models of S seeds at once, whose units are then [S, 1, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from nflows.flows import Flow
from torch import Tensor

from methods.gpril.flows.factory import sample
from methods.gpril.replay import Triples
from methods.gpril.settings import Settings
from methods.policy import GaussianNetwork, compress

SMALLEST_SPREAD = 1e-3
"""Smallest unit of a displacement or action; entries that never change, as a socket's pose, stay finite."""

Case = tuple[Tensor, Tensor]
"""What a model has to explain, and given what."""
Act = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Observations -> mean and sigma of a policy's actions."""


@dataclass(frozen=True)
class Units:
    """Location and scale of what the flows model, measured once on the first roll-outs; all zero and one where off."""

    displacement_mean: Tensor
    displacement_scale: Tensor
    action_mean: Tensor
    action_scale: Tensor


class ModelSpace:
    """Maps between the environment's units and those of the models.

    Args:
        settings: which maps are on.
        policy: gives the normalisation and the bounds of actions.

    Attributes:
        units: see `measure`.
    """

    def __init__(self, settings: Settings, policy: GaussianNetwork) -> None:
        self.settings = settings
        self._shift, self._scale = policy.shift, policy.scale
        bounds = (policy.shape.action_low, policy.shape.action_high)
        self._action_bounds = [policy.shift.new_tensor(bound) for bound in bounds]
        sizes = (policy.shape.observation_size, policy.shape.action_size)
        self.units = Units(
            *(build(size) for size in sizes for build in (policy.shift.new_zeros, policy.shift.new_ones))
        )

    def measure(self, triples: Triples[Tensor]) -> None:
        """Choose the units of displacements and actions, where the settings ask for them; once, before any update."""
        if self.settings.displacement:
            step = self.encode(triples.states) - self.encode(triples.targets)
            scale = step.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, displacement_mean=step.mean(0), displacement_scale=scale)
        if self.settings.scale_actions:
            scale = triples.actions.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, action_mean=triples.actions.mean(0), action_scale=scale)

    def cases(self, triples: Triples[Tensor]) -> tuple[Case, Case]:
        """The cases of B^s and of B^a."""
        state, target = self.encode(triples.states), self.encode(triples.targets)
        if self.settings.residual_actions:
            action = (triples.actions - triples.means) / triples.sigmas
        else:
            action = (triples.actions - self.units.action_mean) / self.units.action_scale
        modelled = (
            (state - target - self.units.displacement_mean) / self.units.displacement_scale
            if self.settings.displacement
            else state
        )
        return (modelled, target), (action, self.action_context(state, target))

    def action_context(self, state: Tensor, target: Tensor) -> Tensor:
        """What B^a is given, of encoded states and targets."""
        if not self.settings.displacement:
            return torch.cat([state, target], dim=-1)
        ahead = (target - state + self.units.displacement_mean) / self.units.displacement_scale
        return torch.cat([state, ahead], dim=-1)

    def encode(self, observations: Tensor) -> Tensor:
        """Observations in the environment's units -> model space, [n, O] each."""
        return compress((observations - self._shift) / self._scale, self.settings.compress)

    def decode(self, encoded: Tensor) -> Tensor:
        """The inverse of `encode`."""
        knee = self.settings.compress
        if knee:
            size = encoded.abs()
            encoded = torch.where(
                size <= knee, encoded, encoded.sign() * (knee + torch.expm1((size - knee).clamp(0.0, 10.0)))
            )
        return encoded * self._scale + self._shift

    def imagine(
        self,
        models: tuple[Flow, Flow],
        policy: Act,
        targets: Tensor,
        bounds: tuple[Tensor, Tensor],
        noise: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """What the models say comes before targets, from noise.

        Args:
            models: B^s and B^a.
            policy: acts for self-imitation, and is what residual actions are relative to.
            targets: [n, O] in the environment's units.
            bounds: lowest and highest value of each observation entry, [O] each, which `clip_samples` keeps to.
            noise: standard normal [n, O] and [n, A].

        Returns:
            states [n, O] and actions [n, A] in the environment's units.
        """
        settings, units = self.settings, self.units
        target = self.encode(targets)
        state = sample(models[0], target, noise=noise[0])
        if settings.displacement:
            state = target + units.displacement_mean + state * units.displacement_scale
        if settings.clip_samples:
            state = torch.clamp(state, *(self.encode(bound) for bound in bounds))
        states = self.decode(state)
        if settings.control == "self":
            modelled, (mean, sigma) = noise[1], policy(states)
        else:
            modelled = sample(models[1], self.action_context(state, target), noise=noise[1])
            mean, sigma = units.action_mean, units.action_scale
            if settings.residual_actions:
                mean, sigma = policy(states)
                sigma = torch.hypot(sigma, torch.full_like(sigma, settings.exploration))
        return states, torch.clamp(mean + sigma * modelled, *self._action_bounds)

    def log_action_volume(self, triples: Triples[Tensor]) -> Tensor:
        """log |det d action / d modelled action| of each triple."""
        scale = triples.sigmas if self.settings.residual_actions else self.units.action_scale
        return scale.log().sum(-1)
