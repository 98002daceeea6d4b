"""Peg insertion as on a physical system, section 4.3: the simulated peg with the difficulties of a real one.

The paper names less predictable control, and a pan-tilt unit that does not report accurate information after contact.
We chose the effects and their strength; each has its own parameter, which switches it off at 0. With all of them off
the task is bit-identical to PegInsertion-v0.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from envs import TASKS
from envs.insertion.observation import read
from envs.insertion.parameters import JOINTS
from envs.insertion.peg import PegInsertionEnv, PegParameters
from envs.insertion.vector import InsertionVectorEnv

_GRAVITY = 9.81  # m/s^2
_STICKING = (0.99, 0.999)  # MuJoCo's impedance of dry friction; at its default a stuck joint creeps on
_STREAM = 1  # beside an episode's seed: the random numbers of the effects are not those of start and socket


@dataclass(frozen=True, kw_only=True)
class PhysicalParameters(PegParameters):
    """The peg task's geometry and physics, and the effects. Lengths in m, angles in rad, times in s.

    Raises ValueError for an effect below 0, and where delay and latency together exceed the control period.
    """

    pan_range: float = 0.0
    tilt_range: float = 0.0

    # Control
    servo_delay: float = 0.05  # for this long the last action stays in force
    dry_friction: float = 0.015  # commanded rad/s that do not move a joint; faster ones lose as much (like backlash)
    payload_error: float = 0.5  # kg: a load on the hand nobody compensates, uniform +- in each episode

    # Sensors of the arm
    sensor_latency: float = 0.05  # the arm is observed as it was so long ago
    position_noise: float = 0.001  # standard deviation of each joint position (rad); the tip is where these put it
    velocity_noise: float = 0.03  # and of each joint velocity (rad/s)

    # Wear of the hole: uniform in each episode between 0, new, and
    worn_clearance: float = 0.0003  # so much wider a side
    worn_friction: float = 0.4  # and so much more friction

    # The pan-tilt unit's own angles, both normal, for pan and tilt alike; reset sets it right
    touch_bias: float = 0.06  # their error (rad) once part and socket have touched
    knock_bias: float = 0.02  # what each control step of a hard contact adds to it
    hard_contact: float = 30.0  # N between part and socket from which on a contact is hard

    def __post_init__(self) -> None:
        for name in (*_CONTROL, *_SENSORS, *_SOCKET):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value}: a finite number of at least 0 is needed, where 0 switches it off")
        if self.servo_delay + self.sensor_latency > self.control_period:
            raise ValueError(
                f"servo_delay {self.servo_delay} and sensor_latency {self.sensor_latency}: together at most the "
                f"control period of {self.control_period} s is possible"
            )

    def ideal(self) -> PhysicalParameters:
        """The same task without any effect."""
        return self._without(*_CONTROL, *_SENSORS, *_SOCKET)

    def by_hand(self) -> PhysicalParameters:
        """The arm as a teacher guides it: the hand overcomes friction and load at once, the sensors are the same."""
        return self._without(*_CONTROL)

    def _without(self, *effects: str) -> PhysicalParameters:
        off: dict[str, Any] = dict.fromkeys(effects, 0.0)
        return replace(self, **off)


_CONTROL = ("servo_delay", "dry_friction", "payload_error")
_SENSORS = ("sensor_latency", "position_noise", "velocity_noise")
_SOCKET = ("worn_clearance", "worn_friction", "touch_bias", "knock_bias")


class PhysicalPegInsertionEnv(PegInsertionEnv):
    """PegInsertion-v0 with the effects of `PhysicalParameters`; what is judged is what is true. See InsertionEnv.

    Load and wear are drawn when an episode starts, from its seed alone: rollouts do not depend on their order, whereas
    a real hole keeps wearing. Wear needs a model of its own for each environment.
    """

    parameters: PhysicalParameters

    def __init__(self, parameters: PhysicalParameters, **options: Any) -> None:
        super().__init__(parameters, **options)
        self._delay, self._latency = (
            round(time / parameters.physics_period) for time in (parameters.servo_delay, parameters.sensor_latency)
        )
        model = self.model
        self._hand = model.body("hand").id
        self._sides = np.flatnonzero((model.geom_bodyid == model.body("tilt").id) & (model.geom_contype > 0))
        self._new_positions = model.geom_pos[self._sides].copy()
        self._outwards = np.sign(self._new_positions.round(6)) * [1, 1, 0]  # 0 for the floor

    def _add_parts(self, spec: mujoco.MjSpec, part: mujoco.MjsBody) -> None:
        super()._add_parts(spec, part)
        for servo in spec.actuators:
            joint = spec.joint(servo.target)
            joint.frictionloss = self.parameters.dry_friction * servo.gainprm[0]
            joint.solimp_friction[:2] = _STICKING

    def _new_simulation(self) -> None:
        self.model = copy.copy(self.model)
        super()._new_simulation()
        self._measured = mujoco.MjData(self.model)
        self._faults = np.random.default_rng()
        self._wear = 0.0
        self._bias = np.zeros(2)
        self._touched = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """See `InsertionEnv.reset`."""
        if seed is not None:
            self._faults = np.random.default_rng([seed, _STREAM])
        load = self._faults.uniform(-1, 1) * self.parameters.payload_error * _GRAVITY
        self._set_wear(self._faults.uniform())
        self._bias, self._touched = np.zeros(2), False
        begun = super().reset(seed=seed, options=options)
        self.data.xfrc_applied[self._hand, 2] = -load
        return begun

    def advance(self, action: np.ndarray) -> None:
        """See `InsertionEnv.advance`."""
        mujoco.mj_step(self.model, self.data, self._delay)
        self.data.ctrl[:] = action * self.parameters.max_joint_velocity
        mujoco.mj_step(self.model, self.data, self._substeps - self._delay - self._latency)
        mujoco.mj_kinematics(self.model, self.data)
        if self._latency:
            (self._seen,) = self.observe(read([self.view]))
            mujoco.mj_step(self.model, self.data, self._latency)
            mujoco.mj_kinematics(self.model, self.data)
        if self.data.ncon:
            self._disturb_socket()

    def sense(self, observation: np.ndarray) -> None:
        """What was seen a moment ago, with noise, the tip from the joints, and the pan-tilt unit's own angles."""
        p = self.parameters
        if self._latency and self._steps:
            observation[:] = self._seen
        joints, velocities = self._faults.standard_normal((2, JOINTS))
        observation[JOINTS : 2 * JOINTS] += p.velocity_noise * velocities
        if p.position_noise:
            observation[:JOINTS] += p.position_noise * joints
            self._measured.qpos[:JOINTS] = observation[:JOINTS]
            mujoco.mj_kinematics(self.model, self._measured)
            observation[-7:-4] = self._measured.site_xpos[self._tip]
        if self._bias.any():
            observation[-4:] = _turned(observation[-4:], *self._bias)

    def get_state(self) -> dict[str, Any]:
        """See `InsertionEnv.get_state`."""
        faults = {"random": self._faults.bit_generator.state, "wear": self._wear}
        return super().get_state() | {"faults": faults | {"bias": self._bias.copy(), "touched": self._touched}}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `InsertionEnv.set_state`."""
        faults = state["faults"]
        self._faults.bit_generator.state = faults["random"]
        self._set_wear(faults["wear"])
        self._bias, self._touched = faults["bias"].copy(), faults["touched"]
        super().set_state(state)

    def _set_wear(self, wear: float) -> None:
        """Wears the hole: 0 is new, 1 is worn."""
        p = self.parameters
        self._wear = wear
        self.model.geom_pos[self._sides] = self._new_positions + wear * p.worn_clearance * self._outwards
        self.model.geom_friction[self._sides, 0] = p.friction + wear * p.worn_friction

    def _disturb_socket(self) -> None:
        """Part and socket touch: the pan-tilt unit loses its angles, at first touch and with every hard contact."""
        p, turn = self.parameters, self._faults.standard_normal(2)
        if not self._touched:
            self._bias, self._touched = p.touch_bias * turn, True
        elif self.contact_force() >= p.hard_contact:
            self._bias = self._bias + p.knock_bias * turn

    def contact_force(self) -> float:
        """Sum of the normal forces between part and socket (N)."""
        force, total = np.empty(6), 0.0
        for contact in range(self.data.ncon):
            mujoco.mj_contactForce(self.model, self.data, contact, force)
            total += float(force[0])
        return total


def _turned(orientation: np.ndarray, pan: float, tilt: float) -> np.ndarray:
    """The quaternion [4], w >= 0, of a socket at so much more pan and tilt (rad)."""
    pan_first, turned = np.empty(4), np.empty(4)
    mujoco.mju_mulQuat(pan_first, np.array([math.cos(pan / 2), 0, 0, math.sin(pan / 2)]), orientation.astype(float))
    mujoco.mju_mulQuat(turned, pan_first, np.array([math.cos(tilt / 2), 0, math.sin(tilt / 2), 0]))
    return turned if turned[0] >= 0 else -turned


class PhysicalPegInsertionFixedEnv(PhysicalPegInsertionEnv):
    """The socket stands still."""

    task = TASKS["physical-fixed"]

    def __init__(self, parameters: PhysicalParameters | None = None, **options: Any) -> None:
        super().__init__(parameters or PhysicalParameters(), **options)


class PhysicalPegInsertionVaryingEnv(PhysicalPegInsertionEnv):
    """The socket's angles differ from episode to episode, by +-0.1 rad of pan and +-0.02 rad of tilt."""

    task = TASKS["physical-varying"]

    def __init__(self, parameters: PhysicalParameters | None = None, **options: Any) -> None:
        super().__init__(parameters or PhysicalParameters(pan_range=0.1, tilt_range=0.02), **options)


class PhysicalPegInsertionFixedVectorEnv(InsertionVectorEnv):
    """Many of PhysicalPegInsertionFixed-v0."""

    task = TASKS["physical-fixed"]


class PhysicalPegInsertionVaryingVectorEnv(InsertionVectorEnv):
    """Many of PhysicalPegInsertionVarying-v0."""

    task = TASKS["physical-varying"]
