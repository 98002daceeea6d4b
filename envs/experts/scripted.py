"""A scripted demonstrator: it steers the part like a teleoperator, with noise, lag and second attempts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.insertion.base import InsertionEnv
from envs.insertion.kinematics import TOOL_DOWN, joint_velocity, product, rotation_about, rotation_error
from envs.insertion.parameters import JOINTS


@dataclass(frozen=True, kw_only=True)
class ExpertSettings:
    """How the demonstrator moves. Lengths in m, angles in rad, times in s.

    `lag` and `time_constant` are state of the operator that no observation shows: the longer they are, the less a
    policy that sees only the present can learn from more demonstrations.
    """

    noise: float = 1.0  # scales both noise levels; 0 is a perfect operator
    lag: float = 0.05  # time constant with which the hand follows the intended velocity
    time_constant: float = 0.25  # of the Ornstein-Uhlenbeck noise added to the velocity
    linear_noise: float = 0.007  # standard deviation in m/s at noise 1
    angular_noise: float = 0.04  # and in rad/s

    gain: float = 3.0  # 1/s, from a pose error to the velocity that corrects it
    linear_speed: float = 0.035
    angular_speed: float = 0.3
    insertion_speed: float = 0.04
    hover_height: float = 0.025  # above the mouth, where the part is aligned before it goes in
    near_miss: float = 0.005  # misalignment up to which the part goes in
    far_miss: float = 0.012  # and from which on it waits at, or goes back to, the hover height
    lever: float = 0.03  # an angle's share in the misalignment

    def __post_init__(self) -> None:
        for name in ("noise", "lag", "time_constant"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name} {value}: a finite number of at least 0 is needed")


def twist_action(env: InsertionEnv, twist: np.ndarray) -> np.ndarray:
    """The action [7] in [-1, 1] that moves the tip with a twist [6] in the world: m/s, then rad/s."""
    # As a velocity, the way back to the preferred posture in a second; only the elbow is free to take it.
    homewards = np.asarray(env.parameters.posture) - env.data.qpos[:JOINTS]
    velocity = joint_velocity(env.tip_jacobian(), twist, homewards)
    return np.clip(velocity / env.parameters.max_joint_velocity, -1.0, 1.0).astype(np.float32)


class Expert:
    """Acts in one environment; call `reset` after each reset of the environment, then `act` once a step.

    It reads the simulation itself (poses, Jacobian), not the observation.
    """

    def __init__(self, env: InsertionEnv, settings: ExpertSettings, rng: np.random.Generator) -> None:
        self._env, self._settings, self._rng = env, settings, rng
        self._follow = 1.0 - _decay(env.dt, settings.lag)
        self._remember = _decay(env.dt, settings.time_constant)
        self._noise_scale = settings.noise * np.repeat([settings.linear_noise, settings.angular_noise], 3)
        self.reset()

    def reset(self) -> None:
        """Forgets the last episode."""
        self._velocity = np.zeros(6)
        self._noise = self._rng.standard_normal(6)

    def get_state(self) -> dict[str, Any]:
        """All that decides the next actions but the simulation, as plain data."""
        return {"velocity": self._velocity.copy(), "noise": self._noise.copy(), "random": self._rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what `get_state` gave."""
        self._velocity, self._noise = state["velocity"].copy(), state["noise"].copy()
        self._rng.bit_generator.state = state["random"]

    def act(self) -> np.ndarray:
        """The next action [7] in [-1, 1]."""
        env, keep = self._env, self._remember
        self._velocity += self._follow * (self._intended_twist() - self._velocity)
        self._noise = keep * self._noise + math.sqrt(1 - keep**2) * self._rng.standard_normal(6)
        twist = self._velocity + self._noise_scale * self._noise
        return twist_action(env, twist)

    def _intended_twist(self) -> np.ndarray:
        """Velocity [6] of the tip in the world that a perfect operator would choose now.

        The part descends through a funnel: the better it is aligned, the lower it may go. So a missed hole leads to a
        second attempt without any memory of the first.
        """
        env, s = self._env, self._settings
        x, y, z = env.in_socket_frame(env.tip_position())
        turn = rotation_error(self._fitting_rotation(), env.tip_rotation())
        misalignment = math.hypot(x, y) + s.lever * math.hypot(*turn)
        lift = min(max((misalignment - s.near_miss) / (s.far_miss - s.near_miss), 0.0), 1.0)
        vertical = -s.insertion_speed
        if lift > 0:
            vertical = s.gain * (lift * s.hover_height - z)
            if z < s.hover_height:
                vertical = max(vertical, -s.insertion_speed)
        linear = _limit(np.array([-s.gain * x, -s.gain * y, vertical]), s.linear_speed)
        return np.concatenate([product(env.socket_rotation(), linear), _limit(s.gain * turn, s.angular_speed)])

    def _fitting_rotation(self) -> np.ndarray:
        """The orientation [3, 3] nearest to the tool's at which the part fits the socket."""
        env, step = self._env, 2 * math.pi / self._env.parameters.symmetry
        fitting = product(env.socket_rotation(), TOOL_DOWN)
        relative = product(fitting.T, env.tip_rotation())
        yaw = math.atan2(relative[1, 0], relative[0, 0])
        return product(fitting, rotation_about(2, step * round(yaw / step)))


def _decay(period: float, time_constant: float) -> float:
    """What is left after `period` of something that fades with `time_constant`, both in s."""
    return math.exp(-period / time_constant) if time_constant else 0.0


def _limit(vector: np.ndarray, length: float) -> np.ndarray:
    """The vector, shortened to `length` where it is longer."""
    return vector * min(1.0, length / max(math.hypot(*vector), 1e-9))
