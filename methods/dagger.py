"""DAgger: clone, act, ask the demonstrator what it would have done in the visited states, and clone all data again.

Ross, Gordon & Bagnell (2011), "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", algorithm 3.1, with the parameter-free mixture of its experiments: the demonstrations are the first round
(beta = 1), and from then on the policy acts alone (beta = 0). The demonstrator labels every state that it visits.

Differences from the paper: the network continues training in each round instead of starting over, with one learning
rate schedule over all rounds, so that all methods have the same number of policy updates. The policy of the last round
is returned, not the best one on validation data. Cost: that of BC, plus environment steps and queries, which are
counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.bc import Pairs
from methods.interface import Diverged, Expert, FitContext, Method, MethodError, State
from methods.policy import GaussianPolicy, new_network
from methods.registry import register

CHECKPOINT_EVERY = 50
"""Updates, or labelled states, between two checkpoints."""

SEARCH: dict[str, dict[str, Any]] = {
    "rounds": {"low": 2, "high": 16, "log": True},
    "learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "l2": {"low": 1e-5, "high": 1e-1, "log": True},
    "episode_steps": {"choices": [0, 60, 80, 120]},
    "deterministic": {"choices": [0.0, 0.5, 1.0]},
}
"""What tuning may try."""


@dataclass(frozen=True)
class Settings:
    """Settings of DAgger; optimiser and regularisation are those of BC.

    Attributes:
        rounds: rounds of cloning; the queries are spread evenly between them. 1 is behavioural cloning.
        learning_rate: Adam's learning rate.
        decay: decrease the learning rate linearly to zero over all rounds.
        batch_size: pairs per update, sampled with replacement from all that are known.
        l2: weight in the loss of half the sum of squares of all weights and biases.
        episode_steps: longest own episode in steps, after which another one begins; 0 leaves it to the task's time
            limit. A policy that gets stuck would otherwise spend most queries on the states in which it is.
        deterministic: fraction of own episodes with deterministic actions, drawn at random; the others have sampled
            ones. Each kind leads to states where the other does not, such as those where a part is stuck.
    """

    rounds: Annotated[int, Ge(1)] = 5
    learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    decay: bool = True
    batch_size: Annotated[int, Ge(1)] = 256
    l2: Annotated[float, Ge(0.0)] = 1e-4
    episode_steps: Annotated[int, Ge(0)] = field(default=0, metadata={"neutral": True})
    deterministic: Annotated[float, Ge(0.0), Le(1.0)] = field(default=0.0, metadata={"neutral": True})


@register
class Dagger(Method):
    """DAgger; see the module for the algorithm."""

    name: ClassVar[str] = "dagger"
    display_name = "DAgger"
    Settings: ClassVar[type] = Settings
    needs_expert: ClassVar[bool] = True
    summary: ClassVar[str] = "interactive cloning: the demonstrator labels the states that the policy visits"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        pairs = Pairs.of(demonstrations, context.device)
        if context.expert is None:
            raise MethodError(
                "dagger queries the demonstrator, but this task has none, or the budget has no queries; "
                "set budget.expert_queries above 0 on a task with a demonstrator"
            )
        return _Training(self.settings, demonstrations, pairs, context, context.expert).run()


class _Training:
    """One training: rounds of cloning and labelling, resumable at every checkpoint."""

    def __init__(
        self, settings: Settings, demonstrations: Demonstrations, pairs: Pairs, context: FitContext, expert: Expert
    ) -> None:
        self.settings, self.context, self.expert = settings, context, expert
        self.network = new_network(demonstrations, context)
        self.policy = GaussianPolicy(self.network)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.l2, fused=True
        )
        self.demonstrated = pairs
        self.states: list[np.ndarray] = []  # labelled ones, [O] each ...
        self.labels: list[np.ndarray] = []  # ... and their labels, [A] each
        self.batches = context.seeds.generator("demonstrated pairs")
        self.rollouts = context.seeds.generator("rollouts")
        self.updates = 0
        self.round = 1
        self.observation: np.ndarray | None = None  # of an episode under way ...
        self.episode_steps = 0  # ... the steps that it has had ...
        self.deterministic = False  # ... and whether its actions are deterministic

    def run(self) -> GaussianPolicy:
        rounds, total = self.settings.rounds, self.context.budget.policy_updates
        environment = self.context.make_env()
        try:
            self._resume()
            while True:
                self._clone(total * self.round // rounds)
                if self.round == rounds:
                    return self.policy
                self._label(environment, self._queries_until(self.round))
                self.round += 1
        finally:
            environment.close()

    def _queries_until(self, round_: int) -> int:
        """How many states are labelled by the end of a round: equal shares of what may be asked and stepped."""
        budget = self.context.budget
        earlier = self.context.environment_steps - len(self.labels)  # from which actions were inferred
        affordable = min(budget.expert_queries, budget.environment_steps - earlier)
        return affordable * round_ // max(self.settings.rounds - 1, 1)

    def _clone(self, until: int) -> None:
        """Update the policy on all known pairs until there were so many updates."""
        observations, actions = self._known()
        total, losses = self.context.budget.policy_updates, list[Tensor]()
        while self.updates < until:
            if self.settings.decay:
                for group in self.optimizer.param_groups:
                    group["lr"] = self.settings.learning_rate * (1.0 - self.updates / total)
            rows = torch.from_numpy(self.batches.integers(len(actions), size=self.settings.batch_size))
            loss = -self.network.log_prob(observations[rows], actions[rows]).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
            self.updates += 1
            if self.updates % CHECKPOINT_EVERY == 0 or self.updates == until:
                mean = float(torch.stack(losses).mean())
                losses.clear()
                if not math.isfinite(mean):
                    raise Diverged(f"the loss is {mean} after {self.updates} updates; lower the learning rate")
                self.context.report(self.updates, log_likelihood=-mean, labelled_states=len(self.labels))
                self._checkpoint()

    def _known(self) -> tuple[Tensor, Tensor]:
        """All pairs: observations [N, O] and actions [N, A]."""
        shown = self.demonstrated
        if not self.labels:
            return shown.observations, shown.actions
        labelled = (torch.from_numpy(np.stack(part)).to(shown.actions) for part in (self.states, self.labels))
        states, labels = labelled
        return torch.cat([shown.observations, states]), torch.cat([shown.actions, labels])

    def _label(self, environment: gymnasium.Env[np.ndarray, np.ndarray], until: int) -> None:
        """Act, and ask what the demonstrator would do, until so many states are labelled."""
        actor = self.policy.actor(1)
        while len(self.labels) < until:
            if self.observation is None:
                actor.start([0])
                self.observation, _ = environment.reset(seed=int(self.rollouts.integers(2**31)))
                self.episode_steps = 0
                if self.settings.deterministic:
                    self.deterministic = bool(self.rollouts.random() < self.settings.deterministic)
            self.states.append(np.array(self.observation, np.float32))
            self.labels.append(np.array(self.expert.action(environment), np.float32))
            action = actor.act(self.observation[None], [0], self.deterministic, self.rollouts)[0]
            self.observation, _, terminated, truncated, _ = environment.step(action)
            self.episode_steps += 1
            if terminated or truncated or self.episode_steps == self.settings.episode_steps:
                self.observation = None
            if len(self.labels) % CHECKPOINT_EVERY == 0:
                self._checkpoint()

    def _checkpoint(self) -> None:
        progress = self.updates / self.context.budget.policy_updates
        self.context.checkpoint(self.policy, progress, self.updates, self._state)

    def _state(self) -> State:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "states": np.stack(self.states) if self.states else None,
            "labels": np.stack(self.labels) if self.labels else None,
            "batches": self.batches.bit_generator.state,
            "rollouts": self.rollouts.bit_generator.state,
            "updates": self.updates,
            "round": self.round,
            "observation": self.observation,
            "episode_steps": self.episode_steps,
            "deterministic": self.deterministic,
        }

    def _resume(self) -> None:
        state = self.context.resume()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.states = [] if state["states"] is None else list(state["states"])
        self.labels = [] if state["labels"] is None else list(state["labels"])
        self.batches.bit_generator.state, self.rollouts.bit_generator.state = state["batches"], state["rollouts"]
        self.updates, self.round, self.observation = state["updates"], state["round"], state["observation"]
        self.episode_steps, self.deterministic = state["episode_steps"], state["deterministic"]
