"""Differential inverse kinematics by damped least squares (Nakamura and Hanafusa, 1986).

NumPy's matrix products and transcendental functions round differently on different processors. The products here sum in
a fixed order and the functions are the C library's, so that the same seed gives the same episode everywhere.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

DAMPING = 0.03  # m and rad: keeps joint velocities bounded near singular postures
TOOL_DOWN = np.diag([1.0, -1.0, -1.0])  # a tool's orientation that points against z


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of a matrix [n, k] with a matrix [k, m] or a vector [k], summed in a fixed order."""
    return (left[..., None] * right).sum(axis=1) if right.ndim == 2 else (left * right).sum(axis=1)


def rotation_about(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix [3, 3] about coordinate axis 0, 1 or 2 by `angle` radians."""
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -matrix[second, first]
    return matrix


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Rotation from `current` to `target`, both [3, 3], as axis times the sine [3] (rising up to 90 degrees)."""
    return 0.5 * np.cross(current, target, axis=0).sum(axis=1)


def site_jacobian(model: mujoco.MjModel, data: mujoco.MjData, site: int, joints: int) -> np.ndarray:
    """Jacobian [6, joints] of a site, linear above angular, in the world frame; `data` needs current positions."""
    mujoco.mj_comPos(model, data)
    jacobian = np.zeros((6, model.nv))
    mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
    return jacobian[:, :joints]


def site_positions(model: mujoco.MjModel, site: int, postures: np.ndarray) -> np.ndarray:
    """World positions [n, 3] (m) of a site for joint positions [n, J] of the first J joints, the others at rest."""
    data = mujoco.MjData(model)
    positions = np.empty((len(postures), 3))
    for posture, position in zip(postures, positions, strict=True):
        data.qpos[: len(posture)] = posture
        mujoco.mj_kinematics(model, data)
        position[:] = data.site_xpos[site]
    return positions


def joint_velocity(jacobian: np.ndarray, twist: np.ndarray, posture: np.ndarray) -> np.ndarray:
    """Joint velocities [J] that best give `twist` [6] and, where that leaves freedom, come near `posture` [J]."""
    factor = product(jacobian, jacobian.T) + DAMPING**2 * np.eye(6)
    mujoco.mju_cholFactor(factor, 0.0)
    weights = np.empty(6)
    mujoco.mju_cholSolve(weights, factor, twist - product(jacobian, posture))
    return posture + product(jacobian.T, weights)


def solve_posture(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    site: int,
    position: np.ndarray,
    rotation: np.ndarray,
    posture: np.ndarray,
    iterations: int = 30,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Joint positions [J] near `posture` [J] that put `site` at `position` [3] (m) with `rotation` [3, 3].

    Overwrites the positions in `data`. Ends at `tolerance` (m and rad) or after so many `iterations`.
    """
    joints = len(posture)
    data.qpos[:joints] = posture
    for _ in range(iterations):
        mujoco.mj_kinematics(model, data)
        turn = rotation_error(rotation, data.site_xmat[site].reshape(3, 3))
        error = np.concatenate([position - data.site_xpos[site], turn])
        if np.abs(error).max() < tolerance:
            break
        data.qpos[:joints] += joint_velocity(site_jacobian(model, data, site, joints), error, np.zeros(joints))
    return data.qpos[:joints].copy()
