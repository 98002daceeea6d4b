"""The clip and the peg with a fixed start of the arm: only the socket differs from episode to episode.

docs/fidelity.md has the commands that record demonstrations and compare the tasks.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv
from envs.insertion.clip import ClipInsertionEnv, ClipParameters
from envs.insertion.peg import PegInsertionEnv, PegParameters

FIXED: dict[str, Any] = {"start_offset": (0.0, 0.0, 0.0), "start_rotation": (0.0, 0.0, 0.0)}


class FixedStart(InsertionEnv):
    """Offers the scripted demonstrator, as the shipped tasks do."""

    def make_expert(self, rng: np.random.Generator) -> Expert:
        return Expert(self, ExpertSettings(), rng)


class ClipFixedStart(FixedStart, ClipInsertionEnv):
    task = "ClipFixedStart-v0"

    def __init__(self, **options: Any) -> None:
        super().__init__(ClipParameters(**FIXED), **options)


class PegFixedStart(FixedStart, PegInsertionEnv):
    task = "PegFixedStart-v0"

    def __init__(self, **options: Any) -> None:
        super().__init__(PegParameters(**FIXED), **options)


for environment in (ClipFixedStart, PegFixedStart):
    if environment.task not in gymnasium.registry:
        gymnasium.register(environment.task, environment, order_enforce=False, disable_env_checker=True)
