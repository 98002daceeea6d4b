"""DAC: adversarial imitation with an off-policy actor-critic and rewards from the current discriminator.

Kostrikov et al. (2019), "Discriminator-Actor-Critic: Addressing Sample Inefficiency and Reward Bias in Adversarial
Imitation Learning". A discriminator D distinguishes demonstrated steps from those of the replay buffer. The reward is
its clipped logit, log D - log(1 - D). It is computed for each batch by the current discriminator and never stored.

Differences from the paper:

- The end of an episode is judged by its last state instead of leading to an absorbing state common to all episodes,
  since both success and failure end episodes here. The discriminator sees the last states of the policy's episodes
  however they ended.
- The discriminator is small, since it would otherwise soon memorise 10 to 25 demonstrations.
- Every batch of the critics includes demonstrations, the policy starts from behavioural cloning, and two terms in its
  loss keep it close to the demonstrated actions (`cloning`) and to the cloned policy (`anchor`). All of these need
  demonstrated actions. The gradient penalty is the paper's.

With `use_actions` false the discriminator judges the state that a step leads to. If `warm_start` and `cloning` are 0 as
well, DAC learns from states only, like GAIfO with an off-policy learner, but starts from an untrained policy. For
demonstrations with states only, `--actions inferred` keeps the warm start.

Cost: one update of two small critics and a quarter of one of the discriminator every 2.5 environment steps.
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
from methods.off_policy.learner import OffPolicySettings, RewardLearner
from methods.off_policy.networks import perceptron, seeded
from methods.off_policy.replay import Batch
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH: dict[str, dict[str, Any]] = learner.SEARCH | {
    "use_actions": {"choices": [True, False]},
    "n_steps": {"choices": [1, 3, 5]},
    "demonstrated": {"choices": [0.0, 0.25, 0.5]},
    "gradient_penalty": {"choices": [0.0, 1.0, 10.0]},
    "noise": {"choices": [0.0, 0.3]},
    "discriminator_learning_rate": {"low": 3e-5, "high": 1e-3, "log": True},
    "discriminator_every": {"choices": [1, 2, 4, 8]},
    "reward_clip": {"choices": [1.0, 5.0, 10.0]},
    "value_floor": {"choices": [0.0, 0.2]},
}
"""What tuning may try; ranges around Orsini et al. (2021) and the prototypes."""


@dataclass(frozen=True)
class Settings(OffPolicySettings):
    """Settings of DAC; those of the learner are explained in `OffPolicySettings`.

    Attributes:
        use_actions: the discriminator sees state and action; if false, the state that a step led to.
        discriminator_hidden: units of the discriminator's hidden layers (ReLU).
        discriminator_learning_rate: Adam's learning rate of the discriminator.
        discriminator_l2: weight of half the sum of the discriminator's squared parameters.
        discriminator_batch: steps of either kind per update of the discriminator.
        discriminator_ends: last states of episodes of either kind per update of the discriminator.
        discriminator_first: updates of the discriminator before the critics' first one.
        discriminator_every: updates of the critics per update of the discriminator after that.
        gradient_penalty: weight of the squared difference from 1 of the gradient's norm between steps of either kind.
        noise: standard deviation of Gaussian noise on the discriminator's inputs while it learns, in units of their own
            standard deviation.
        reward_clip: largest absolute reward.
        value_floor: the policy's loss is divided by the mean absolute value, but at least by this fraction of the
            largest reward: where the discriminator hardly tells a good policy from the demonstrations, its noise would
            otherwise weigh as much as a clear difference.
    """

    cloning: Annotated[float, Ge(0.0)] = 0.2
    anchor: Annotated[float, Ge(0.0)] = 0.3
    warm_start: Annotated[int, Ge(0)] = 2000
    use_actions: bool = True
    discriminator_hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (64,)
    discriminator_learning_rate: Annotated[float, Gt(0.0)] = 5e-4
    discriminator_l2: Annotated[float, Ge(0.0)] = 1e-4
    discriminator_batch: Annotated[int, Ge(1)] = 128
    discriminator_ends: Annotated[int, Ge(1)] = 32
    discriminator_first: Annotated[int, Ge(0)] = 800
    discriminator_every: Annotated[int, Ge(1)] = 4
    gradient_penalty: Annotated[float, Ge(0.0)] = 10.0
    noise: Annotated[float, Ge(0.0)] = 0.0
    reward_clip: Annotated[float, Gt(0.0)] = 5.0
    value_floor: Annotated[float, Ge(0.0)] = 0.0


@register
class Dac(Method):
    """DAC; see the module for the algorithm and for what to expect of it."""

    name: ClassVar[str] = "dac"
    display_name = "DAC"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = (
        "off-policy adversarial imitation (Kostrikov et al., 2019), rewards from the current discriminator"
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


class _Training(RewardLearner):
    """The learner with a discriminator."""

    settings: Settings

    def __init__(
        self, settings: Settings, demonstrations: Demonstrations, context: FitContext, use_actions: bool
    ) -> None:
        super().__init__(settings, demonstrations, context, use_actions)
        inputs = self.features.pairs if settings.use_actions else context.task.observation_size
        self.discriminator = seeded(context, "discriminator", lambda: perceptron(inputs, settings.discriminator_hidden))
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(),
            lr=settings.discriminator_learning_rate,
            weight_decay=settings.discriminator_l2,
            fused=True,
        )
        self._discriminator_updates = 0
        features = torch.from_numpy(self.features.encode(demonstrations.observations)).to(context.device)
        reached = demonstrations.time_step > 0
        self._shown_ends = features[torch.tensor(demonstrations.terminal)]
        self._reached = features[torch.tensor(reached)]

    @property
    def value_bounds(self) -> tuple[float, float]:
        return -self.settings.reward_clip, self.settings.reward_clip

    @property
    def least_scale(self) -> float:
        return max(super().least_scale, self.settings.value_floor * self.settings.reward_clip)

    @property
    def other_updates(self) -> int:
        return self._discriminator_updates

    def rewards(self, batch: Batch) -> Tensor:
        return self._clipped(self._seen_of_steps(batch))

    def end_values(self, batch: Batch) -> Tensor:
        return self._clipped(self._seen_of_finals(batch.reached_features))

    def _seen_of_steps(self, batch: Batch) -> Tensor:
        """What the discriminator sees of the steps of a batch, [B, n, inputs]."""
        if self.settings.use_actions:
            return self.features.of_pairs(batch.features[:, :-1], batch.actions)
        return batch.features[:, 1:]

    def _seen_of_finals(self, features: Tensor) -> Tensor:
        """What it sees of last states [n, O]: [n, inputs]."""
        return self.features.of_ends(features) if self.settings.use_actions else features

    def _clipped(self, seen: Tensor) -> Tensor:
        limit = self.settings.reward_clip
        return self.discriminator(seen).squeeze(-1).clamp(-limit, limit)

    def before_updates(self) -> None:
        for _ in range(self.settings.discriminator_first):
            self._update_discriminator()

    def after_update(self) -> None:
        if self.updates % self.settings.discriminator_every == 0:
            self._update_discriminator()

    def _update_discriminator(self) -> None:
        """One step of Adam on the cross-entropy of steps, that of last states, and the gradient penalty."""
        s, device = self.settings, self.context.device
        demonstrated, own = self._shown_steps(), self._own_steps()
        shown_finals, own_finals = self._finals()
        positive, negative = torch.cat([demonstrated, shown_finals]), torch.cat([own, own_finals])
        logits = self.discriminator(self._noisy(torch.cat([positive, negative]))).squeeze(-1)
        labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(device)
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").view(2, -1)
        steps = len(demonstrated)
        loss = losses[:, :steps].mean() + losses[:, steps:].mean()
        if s.gradient_penalty:
            fractions = torch.from_numpy(self.rng.random((len(positive), 1), dtype=np.float32)).to(device)
            between = torch.lerp(negative, positive, fractions).requires_grad_(True)
            (slope,) = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)
            loss = loss + s.gradient_penalty * (slope.norm(dim=1) - 1.0).square().mean()
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        self._discriminator_updates += 1
        with torch.no_grad():
            self.note(
                discriminator_loss=loss.detach(),
                reward_demonstrated=self._clipped(demonstrated).mean(),
                reward_own=self._clipped(own).mean(),
                reward_demonstrated_ends=self._clipped(shown_finals).mean(),
                reward_own_ends=self._clipped(own_finals).mean(),
            )

    def _shown_steps(self) -> Tensor:
        size = self.settings.discriminator_batch
        if self.settings.use_actions:
            return self._seen_of_steps(self.replay.sample(self.rng, 0, size, 1)).squeeze(1)
        rows = torch.from_numpy(self.rng.integers(len(self._reached), size=size))
        return self._reached[rows]

    def _own_steps(self) -> Tensor:
        return self._seen_of_steps(self.replay.sample(self.rng, self.settings.discriminator_batch, 0, 1)).squeeze(1)

    def _finals(self) -> tuple[Tensor, Tensor]:
        """Last states of demonstrations, and of own episodes whichever way these ended."""
        size = self.settings.discriminator_ends
        shown = self._shown_ends[torch.from_numpy(self.rng.integers(len(self._shown_ends), size=size))]
        return self._seen_of_finals(shown), self._seen_of_finals(self.replay.own_finals(self.rng, size))

    def _noisy(self, seen: Tensor) -> Tensor:
        if not self.settings.noise:
            return seen
        noise = self.settings.noise * self.rng.standard_normal(seen.shape, dtype=np.float32)
        return seen + torch.from_numpy(noise).to(seen.device)

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
