"""Networks side by side compute what each computes alone, and stay what they were."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from methods.gpril.ascent import LikelihoodAscent
from methods.gpril.flows import FlowShape, sample
from methods.gpril.pool import PooledAscent, PooledPolicy, side_by_side
from methods.policy import GaussianNetwork, PolicyShape
from tests.methods.test_flows import SHAPES, random_flow
from tests.methods.worlds import TINY
from tests.tiny import demonstrate

SEEDS = 3


def batch(size: int, count: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(SEEDS, count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_flows_side_by_side_transform_as_each_alone(shape: FlowShape) -> None:
    flows = [random_flow(shape, seed=seed) for seed in range(SEEDS)]
    x, context = batch(shape.features), batch(shape.context, seed=1)
    together = side_by_side([flow._transform for flow in flows])
    for transform in ("forward", "inverse"):
        with torch.no_grad():
            found = getattr(together, transform)(x, context)
            for seed, flow in enumerate(flows):
                expected = getattr(flow._transform, transform)(x[seed], context[seed])
                for mine, theirs in zip(found, expected, strict=True):
                    torch.testing.assert_close(mine[seed], theirs)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_side_by_side_are_those_of_each_alone(shape: FlowShape) -> None:
    flows = [random_flow(shape, seed=seed) for seed in range(SEEDS)]
    x, context = (batch(size, seed=seed).requires_grad_() for seed, size in enumerate((shape.features, shape.context)))
    together = side_by_side([flow._transform for flow in flows])

    def loss(z: Tensor, logabsdet: Tensor) -> Tensor:
        return z.pow(4).sum() - logabsdet.square().sum()

    found = torch.autograd.grad(loss(*together(x, context)), (together.weights, x, context))
    for seed, flow in enumerate(flows):
        stack = flow._transform
        expected = torch.autograd.grad(loss(*stack(x[seed], context[seed])), (stack.weights, x, context))
        for mine, theirs in zip(found, (expected[0], expected[1][seed], expected[2][seed]), strict=True):
            torch.testing.assert_close(mine[seed], theirs)


@pytest.mark.parametrize("clip", [math.inf, 0.5])
def test_steps_of_all_are_those_of_each_and_those_who_rest_stay(clip: float) -> None:
    shape = SHAPES[1]
    flows = [random_flow(shape, seed=seed) for seed in range(SEEDS)]
    alone = [LikelihoodAscent(copy.deepcopy(flow), 0.01, 0.1, clip) for flow in flows]
    pooled = PooledAscent([LikelihoodAscent(flow, 0.01, 0.1, clip) for flow in flows])
    for step, moving in enumerate([(0, 1, 2), (0, 2), (1,), (0, 1, 2)]):
        x, context = batch(shape.features, seed=step), batch(shape.context, seed=10 + step)
        norms = pooled.step(x, context, moving)
        for seed in moving:
            torch.testing.assert_close(norms[seed], alone[seed].step(x[seed], context[seed]).gradient_norm)
    for flow, ascent in zip(flows, alone, strict=True):
        torch.testing.assert_close(flow._transform.weights, ascent.flow._transform.weights)


def test_policies_side_by_side_act_as_each_alone_and_are_changed_with_it() -> None:
    shown = demonstrate(2, 0).observations
    networks = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        networks.append(GaussianNetwork(PolicyShape.of(TINY), shown))
    pooled = PooledPolicy(networks)
    networks[1].set_sigma(0.03)
    observations = batch(3).float()
    mean, sigma = pooled(observations)
    for seed, network in enumerate(networks):
        torch.testing.assert_close((mean[seed], sigma[seed]), network(observations[seed]))
    assert sigma[1].max() < 0.031 < sigma[0].min()


def test_steps_and_samples_never_look_at_values() -> None:
    """Tensors without values say so; on a GPU such a look would make the host wait, and a CUDA graph impossible."""
    shape = FlowShape(5, 3, (20, 20))
    flows = [random_flow(shape, seed=seed).float().to("meta") for seed in range(SEEDS)]
    x, context = (torch.empty(SEEDS, 40, size, device="meta") for size in (5, 3))
    ascents = [LikelihoodAscent(flow, 0.01, 0.1, 1.0) for flow in flows]
    assert ascents[0].step(x[0], context[0]).gradient_norm.is_meta
    assert sample(flows[0], context[0], noise=x[0]).shape == (40, 5)
    pooled = PooledAscent(ascents)
    assert pooled.step(x, context, (0, 1, 2)).shape == (SEEDS,)
    assert pooled.stack.inverse(x, context)[0].shape == x.shape
    with pytest.raises(RuntimeError, match="meta"):
        x.sum().item()
