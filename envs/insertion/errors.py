"""Errors of an insertion environment."""

from __future__ import annotations

from typing import Any


class ActionError(ValueError):
    """The action is not 7 finite numbers, or the episode has ended."""


class SimulationUnstable(RuntimeError):
    """The simulation diverged or MuJoCo warned; the episode is void. `info` is the step's info dictionary."""

    def __init__(self, message: str, info: dict[str, Any]) -> None:
        super().__init__(message)
        self.info = info
