"""Behavioural cloning with a mixture of Gaussians: BC-GMM of robomimic.

Mandlekar et al., 2021, "What Matters in Learning from Offline Human Demonstrations for Robot Manipulation", appendix;
mixture density networks are Bishop's (1994). The policy is

    pi(a | s) = sum_k w_k(s) N(a; m_k(s), diag(sigma_k(s)^2))

fitted by maximum likelihood on the demonstrated pairs. As in robomimic's code (`RobomimicGMMActorNetwork`), means are
squashed by tanh, sigmas are a softplus above a floor, and an action is sampled by drawing a component and then taking
its mean (`low_noise_eval`).

Differences from robomimic: hidden layers and activation are those of the suite's shared policy; the learning rate
follows a cosine schedule; there is weight decay; and all components start near the middle of the action range. The last
point matters with ten demonstrations: with randomly placed components, or higher learning rates, the policy left the
workspace. Deterministic actions, which robomimic does not have, are the mean of the mixture. They are of little use
where there are several ways to act, but better than the most probable component on the peg (32 and 18 % of 40 rollouts,
one seed). Cost: one pass of a small network per update, twice that of BC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MaxLen
from torch import Tensor, nn
from torch.nn import functional

from envs.demonstrations import Demonstrations
from methods.interface import Diverged, FitContext, Method, Policy
from methods.policy import HIDDEN, MOST_UNITS, load_network, save_network
from methods.registry import register
from methods.supervised import Optimisation, Scaling, Sizes, Steps, initialised, train

SEARCH: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 3e-5, "high": 3e-3, "log": True},
    "weight_decay": {"low": 1e-3, "high": 10.0, "log": True},
    "components": {"choices": [2, 5, 10]},
    "smallest_sigma": {"low": 1e-4, "high": 0.1, "log": True},
    "noise": {"choices": [False, True]},
}
"""What tuning may try. The floor covers robomimic's 1e-4 for mixtures and 1e-2 for Gaussians, and the largest sigma of
the suite's shared policy, 0.1."""

LOG_2PI = math.log(2.0 * math.pi)

FIRST_SIGMA = math.log(math.expm1(0.1))
"""The bias whose softplus is 0.1, about the spread of demonstrated actions."""

Size = Annotated[int, Ge(1), Le(MOST_UNITS)]


@dataclass(frozen=True)
class Settings:
    """Settings of BC-GMM; "robomimic" is the value in its code.

    Attributes:
        learning_rate: AdamW's, decreasing to 0 along a cosine (robomimic: 1e-4, constant).
        weight_decay: AdamW's decoupled weight decay (robomimic: none).
        batch_size: demonstrated pairs per update, drawn with replacement (robomimic: 100).
        hidden: units of the hidden layers (robomimic: 1024, 1024).
        components: Gaussians in the mixture (robomimic: 5).
        smallest_sigma: floor of the standard deviations; actions range from -1 to 1 (robomimic: 1e-4; the suite's
            shared policy: 0.01).
        noise: whether sampled actions include the noise of the drawn component (robomimic: no).
    """

    learning_rate: Annotated[float, Gt(0.0)] = 2e-4
    weight_decay: Annotated[float, Ge(0.0)] = 0.1
    batch_size: Annotated[int, Ge(1)] = 256
    hidden: Annotated[tuple[Size, ...], MaxLen(8)] = HIDDEN
    components: Annotated[int, Ge(1), Le(64)] = 5
    smallest_sigma: Annotated[float, Gt(0.0), Le(1.0)] = 0.01
    noise: bool = False


@dataclass(frozen=True)
class Mixture:
    """Diagonal Gaussian mixtures over actions, for n situations.

    Attributes:
        logits: [..., K] unnormalised log weights of the components.
        means: [..., K, A].
        sigmas: [..., K, A] standard deviations.
    """

    logits: Tensor
    means: Tensor
    sigmas: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density [...] of actions [..., A]."""
        standardised = (actions.unsqueeze(-2) - self.means) / self.sigmas
        each = -0.5 * (standardised.square() + LOG_2PI).sum(-1) - self.sigmas.log().sum(-1)
        return torch.logsumexp(self.logits.log_softmax(-1) + each, -1)

    def act(self, deterministic: bool, noise: bool, rng: np.random.Generator) -> np.ndarray:
        """Actions [n, A] of mixtures [n, K]: the mean of the mixture, or that of a component drawn by weight.

        Args:
            deterministic: take the mean of the mixture.
            noise: add the drawn component's noise to a sampled action.
            rng: draws as much for one row as for another, whatever comes out.

        Raises:
            Diverged: an action is not finite.
        """
        weights = self.logits.double().softmax(-1).cpu().numpy()
        means, sigmas = self.means.cpu().numpy(), self.sigmas.cpu().numpy()
        if deterministic:
            actions = np.einsum("nk,nka->na", weights, means).astype(np.float32)
        else:
            drawn = (weights.cumsum(axis=1) < rng.random((len(weights), 1))).sum(axis=1)
            chosen = np.arange(len(weights)), drawn.clip(max=weights.shape[1] - 1)
            actions = means[chosen]
            if noise:
                actions = actions + sigmas[chosen] * rng.standard_normal(actions.shape, dtype=np.float32)
        if not np.isfinite(actions).all():
            raise Diverged("the policy's actions are not finite")
        return np.clip(actions, -1.0, 1.0)


class MixtureHead(nn.Module):
    """Features [..., F] -> a mixture over actions in -1 ... 1."""

    def __init__(self, features: int, action_size: int, components: int, smallest_sigma: float) -> None:
        super().__init__()
        self.sizes = (components, action_size)
        self.smallest_sigma = smallest_sigma
        self.weights = nn.Linear(features, components)
        self.means = nn.Linear(features, components * action_size)
        self.sigmas = nn.Linear(features, components * action_size)
        # All components begin near the middle: one that is never used keeps a harmless mean.
        nn.init.orthogonal_(self.means.weight, gain=0.1)
        nn.init.zeros_(self.means.bias)
        nn.init.constant_(self.sigmas.bias, FIRST_SIGMA)

    def forward(self, features: Tensor) -> Mixture:
        means = self.means(features).unflatten(-1, self.sizes).tanh()
        sigmas = functional.softplus(self.sigmas(features).unflatten(-1, self.sizes)) + self.smallest_sigma
        return Mixture(self.weights(features), means, sigmas)


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of a `MixtureNetwork` but its weights."""

    settings: Settings


class MixtureNetwork(nn.Module):
    """Observations [n, O] in physical units -> mixtures over actions."""

    def __init__(self, shape: Shape, scaling: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.scaling = scaling
        s = shape.settings
        sizes = (shape.observation_size, *s.hidden)
        self.body = nn.Sequential(*(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())))
        self.head = MixtureHead(sizes[-1], shape.action_size, s.components, s.smallest_sigma)

    def forward(self, observations: Tensor) -> Mixture:
        return self.head(self.body(self.scaling(observations)))


class MixturePolicy(Policy):
    """A `MixtureNetwork` that acts."""

    def __init__(self, network: MixtureNetwork) -> None:
        self.network = network

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        device = self.network.scaling.shift.device
        with torch.no_grad():
            mixture = self.network(torch.from_numpy(np.asarray(observations, np.float32)).to(device))
        return mixture.act(deterministic, self.network.shape.settings.noise, rng)

    def save(self, folder: Path) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: Path) -> MixturePolicy:
        def build(shape: Shape) -> MixtureNetwork:
            return MixtureNetwork(shape, Scaling.unknown(shape.observation_size))

        return cls(load_network(folder, Shape, build))


@register
class BcGmm(Method):
    """Behavioural cloning with a mixture head; see the module."""

    name: ClassVar[str] = "bc-gmm"
    display_name = "BC-GMM"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = MixturePolicy
    summary: ClassVar[str] = "behavioural cloning with a mixture of Gaussians (robomimic's BC-GMM), native in torch"
    small: ClassVar[dict[str, Any]] = {"hidden": [32], "batch_size": 32}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> MixturePolicy:
        s, task = self.settings, context.task
        steps = Steps.of(demonstrations, context.device)
        shape = Shape(task.observation_size, task.action_size, s)
        scaling = Scaling.observed(demonstrations)
        network = initialised(context, lambda: MixtureNetwork(shape, scaling))

        def loss(rng: np.random.Generator) -> Tensor:
            rows = torch.from_numpy(rng.integers(len(steps), size=s.batch_size))
            return -network(steps.observations[rows]).log_prob(steps.actions[rows]).mean()

        return train(network, loss, MixturePolicy, Optimisation(s.learning_rate, s.weight_decay), context)
