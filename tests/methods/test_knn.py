"""Nearest neighbours: weights by hand, distances in demonstrated units, and what the neighbours teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from methods.interface import MethodError
from methods.knn import Knn, Settings, neighbour_weights
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

DEMONSTRATIONS = demonstrate(5, seed=1)
OBSERVATIONS, ACTIONS = DEMONSTRATIONS.pairs()


def test_weights_fall_exponentially_with_distance() -> None:
    weights = neighbour_weights(np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), temperature=0.5)  # mean distance 2: tau 1
    by_hand = np.exp([-1.0, -2.0, -3.0])
    np.testing.assert_allclose(weights, [by_hand / by_hand.sum(), [1 / 3] * 3])


def test_one_neighbour_replays_the_demonstrations(tmp_path: Path) -> None:
    policy = Knn(Settings(neighbours=1)).fit(DEMONSTRATIONS, tiny_context(tmp_path))
    for deterministic in (True, False):
        actions = policy.act(OBSERVATIONS, deterministic, np.random.default_rng(0))
        np.testing.assert_array_equal(actions, ACTIONS)


def test_sampled_actions_are_those_of_neighbours_as_often_as_these_weigh(tmp_path: Path) -> None:
    policy = Knn(Settings(neighbours=3, temperature=1.0)).fit(DEMONSTRATIONS, tiny_context(tmp_path))
    here = (OBSERVATIONS[7] + 0.01).astype(np.float32)
    scaled = (OBSERVATIONS - here) / DEMONSTRATIONS.observations.std(axis=0)
    distances = np.linalg.norm(scaled, axis=1)
    nearest = np.argsort(distances)[:3]
    weights = neighbour_weights(distances[None, nearest], 1.0)[0]
    sampled = policy.act(np.tile(here, (20_000, 1)), False, np.random.default_rng(0))
    found = [np.isclose(sampled, ACTIONS[row]).all(axis=1).mean() for row in nearest]
    np.testing.assert_allclose(found, weights, atol=0.02)
    mean = policy.act(here[None], True, np.random.default_rng(0))[0]
    np.testing.assert_allclose(mean, weights @ ACTIONS[nearest], atol=1e-5)


def test_more_neighbours_than_states_are_all_of_them(tmp_path: Path) -> None:
    policy = Knn(Settings(neighbours=10_000)).fit(DEMONSTRATIONS, tiny_context(tmp_path))
    assert np.isfinite(policy.act(OBSERVATIONS, True, np.random.default_rng(0))).all()


def test_more_demonstrations_teach_more(tmp_path: Path) -> None:
    one, many = (success(Knn().fit(demonstrate(n, seed=1), tiny_context(tmp_path))) for n in (1, 50))
    assert one < 0.5 < 0.8 < many


def test_states_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="states only"):
        Knn().fit(replace(DEMONSTRATIONS, actions=None), tiny_context(tmp_path))
