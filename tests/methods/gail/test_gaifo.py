"""GAIfO learns from states alone, on a point that must find a place on a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from methods.gail.gaifo import Gaifo
from tests.methods.off_policy.test_off_policy import demonstrate, success_after

SETTINGS: dict[str, Any] = {
    "processes": 8,
    "batch_size": 64,
    "actor_steps": 1,
    "gamma": 0.95,
    "kl": 0.03,
    "discriminator_steps": 20,
    "discriminator_batch": 256,
    "discriminator_learning_rate": 1e-3,
    "entropy": 0.01,
    "critic_passes": 10,
    "critic_batch": 256,
    "critic_learning_rate": 1e-3,
    "sigma_bounds": (0.05, 0.3),
    "terminal": "absorbing",
    "fisher_every": 1,
}


@pytest.mark.science
def test_gaifo_learns_from_states_alone(tmp_path: Path) -> None:
    alone = replace(demonstrate(), actions=None)
    assert success_after(tmp_path, Gaifo, 24_576, alone, SETTINGS) > 0.5
    assert success_after(tmp_path, Gaifo, 512, alone, SETTINGS) < 0.3
