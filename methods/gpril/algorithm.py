"""Generative predecessor models for imitation learning (Schroecker, Vecerik & Scholz, ICLR 2019), algorithm 1.

Each iteration collects rollouts, trains the predecessor models on the replay buffer, and then trains the policy on the
demonstrations and on predecessors of demonstrated states, that is states and actions sampled from the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.gpril.diagnostics import gradient_diagnostics, model_diagnostics
from methods.gpril.early_stopping import CHECK_EVERY, HELD_OUT_ROWS, EarlyStopping
from methods.gpril.flows.optimizer import Adam
from methods.gpril.likelihood import total_norm
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Episode, FutureStateBatch, Replay
from methods.gpril.rollout import WIDTH, collect_rollouts
from methods.gpril.settings import Settings
from methods.interface import Diverged, EnvGroup, FitContext, Method, MethodError, State
from methods.policy import GaussianNetwork, GaussianPolicy, new_network
from methods.registry import register

BATCHES_AT_ONCE = 16
"""Batches drawn in one pass, from the replay buffer for the models or from the models for the policy. What they are
drawn from does not change during these updates, so the distribution is that of drawing one batch at a time."""

CLONED_AT_ONCE = 64
"""Updates of cloning between two checkpoints. Elsewhere one follows whatever was drawn in one pass, so that a stop
takes seconds at any size of the models."""

UNIT_ROWS = 4096
"""Rows on which the models measure their units."""

STREAMS = (
    "demonstrated pairs",
    "demonstrated targets",
    "replay",
    "early stopping",
    "starts of episodes",
    "exploration",
)
"""Names of the random streams of the algorithm itself; the models have their own."""


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
        """Raise MethodError if the settings do not suit demonstrations or budget."""
        if demonstrations.actions is None and self.requires_actions(self.settings):
            raise MethodError(
                "these demonstrations hold states only, but beta_pi or warm_start need actions; "
                "set gpril.beta_pi=0 and gpril.warm_start=0"
            )
        if self.settings.beta_d > 0.0 and context.budget.environment_steps < context.task.horizon:
            raise MethodError(
                f"a budget of {context.budget.environment_steps} environment steps is less than one episode "
                f"({context.task.horizon}); raise it or set gpril.beta_d=0"
            )
        if not self.settings.initial_targets and not demonstrations.time_step.any():
            raise MethodError("these demonstrations hold initial states only; set gpril.initial_targets=true")


@dataclass
class Position:
    """How far a training has come. Together with weights, buffers and generators it is all a snapshot needs.

    Attributes:
        episodes: rollouts collected.
        policy_updates: updates of the policy.
        burn_in: completed model updates of the burn-in.
        iterations: completed iterations.
        progress_updates: `policy_updates` at the last point that may be on the learning curve: the end of a phase of
            cloning or of an iteration.
        started: whether the initial rollouts are complete and the units measured.
        collected: whether the rollouts of the current phase or iteration are collected, or in flight.
        phase_episodes: rollouts of the current collection so far.
        phase_model_updates: model updates of the current iteration, or portion of the burn-in, so far.
        phase_policy_updates: policy updates of the current iteration so far.
    """

    episodes: int = 0
    policy_updates: int = 0
    burn_in: int = 0
    iterations: int = 0
    progress_updates: int = 0
    started: bool = False
    collected: bool = False
    phase_episodes: int = 0
    phase_model_updates: int = 0
    phase_policy_updates: int = 0

    def end_phase(self) -> None:
        """Reset what counts within an iteration or a portion of the burn-in."""
        self.collected = False
        self.phase_episodes = self.phase_model_updates = self.phase_policy_updates = 0


class Training:
    """One run of algorithm 1."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext) -> None:
        self.settings = settings
        self.context = context
        shown = demonstrations.observations
        self.targets = shown if settings.initial_targets else shown[demonstrations.time_step > 0]
        self.pairs: tuple[Tensor, Tensor] | None = None
        if demonstrations.actions is not None:
            observations, actions = (torch.from_numpy(part).to(context.device) for part in demonstrations.pairs())
            self.pairs = observations, actions
        self.network = new_network(demonstrations, context, settings.sigma_bounds)
        self.policy = GaussianPolicy(self.network)
        self.optimizer = self._new_optimizer()
        self.replay = Replay(settings.replay_size, context.task.observation_size, context.task.action_size)
        self.held_out = Replay(settings.replay_size, context.task.observation_size, context.task.action_size)
        self.models = PredecessorModels(settings, self.network, context.seeds, context.device)
        self.early_stopping: EarlyStopping | None = None  # of the current phase of model training
        self.kept_updates: tuple[int, int] | None = None  # of B^s and B^a in the last phase with early stopping
        self.gradient_norms: list[float] = []  # of the policy in the current iteration
        self.in_flight: Future[list[Episode]] | None = None  # rollouts collected by the thread of `overlap`
        self.at = Position()
        self.rng = {name: context.seeds.generator(name) for name in STREAMS}

    def run(self) -> GaussianPolicy:
        """Train; returns the policy."""
        s, budget = self.settings, self.context.budget.policy_updates
        if s.beta_d == 0.0:
            self._resume()
            self._clone(budget)
            return self.policy
        group = self.context.make_env_group(min(WIDTH, max(s.initial_episodes, s.episodes_per_iteration)))
        try:
            self._resume()
            self._clone(min(s.warm_start, budget))
            if not self.at.started:
                self.collect_initial(group)
            self._burn_in(group)
            with ThreadPoolExecutor(1, "actor") as actor:
                while self.at.policy_updates < budget:
                    self._iterate(group, actor)
        finally:
            group.close()
        return self.policy

    def _iterate(self, group: EnvGroup, actor: ThreadPoolExecutor) -> None:
        """One iteration of algorithm 1, or the rest of one that was interrupted."""
        s, at, budget = self.settings, self.at, self.context.budget.policy_updates
        if not at.collected:
            if not s.overlap and at.iterations:
                self._collect(group, s.episodes_per_iteration)
            elif s.overlap and at.policy_updates + s.policy_updates < budget:
                acting = deepcopy(self.network)
                self.in_flight = actor.submit(self._rollouts, group, acting, s.episodes_per_iteration)
            at.collected = True
        self._train_models(s.model_updates)
        self._train_policy(min(s.policy_updates, budget - at.policy_updates + at.phase_policy_updates))
        self._report()
        if self.in_flight:  # awaited before the checkpoint, so that what it counts does not depend on timing
            self._add(self.in_flight.result())
            self.in_flight = None
        at.iterations += 1
        at.end_phase()
        self._checkpoint(on_curve=True)

    def collect_initial(self, group: EnvGroup) -> None:
        """Collect the first rollouts and measure the models' units on them."""
        s, at = self.settings, self.at
        if s.warm_start and s.reset_sigma and not at.phase_episodes:
            self.network.set_sigma(s.reset_sigma)
            self.optimizer = self._new_optimizer()
        self._collect(group, s.initial_episodes)
        rng = self.context.seeds.generator("units")
        self.models.measure(self.replay.sample(UNIT_ROWS, s.gamma, s.cross_episodes, rng))
        at.started = True
        at.end_phase()

    def _burn_in(self, group: EnvGroup) -> None:
        """Train the models alone, in portions of `model_updates`."""
        s, at = self.settings, self.at
        while at.burn_in < s.burn_in:
            if s.burn_in_collects and at.burn_in and not at.collected:
                self._collect(group, s.episodes_per_iteration)
            at.collected = True
            rest = s.burn_in - at.burn_in
            updates = rest if s.model_patience else min(max(s.model_updates, 1), rest)
            self._train_models(updates)
            at.burn_in += updates
            at.end_phase()
            self._checkpoint(on_curve=True)

    def _collect(self, group: EnvGroup, episodes: int) -> None:
        """Add rollouts of the current policy to the replay buffer."""
        while self.at.phase_episodes < episodes:
            found = self._rollouts(group, self.network, min(WIDTH, episodes - self.at.phase_episodes))
            if not found:
                break
            self._add(found)
            self.at.phase_episodes += len(found)
            if self.at.phase_episodes < episodes:
                self._checkpoint()

    def _rollouts(self, group: EnvGroup, network: GaussianNetwork, episodes: int) -> list[Episode]:
        """Rollouts of the stochastic policy, as many as the budget of environment steps allows.

        Shares nothing that the training changes, so it may run in a thread beside it.
        """
        s, budget, found = self.settings, self.context.budget.environment_steps, list[Episode]()
        actions = self.rng["exploration"]
        while len(found) < episodes:
            affordable = (budget - self.context.environment_steps) // self.context.task.horizon
            count = min(WIDTH, episodes - len(found), affordable)
            if not count:
                break
            seeds = self.rng["starts of episodes"].integers(2**31, size=count).tolist()
            exploration = s.exploration * (actions.random(count) < s.exploration_share)
            found += collect_rollouts(group, network, seeds, actions, exploration, s.exploration_steps)
        return found

    def _add(self, episodes: list[Episode]) -> None:
        """Add rollouts to the replay buffer, and every `held_out_every`-th to the held-out one."""
        every = self.settings.held_out_every
        for episode in episodes:
            self.at.episodes += 1
            (self.held_out if every and self.at.episodes % every == 0 else self.replay).add(episode)

    def _train_models(self, updates: int) -> None:
        """Joint updates of B^s and B^a until the current phase has so many, or until both have stopped early."""
        s, at = self.settings, self.at
        if not (s.model_patience and len(self.held_out)):
            while at.phase_model_updates < updates:
                self._model_updates(min(BATCHES_AT_ONCE, updates - at.phase_model_updates))
            return
        if at.phase_model_updates < updates or self.early_stopping is not None:
            stopping = self.early_stopping
            if stopping is None:
                held_out = self.models.with_control(self._draw(self.held_out, HELD_OUT_ROWS, "early stopping"))
                stopping = self.early_stopping = EarlyStopping(self.models, held_out, s.model_patience)
            while at.phase_model_updates < updates:
                learning = stopping.check(at.phase_model_updates)
                if not any(learning):
                    break
                self._model_updates(min(CHECK_EVERY, updates - at.phase_model_updates), learning)
            else:
                stopping.check(updates)
            self.kept_updates = stopping.restore()
            self.early_stopping = None
            at.phase_model_updates = updates

    def _model_updates(self, updates: int, learning: tuple[bool, bool] = (True, True)) -> None:
        self.update_models(updates, learning)
        self.at.phase_model_updates += updates
        self._checkpoint()

    def update_models(self, updates: int, learning: tuple[bool, bool] = (True, True)) -> None:
        """So many gradient steps of those of B^s and B^a that are learning."""
        for batches in portions(updates, BATCHES_AT_ONCE):
            self.models.update(self._draw(self.replay, batches * self.settings.batch_size, "replay"), learning)

    def _draw(self, replay: Replay, count: int, stream: str) -> FutureStateBatch[np.ndarray]:
        return replay.sample(count, self.settings.gamma, self.settings.cross_episodes, self.rng[stream])

    def _train_policy(self, updates: int) -> None:
        """Updates of the policy until the current iteration has so many."""
        at = self.at
        while at.phase_policy_updates < updates:
            count = min(BATCHES_AT_ONCE, updates - at.phase_policy_updates)
            self.update_policy(count)
            at.phase_policy_updates += count
            if at.phase_policy_updates < updates:
                self._checkpoint()

    def update_policy(self, updates: int) -> None:
        """So many gradient steps of the policy on demonstrations and on their sampled predecessors (equation 12)."""
        beta_d, beta_pi = self.settings.beta_d, self.settings.beta_pi
        norms = []
        for states, actions in self._predecessors(updates):
            loss = -beta_d * self._reduced(self.network.log_prob(states, actions))
            if beta_pi:
                loss = loss - beta_pi * self._log_prob_of_demonstrations()
            norms.append(self._step(loss))
        self.gradient_norms += torch.stack(norms).tolist()

    def _predecessors(self, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of states [B, O] and actions [B, A], sampled from B^s and B^a given demonstrated states."""
        size, (low, high) = self.settings.batch_size, self.replay.range()
        for count in portions(batches, 1 if self.models.samples_depend_on_policy else BATCHES_AT_ONCE):
            rows = self.rng["demonstrated targets"].integers(len(self.targets), size=count * size)
            states, actions = self.models.sample_predecessors(self.targets[rows], low, high)
            yield from zip(states.split(size), actions.split(size), strict=True)

    def _clone(self, updates: int) -> None:
        """Behavioural cloning until there have been so many policy updates: algorithm 1 with beta_d = 0."""
        at, every = self.at, self.settings.policy_updates
        while at.policy_updates < updates:
            left = min(every - at.policy_updates % every, updates - at.policy_updates)
            for _ in range(min(CLONED_AT_ONCE, left)):
                self._step(-self._log_prob_of_demonstrations())
            if at.policy_updates % every == 0:
                self._checkpoint(on_curve=True)
            elif at.policy_updates < updates:
                self._checkpoint()

    def _log_prob_of_demonstrations(self) -> Tensor:
        assert self.pairs is not None, "fit refuses demonstrations without actions"
        rng = self.rng["demonstrated pairs"]
        rows = torch.from_numpy(rng.integers(len(self.pairs[0]), size=self.settings.batch_size))
        observations, actions = (part[rows.to(part.device)] for part in self.pairs)
        return self._reduced(self.network.log_prob(observations, actions))

    def _reduced(self, log_probs: Tensor) -> Tensor:
        return log_probs.sum() if self.settings.batch_reduction == "sum" else log_probs.mean()

    def _step(self, loss: Tensor) -> Tensor:
        """Take one gradient step of the policy; returns the norm of the gradient []."""
        gradients = torch.autograd.grad(loss, self.optimizer.parameters)
        self.optimizer.learning_rate = self.learning_rate()
        self.optimizer.step(gradients)
        self.at.policy_updates += 1
        return total_norm(gradients)

    def learning_rate(self) -> float:
        """The policy's learning rate at its next step."""
        if not self.settings.policy_decay:
            return self.settings.policy_learning_rate
        left = 1.0 - self.at.policy_updates / self.context.budget.policy_updates
        return self.settings.policy_learning_rate * left

    def _checkpoint(self, on_curve: bool = False) -> None:
        """Tell the suite how far training is.

        Args:
            on_curve: whether the policy may be evaluated for the learning curve here. Elsewhere the progress told is
                that of the last such point, so the curve has points between iterations only.

        Raises:
            Diverged: the policy's weights are not finite.
        """
        at = self.at
        if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
            raise Diverged(f"the policy's weights are not finite after {at.policy_updates} updates")
        if on_curve:
            at.progress_updates = at.policy_updates
        progress = at.progress_updates / self.context.budget.policy_updates
        self.context.checkpoint(self.policy, progress, at.policy_updates + self.models.gradient_steps, self._state)

    def _state(self) -> State:
        """Everything that changes during training. Waits for rollouts in flight, so that no environment is moving."""
        flight = None if self.in_flight is None else [vars(episode) for episode in self.in_flight.result()]
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": self.replay.get_state(),
            "held_out": self.held_out.get_state(),
            "models": self.models.get_state(),
            "early_stopping": None if self.early_stopping is None else self.early_stopping.get_state(),
            "kept_updates": self.kept_updates,
            "gradient_norms": self.gradient_norms,
            "in_flight": flight,
            "position": asdict(self.at),
            "generators": {name: rng.bit_generator.state for name, rng in self.rng.items()},
        }

    def _resume(self) -> None:
        """Restore the snapshot of an interrupted training, if there is one."""
        state = self.context.resume()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.replay.set_state(state["replay"])
        self.held_out.set_state(state["held_out"])
        self.models.set_state(state["models"])
        if state["early_stopping"]:
            patience = self.settings.model_patience
            self.early_stopping = EarlyStopping.resumed(self.models, patience, state["early_stopping"])
        if state["kept_updates"] is not None:
            states, actions = state["kept_updates"]
            self.kept_updates = states, actions
        self.gradient_norms = state["gradient_norms"]
        if state["in_flight"] is not None:
            self.in_flight = Future()
            self.in_flight.set_result([Episode(**episode) for episode in state["in_flight"]])
        self.at = Position(**state["position"])
        for name, generator in state["generators"].items():
            self.rng[name].bit_generator.state = generator

    def _report(self) -> None:
        """Report diagnostics; uses no environment step and no random number of the training."""
        step = self.at.policy_updates + self.models.gradient_steps
        rng = self.context.seeds.generator(f"diagnostics {step}")
        found = model_diagnostics(self.models, self.replay, self.held_out, self.targets, self.context.task, rng)
        norms = gradient_diagnostics(self.models.take_gradient_norms(), self.settings.gradient_clip)
        norms |= gradient_diagnostics({"policy": self.gradient_norms})
        self.gradient_norms = []
        if self.kept_updates:
            found["kept_updates_states"], found["kept_updates_actions"] = map(float, self.kept_updates)
        self.context.report(step, **found, **norms)

    def _new_optimizer(self) -> Adam:
        return Adam(self.network.parameters(), self.settings.policy_learning_rate, self.settings.policy_l2)


def portions(total: int, most: int) -> Iterator[int]:
    """Parts of at most `most` that add up to `total`."""
    for first in range(0, total, most):
        yield min(most, total - first)
