"""The quantities measured after a control step, and the observations made from them, for many simulations at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.insertion.parameters import JOINTS, InsertionParameters

View = tuple[np.ndarray, ...]
"""Flat arrays that share the memory of one simulation and so always show its present state."""


@dataclass(frozen=True)
class Readings:
    """What n simulations of one model show, in SI units.

    Attributes:
        positions: of all joints [n, nq]; velocities: of all joints [n, nv]; forces: of the actuators [n, 7].
        sites: world positions of the model's S sites [n, S, 3].
        frames: their orientations [n, S, 3, 3].
        mocaps: orientations of the M mocap bodies as quaternions [n, M, 4].
        warnings: how often MuJoCo gave each of its warnings since the last reset [n, W].
    """

    positions: np.ndarray
    velocities: np.ndarray
    forces: np.ndarray
    sites: np.ndarray
    frames: np.ndarray
    mocaps: np.ndarray
    warnings: np.ndarray

    def in_frame(self, frame: int, site: int) -> np.ndarray:
        """Positions [n, 3] of a site in the frame of another one, summed in a fixed order."""
        way = self.sites[:, site] - self.sites[:, frame]
        return (self.frames[:, frame] * way[:, :, None]).sum(axis=1)

    def sound(self) -> np.ndarray:
        """[n] bool: MuJoCo did not warn, and the joints' positions and velocities are finite."""
        finite = np.isfinite(self.positions).all(axis=1) & np.isfinite(self.velocities).all(axis=1)
        return finite & ~self.warnings.any(axis=1)


def view(data: mujoco.MjData) -> View:
    """The view that `read` takes, to be made once for each simulation."""
    arrays = (data.qpos, data.qvel, data.actuator_force, data.site_xpos, data.site_xmat, data.mocap_quat)
    return *(array.reshape(-1) for array in arrays), data.warning.number


def read(views: Sequence[View]) -> Readings:
    """Copies what the simulations show now; MuJoCo's kinematics must be up to date."""
    n = len(views)
    columns = (np.concatenate(column).reshape(n, -1) for column in zip(*views, strict=True))
    positions, velocities, forces, sites, frames, mocaps, warnings = columns
    return Readings(
        positions,
        velocities,
        forces,
        sites.reshape(n, -1, 3),
        frames.reshape(n, -1, 3, 3),
        mocaps.reshape(n, -1, 4),
        warnings,
    )


def observe(readings: Readings, tip: int, tilt: int, forces: bool) -> np.ndarray:
    """What the tasks observe [n, O] float32; `InsertionEnv` lists the columns.

    Args:
        readings: of n simulations.
        tip: site of the held part's tip.
        tilt: mocap body that carries the socket.
        forces: whether the actuators' forces are observed.
    """
    felt = [readings.forces] if forces else []
    arm = [readings.positions[:, :JOINTS], readings.velocities[:, :JOINTS], *felt]
    parts = [*arm, readings.sites[:, tip], readings.mocaps[:, tilt]]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def observation_range(parameters: InsertionParameters, model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest plausible observation, [O] each; values outside have other units or another order."""
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
