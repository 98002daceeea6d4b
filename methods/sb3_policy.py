"""The shared policy behind stable-baselines3's policy interface, so that libraries built on it train the same network.

The actor is a `methods.policy.GaussianNetwork`, used in place: a `GaussianPolicy` on that network always acts with the
library's current weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from gymnasium.spaces import Box, Space
from imitation.util.logger import HierarchicalLogger
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from methods.policy import GaussianNetwork, PolicyShape, gaussian_log_prob


class StateDependentGaussian(DiagGaussianDistribution):
    """A diagonal Gaussian whose sigma depends on the observation.

    The torch distribution is over whole actions rather than their components, so that TRPO bounds the Kullback-Leibler
    divergence of actions, as in the literature, and not its mean over the action's dimensions.
    """

    distribution: Independent  # type: ignore[assignment]  # declared as Normal by stable-baselines3

    def __init__(self, mean: Tensor, sigma: Tensor) -> None:
        super().__init__(mean.shape[-1])
        # Without validation, which takes time: TRPO's line search rejects steps to non-finite values anyway.
        self.distribution = Independent(Normal(mean, sigma, validate_args=False), 1, validate_args=False)

    def log_prob(self, actions: Tensor) -> Tensor:
        return self.distribution.log_prob(actions)

    def entropy(self) -> Tensor:
        return self.distribution.entropy()


class SharedPolicy(ActorCriticPolicy):
    """Actor: a given `GaussianNetwork`. Critic: an MLP on the same normalised observations, or none.

    `parameters()` includes the critic, and some libraries regularise or optimise all of it: pass no critic if only the
    actor is trained. `optimizer` only updates the critic, since TRPO updates the actor itself; TRPO distinguishes the
    two by the word "value" in their parameters' names. `deferred_values` leaves the critic out of rollouts, for
    algorithms that evaluate it once per rollout. Observations may be float64, as in many Gymnasium tasks.
    """

    deferred_values = False

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        lr_schedule: Schedule,
        network: GaussianNetwork,
        critic_hidden: tuple[int, ...] | None = None,
        use_sde: bool = False,
    ) -> None:
        """Wrap `network`.

        Args:
            observation_space: Box of [O].
            action_space: Box of [A].
            lr_schedule: learning rate of the critic; its initial value is used.
            network: the actor; shared, not copied.
            critic_hidden: hidden layers of the critic; None for no critic, and values of 0.
            use_sde: passed by SB3's algorithms; must be false.
        """
        assert not use_sde, "the shared policy has its own state-dependent sigma"
        super().__init__(observation_space, action_space, lr_schedule)
        self.network = network
        self.value_critic = None if critic_hidden is None else _critic(network.shape.observation_size, critic_hidden)
        if self.value_critic is not None:
            self.optimizer = torch.optim.Adam(self.value_critic.parameters(), lr=lr_schedule(1.0))

    def _build(self, lr_schedule: Schedule) -> None:
        """Builds none of SB3's networks: the actor is given, and the critic must not share features with it."""

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        mean, sigma = self.network(obs)
        actions = mean if deterministic else torch.normal(mean, sigma)
        values = mean.new_zeros(len(obs), 1) if self.deferred_values else self.predict_values(obs)
        return actions, values, gaussian_log_prob(actions, mean, sigma)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Tensor) -> StateDependentGaussian:  # type: ignore[override]
        return StateDependentGaussian(*self.network(obs))

    def predict_values(self, obs: Tensor) -> Tensor:  # type: ignore[override]
        if self.value_critic is None:
            return self.network.shift.new_zeros(len(obs), 1)
        return self.value_critic(self.network.normalise(obs))


def spaces(shape: PolicyShape) -> tuple[Box, Box]:
    """Observation space [O] and action space [A] of a policy's shape, both float32."""
    low, high = (torch.tensor(bound).numpy() for bound in (shape.action_low, shape.action_high))
    return Box(-float("inf"), float("inf"), (shape.observation_size,)), Box(low, high)


def quiet_logger(folder: Path) -> HierarchicalLogger:
    """A logger for `imitation` that prints and writes nothing, but creates empty folders in `folder`."""
    return HierarchicalLogger(Logger(str(folder), output_formats=[]), format_strs=[])


def _critic(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.Tanh()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
