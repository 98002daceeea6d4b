"""IQ-Learn: inverse soft Q-learning, which learns one value function as both reward and critic.

Garg et al. (2021), "IQ-Learn: Inverse soft-Q Learning for Imitation". With r = Q(s, a) - gamma V(s') the reward that Q
implies, the critics minimise, over demonstrated (E) and all (M) transitions of a batch,

    - mean_E r  +  (1 - gamma) mean_E V(s)  +  mean_M r^2 / (4 alpha)

This is the authors' code with chi-squared regularisation of the rewards of demonstrated steps and of the policy's own,
with V(s') from slow copies of the critics, which are not differentiated, and with the value term "v0", which they use
on most tasks whose episodes can end early. Their other one, mean_M (V(s) - gamma V(s')), is `value_term = "all"`: since
V(s') is not differentiated, it lowers the values of the policy's actions in demonstrated states without bound unless
the policy's noise is as narrow as the demonstrated actions, which constant noise is not.

`targets = "bounded"` is LS-IQ instead (Al-Hafez et al., 2023, "LS-IQ: Implicit Reward Regularization for Inverse
Reinforcement Learning"), which solves the regularised problem by least squares. Rewards are +-2 alpha. Q of
demonstrated steps is regressed to the highest value that these can give, and Q of the policy's steps to
reward + gamma V(s'), clipped to the bounds of values.

Differences from both: the actor has a deterministic mean with constant noise instead of SAC. Its entropy is constant,
so V(s) = Q(s, a), with a sampled from the policy, needs no temperature. Episodes end in an absorbing state, which leads
to itself and which an extra input marks for the critics. LS-IQ's separate regularisation of V is left out. The critics'
outputs are Q itself, not Q times 1 - gamma as elsewhere in this learner: rewards are small differences of Q, which
Adam's steps would drown if outputs were multiplied by 1 / (1 - gamma). Cost: one update of two small critics on twice
the rows every 2.5 environment steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.interface import FitContext, Method, MethodError
from methods.off_policy import learner
from methods.off_policy.learner import Learner, OffPolicySettings
from methods.off_policy.replay import Batch
from methods.policy import GaussianPolicy
from methods.registry import register

ValueTerm: TypeAlias = Literal["demonstrated", "all"]

SEARCH: dict[str, dict[str, Any]] = learner.SEARCH | {
    "targets": {"choices": ["implicit", "bounded"]},
    "alpha": {"low": 0.1, "high": 1.0, "log": True},
}
"""What tuning may try; alpha is .5 in IQ-Learn's code."""


@dataclass(frozen=True)
class Settings(OffPolicySettings):
    """Settings of IQ-Learn; those of the learner are explained in `OffPolicySettings`. Targets have one step.

    Attributes:
        targets: "implicit" is IQ-Learn, "bounded" is LS-IQ.
        alpha: strength of the regularisation; with "implicit" rewards of a matched policy stay within 2 alpha, with
            "bounded" rewards are +-2 alpha.
        value_term: of IQ-Learn's loss, over "demonstrated" states or "all" steps of a batch; see the module. Not used
            with "bounded".
    """

    demonstrated: Annotated[float, Gt(0.0), Lt(1.0)] = 0.5
    n_steps: Annotated[int, Ge(1), Le(1)] = 1
    actor_delay: Annotated[int, Ge(0)] = 0
    exploration: Annotated[float, Gt(0.0), Le(1.0)] = 0.1
    targets: Literal["implicit", "bounded"] = "implicit"
    value_term: ValueTerm = "demonstrated"
    alpha: Annotated[float, Gt(0.0)] = 0.5


def implicit_loss(
    values: Tensor,
    state_values: Tensor,
    next_values: Tensor,
    demonstrated: Tensor,
    gamma: float,
    alpha: float,
    value_term: ValueTerm,
) -> Tensor:
    """IQ-Learn's loss of each critic, see the module.

    Args:
        values: Q(s, a), [..., B].
        state_values: V(s), [..., B].
        next_values: V(s'), [..., B].
        demonstrated: [B] bool; some must be.
        gamma: discount.
        alpha: of the regularisation.
        value_term: see `Settings`.
    """
    rewards = values - gamma * next_values
    paid = (1.0 - gamma) * state_values[..., demonstrated]
    if value_term == "all":
        paid = state_values - gamma * next_values
    return -rewards[..., demonstrated].mean(-1) + paid.mean(-1) + rewards.square().mean(-1) / (4.0 * alpha)


def bounded_targets(next_values: Tensor, demonstrated: Tensor, gamma: float, reward: float) -> Tensor:
    """LS-IQ's targets [B] of Q(s, a), from V(s') [B]; rewards are +-`reward`."""
    limit = reward / (1.0 - gamma)
    own = (gamma * next_values - reward).clamp(-limit, limit)
    return torch.where(demonstrated, torch.full_like(own, limit), own)


@register
class IqLearn(Method):
    """IQ-Learn and LS-IQ; see the module for the algorithm."""

    name: ClassVar[str] = "iq-learn"
    display_name = "IQ-Learn"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "inverse Q-learning (Garg et al., 2021), with LS-IQ's bounded targets as a setting"
    small: ClassVar[Mapping[str, Any]] = {"processes": 4, "first_steps": 500, "updates_per_step": 0.1}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        return _Training(self.settings, demonstrations, context, use_actions=True).run()


class _Training(Learner):
    """The learner with IQ-Learn's loss of the critics."""

    settings: Settings

    def __init__(
        self, settings: Settings, demonstrations: Demonstrations, context: FitContext, use_actions: bool
    ) -> None:
        if round(settings.demonstrated * settings.batch_size) in (0, settings.batch_size):
            raise MethodError(
                f"demonstrated = {settings.demonstrated} of {settings.batch_size} steps leaves no demonstrated or no "
                "environment steps in a batch; set it to 0.5, for example"
            )
        super().__init__(settings, demonstrations, context, use_actions)

    def critic_loss(self, batch: Batch) -> Tensor:
        s = self.settings
        with torch.no_grad():
            ended, here_features, there_features = batch.ended, batch.features[:, 0], batch.reached_features
            ends = self.features.of_ends(there_features)
            taken = self.features.of_pairs(here_features, batch.actions[:, 0])
            here = self.features.of_pairs(here_features, self.explored(batch.states))
            there = self.features.of_pairs(there_features, self.explored(batch.reached))
            there = torch.where(ended[:, None], ends, there)
            # From an absorbing state the only transition leads to itself.
            taken, here, there = (torch.cat([part, ends[ended]]) for part in (taken, here, there))
            shown = torch.cat([batch.demonstrated, batch.demonstrated[ended]])
            next_values = self.targets(there).amin(0)
        if s.targets == "bounded":
            targets = bounded_targets(next_values, shown, s.gamma, 2.0 * s.alpha)
            return (self.critics(taken) - targets).square().mean(1).sum()
        values, state_values = self.critics(torch.cat([taken, here])).chunk(2, dim=1)
        return implicit_loss(values, state_values, next_values, shown, s.gamma, s.alpha, s.value_term).sum()
