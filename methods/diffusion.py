"""Diffusion policy: chunks of actions drawn by denoising, conditioned on the last observations.

Chi et al., 2023, "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion", section 2 and appendix; DDPM (Ho
et al., 2020), the squared-cosine schedule of Nichol & Dhariwal (2021, equation 17), and DDIM sampling (Song et al.,
2021, equation 12 with eta = 0). With x_0 the next `chunk` actions, scaled to -1 ... 1 over the demonstrations,

    x_t  = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e,   e ~ N(0, I)
    loss = mean |x_0 - x'(x_t, t, s_t-h+1:t)|^2

During rollouts x' turns noise into a chunk in `sampling_steps` steps of DDIM; the first `execute` actions of the chunk
are taken before the next one is drawn. The weights are an exponential moving average, as in Chi et al.'s code. Only
sampled actions exist: the mean of a diffusion model is not available, and denoising from 0, an input never seen in
training, does not give it.

Differences from the reference: the network predicts the actions, where the reference predicts the noise e
(`prediction = "noise"`); two actions of a chunk are executed instead of eight; a residual network with modulated layer
norms (as in Peebles & Xie, 2023) instead of a one-dimensional U-Net, since a chunk of joint velocities is a short
vector here; chunks start at the current step; observations are scaled to unit standard deviation, as for all methods
here, instead of to -1 ... 1; sampling takes 10 steps of DDIM, where the reference for states takes 100 of DDPM; there
is dropout; AdamW has PyTorch's betas (reference: 0.95 and 0.999); the learning rate is higher and training shorter.
Cost: one pass of the network per update; `sampling_steps` passes every `execute` steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.nn import functional

from envs.demonstrations import Demonstrations
from methods.interface import Actor, Diverged, FitContext, Method, MethodError, Mode, Policy
from methods.policy import load_network, save_network
from methods.registry import register
from methods.supervised import Optimisation, Scaling, Sizes, Steps, initialised, train

SEARCH: dict[str, dict[str, Any]] = {
    "learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "weight_decay": {"low": 1e-6, "high": 1.0, "log": True},
    "history": {"choices": [1, 2, 4]},
    "chunk": {"choices": [8, 16]},
    "execute": {"choices": [1, 2, 4, 8]},
    "prediction": {"choices": ["noise", "actions"]},
    "hidden": {"choices": [128, 256]},
}
"""What tuning may try."""

Size = Annotated[int, Ge(1), Le(4096)]
Width = Annotated[int, Ge(2), Le(4096)]
Window = Annotated[int, Ge(1), Le(1000)]
Blocks = Annotated[int, Ge(1), Le(32)]
Noises = Annotated[int, Ge(2), Le(10_000)]
Dropout = Annotated[float, Ge(0.0), Lt(1.0)]
Prediction = Literal["noise", "actions"]


@dataclass(frozen=True)
class Settings:
    """Settings of diffusion policy; "reference" is the value in Chi et al.'s code for states.

    Attributes:
        learning_rate: AdamW's, rising over `warmup` updates and then decreasing to 0 along a cosine (reference: 1e-4).
        weight_decay: AdamW's decoupled weight decay (reference: 1e-6).
        warmup: updates over which the learning rate rises (reference: 500).
        batch_size: windows per update, each with its own noise level (reference: 256).
        history: h, number of observations that the policy sees (reference: 2).
        chunk: actions that are denoised together (reference: 16).
        execute: how many actions of a chunk are taken before the next one is drawn (reference: 8 positions; here
            8 velocities would be a sixth of an episode).
        noise_levels: steps of the forward process (reference: 100).
        sampling_steps: steps of DDIM, which divide `noise_levels` (reference: 100 of DDPM in simulation, 10 to 16 of
            DDIM on robots).
        prediction: what the network predicts from a noisy chunk: its "noise" (reference) or its "actions". Where
            sampling begins, an error of the noise weighs seven times as much in the actions, so that needs longer
            training.
        hidden: width of the residual network.
        blocks: number of residual blocks.
        dropout: fraction of units dropped in these blocks while training.
    """

    learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    weight_decay: Annotated[float, Ge(0.0)] = 1e-2
    warmup: Annotated[int, Ge(0)] = 100
    batch_size: Annotated[int, Ge(1)] = 256
    history: Window = 2
    chunk: Window = 8
    execute: Window = 2
    noise_levels: Noises = 100
    sampling_steps: Annotated[int, Ge(1)] = 10
    prediction: Prediction = "actions"
    hidden: Width = 256
    blocks: Blocks = 3
    dropout: Dropout = 0.1

    def __post_init__(self) -> None:
        """Raises MethodError for numbers of steps that do not fit each other."""
        if self.execute > self.chunk:
            raise MethodError(f"execute = {self.execute} actions cannot be taken of chunk = {self.chunk}")
        if self.noise_levels % self.sampling_steps:
            raise MethodError(f"sampling_steps = {self.sampling_steps} must divide noise_levels = {self.noise_levels}")
        if self.hidden % 2:
            raise MethodError(f"hidden = {self.hidden} must be even")


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of a `Denoiser` but its weights."""

    settings: Settings


def squared_cosine(levels: int) -> np.ndarray:
    """abar [levels] of the schedule whose betas are 1 - f(t + 1) / f(t), at most .999, f = cos^2 with offset .008."""
    f = np.cos((np.linspace(0.0, 1.0, levels + 1) + 0.008) / 1.008 * math.pi / 2.0) ** 2
    return np.cumprod(1.0 - np.minimum(1.0 - f[1:] / f[:-1], 0.999))


def ddim_step(noisy: Tensor, clean: Tensor, abar: float, abar_next: float) -> Tensor:
    """Take a noisy chunk one step to less noise, given what is thought to be its clean one; deterministic.

    The noise is what lies between the two, at the present level; the same is left at the next one.
    """
    noise = (noisy - math.sqrt(abar) * clean) / math.sqrt(1.0 - abar)
    return math.sqrt(abar_next) * clean + math.sqrt(1.0 - abar_next) * noise


class Block(nn.Module):
    """x + W2 silu(W1 (norm(x) (1 + scale) + shift)), where scale and shift depend on what it is conditioned on."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.inner = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition).chunk(2, dim=-1)
        return x + self.inner(self.norm(x) * (1.0 + scale) + shift)


class Denoiser(nn.Module):
    """Noisy chunks, noise levels and histories of observations -> noise or actions, all scaled; and how to sample."""

    abar: Tensor

    def __init__(self, shape: Shape, observations: Scaling, actions: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.observations, self.actions = observations, actions
        s = shape.settings
        width, flat = s.hidden, s.chunk * shape.action_size
        self.register_buffer("abar", torch.tensor(squared_cosine(s.noise_levels), dtype=torch.float32))
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.history = nn.Sequential(
            nn.Linear(s.history * shape.observation_size, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.read = nn.Linear(flat, width)
        self.blocks = nn.ModuleList(Block(width, s.dropout) for _ in range(s.blocks))
        self.tell = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, flat))

    def forward(self, noisy: Tensor, level: Tensor, history: Tensor) -> Tensor:
        """What the network tells of noisy chunks [n, k, A] at levels [n], after scaled observations [n, h, O]."""
        half = self.shape.settings.hidden // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=level.device) / half)
        angles = level[:, None] * rates
        condition = self.level(torch.cat([angles.sin(), angles.cos()], dim=-1)) + self.history(history.flatten(1))
        condition = functional.silu(condition)
        x = self.read(noisy.flatten(1)) + condition
        for block in self.blocks:
            x = block(x, condition)
        return self.tell(x).view_as(noisy)

    def loss(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The loss of windows: observations [n, h, O] and actions [n, k, A], in physical units and fractions."""
        clean = self.actions(actions)
        level = torch.randint(self.shape.settings.noise_levels, (len(clean),), device=clean.device)
        noise = torch.randn_like(clean)
        abar = self.abar[level][:, None, None]
        told = self(abar.sqrt() * clean + (1.0 - abar).sqrt() * noise, level, self.observations(observations))
        return functional.mse_loss(told, noise if self.shape.settings.prediction == "noise" else clean)

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Chunks [n, k, A] in fractions of the bounds, for observations [n, h, O] and standard normal noise [n, k, A].

        Levels are spaced as in Chi et al.'s code ("leading"): 90, 80, ..., 0 for ten steps of a hundred.
        """
        s, history, x = self.shape.settings, self.observations(observations), noise
        stride, abars = s.noise_levels // s.sampling_steps, squared_cosine(s.noise_levels)
        for level in range(s.noise_levels - stride, -1, -stride):
            abar, abar_next = float(abars[level]), float(abars[level - stride]) if level else 1.0
            told = self(x, torch.full((len(x),), level, device=x.device), history)
            if s.prediction == "noise":
                told = (x - math.sqrt(1.0 - abar) * told) / math.sqrt(abar)
            x = ddim_step(x, told.clamp(-1.0, 1.0), abar, abar_next)
        return self.actions.inverse(x)


class DiffusionPolicy(Policy):
    """A `Denoiser` that acts, chunk by chunk."""

    modes: ClassVar[tuple[Mode, ...]] = ("sampled",)

    def __init__(self, network: Denoiser) -> None:
        self.network = network

    def actor(self, count: int) -> Actor:
        return _DiffusionActor(self.network, count)

    def save(self, folder: Path) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: Path) -> DiffusionPolicy:
        def build(shape: Shape) -> Denoiser:
            return Denoiser(shape, Scaling.unknown(shape.observation_size), Scaling.unknown(shape.action_size))

        return cls(load_network(folder, Shape, build))


class _DiffusionActor(Actor):
    def __init__(self, network: Denoiser, count: int) -> None:
        shape, s = network.shape, network.shape.settings
        self._network = network
        self._device = network.abar.device
        self._history = np.zeros((count, s.history, shape.observation_size), np.float32)
        self._chunk = np.zeros((count, s.chunk, shape.action_size), np.float32)
        self._taken = np.full(count, -1)  # actions taken of the chunk; -1 before the first observation

    def start(self, rows: Sequence[int]) -> None:
        self._taken[list(rows)] = -1

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        chosen, s = np.asarray(rows), self._network.shape.settings
        new = self._taken[chosen] < 0
        earlier = np.where(new[:, None, None], observations[:, None], self._history[chosen])
        self._history[chosen] = np.concatenate([earlier[:, 1:], observations[:, None]], axis=1)
        # All rows draw noise and are denoised together, so that no row changes what another one gets.
        noise = rng.standard_normal((len(chosen), s.chunk, self._chunk.shape[2]), dtype=np.float32)
        due = new | (self._taken[chosen] >= s.execute)
        if due.any():
            with torch.no_grad():
                drawn = self._network.sample(
                    torch.from_numpy(self._history[chosen]).to(self._device), torch.from_numpy(noise).to(self._device)
                )
            chunks = drawn.cpu().numpy()
            if not np.isfinite(chunks).all():
                raise Diverged("the policy's actions are not finite")
            self._chunk[chosen[due]] = np.clip(chunks[due], -1.0, 1.0)
            self._taken[chosen[due]] = 0
        actions = self._chunk[chosen, self._taken[chosen]]
        self._taken[chosen] += 1
        return actions


@register
class Diffusion(Method):
    """Diffusion policy; see the module."""

    name: ClassVar[str] = "diffusion"
    display_name = "Diffusion policy"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = DiffusionPolicy
    summary: ClassVar[str] = "diffusion policy (Chi et al., 2023) from states, native in torch"
    small: ClassVar[dict[str, Any]] = {"hidden": 32, "blocks": 1, "batch_size": 32}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> DiffusionPolicy:
        s, task = self.settings, context.task
        steps = Steps.of(demonstrations, context.device, consecutive=True)
        shape = Shape(task.observation_size, task.action_size, s)
        scalings = Scaling.observed(demonstrations), Scaling.limits(steps.actions.cpu().numpy())
        network = initialised(context, lambda: Denoiser(shape, *scalings))

        def loss(rng: np.random.Generator) -> Tensor:
            rows, _ = steps.windows(rng.integers(len(steps), size=s.batch_size), s.history - 1, s.chunk)
            return network.loss(steps.observations[rows[:, : s.history]], steps.actions[rows[:, s.history - 1 :]])

        how = Optimisation(s.learning_rate, s.weight_decay, s.warmup, averaged=True)
        return train(network, loss, DiffusionPolicy, how, context)
