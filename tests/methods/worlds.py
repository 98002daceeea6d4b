"""What tests of methods share: a context on the tiny task, and how often a policy succeeds there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from methods.conformance.context import PlainContext
from methods.interface import Budget, Policy, Task
from tests.tiny import ID, TinySlot

TINY = Task(
    id=ID,
    observation_size=3,
    action_size=2,
    action_low=np.full(2, -1.0, np.float32),
    action_high=np.full(2, 1.0, np.float32),
    horizon=TinySlot.horizon,
    dt=TinySlot.dt,
)


def tiny_context(scratch: Path, updates: int = 1, steps: int = 0, seed: int = 0, **more: Any) -> PlainContext:
    """A context for one training on the tiny task."""
    return PlainContext(Budget(steps, updates), seed, scratch, TINY, TinySlot, **more)


def success(policy: Policy, episodes: int = 60, deterministic: bool = False) -> float:
    """Share of the tiny task's episodes that a policy solves, with sampled actions unless told otherwise."""
    rng, actor = np.random.default_rng(7), policy.actor(episodes)
    worlds = [TinySlot() for _ in range(episodes)]
    states = np.array([world.reset(seed=1000 + i)[0] for i, world in enumerate(worlds)])
    actor.start(range(episodes))
    running, solved = set(range(episodes)), 0
    while running:
        actions = actor.act(states, range(episodes), deterministic, rng)
        for i in sorted(running):
            states[i], _, terminated, truncated, info = worlds[i].step(actions[i])
            if terminated or truncated:
                running.remove(i)
                solved += info["is_success"]
    return solved / episodes
