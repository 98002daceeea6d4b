"""Parts shared by methods that train a network on demonstrations alone: ordered steps, scaling, the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from envs.demonstrations import Demonstrations, Statistics
from methods.interface import Diverged, FitContext, MethodError, Policy, State
from methods.policy import MOST_UNITS, SMALLEST_SCALE

N = TypeVar("N", bound=nn.Module)
P = TypeVar("P", bound=Policy)

CHECKPOINT_EVERY = 50
"""Updates between two checkpoints."""


@dataclass(frozen=True)
class Sizes:
    """What a task says about the shape of a network; bounded, because it is read from files too."""

    observation_size: Annotated[int, Ge(1), Le(MOST_UNITS)]
    action_size: Annotated[int, Ge(1), Le(MOST_UNITS)]


@dataclass(frozen=True)
class Steps:
    """Demonstrated steps in order, episode after episode.

    Attributes:
        observations: [N, O] float32.
        actions: [N, A] float32, fractions of the bounds.
        first: [N] the row where the episode of each row begins ...
        last: [N] ... and where it ends.
    """

    observations: Tensor
    actions: Tensor
    first: np.ndarray
    last: np.ndarray

    @staticmethod
    def of(demonstrations: Demonstrations, device: str, consecutive: bool = False) -> Steps:
        """All steps with an action.

        Args:
            demonstrations: what the expert showed.
            device: where the tensors live.
            consecutive: refuse episodes with steps left out, for methods that learn what follows what.

        Raises:
            MethodError: there are no actions, or steps are missing between others.
        """
        if demonstrations.actions is None:
            raise MethodError("cloning needs demonstrated actions, and these demonstrations hold states only")
        observations, actions = demonstrations.pairs()
        if not len(actions):
            raise MethodError("cloning needs demonstrated actions, and these demonstrations hold final states only")
        there = ~demonstrations.terminal
        episode, step = demonstrations.episode[there], demonstrations.time_step[there]
        if consecutive and (gaps := int((np.diff(step)[np.diff(episode) == 0] != 1).sum())):
            raise MethodError(
                f"sequences of actions need every step of an episode, and these demonstrations leave steps out in "
                f"{gaps} places; use demonstrations with every=1"
            )
        _, index, counts = np.unique(episode, return_index=True, return_counts=True)
        first = np.repeat(index, counts)
        return Steps(
            torch.tensor(observations, device=device),
            torch.tensor(actions, device=device),
            first,
            first + np.repeat(counts, counts) - 1,
        )

    def __len__(self) -> int:
        return len(self.actions)

    def windows(self, rows: np.ndarray, before: int, after: int) -> tuple[Tensor, Tensor]:
        """The rows around some rows, within their episodes.

        Args:
            rows: [n].
            before: how many rows before each of them.
            after: how many rows from each of them on, itself included.

        Returns:
            rows [n, before + after], where those beyond an end of the episode repeat the row at that end; and which of
            them lie within the episode.
        """
        wanted = rows[:, None] + np.arange(-before, after)
        found = np.clip(wanted, self.first[rows, None], self.last[rows, None])
        device = self.actions.device
        return torch.from_numpy(found).to(device), torch.from_numpy(found == wanted).to(device)


class Scaling(nn.Module):
    """An affine map of each entry of the last dimension, and its inverse."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """Map x to (x - shift) / scale; both [D]."""
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(np.maximum(scale, SMALLEST_SCALE), dtype=torch.float32))

    @staticmethod
    def observed(demonstrations: Demonstrations) -> Scaling:
        """To mean 0 and standard deviation 1 of all that was observed while the demonstrations were recorded."""
        return Scaling(demonstrations.statistics.mean, demonstrations.statistics.std)

    @staticmethod
    def standard(values: np.ndarray) -> Scaling:
        """To mean 0 and standard deviation 1 over the rows of `values` [N, D]."""
        statistics = Statistics.of(values)
        return Scaling(statistics.mean, statistics.std)

    @staticmethod
    def limits(values: np.ndarray) -> Scaling:
        """To the range -1 ... 1 over the rows of `values` [N, D]."""
        low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
        return Scaling((low + high) / 2.0, (high - low) / 2.0)

    @staticmethod
    def unknown(size: int) -> Scaling:
        """For a network whose values are about to be read from a file."""
        return Scaling(np.zeros(size), np.ones(size))

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.shift) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.scale + self.shift


@dataclass(frozen=True)
class Optimisation:
    """How a network is trained, by AdamW.

    Attributes:
        learning_rate: the highest.
        weight_decay: decoupled (Loshchilov & Hutter, 2019): the share of the learning rate by which weights shrink.
        warmup: updates over which the learning rate rises from 0; from there it falls to 0 along a cosine.
        averaged: act with an exponential moving average of the weights.
    """

    learning_rate: float
    weight_decay: float
    warmup: int = 0
    averaged: bool = False

    def rate(self, done: int, updates: int) -> float:
        """The learning rate of the update after `done` of `updates`."""
        if done < self.warmup:
            return self.learning_rate * (done + 1) / self.warmup
        share = (done - self.warmup) / max(1, updates - self.warmup)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def average_decay(done: int) -> float:
    """Weight of the old average after `done` updates; 1 - (1 + done)^-0.75, at most .9999 (Chi et al.'s code)."""
    return min(1.0 - (1.0 + done) ** -0.75, 0.9999)


def initialised(context: FitContext, make: Callable[[], N]) -> N:
    """A new network, with initial weights that depend on the trial's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seeds.integer("policy"))
        return make().to(context.device)


def train(
    network: N,
    loss: Callable[[np.random.Generator], Tensor],
    policy_of: Callable[[N], P],
    how: Optimisation,
    context: FitContext,
) -> P:
    """Minimise a loss over `context.budget.policy_updates` updates of a network.

    Args:
        network: trained in place.
        loss: the loss of a random batch, a scalar; what it draws beyond the generator it is given, from PyTorch's
            global generator (dropout, noise), depends on the trial's seed alone as well.
        policy_of: a policy that acts with the network it is given.
        how: optimiser, schedule and averaging.
        context: the trial's.

    Returns:
        The policy of the network, or of its moving average, after the last update.

    Raises:
        Diverged: the loss is not finite.
    """
    updates = context.budget.policy_updates
    optimizer = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True)
    acting = deepcopy(network) if how.averaged else network
    acting.eval()
    policy = policy_of(acting)
    rng = context.seeds.generator("demonstrated batches")
    done = 0

    def snapshot() -> State:
        return {
            "network": network.state_dict(),
            "average": acting.state_dict() if how.averaged else None,
            "optimizer": optimizer.state_dict(),
            "batches": rng.bit_generator.state,
            "done": done,
        }

    state = context.resume()
    if state is not None:
        network.load_state_dict(state["network"])
        if how.averaged:
            acting.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        rng.bit_generator.state = state["batches"]
        done = state["done"]

    losses: list[Tensor] = []
    while done < updates:
        network.train()
        for group in optimizer.param_groups:
            group["lr"] = how.rate(done, updates)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            value = loss(rng)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
        optimizer.step()
        losses.append(value.detach())
        if how.averaged:
            weight = 1.0 - average_decay(done)
            with torch.no_grad():
                for average, now in zip(acting.parameters(), network.parameters(), strict=True):
                    average.lerp_(now, weight)
        done += 1
        if done % CHECKPOINT_EVERY == 0 or done == updates:
            mean = float(torch.stack(losses).mean())
            losses.clear()
            if not math.isfinite(mean):
                raise Diverged(f"the loss is {mean} after {done} updates; lower the learning rate")
            network.eval()
            context.report(done, loss=mean)
            context.checkpoint(policy, done / updates, done, snapshot)
    network.eval()
    return policy
