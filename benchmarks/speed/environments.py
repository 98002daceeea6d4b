"""Simulation speed of the tasks: simulated seconds per second, compared with another peg task if it is installed.

Control rates differ between suites, so simulated time is compared, not steps. The extra `[peers]` installs the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import cycle, islice
from time import perf_counter, process_time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from benchmarks.speed.timing import Comparison, compare
from envs import PAPER_TASKS
from envs.demonstrations import load_task

MANY = 64
"""Environments stepped together."""
SECONDS = 64.0
"""Simulated in a measurement, summed over the environments."""
PEER = "MetaWorld/PegInsertSide-v3"
PEER_RATE = 80.0
"""Control steps of the peer in a simulated second."""


def measure(rounds: int = 9) -> Iterator[Comparison]:
    """Each task under demonstrated actions, reset where episodes end: one environment, many, on two threads.

    By the processor time of one core; threads by the wall clock, against one thread too. EnvPool has as many
    environments and threads as ours, and rests; without it, the peer is real time itself.
    """
    wall = f"wall-clock, {os.cpu_count()} cores"
    for name, task in PAPER_TASKS.items():
        yield _against_peer(f"one environment, {name}", _one(task), 1, 1, rounds)
        one, two = _many(task, 1), _many(task, 2)
        yield _against_peer(f"{MANY} environments, {name}", one, MANY, 1, rounds)
        threaded = f"{MANY} environments on two threads, {name}"
        yield _against_peer(threaded, two, MANY, 2, rounds, perf_counter, f"second, {wall}")
        yield compare(threaded, "the same on one", two, one, 3 * rounds, note=lambda _: wall, clock=perf_counter)


def _against_peer(
    name: str,
    ours: Callable[[], object],
    count: int,
    threads: int,
    rounds: int,
    clock: Callable[[], float] = process_time,
    unit: str = "second of one core",
) -> Comparison:
    def rate(measured: float) -> str:
        return f"{SECONDS / measured:.0f} simulated seconds a {unit}"

    if find_spec("envpool"):
        return compare(name, f"EnvPool {PEER}", ours, _envpool(count, threads), rounds, note=rate, clock=clock)
    done = compare(name, "real time", ours, lambda: None, rounds, note=rate, clock=clock)
    times = 1e3 * SECONDS / done.ours_ms
    return replace(done, peer_ms=1e3 * SECONDS, ratio=times, low=times, high=times)


def _one(task: str) -> Callable[[], None]:
    env = gymnasium.make(task)
    env.reset(seed=0)
    _, actions = load_task(task).pairs()
    endless = cycle(actions)

    def run() -> None:
        for action in islice(endless, _steps(env)):
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return run


def _many(task: str, threads: int) -> Callable[[], object]:
    env: Any = load_env_creator(str(gymnasium.spec(task).vector_entry_point))(num_envs=MANY, threads=threads)
    env.reset(seed=0)
    _, actions = load_task(task).pairs()
    each = len(actions) // MANY
    endless = cycle(actions[: MANY * each].reshape(MANY, each, -1).swapaxes(0, 1))
    steps = _steps(env.vector.environments[0]) // MANY
    return lambda: [env.step(together) for together in islice(endless, steps)]


def _steps(env: gymnasium.Env) -> int:
    return round(SECONDS / env.unwrapped.dt)  # type: ignore[attr-defined]


def _envpool(count: int, threads: int) -> Callable[[], object]:
    import envpool

    env = envpool.make(PEER, env_type="gymnasium", num_envs=count, num_threads=threads)
    env.reset()
    rest = np.zeros((count, *env.action_space.shape), np.float32)
    return lambda: [env.step(rest) for _ in range(round(SECONDS * PEER_RATE / count))]
