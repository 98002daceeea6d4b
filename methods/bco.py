"""Behavioural cloning from observation: BC on actions that were inferred from the policy's own interaction.

Torabi, Warnell & Stone (2018), algorithm 1 with alpha = 0: the inverse dynamics model is learned once, before cloning.
It is the ridge regression of `methods.action_inference` instead of a network. Demonstrated actions are never used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from envs.demonstrations import Demonstrations
from methods import bc
from methods.action_inference import STEPS, infer_actions
from methods.interface import FitContext, Method
from methods.policy import GaussianPolicy
from methods.registry import register

SEARCH = bc.SEARCH
"""What tuning may try; the own steps are part of the budget, so they stay."""


@dataclass(frozen=True)
class Settings(bc.Settings):
    """Settings of BCO: those of BC, and

    Attributes:
        inference_steps: steps from which the inverse model is learned; they count as environment steps.
    """

    inference_steps: Annotated[int, Ge(100)] = STEPS


@register
class Bco(Method):
    """BC on inferred actions."""

    name: ClassVar[str] = "bco"
    display_name = "BCO"
    Settings: ClassVar[type] = Settings
    needs_actions: ClassVar[bool] = False
    needs_environment: ClassVar[bool] = True
    summary: ClassVar[str] = "behavioural cloning from observation: BC on actions inferred from own interaction"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        labelled = infer_actions(demonstrations, context, self.settings.inference_steps)
        return bc.BehaviouralCloning(self.settings).fit(labelled, context)
