"""GPRIL as a plain implementation of algorithm 1 on nflows and torch, with which flows and loop are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.gpril.algorithm import Training
from methods.gpril.settings import Settings
from methods.interface import FitContext


class PlainTrainer:
    """Steps of a flow of any library up its mean log density: autograd, torch's clip and torch's Adam."""

    def __init__(self, flow: nn.Module, log_prob: Callable[[Tensor, Tensor], Tensor], settings: Settings) -> None:
        """`log_prob` is the flow's: of x [n, D] given context [n, C], [n]."""
        self.flow, self.log_prob = flow, log_prob
        self.clip = settings.gradient_clip
        self.adam = torch.optim.Adam(flow.parameters(), settings.model_learning_rate, weight_decay=settings.model_l2)

    def step(self, x: Tensor, context: Tensor) -> None:
        """Make x [n, D] more likely given the context [n, C]."""
        self.adam.zero_grad()
        (-self.log_prob(x, context).mean()).backward()
        nn.utils.clip_grad_norm_(self.flow.parameters(), self.clip)
        self.adam.step()


class PlainTraining(Training):
    """Draws each batch by itself, where its step needs it, as the paper's pseudo-code does. Rollouts and the steps of
    the policy are ours."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext) -> None:
        super().__init__(replace(settings, flow="nflows"), demonstrations, context)
        self.plain = [PlainTrainer(flow, flow.log_prob, settings) for flow in (self.models.states, self.models.actions)]

    def update_models(self, updates: int, learning: tuple[bool, bool] = (True, True)) -> None:
        for _ in range(updates):
            batch = self.models.tensors(self._draw(self.replay, self.settings.batch_size, "replay"))
            inputs = self.models.space.model_inputs(batch)
            for trainer, (values, context), moves in zip(self.plain, inputs, learning, strict=True):
                if moves:
                    trainer.step(values, context)

    def _predecessors(self, batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(batches):
            rows = self.rng["demonstrated targets"].integers(len(self.targets), size=self.settings.batch_size)
            yield self.models.sample_predecessors(self.targets[rows], *self.replay.range())
