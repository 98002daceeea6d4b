"""The long-term predecessor models B^s(s | target) and B^a(a | s, target) of section 3.2, equation 9.

Both are conditional masked autoregressive flows over a *model space*: observations normalised with the demonstrations'
statistics and, where the settings say so, compressed, taken relative to the target, or scaled. Every such map is
invertible; likelihoods are reported in model space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from nflows.flows import Flow
from torch import Tensor

from methods.gpril.ascent import LikelihoodAscent
from methods.gpril.flows import FlowShape, make_flow, sample
from methods.gpril.replay import Triples
from methods.gpril.settings import Settings
from methods.interface import Diverged, SeedStreams
from methods.policy import GaussianNetwork, gaussian_log_prob

SMALLEST_SPREAD = 1e-3
"""Smallest unit of a displacement or action; entries that never change, as a socket's pose, stay finite."""


@dataclass(frozen=True)
class Units:
    """Location and scale of what the flows model, measured once on the first roll-outs; all zero and one where off."""

    displacement_mean: Tensor
    displacement_scale: Tensor
    action_mean: Tensor
    action_scale: Tensor


@dataclass(frozen=True)
class Likelihoods:
    """Mean log-likelihoods of a batch, in nats.

    Attributes:
        states: log B^s(s | target).
        actions: log B^a(a | s, target), of the action in the environment's units.
        information: log B^a(a | s, target) - log pi(a | s), pi the policy that took the action: what B^a knows beyond
            the policy. A mean over the whole replay buffer hides where the target matters, near contact: success has
            risen while it was still below zero on held-out episodes.
    """

    states: float
    actions: float
    information: float


class PredecessorModels:
    """B^s and B^a with their optimisers."""

    def __init__(self, settings: Settings, policy: GaussianNetwork, seeds: SeedStreams, device: str) -> None:
        """`policy` gives the normalisation and, for residual actions, the policy that is to be corrected."""
        self.settings = settings
        self.policy = policy
        self.device = device
        self.gradient_steps = 0
        self._norms: dict[str, list[float]] = {"states": [], "actions": []}
        self._generator = torch.Generator(device).manual_seed(seeds.integer("predecessor samples"))
        self._shuffle = seeds.generator("shuffled targets")
        observation_size, action_size = policy.shape.observation_size, policy.shape.action_size
        sizes = (observation_size, action_size)
        self.units = Units(*(build(n, device=device) for n in sizes for build in (torch.zeros, torch.ones)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer("predecessor models"))
            self.states = self._flow(observation_size, observation_size)
            self.actions = self._flow(action_size, 2 * observation_size)
        self.ascents = tuple(
            LikelihoodAscent(flow, settings.model_learning_rate, settings.model_l2, settings.gradient_clip)
            for flow in (self.states, self.actions)
        )

    def measure(self, triples: Triples) -> None:
        """Choose the units of displacements and actions, where the settings ask for them; once, before any update."""
        if self.settings.displacement:
            step = self.encode(self.tensor(triples.states)) - self.encode(self.tensor(triples.targets))
            scale = step.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, displacement_mean=step.mean(0), displacement_scale=scale)
        if self.settings.scale_actions:
            action = self.tensor(triples.actions)
            scale = action.std(0).clamp(min=SMALLEST_SPREAD)
            self.units = replace(self.units, action_mean=action.mean(0), action_scale=scale)

    def update(self, triples: Triples, learning: tuple[bool, bool] = (True, True)) -> None:
        """One gradient step of each model that is `learning`, B^s and B^a (algorithm 1, lines 8 and 9).

        Raises:
            Diverged: a likelihood is not finite.
        """
        with torch.no_grad():
            cases = self._cases(self.controlled(triples))
        for norms, ascent, case, moves in zip(self._norms.values(), self.ascents, cases, learning, strict=True):
            if not moves:
                continue
            norms.append(float(ascent.step(*case).gradient_norm))
            if not math.isfinite(norms[-1]):
                raise Diverged(f"a predecessor model's gradient is not finite after {self.gradient_steps} steps")
            self.gradient_steps += 1

    def take_gradient_norms(self) -> dict[str, list[float]]:
        """Norms before clipping of the gradients of B^s ("states") and B^a ("actions") since this was last called."""
        taken, self._norms = self._norms, {name: [] for name in self._norms}
        return taken

    @torch.no_grad()
    def sample(
        self, targets: np.ndarray, low: np.ndarray, high: np.ndarray, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw s ~ B^s(. | target) and a ~ B^a(. | s, target) (algorithm 1, line 13).

        Args:
            targets: [n, O] demonstrated states, in the environment's units.
            low, high: [O] each, the range of the replay buffer that `clip_samples` keeps to.
            generator: source of the noise; by default the models' own, which training draws from.

        Returns:
            states [n, O] and actions [n, A] in the environment's units.
        """
        generator = generator or self._generator
        target = self.encode(self.tensor(targets))
        state = sample(self.states, target, generator)
        if self.settings.displacement:
            state = target + self.units.displacement_mean + state * self.units.displacement_scale
        if self.settings.clip_samples:
            state = torch.clamp(state, self.encode(self.tensor(low)), self.encode(self.tensor(high)))
        states = self.decode(state)
        if self.settings.control == "self":
            mean, sigma = self.policy(states)
            noise = torch.randn(mean.shape, generator=generator, device=self.device)
            actions = mean + sigma * noise
        else:
            modelled = sample(self.actions, self._action_context(state, target), generator)
            if self.settings.residual_actions:
                mean, sigma = self.policy(states)
                sigma = torch.hypot(sigma, torch.full_like(sigma, self.settings.exploration))
            else:
                mean, sigma = self.units.action_mean, self.units.action_scale
            actions = mean + sigma * modelled
        shape = self.policy.shape
        bounds = (self.tensor(np.array(bound)) for bound in (shape.action_low, shape.action_high))
        return states, torch.clamp(actions, *bounds)

    @torch.no_grad()
    def likelihoods(self, triples: Triples) -> Likelihoods:
        """How well both models explain `triples`, and what B^a knows beyond the policy."""
        log_states, log_actions = self.log_probs(triples)
        behaviour = gaussian_log_prob(
            self.tensor(triples.actions), self.tensor(triples.means), self.tensor(triples.sigmas)
        )
        return Likelihoods(
            states=float(log_states.mean()),
            actions=float(log_actions.mean()),
            information=float((log_actions - behaviour).mean()),
        )

    @torch.no_grad()
    def log_probs(self, triples: Triples) -> tuple[Tensor, Tensor]:
        """log B^s in model space and log B^a in the environment's units, of each triple, [n] each."""
        log_states, log_actions = (
            flow.log_prob(modelled, context=context)
            for flow, (modelled, context) in zip((self.states, self.actions), self._cases(triples), strict=True)
        )
        scale = self.tensor(triples.sigmas) if self.settings.residual_actions else self.units.action_scale
        return log_states, log_actions - scale.log().sum(-1)

    def controlled(self, triples: Triples) -> Triples:
        """Triples as the models see them: with permuted targets where `control` is the placebo."""
        if self.settings.control != "shuffled":
            return triples
        return replace(triples, targets=triples.targets[self._shuffle.permutation(len(triples.targets))])

    def get_state(self) -> dict[str, Any]:
        """All that changes, as plain data."""
        return {
            "units": asdict(self.units),
            "flows": [flow.state_dict() for flow in (self.states, self.actions)],
            "ascents": [ascent.state_dict() for ascent in self.ascents],
            "samples": self._generator.get_state(),
            "shuffle": self._shuffle.bit_generator.state,
            "gradient_steps": self.gradient_steps,
            "norms": self._norms,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Become the models of the same settings that gave `state`."""
        self.units = Units(**{name: value.to(self.device) for name, value in state["units"].items()})
        for flow, kept in zip((self.states, self.actions), state["flows"], strict=True):
            flow.load_state_dict(kept)
        for ascent, kept in zip(self.ascents, state["ascents"], strict=True):
            ascent.load_state_dict(kept)
        self._generator.set_state(state["samples"])
        self._shuffle.bit_generator.state = state["shuffle"]
        self.gradient_steps, self._norms = state["gradient_steps"], state["norms"]

    def _cases(self, triples: Triples) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """What each model, first B^s then B^a, has to explain, and given what; all in model space."""
        state, target = (self.encode(self.tensor(part)) for part in (triples.states, triples.targets))
        action = self.tensor(triples.actions)
        if self.settings.residual_actions:
            action = (action - self.tensor(triples.means)) / self.tensor(triples.sigmas)
        else:
            action = (action - self.units.action_mean) / self.units.action_scale
        modelled = (
            (state - target - self.units.displacement_mean) / self.units.displacement_scale
            if self.settings.displacement
            else state
        )
        return (modelled, target), (action, self._action_context(state, target))

    def _action_context(self, state: Tensor, target: Tensor) -> Tensor:
        if not self.settings.displacement:
            return torch.cat([state, target], dim=-1)
        ahead = (target - state + self.units.displacement_mean) / self.units.displacement_scale
        return torch.cat([state, ahead], dim=-1)

    def encode(self, observations: Tensor) -> Tensor:
        """Observations in the environment's units -> model space, [n, O] each."""
        normal = self.policy.normalise(observations)
        knee = self.settings.compress
        if not knee:
            return normal
        size = normal.abs()
        return torch.where(size <= knee, normal, normal.sign() * (knee + torch.log1p((size - knee).clamp(min=0.0))))

    def decode(self, encoded: Tensor) -> Tensor:
        """The inverse of `encode`."""
        knee = self.settings.compress
        if knee:
            size = encoded.abs()
            encoded = torch.where(
                size <= knee, encoded, encoded.sign() * (knee + torch.expm1((size - knee).clamp(0.0, 10.0)))
            )
        return encoded * self.policy.scale + self.policy.shift

    def _flow(self, features: int, context: int) -> Flow:
        s = self.settings
        shape = FlowShape(features, context, tuple(s.model_hidden), s.model_layers, s.sigma_floor)
        return make_flow(shape, s.flow).to(self.device)

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array as float32 on the models' device."""
        return torch.from_numpy(np.asarray(array, np.float32)).to(self.device)
