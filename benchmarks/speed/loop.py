"""A slice of GPRIL's loop with our flows and with plain nflows: model updates, samples, policy updates, rollouts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import gymnasium

from benchmarks.speed.plain import PlainTraining
from benchmarks.speed.timing import Comparison, compare
from benchmarks.trial.environments import make_group
from envs import PAPER_TASKS
from envs.demonstrations import Demonstrations, load_task
from methods.conformance.context import PlainContext
from methods.gpril.algorithm import Gpril, Training
from methods.gpril.settings import Settings
from methods.interface import Budget
from methods.task_boundary import describe_task

SLICE = Settings(initial_episodes=2, burn_in=0, warm_start=0, held_out_every=0)
"""The paper's networks and batches."""

MODEL_UPDATES, POLICY_UPDATES = 240, 80
"""Of a slice, to one episode. Three to one, as for the clip in appendix B; the `paper` profile has 750 updates of the
policy to an episode, but such a slice would take nine times as long."""

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
"""The quick profile's iteration; the policy rests, so that overlap changes no rollout."""

OVERLAPPED_BUDGET = Budget(environment_steps=20_000, policy_updates=4 * OVERLAPPED.policy_updates)


def measure() -> Iterator[Comparison]:
    """Both tasks, at the paper's sizes (500-500) and at the quick profile's (128-128); and overlapping rollouts."""
    for name, task in PAPER_TASKS.items():
        for units in (500, 128):
            settings = replace(SLICE, model_hidden=(units, units))
            ours = _slice(Training, settings, task)
            for peer, theirs in (
                ("algorithm 1 on plain nflows, batch by batch", _slice(PlainTraining, settings, task)),
                ("our loop with nflows' flows", _slice(Training, replace(settings, flow="nflows"), task)),
            ):
                yield compare(f"GPRIL's loop, {name}, {units}-{units}", peer, ours, theirs, rounds=3)
        yield compare(
            f"overlapping rollouts, {name}",
            "training and rollouts in turn",
            partial(_train, OVERLAPPED, task),
            partial(_train, replace(OVERLAPPED, overlap=False), task),
            rounds=3,
            note=lambda _: f"wall-clock, {os.cpu_count()} cores",
            clock=perf_counter,
        )


def _slice(kind: type[Training], settings: Settings, task: str) -> Callable[[], None]:
    """A slice of an iteration: an episode, updates of the models, updates of the policy."""
    demonstrations, context = _given(task, Budget(environment_steps=10**9, policy_updates=10**9))
    training, group = kind(settings, demonstrations, context), context.make_env_group(settings.initial_episodes)
    training.collect_initial(group)

    def run() -> None:
        training._add(training._rollouts(group, training.network, 1))
        training.update_models(MODEL_UPDATES)
        training.update_policy(POLICY_UPDATES)

    return run


def _train(settings: Settings, task: str) -> None:
    """A whole training."""
    demonstrations, context = _given(task, OVERLAPPED_BUDGET)
    Gpril(settings).fit(demonstrations, context)


def _given(task: str, budget: Budget) -> tuple[Demonstrations, PlainContext]:
    demonstrations = load_task(task).subset(episodes=5)
    described = describe_task(task, demonstrations)
    make, group = partial(gymnasium.make, task), partial(make_group, described)
    context = PlainContext(budget, 0, Path("not needed"), described, make, group=group)
    return demonstrations, context
