"""Differential inverse kinematics by damped least squares (Nakamura and Hanafusa, 1986)."""

from __future__ import annotations

import mujoco
import numpy as np

DAMPING = 0.03  # of the task-space inverse; 3 cm/s-ish of resistance near singular postures
POSTURE_GAIN = 1.0  # 1/s, pull of the null space towards the preferred posture


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Rotation from `current` to `target`, both [3, 3], as axis times the angle's sine [3] (monotone up to 90 degrees)."""
    return 0.5 * np.cross(current, target, axis=0).sum(axis=1)


def rotation_about(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix [3, 3] about coordinate axis 0, 1 or 2 by `angle` radians."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def site_jacobian(model: mujoco.MjModel, data: mujoco.MjData, site: int, joints: int) -> np.ndarray:
    """Jacobian [6, joints] (linear above angular, world frame) of a site; `data` needs current kinematics and comPos."""
    jacobian = np.zeros((6, model.nv))
    mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
    return jacobian[:, :joints]


def joint_velocity(jacobian: np.ndarray, twist: np.ndarray, posture_error: np.ndarray) -> np.ndarray:
    """Joint velocities [J] that best give `twist` [6] and, in the null space, reduce `posture_error` [J] (rad)."""
    inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + DAMPING**2 * np.eye(6))
    posture = POSTURE_GAIN * posture_error
    return inverse @ twist + posture - inverse @ (jacobian @ posture)


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

    Overwrites the kinematics in `data`. Stops at `tolerance` (m and rad) or after `iterations` Newton steps.
    """
    joints = len(posture)
    data.qpos[:joints] = posture
    for _ in range(iterations):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        current = data.site_xmat[site].reshape(3, 3)
        error = np.concatenate([position - data.site_xpos[site], rotation_error(rotation, current)])
        if np.abs(error).max() < tolerance:
            break
        jacobian = site_jacobian(model, data, site, joints)
        data.qpos[:joints] += joint_velocity(jacobian, error, np.zeros(joints))
    return data.qpos[:joints].copy()
