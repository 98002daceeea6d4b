"""What a snapshot takes at the paper's sizes: printed, and bounded in bytes but not by the clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.records.schema import BudgetChoice, DemonstrationChoice, Evaluation, Trial
from benchmarks.trial.checkpoints import STATE, Snapshots
from benchmarks.trial.context import TrialContext
from envs.demonstrations import load_task
from methods import registry
from methods.gail import algorithm as gail
from methods.gpril import algorithm
from methods.gpril.replay import Episode
from methods.gpril.settings import Settings

pytestmark = pytest.mark.reliability
TASK = "ClipInsertion-v0"
PERIOD = 300.0
"""The command line's default."""
REPEATS = 5


class Enough(Exception):
    """Of the training."""


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_context(folder: Path, method: str) -> TrialContext:
    demonstrations = load_task(TASK).subset(episodes=10)
    trial = Trial(
        method=method,
        settings={},
        task=TASK,
        demonstrations=DemonstrationChoice(source="shipped", digest=demonstrations.digest, episodes=10),
        seed=0,
        budget=BudgetChoice(environment_steps=100_000, policy_updates=1000),
        evaluation=Evaluation(rollouts=1),
    )
    snapshots = Snapshots(folder / "snapshots", 0.0, trial, "", [].append)  # every checkpoint saves one
    return TrialContext(trial, demonstrations, folder, [].append, snapshots)


def measure(folder: Path, context: TrialContext, checkpoint: Callable[[], None]) -> float:
    """Print what a checkpoint with a snapshot takes; returns its size in MiB."""
    taken = []
    for _ in range(REPEATS):
        begun = perf_counter()
        checkpoint()
        taken.append(perf_counter() - begun)
    size = (folder / "snapshots" / STATE).stat().st_size / 2**20
    begun = perf_counter()
    assert context._snapshots.load() is not None
    read = perf_counter() - begun
    median = float(np.median(taken))
    print(
        f"\n{context.task.id}: {size:.1f} MiB; {1e3 * median:.0f} ms [{1e3 * min(taken):.0f}, {1e3 * max(taken):.0f}] "
        f"to keep, {1e3 * read:.0f} ms to read; {median / PERIOD:.3%} of the time at one in {PERIOD:.0f} s"
    )
    return size


def test_gpril_with_full_replay_buffers(tmp_path: Path) -> None:
    """Two flows of 500-500 with Adam's moments, the policy with its own, and two buffers of 50,000 rows."""
    context = new_context(tmp_path, "gpril")
    training = algorithm.Training(Settings(), load_task(TASK).subset(episodes=10), context)
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes = ((501, 28), (500, 7), (500, 7), (500, 7))
        episode = Episode(*(rng.standard_normal(size, dtype=np.float32) for size in sizes))
        training.replay.add(episode)
        training.held_out.add(episode)
    assert 20 < measure(tmp_path, context, lambda: context.checkpoint(training.policy, 0.1, 1, training._state)) < 60


def test_gail_after_an_iteration(tmp_path: Path) -> None:
    """16 simulations in the middle of their episodes, three networks and their optimisers."""
    context = new_context(tmp_path, "gail")
    checkpoint, sizes = context.checkpoint, []

    def stop(*arguments: Any) -> None:
        sizes.append(measure(tmp_path, context, lambda: checkpoint(*arguments)))
        raise Enough

    context.checkpoint = stop  # type: ignore[method-assign]
    with pytest.raises(Enough):
        registry.resolve("gail")(gail.Settings()).fit(load_task(TASK).subset(episodes=10), context)
    assert 0.5 < sizes[0] < 20
