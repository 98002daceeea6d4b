"""The shared policy as stable-baselines3 sees it, so that libraries built on it train the very same network.

Mean and sigma are those of `methods.policy.GaussianNetwork`, computed by it. Nothing is copied, so a `GaussianPolicy`
on the network is always what the library has learnt so far.
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
    """A diagonal Gaussian with a sigma of its own for each observation.

    Its torch distribution is over whole actions, not over their components: the Kullback-Leibler divergence that TRPO
    bounds is then the action's, as in the literature, and not the average over its dimensions.
    """

    distribution: Independent

    def __init__(self, mean: Tensor, sigma: Tensor) -> None:
        super().__init__(mean.shape[-1])
        # Not validated: TRPO's line search rejects a step to non-finite values by itself, and it costs time.
        self.distribution = Independent(Normal(mean, sigma, validate_args=False), 1, validate_args=False)

    def log_prob(self, actions: Tensor) -> Tensor:
        return self.distribution.log_prob(actions)

    def entropy(self) -> Tensor:
        return self.distribution.entropy()


class SharedPolicy(ActorCriticPolicy):
    """Actor: a given `GaussianNetwork`. Critic: an MLP on the same normalised observations, or none.

    `parameters()` holds the critic as well, and some libraries regularise or step all of it: leave the critic out where
    only the actor is trained. `optimizer` steps the critic alone, since TRPO moves the actor itself; TRPO tells the two
    apart by the word "value" in their parameters' names. `deferred_values` leaves the critic out of rollouts, for
    algorithms that evaluate it once per rollout.
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
            lr_schedule: the critic's learning rate, taken at the start.
            network: the actor; shared, not copied.
            critic_hidden: the critic's hidden layers; None for no critic, whose value is then 0.
            use_sde: SB3's algorithms always pass it; its own state-dependent exploration is not ours.
        """
        assert not use_sde, "the shared policy has its own state-dependent sigma"
        super().__init__(observation_space, action_space, lr_schedule)
        self.network = network
        self.value_critic = None if critic_hidden is None else _critic(network.shape.observation_size, critic_hidden)
        if self.value_critic is not None:
            self.optimizer = torch.optim.Adam(self.value_critic.parameters(), lr=lr_schedule(1.0))

    def _build(self, lr_schedule: Schedule) -> None:
        """Nothing of SB3's own: the actor is given, and the critic must not share its features."""

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        mean, sigma = self.network(obs)
        actions = mean if deterministic else torch.normal(mean, sigma)
        values = obs.new_zeros(len(obs), 1) if self.deferred_values else self.predict_values(obs)
        return actions, values, gaussian_log_prob(actions, mean, sigma)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        distribution = self.get_distribution(obs)
        return self.predict_values(obs), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Tensor) -> StateDependentGaussian:  # type: ignore[override]
        return StateDependentGaussian(*self.network(obs))

    def predict_values(self, obs: Tensor) -> Tensor:  # type: ignore[override]
        if self.value_critic is None:
            return obs.new_zeros(len(obs), 1)
        return self.value_critic(self.network.normalise(obs))


def spaces(shape: PolicyShape) -> tuple[Box, Box]:
    """Observation space [O] and action space [A] of a policy's shape, both float32."""
    low, high = (torch.tensor(bound).numpy() for bound in (shape.action_low, shape.action_high))
    return Box(-float("inf"), float("inf"), (shape.observation_size,)), Box(low, high)


def quiet_logger(folder: Path) -> HierarchicalLogger:
    """A logger for `imitation` that keeps numbers in memory and prints nothing; it makes empty folders in `folder`."""
    return HierarchicalLogger(Logger(str(folder), output_formats=[]), format_strs=[])


def _critic(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.Tanh()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, 1))
