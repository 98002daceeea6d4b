"""Teleoperation with a keyboard or a gamepad, and a window that shows the robot; pygame does the work.

On the insertion tasks the tip moves in Cartesian directions as the picture shows them. On any other task, and on these
on request, one key or stick moves each component of the action.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter, sleep
from typing import Any, Literal

import gymnasium
import numpy as np
import pygame

from envs.demonstrations import DemonstrationError
from envs.experts.recording import Env, Recording, advance, begin
from envs.experts.scripted import twist_action
from envs.insertion.base import InsertionEnv
from envs.insertion.errors import SimulationUnstable
from envs.insertion.parameters import JOINTS
from envs.loading import reason

LINEAR_SPEED = 0.06
"""Of the tip at full deflection, in m/s."""
ANGULAR_SPEED = 0.5
"""In rad/s."""
PRECISE = 0.25
"""Fraction of the speed while the key for precise movements is held."""
DEAD_ZONE = 0.12
"""Deflection of a stick up to which it counts as released."""
CAMERAS = ("film", "overview", "closeup")
"""Of the insertion tasks; the first shows tip and socket."""

Jogging = Literal["cartesian", "joints"]


class Ask(Enum):
    """What a person asks for beside moving the robot."""

    START = "start or pause"
    RETRY = "discard, and try the same start again"
    NEXT = "discard, and take another start"
    KEEP = "end the episode here and keep it"
    CAMERA = "another camera"
    QUIT = "quit"


KEYS = {
    pygame.K_SPACE: Ask.START,
    pygame.K_BACKSPACE: Ask.RETRY,
    pygame.K_n: Ask.NEXT,
    pygame.K_RETURN: Ask.KEEP,
    pygame.K_c: Ask.CAMERA,
    pygame.K_ESCAPE: Ask.QUIT,
}
BUTTONS = {7: Ask.START, 1: Ask.RETRY, 3: Ask.NEXT, 0: Ask.KEEP, 2: Ask.CAMERA, 6: Ask.QUIT}
"""Buttons of a gamepad as an Xbox controller numbers them: Start, B, Y, A, X, Back."""

# Right, away, up; and turns about these axes: tilting sideways, tilting forwards, turning about the vertical.
CARTESIAN_KEYS = {
    pygame.K_d: (0, 1),
    pygame.K_a: (0, -1),
    pygame.K_RIGHT: (0, 1),
    pygame.K_LEFT: (0, -1),
    pygame.K_w: (1, 1),
    pygame.K_s: (1, -1),
    pygame.K_UP: (1, 1),
    pygame.K_DOWN: (1, -1),
    pygame.K_r: (2, 1),
    pygame.K_f: (2, -1),
    pygame.K_PAGEUP: (2, 1),
    pygame.K_PAGEDOWN: (2, -1),
    pygame.K_k: (3, 1),
    pygame.K_i: (3, -1),
    pygame.K_l: (4, 1),
    pygame.K_j: (4, -1),
    pygame.K_q: (5, 1),
    pygame.K_e: (5, -1),
}
DIGITS = [*range(pygame.K_1, pygame.K_9 + 1), pygame.K_0]
HELP = {
    ("keyboard", "cartesian"): "WASD or arrows move, R/F up and down, Q/E turn, I/K and J/L tilt, Ctrl precise",
    ("keyboard", "joints"): "keys 1, 2, ... move a component of the action, with Shift backwards, Ctrl precise",
    ("gamepad", "cartesian"): "left stick moves, triggers up and down, right stick turns and tilts, LB precise",
    ("gamepad", "joints"): "left stick moves a component of the action, LB and RB choose it, left trigger precise",
}
KEYS_HELP = "Space start/pause   Backspace retry   N next start   Enter keep   {}Esc quit"
BUTTONS_HELP = "Start start/pause   B retry   Y next start   A keep   {}Back quit"
NO_PICTURE = 'This task draws no picture (it has no render mode "rgb_array"). What it observes:'
ROWS, COLUMNS = 20, 4
"""Of the numbers that are shown instead of a picture."""
WHITE, GREY, GREEN = (240, 240, 240), (170, 175, 185), (120, 220, 120)


@dataclass
class Device:
    """What is held down on a keyboard or a gamepad, kept up to date by events."""

    keys: set[int] = field(default_factory=set)
    axes: dict[int, float] = field(default_factory=dict)
    buttons: set[int] = field(default_factory=set)
    joint: int = 0
    gamepad: bool = False

    def hear(self, event: pygame.event.Event) -> Ask | None:
        """Take notice of an event; returns what it asks for."""
        if event.type == pygame.QUIT:
            return Ask.QUIT
        if event.type == pygame.KEYDOWN:
            self.keys.add(event.key)
            return KEYS.get(event.key)
        if event.type == pygame.KEYUP:
            self.keys.discard(event.key)
        elif event.type == pygame.WINDOWFOCUSLOST:
            self.release()  # no event tells of keys that are released meanwhile
        elif event.type == pygame.JOYAXISMOTION:
            self.axes[event.axis] = event.value
        elif event.type == pygame.JOYBUTTONDOWN:
            self.buttons.add(event.button)
            return BUTTONS.get(event.button)
        elif event.type == pygame.JOYBUTTONUP:
            self.buttons.discard(event.button)
        elif event.type == pygame.JOYDEVICEREMOVED:
            self.release()
        return None

    def release(self) -> None:
        """Nothing is held down any more."""
        self.keys.clear()
        self.axes.clear()
        self.buttons.clear()

    def directions(self) -> np.ndarray:
        """Right, away, up, and turns about these axes, [6] in [-1, 1]."""
        if not self.gamepad:
            wanted = np.zeros(6)
            for key in self.keys & CARTESIAN_KEYS.keys():
                axis, sign = CARTESIAN_KEYS[key]
                wanted[axis] += sign
            return np.clip(wanted, -1, 1) * self._precision({pygame.K_LCTRL, pygame.K_RCTRL} & self.keys)
        rising = (self.axes.get(5, -1.0) - self.axes.get(2, -1.0)) / 2
        stick = [self._axis(0), -self._axis(1), rising, self._axis(4), self._axis(3), 0.0]
        if 5 in self.buttons:  # RB: the right stick turns about the vertical instead of tilting sideways
            stick[4:] = [0.0, -self._axis(3)]
        return np.array(stick) * self._precision({4} & self.buttons)

    def joints(self, count: int) -> np.ndarray:
        """Each number of an action, [count] in [-1, 1]."""
        wanted = np.zeros(count)
        if not self.gamepad:
            sign = -1 if {pygame.K_LSHIFT, pygame.K_RSHIFT} & self.keys else 1
            for number, key in enumerate(DIGITS[:count]):
                wanted[number] = sign * (key in self.keys)
            return wanted * self._precision({pygame.K_LCTRL, pygame.K_RCTRL} & self.keys)
        wanted[self.joint % count] = -self._axis(1)
        return wanted * self._precision(self.axes.get(2, -1.0) > 0)

    def choose_joint(self, event: pygame.event.Event, count: int) -> None:
        """LB and RB of a gamepad choose the joint that the stick moves."""
        if event.type == pygame.JOYBUTTONDOWN and event.button in (4, 5):
            self.joint = (self.joint + (1 if event.button == 5 else -1)) % count

    def _axis(self, number: int) -> float:
        """A stick's deflection without its dead zone, finer near the middle."""
        value = self.axes.get(number, 0.0)
        beyond = max(0.0, abs(value) - DEAD_ZONE) / (1 - DEAD_ZONE)
        return math.copysign(beyond**2, value)

    @staticmethod
    def _precision(held: object) -> float:
        return PRECISE if held else 1.0


class Teleoperation:
    """A session in which a person records episodes."""

    def __init__(
        self,
        env: Env,
        recording: Recording,
        device: Literal["keyboard", "gamepad"],
        jogging: Jogging | None = None,
        real_time: bool = True,
    ) -> None:
        """Open the window.

        Args:
            env: shows itself with the render mode "rgb_array", if it can.
            recording: takes the episodes.
            device: what the person uses.
            jogging: how the robot is moved; None is "cartesian" for insertion tasks and "joints" for others.
            real_time: whether a control step takes as long as the robot's.

        Raises:
            DemonstrationError: there is no display or no gamepad, or the task cannot be moved so.
        """
        inside: Any = env.unwrapped
        self.jogging = jogging or ("cartesian" if isinstance(inside, InsertionEnv) else "joints")
        if self.jogging == "cartesian" and not isinstance(inside, InsertionEnv):
            raise DemonstrationError(f"{recording.task} is no insertion task: --jogging joints is needed")
        assert isinstance(env.action_space, gymnasium.spaces.Box)  # Recording refuses others
        self._space = env.action_space
        self._size = self._space.shape[0]
        if isinstance(inside, InsertionEnv):
            inside.camera = CAMERAS[0]
        if self.jogging == "joints" and device == "keyboard" and self._size > len(DIGITS):
            raise DemonstrationError(
                f"{recording.task} has {self._size} numbers in an action, a keyboard has keys for {len(DIGITS)}: use "
                "--gamepad or --policy"
            )
        self.env, self.recording, self.real_time = env, recording, real_time
        self.device = Device(gamepad=device == "gamepad")
        self.message = ""
        if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & set(os.environ):
            raise DemonstrationError("no window can be opened (there is no display); use --policy without a display")
        # SDL would draw the window by OpenGL, and a thread cannot use that and MuJoCo's EGL in turn.
        os.environ.setdefault("SDL_FRAMEBUFFER_ACCELERATION", "0")
        pygame.display.init()
        pygame.font.init()
        try:
            if self.device.gamepad:
                pygame.joystick.init()
                if not pygame.joystick.get_count():
                    raise DemonstrationError("no gamepad is connected: connect one, or use --keyboard")
                self._gamepads = [pygame.joystick.Joystick(i) for i in range(pygame.joystick.get_count())]
            # Without a display SDL silently draws nowhere.
            if pygame.display.get_driver() in ("dummy", "offscreen") and "SDL_VIDEODRIVER" not in os.environ:
                raise pygame.error("no display was found")
            self._screen = pygame.display.set_mode((800, 700))
        except pygame.error as error:
            pygame.quit()
            raise DemonstrationError(f"no window can be opened ({error}); use --policy without a display") from error
        pygame.display.set_caption(f"Recording {recording.task}")
        self._font = pygame.font.Font(None, 26)
        self._drawn_at = 0.0
        self._behind = 0.0
        self._device_name = device

    def run(self, episodes: int) -> None:
        """Record until there are so many episodes in the file, or the person quits."""
        try:
            while self.recording.episodes < episodes:
                if not self._episode(episodes):
                    break
        finally:
            pygame.quit()

    def _episode(self, wanted: int) -> bool:
        """One attempt; False where the person quits."""
        env, recording = self.env, self.recording
        observation, info = begin(env, recording)
        states, taken = [observation], list[np.ndarray]()
        running = over = False
        self.message = f"{self.message}  Move the robot or press start." if self.message else "Move to start."
        due = perf_counter()
        while True:
            for ask in self._asked():
                if ask == Ask.QUIT:
                    return False
                if ask in (Ask.RETRY, Ask.NEXT):
                    recording.discard(same_start=ask == Ask.RETRY)
                    self.message = "Discarded." if taken else ""
                    return True
                if ask == Ask.KEEP and taken:
                    if info.get("is_success", True):
                        return self._keep(states, taken)
                    self.message = "Not kept: the task is not done yet."
                if ask == Ask.CAMERA and isinstance(env.unwrapped, InsertionEnv):
                    shown = env.unwrapped.camera
                    env.unwrapped.camera = CAMERAS[(CAMERAS.index(shown) + 1) % len(CAMERAS)]
                if ask == Ask.START and not over:
                    running = not running
                    self.message = "" if running else "Paused."
            action = self._action()
            moved = bool((action != resting(self._space)).any())
            if moved and not running and not over and not taken:
                running, self.message = True, ""
            if running and not over:
                taken.append(action)
                try:
                    observation, over, info = advance(env, action, recording)
                except SimulationUnstable:
                    recording.discard()
                    self.message = "The simulation became unstable; discarded."
                    return True
                states.append(observation)
                if over and "is_success" not in info:
                    self.message = "The episode is over: keep it, retry, or take the next start."
                elif over and info["is_success"]:
                    return self._keep(states, taken)
                elif over:
                    self.message = f"Failed ({info.get('end_reason') or 'the episode ended'}): retry or next start."
            self._draw(len(taken) * recording.dt, wanted, observation)
            due = self._wait(due)

    def _keep(self, states: list[np.ndarray], taken: list[np.ndarray]) -> bool:
        self.recording.keep(states, taken)
        self.message = f"Success after {len(taken) * self.recording.dt:.1f} s, saved."
        return True

    def _asked(self) -> list[Ask]:
        asked = []
        for event in pygame.event.get():
            asked.append(self.device.hear(event))
            if self.device.gamepad and self.jogging == "joints":
                self.device.choose_joint(event, self._size)  # type: ignore[index]
        return [ask for ask in asked if ask is not None]

    def _action(self) -> np.ndarray:
        """The action [A] of what is held down now."""
        inside = self.env.unwrapped
        if self.jogging == "cartesian":
            assert isinstance(inside, InsertionEnv)
            wanted = self.device.directions() * np.repeat([LINEAR_SPEED, ANGULAR_SPEED], 3)
            if not wanted.any():
                return np.zeros(JOINTS, np.float32)
            axes = camera_axes(inside)
            return twist_action(inside, np.concatenate([wanted[:3] @ axes, wanted[3:] @ axes]))
        low, high = np.nan_to_num(self._space.low, neginf=-1), np.nan_to_num(self._space.high, posinf=1)
        wanted, rest = self.device.joints(self._size), resting(self._space)
        return rest + np.where(wanted > 0, wanted * (high - rest), wanted * (rest - low)).astype(np.float32)

    def _wait(self, due: float) -> float:
        """Wait until the control step is over; returns when the next one begins."""
        due += self.recording.dt
        late = perf_counter() - due
        if not self.real_time:
            return due
        if late < 0:
            sleep(-late)
        self._behind = max(0.0, late)
        return due if late < self.recording.dt else perf_counter()

    def _picture(self) -> Any:
        """The task's picture [H, W, 3]. Raises DemonstrationError where it cannot be drawn."""
        try:
            return self.env.render()
        except Exception as error:
            raise DemonstrationError(f"no picture of {self.recording.task} ({reason(error)})") from error

    def _draw(self, seconds: float, wanted: int, observation: np.ndarray) -> None:
        """Show the picture, or the observation of a task without one, and what can be done; late ones are left out."""
        now = perf_counter()
        if self._behind > 0.0 and now - self._drawn_at < 0.5:
            return
        self._drawn_at = now
        self._screen.fill((24, 26, 30))
        if self.env.render_mode == "rgb_array":
            frame = self._picture()
            picture = pygame.surfarray.make_surface(np.asarray(frame).swapaxes(0, 1))
            scale = min(800 / picture.get_width(), 600 / picture.get_height())
            size = (round(picture.get_width() * scale), round(picture.get_height() * scale))
            self._screen.blit(pygame.transform.smoothscale(picture, size), ((800 - size[0]) // 2, 0))
        elif self.env.render_mode is None:
            self._write(NO_PICTURE, 10, 12, GREY)
            for number, value in enumerate(observation[: ROWS * COLUMNS]):
                column, row = divmod(number, ROWS)
                self._write(f"{number}:  {value:.3f}", 10 + 800 // COLUMNS * column, 48 + 26 * row, WHITE)
        good = self.message.startswith("Success")
        episode = f"Episode {self.recording.episodes + 1} of {wanted}   {seconds:5.1f} s   {self.message}"
        camera = ("X camera   " if self.device.gamepad else "C camera   ") * isinstance(
            self.env.unwrapped, InsertionEnv
        )
        asks = (BUTTONS_HELP if self.device.gamepad else KEYS_HELP).format(camera)
        for row, (text, colour) in enumerate(
            [
                (episode, GREEN if good else WHITE),
                (HELP[self._device_name, self.jogging], GREY),
                (asks, GREY),
            ]
        ):
            self._write(text, 10, 608 + 28 * row, colour)
        pygame.display.flip()

    def _write(self, text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
        self._screen.blit(self._font.render(text, True, colour), (x, y))


def resting(space: gymnasium.spaces.Box) -> np.ndarray:
    """The action [A] float32 that rests: 0 where that is possible."""
    return np.clip(np.zeros(space.shape, np.float32), space.low, space.high).astype(np.float32)


def camera_axes(env: InsertionEnv) -> np.ndarray:
    """Right, away and up as the picture shows them, rows [3, 3] of directions in the world; up is vertical."""
    away = -env.data.camera(env.camera).xmat.reshape(3, 3)[:, 2] * [1, 1, 0]
    away /= np.linalg.norm(away)
    up = np.array([0.0, 0.0, 1.0])
    return np.array([np.cross(away, up), away, up])
