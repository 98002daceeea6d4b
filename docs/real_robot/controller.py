"""A simulated arm controller: a process with its own clock that drives two joints and trusts nobody.

    python controller.py [PORT]

It prints the port on which it listens (by default any free one) and runs until it is killed. It sends its state every
period to the sender that it obeys, one at a time, until that sender has been silent for as long as the watchdog waits.
The controller enforces its own limits, whatever it is told and even if commands stop.
"""

from __future__ import annotations

import socket
import sys
import time

from wire import JOINTS, LONGEST, State, pack_state, read_command

PERIOD = 0.004  # s
WATCHDOG = 0.15  # s without a command, then the arm stops
FASTEST = 0.6  # rad/s
HARDEST = 8.0  # rad/s^2
REACH = ((-0.2, 1.8), (-2.6, 0.2))  # rad, of each joint


class Arm:
    """Joints that follow their target velocities as fast as the limits allow."""

    def __init__(self) -> None:
        self.positions, self.velocities = [1.0, -1.0], [0.0] * JOINTS

    def move(self, targets: tuple[float, ...]) -> None:
        """One period."""
        for joint, (target, (low, high)) in enumerate(zip(targets, REACH, strict=True)):
            wanted = min(max(target, -FASTEST), FASTEST) - self.velocities[joint]
            self.velocities[joint] += min(max(wanted, -HARDEST * PERIOD), HARDEST * PERIOD)
            ahead = self.positions[joint] + self.velocities[joint] * PERIOD
            self.positions[joint] = min(max(ahead, low), high)
            if ahead != self.positions[joint]:
                self.velocities[joint] = 0.0


def main(port: int = 0) -> None:
    """Serve for ever."""
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("127.0.0.1", port))
    link.setblocking(False)
    print(link.getsockname()[1], flush=True)
    arm, targets = Arm(), (0.0,) * JOINTS
    master, heard, number = None, 0.0, 0
    while True:
        number += 1
        now = number * PERIOD
        if now - heard > WATCHDOG:
            master, targets = None, (0.0,) * JOINTS
        while (message := _received(link)) is not None:
            command = read_command(message[0])
            if command is not None and master in (None, message[1]):
                master, targets, heard = message[1], command, now
        arm.move(targets)
        if master is not None:
            link.sendto(pack_state(State(number, now, tuple(arm.positions), tuple(arm.velocities))), master)
        time.sleep(PERIOD)


def _received(link: socket.socket) -> tuple[bytes, tuple[str, int]] | None:
    try:
        return link.recvfrom(LONGEST)
    except (BlockingIOError, ConnectionError):  # nothing there, or whom we told has gone
        return None


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
