"""Early stopping keeps the weights that explain held-out rollouts best, and the next phase continues from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.gpril.algorithm import Gpril
from methods.gpril.early_stopping import CHECK_EVERY, EarlyStopping
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import FutureStateBatch, Replay
from tests.methods.gpril.test_gpril import SMALL, models
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

HARD = {"model_l2": 0.0, "displacement": False, "scale_actions": False}
"""Units in which the untrained models are far off, so that there is something to learn before they overfit."""


def draw_batch(replay: Replay, count: int, seed: int) -> FutureStateBatch:
    return replay.sample(count, 0.8, False, np.random.default_rng(seed))


def rows(batch: FutureStateBatch, chosen: slice) -> FutureStateBatch:
    return FutureStateBatch(*(part[chosen] for part in vars(batch).values()))


def train(
    built: PredecessorModels,
    update: Callable[[int, tuple[bool, bool]], None],
    updates: int,
    held_out: FutureStateBatch,
    patience: int,
) -> tuple[int, int]:
    """A phase of training with early stopping."""
    phase = EarlyStopping(built, held_out, patience)
    for done in range(0, updates, CHECK_EVERY):
        learning = phase.check(done)
        if not any(learning):
            break
        update(min(CHECK_EVERY, updates - done), learning)
    else:
        phase.check(updates)
    return phase.restore()


def overfit(built: PredecessorModels, replay: Replay) -> tuple[int, int]:
    """Train on 20 rows only, check on others."""
    batch = draw_batch(replay, 520, 1)
    return train(built, updating(built, lambda: rows(batch, np.s_[:20])), 300, rows(batch, np.s_[20:]), 3)


def updating(
    built: PredecessorModels, draw: Callable[[], FutureStateBatch]
) -> Callable[[int, tuple[bool, bool]], None]:
    def update(steps: int, learning: tuple[bool, bool]) -> None:
        for _ in range(steps):
            built.update(draw(), learning)

    return update


def held_out(built: PredecessorModels, replay: Replay) -> np.ndarray:
    batch = rows(draw_batch(replay, 520, 1), np.s_[20:])
    return np.array([float(part.mean()) for part in built.log_probs(batch)])


def test_each_model_stops_separately_and_keeps_its_best_weights() -> None:
    built, replay = models(**HARD)
    kept = overfit(built, replay)
    found, few = held_out(built, replay), rows(draw_batch(replay, 520, 1), np.s_[:20])
    assert 0 < kept[1] < kept[0] < 300, "both learn something first, and B^a overfits earlier"
    assert built.gradient_steps == sum(best + 3 * CHECK_EVERY for best in kept), (
        "each stopped three checks after its best"
    )

    again, _ = models(**HARD)
    seen = {}
    for update in range(kept[0] + 3 * CHECK_EVERY + 1):
        seen[update] = held_out(again, replay)
        again.update(few)
    for position, best in enumerate(kept):
        assert seen[best][position] == pytest.approx(found[position], abs=1e-6)
        assert all(seen[update][position] <= found[position] for update in range(0, best + 49, CHECK_EVERY))


def test_only_the_models_that_are_learning_are_updated() -> None:
    built, replay = models()
    before = [flow._transform.weights.detach().clone() for flow in (built.states, built.actions)]
    built.update(draw_batch(replay, 64, 0), (False, True))
    after = [flow._transform.weights for flow in (built.states, built.actions)]
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])
    assert built.gradient_steps == 1


def test_a_stopped_model_learns_again_in_the_next_phase() -> None:
    built, replay = models(**HARD)
    overfit(built, replay)
    stuck, rng = held_out(built, replay), np.random.default_rng(9)
    kept = train(
        built, updating(built, lambda: replay.sample(256, 0.8, False, rng)), 100, draw_batch(replay, 500, 5), 3
    )
    assert min(kept) > 0
    assert (held_out(built, replay) > stuck).all()


def test_patience_is_reported_and_saves_updates(tmp_path: Path) -> None:
    def steps(**changes: Any) -> tuple[int, list[dict[str, float]]]:
        settings = replace(SMALL, warm_start=0, burn_in=0, model_updates=200, initial_episodes=4, **changes)
        context = tiny_context(tmp_path, 80, 2000)
        Gpril(replace(settings, held_out_every=2)).fit(demonstrate(2, 0), context)
        return context.checkpoints[-1][1], [scalars for _, scalars in context.reports]

    every, silent = steps()
    fewer, reports = steps(model_patience=1, model_learning_rate=0.02)
    assert every == 80 + 2 * 2 * 200 > fewer
    assert not any("kept_updates_states" in scalars for scalars in silent)
    assert all(0 <= scalars["kept_updates_states"] < 200 for scalars in reports)
