"""A Gymnasium environment for an arm with its own controller: an example in which to put your own arm.

The task: lower the tip into a small hole, from a start that differs a little each time. The suite finds it as
`arm:PlanarArm-v0`, with this folder on the PYTHONPATH and the controller's port in ARM_PORT.
"""

from __future__ import annotations

import math
import os
import socket
from time import monotonic, sleep
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from wire import JOINTS, LONGEST, State, pack_command, read_state

LINKS = (0.4, 0.3)  # m
HOLE = (0.55, 0.10)  # m, of the tip
TOLERANCE = 0.01  # m
LOWEST = 0.05  # m: below is the table
START, SPREAD = (0.75, -0.9), 0.05  # rad, uniform +-
HOME_SPEED, HOME_SECONDS = 0.3, 20.0  # rad/s at most on the way to the start, and when to give that up
STILL = (0.0,) * JOINTS


class ArmError(RuntimeError):
    """The arm does not do as it should; it was told to stop, and a person has to look."""


class PlanarArmEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Action [2]: target joint velocities as a fraction of 0.5 rad/s. Observation [6]: joint positions 2 (rad) and
    velocities 2 (rad/s), tip 2 (m). Success: the tip is in the hole. It ends, too, when the tip comes near the table.

    A step lasts as long as the controller's clock says. `info["late"]` is what it took beyond `dt` (s): a policy that
    thinks too long shows here.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    horizon = 200
    dt = 0.05
    max_joint_velocity = 0.5

    def __init__(self, port: int | None = None, patience: float = 0.5) -> None:
        """`patience` is how long the controller may be silent (s). Nothing moves before the first reset."""
        self.observation_space = Box(-np.inf, np.inf, (2 * JOINTS + 2,), np.float32)
        self.action_space = Box(-1.0, 1.0, (JOINTS,), np.float32)
        self._controller = ("127.0.0.1", int(os.environ["ARM_PORT"]) if port is None else port)
        self._patience = patience
        self._link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._state = State(0, 0.0, STILL, STILL)
        self._steps = 0
        self._running = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Moves slowly to the start, lets the arm come to rest there, and begins. Raises ArmError."""
        super().reset(seed=seed)
        start = np.array(START) + self.np_random.uniform(-SPREAD, SPREAD, JOINTS)
        self._running = False
        self._call()
        limit = self._state.time + HOME_SECONDS
        while np.abs(way := start - self._state.positions).max() > 1e-3 or np.abs(self._state.velocities).max() > 1e-3:
            if self._state.time > limit:
                raise self._stopped(f"the start was not reached in {HOME_SECONDS:g} s")
            self._command(tuple(np.clip(4.0 * way, -HOME_SPEED, HOME_SPEED)))
            self._listen()
        self._command(STILL)
        self._steps, self._running = 0, True
        return self._observation(), {"is_success": False, "late": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Sends the action and waits one control period of the controller's clock. Raises ArmError."""
        if not self._running:
            raise ArmError("there is no episode: call reset() first")
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (JOINTS,) or not np.isfinite(action).all():
            raise self._stopped(f"action {action}: {JOINTS} finite numbers in [-1, 1] are needed")
        due = self._state.time + self.dt
        self._command(tuple(self.max_joint_velocity * np.clip(action, -1.0, 1.0)))
        while self._state.time < due - 1e-6:
            self._listen()
        self._steps += 1
        x, y = self._tip()
        success, outside = math.dist((x, y), HOLE) < TOLERANCE, y < LOWEST
        late = self._steps >= self.horizon and not (success or outside)
        if success or outside or late:
            self._running = False
            self._command(STILL)
        info = {"is_success": success, "late": self._state.time - due}
        return self._observation(), float(success), success or outside, late, info

    def close(self) -> None:
        """Stops the arm."""
        if self._link.fileno() >= 0:
            self._command(STILL)
            self._link.close()

    def _command(self, velocities: tuple[float, ...]) -> None:
        self._link.sendto(pack_command(velocities), self._controller)

    def _call(self) -> None:
        """Asks for the arm until it answers, since it listens to one at a time; what it said before does not count."""
        while self._waiting():
            self._link.recv(LONGEST)
        deadline = monotonic() + self._patience
        while not self._waiting():
            if monotonic() > deadline:
                raise self._silent()
            self._command(STILL)
            sleep(self.dt / 5)
        self._listen()

    def _listen(self) -> None:
        """Wait for a newer state than the last one, while the last command stays in force; keep the newest."""
        deadline = monotonic() + self._patience
        newest = self._state
        while newest is self._state or self._waiting():
            self._link.settimeout(max(deadline - monotonic(), 1e-3))
            try:
                message, sender = self._link.recvfrom(LONGEST)
            except (TimeoutError, ConnectionError):
                raise self._silent() from None
            state = read_state(message)
            if sender == self._controller and state is not None and state.number > newest.number:
                newest = state
        self._state = newest

    def _waiting(self) -> bool:
        """Whether another message is there already."""
        self._link.setblocking(False)
        try:
            return bool(self._link.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _silent(self) -> ArmError:
        return self._stopped(
            f"no state from {self._controller} in {self._patience:g} s: is the controller running, and does nobody "
            "else drive the arm?"
        )

    def _stopped(self, why: str) -> ArmError:
        self._running = False
        self._command(STILL)
        return ArmError(f"{why} (the arm was told to stop)")

    def _tip(self) -> tuple[float, float]:
        first, second = self._state.positions
        upper, lower = LINKS
        x = upper * math.cos(first) + lower * math.cos(first + second)
        return x, upper * math.sin(first) + lower * math.sin(first + second)

    def _observation(self) -> np.ndarray:
        return np.array([*self._state.positions, *self._state.velocities, *self._tip()], np.float32)


gymnasium.register(id="PlanarArm-v0", entry_point=PlanarArmEnv, order_enforce=False, disable_env_checker=True)
