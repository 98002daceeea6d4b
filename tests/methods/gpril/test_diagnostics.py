"""Diagnostics of GPRIL: each number means what its docstring says, and reporting changes no training."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.gpril import algorithm, diagnostics
from methods.gpril.algorithm import Gpril
from methods.gpril.diagnostics import gradient_diagnostics, model_diagnostics, outside_fraction
from methods.gpril.settings import Settings
from tests.methods.worlds import TINY, tiny_context
from tests.tiny import demonstrate

SHORT = Settings(
    gamma=0.8,
    model_updates=3,
    policy_updates=4,
    burn_in=3,
    model_hidden=(8, 8),
    initial_episodes=11,
    episodes_per_iteration=1,
    warm_start=2,
)


def reports(folder: Path, settings: Settings = SHORT) -> list[dict[str, float]]:
    context = tiny_context(folder, updates=10, steps=5000)
    Gpril(settings).fit(demonstrate(2, 0), context)
    return [scalars for _, scalars in context.reports]


def test_samples_like_the_data_are_inside_and_distant_ones_outside() -> None:
    generator = torch.Generator().manual_seed(0)
    replayed, held_out, sampled = (torch.randn(n, 4, generator=generator) for n in (4000, 2000, 2000))
    assert outside_fraction(sampled, replayed, held_out) == pytest.approx(0.01, abs=0.01)
    assert outside_fraction(2.0 * sampled, replayed, held_out) > 0.3
    assert outside_fraction(sampled + 9.0, replayed, held_out) == 1.0
    assert outside_fraction(replayed[:100], replayed, held_out) == 0.0
    assert outside_fraction(*(1e3 * part for part in (2.0 * sampled, replayed, held_out))) > 0.3, "of any scale"


def test_gradients_are_summarised_by_median_norm_and_fraction_clipped() -> None:
    measured = gradient_diagnostics({"states": [1.0, 50.0, 200.0, 300.0, 400.0], "actions": [1.0, 2.0, 9.0]}, 100.0)
    assert measured == {
        "gradient_norm_states": 200.0,
        "clipped_share_states": 0.6,
        "gradient_norm_actions": 2.0,
        "clipped_share_actions": 0.0,
    }
    assert gradient_diagnostics({"policy": [3.0]}) == {"gradient_norm_policy": 3.0}
    assert gradient_diagnostics({"states": []}, 1.0) == {}


def test_the_two_models_are_clipped_separately(tmp_path: Path) -> None:
    """Each iteration reports its own updates: with a clip between both models' norms only one is clipped."""
    free = reports(tmp_path)
    norms = {name: [scalars[f"gradient_norm_{name}"] for scalars in free] for name in ("states", "actions", "policy")}
    assert min(norms["states"]) > max(norms["actions"]) > 0.0 and min(norms["policy"]) > 0.0
    clip = (min(norms["states"]) + max(norms["actions"])) / 2
    first = reports(tmp_path, replace(SHORT, gradient_clip=clip))[0]
    assert first["clipped_share_states"] > 0.5 > first["clipped_share_actions"]


def test_the_tasks_kinematic_error_is_reported_for_sampled_and_real_states(tmp_path: Path) -> None:
    assert not any(name.startswith("kinematic") for name in reports(tmp_path)[0]), "the tiny task defines none"
    context = tiny_context(tmp_path, updates=10, steps=5000)
    seen: list[np.ndarray] = []

    def error(observations: np.ndarray) -> np.ndarray:
        seen.append(observations)
        return np.full(len(observations), float(len(seen)))

    context.task = replace(TINY, kinematic_error=error)
    Gpril(SHORT).fit(demonstrate(2, 0), context)
    first = context.reports[0][1]
    assert (first["kinematic_error_sampled"], first["kinematic_error_replay"]) == (1.0, 2.0)
    sampled, replayed = seen[:2]
    assert sampled.shape == replayed.shape == (diagnostics.SAMPLES, 3)
    slots = {round(float(slot), 5) for slot in replayed[:, 2]}
    assert len(slots) <= SHORT.initial_episodes < len(set(sampled[:, 2].tolist())), "the first are sampled from B^s"


def test_without_held_out_rollouts_their_diagnostics_are_left_out(tmp_path: Path) -> None:
    with_them, without = reports(tmp_path)[0], reports(tmp_path, replace(SHORT, held_out_every=0))[0]
    missing = {"log_states_held_out", "log_actions_held_out", "information_held_out", "outside_share"}
    assert set(with_them) - set(without) == missing


def test_every_diagnostic_is_documented(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, updates=10, steps=5000)
    context.task = replace(TINY, kinematic_error=lambda observations: observations[:, 0])
    Gpril(SHORT).fit(demonstrate(2, 0), context)
    words = (diagnostics.__doc__ or "").replace(",", " ").split()
    for name in context.reports[0][1]:
        assert any(fnmatch(name, word) for word in words if "_" in word), name


def test_diagnostics_change_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def weights() -> list[np.ndarray]:
        policy = Gpril(SHORT).fit(demonstrate(2, 0), tiny_context(tmp_path, updates=10, steps=5000))
        return [tensor.numpy() for tensor in policy.network.state_dict().values()]

    def counted(*arguments: object) -> dict[str, float]:
        calls.append(1)
        return model_diagnostics(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(algorithm, "model_diagnostics", counted)
    watched = weights()
    monkeypatch.setattr(algorithm, "model_diagnostics", lambda *_: {})
    assert len(calls) == 2 and all(map(np.array_equal, watched, weights()))
