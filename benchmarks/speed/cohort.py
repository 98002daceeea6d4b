"""GPRIL's gradient steps for eight seeds as one network, against eight seeds one after another, on the device here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import gymnasium
import numpy as np
import torch

from benchmarks.context import describe_task
from benchmarks.provenance import machine
from benchmarks.speed.timing import Comparison, compare
from envs import TASKS
from envs.demonstrations import Demonstrations, load_task
from methods.check_task import CheckContext
from methods.gpril.algorithm import Training
from methods.gpril.cohort import Member
from methods.gpril.replay import Episode
from methods.gpril.settings import Settings
from methods.gpril.steps import Steps
from methods.interface import Budget

SEEDS = 8
PORTION = 16
MODEL_PORTIONS = 3
"""To one of the policy, as for the clip in appendix B."""
SETTINGS = Settings(displacement=True, scale_actions=True, clip_samples=True)


def measure(seeds: int = SEEDS, rounds: int = 5, sizes: tuple[int, ...] = (64, 128, 500)) -> Iterator[Comparison]:
    """The clip, whose observations are larger; 500-500 are the paper's networks, 128-128 the quick profile's."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else f"one core of {machine()['processor']}"
    clock = perf_counter if device == "cuda" else process_time
    demonstrations = load_task(TASKS["clip"]).subset(episodes=10)
    for units in sizes:
        settings = replace(SETTINGS, model_hidden=(units, units))
        with ExitStack() as folders:
            members = [_member(settings, demonstrations, seed, device, folders) for seed in range(seeds + 1)]
            together = _steps(members[:-1])
            alone = _steps(members[-1:]) if device == "cuda" else partial(_plainly, members[-1])
            found = compare(
                f"{seeds} seeds, {units}-{units}",
                f"one seed, {seeds} times",
                together,
                lambda: [alone() for _ in range(seeds)],  # noqa: B023
                rounds,
                clock=clock,
            )
        cost = seeds * found.ours_ms / found.peer_ms
        yield replace(found, note=f"{seeds} seeds cost {cost:.2f} times one, on {name}")


def _steps(members: list[Member]) -> Callable[[], None]:
    """So many steps of the models and of the policy of all members; on a GPU with its graphs recorded."""
    steps = Steps(members)

    def run() -> None:
        for _ in range(MODEL_PORTIONS):
            steps.do({place: member.draw_for_models(PORTION) for place, member in enumerate(members)})
        bounds = [[torch.from_numpy(bound)[None] for bound in member.replay.range()] for member in members]
        answers = steps.do(
            {place: member.draw_for_policy(PORTION, bounds[place]) for place, member in enumerate(members)}
        )
        answers[0].of()  # waits for all that was computed

    run()
    return run


def _plainly(one: Training) -> None:
    """The same steps as GPRIL takes them where a seed trains by itself, which is quicker on a processor."""
    Training.update_models(one, MODEL_PORTIONS * PORTION)
    Training.update_policy(one, PORTION)


def _member(settings: Settings, demonstrations: Demonstrations, seed: int, device: str, folders: ExitStack) -> Member:
    """A training with demonstrated episodes in its replay buffer."""
    task = TASKS["clip"]
    scratch = Path(folders.enter_context(TemporaryDirectory()))
    described = describe_task(task, demonstrations)
    context = CheckContext(Budget(0, 10**9), seed, scratch, described, lambda: gymnasium.make(task))
    context.device = device
    member = Member(settings, demonstrations, context, lambda request: None)
    assert demonstrations.actions is not None
    for episode in range(demonstrations.episodes):
        rows = np.flatnonzero(demonstrations.episode == episode)
        actions = demonstrations.actions[rows[:-1]]
        sigmas = np.full_like(actions, 0.05)
        member.replay.add(Episode(demonstrations.observations[rows], actions, actions, sigmas))
    rng = np.random.default_rng(seed)
    member.models.measure(member.replay.sample(1024, settings.gamma, settings.cross_episodes, rng))
    return member
