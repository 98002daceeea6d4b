"""Section 3 and appendices A and C of the paper, and our replay buffer, against exact answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from methods.gpril.replay import FutureStateBatch, Replay
from tests.science.mdp import Mdp, random_mdp

pytestmark = pytest.mark.science
SEEDS = range(3)


def gradient_of_log_stationary(mdp: Mdp) -> np.ndarray:
    """d log d(target) / d theta by central differences, [target, S, A]."""
    step, gradient = 1e-5, np.zeros((len(mdp.theta), *mdp.theta.shape))
    for index in np.ndindex(mdp.theta.shape):
        shift = np.zeros_like(mdp.theta)
        shift[index] = step
        above, below = (replace(mdp, theta=mdp.theta + sign * shift).stationary for sign in (1.0, -1.0))
        gradient[(slice(None), *index)] = (np.log(above) - np.log(below)) / (2.0 * step)
    return gradient


@pytest.mark.parametrize("seed", SEEDS)
def test_one_step_recursion_of_the_gradient(seed: int) -> None:
    """Equations 3 to 5: grad log d(target) = E_q[grad log d(s) + grad log pi(a | s)]."""
    mdp = random_mdp(6, 3, seed)
    np.testing.assert_allclose(mdp.stationary @ mdp.chain, mdp.stationary, atol=1e-12)
    exact = gradient_of_log_stationary(mdp)
    inner = exact[:, None] + mdp.score  # [s, a, x, y]
    np.testing.assert_allclose(np.einsum("sat,saxy->txy", mdp.reverse(0), inner), exact, atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
def test_unrolled_sum_reaches_the_gradient(seed: int) -> None:
    """Equation 6, with the sum of appendix A cut where its terms have vanished."""
    mdp = random_mdp(6, 3, seed)
    terms = [np.einsum("sat,saxy->txy", mdp.reverse(j), mdp.score) for j in range(400)]
    assert np.abs(terms[-1]).max() < 1e-12
    np.testing.assert_allclose(np.sum(terms, axis=0), gradient_of_log_stationary(mdp), atol=1e-8)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_predecessor_distribution_is_the_discounted_sum(seed: int, gamma: float) -> None:
    """Equations 7 and 8: the closed form of B is the series, and a distribution over (s, a) for each target."""
    mdp = random_mdp(6, 3, seed)
    series = sum((1.0 - gamma) * gamma**j * mdp.reverse(j) for j in range(600))
    np.testing.assert_allclose(mdp.predecessors(gamma), series, atol=1e-12)
    np.testing.assert_allclose(mdp.predecessors(gamma).sum(axis=(0, 1)), 1.0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_bias_of_gamma_is_the_predicted_one_and_vanishes(seed: int) -> None:
    """grad log d minus equation 7 is the sum of (1 - gamma^j) times each term, and of first order in 1 - gamma."""
    mdp = random_mdp(6, 3, seed)
    exact = gradient_of_log_stationary(mdp)
    terms = np.array([np.einsum("sat,saxy->txy", mdp.reverse(j), mdp.score) for j in range(400)])
    errors = []
    for gamma in (0.9, 0.99, 0.999):
        bias = exact - mdp.discounted_gradient(gamma)
        predicted = np.einsum("j,jtxy->txy", 1.0 - gamma ** np.arange(400), terms)
        np.testing.assert_allclose(bias, predicted, atol=1e-7)
        errors.append(np.abs(bias).max())
    assert errors[0] > 5.0 * errors[1] > 25.0 * errors[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_joint_gradient(seed: int) -> None:
    """Equations 11 and 12: grad log rho = grad log pi + grad log d."""
    mdp = random_mdp(5, 3, seed)
    step, target, action = 1e-5, 2, 1
    numeric = np.zeros_like(mdp.theta)
    for index in np.ndindex(mdp.theta.shape):
        shift = np.zeros_like(mdp.theta)
        shift[index] = step
        above, below = (replace(mdp, theta=mdp.theta + sign * shift).joint for sign in (1.0, -1.0))
        numeric[index] = (np.log(above[target, action]) - np.log(below[target, action])) / (2.0 * step)
    analytic = mdp.score[target, action] + mdp.discounted_gradient(1.0 - 1e-7)[target]
    np.testing.assert_allclose(numeric, analytic, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_identity_with_the_discounted_policy_gradient(seed: int, gamma: float) -> None:
    """Appendix C, equations 16 to 20, for the reward 1(s = target, a = action) / rho(target, action).

    Carried through exactly, the sum over t - j >= 1 carries one more gamma than equation 20 prints:
    grad J = grad log pi(action | target) + gamma / (1 - gamma) E_B[grad log pi]. Both agree as gamma goes to 1.
    """
    mdp = random_mdp(5, 3, seed)
    target, action = 1, 2
    reward = np.zeros(mdp.theta.shape)
    reward[target, action] = 1.0 / mdp.joint[target, action]
    value = np.linalg.solve(np.eye(5) - gamma * mdp.chain, (mdp.policy * reward).sum(axis=1))
    action_value = reward + gamma * mdp.transitions @ value
    policy_gradient = np.einsum("sa,saxy,sa->xy", mdp.joint, mdp.score, action_value)
    ours = mdp.score[target, action] + gamma * mdp.discounted_gradient(gamma)[target]
    np.testing.assert_allclose(policy_gradient, ours, atol=1e-10)


def test_estimator_converges_at_the_monte_carlo_rate() -> None:
    """Samples of the exact B give the gradient with an error of one standard error, falling as 1 / sqrt(n)."""
    mdp, gamma, target = random_mdp(6, 3, 0), 0.9, 3
    table = mdp.predecessors(gamma)[:, :, target].ravel()
    table = table / table.sum()
    scores = mdp.score.reshape(table.size, -1)
    exact, errors = table @ scores, []
    for count in (1_000, 100_000):
        repeats = [np.random.default_rng(r).multinomial(count, table) @ scores / count - exact for r in range(40)]
        predicted = np.sqrt((table @ scores**2 - exact**2) / count)
        measured = np.sqrt(np.mean(np.square(repeats), axis=0))
        good = predicted > 0
        assert 0.8 < np.mean(measured[good] / predicted[good]) < 1.2, "the error is the standard error"
        errors.append(measured.mean())
    assert errors[0] / errors[1] == pytest.approx(10.0, rel=0.2), "a hundredfold sample, a tenth of the error"


# The batches of our replay buffer. z is (counted - expected) / standard error, over all cells of B(s, a | target).

STEPS, DRAWS = 400_000, 400_000


def worst_z(mdp: Mdp, gamma: float, batch: FutureStateBatch) -> float:
    """Largest deviation of counted pairs from equation 8, in standard errors.

    Draws from one finite stream are correlated, so the standard error is inflated by the stream's own: as many
    independent steps as the stream holds, times the chain's correlation time, which is short here by construction.
    """
    columns = (batch.states[:, 0], batch.actions[:, 0], batch.targets[:, 0])
    s, a, target = (column.astype(int) for column in columns)
    counted = np.zeros((*mdp.theta.shape, len(mdp.theta)))
    np.add.at(counted, (s, a, target), 1.0)
    per_target = counted.sum(axis=(0, 1))
    expected = mdp.predecessors(gamma)
    if mdp.terminal is not None:  # no action is taken in a terminal state: the rest is a distribution of its own
        expected[mdp.terminal] = 0.0
        expected = expected / expected.sum(axis=(0, 1))
    with np.errstate(invalid="ignore"):
        variance = expected * (1.0 - expected) * (1.0 / per_target) * (1.0 + 4.0 * DRAWS / STEPS / (1.0 - gamma))
        z = np.abs(counted / per_target - expected) / np.sqrt(variance)
    return float(np.nanmax(z))


def batch_of(mdp: Mdp, gamma: float, cross: bool = True, size: int = 2 * STEPS) -> tuple[Replay, FutureStateBatch]:
    replay = Replay(size, 1, 1)
    for episode in mdp.roll_out(STEPS, np.random.default_rng(7)):
        replay.add(episode)
    return replay, replay.sample(DRAWS, gamma, cross, np.random.default_rng(8))


@pytest.mark.parametrize("episodic", [False, True])
@pytest.mark.parametrize("gamma", [0.5, 0.9])
def test_batches_of_the_replay_buffer_follow_equation_8(episodic: bool, gamma: float) -> None:
    mdp = random_mdp(5, 2, 11, episodic)
    assert worst_z(mdp, gamma, batch_of(mdp, gamma)[1]) < 5.0


def test_a_buffer_that_wrapped_around_follows_it_too() -> None:
    mdp = random_mdp(5, 2, 11, episodic=True)
    replay, batch = batch_of(mdp, 0.7, size=STEPS)
    assert len(replay) == STEPS
    assert worst_z(mdp, 0.7, batch) < 5.0


def test_a_wrong_offset_is_found() -> None:
    """Offsets that start at j instead of j + 1: the target of j = 0 would be the state itself."""
    mdp, gamma = random_mdp(5, 2, 11), 0.7
    right = batch_of(mdp, gamma)[1]
    early = right.states.copy()
    stream = mdp.roll_out(STEPS, np.random.default_rng(7))[0]
    rng = np.random.default_rng(9)
    t = rng.integers(STEPS // 2, size=DRAWS)
    wrong = FutureStateBatch(
        stream.observations[t],
        stream.actions[t],
        stream.observations[t + rng.geometric(1.0 - gamma, size=DRAWS) - 1],
        np.zeros_like(early),
        np.ones_like(early),
    )
    assert worst_z(mdp, gamma, right) < 5.0 < 20.0 < worst_z(mdp, gamma, wrong)


def test_offsets_that_do_not_cross_episodes_are_found() -> None:
    mdp, gamma = random_mdp(5, 2, 11, episodic=True), 0.9
    assert worst_z(mdp, gamma, batch_of(mdp, gamma, cross=False)[1]) > 10.0
