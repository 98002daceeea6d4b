"""Generative adversarial imitation learning (Ho & Ermon, 2016): `imitation`'s GAIL on sb3-contrib's TRPO.

TRPO updates the policy on rewards from a discriminator, which is updated in between. `training.py` has this loop,
`discriminator.py` the discriminator and its rewards, `trpo.py` the policy optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stable_baselines3.common.vec_env import VecEnv

from envs.demonstrations import Demonstrations
from methods.gail.discriminator import DemonstratedBatches, Discriminator, RegularisedGail
from methods.gail.training import AdversarialSettings, Training
from methods.interface import FitContext, Method, MethodError
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH = {
    "gamma": {"choices": [0.9, 0.97, 0.99, 0.995]},
    "kl": {"low": 3e-3, "high": 3e-2, "log": True},
    "actor_steps": {"choices": [1, 3, 5]},
    "discriminator_steps": {"low": 1, "high": 20, "log": True},
    "discriminator_learning_rate": {"low": 3e-5, "high": 3e-3, "log": True},
    "gradient_penalty": {"choices": [0.0, 0.1, 1.0, 10.0]},
    "entropy": {"choices": [0.0, 1e-3, 1e-2, 0.1, 1.0]},
    "critic_learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
    "scale_rewards": {"choices": [False, True]},
    "use_actions": {"choices": [False, True]},
    "compress": {"choices": [0.0, 2.0]},
}
"""What tuning may try: the paper's values with room about them, kinds of regularisation that Orsini et al., 2021, "What
Matters for Adversarial Imitation Learning?", compare, and what helped on the clip (docs/tuning.md)."""


@dataclass(frozen=True)
class Settings(AdversarialSettings):
    """Settings of GAIL; most of them are explained in `AdversarialSettings`.

    Attributes:
        transitions: the discriminator sees pairs of state and next state instead, which is GAIfO and needs
            `use_actions` false. A departure, off by default.
    """

    transitions: bool = field(default=False, metadata={"neutral": True})


@register
class Gail(Method):
    """GAIL; see `Settings` for what follows the paper.

    Episodes differ in length, of which `imitation` warns: positive rewards then favour long episodes and negative ones
    short episodes. The setting `terminal` deals with that, so the library is told to allow it.
    """

    name: ClassVar[str] = "gail"
    display_name = "GAIL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "adversarial imitation (Ho & Ermon, 2016) through imitation's GAIL and sb3-contrib's TRPO"
    small: ClassVar[Mapping[str, Any]] = {"processes": 4, "batch_size": 64, "critic_batch": 128}

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return settings.use_actions or settings.warm_start > 0

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        return GailTraining(self.name, self.settings, demonstrations, context).run()


class GailTraining(Training):
    """The loop with GAIL's discriminator."""

    settings: Settings

    def demonstrated_batches(self) -> DemonstratedBatches:
        s = self.settings
        if s.transitions and s.use_actions:
            raise MethodError("transitions and use_actions exclude each other; set one of the two settings to false")
        return DemonstratedBatches(
            self.demonstrations,
            self.context.task.action_size,
            s.use_actions,
            s.discriminator_batch,
            self.rng,
            s.transitions,
        )

    def adversary(self, venv: VecEnv, **options: Any) -> RegularisedGail:
        s = self.settings
        discriminator = Discriminator(
            venv.observation_space,
            venv.action_space,
            self.network,
            s.discriminator_hidden,
            s.use_actions,
            s.compress,
            s.transitions,
        )
        return RegularisedGail(venv=venv, reward_net=discriminator, **options)
