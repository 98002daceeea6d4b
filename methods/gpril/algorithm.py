"""Generative predecessor models for imitation learning (Schroecker, Vecerik & Scholz, ICLR 2019), algorithm 1.

An iteration collects roll-outs, trains the predecessor models on the replay buffer, then trains the policy on the
demonstrations and on states and actions that the models say lead to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.gpril import early_stopping as stopping
from methods.gpril.diagnostics import of_gradients, of_models
from methods.gpril.flows.optimizer import Adam
from methods.gpril.likelihood import total_norm
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Episode, Replay, Triples
from methods.gpril.rollout import WIDTH, roll_outs
from methods.gpril.settings import Settings
from methods.interface import Diverged, EnvGroup, FitContext, Method, MethodError, State
from methods.policy import GaussianNetwork, GaussianPolicy, new_network
from methods.registry import register

STEPS_AT_ONCE = 16
"""Gradient steps whose batches are drawn in one pass, from the replay buffer or, for the policy, from the models. What
they are drawn from rests meanwhile, so no distribution changes."""

MEASURED_TRIPLES = 4096
"""Triples on which the models measure their units."""

GENERATORS = ("pair_rng", "target_rng", "replay_rng", "stopping_rng", "reset_rng", "action_rng")
COUNTS = ("collected", "burned_in", "iterations", "policy_steps")


@register
class Gpril(Method):
    """GPRIL with two conditional masked autoregressive flows; see `Settings` for what follows the paper."""

    name: ClassVar[str] = "gpril"
    display_name = "GPRIL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "generative predecessor models (Schroecker et al., 2019), native in torch and nflows"
    small: ClassVar[Mapping[str, Any]] = {
        "initial_episodes": 2,
        "episodes_per_iteration": 2,
        "model_updates": 5,
        "policy_updates": 50,
        "burn_in": 5,
        "model_hidden": [16, 16],
    }

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return settings.beta_pi > 0.0 or settings.warm_start > 0

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        self.check(demonstrations, context)
        return Training(self.settings, demonstrations, context).run()

    def check(self, demonstrations: Demonstrations, context: FitContext) -> None:
        """Raise MethodError where the settings do not suit demonstrations or budget."""
        if demonstrations.actions is None and self.requires_actions(self.settings):
            raise MethodError(
                "these demonstrations hold states alone, but beta_pi or warm_start need actions; "
                "set gpril.beta_pi=0 and gpril.warm_start=0"
            )
        if self.settings.beta_d > 0.0 and context.budget.environment_steps < context.task.horizon:
            raise MethodError(
                f"a budget of {context.budget.environment_steps} environment steps is less than one episode "
                f"({context.task.horizon}); raise it or set gpril.beta_d=0"
            )


class Training:
    """One run of algorithm 1."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext) -> None:
        self.settings = settings
        self.context = context
        self.targets = demonstrations.observations
        self.pairs: tuple[Tensor, Tensor] | None = None
        if demonstrations.actions is not None:
            observations, actions = (torch.from_numpy(part).to(context.device) for part in demonstrations.pairs())
            self.pairs = observations, actions
        self.network = new_network(demonstrations, context)
        self.policy = GaussianPolicy(self.network)
        self.optimizer = self._new_optimizer()
        self.replay = Replay(settings.replay_size, context.task.observation_size, context.task.action_size)
        self.held_out = Replay(settings.replay_size, context.task.observation_size, context.task.action_size)
        self.models = PredecessorModels(settings, self.network, context.seeds, context.device)
        self.kept_updates: tuple[int, int] | None = None  # of B^s and B^a in this iteration, where they stop early
        self.collected = 0
        self.burned_in = 0
        self.iterations = 0
        self.policy_steps = 0
        self.gradient_norms: list[float] = []  # of the policy's last iteration
        self.pair_rng = context.seeds.generator("demonstrated pairs")
        self.target_rng = context.seeds.generator("demonstrated targets")
        self.replay_rng = context.seeds.generator("replay")
        self.stopping_rng = context.seeds.generator("early stopping")
        self.reset_rng = context.seeds.generator("starts of episodes")
        self.action_rng = context.seeds.generator("exploration")

    def run(self) -> GaussianPolicy:
        s, budget = self.settings, self.context.budget.policy_updates
        if s.beta_d == 0.0:
            self._resume()
            self._clone(budget)
            return self.policy
        group = self.context.make_env_group(min(WIDTH, max(s.initial_episodes, s.episodes_per_iteration)))
        try:
            self._resume()
            self._clone(min(s.warm_start, budget))
            if not self.collected:
                self._begin(group)
            while self.burned_in < s.burn_in:
                rest = s.burn_in - self.burned_in
                updates = rest if s.model_patience else min(max(s.model_updates, 1), rest)
                self._train_models(updates)
                self.burned_in += updates
                self._tell()
            with ThreadPoolExecutor(1, "actor") as actor:
                while self.policy_steps < budget:
                    if self.iterations and not s.overlap:
                        self._keep(self._collect(group, self.network, s.episodes_per_iteration))
                    flight = None
                    if s.overlap and self.policy_steps + s.policy_updates < budget:
                        flight = actor.submit(self._collect, group, deepcopy(self.network), s.episodes_per_iteration)
                    self._train_models(s.model_updates)
                    self.update_policy(min(s.policy_updates, budget - self.policy_steps))
                    self._watch()
                    if flight:  # ended before the suite is told, so that what it counts does not depend on timing
                        self._keep(flight.result())
                    self.iterations += 1
                    self._tell()
        finally:
            group.close()
        return self.policy

    def _begin(self, group: EnvGroup) -> None:
        """The first roll-outs, and the units that the models measure on them."""
        s = self.settings
        if s.warm_start and s.reset_sigma:
            self.network.set_sigma(s.reset_sigma)
            self.optimizer = self._new_optimizer()
        self._keep(self._collect(group, self.network, s.initial_episodes))
        rng = self.context.seeds.generator("units")
        self.models.measure(self.replay.sample(MEASURED_TRIPLES, s.gamma, s.cross_episodes, rng))

    def _collect(self, group: EnvGroup, network: GaussianNetwork, episodes: int) -> list[Episode]:
        """Roll the stochastic policy out, as far as the budget of environment steps goes.

        Shares nothing that changes with the training, so it may run beside it.
        """
        s, budget, found = self.settings, self.context.budget.environment_steps, list[Episode]()
        while len(found) < episodes:
            affordable = (budget - self.context.environment_steps) // self.context.task.horizon
            count = min(WIDTH, episodes - len(found), affordable)
            if not count:
                break
            seeds = self.reset_rng.integers(2**31, size=count).tolist()
            exploration = s.exploration * (self.action_rng.random(count) < s.exploration_share)
            found += roll_outs(group, network, seeds, self.action_rng, exploration, s.exploration_steps)
        return found

    def _keep(self, episodes: list[Episode]) -> None:
        for episode in episodes:
            self.collected += 1
            every = self.settings.held_out_every
            (self.held_out if every and self.collected % every == 0 else self.replay).add(episode)

    def _train_models(self, updates: int) -> None:
        s = self.settings
        if s.model_patience and len(self.held_out):
            held_out = self._triples(self.held_out, stopping.HELD_OUT_TRIPLES, self.stopping_rng)
            self.kept_updates = stopping.train(self.models, self.update_models, updates, held_out, s.model_patience)
        else:
            self.update_models(updates)

    def update_models(self, updates: int, learning: tuple[bool, bool] = (True, True)) -> None:
        """So many gradient steps of B^s and B^a where they are learning."""
        for steps in portions(updates):
            triples = self._triples(self.replay, steps * self.settings.batch_size, self.replay_rng)
            self.models.update(triples, learning)

    def _triples(self, replay: Replay, count: int, rng: np.random.Generator) -> Triples:
        return replay.sample(count, self.settings.gamma, self.settings.cross_episodes, rng)

    def update_policy(self, updates: int) -> None:
        """So many gradient steps of the policy on what the models say comes before demonstrated states."""
        beta_d, beta_pi = self.settings.beta_d, self.settings.beta_pi
        norms = []
        for states, actions in self._predecessors(updates):
            loss = -beta_d * self.network.log_prob(states, actions).mean()
            if beta_pi:
                loss = loss - beta_pi * self._log_prob_of_demonstrations()
            norms.append(self._step(loss))
        self.gradient_norms = torch.stack(norms).tolist()

    def _predecessors(self, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of states and actions that B^s and B^a expect before demonstrated states."""
        size, (low, high) = self.settings.batch_size, self.replay.range()
        for count in portions(batches):
            rows = self.target_rng.integers(len(self.targets), size=count * size)
            states, actions = self.models.sample(self.targets[rows], low, high)
            yield from zip(states.split(size), actions.split(size), strict=True)

    def _clone(self, updates: int) -> None:
        """Behavioural cloning, until there have been so many updates: algorithm 1 with beta_d = 0."""
        every = self.settings.policy_updates
        while self.policy_steps < updates:
            self.update_clone(min(every - self.policy_steps % every, updates - self.policy_steps))
            if self.policy_steps % every == 0:
                self._tell()

    def update_clone(self, updates: int) -> None:
        """So many gradient steps of the policy on demonstrations alone."""
        for _ in range(updates):
            self._step(-self._log_prob_of_demonstrations())

    def _log_prob_of_demonstrations(self) -> Tensor:
        assert self.pairs is not None, "fit refuses demonstrations without actions"
        rows = torch.from_numpy(self.pair_rng.integers(len(self.pairs[0]), size=self.settings.batch_size))
        observations, actions = (part[rows.to(part.device)] for part in self.pairs)
        return self.network.log_prob(observations, actions).mean()

    def _step(self, loss: Tensor) -> Tensor:
        """Descend, and tell the norm of the gradient."""
        gradients = torch.autograd.grad(loss, self.optimizer.parameters)
        self.optimizer.learning_rate = self.learning_rate()
        self.optimizer.step(gradients)
        self.policy_steps += 1
        return total_norm(gradients)

    def learning_rate(self) -> float:
        """The policy's, at its next step."""
        left = 1.0 - self.policy_steps / self.context.budget.policy_updates if self.settings.policy_decay else 1.0
        return self.settings.policy_learning_rate * left

    def _tell(self) -> None:
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise Diverged(f"the policy's weights are not finite after {self.policy_steps} updates")
        progress = self.policy_steps / self.context.budget.policy_updates
        self.context.checkpoint(self.policy, progress, self.policy_steps + self.models.gradient_steps, self._state)

    def _state(self) -> State:
        """All that changes during the training."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.get_state(),
            "held_out": self.held_out.get_state(),
            "models": self.models.get_state(),
            "generators": {name: getattr(self, name).bit_generator.state for name in GENERATORS},
            "counts": {name: getattr(self, name) for name in COUNTS},
        }

    def _resume(self) -> None:
        """Go on from an earlier snapshot, if there is one."""
        state = self.context.resume()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.set_state(state["replay"])
        self.held_out.set_state(state["held_out"])
        self.models.set_state(state["models"])
        for name, kept in state["generators"].items():
            getattr(self, name).bit_generator.state = kept
        for name, kept in state["counts"].items():
            setattr(self, name, kept)

    def _watch(self) -> None:
        """Report what a researcher needs to see; costs no environment step and no training randomness."""
        step = self.policy_steps + self.models.gradient_steps
        rng = self.context.seeds.generator(f"diagnostics {step}")
        found = of_models(self.models, self.replay, self.held_out, self.targets, self.context.task, rng)
        norms = of_gradients(self.models.take_gradient_norms(), self.settings.gradient_clip)
        norms |= of_gradients({"policy": self.gradient_norms})
        if self.kept_updates:
            found["kept_updates_states"], found["kept_updates_actions"] = map(float, self.kept_updates)
        self.context.report(step, **found, **norms)

    def _new_optimizer(self) -> Adam:
        return Adam(self.network.parameters(), self.settings.policy_learning_rate, self.settings.policy_l2)


def portions(steps: int) -> Iterator[int]:
    """Parts of at most STEPS_AT_ONCE that add up to `steps`."""
    for first in range(0, steps, STEPS_AT_ONCE):
        yield min(STEPS_AT_ONCE, steps - first)
