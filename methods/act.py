"""Action chunking with transformers (ACT).

Zhao et al., 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", section 4 and algorithms 1
and 2. A conditional variational autoencoder over the next `chunk` actions a_t:t+k given the observation s_t:

    q(z | s_t, a_t:t+k)   a transformer encoder reads [CLS], s_t and the actions; mean and log variance of z from CLS
    p(a_t:t+k | s_t, z)   a transformer encoder reads z and s_t; a decoder asks it once for each step of the chunk

    loss = mean |a - a'| + beta KL(q(z | s, a) || N(0, I))

During rollouts z is 0, the prior's mean, so actions are deterministic. A chunk is predicted at every step. The last
`chunk` predictions for the current step are averaged with weights exp(-m i), where i = 0 is the oldest (temporal
ensembling).

Differences from the paper's code: states only, without images; a network sized for 10 to 100 demonstrations of
50 steps; queries are the decoder's input instead of being added in each of its layers; the mean of |a - a'| is over
steps within the episode; the learning rate follows a cosine schedule. Cost: per update, two passes of encoders over
k + 2 and 2 tokens and one of a decoder over k; per step, one pass of the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.interface import Actor, Diverged, FitContext, Method, MethodError, Mode, Policy
from methods.policy import load_network, save_network
from methods.registry import register
from methods.supervised import Optimisation, Scaling, Sizes, Steps, initialised, train

SEARCH: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "weight_decay": {"low": 1e-4, "high": 1.0, "log": True},
    "chunk": {"choices": [4, 8, 16, 20]},
    "ensembling": {"choices": [-2.0, -0.5, -0.1, 0.01, 0.1]},
    "kl_weight": {"choices": [0.01, 0.1, 10.0]},
    "hidden": {"choices": [64, 128]},
}
"""What tuning may try. The paper's chunk of 100 steps lasts 2 seconds, as 20 steps do at 10 Hz. The paper's
`kl_weight` of 10 leaves z almost unused: after 300 to 400 updates on the clip (ten demonstrations, one seed) it carried
about 0.001 nats with 10, 1 or 0.1, and 1 nat with 0.01."""

Width = Annotated[int, Ge(4), Le(1024)]
Layers = Annotated[int, Ge(1), Le(16)]


@dataclass(frozen=True)
class Settings:
    """Settings of ACT; "paper" is Zhao et al.'s table III or the default of their code.

    Attributes:
        learning_rate: AdamW's, decreasing to 0 along a cosine (paper: 1e-5, constant, with pretrained vision).
        weight_decay: AdamW's decoupled weight decay (paper: 1e-4).
        batch_size: windows per update, drawn with replacement (paper: 8).
        chunk: k, actions predicted at once (paper: 100 of 20 ms).
        ensembling: m, see the module (paper: 0.01). Negative values give more weight to newer predictions, which at
            10 Hz and in contact succeeded more often: 32 % of 40 rollouts on the clip with -0.5, 20 with 0.01, 10 with
            0.5 (ten demonstrations of the tuning split, one seed).
        kl_weight: beta, weight of the KL divergence of the latent variable (paper: 10).
        hidden: width of all tokens (paper: 512).
        feedforward: units of the feed-forward networks (paper: 3200).
        encoder_layers: layers of each encoder (paper: 4).
        decoder_layers: layers of the decoder (paper: 7).
        heads: attention heads, which divide `hidden` (paper: 8).
        latent: size of the latent variable z (paper: 32).
        dropout: fraction of units dropped while training (paper: 0.1).
    """

    learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    weight_decay: Annotated[float, Ge(0.0)] = 1e-2
    batch_size: Annotated[int, Ge(1)] = 64
    chunk: Annotated[int, Ge(1), Le(1000)] = 8
    ensembling: Annotated[float, Ge(-10.0), Le(10.0)] = -0.5
    kl_weight: Annotated[float, Ge(0.0)] = 10.0
    hidden: Width = 64
    feedforward: Width = 128
    encoder_layers: Layers = 2
    decoder_layers: Layers = 2
    heads: Annotated[int, Ge(1)] = 4
    latent: Annotated[int, Ge(1), Le(1024)] = 8
    dropout: Annotated[float, Ge(0.0), Lt(1.0)] = 0.1

    def __post_init__(self) -> None:
        """Raises MethodError where the heads do not divide the width."""
        if self.hidden % self.heads:
            raise MethodError(f"heads = {self.heads} must divide hidden = {self.hidden}")


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of an `ActNetwork` but its weights."""

    settings: Settings


class ActNetwork(nn.Module):
    """Observations [n, O] in physical units -> the next `chunk` actions [n, k, A], fractions of the bounds."""

    def __init__(self, shape: Shape, observations: Scaling, actions: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.observations, self.actions = observations, actions
        s, width = shape.settings, shape.settings.hidden

        def encoder() -> nn.TransformerEncoder:
            layer = nn.TransformerEncoderLayer(width, s.heads, s.feedforward, s.dropout, batch_first=True)
            return nn.TransformerEncoder(layer, s.encoder_layers, enable_nested_tensor=False)

        self.summary = nn.Parameter(0.02 * torch.randn(width))  # CLS
        self.read_state, self.read_action = (nn.Linear(n, width) for n in (shape.observation_size, shape.action_size))
        self.posterior_places = nn.Parameter(0.02 * torch.randn(s.chunk + 2, width))
        self.posterior = encoder()
        self.to_latent = nn.Linear(width, 2 * s.latent)
        self.from_latent, self.state = (nn.Linear(n, width) for n in (s.latent, shape.observation_size))
        self.places = nn.Parameter(0.02 * torch.randn(2, width))
        self.encoder = encoder()
        self.queries = nn.Parameter(torch.randn(s.chunk, width))
        layer = nn.TransformerDecoderLayer(width, s.heads, s.feedforward, s.dropout, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, s.decoder_layers)
        self.to_action = nn.Linear(width, shape.action_size)

    def infer(self, states: Tensor, actions: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, each [n, latent], from scaled states [n, O] and actions [n, k, A]."""
        summary = self.summary.expand(len(states), 1, -1)
        tokens = torch.cat([summary, self.read_state(states)[:, None], self.read_action(actions)], dim=1)
        absent = torch.cat([torch.zeros_like(inside[:, :1]).expand(-1, 2), ~inside], dim=1)
        read = self.posterior(tokens + self.posterior_places, src_key_padding_mask=absent)
        mean, log_variance = self.to_latent(read[:, 0]).chunk(2, dim=-1)
        return mean, log_variance

    def decode(self, states: Tensor, latent: Tensor) -> Tensor:
        """Scaled actions [n, k, A] for scaled states [n, O] and z [n, latent]."""
        tokens = torch.stack([self.from_latent(latent), self.state(states)], dim=1)
        memory = self.encoder(tokens + self.places)
        return self.to_action(self.decoder(self.queries.expand(len(states), -1, -1), memory))

    def forward(self, observations: Tensor) -> Tensor:
        latent = torch.zeros(len(observations), self.shape.settings.latent, device=observations.device)
        return self.actions.inverse(self.decode(self.observations(observations), latent))

    def loss(self, observations: Tensor, actions: Tensor, inside: Tensor, kl_weight: float) -> Tensor:
        """The loss of windows: observations [n, O], actions [n, k, A], and which of them are within the episode."""
        states, wanted = self.observations(observations), self.actions(actions)
        mean, log_variance = self.infer(states, wanted, inside)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        error = (self.decode(states, latent) - wanted).abs()[inside].mean()
        return error + kl_weight * kl_from_standard(mean, log_variance).mean()


def kl_from_standard(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)) [n] of two [n, Z]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)


class ActPolicy(Policy):
    """An `ActNetwork` that acts, with temporal ensembling."""

    modes: ClassVar[tuple[Mode, ...]] = ("mean",)

    def __init__(self, network: ActNetwork) -> None:
        self.network = network

    def actor(self, count: int) -> Actor:
        return _ActActor(self.network, count)

    def save(self, folder: Path) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: Path) -> ActPolicy:
        def build(shape: Shape) -> ActNetwork:
            return ActNetwork(shape, Scaling.unknown(shape.observation_size), Scaling.unknown(shape.action_size))

        return cls(load_network(folder, Shape, build))


class Ensemble:
    """Weighted means of overlapping chunks, for episodes side by side.

    For each step to come it keeps the sum of what was predicted of it, and of the weights. A new prediction has the
    weight 1, and all older ones are multiplied by exp(m) each time, which leaves the ratios exp(-m i) of the paper.
    """

    def __init__(self, count: int, chunk: int, action_size: int, m: float) -> None:
        self._growth = np.exp(m)
        self._sums = np.zeros((count, chunk, action_size))
        self._weights = np.zeros((count, chunk, 1))

    def forget(self, rows: list[int]) -> None:
        """Begin an episode in these rows."""
        self._sums[rows] = self._weights[rows] = 0.0

    def add(self, chunks: np.ndarray, rows: list[int]) -> np.ndarray:
        """Take the chunks [n, k, A] predicted now, return the actions [n, A] of this step, and move on to the next."""
        sums = self._growth * self._sums[rows] + chunks
        weights = self._growth * self._weights[rows] + 1.0
        for kept, new in ((self._sums, sums), (self._weights, weights)):
            kept[rows] = np.concatenate([new[:, 1:], np.zeros_like(new[:, :1])], axis=1)
        return sums[:, 0] / weights[:, 0]


class _ActActor(Actor):
    def __init__(self, network: ActNetwork, count: int) -> None:
        settings = network.shape.settings
        self._network = network
        self._ensemble = Ensemble(count, settings.chunk, network.shape.action_size, settings.ensembling)

    def start(self, rows: Sequence[int]) -> None:
        self._ensemble.forget(list(rows))

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        batch = torch.from_numpy(np.asarray(observations, np.float32)).to(self._network.queries.device)
        with torch.no_grad():
            chunks = self._network(batch).cpu().numpy()
        if not np.isfinite(chunks).all():
            raise Diverged("the policy's actions are not finite")
        return np.clip(self._ensemble.add(chunks, list(rows)), -1.0, 1.0).astype(np.float32)


@register
class ActionChunking(Method):
    """Action chunking with transformers; see the module."""

    name: ClassVar[str] = "act"
    display_name = "ACT"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = ActPolicy
    summary: ClassVar[str] = "action chunking with transformers (Zhao et al., 2023) without images, native in torch"
    small: ClassVar[dict[str, Any]] = {
        "hidden": 16,
        "feedforward": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "batch_size": 16,
    }

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> ActPolicy:
        s, task = self.settings, context.task
        steps = Steps.of(demonstrations, context.device, consecutive=True)
        shape = Shape(task.observation_size, task.action_size, s)
        scalings = Scaling.observed(demonstrations), Scaling.standard(steps.actions.cpu().numpy())
        network = initialised(context, lambda: ActNetwork(shape, *scalings))

        def loss(rng: np.random.Generator) -> Tensor:
            chosen = rng.integers(len(steps), size=s.batch_size)
            rows, inside = steps.windows(chosen, 0, s.chunk)
            return network.loss(steps.observations[rows[:, 0]], steps.actions[rows], inside, s.kl_weight)

        return train(network, loss, ActPolicy, Optimisation(s.learning_rate, s.weight_decay), context)
