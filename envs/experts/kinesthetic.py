"""The demonstrator of each task: an operator with a remote control, or a teacher who guides the arm by hand.

Kinesthetic teaching (section 4.3; Akgun et al., 2012) records states only, because the arm is moved and does not act.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs import WITH_ACTIONS
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv, make_env
from envs.insertion.physical import PhysicalPegInsertionEnv


@dataclass(frozen=True, kw_only=True)
class TeacherSettings(ExpertSettings):
    """How a teacher moves: slower than an operator, with pauses. Lengths in m, angles in rad, times in s."""

    linear_speed: float = 0.025
    angular_speed: float = 0.2
    insertion_speed: float = 0.025
    pauses: float = 0.15  # begun a second
    pause_length: float = 0.6  # mean, exponential

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pauses", "pause_length"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value}: a finite number of at least 0 is needed")


class Teacher(Expert):
    """Guides the arm by hand, and now and then stops to look. See Expert."""

    def __init__(self, env: InsertionEnv, settings: TeacherSettings, rng: np.random.Generator) -> None:
        self._pausing = settings
        super().__init__(env, settings, rng)

    def reset(self) -> None:
        super().reset()
        self._rest = 0.0  # seconds left of the pause

    def _intended_twist(self) -> np.ndarray:
        s, dt = self._pausing, self._env.dt
        self._rest -= dt
        if self._rest <= 0 and self._rng.random() < s.pauses * dt:
            self._rest = self._rng.exponential(s.pause_length)
        return np.zeros(6) if self._rest > 0 else super()._intended_twist()


@dataclass(frozen=True)
class Demonstrator:
    """How a task is demonstrated.

    Attributes:
        task: a name of `envs.TASKS` or a Gymnasium id.
        expert, settings: who acts, and how.
        states_alone: whether the arm is guided by hand, so that actions are not known.
    """

    task: str
    expert: type[Expert]
    settings: ExpertSettings
    states_alone: bool

    def environment(self, **options: Any) -> InsertionEnv:
        """The environment in which it is demonstrated; `options` are those of the task."""
        env = make_env(self.task, **options)
        if isinstance(env, PhysicalPegInsertionEnv):
            return make_env(self.task, parameters=env.parameters.by_hand(), **options)
        return env


def demonstrator(task: str) -> Demonstrator:
    """Who demonstrates a task, a name of `envs.TASKS`."""
    if task in WITH_ACTIONS:
        return Demonstrator(task, Expert, ExpertSettings(), states_alone=False)
    return Demonstrator(task, Teacher, TeacherSettings(), states_alone=True)
