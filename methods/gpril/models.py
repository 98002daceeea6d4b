"""The long-term predecessor models B^s(s | target) and B^a(a | s, target) of section 3.2, equation 9.

Both are conditional masked autoregressive flows over the space of `model_space.py`, in which likelihoods are reported.
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

from methods.gpril.flows.factory import FlowShape, make_flow, sample
from methods.gpril.likelihood import LikelihoodTrainer
from methods.gpril.model_space import ModelSpace, Units
from methods.gpril.replay import FutureStateBatch
from methods.gpril.settings import Settings
from methods.interface import Diverged, SeedStreams
from methods.policy import GaussianNetwork, gaussian_log_prob


@dataclass(frozen=True)
class Likelihoods:
    """Mean log-likelihoods of a batch, in nats.

    Attributes:
        states: log B^s(s | target).
        actions: log B^a(a | s, target), of the action in the environment's units.
        information: log B^a(a | s, target) - log pi(a | s), with pi the policy that acted: what B^a knows beyond the
            policy. A mean over the whole replay buffer hides where the target matters, near contact: success has risen
            while this was still negative on held-out episodes.
    """

    states: float
    actions: float
    information: float


class PredecessorModels:
    """B^s and B^a with their optimizers.

    Attributes:
        states, actions: the flows B^s and B^a.
        trainers: of B^s and B^a.
        space: see `ModelSpace`.
        gradient_steps: taken so far, those of B^s and of B^a added up.
    """

    def __init__(self, settings: Settings, policy: GaussianNetwork, seeds: SeedStreams, device: str) -> None:
        """Create untrained models.

        Args:
            settings: of GPRIL.
            policy: gives the normalisation and the action bounds; with `residual_actions` or `control = "self"` it
                also takes part in sampling.
            seeds: streams for weights, samples and the placebo.
            device: torch device.
        """
        self.settings = settings
        self.policy = policy
        self.device = device
        self.gradient_steps = 0
        self._norms: dict[str, list[float]] = {"states": [], "actions": []}
        self._generator = torch.Generator(device).manual_seed(seeds.integer("predecessor samples"))
        self._shuffle = seeds.generator("shuffled targets")
        self.space = ModelSpace(settings, policy)
        bounds = policy.shape.action_low, policy.shape.action_high
        self._action_low, self._action_high = (policy.shift.new_tensor(bound) for bound in bounds)
        observation_size, action_size = policy.shape.observation_size, policy.shape.action_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.integer("predecessor models"))
            self.states = self._flow(observation_size, observation_size)
            self.actions = self._flow(action_size, 2 * observation_size)
        self.trainers = (self._trainer(self.states), self._trainer(self.actions))

    def measure(self, batch: FutureStateBatch[np.ndarray]) -> None:
        """Set the units of the model space; once, before any update."""
        self.space.measure(self.tensors(batch))

    def update(self, batch: FutureStateBatch[np.ndarray], learning: tuple[bool, bool] = (True, True)) -> None:
        """One gradient step of B^s and of B^a for every `batch_size` rows (algorithm 1, lines 8 and 9).

        Args:
            batch: rows for one or more steps.
            learning: which of B^s and B^a are updated.

        Raises:
            Diverged: a gradient is not finite.
        """
        norms: dict[str, list[Tensor]] = {"states": [], "actions": []}
        for part in self.tensors(self.with_control(batch)).split(self.settings.batch_size):
            with torch.no_grad():
                inputs = self.space.model_inputs(part)
            for name, trainer, (values, context), moves in zip(norms, self.trainers, inputs, learning, strict=True):
                if moves:
                    norms[name].append(trainer.step(values, context).gradient_norm)
        for name, found in norms.items():  # read together, because each read waits for the device
            numbers = torch.stack(found).tolist() if found else []
            self.gradient_steps += len(numbers)
            self._norms[name] += numbers
            if not all(map(math.isfinite, numbers)):
                raise Diverged(f"a predecessor model's gradient is not finite after {self.gradient_steps} steps")

    def take_gradient_norms(self) -> dict[str, list[float]]:
        """Gradient norms before clipping of B^s ("states") and B^a ("actions") since the last call."""
        taken, self._norms = self._norms, {name: [] for name in self._norms}
        return taken

    @torch.no_grad()
    def sample_predecessors(
        self, targets: np.ndarray, low: np.ndarray, high: np.ndarray, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw s ~ B^s(. | target) and a ~ B^a(a | s, target) (algorithm 1, line 13).

        Sampled actions are clamped to the action bounds.

        Args:
            targets: [n, O] demonstrated states, in the environment's units.
            low, high: [O] each, the range of the replay buffer, which `clip_samples` keeps to.
            generator: source of the noise; by default the models' own, which training draws from.

        Returns:
            states [n, O] and actions [n, A] in the environment's units.
        """
        settings, space, shape = self.settings, self.space, self.policy.shape
        generator = generator or self._generator
        state_noise, action_noise = (
            torch.randn(len(targets), size, generator=generator, device=self.device)
            for size in (shape.observation_size, shape.action_size)
        )
        target = space.encode(self.tensor(targets))
        state = space.state_of(sample(self.states, target, noise=state_noise), target)
        if settings.clip_samples:
            state = torch.clamp(state, space.encode(self.tensor(low)), space.encode(self.tensor(high)))
        states = space.decode(state)
        if settings.control == "self":
            values, (mean, sigma) = action_noise, self.policy(states)
        else:
            values = sample(self.actions, space.action_context(state, target), noise=action_noise)
            mean, sigma = space.units.action_mean, space.units.action_scale
            if settings.residual_actions:
                mean, sigma = self.policy(states)
                sigma = torch.hypot(sigma, torch.full_like(sigma, settings.exploration))
        return states, torch.clamp(mean + sigma * values, self._action_low, self._action_high)

    @property
    def samples_depend_on_policy(self) -> bool:
        """Whether `sample_predecessors` asks the policy, so that samples drawn before an update of it are outdated."""
        return self.settings.control == "self" or self.settings.residual_actions

    @torch.no_grad()
    def likelihoods(self, batch: FutureStateBatch[np.ndarray]) -> Likelihoods:
        """How well both models explain the batch, and what B^a knows beyond the policy."""
        log_states, log_actions = self.log_probs(batch)
        tensors = self.tensors(batch)
        behaviour = gaussian_log_prob(tensors.actions, tensors.means, tensors.sigmas)
        return Likelihoods(
            states=float(log_states.mean()),
            actions=float(log_actions.mean()),
            information=float((log_actions - behaviour).mean()),
        )

    @torch.no_grad()
    def log_probs(self, batch: FutureStateBatch[np.ndarray]) -> tuple[Tensor, Tensor]:
        """log B^s in model space and log B^a in the environment's units, [n] each."""
        tensors = self.tensors(batch)
        of_states, of_actions = self.space.model_inputs(tensors)
        log_states = self.states.log_prob(of_states.values, context=of_states.context)
        log_actions = self.actions.log_prob(of_actions.values, context=of_actions.context)
        return log_states, log_actions - self.space.log_action_volume(tensors)

    def with_control(self, batch: FutureStateBatch[np.ndarray]) -> FutureStateBatch[np.ndarray]:
        """The batch as the models see it: with permuted targets if `control` is the placebo."""
        if self.settings.control != "shuffled":
            return batch
        return replace(batch, targets=batch.targets[self._shuffle.permutation(len(batch.targets))])

    def get_state(self) -> dict[str, Any]:
        """Everything that changes during training, as plain data."""
        return {
            "units": asdict(self.space.units),
            "flows": [flow.state_dict() for flow in (self.states, self.actions)],
            "trainers": [trainer.state_dict() for trainer in self.trainers],
            "samples": self._generator.get_state(),
            "shuffle": self._shuffle.bit_generator.state,
            "gradient_steps": self.gradient_steps,
            "norms": self._norms,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` of models with the same settings returned."""
        self.space.units = Units(**{name: value.to(self.device) for name, value in state["units"].items()})
        for flow, weights in zip((self.states, self.actions), state["flows"], strict=True):
            flow.load_state_dict(weights)
        for trainer, moments in zip(self.trainers, state["trainers"], strict=True):
            trainer.load_state_dict(moments)
        self._generator.set_state(state["samples"])
        self._shuffle.bit_generator.state = state["shuffle"]
        self.gradient_steps, self._norms = state["gradient_steps"], state["norms"]

    def _flow(self, features: int, context: int) -> Flow:
        s = self.settings
        shape = FlowShape(features, context, tuple(s.model_hidden), s.model_layers, s.sigma_floor)
        return make_flow(shape, s.flow).to(self.device)

    def _trainer(self, flow: Flow) -> LikelihoodTrainer:
        s = self.settings
        return LikelihoodTrainer(flow, s.model_learning_rate, s.model_l2, s.gradient_clip, s.batch_reduction)

    def tensors(self, batch: FutureStateBatch[np.ndarray]) -> FutureStateBatch[Tensor]:
        """The batch on the models' device."""
        return FutureStateBatch(
            self.tensor(batch.states),
            self.tensor(batch.actions),
            self.tensor(batch.targets),
            self.tensor(batch.means),
            self.tensor(batch.sigmas),
        )

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array as float32 on the models' device."""
        return torch.from_numpy(np.require(array, np.float32, "W")).to(self.device)
