"""The protocol between environment and controller: UDP datagrams of known size, with numbers in SI units."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

JOINTS = 2
_COMMAND = struct.Struct(f"<{JOINTS}d")
_STATE = struct.Struct(f"<Qd{2 * JOINTS}d")
LONGEST = 1024  # bytes; what is longer is cut, and so refused


class State(NamedTuple):
    """What the controller measures: `number` counts its messages, `time` (s) is its own clock, then rad and rad/s."""

    number: int
    time: float
    positions: tuple[float, ...]
    velocities: tuple[float, ...]


def pack_command(velocities: tuple[float, ...]) -> bytes:
    """Target joint velocities (rad/s)."""
    return _COMMAND.pack(*velocities)


def read_command(message: bytes) -> tuple[float, ...] | None:
    """The target velocities of a message, None if it is no such message."""
    values = _COMMAND.unpack(message) if len(message) == _COMMAND.size else ()
    return values if values and all(map(math.isfinite, values)) else None


def pack_state(state: State) -> bytes:
    return _STATE.pack(state.number, state.time, *state.positions, *state.velocities)


def read_state(message: bytes) -> State | None:
    """The state in a message, None if it is no such message."""
    if len(message) != _STATE.size:
        return None
    number, time, *values = _STATE.unpack(message)
    if not all(map(math.isfinite, (time, *values))):
        return None
    return State(number, time, tuple(values[:JOINTS]), tuple(values[JOINTS:]))
