"""B^s and B^a, trained as GPRIL trains them, reach the exact predecessor density of a linear-Gaussian system."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from envs.demonstrations import Statistics
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Episode, FutureStateBatch, Replay
from methods.gpril.settings import Settings
from methods.interface import SeedStreams
from methods.policy import GaussianNetwork, PolicyShape

pytestmark = pytest.mark.science

DYNAMICS = np.array([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, 0.0, 0.8]])
EFFECT = np.array([[0.0, 0.3], [0.5, 0.0], [0.2, 0.4]])
FEEDBACK = np.array([[-0.3, 0.1, 0.0], [0.0, 0.2, -0.4]])
NOISE = np.diag([0.01, 0.02, 0.01])
SIGMA = 0.3
S, A = EFFECT.shape


@dataclass(frozen=True)
class Exact:
    """s' = F s + E a + noise under a = K s + sigma noise: every joint density is Gaussian."""

    gamma: float
    lags: int = 120

    def densities(self, batch: FutureStateBatch) -> tuple[np.ndarray, np.ndarray]:
        """log B^s(s | target) and log B^a(a | s, target) of equation 8, [n] each: mixtures over the lag."""
        closed = DYNAMICS + EFFECT @ FEEDBACK
        spread = NOISE + SIGMA**2 * EFFECT @ EFFECT.T
        stationary = np.eye(S)
        for _ in range(2000):
            stationary = closed @ stationary @ closed.T + spread
        own = np.block(
            [
                [stationary, stationary @ FEEDBACK.T],
                [FEEDBACK @ stationary, FEEDBACK @ stationary @ FEEDBACK.T + SIGMA**2 * np.eye(A)],
            ]
        )
        target_density = multivariate_normal(np.zeros(S), stationary).logpdf(batch.targets)
        ahead, states, pairs = np.hstack([DYNAMICS, EFFECT]), [], []
        rows = np.hstack([batch.states, batch.actions, batch.targets])
        with_action, without = list(range(2 * S + A)), [*range(S), *range(S + A, 2 * S + A)]
        for lag in range(self.lags):
            cross = own @ ahead.T
            joint = np.block([[own, cross], [cross.T, stationary]])
            weight = np.log(1.0 - self.gamma) + (lag and lag * np.log(self.gamma)) - target_density
            for found, columns in ((pairs, with_action), (states, without)):
                density = multivariate_normal(np.zeros(len(columns)), joint[np.ix_(columns, columns)])
                found.append(weight + density.logpdf(rows[:, columns]))
            ahead = closed @ ahead
        log_states, log_pairs = logsumexp(states, axis=0), logsumexp(pairs, axis=0)
        return log_states, log_pairs - log_states


def stream(steps: int, seed: int) -> Replay:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((steps, S)) @ np.sqrt(NOISE)
    kicks = SIGMA * rng.standard_normal((steps, A))
    states = np.zeros((steps + 1, S))
    actions = np.zeros((steps, A))
    for t in range(steps):
        actions[t] = FEEDBACK @ states[t] + kicks[t]
        states[t + 1] = DYNAMICS @ states[t] + EFFECT @ actions[t] + noise[t]
    replay = Replay(steps + 1, S, A)
    means = (states[:-1] @ FEEDBACK.T).astype(np.float32)
    replay.add(Episode(states.astype(np.float32), actions.astype(np.float32), means, np.full_like(means, SIGMA)))
    return replay


@pytest.mark.parametrize("displacement", [False, True])
def test_trained_models_reach_the_exact_likelihood(displacement: bool) -> None:
    """Held-out likelihood within 0.1 nats of the truth for B^s and 0.05 for B^a; the untrained ones are far off."""
    gamma = 0.8
    settings = Settings(
        gamma=gamma,
        model_hidden=(64, 64),
        model_learning_rate=1e-3,
        model_l2=0.0,
        sigma_floor=0.01,
        batch_size=512,
        displacement=displacement,
        scale_actions=True,
    )
    seen, unseen = stream(300_000, 0), stream(100_000, 1)
    rng = np.random.default_rng(2)
    test = unseen.sample(20_000, gamma, True, rng)
    network = GaussianNetwork(PolicyShape(S, A, (-9.0,) * A, (9.0,) * A), Statistics.of(test.states))
    models = PredecessorModels(settings, network, SeedStreams(0), "cpu")
    models.measure(seen.sample(4096, gamma, True, rng))
    log_states, log_actions = (float(part.mean()) for part in Exact(gamma).densities(test))
    units = network.scale.log().sum()
    if displacement:
        units = units + models.space.units.displacement_scale.log().sum()

    before = models.likelihoods(test)
    for step in range(6000):
        for trainer in models.trainers:
            trainer.adam.learning_rate = 1e-3 * (1.0 - step / 6000)
        models.update(seen.sample(512, gamma, True, rng))
    after = models.likelihoods(test)
    gap_states = log_states - (after.states - float(units))
    gap_actions = log_actions - after.actions
    print(f"nats below the truth: B^s {gap_states:.3f}, B^a {gap_actions:.3f}")
    assert -0.02 < gap_states < 0.1
    assert -0.02 < gap_actions < 0.05
    assert log_states - (before.states - float(units)) > 0.5
    assert after.information == pytest.approx(log_actions - float(np.mean(_policy_log_prob(test))), abs=0.05), (
        "what B^a knows beyond the policy is the true difference"
    )


def _policy_log_prob(batch: FutureStateBatch) -> np.ndarray:
    standard = (batch.actions - batch.means) / SIGMA
    return -0.5 * (standard**2 + np.log(2 * np.pi)).sum(axis=1) - A * np.log(SIGMA)
