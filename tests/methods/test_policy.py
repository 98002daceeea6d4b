"""The shared policy as a file: what was saved comes back, and nothing else is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.demonstrations import Statistics
from methods.interface import MethodError
from methods.policy import GaussianNetwork, GaussianPolicy, PolicyShape, new_network
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

OBSERVATIONS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
SHAPE = PolicyShape(3, 2, (-1.0, -2.0), (1.0, 2.0), hidden=(8, 4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    GaussianPolicy(GaussianNetwork(SHAPE, Statistics.of(OBSERVATIONS))).save(tmp_path / "policy")
    return tmp_path / "policy"


def change(folder: Path, **fields: Any) -> None:
    """Change fields of the shape, or the digest."""
    path = folder / "policy.json"
    document = json.loads(path.read_text())
    for name, value in fields.items():
        (document if name in document else document["shape"])[name] = value
    path.write_text(json.dumps(document))


def test_a_new_network_normalises_by_all_recorded_states(tmp_path: Path) -> None:
    """Also where only final states are shown (section 4.1)."""
    recorded = demonstrate(3, 0)
    network = new_network(recorded.subset(final_only=True), tiny_context(tmp_path), (0.02, 0.3))
    states = recorded.observations.astype(np.float64)
    np.testing.assert_allclose(network.shift, states.mean(0), rtol=1e-6)
    np.testing.assert_allclose(network.scale, states.std(0), rtol=1e-6)
    assert network.shape.sigma_bounds == (0.02, 0.3)


def test_a_policy_acts_as_it_did_before_it_was_saved(tmp_path: Path) -> None:
    policy = GaussianPolicy(GaussianNetwork(SHAPE, Statistics.of(OBSERVATIONS)))
    policy.save(tmp_path)
    loaded = GaussianPolicy.load(tmp_path)
    for deterministic in (True, False):
        before, after = (p.act(OBSERVATIONS, deterministic, np.random.default_rng(1)) for p in (policy, loaded))
        assert np.array_equal(before, after)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action_high": [1.5, 2.0]}, "does not match its digest"),
        ({"sha256": "0" * 64}, "does not match its digest"),
        ({"hidden": [8, 5]}, "does not match its digest"),
        ({"hidden": [8, 4, 4]}, "does not match its digest"),
        ({"hidden": [10**9]}, "at most 8 layers of 1 to 4096 units are allowed"),
        ({"hidden": [4] * 1000}, "at most 8 layers"),
        ({"hidden": [0]}, "at most 8 layers"),
        ({"observation_size": -3}, "at most 8 layers"),
        ({"action_low": [float("nan"), -2.0]}, "each low bound must be below its high one"),
        ({"action_low": [-1.0]}, "each low bound"),
        ({"sigma_bounds": [0.1, 0.01]}, "each low bound"),
        ({"sigma_bounds": [0.0, 1.0]}, "each low bound"),
        ({"sigma_bounds": [0.1, float("inf")]}, "each low bound"),
        ({"shape": "[" * 100_000}, "not a saved policy"),
        ({"shape": {}}, "not a saved policy"),
    ],
)
def test_a_changed_description_is_refused_in_one_line(folder: Path, fields: dict[str, Any], said: str) -> None:
    change(folder, **fields)
    with pytest.raises(MethodError, match=said) as refused:
        GaussianPolicy.load(folder)
    assert str(folder) in str(refused.value) and len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.0])
def test_changed_weights_are_refused(folder: Path, value: float) -> None:
    with np.load(folder / "policy.npz") as file:
        arrays = dict(file)
    arrays["mean.weight"][0, 0] = value
    np.savez(folder / "policy.npz", **arrays)
    with pytest.raises(MethodError, match="does not match its digest"):
        GaussianPolicy.load(folder)


def test_a_policy_with_weights_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    network = GaussianNetwork(SHAPE, Statistics.of(OBSERVATIONS))
    network.mean.weight.data[0, 0] = np.inf
    GaussianPolicy(network).save(tmp_path)
    with pytest.raises(MethodError, match="numbers that are not finite"):
        GaussianPolicy.load(tmp_path)


def test_nested_beyond_reason_is_refused(folder: Path) -> None:
    (folder / "policy.json").write_text("[" * 200_000)
    with pytest.raises(MethodError, match="not a saved policy"):
        GaussianPolicy.load(folder)
