"""A slice of GPRIL's loop with our flows and with plain nflows: model updates, samples, policy updates, roll-outs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import gymnasium

from benchmarks.context import describe_task
from benchmarks.counting import CountedGroup, Counter
from benchmarks.environments import make_group
from benchmarks.speed.timing import Comparison, compare
from envs import WITH_ACTIONS
from envs.demonstrations import load_task
from methods.check_task import CheckContext
from methods.gpril.algorithm import Gpril
from methods.gpril.settings import Settings
from methods.interface import Budget, EnvGroup

SLICE = Settings(
    initial_episodes=2,
    episodes_per_iteration=1,
    model_updates=240,
    policy_updates=80,
    burn_in=0,
    warm_start=0,
    held_out_every=0,
)
"""The paper's networks and batches; three model updates to one of the policy, as for the clip in appendix B, and 80 to
an episode, where the `paper` profile has 750: a slice that long would take an hour on plain nflows."""

BUDGET = Budget(environment_steps=2_500, policy_updates=80)

OVERLAPPED = replace(
    SLICE,
    initial_episodes=1,
    episodes_per_iteration=10,
    model_updates=128,
    policy_updates=64,
    model_hidden=(128, 128),
    policy_learning_rate=1e-9,
    overlap=True,
)
"""The quick profile's iteration; the policy rests, so that overlap changes no roll-out."""

OVERLAPPED_BUDGET = Budget(environment_steps=20_000, policy_updates=4 * OVERLAPPED.policy_updates)


def measure() -> Iterator[Comparison]:
    """Both tasks, at the paper's sizes (500-500) and at the quick profile's (128-128); and overlapping roll-outs."""
    for name, task in WITH_ACTIONS.items():
        for units in (500, 128):
            yield compare(
                f"GPRIL's loop, {name}, {units}-{units}",
                "the loop on plain nflows",
                partial(_run, task, replace(SLICE, model_hidden=(units, units))),
                partial(_run, task, replace(SLICE, model_hidden=(units, units), flow="nflows")),
                rounds=3,
            )
        yield compare(
            f"overlapping roll-outs, {name}",
            "training and roll-outs in turn",
            partial(_run, task, OVERLAPPED, OVERLAPPED_BUDGET),
            partial(_run, task, replace(OVERLAPPED, overlap=False), OVERLAPPED_BUDGET),
            rounds=3,
            note=lambda _: f"wall-clock, {os.cpu_count()} cores",
            clock=perf_counter,
        )


def _run(task: str, settings: Settings, budget: Budget = BUDGET) -> None:
    demonstrations = load_task(task).subset(episodes=5)
    with TemporaryDirectory() as scratch:
        described = describe_task(task, demonstrations)
        context = _Context(budget, 0, Path(scratch), described, lambda: gymnasium.make(task))
        Gpril(settings).fit(demonstrations, context)


class _Context(CheckContext):
    """Steps environments as a trial does, many at once."""

    def make_env_group(self, count: int) -> EnvGroup:
        self._counter = Counter(self.budget.environment_steps)
        return CountedGroup(make_group(self.task, count), self._counter)

    @property
    def environment_steps(self) -> int:
        return self._counter.steps
