"""Trained models reach the known optimum: with L2 on biases too, and with one layer that needs the context."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from envs.demonstrations import Statistics
from methods.gpril.flows.factory import FlowShape, make_flow
from methods.gpril.likelihood import LikelihoodTrainer
from methods.gpril.models import PredecessorModels
from methods.gpril.settings import Settings
from methods.interface import SeedStreams
from methods.policy import GaussianNetwork, PolicyShape
from tests.science.test_predecessor import A, Exact, S, stream

pytestmark = pytest.mark.science


@pytest.mark.parametrize("l2", [0.0, 0.1, 1.0])
def test_biases_are_regularised_with_half_the_sum_of_squares(l2: float) -> None:
    """A flow whose hidden units are dead has two free weights, the biases of mu and u, and its optimum is a root.

    It minimises E[(x - mu)^2] / (2 sigma^2) + log sigma + l2 / 2 (mu^2 + u^2) for data with mean 3 and variance 1/4.
    """
    floor = 0.1
    flow = make_flow(FlowShape(1, 1, (4, 4), layers=1, sigma_floor=floor))
    stack = flow._transform
    with torch.no_grad():
        stack.weights.zero_()
    data = 3.0 + 0.5 * torch.tensor([[-1.0], [1.0]]).repeat(50, 1)
    trainer = LikelihoodTrainer(flow, 0.01, l2)
    for step in range(6000):
        trainer.adam.learning_rate = 0.01 * (1.0 - step / 6000)
        trainer.step(data, torch.zeros(100, 1))

    def loss(weights: np.ndarray) -> float:
        mu, u = weights
        sigma = floor + (1.0 - floor) * math.log1p(math.exp(u * math.log(2.0) / (1.0 - floor))) / math.log(2.0)
        likelihood = (0.25 + (3.0 - mu) ** 2) / (2.0 * sigma**2) + math.log(sigma)
        return likelihood + 0.5 * l2 * (mu**2 + u**2)

    best = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    found = stack.layout.views(stack.weights.detach()[0])[-1][:, 0].numpy()
    np.testing.assert_allclose(found, best, atol=5e-3)
    assert l2 == 0.0 or found[0] < 2.95, "the regulariser moves the optimum"


def test_one_layer_reaches_the_exact_likelihood_of_the_last_step() -> None:
    """With gamma = 0 both densities are Gaussians that depend on the target in every dimension, the first included."""
    settings = Settings(
        gamma=0.0,
        model_layers=1,
        model_hidden=(32, 32),
        model_learning_rate=2e-3,
        model_l2=0.0,
        sigma_floor=0.01,
        batch_size=512,
    )
    seen, rng = stream(100_000, 0), np.random.default_rng(2)
    test = stream(30_000, 1).sample(10_000, 0.0, True, rng)
    network = GaussianNetwork(PolicyShape(S, A, (-9.0,) * A, (9.0,) * A), Statistics.of(test.states))
    models = PredecessorModels(settings, network, SeedStreams(0), "cpu")
    for step in range(3000):
        for trainer in models.trainers:
            trainer.adam.learning_rate = 2e-3 * (1.0 - step / 3000)
        models.update(seen.sample(512, 0.0, True, rng))
    log_states, log_actions = (float(part.mean()) for part in Exact(0.0, lags=1).densities(test))
    found, units = models.likelihoods(test), float(network.scale.log().sum())
    assert -0.02 < log_states - (found.states - units) < 0.03
    assert -0.02 < log_actions - found.actions < 0.03
