"""GAIfO (Torabi, Warnell & Stone, 2019, "Generative Adversarial Imitation from Observation").

This is GAIL whose discriminator sees state and next state, and no action. Optimiser and regularisation are those of our
GAIL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from envs.demonstrations import Demonstrations
from methods.gail import algorithm
from methods.gail.algorithm import Gail, GailTraining
from methods.interface import FitContext, Method
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH = {name: values for name, values in algorithm.SEARCH.items() if name != "use_actions"} | {
    "kl": {"low": 1e-2, "high": 0.1, "log": True},
    "batch_size": {"choices": [32, 64, 128]},
    "sigma_bounds": {"choices": [[0.01, 0.1], [0.05, 0.3]]},
}
"""What tuning may try: that of GAIL, with the longer steps, smaller iterations and wider exploration that an untrained
policy may need."""


@dataclass(frozen=True)
class Settings(algorithm.Settings):
    """Settings of GAIfO: those of GAIL with another input of the discriminator."""

    use_actions: bool = False
    transitions: bool = True


@register
class Gaifo(Method):
    """GAIfO; see `Settings`."""

    name: ClassVar[str] = "gaifo"
    display_name = "GAIfO"
    Settings: ClassVar[type] = Settings
    needs_actions: ClassVar[bool] = False
    summary: ClassVar[str] = "GAIL from states only; its discriminator sees state and next state (Torabi et al., 2019)"
    small = Gail.small

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return Gail.requires_actions(settings)

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        return GailTraining(self.name, self.settings, demonstrations, context).run()
