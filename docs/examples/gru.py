"""A policy with memory, in a file of its own: a GRU cloned from whole episodes.

    python -m methods.check docs/examples/gru.py:Gru
    python -m benchmarks.run --methods docs/examples/gru.py:Gru,bc --tasks peg

The training loop, checkpoints and resuming are those that the suite's own cloning methods share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.interface import Actor, FitContext, Method, Mode, Policy
from methods.policy import load_network, save_network
from methods.supervised import Optimisation, Scaling, Sizes, Steps, initialised, train


@dataclass(frozen=True)
class Settings:
    """Settings of recurrent cloning.

    Attributes:
        units: of the GRU.
        learning_rate: AdamW's, falling to 0 along a cosine.
        batch_size: episodes per update, drawn with replacement.
    """

    units: int = 64
    learning_rate: float = 3e-3
    batch_size: int = 8


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of a `Network` but its weights; saved with them."""

    units: int


class Network(nn.Module):
    """Observations [n, T, O] in physical units -> actions [n, T, A], and the memory [1, n, units] afterwards."""

    def __init__(self, shape: Shape, scaling: Scaling) -> None:
        super().__init__()
        self.shape, self.scaling = shape, scaling
        self.gru = nn.GRU(shape.observation_size, shape.units, batch_first=True)
        self.head = nn.Linear(shape.units, shape.action_size)

    def forward(self, observations: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden, memory = self.gru(self.scaling(observations), memory)
        return torch.tanh(self.head(hidden)), memory


class GruPolicy(Policy):
    modes: ClassVar[tuple[Mode, ...]] = ("mean",)  # the network gives one action and no spread

    def __init__(self, network: Network) -> None:
        self.network = network

    def actor(self, count: int) -> GruActor:
        return GruActor(self.network, count)

    def save(self, folder: Path) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: Path) -> GruPolicy:
        return cls(load_network(folder, Shape, lambda shape: Network(shape, Scaling.unknown(shape.observation_size))))


class GruActor(Actor):
    """Holds the memory of `count` episodes, one in each row; the policy holds none."""

    def __init__(self, network: Network, count: int) -> None:
        self.network = network
        self.memory = torch.zeros(1, count, network.shape.units)

    def start(self, rows: Sequence[int]) -> None:
        self.memory[:, list(rows)] = 0.0

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        with torch.no_grad():
            now = torch.from_numpy(np.asarray(observations, np.float32))[:, None]  # [n, 1, O]
            actions, self.memory[:, list(rows)] = self.network(now, self.memory[:, list(rows)])
        return actions[:, 0].numpy()


class Gru(Method):
    name = "gru"
    display_name = "GRU"
    Settings: ClassVar[type] = Settings
    policy = GruPolicy  # which class loads what was saved
    needs_environment = False
    summary = "a recurrent network cloned from whole episodes"
    small: ClassVar[dict[str, Any]] = {"units": 16}  # settings for the check, which trains a few times

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GruPolicy:
        s, task = self.settings, context.task
        steps = Steps.of(demonstrations, context.device, consecutive=True)
        starts = np.unique(steps.first)
        longest = int((steps.last - steps.first).max()) + 1
        scaling, shape = Scaling.observed(demonstrations), Shape(task.observation_size, task.action_size, s.units)
        network = initialised(context, lambda: Network(shape, scaling))  # weights that depend on the seed alone

        def loss(rng: np.random.Generator) -> Tensor:
            rows, inside = steps.windows(rng.choice(starts, s.batch_size), 0, longest)
            predicted, _ = network(steps.observations[rows])
            return (predicted - steps.actions[rows]).square()[inside].mean()

        return train(network, loss, GruPolicy, Optimisation(s.learning_rate, weight_decay=0.0), context)
