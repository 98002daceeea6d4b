"""A step of maximum likelihood is autograd's, torch's clip and torch's Adam; it fits, and it resumes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.gpril.flows.factory import KINDS, FlowShape, make_flow
from methods.gpril.likelihood import LikelihoodTrainer

SHAPE = FlowShape(5, 3, (20, 20), identity_start=False)


def batch(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator, "dtype": dtype}
    return 3.0 * torch.randn(count, SHAPE.features, **options), torch.randn(count, SHAPE.context, **options)


@pytest.mark.parametrize("clip", [math.inf, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_step_is_that_of_torch(kind: str, clip: float) -> None:
    x, context = batch(40, torch.float64)
    flows = []
    for _ in range(2):
        torch.manual_seed(0)
        flows.append(make_flow(SHAPE, kind).double())
    ours, theirs = flows
    trainer = LikelihoodTrainer(ours, 0.01, l2=0.1, clip=clip)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(5):
        adam.zero_grad()
        log_prob = theirs.log_prob(x, context=context).mean()
        (-log_prob).backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        adam.step()
        step = trainer.step(x, context)
        torch.testing.assert_close(step.log_prob, log_prob.detach())
        torch.testing.assert_close(step.gradient_norm, norm)
        assert norm > 0.5  # so that the smaller clip binds
    for mine, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)


def test_training_reaches_the_entropy_of_a_conditional_distribution() -> None:
    """x0 ~ N(c, 0.5), x1 ~ N(x0 c, 0.3); masked weights stay at zero."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        context, first, second = (torch.randn(count, 1, generator=generator) for _ in range(3))
        first = context + 0.5 * first
        return torch.cat((first, first * context + 0.3 * second), dim=1), context

    flow = make_flow(FlowShape(2, 1, (32, 32), sigma_floor=0.05))
    trainer = LikelihoodTrainer(flow, 5e-3, l2=1e-5)
    for _ in range(800):
        trainer.step(*draw(256))
    x, context = draw(20000)
    entropy = sum(0.5 + 0.5 * math.log(2.0 * math.pi) + math.log(sigma) for sigma in (0.5, 0.3))
    with torch.no_grad():
        assert -flow.log_prob(x, context=context).mean() == pytest.approx(entropy, abs=0.05)
    stack = flow._transform
    assert torch.equal(stack.weights != 0.0, stack.mask.bool().expand(2, -1))


def test_l2_pulls_weights_to_zero() -> None:
    norms = []
    for l2 in (0.0, 1.0):
        torch.manual_seed(0)
        flow = make_flow(SHAPE)
        trainer = LikelihoodTrainer(flow, 0.01, l2)
        for _ in range(100):
            trainer.step(*batch(64))
        norms.append(sum(float(weight.detach().square().sum()) for weight in flow.parameters()))
    assert norms[1] < 0.2 * norms[0]


def test_resumes_to_the_same_weights() -> None:
    torch.manual_seed(0)
    flow = make_flow(SHAPE)
    trainer = LikelihoodTrainer(flow, 0.01)
    for _ in range(3):
        trainer.step(*batch(16))
    weights = {name: value.clone() for name, value in flow.state_dict().items()}
    moments = {name: [part.clone() for part in parts] for name, parts in trainer.state_dict().items()}
    trainer.step(*batch(16))
    other = make_flow(SHAPE)
    resumed = LikelihoodTrainer(other, 0.01)
    other.load_state_dict(weights)
    resumed.load_state_dict(moments)
    resumed.step(*batch(16))
    for mine, expected in zip(other.parameters(), flow.parameters(), strict=True):
        assert torch.equal(mine, expected)
