"""SAIL: estimates against exact gradients of the log stationary distribution, rollouts, and learning on a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from envs.demonstrations import Demonstrations
from methods.conformance.context import PlainContext
from methods.env_group import SingleEnvs, roll_out
from methods.interface import Budget, MethodError, make_settings
from methods.policy import GaussianNetwork, PolicyShape
from methods.sail import Sail, _Explorer, _RandomEnds, gradient_weights, step_weights
from tests.methods.off_policy.test_off_policy import LINE, Line, demonstrate

STATES, ACTIONS = 5, 3


def stationary(logits: torch.Tensor, dynamics: torch.Tensor) -> torch.Tensor:
    """Stationary distribution [S] of a softmax policy with logits [S, A] under dynamics [S, A, S]."""
    chain = torch.einsum("sa,sat->st", torch.softmax(logits, dim=1), dynamics)
    ones = torch.ones(STATES, STATES, dtype=torch.float64)
    system = torch.eye(STATES, dtype=torch.float64) - chain.T + ones
    return torch.linalg.solve(system, torch.ones(STATES, dtype=torch.float64))


def estimates(logits: torch.Tensor, dynamics: torch.Tensor, gamma: float) -> np.ndarray:
    """The gradient at each state, [S, S * A], by step_weights with every transition counted by its probability."""
    policy, density = torch.softmax(logits, dim=1).numpy(), stationary(logits, dynamics).numpy()
    s, a, after = (index.ravel() for index in np.indices((STATES, ACTIONS, STATES)))
    probability = density[s] * policy[s, a] * dynamics.numpy()[s, a, after]
    features = (np.eye(STATES) - density)[:, :-1]  # the last one is minus the sum of the others
    scores = np.zeros((len(s), STATES, ACTIONS))
    scores[np.arange(len(s)), s] = np.eye(ACTIONS)[a] - policy[s]
    # A mean over rows that are scaled by this root is an expectation over transitions.
    root = np.sqrt(probability * len(s))[:, None]
    weights = step_weights(root * features[s], root * features[after], features.T, gamma, 1e-12)
    return (root * weights).T @ scores.reshape(len(s), -1) / len(s)


@pytest.mark.parametrize("seed", range(3))
def test_the_fixed_point_is_the_exact_gradient_of_the_log_stationary_distribution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dynamics = torch.from_numpy(rng.dirichlet(np.full(STATES, 0.5), size=(STATES, ACTIONS)))
    logits = torch.from_numpy(rng.standard_normal((STATES, ACTIONS)))
    jacobian = torch.autograd.functional.jacobian(lambda x: stationary(x, dynamics).log(), logits)
    exact = jacobian.reshape(STATES, -1).numpy()
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(estimates(logits, dynamics, 1.0), exact, atol=1e-6)
    # A discount is a bias, which vanishes as it approaches 1.
    errors = [np.abs(estimates(logits, dynamics, gamma) - exact).max() for gamma in (0.5, 0.9, 0.99)]
    assert errors[0] > errors[1] > errors[2] > 1e-5


SIGMA, CUT_OFF = 0.3, 1 / 30
CELLS = np.arange(-300, 301)
"""Places on the line in hundredths. A step moves by the action, clipped to -1 ... 1, in tenths."""
AT_GOAL = np.abs(CELLS - 50) < 5


def visits(theta: torch.Tensor) -> torch.Tensor:
    """Exact distribution [cells] of the states of episodes whose actions are N(theta[0] place + theta[1], SIGMA).

    Episodes start anywhere in -1 ... 1, and end at the goal or, at every step, with probability CUT_OFF.
    """
    mean = theta[0] * torch.from_numpy(CELLS / 100) + theta[1]
    edges = torch.arange(-10, 10, dtype=torch.float64) / 10 + 0.05
    below = torch.special.ndtr((edges - mean[:, None]) / SIGMA)
    moves = torch.diff(below, prepend=torch.zeros_like(mean)[:, None], append=torch.ones_like(mean)[:, None], dim=1)
    after = (torch.arange(len(CELLS))[:, None] + torch.arange(-10, 11)).clamp(0, len(CELLS) - 1)
    chain = torch.zeros(len(CELLS), len(CELLS), dtype=torch.float64).scatter_add(1, after, moves)
    start = torch.from_numpy((np.abs(CELLS) <= 100) / 201)
    alive = torch.from_numpy(np.where(AT_GOAL, 0.0, 1.0 - CUT_OFF))
    later = torch.linalg.solve(torch.eye(len(CELLS), dtype=torch.float64) - (alive[:, None] * chain).T, start @ chain)
    return (start + later) / (start + later).sum()


def sample(theta: np.ndarray, episodes: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Places [T + 1, 1], in hundredths, and actions [T], not clipped, of such episodes."""
    found = []
    for _ in range(episodes):
        places, actions, ended = [int(rng.integers(-100, 101))], [], False
        while not ended:
            actions.append(theta[0] * places[-1] / 100 + theta[1] + SIGMA * rng.standard_normal())
            moved = places[-1] + int(np.clip(np.floor(10 * actions[-1] + 0.5), -10, 10))
            places.append(int(np.clip(moved, CELLS[0], CELLS[-1])))
            ended = AT_GOAL[places[-1] - CELLS[0]] or rng.random() < CUT_OFF
        found.append((np.array(places)[:, None], np.array(actions)))
    return found


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("theta", [(0.0, 0.0), (-1.0, 0.5), (-4.0, 2.0), (0.0, 0.8)])
def test_rollouts_give_the_direction_of_the_exact_gradient(theta: tuple[float, float]) -> None:
    shown = np.round(100 * demonstrate(50).observations).astype(int)
    variable = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    visits(variable)[shown[:, 0] - CELLS[0]].log().mean().backward()
    assert variable.grad is not None
    exact = variable.grad.numpy()

    rng = np.random.default_rng(0)
    directions, phases = rng.standard_normal((1, 50)) / 0.2, rng.uniform(0.0, 2.0 * np.pi, 50)

    def features(places: np.ndarray) -> np.ndarray:
        return np.concatenate([places / 100, np.cos(places / 100 @ directions + phases)], axis=1)

    episodes = sample(np.array(theta), 500, rng)
    found = [features(places) for places, _ in episodes]
    weights = gradient_weights(found, features(shown), np.ones(len(shown)), 1.0, 1e-3)

    def gradient(clip: float) -> np.ndarray:
        total = np.zeros(2)
        for (places, actions), weight in zip(episodes, weights, strict=True):
            here = places[:-1, 0] / 100
            score = weight * (np.clip(actions, -clip, clip) - theta[0] * here - theta[1]) / SIGMA**2
            total += [score @ here, score.sum()]
        return total

    assert cosine(gradient(np.inf), exact) > 0.9
    if theta == (0.0, 0.8):  # which half of the time asks for more than the largest action
        assert cosine(gradient(1.0), exact) < 0.5, "clipped actions have a grad log pi that is not zero on average"


def test_rollouts_keep_actions_as_sampled_and_end_at_random() -> None:
    asked: list[float] = []

    class Watched(Line):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            asked.append(float(action[0]))
            self.place = -5.0  # never at the goal
            return super().step(action)

    network = GaussianNetwork(PolicyShape.of(LINE), np.linspace(-1.0, 1.0, 9, dtype=np.float32)[:, None])
    rng = np.random.default_rng(0)
    group = _RandomEnds(SingleEnvs([Watched() for _ in range(100)]), 5, rng)
    found = roll_out(group, _Explorer(network, 1.0), range(100), action_size=1, width=100, deterministic=False, rng=rng)
    taken = np.concatenate([episode.actions for episode in found])
    assert np.abs(taken).max() > 1.5 and max(asked) == 1.0 and min(asked) == -1.0
    lengths = [len(episode.actions) for episode in found]
    assert 4.0 < np.mean(lengths) < 6.0 and np.std(lengths) > 3.0
    assert {episode.end for episode in found} <= {"cut off", "timeout"}


LEARNING: dict[str, Any] = {
    "beta_pi": 0.0,
    "warm_start": 0,
    "features": 50,
    "bandwidth": 0.5,
    "gamma": 1.0,
    "ridge": 1e-2,
    "policy_updates": 20,
    "episode_steps": 20,
    "rollout_sigma": 0.3,
    "learning_rate": 2e-3,
    "own_batch_size": 256,
    "l2": 0.0,
}
"""From states alone and an untrained policy."""


def success_after(folder: Path, steps: int, shown: Demonstrations, seed: int = 0, **changes: Any) -> float:
    """Success rate of the deterministic actions on 50 episodes, after a training of so many environment steps."""
    torch.set_num_threads(1)
    context = PlainContext(Budget(steps, 3_000), seed, folder, LINE, Line)
    policy = Sail(make_settings(Sail, LEARNING | changes)).fit(shown, context)
    assert steps - LINE.horizon < context.environment_steps <= steps
    group = SingleEnvs([Line() for _ in range(50)])
    rng = np.random.default_rng(0)
    found = roll_out(group, policy, range(50), action_size=1, width=50, deterministic=True, rng=rng)
    return float(np.mean([episode.end == "success" for episode in found]))


def test_it_learns_from_states_alone_on_a_line(tmp_path: Path) -> None:
    shown = replace(demonstrate(30), actions=None)
    # A goal on the other side, where the way of a quarter of the episodes leads through this one. Three seeds, since a
    # single one varies, even with the number of threads that the linear algebra has.
    elsewhere = replace(shown, observations=-shown.observations)
    here, there = (
        np.mean([success_after(tmp_path, 20_000, one, seed) for seed in range(3)]) for one in (shown, elsewhere)
    )
    assert here > 0.7 and here - there > 0.2
    assert success_after(tmp_path, 600, shown) < 0.2, "it takes time to learn"


def test_states_alone_need_settings_without_actions(tmp_path: Path) -> None:
    alone = replace(demonstrate(), actions=None)
    assert not Sail.requires_actions(make_settings(Sail, LEARNING))
    for name, value in (("beta_pi", 1.0), ("warm_start", 10)):
        with pytest.raises(MethodError, match=r"sail\.beta_pi=0"):
            success_after(tmp_path, 600, alone, **{name: value})
    with pytest.raises(MethodError, match=r"less than one episode \(30\)"):
        success_after(tmp_path, 29, alone)


def test_without_the_second_term_it_is_cloning_with_the_same_rollouts(tmp_path: Path) -> None:
    """The control that tells what the second term does: rollouts are made, but change nothing."""

    def trained(beta_d: float, rollout_sigma: float) -> tuple[np.ndarray, int]:
        context = PlainContext(Budget(6_000, 120), 0, tmp_path, LINE, Line)
        changes = {"beta_pi": 1.0, "beta_d": beta_d, "warm_start": 60, "rollout_sigma": rollout_sigma, "decay": False}
        policy = Sail(make_settings(Sail, LEARNING | changes)).fit(demonstrate(3), context)
        return policy.network.mean.weight.detach().numpy().copy(), context.environment_steps

    (one, steps), (other, _) = trained(0.0, 0.1), trained(0.0, 0.3)
    assert np.array_equal(one, other) and steps > 500
    assert not np.array_equal(one, trained(1.0, 0.1)[0])
    with pytest.raises(MethodError, match="both 0"):
        success_after(tmp_path, 600, demonstrate(), beta_d=0.0)
