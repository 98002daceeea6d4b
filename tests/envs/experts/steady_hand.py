"""A scripted person at keyboard or gamepad, and a peg task that tells which keys that person would hold down."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pygame

from envs.experts import teleoperation
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv
from envs.insertion.peg import PegInsertionEnv


def key(number: int, down: bool = True) -> Any:
    return pygame.event.Event(pygame.KEYDOWN if down else pygame.KEYUP, key=number)


class SteadyHand:
    """Presses the keys, or moves the sticks, that do what the scripted expert intends."""

    def __init__(self, env: InsertionEnv, device: str) -> None:
        self.env, self.device = env, device
        self.expert = Expert(env, ExpertSettings(noise=0.0), np.random.default_rng(0))
        self.down: set[int] = set()

    def wanted(self) -> np.ndarray:
        """What `Device.directions` should give, [6]."""
        twist = self.expert._intended_twist()
        axes = teleoperation.camera_axes(self.env)
        linear, angular = axes @ twist[:3], axes @ twist[3:]
        return np.concatenate([linear / teleoperation.LINEAR_SPEED, angular / teleoperation.ANGULAR_SPEED])

    def held(self) -> set[int]:
        """The keys to hold down now."""
        wanted = self.wanted()
        keys = {
            next(
                key
                for key, (axis, sign) in teleoperation.CARTESIAN_KEYS.items()
                if axis == row and sign == np.sign(value)
            )
            for row, value in enumerate(wanted)
            if abs(value) > 0.05
        }
        return keys | ({pygame.K_LCTRL} if np.abs(wanted).max() < 0.6 else set())

    def events(self) -> list[Any]:
        """What changes with the next control step."""
        if self.device == "keyboard":
            keys = self.held()
            changed = [key(one) for one in keys - self.down] + [key(one, down=False) for one in self.down - keys]
            self.down = keys
            return changed
        wanted = self.wanted()
        turning = abs(wanted[5]) > 0.1
        zone = teleoperation.DEAD_ZONE
        stick = np.sign(wanted) * (np.sqrt(np.abs(wanted)) * (1 - zone) + zone)
        stick[2] = wanted[2]
        values = {0: stick[0], 1: -stick[1], 5: 2 * max(wanted[2], 0) - 1, 2: 2 * max(-wanted[2], 0) - 1, 4: stick[3]}
        values[3] = -stick[5] if turning else stick[4]
        button = pygame.JOYBUTTONDOWN if turning else pygame.JOYBUTTONUP
        moved = [pygame.event.Event(pygame.JOYAXISMOTION, axis=axis, value=value) for axis, value in values.items()]
        return [*moved, pygame.event.Event(button, button=5)]


class WatchedPeg(PegInsertionEnv):
    """Peg insertion that writes into the file $WATCHED which keys a steady hand would hold down, by their X names."""

    seed = resets = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        begun = super().reset(seed=seed, options=options)
        self.seed, self.resets, self.hand = seed or 0, self.resets + 1, SteadyHand(self, "keyboard")
        self._tell(0)
        return begun

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        taken = super().step(action)
        self._tell(self._steps)
        return taken

    def _tell(self, steps: int) -> None:
        keys = sorted("Control_L" if one == pygame.K_LCTRL else chr(one) for one in self.hand.held())
        status = {"seed": self.seed, "resets": self.resets, "steps": steps, "keys": keys}
        place = Path(os.environ["WATCHED"])
        place.with_suffix(".new").write_text(json.dumps(status))
        place.with_suffix(".new").replace(place)


if "WatchedPeg-v0" not in gymnasium.registry:
    gymnasium.register(
        "WatchedPeg-v0",
        WatchedPeg,
        kwargs={"width": 160, "height": 120},
        order_enforce=False,
        disable_env_checker=True,
    )
