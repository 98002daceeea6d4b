"""The space in which the predecessor models work: observations and actions in units that suit a flow.

Observations are normalised with the demonstrations' statistics and, if the settings say so, compressed or taken
relative to the target; actions are scaled or taken relative to the policy. All these maps are invertible.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from methods.gpril.replay import FutureStateBatch
from methods.gpril.settings import Settings
from methods.policy import GaussianNetwork, compress

SMALLEST_SPREAD = 1e-3
"""Smallest unit of a displacement or action, for entries that never change, such as the socket's pose."""


class ModelInput(NamedTuple):
    """What a model explains, [n, D], and what it is conditioned on, [n, C], in model space."""

    values: Tensor
    context: Tensor


@dataclass(frozen=True)
class Units:
    """Location and scale of displacements [O] and actions [A], measured once on the first rollouts; 0 and 1 if off."""

    displacement_mean: Tensor
    displacement_scale: Tensor
    action_mean: Tensor
    action_scale: Tensor


class ModelSpace:
    """Maps between the environment's units and those of the models.

    Args:
        settings: which maps are on.
        policy: gives the normalisation of observations.

    Attributes:
        units: see `measure`.
    """

    def __init__(self, settings: Settings, policy: GaussianNetwork) -> None:
        self.settings = settings
        self._shift, self._scale = policy.shift, policy.scale
        observation_size, action_size = policy.shape.observation_size, policy.shape.action_size
        self.units = Units(
            policy.shift.new_zeros(observation_size),
            policy.shift.new_ones(observation_size),
            policy.shift.new_zeros(action_size),
            policy.shift.new_ones(action_size),
        )

    def measure(self, batch: FutureStateBatch[Tensor]) -> None:
        """Set the units of displacements and actions, if the settings ask for them; once, before any update."""
        if self.settings.displacement:
            step = self.encode(batch.states) - self.encode(batch.targets)
            scale = step.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, displacement_mean=step.mean(0), displacement_scale=scale)
        if self.settings.scale_actions:
            scale = batch.actions.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, action_mean=batch.actions.mean(0), action_scale=scale)

    def model_inputs(self, batch: FutureStateBatch[Tensor]) -> tuple[ModelInput, ModelInput]:
        """The inputs of B^s and of B^a."""
        state, target = self.encode(batch.states), self.encode(batch.targets)
        if self.settings.residual_actions:
            action = (batch.actions - batch.means) / batch.sigmas
        else:
            action = (batch.actions - self.units.action_mean) / self.units.action_scale
        values = state
        if self.settings.displacement:
            values = (state - target - self.units.displacement_mean) / self.units.displacement_scale
        return ModelInput(values, target), ModelInput(action, self.action_context(state, target))

    def action_context(self, state: Tensor, target: Tensor) -> Tensor:
        """What B^a is conditioned on [n, 2 O], from encoded states and targets [n, O]."""
        if not self.settings.displacement:
            return torch.cat([state, target], dim=-1)
        ahead = (target - state + self.units.displacement_mean) / self.units.displacement_scale
        return torch.cat([state, ahead], dim=-1)

    def state_of(self, values: Tensor, target: Tensor) -> Tensor:
        """Encoded states [n, O] from samples of B^s [n, O] and their encoded targets [n, O]."""
        if not self.settings.displacement:
            return values
        return target + self.units.displacement_mean + values * self.units.displacement_scale

    def encode(self, observations: Tensor) -> Tensor:
        """Observations [n, O] in the environment's units -> model space [n, O]."""
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

    def log_action_volume(self, batch: FutureStateBatch[Tensor]) -> Tensor:
        """log |det d action / d modelled action| of each row, [n], or [] if it is the same for all."""
        scale = batch.sigmas if self.settings.residual_actions else self.units.action_scale
        return scale.log().sum(-1)
