"""Behavioural cloning with a recurrent network and a mixture head: BC-RNN of robomimic.

Mandlekar et al., 2021, "What Matters in Learning from Offline Human Demonstrations for Robot Manipulation", where it is
the strongest method from low-dimensional states. A recurrent network reads up to `horizon` observations and returns the
mixture of `methods.bc_gmm` at each of them. The loss is the mean of -log pi(a_t | s_t0 ... s_t) over windows of that
length. During rollouts the policy resets its memory every `horizon` steps, as in robomimic's code
(`BC_RNN.get_action`), because it was never trained with a longer one.

Differences from robomimic: a GRU instead of an LSTM, with fewer units because there are few demonstrations; windows
that reach beyond the end of an episode are masked there instead of padded with the last action; learning rate and
weight decay are as in `methods.bc_gmm`. Cost: `horizon` passes of the network per window and update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.bc_gmm import Mixture, MixtureHead, Size
from methods.interface import Actor, FitContext, Method, Policy
from methods.policy import load_network, save_network
from methods.registry import register
from methods.supervised import Optimisation, Scaling, Sizes, Steps, initialised, train

SEARCH: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 3e-5, "high": 3e-3, "log": True},
    "weight_decay": {"low": 1e-3, "high": 10.0, "log": True},
    "horizon": {"choices": [5, 10, 20]},
    "hidden": {"choices": [100, 200, 400]},
    "components": {"choices": [1, 5, 10]},
    "smallest_sigma": {"low": 1e-4, "high": 0.1, "log": True},
    "noise": {"choices": [False, True]},
}
"""What tuning may try; robomimic has 10 steps and 400 units."""

Layers = Annotated[int, Ge(1), Le(8)]


@dataclass(frozen=True)
class Settings:
    """Settings of BC-RNN; "robomimic" is the value in its code.

    Attributes:
        learning_rate: AdamW's, decreasing to 0 along a cosine (robomimic: 1e-4, constant).
        weight_decay: AdamW's decoupled weight decay (robomimic: none).
        batch_size: windows per update, drawn with replacement (robomimic: 100).
        horizon: steps of a window, and of the memory during rollouts (robomimic: 10).
        hidden: units of each recurrent layer (robomimic: 400).
        layers: recurrent layers (robomimic: 2).
        components: Gaussians in the mixture (robomimic: 5).
        smallest_sigma: floor of the standard deviations; actions range from -1 to 1 (robomimic: 1e-4).
        noise: whether sampled actions include the noise of the drawn component (robomimic: no).
    """

    learning_rate: Annotated[float, Gt(0.0)] = 2e-4
    weight_decay: Annotated[float, Ge(0.0)] = 0.1
    batch_size: Annotated[int, Ge(1)] = 64
    horizon: Annotated[int, Ge(1), Le(1000)] = 10
    hidden: Size = 200
    layers: Layers = 2
    components: Annotated[int, Ge(1), Le(64)] = 5
    smallest_sigma: Annotated[float, Gt(0.0), Le(1.0)] = 0.01
    noise: bool = False


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of a `RecurrentNetwork` but its weights."""

    settings: Settings


class RecurrentNetwork(nn.Module):
    """Sequences of observations [n, T, O] in physical units -> mixtures over actions at each step."""

    def __init__(self, shape: Shape, scaling: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.scaling = scaling
        s = shape.settings
        self.body = nn.GRU(shape.observation_size, s.hidden, s.layers, batch_first=True)
        self.head = MixtureHead(s.hidden, shape.action_size, s.components, s.smallest_sigma)

    def forward(self, observations: Tensor, memory: Tensor | None = None) -> tuple[Mixture, Tensor]:
        """Mixtures [n, T, ...], and the memory [layers, n, hidden] after the last step; None is an empty one."""
        features, memory = self.body(self.scaling(observations), memory)
        return self.head(features), memory


class RecurrentPolicy(Policy):
    """A `RecurrentNetwork` that acts."""

    def __init__(self, network: RecurrentNetwork) -> None:
        self.network = network

    def actor(self, count: int) -> Actor:
        return _RecurrentActor(self.network, count)

    def save(self, folder: Path) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: Path) -> RecurrentPolicy:
        def build(shape: Shape) -> RecurrentNetwork:
            return RecurrentNetwork(shape, Scaling.unknown(shape.observation_size))

        return cls(load_network(folder, Shape, build))


class _RecurrentActor(Actor):
    def __init__(self, network: RecurrentNetwork, count: int) -> None:
        self._network = network
        self._device = network.scaling.shift.device
        settings = network.shape.settings
        self._memory = torch.zeros(settings.layers, count, settings.hidden, device=self._device)
        self._steps = np.zeros(count, np.int64)

    def start(self, rows: Sequence[int]) -> None:
        self._steps[list(rows)] = 0

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        chosen = list(rows)
        full = self._steps[chosen] % self._network.shape.settings.horizon == 0
        self._steps[chosen] += 1
        memory = self._memory[:, chosen]
        memory[:, torch.from_numpy(full)] = 0.0
        batch = torch.from_numpy(np.asarray(observations, np.float32)).to(self._device)
        with torch.no_grad():
            mixture, self._memory[:, chosen] = self._network(batch[:, None], memory)
        now = Mixture(mixture.logits[:, 0], mixture.means[:, 0], mixture.sigmas[:, 0])
        return now.act(deterministic, self._network.shape.settings.noise, rng)


@register
class BcRnn(Method):
    """Behavioural cloning with memory; see the module."""

    name: ClassVar[str] = "bc-rnn"
    display_name = "BC-RNN"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = RecurrentPolicy
    summary: ClassVar[str] = "cloning with a recurrent network and a mixture (robomimic's BC-RNN), native in torch"
    small: ClassVar[dict[str, Any]] = {"hidden": 16, "batch_size": 16, "layers": 1}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> RecurrentPolicy:
        s, task = self.settings, context.task
        steps = Steps.of(demonstrations, context.device, consecutive=True)
        shape = Shape(task.observation_size, task.action_size, s)
        scaling = Scaling.observed(demonstrations)
        network = initialised(context, lambda: RecurrentNetwork(shape, scaling))

        def loss(rng: np.random.Generator) -> Tensor:
            rows, inside = steps.windows(rng.integers(len(steps), size=s.batch_size), 0, s.horizon)
            mixture, _ = network(steps.observations[rows])
            return -mixture.log_prob(steps.actions[rows])[inside].mean()

        return train(network, loss, RecurrentPolicy, Optimisation(s.learning_rate, s.weight_decay), context)
