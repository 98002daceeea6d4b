"""The long-term predecessor models B^s(s | target) and B^a(a | s, target) of section 3.2, equation 9.

Both are conditional masked autoregressive flows over the model space of `space.py`; likelihoods are reported in it.
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

from methods.gpril.flows.factory import FlowShape, make_flow
from methods.gpril.likelihood import LikelihoodAscent
from methods.gpril.model_space import ModelSpace, Units
from methods.gpril.replay import Triples
from methods.gpril.settings import Settings
from methods.interface import Diverged, SeedStreams
from methods.policy import GaussianNetwork, gaussian_log_prob


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
        self.space = ModelSpace(settings, policy)
        observation_size, action_size = policy.shape.observation_size, policy.shape.action_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer("predecessor models"))
            self.states = self._flow(observation_size, observation_size)
            self.actions = self._flow(action_size, 2 * observation_size)
        self.ascents = tuple(
            LikelihoodAscent(flow, settings.model_learning_rate, settings.model_l2, settings.gradient_clip)
            for flow in (self.states, self.actions)
        )

    def measure(self, triples: Triples) -> None:
        """Choose the units of the model space; once, before any update."""
        self.space.measure(self.tensors(triples))

    def update(self, triples: Triples, learning: tuple[bool, bool] = (True, True)) -> None:
        """Gradient steps, one for each `batch_size` triples, of B^s and B^a where they are `learning` (algorithm 1,
        lines 8 and 9).

        Raises:
            Diverged: a gradient is not finite.
        """
        norms: tuple[list[Tensor], list[Tensor]] = ([], [])
        for batch in self.tensors(self.controlled(triples)).split(self.settings.batch_size):
            with torch.no_grad():
                cases = self.space.cases(batch)
            for kept, ascent, case, moves in zip(norms, self.ascents, cases, learning, strict=True):
                if moves:
                    kept.append(ascent.step(*case).gradient_norm)
        # looked at together, because each look waits for the device
        self.note(*(torch.stack(kept).tolist() if kept else [] for kept in norms))

    def note(self, states: list[float], actions: list[float]) -> None:
        """Count gradient steps of B^s and B^a with these norms; raises Diverged where one is not finite."""
        self.gradient_steps += len(states) + len(actions)
        for name, norms in (("states", states), ("actions", actions)):
            self._norms[name] += norms
            if not all(map(math.isfinite, norms)):
                raise Diverged(f"a predecessor model's gradient is not finite after {self.gradient_steps} steps")

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
        return self.space.imagine(
            (self.states, self.actions),
            self.policy,
            self.tensor(targets),
            (self.tensor(low), self.tensor(high)),
            self.noise(len(targets), generator),
        )

    def noise(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Standard normal [count, O] and [count, A], for samples; by default from the models' own stream."""
        generator, shape = generator or self._generator, self.policy.shape
        states, actions = (
            torch.randn(count, size, generator=generator, device=self.device)
            for size in (shape.observation_size, shape.action_size)
        )
        return states, actions

    @torch.no_grad()
    def likelihoods(self, triples: Triples) -> Likelihoods:
        """How well both models explain `triples`, and what B^a knows beyond the policy."""
        log_states, log_actions = self.log_probs(triples)
        batch = self.tensors(triples)
        behaviour = gaussian_log_prob(batch.actions, batch.means, batch.sigmas)
        return Likelihoods(
            states=float(log_states.mean()),
            actions=float(log_actions.mean()),
            information=float((log_actions - behaviour).mean()),
        )

    @torch.no_grad()
    def log_probs(self, triples: Triples) -> tuple[Tensor, Tensor]:
        """log B^s in model space and log B^a in the environment's units, of each triple, [n] each."""
        batch = self.tensors(triples)
        cases = self.space.cases(batch)
        log_states, log_actions = (
            flow.log_prob(modelled, context=context)
            for flow, (modelled, context) in zip((self.states, self.actions), cases, strict=True)
        )
        return log_states, log_actions - self.space.log_action_volume(batch)

    def controlled(self, triples: Triples) -> Triples:
        """Triples as the models see them: with permuted targets where `control` is the placebo."""
        return replace(triples, targets=self.shuffled(triples.targets))

    def shuffled(self, targets: np.ndarray) -> np.ndarray:
        """Targets, or their rows, in the order in which the models see them."""
        if self.settings.control != "shuffled":
            return targets
        return targets[self._shuffle.permutation(len(targets))]

    def get_state(self) -> dict[str, Any]:
        """All that changes, as plain data."""
        return {
            "units": asdict(self.space.units),
            "flows": [flow.state_dict() for flow in (self.states, self.actions)],
            "ascents": [ascent.state_dict() for ascent in self.ascents],
            "samples": self._generator.get_state(),
            "shuffle": self._shuffle.bit_generator.state,
            "gradient_steps": self.gradient_steps,
            "norms": self._norms,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Become the models of the same settings that gave `state`."""
        self.space.units = Units(**{name: value.to(self.device) for name, value in state["units"].items()})
        for flow, kept in zip((self.states, self.actions), state["flows"], strict=True):
            flow.load_state_dict(kept)
        for ascent, kept in zip(self.ascents, state["ascents"], strict=True):
            ascent.load_state_dict(kept)
        self._generator.set_state(state["samples"])
        self._shuffle.bit_generator.state = state["shuffle"]
        self.gradient_steps, self._norms = state["gradient_steps"], state["norms"]

    def _flow(self, features: int, context: int) -> Flow:
        s = self.settings
        shape = FlowShape(features, context, tuple(s.model_hidden), s.model_layers, s.sigma_floor)
        return make_flow(shape, s.flow).to(self.device)

    def tensors(self, triples: Triples[np.ndarray]) -> Triples[Tensor]:
        """Triples on the models' device."""
        return Triples(**{name: self.tensor(array) for name, array in vars(triples).items()})

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array as float32 on the models' device."""
        return torch.from_numpy(np.require(array, np.float32, "W")).to(self.device)
