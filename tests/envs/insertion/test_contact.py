"""The physics of the clip and the peg, measured by pushing and pulling with the arm itself."""

import mujoco
import numpy as np
import pytest

from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.clip import ClipInsertionEnv, ClipParameters
from envs.insertion.kinematics import TOOL_DOWN, joint_velocity, rotation_error
from envs.insertion.observation import read
from envs.insertion.peg import PegInsertionEnv


def hold_above(env, seed):
    """Lets a perfect operator bring the tip to 6 mm above the mouth."""
    _, info = env.reset(seed=seed)
    expert = Expert(env, ExpertSettings(noise=0), np.random.default_rng(0))
    while info["depth"] < -0.006:
        *_, info = env.step(expert.act())


def socket_force(env):
    """Force (N) of the socket on the held part along the socket's axis, and the deepest penetration (m)."""
    force, wrench, penetration = np.zeros(3), np.zeros(6), 0.0
    for index, contact in enumerate(env.data.contact):
        mujoco.mj_contactForce(env.model, env.data, index, wrench)
        on_part = 1 if env.model.geom_contype[contact.geom2] == 1 else -1
        force += on_part * contact.frame.reshape(3, 3).T @ wrench[:3]
        penetration = max(penetration, -contact.dist)
    return force @ env.socket_rotation()[:, 2], penetration


def drive(env, velocity, distance):
    """Commands the tip along the socket's axis (m/s, positive is out) for the time `distance` would take.

    Returns the axial forces (N) after each physics step, the final depth and the deepest penetration (m).
    """
    forces, deepest = [], 0.0
    for step in range(round(distance / abs(velocity) / env.parameters.physics_period)):
        if step % env.parameters.substeps == 0:
            mujoco.mj_kinematics(env.model, env.data)
            tip = env.in_socket_frame(env.tip_position())
            linear = env.socket_rotation() @ [-3 * tip[0], -3 * tip[1], velocity]
            angular = 3 * rotation_error(env.socket_rotation() @ TOOL_DOWN, env.tip_rotation())
            joints = joint_velocity(env.tip_jacobian(), np.concatenate([linear, angular]), np.zeros(7))
            env.data.ctrl[:] = np.clip(joints, -0.5, 0.5)
        mujoco.mj_step(env.model, env.data)
        force, penetration = socket_force(env)
        forces.append(force)
        deepest = max(deepest, penetration)
    mujoco.mj_kinematics(env.model, env.data)
    return np.array(forces), -env.in_socket_frame(env.tip_position())[2], deepest


@pytest.mark.parametrize("seed", range(4))
def test_rigid_prongs_cannot_enter(seed):
    env = ClipInsertionEnv(ClipParameters(rigid_prongs=True))
    hold_above(env, seed)
    forces, depth, penetration = drive(env, -0.15, 0.30)
    assert forces[-1] > 50 and depth < 0.004 and penetration < 0.0005


@pytest.mark.parametrize("seed", range(4))
def test_flexible_prongs_enter_at_a_modest_force_and_are_retained(seed):
    env = ClipInsertionEnv()
    p = env.parameters
    hold_above(env, seed)
    forces, depth, penetration = drive(env, -0.04, 0.03)
    assert depth > p.success_depth and env.is_held(read([env.view]))[0]
    assert 4 < forces.max() < 30 and penetration < 0.001

    forces, depth, _ = drive(env, 0.15, 0.45)
    assert forces.min() < -60  # N, three seconds of pulling
    barb_top = depth - 2 * p.barb_radius
    assert barb_top > p.lip_thickness - 0.002  # the barbs still hang under the lip


def test_prongs_flex_while_they_pass_the_lip_and_spring_back():
    env = ClipInsertionEnv()
    hold_above(env, seed=0)
    flexed = 0.0
    for _ in range(8):
        drive(env, -0.04, 0.004)
        flexed = max(flexed, np.abs(env.data.qpos[7:]).max())
    assert flexed > 0.03 and np.abs(env.data.qpos[7:]).max() < 0.02


def test_the_peg_slides_in_and_stops_at_the_floor():
    env = PegInsertionEnv()
    hold_above(env, seed=0)
    forces, depth, penetration = drive(env, -0.04, 0.07)
    assert env.parameters.success_depth < depth < env.parameters.hole_depth + 0.001 and penetration < 0.001
    assert np.abs(forces[: len(forces) // 3]).max() < 10


def test_a_peg_beside_the_hole_rests_on_the_plate():
    env = PegInsertionEnv()
    env.reset(seed=0, options={"pan": 0.0, "tilt": 0.0})
    offset = env.in_socket_frame(env.tip_position())
    while np.hypot(*offset[:2]) < 0.02:  # a start well off the axis
        env.reset(options={"pan": 0.0, "tilt": 0.0})
        offset = env.in_socket_frame(env.tip_position())
    for _ in range(40):
        down = joint_velocity(env.tip_jacobian(), np.array([0, 0, -0.05, 0, 0, 0]), np.zeros(7)) / 0.5
        *_, info = env.step(np.clip(down, -1, 1))
    assert -0.002 < info["depth"] < 0.002 and info["end_reason"] == ""
