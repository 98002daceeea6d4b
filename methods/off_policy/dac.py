"""DAC: adversarial imitation with an off-policy actor-critic and rewards of the present discriminator.

Kostrikov et al. (2019), "Discriminator-Actor-Critic: Addressing Sample Inefficiency and Reward Bias in Adversarial
Imitation Learning". A discriminator D tells demonstrated steps from those of the replay buffer; the reward is
log D - log(1 - D), its logit, clipped, computed for each batch by the discriminator as it then is, never stored.

Differences from the paper: noise on the discriminator's inputs instead of a gradient penalty (a discriminator of 10 to
25 demonstrations knows them by heart, and so judges others like failures); an episode's end is judged by its last state
instead of leading into one absorbing state common to all, since both success and failure end episodes here;
demonstrations in every batch of the critics, a warm start by behavioural cloning and a cloning term in the policy's
loss, all of which need demonstrated actions. With `use_actions` false, `warm_start` 0, `cloning` 0 it learns from
states alone (as GAIfO, with an off-policy learner), but starts from nothing and learns far more slowly: the state that
follows says little about a single action.

What to expect: prototypes of this recipe on clip insertion with 25 demonstrations reached similar success whatever they
began with, had their best policy after 50,000 to 60,000 steps, and could become worse again. With 10 demonstrations
they *harmed* the cloned policy they began with (41/48 to 22/22 % on the clip, 69/38 to 42/39 % on the peg; sampled and
deterministic actions). Nothing here detects that. Cost: one update of two small critics and a quarter of one of the
discriminator every 2.5 environment steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor
from torch.nn import functional as F

from envs.demonstrations import Demonstrations
from methods.interface import FitContext, Method, State
from methods.off_policy import learner
from methods.off_policy.learner import Learner, OffPolicySettings
from methods.off_policy.networks import perceptron, seeded
from methods.off_policy.replay import Batch
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH: dict[str, dict[str, Any]] = learner.SEARCH | {
    "use_actions": {"choices": [True, False]},
    "noise": {"low": 0.05, "high": 1.0, "log": True},
    "discriminator_learning_rate": {"low": 3e-5, "high": 1e-3, "log": True},
    "discriminator_every": {"choices": [1, 2, 4, 8]},
    "reward_clip": {"choices": [1.0, 3.0, 10.0]},
}
"""What tuning may try; ranges around Orsini et al. (2021) and the prototypes."""


@dataclass(frozen=True)
class Settings(OffPolicySettings):
    """Settings of DAC; those of the learner are explained in `OffPolicySettings`.

    Attributes:
        use_actions: the discriminator sees state and action; false shows it the state that a step led to.
        discriminator_hidden, discriminator_learning_rate, discriminator_l2: its hidden layers (tanh), Adam's rate, and
            the weight of half the sum of squared parameters.
        discriminator_batch: steps of either kind in its update.
        discriminator_ends: ends of episodes of either kind in its update.
        discriminator_first: its updates before the first one of the critics.
        discriminator_every: updates of the critics per update of it, from then on.
        noise: standard deviation of Gaussian noise on its inputs while it learns, in units of their own deviation.
        reward_clip: largest absolute reward.
    """

    cloning: Annotated[float, Ge(0.0)] = 0.05
    warm_start: Annotated[int, Ge(0)] = 2000
    use_actions: bool = True
    discriminator_hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (100, 100)
    discriminator_learning_rate: Annotated[float, Gt(0.0)] = 5e-4
    discriminator_l2: Annotated[float, Ge(0.0)] = 1e-4
    discriminator_batch: Annotated[int, Ge(1)] = 128
    discriminator_ends: Annotated[int, Ge(1)] = 32
    discriminator_first: Annotated[int, Ge(0)] = 800
    discriminator_every: Annotated[int, Ge(1)] = 4
    noise: Annotated[float, Ge(0.0)] = 0.3
    reward_clip: Annotated[float, Gt(0.0)] = 3.0


@register
class Dac(Method):
    """DAC; see the module for the algorithm and for what to expect of it."""

    name: ClassVar[str] = "dac"
    display_name = "DAC"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = (
        "off-policy adversarial imitation (Kostrikov et al., 2019), rewards by the present discriminator"
    )
    small: ClassVar[Mapping[str, Any]] = {
        "processes": 4,
        "first_steps": 500,
        "actor_delay": 20,
        "updates_per_step": 0.1,
        "discriminator_first": 20,
        "warm_start": 60,
    }

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return bool(settings.use_actions or settings.warm_start or settings.cloning)

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        shown = demonstrations.actions is not None and not demonstrations.terminal.all()
        return _Training(self.settings, demonstrations, context, self.requires_actions(self.settings) or shown).run()


class _Training(Learner):
    """The learner with a discriminator."""

    settings: Settings

    def __init__(
        self, settings: Settings, demonstrations: Demonstrations, context: FitContext, use_actions: bool
    ) -> None:
        super().__init__(settings, demonstrations, context, use_actions)
        inputs = self.features.pairs
        self.discriminator = seeded(context, "discriminator", lambda: perceptron(inputs, settings.discriminator_hidden))
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=settings.discriminator_learning_rate,
            weight_decay=settings.discriminator_l2,
            fused=True,
        )
        self._discriminator_updates = 0
        device = context.device
        self._shown_ends = torch.tensor(demonstrations.observations[demonstrations.terminal], device=device)
        reached = demonstrations.time_step > 0
        self._reached = torch.tensor(demonstrations.observations[reached], device=device)
        self._reached_end = torch.tensor(demonstrations.terminal[reached].astype(np.float32), device=device)

    @property
    def value_limit(self) -> float:
        return self.settings.reward_clip

    @property
    def other_updates(self) -> int:
        return self._discriminator_updates

    def rewards(self, batch: Batch) -> Tensor:
        # Only the last of a batch's steps can reach a terminal state; padding repeats it and does not count.
        last = batch.counted * (1.0 - F.pad(batch.counted[:, 1:], (0, 1)))
        ends = (last * batch.ended.float()[:, None]).flatten()
        states, actions, next_states = (part.flatten(0, 1) for part in (batch.states, batch.actions, batch.next_states))
        return self._clipped(self._judged_steps(states, actions, next_states, ends)).view_as(batch.counted)

    def end_values(self, batch: Batch) -> Tensor:
        return self._clipped(self.features.of_ends(batch.reached))

    def _judged_steps(self, states: Tensor, actions: Tensor, next_states: Tensor, ends: Tensor) -> Tensor:
        """The discriminator's inputs for steps; `ends` tells which of them lead to a terminal state."""
        if self.settings.use_actions:
            return self.features.of_pairs(states, actions)
        return self._judged_states(next_states, ends)

    def _judged_states(self, states: Tensor, ends: Tensor) -> Tensor:
        found = self.features.of_states(states, ends)
        return F.pad(found, (0, self.features.pairs - self.features.states))

    def _clipped(self, inputs: Tensor) -> Tensor:
        limit = self.settings.reward_clip
        return self.discriminator(inputs).squeeze(-1).clamp(-limit, limit)

    def before_updates(self) -> None:
        for _ in range(self.settings.discriminator_first):
            self._update_discriminator()

    def after_update(self) -> None:
        if self.updates % self.settings.discriminator_every == 0:
            self._update_discriminator()

    def _update_discriminator(self) -> None:
        """One step of Adam on the cross-entropy of steps plus that of ends."""
        demonstrated, own = self._demonstrated_inputs(), self._own_inputs()
        shown_ends, own_ends = self._end_inputs()
        loss = torch.zeros((), device=demonstrated.device)
        for positive, negative in ((demonstrated, own), (shown_ends, own_ends)):
            if len(negative):
                logits = self.discriminator(self._noisy(torch.cat([positive, negative]))).squeeze(-1)
                labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(logits.device)
                loss = loss + F.binary_cross_entropy_with_logits(logits, labels)
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        self._discriminator_updates += 1
        with torch.no_grad():
            self.note(
                discriminator_loss=loss.detach(),
                reward_demonstrated=self._clipped(demonstrated).mean(),
                reward_own=self._clipped(own).mean(),
                reward_demonstrated_ends=self._clipped(shown_ends).mean(),
            )
            if len(own_ends):
                self.note(reward_own_ends=self._clipped(own_ends).mean())

    def _demonstrated_inputs(self) -> Tensor:
        size = self.settings.discriminator_batch
        if self.settings.use_actions:
            batch = self.replay.sample(self.rng, 0, size, 1)
            return self.features.of_pairs(batch.states[:, 0], batch.actions[:, 0])
        rows = torch.from_numpy(self.rng.integers(len(self._reached), size=size))
        return self._judged_states(self._reached[rows], self._reached_end[rows])

    def _own_inputs(self) -> Tensor:
        batch = self.replay.sample(self.rng, self.settings.discriminator_batch, 0, 1)
        steps = (batch.states[:, 0], batch.actions[:, 0], batch.next_states[:, 0])
        return self._judged_steps(*steps, batch.ended.float())

    def _end_inputs(self) -> tuple[Tensor, Tensor]:
        """Of demonstrated and of own ends, the latter empty as long as there are none."""
        size, ends = self.settings.discriminator_ends, self.replay.own_ends()
        shown = self._shown_ends[torch.from_numpy(self.rng.integers(len(self._shown_ends), size=size))]
        drawn = self.rng.integers(max(len(ends), 1), size=size)
        own = torch.from_numpy(ends[drawn] if len(ends) else ends).to(shown.device)
        return self.features.of_ends(shown), self.features.of_ends(own)

    def _noisy(self, inputs: Tensor) -> Tensor:
        noise = self.settings.noise * self.rng.standard_normal(inputs.shape, dtype=np.float32)
        noise[:, self.features.states - 1] = 0.0  # the flag
        return inputs + torch.from_numpy(noise).to(inputs.device)

    def method_state(self) -> State:
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.discriminator_optimizer.state_dict(),
            "updates": self._discriminator_updates,
        }

    def restore_method(self, state: State) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.discriminator_optimizer.load_state_dict(state["optimizer"])
        self._discriminator_updates = state["updates"]
