"""The insertion environment: a velocity-controlled arm, a held part and a socket on a pan-tilt unit."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import gymnasium
import mujoco
import numpy as np

from envs import TASKS
from envs.insertion.errors import ActionError, SimulationUnstable
from envs.insertion.kinematics import TOOL_DOWN, product, rotation_about, site_jacobian, site_positions, solve_posture
from envs.insertion.observation import Readings, observation_range, observe, read, view
from envs.insertion.outcome import TERMINAL, Outcomes, misses_and_retries
from envs.insertion.parameters import JOINTS, InsertionParameters
from envs.insertion.scene import add_hand, compile_scene, load_scene
from envs.insertion.viewer import Viewer

_PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION  # with the solver's warm start and the socket's pose
_EPISODE = ("_steps", "_end_reason", "_depth")


class InsertionEnv(gymnasium.Env[np.ndarray, np.ndarray], ABC):
    """An insertion task. Subclasses add the parts and may have stricter criteria of success.

    Action, [7] float32 in [-1, 1] (clipped):

    | columns | quantity | unit |
    |---|---|---|
    | 0-6 | target velocities of the joints, base to wrist, for one control period | 0.5 rad/s (`max_joint_velocity`) |

    Observation, [21] float32, or [28] where `observe_forces` is set (the clip):

    | columns | quantity | unit |
    |---|---|---|
    | 0-6 | joint positions | rad |
    | 7-13 | joint velocities | rad/s |
    | 14-20, clip only | actuator forces | Nm |
    | next 3 | position of the held part's tip, x, y, z, from the arm's base | m |
    | last 4 | orientation of the socket, unit quaternion w, x, y, z with w >= 0 | |

    Reward: 1 on success, else 0. An episode terminates on success and when the arm leaves its workspace, and is
    truncated at the time limit of 50 s (section 4.1 of the paper).

    `info`, on every reset and step: `is_success`, `end_reason` (one of END_REASONS), `time` (s), `depth` of the tip
    below the mouth (m).

    Attributes:
        dt: control period (s).
        horizon: control steps after which an episode times out.
        camera: the camera that draws pictures, "overview" or "closeup"; it may be changed at any time.
        observation_range: lowest and highest plausible observation, for checking recorded data.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 10}
    task: str
    parameters: InsertionParameters

    def __init__(
        self,
        parameters: InsertionParameters,
        render_mode: str | None = None,
        camera: str = "overview",
        width: int = 640,
        height: int = 480,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode {render_mode!r}: None, 'human' or 'rgb_array' is needed")
        self.parameters = parameters
        self.render_mode = render_mode
        self.horizon = parameters.horizon
        self.dt = parameters.control_period
        self.camera = camera
        self._size = (width, height)
        self._shown_by: Viewer | None = None

        self.model = self._compile(visual=False)
        self._outcomes = Outcomes(parameters, self.model, self.is_held)
        self._tip, self._mouth = self._outcomes.tip, self._outcomes.mouth
        self._tilt = self.model.body("tilt").mocapid[0]
        self._pan = self.model.body("pan").mocapid[0]
        self._substeps = parameters.substeps
        self._new_simulation()

        size = 2 * JOINTS + JOINTS * parameters.observe_forces + 7
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_range = observation_range(parameters, self.model)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (JOINTS,), np.float32)

    def _compile(self, visual: bool) -> mujoco.MjModel:
        spec = load_scene(self.parameters)
        self._add_parts(spec, add_hand(spec, self.parameters))
        return compile_scene(spec, self.parameters, visual)

    def _new_simulation(self) -> None:
        self.data = mujoco.MjData(self.model)
        self.view = view(self.data)
        self._steps = 0
        self._end_reason: str | None = None  # None: never reset
        self._depth = 0.0

    def sibling(self) -> Self:
        """Another environment of the same compiled model, which has not begun an episode; it shows no pictures."""
        other = copy.copy(self)
        other.render_mode = other._shown_by = other._np_random = None
        other._new_simulation()
        return other

    # Hooks of a task

    @abstractmethod
    def _add_parts(self, spec: mujoco.MjSpec, part: mujoco.MjsBody) -> None:
        """Adds the held part's geometry to `part` (origin at the tip, z out of the hand) and the socket's to `spec`."""

    def is_held(self, readings: Readings) -> np.ndarray:
        """Whether the socket holds the part [n] bool; asked for parts that are deep enough."""
        return np.ones(len(readings.positions), bool)

    def observe(self, readings: Readings) -> np.ndarray:
        """What is truly there to observe [n, O] float32 in readings of this environment or its siblings."""
        return observe(readings, self._tip, self._tilt, self.parameters.observe_forces)

    def sense(self, observation: np.ndarray) -> None:
        """Turn a true observation [O] into what imperfect sensors report, in place; perfect ones change nothing."""

    # Gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode. `options` may fix the socket's `pan` and `tilt` (rad) instead of drawing them."""
        super().reset(seed=seed)
        p, draw = self.parameters, self.np_random.uniform
        angles = {"pan": draw(-p.pan_range, p.pan_range), "tilt": draw(-p.tilt_range, p.tilt_range)}
        offset = draw(-1, 1, 3) * p.start_offset
        roll, pitch, yaw = draw(-1, 1, 3) * p.start_rotation
        for name, angle in (options or {}).items():
            if name not in angles or not math.isfinite(angle):
                raise ValueError(f"reset option {name!r}: {angle!r}: 'pan' and 'tilt' with finite angles are allowed")
            angles[name] = angle

        # Twice: what a diverged episode left must not reach the inverse kinematics, nor what that leaves the next one.
        mujoco.mj_resetData(self.model, self.data)
        turn = product(rotation_about(1, pitch), rotation_about(0, roll))
        rotation = product(product(TOOL_DOWN, rotation_about(2, yaw)), turn)
        position = offset + p.tilt_axis + np.array([0, 0, p.mouth_height + p.start_height])
        joints = solve_posture(self.model, self.data, self._tip, position, rotation, np.array(p.posture))
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:JOINTS] = joints
        half_pan, half_tilt = angles["pan"] / 2, angles["tilt"] / 2
        pan = np.array([math.cos(half_pan), 0, 0, math.sin(half_pan)])
        tilt = np.array([math.cos(half_tilt), 0, math.sin(half_tilt), 0])
        socket = self.data.mocap_quat[self._tilt]
        mujoco.mju_mulQuat(socket, pan, tilt)
        socket *= 1 if socket[0] >= 0 else -1
        self.data.mocap_quat[self._pan] = pan
        mujoco.mj_forward(self.model, self.data)

        readings = read([self.view])
        self._steps, self._end_reason = 0, ""
        self._depth = float(self._outcomes.depths(readings)[0])
        (observation,) = self.observe(readings)
        self.sense(observation)
        if self.render_mode == "human":
            self.render()
        return observation, self.info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Holds the action for one control period. Raises ActionError and SimulationUnstable."""
        self.check_running()
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (JOINTS,) or not np.isfinite(action).all():
            raise ActionError(f"action {action}: {JOINTS} finite numbers in [-1, 1] are needed")
        self.advance(np.clip(action, -1.0, 1.0))
        (observation,), (reason,) = conclude([self])
        self.check_stable()
        if self.render_mode == "human":
            self.render()
        return observation, float(reason == "success"), reason in TERMINAL, reason == "timeout", self.info()

    def get_state(self) -> dict[str, Any]:
        """Everything that decides the rest of this episode and later ones, as plain data, without the parameters."""
        physics = np.empty(mujoco.mj_stateSize(self.model, _PHYSICS))
        mujoco.mj_getState(self.model, self.data, physics, _PHYSICS)
        state = {"physics": physics, "random": self.np_random.bit_generator.state}
        return state | {name: getattr(self, name) for name in _EPISODE}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of `get_state`, here or in another environment of the task, with equal later steps."""
        mujoco.mj_resetData(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, state["physics"], _PHYSICS)
        mujoco.mj_kinematics(self.model, self.data)
        self.np_random.bit_generator.state = state["random"]
        for name in _EPISODE:
            setattr(self, name, state[name])

    def picture(self) -> np.ndarray:
        """What the camera sees [height, width, 3] uint8. Raises RuntimeError where no picture can be drawn."""
        return self._shown().picture(self.camera)

    def render(self) -> Any:
        """The camera's picture in the mode "rgb_array"; None in the mode "human", which shows a window."""
        if self.render_mode == "rgb_array":
            return self.picture()
        if self.render_mode == "human":
            self._shown().window(self.dt)
        return None

    def close(self) -> None:
        """Frees what pictures needed, and closes the window."""
        if self._shown_by is not None:
            self._shown_by.close()
        self._shown_by = None

    def _shown(self) -> Viewer:
        """The viewer, showing the present state of the simulation."""
        if self._shown_by is None:
            self._shown_by = Viewer(self._compile(visual=True), *self._size)
        self._shown_by.follow(self.model, self.data)
        return self._shown_by

    # What the scripted expert and tests look at

    def in_socket_frame(self, position: np.ndarray) -> np.ndarray:
        """A world position [3] (m) in the frame of the socket's mouth, z out of the socket."""
        return product(self.socket_rotation().T, position - self.data.site_xpos[self._mouth])

    def socket_rotation(self) -> np.ndarray:
        """Orientation [3, 3] of the socket in the world."""
        return self.data.site_xmat[self._mouth].reshape(3, 3)

    def tip_position(self) -> np.ndarray:
        """World position [3] of the held part's tip (m)."""
        return self.data.site_xpos[self._tip].copy()

    def tip_rotation(self) -> np.ndarray:
        """Orientation [3, 3] of the held part, z out of the hand."""
        return self.data.site_xmat[self._tip].reshape(3, 3).copy()

    def kinematic_error(self, observations: np.ndarray) -> np.ndarray:
        """Distance [n] (m) of the tip in observations [n, O] from where the joints in them put it; the episode rests.

        Zero up to rounding for simulated observations; those sampled from a model need not be consistent.
        """
        shown = observations[:, -7:-4]
        return np.linalg.norm(site_positions(self.model, self._tip, observations[:, :JOINTS]) - shown, axis=1)

    def misses_and_retries(self, observations: np.ndarray) -> tuple[int, int]:
        """How often the part missed in an episode, and came back, from its observations [T, O]; the episode rests.

        Near the mouth is within `success_lateral` of it. Noise of the sensors counts as movement of the part.
        """
        w, x, y, z = observations[:, -4:].astype(float).T
        axis = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
        p = self.parameters
        way = observations[:, -7:-4] - np.array(p.tilt_axis) - p.mouth_height * axis
        height = (way * axis).sum(axis=1)
        distances = np.linalg.norm(way - np.minimum(height, 0.0)[:, None] * axis, axis=1)
        return misses_and_retries(distances, p.success_lateral)

    def tip_jacobian(self) -> np.ndarray:
        """Jacobian [6, 7] of the tip, linear above angular, in the world frame."""
        return site_jacobian(self.model, self.data, self._tip, JOINTS)

    @property
    def time(self) -> float:
        """Seconds since the episode began."""
        return self._steps * self.dt

    def warnings(self) -> dict[str, int]:
        """MuJoCo's warnings since the last reset, counted by name."""
        counts = ((mujoco.mjtWarning(i).name, stat.number) for i, stat in enumerate(self.data.warning))
        return {name: number for name, number in counts if number}

    # Parts of a step

    def advance(self, action: np.ndarray) -> None:
        """Simulates one control period under an action [7] within its bounds; frees the interpreter meanwhile."""
        self.data.ctrl[:] = action * self.parameters.max_joint_velocity
        mujoco.mj_step(self.model, self.data, self._substeps)
        mujoco.mj_kinematics(self.model, self.data)  # mj_step leaves positions a physics step behind the joints

    def info(self) -> dict[str, Any]:
        """The episode so far, see the class."""
        return {
            "is_success": self._end_reason == "success",
            "end_reason": self._end_reason,
            "time": self.time,
            "depth": self._depth,
        }

    def check_running(self) -> None:
        """Raise ActionError if no episode is running."""
        if self._end_reason != "":
            ended = "has not begun" if self._end_reason is None else f"has ended ({self._end_reason})"
            raise ActionError(f"the episode {ended}: call reset() before step()")

    def check_stable(self) -> None:
        """Raise SimulationUnstable if the episode ended because the simulation diverged."""
        if self._end_reason == "unstable":
            raise SimulationUnstable(
                f"{self.task}: the simulation became unstable {self.time:.1f} s into the episode "
                f"(MuJoCo warnings: {self.warnings() or 'none'}); call reset()",
                self.info(),
            )


def conclude(environments: Sequence[InsertionEnv]) -> tuple[np.ndarray, list[str]]:
    """Observations [n, O] of siblings that were just advanced, and why their episodes end now ("" if they do not)."""
    outcomes = environments[0]._outcomes
    readings = read([environment.view for environment in environments])
    for environment in environments:
        environment._steps += 1
    reasons = outcomes.reasons(readings, np.array([environment._steps for environment in environments]))
    depths = outcomes.depths(readings).tolist()
    observations = environments[0].observe(readings)
    for environment, reason, depth, observation in zip(environments, reasons, depths, observations, strict=True):
        environment._end_reason, environment._depth = reason, depth
        environment.sense(observation)
    return observations, reasons


def make_env(task: str, **options: Any) -> InsertionEnv:
    """An insertion environment without wrappers. task: a name of `envs.TASKS` or a Gymnasium id."""
    env = gymnasium.make(TASKS.get(task, task), **options).unwrapped
    if not isinstance(env, InsertionEnv):
        raise ValueError(f"{task} is no insertion task: use one of {', '.join(TASKS)}")
    return env
