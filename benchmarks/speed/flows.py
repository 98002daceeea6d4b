"""The flows of GPRIL compared with plain nflows, and with zuko if it is installed: a training step and a sample, at the
paper's sizes and at small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.speed.plain import PlainTrainer
from benchmarks.speed.timing import Comparison, compare, gemm_rate
from methods.gpril.flows.factory import FlowShape, make_flow, sample
from methods.gpril.likelihood import LikelihoodTrainer
from methods.gpril.settings import Settings


@dataclass(frozen=True)
class Case:
    """B^s models D features given a target of D; B^a models 7 actions given a state and a target."""

    name: str
    shape: FlowShape


def cases() -> list[Case]:
    """Both models with 32 observations at the paper's sizes, and small ones as in the quick profile."""
    found = []
    for units in (128, 500):
        found.append(Case(f"B^s 32, {units}-{units}", FlowShape(32, 32, (units, units))))
        found.append(Case(f"B^a 7, {units}-{units}", FlowShape(7, 64, (units, units))))
    return found


def measure() -> Iterator[Comparison]:
    """Training steps and samples of each case, with the share of the machine's rate of dense products."""
    peak = gemm_rate()
    for case in cases():
        for rows in (256, 4096):
            yield from _measure(case, rows, peak)


def _measure(case: Case, rows: int, peak: float) -> Iterator[Comparison]:
    shape, calls = case.shape, 4 if rows == 256 else 1
    x, context = torch.randn(rows, shape.features), torch.randn(rows, shape.context)
    fast, plain = make_flow(shape), make_flow(shape, "nflows")
    settings = Settings()
    trainer = LikelihoodTrainer(fast, settings.model_learning_rate, settings.model_l2, settings.gradient_clip)
    adam = PlainTrainer(plain, plain.log_prob, settings)
    dense, forward_and_backward = _dense(shape), 6.0
    operations = forward_and_backward * rows * sum(parameter.numel() for parameter in plain.parameters())

    def share(seconds: float) -> str:
        return f"{operations / seconds / 1e9:.0f} GFLOP/s as if dense, {operations / seconds / peak:.0%} of peak"

    def step() -> object:
        return trainer.step(x, context)

    def draw() -> object:
        return sample(fast, context)

    name = f"{case.name}, {rows} rows"
    yield compare(f"step, {name}", "nflows, Adam", step, lambda: adam.step(x, context), 5, calls, share)
    yield compare(f"sample, {name}", "nflows", draw, lambda: sample(plain, context), 3)
    yield compare(f"sample, {name}", "a dense forward pass", draw, lambda: dense(x, context), 5, calls)
    if find_spec("zuko"):
        their_step, their_draw = _zuko(shape, settings, x, context)
        yield compare(f"step, {name}", "zuko, Adam", step, their_step, 5, calls)
        yield compare(f"sample, {name}", "zuko", draw, their_draw, 3)


def _zuko(shape: FlowShape, settings: Settings, x: Tensor, context: Tensor) -> tuple[Callable[[], object], ...]:
    """A training step and a sample of zuko's flow of the same sizes."""
    import zuko

    flow = zuko.flows.MAF(shape.features, shape.context, shape.layers, hidden_features=shape.hidden)
    adam = PlainTrainer(flow, lambda x, context: flow(context).log_prob(x), settings)

    @torch.no_grad()
    def draw() -> Tensor:
        drawn: Tensor = flow(context).sample()
        return drawn

    return lambda: adam.step(x, context), draw


def _dense(shape: FlowShape) -> Callable[[Tensor, Tensor], Tensor]:
    """A pass through networks of the same widths without masks: what a sample may cost at most."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([shape.features + shape.context, *shape.hidden]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(shape.hidden[-1], 2 * shape.features))

    @torch.no_grad()
    def forward(x: Tensor, context: Tensor) -> Tensor:
        for _ in range(shape.layers):
            mean, spread = network(torch.cat([x, context], 1)).chunk(2, 1)
            x = mean + softplus(spread) * x
        return x

    return forward
