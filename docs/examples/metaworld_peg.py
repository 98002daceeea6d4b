"""Meta-World's peg insertion (peg-insert-side-v3) as a task of the suite, with its scripted expert.

    pip install --no-deps metaworld==3.1.1
    python -m envs.record --task docs/examples/metaworld_peg.py:MetaWorldPeg-v0 \
        --policy docs/examples/metaworld_peg.py:Scripted --episodes 25 --out metaworld.npz
    python -m benchmarks.run --tasks docs/examples/metaworld_peg.py:MetaWorldPeg-v0 --demonstrations metaworld.npz \
        --methods offline --results results/mine

A Sawyer arm grasps a peg that lies on a table and pushes it into a box from the side. Peg and box change places from
episode to episode. Meta-World: Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement
Learning" (CoRL 2019), https://github.com/Farama-Foundation/Metaworld.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from metaworld.envs.sawyer_peg_insertion_side_v3 import SawyerPegInsertionSideEnvV3
from metaworld.policies import SawyerPegInsertionSideV3Policy

ID = "MetaWorldPeg-v0"
LONGEST = 250
"""Steps; the scripted expert needs about half as many."""
WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)


class MetaWorldPeg(SawyerPegInsertionSideEnvV3):
    """The task as the suite needs it: the seed decides the episode, and the info says `is_success`.

    Observation [39]: hand position, gripper opening, peg position and orientation, 7 zeros; the same of the step
    before; position of the hole. Action [4], -1 to 1: displacement of the hand, closing of the gripper.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.sawyer_observation_space  # cached without the hole
        self._partially_observable = False
        self.observation_space = self.sawyer_observation_space
        self._set_task_called, self._freeze_rand_vec, self.seeded_rand_vec = True, False, True

    def reset_mocap_welds(self) -> None:
        """As Meta-World, whose eleven numbers do not fill the longer rows of newer MuJoCo versions."""
        self.model.eq_data[self.model.eq_type == mujoco.mjtEq.mjEQ_WELD, : len(WELD)] = WELD

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; Meta-World itself ignores the seed here."""
        if seed is not None:
            self.seed(seed)
        observation, info = super().reset()
        return observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take a step; the episode ends with the insertion, while Meta-World's continues to its last step."""
        observation, _, _, truncated, info = super().step(action)
        success = bool(info["success"])
        return observation, float(success), success, truncated, {**info, "is_success": success}


class Scripted:
    """Meta-World's own expert, in the form of `python -m envs.record --policy`."""

    def __init__(self, environment: MetaWorldPeg, rng: np.random.Generator) -> None:
        self._policy = SawyerPegInsertionSideV3Policy()

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The next action [4] of an observation [39]."""
        return np.clip(self._policy.get_action(observation), -1.0, 1.0)


if ID not in gymnasium.registry:
    gymnasium.register(ID, entry_point=MetaWorldPeg, max_episode_steps=LONGEST)
