"""Behavioural cloning reaches the likelihood that the data allow, chooses its regularisation, and learns a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.demonstrations import Demonstrations
from methods.bc import BehaviouralCloning, Pairs, Settings, clone
from methods.interface import MethodError, Stopped
from methods.policy import new_network
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

SIGMA = 0.05
FAST = {"learning_rate": 1e-3, "l2": 0.0}


def linear(episodes: int, noise_seed: int) -> Demonstrations:
    """Episodes of 20 steps whose actions are linear in the observation, with Gaussian noise."""
    rng = np.random.default_rng(noise_seed)
    rows = episodes * 21
    observations = rng.normal(0.0, 1.0, (rows, 3)).astype(np.float32)
    weights = np.array([[0.3, -0.1], [0.0, 0.2], [0.1, 0.1]])
    actions = (observations @ weights + rng.normal(0.0, SIGMA, (rows, 2))).astype(np.float32)
    time_step = np.tile(np.arange(21, dtype=np.int32), episodes)
    terminal = time_step == 20
    actions[terminal] = 0.0
    episode = np.repeat(np.arange(episodes, dtype=np.int32), 21)
    return Demonstrations(observations, actions, episode, time_step, terminal, dt=0.1, task="linear", origin={})


def test_it_reaches_the_likelihood_of_the_true_gaussian(tmp_path: Path) -> None:
    method = BehaviouralCloning(Settings(**FAST))
    network = method.fit(linear(150, 0), tiny_context(tmp_path, updates=800)).network
    truth = -2 * (0.5 * np.log(2 * np.pi * np.e) + np.log(SIGMA))
    assert truth - 0.15 < Pairs.of(linear(50, 1), "cpu").log_likelihood(network) < truth + 0.05
    _, sigma = network(torch.zeros(1, 3))
    torch.testing.assert_close(sigma, torch.full((1, 2), SIGMA), rtol=0.2, atol=0)


def test_an_update_is_adam_with_coupled_weight_decay(tmp_path: Path) -> None:
    demonstrations, context = linear(2, 0), tiny_context(tmp_path)
    pairs = Pairs.of(demonstrations, "cpu")
    ours, reference = new_network(demonstrations, context), new_network(demonstrations, context)
    options = {"learning_rate": 1e-3, "l2": 0.03, "batch_size": 256, "scratch": tmp_path}
    clone(ours, pairs, 5, rng=np.random.default_rng(3), **options)
    rng = np.random.default_rng(3)
    rng.integers(40, size=256)  # imitation looks at a first batch to learn its type
    optimizer = torch.optim.Adam(reference.parameters(), lr=1e-3, weight_decay=0.03)
    for _ in range(5):
        rows = rng.integers(40, size=256)
        loss = -reference.log_prob(pairs.observations[rows], pairs.actions[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_regularisation_is_chosen_where_it_is_needed(tmp_path: Path) -> None:
    settings = Settings(learning_rate=1e-3, l2_grid=(0.0, 1.0, 300.0))
    for episodes, best in ((3, 1.0), (60, 0.0)):  # 60 and 1200 pairs for 62 000 weights
        context = tiny_context(tmp_path, updates=200)
        BehaviouralCloning(settings).fit(linear(episodes, 0), context)
        assert [scalars["chosen_l2"] for _, scalars in context.reports if "chosen_l2" in scalars] == [best]
        assert context.checkpoints[-1] == (1.0, 4 * 200)


def test_progress_advances_while_the_regularisation_is_chosen(tmp_path: Path) -> None:
    """And the policy shown meanwhile is the best candidate so far."""
    shown: list[float] = []
    pairs = Pairs.of(linear(10, 0), "cpu")
    context = tiny_context(
        tmp_path,
        updates=100,
        watch=lambda policy: shown.append(pairs.log_likelihood(policy.network)),  # type: ignore[attr-defined]
    )
    BehaviouralCloning(Settings(learning_rate=1e-3, l2_grid=(0.0, 300.0, 1e-3))).fit(linear(10, 0), context)
    assert [progress for progress, _ in context.checkpoints] == [0.25, 0.5, 0.75, 1.0]
    assert shown[0] == shown[1] == shown[2]  # 300 is far too much, and the third candidate was being trained


def test_terminal_rows_are_not_learnt_from(tmp_path: Path) -> None:
    demonstrations = linear(3, 0)
    moved = demonstrations.observations.copy()
    moved[demonstrations.terminal] = 1e6
    assert len(Pairs.of(demonstrations, "cpu").actions) == 60
    assert Pairs.of(replace(demonstrations, observations=moved), "cpu").observations.max() < 1e6


def test_more_demonstrations_solve_the_tiny_task_and_one_does_not(tmp_path: Path) -> None:
    def learn(episodes: int, updates: int) -> float:
        context = tiny_context(tmp_path, updates=updates)
        return success(BehaviouralCloning(Settings(**FAST)).fit(demonstrate(episodes, seed=1), context))

    untrained, one, ten = learn(10, 1), learn(1, 300), learn(10, 300)
    assert untrained < 0.1 and one < 0.6 and ten > 0.9


def test_two_trainings_are_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    def weights(seed: int) -> torch.Tensor:
        context = tiny_context(tmp_path, updates=20, seed=seed)
        torch.rand(1)  # somebody else used the global generator
        return BehaviouralCloning(Settings(l2=1e-3)).fit(demonstrate(2, seed=1), context).network.mean.weight

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_suite_can_stop_it(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, updates=10_000)

    def stop(*_: object) -> None:
        raise Stopped

    context.checkpoint = stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        BehaviouralCloning(Settings(l2=0.0)).fit(demonstrate(1, seed=1), context)


@pytest.mark.parametrize(
    ("subset", "message"),
    [({"states_alone": True}, "only states"), ({"final_only": True}, "only states")],
)
def test_demonstrations_without_pairs_are_refused(subset: dict[str, bool], message: str, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=message):
        BehaviouralCloning().fit(demonstrate(2, seed=1).subset(**subset), tiny_context(tmp_path))
