"""A training that is stopped and resumed from its snapshot ends with the same bits as an uninterrupted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods import bc, registry, warm_start
from methods.conformance.context import PlainContext
from methods.gpril import algorithm as gpril
from methods.interface import Policy, Stopped, make_settings
from tests import tiny
from tests.methods.worlds import tiny_context

DEMONSTRATIONS = tiny.demonstrate(episodes=4, seed=0)
GPRIL = {
    "initial_episodes": 3,
    "episodes_per_iteration": 2,
    "model_updates": 4,
    "policy_updates": 6,
    "burn_in": 10,
    "model_hidden": [16, 16],
    "batch_size": 16,
    "held_out_every": 3,
    "replay_size": 250,
}
GAIL = {
    "processes": 3,
    "batch_size": 50,
    "actor_steps": 2,
    "discriminator_batch": 32,
    "critic_batch": 64,
    "discriminator_hidden": [8],
    "critic_hidden": [8],
}
"""An iteration is shorter than an episode, so each of them ends in the middle of some."""
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpril": ("gpril", GPRIL),
    "gpril, every departure": (
        "gpril",
        GPRIL
        | {
            "warm_start": 12,
            "reset_sigma": 0.05,
            "displacement": True,
            "scale_actions": True,
            "clip_samples": True,
            "policy_decay": True,
            "control": "shuffled",
            "model_patience": 2,
            "exploration": 0.2,
        },
    ),
    "gpril, every reading": (
        "gpril",
        GPRIL
        | {
            "burn_in_collects": True,
            "batch_reduction": "sum",
            "initial_targets": False,
            "sigma_bounds": [0.02, 0.2],
            "residual_actions": True,
            "held_out_every": 0,
        },
    ),
    "gpril, plain nflows": (
        "gpril",
        GPRIL | {"flow": "nflows", "control": "self", "cross_episodes": False, "overlap": True},
    ),
    "gpril, cloning alone": ("gpril", {"beta_d": 0.0, "policy_updates": 6}),
    "bc, L2 chosen": ("bc", {"l2_grid": [1e-3, 1e-1], "decay": True}),
    "bc": ("bc", {"l2": 0.0}),
    "gail": ("gail", GAIL),
    "gail, every departure": (
        "gail",
        GAIL
        | {
            "warm_start": 20,
            "warm_start_sigma": 0.05,
            "gradient_penalty": 1.0,
            "terminal": "absorbing",
            "use_actions": False,
        },
    ),
    "gail, chained episodes": ("gail", GAIL | {"terminal": "chain"}),
    "gaifo": ("gaifo", GAIL | {"terminal": "absorbing"}),
    "airl": ("airl", GAIL),
    "airl, every departure": (
        "airl",
        GAIL
        | {
            "warm_start": 20,
            "warm_start_sigma": 0.05,
            "gradient_penalty": 1.0,
            "discriminator_steps": 3,
            "compress": 2.0,
            "scale_rewards": True,
            "use_actions": False,
            "policy_entropy": 0.1,
        },
    ),
}


def train(
    folder: Path, name: str, stop_at: int = 0, after: PlainContext | None = None
) -> tuple[Policy | None, PlainContext]:
    method, values = TRAININGS[name]
    context = tiny_context(folder, updates=30, steps=1000, stop_at=stop_at, after=after)
    chosen = registry.resolve(method)
    try:
        return chosen(make_settings(chosen, values)).fit(DEMONSTRATIONS, context), context
    except Stopped:
        return None, context


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints inside phases, although these are short."""
    monkeypatch.setattr(bc, "CHECKPOINT_EVERY", 10)
    monkeypatch.setattr(warm_start, "CHECKPOINT_EVERY", 10)
    monkeypatch.setattr(gpril, "BATCHES_AT_ONCE", 2)
    monkeypatch.setattr(gpril, "CHECK_EVERY", 2)
    monkeypatch.setattr(gpril, "CLONED_AT_ONCE", 2)
    monkeypatch.setattr(gpril, "WIDTH", 2)


@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path: Path, name: str) -> None:
    whole, straight = train(tmp_path, name)
    assert whole is not None and len(straight.offers) == len(straight.checkpoints) >= 3
    moments = np.random.default_rng(0).permutation(np.arange(1, len(straight.offers) + 1))[:3]
    for moment in moments:
        nothing, interrupted = train(tmp_path, name, stop_at=int(moment))
        assert nothing is None
        policy, context = train(tmp_path, name, after=interrupted)
        assert policy is not None
        assert context.reports == straight.reports
        assert context.checkpoints == straight.checkpoints
        assert context.counts == straight.counts
        for deterministic in (True, False):
            ours, theirs = (
                p.act(DEMONSTRATIONS.observations, deterministic, np.random.default_rng(3)) for p in (policy, whole)
            )
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [name for name in TRAININGS if ", " in name and "bc" not in name])
def test_a_training_can_be_interrupted_at_every_checkpoint(tmp_path: Path, name: str) -> None:
    whole, straight = train(tmp_path, name)
    context: PlainContext | None = None
    policy: Policy | None = None
    for _ in range(len(straight.offers) + 1):
        policy, context = train(tmp_path, name, stop_at=1, after=context)
    assert policy is not None and whole is not None and context is not None
    assert context.reports == straight.reports and context.checkpoints == straight.checkpoints
    ours, theirs = (p.act(DEMONSTRATIONS.observations, True, np.random.default_rng(3)) for p in (policy, whole))
    np.testing.assert_array_equal(ours, theirs)
