"""What is read from simulations after a control step, for any number of them in a few array operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

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
