"""Gymnasium-Robotics' FetchPickAndPlace as a task of the suite, with a scripted expert.

    pip install -c requirements.lock gymnasium-robotics==1.4.2
    python -m envs.record --task docs/examples/fetch_pick_and_place.py:FetchPickAndPlaceFlat-v0 \
        --policy docs/examples/fetch_pick_and_place.py:Scripted --episodes 25 --out fetch.npz
    python -m benchmarks.run --tasks docs/examples/fetch_pick_and_place.py:FetchPickAndPlaceFlat-v0 \
        --demonstrations fetch.npz --methods offline --results results/mine

A Fetch arm grasps a block and brings it to a target on the table or in the air. An episode takes 2 s and succeeds if
the block ends within 5 cm of the target, where it already starts in about one episode of ten.
Gymnasium-Robotics has no expert for it, so this file has a short one. Plappert et al., "Multi-Goal Reinforcement
Learning: Challenging Robotics Environments and Request for Research" (2018),
https://github.com/Farama-Foundation/Gymnasium-Robotics.
"""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import FlattenObservation
from gymnasium_robotics.envs.fetch.pick_and_place import MujocoFetchPickAndPlaceEnv
from gymnasium_robotics.utils import mujoco_utils

ID = "FetchPickAndPlaceFlat-v0"

# Gymnasium-Robotics 1.4 asks whether a joint's type is `in` a tuple of MuJoCo's constants, which since MuJoCo 3.12 is
# never so. Plain integers are compared as it expects.
_JOINTS = SimpleNamespace(**{name: int(kind) for name, kind in mujoco.mjtJoint.__members__.items()})
mujoco_utils.mujoco = SimpleNamespace(**{**vars(mujoco), "mjtJoint": _JOINTS})

GAIN = 10.0
"""Action per metre of distance to a waypoint; an action of 1 moves the gripper by 5 cm a step."""
ABOVE = np.array([0.0, 0.0, 0.1])
CLOSING = 4
"""Steps that the fingers take to close."""


class Scripted:
    """Moves above the block, lowers the gripper, closes it and carries the block to the target."""

    def __init__(self, environment: MujocoFetchPickAndPlaceEnv, rng: np.random.Generator) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with open fingers above the block."""
        self._lowering, self._closed = False, 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The next action [4] (displacement of the gripper, opening of its fingers) of an observation [31].

        The observation is `FlattenObservation`'s: position of the block, of the target, of the gripper, and 22 more.
        """
        block, target, gripper = observation[:3], observation[3:6], observation[6:9]
        above = np.linalg.norm((block - gripper)[:2]) < 0.01
        self._lowering = self._lowering or above
        if self._closed < CLOSING:
            goal = block if self._lowering else block + ABOVE
            self._closed += bool(self._closed or np.linalg.norm(block - gripper) < 0.012)
        else:
            goal = target
        moving = np.clip(GAIN * (goal - gripper), -1.0, 1.0)
        return np.append(moving, -1.0 if self._closed else 1.0)


if ID not in gymnasium.registry:
    gymnasium.register(
        ID,
        entry_point=MujocoFetchPickAndPlaceEnv,
        max_episode_steps=50,
        additional_wrappers=(FlattenObservation.wrapper_spec(),),
    )
