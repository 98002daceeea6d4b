"""What an arm observes, and when its episode ends, for any number of simulations of one model at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from envs.insertion.parameters import JOINTS, InsertionParameters
from envs.insertion.readings import Readings

END_REASONS = ("", "success", "workspace", "timeout", "unstable")
TERMINAL = ("success", "workspace")
"""Reasons that terminate an episode; "timeout" truncates it, and "unstable" makes it void."""

_SUCCESS, _WORKSPACE, _TIMEOUT, _UNSTABLE = range(1, 5)


class Judge:
    """Observes and judges simulations of a task's model.

    Attributes:
        tip, mouth: the sites of the held part's tip and of the socket's opening.
        tilt: the mocap body that carries the socket.
    """

    def __init__(
        self,
        parameters: InsertionParameters,
        model: mujoco.MjModel,
        is_held: Callable[[Readings], np.ndarray],
    ) -> None:
        """`is_held` says whether the sockets hold the parts, once these are deep enough [n] bool."""
        self.parameters = parameters
        self.is_held = is_held
        self.tip, self.mouth = model.site("tip").id, model.site("mouth").id
        self.tilt = model.body("tilt").mocapid[0]
        self._joint_low, self._joint_high = model.jnt_range[:JOINTS].T.copy()
        self._workspace = np.array([parameters.workspace_low, parameters.workspace_high])
        self._least_upright = math.cos(parameters.workspace_lean)

    def depths(self, readings: Readings) -> np.ndarray:
        """How far the tips are below the mouths (m) [n]."""
        return -readings.in_frame(self.mouth, self.tip)[:, 2]

    def reasons(self, readings: Readings, steps: np.ndarray) -> list[str]:
        """Why the episodes end now, names of END_REASONS, "" where they go on, after so many `steps` [n]."""
        p = self.parameters
        x, y, z = readings.in_frame(self.mouth, self.tip).T
        inside = (-z >= p.success_depth) & (np.hypot(x, y) < p.success_lateral)
        if inside.any():
            inside &= self.is_held(readings)
        joints, tips = readings.positions[:, :JOINTS], readings.sites[:, self.tip]
        outside = (
            ((tips < self._workspace[0]) | (tips > self._workspace[1])).any(axis=1)
            | ((joints < self._joint_low) | (joints > self._joint_high)).any(axis=1)
            | (-readings.frames[:, self.tip, 2, 2] < self._least_upright)
        )
        reasons = np.where(steps >= p.horizon, _TIMEOUT, 0)
        reasons[outside] = _WORKSPACE
        reasons[inside] = _SUCCESS
        reasons[~readings.sound()] = _UNSTABLE
        return [END_REASONS[reason] for reason in reasons.tolist()]

    def observations(self, readings: Readings) -> np.ndarray:
        """What the tasks observe [n, O] float32, see `InsertionEnv`."""
        forces = [readings.forces] if self.parameters.observe_forces else []
        arm = [readings.positions[:, :JOINTS], readings.velocities[:, :JOINTS], *forces]
        parts = [*arm, readings.sites[:, self.tip], readings.mocaps[:, self.tilt]]
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def observation_range(parameters: InsertionParameters, model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest plausible observation, each [O]: one outside has other units, or another order."""
    p, around = parameters, np.array([[-1.0, 1.0]])
    ranges = [
        model.jnt_range[:JOINTS] + 0.1 * around,
        np.repeat(20 * p.max_joint_velocity * around, JOINTS, axis=0),
        1.1 * model.actuator_forcerange[: JOINTS * p.observe_forces],
        np.transpose([p.workspace_low, p.workspace_high]) + 0.1 * around,
        np.repeat(1.01 * around, 4, axis=0),
    ]
    low, high = np.concatenate(ranges).T
    return low, high
