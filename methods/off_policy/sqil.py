"""SQIL: reinforcement learning with reward 1 for demonstrated steps and 0 for the policy's own.

Reddy, Dragan & Levine (2020), "SQIL: Imitation Learning via Reinforcement Learning with Sparse Rewards". Half of each
batch is demonstrated.

Differences from the paper: the paper's learner is soft (SAC, or soft Q-learning). Here (`learner.py`) the actor has
constant noise and therefore constant entropy, which is not traded off against reward. An episode ends in an absorbing
state of its own: its last state, marked by an extra input of the critics, which leads to itself. Its steps pay 1 or 0
as well, so its value is what the demonstrated ends among those like it pay. Demonstrations that end in success thus
earn no less by ending than by waiting, and an own success, which looks like a demonstrated one, is worth more than
leaving the workspace. The critics' outputs are sums of discounted rewards, from 0 to 1 / (1 - gamma), instead of
averages as elsewhere in this learner: a step's share of an average would be less than new critics differ from each
other. Cost: one update of two small critics every 2.5 environment steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.interface import FitContext, Method
from methods.off_policy import learner
from methods.off_policy.learner import OffPolicySettings, RewardLearner
from methods.off_policy.replay import Batch
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH: dict[str, dict[str, Any]] = learner.SEARCH | {
    "n_steps": {"choices": [1, 3, 5]},
}
"""What tuning may try."""


@dataclass(frozen=True)
class Settings(OffPolicySettings):
    """Settings of SQIL, all of them the learner's: see `OffPolicySettings`. The paper has no warm start or cloning."""

    demonstrated: Annotated[float, Ge(0.0), Lt(1.0)] = 0.5
    n_steps: Annotated[int, Ge(1), Le(100)] = 1
    actor_delay: Annotated[int, Ge(0)] = 0
    exploration: Annotated[float, Gt(0.0), Le(1.0)] = 0.1


@register
class Sqil(Method):
    """SQIL; see the module for the algorithm."""

    name: ClassVar[str] = "sqil"
    display_name = "SQIL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = (
        "off-policy learning with reward 1 for demonstrated and 0 for the policy's steps (Reddy et al., 2020)"
    )
    small: ClassVar[Mapping[str, Any]] = {"processes": 4, "first_steps": 500, "updates_per_step": 0.1}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        return _Training(self.settings, demonstrations, context, use_actions=True).run()


class _Training(RewardLearner):
    """The learner with SQIL's rewards."""

    @property
    def value_bounds(self) -> tuple[float, float]:
        return 0.0, 1.0 / (1.0 - self.settings.gamma)

    def rewards(self, batch: Batch) -> Tensor:
        return self._paid(batch.demonstrated)[:, None].expand_as(batch.counted)

    def _paid(self, demonstrated: Tensor) -> Tensor:
        """The learner averages rewards; divided by 1 - gamma, their average is the sum."""
        return demonstrated.float() * self.value_bounds[1]

    def end_values(self, batch: Batch) -> Tensor:
        return self.targets(self.features.of_ends(batch.reached_features)).amin(0)

    def critic_loss(self, batch: Batch) -> Tensor:
        """That of the steps, and of the absorbing states, whose values are the mean of what these pay."""
        ends = self.critics(self.features.of_ends(batch.reached_features[batch.ended]))
        paid = self._paid(batch.demonstrated[batch.ended])
        return super().critic_loss(batch) + (ends - paid).square().sum() / len(batch.ended)
