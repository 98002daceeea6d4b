"""The depth of the part and the end of an episode, for any number of simulations of one model at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np

from envs.insertion.observation import Readings
from envs.insertion.parameters import JOINTS, InsertionParameters

END_REASONS = ("", "success", "workspace", "timeout", "unstable")
TERMINAL = ("success", "workspace")
"""Reasons that terminate an episode; "timeout" truncates it, and "unstable" makes it void."""

_SUCCESS, _WORKSPACE, _TIMEOUT, _UNSTABLE = range(1, 5)


class Outcomes:
    """Decides about the episodes of simulations of one task's model.

    Attributes:
        tip, mouth: the sites of the held part's tip and of the socket's opening.
    """

    def __init__(
        self,
        parameters: InsertionParameters,
        model: mujoco.MjModel,
        is_held: Callable[[Readings], np.ndarray],
    ) -> None:
        """`is_held` tells whether the sockets hold parts that are deep enough [n] bool."""
        self.parameters = parameters
        self.is_held = is_held
        self.tip, self.mouth = model.site("tip").id, model.site("mouth").id
        self._joint_low, self._joint_high = model.jnt_range[:JOINTS].T.copy()
        self._workspace = np.array([parameters.workspace_low, parameters.workspace_high])
        self._least_upright = math.cos(parameters.workspace_lean)

    def depths(self, readings: Readings) -> np.ndarray:
        """Depths [n] (m) of the tips below the mouths."""
        return -readings.in_frame(self.mouth, self.tip)[:, 2]

    def reasons(self, readings: Readings, steps: np.ndarray) -> list[str]:
        """Why each episode ends now: a name of END_REASONS, "" if it does not. `steps` [n] were taken so far."""
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


def misses_and_retries(distances: np.ndarray, near: float) -> tuple[int, int]:
    """How often a part came to the socket's mouth and moved away again, and how often it then came back.

    The part is at the mouth from when it is within `near` of it until it is beyond twice that, so that a part which
    trembles there, or rests against the rim, counts once.

    Args:
        distances: of the tip from the mouth (m) in the T states of one episode, [T]; inside the socket from its axis.
        near: in m.
    """
    arrivals = departures = 0
    at_mouth = False
    for distance in distances.tolist():
        if not at_mouth and distance < near:
            at_mouth, arrivals = True, arrivals + 1
        elif at_mouth and distance > 2 * near:
            at_mouth, departures = False, departures + 1
    return departures, max(arrivals - 1, 0)
