"""How fast the tasks simulate: simulated seconds a second of one core, against another peg task where it is installed.

Control rates differ between suites, so simulated time is compared, not steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec

import gymnasium
import numpy as np

from benchmarks.speed.timing import Comparison, compare
from envs import TASKS
from envs.demonstrations import load_task

STEPS = 400
PEER = "MetaWorld/PegInsertSide-v3"
PEER_RATE = 80.0
"""Control steps of the peer in a simulated second."""


def measure() -> Iterator[Comparison]:
    """Each task under demonstrated actions; without EnvPool the peer is real time itself, one second a second."""
    theirs = _envpool() if find_spec("envpool") else None
    for name, task in TASKS.items():
        ours, seconds = _task(task)
        yield _compare(name, ours, seconds, theirs)


def _compare(
    name: str, ours: Callable[[], object], seconds: float, peer: Callable[[float], Callable[[], object]] | None
) -> Comparison:
    def rate(measured: float) -> str:
        return f"{seconds / measured:.0f} simulated seconds a second of one core"

    if peer:
        return compare(f"simulated time, {name}", f"EnvPool {PEER}", ours, peer(seconds), note=rate)
    done = compare(f"simulated time, {name}", "real time", ours, lambda: None, note=rate)
    times = 1e3 * seconds / done.ours_ms
    return replace(done, peer_ms=1e3 * seconds, ratio=times, low=times, high=times)


def _task(task: str) -> tuple[Callable[[], None], float]:
    env = gymnasium.make(task)
    _, actions = load_task(task).pairs()

    def run() -> None:
        env.reset(seed=0)
        for action in actions[:STEPS]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run, STEPS * env.unwrapped.dt  # type: ignore[attr-defined]


def _envpool() -> Callable[[float], Callable[[], object]]:
    import envpool

    env = envpool.make(PEER, env_type="gymnasium", num_envs=1, num_threads=1)
    env.reset()
    still = np.zeros((1, *env.action_space.shape), np.float32)

    def peer(seconds: float) -> Callable[[], object]:
        return lambda: [env.step(still) for _ in range(round(seconds * PEER_RATE))]

    return peer
