"""Nearest neighbours: the actions of the demonstrated states nearest to the current one, weighted by distance.

This is the policy of VINN (Pari et al., 2022, "The Surprising Effectiveness of Representation Learning for Visual
Imitation", section 3). Instead of a learned representation of an image it uses the observation itself, in units of its
demonstrated standard deviation. For the k nearest demonstrated states s_i at distances d_i the action is

    a = sum_i w_i a_i,   w_i = exp(-d_i / tau) / sum_j exp(-d_j / tau)

with tau = 1 in VINN. Here tau is proportional to the mean of the k distances, since distances grow with the number of
dimensions. Nothing is trained. Cost: a k-d tree of the demonstrations, and one query of it for each action.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from scipy.spatial import cKDTree
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.interface import FitContext, Method, Policy
from methods.policy import load_network, save_network
from methods.registry import register
from methods.supervised import Scaling, Sizes, Steps

SEARCH: dict[str, dict[str, Any]] = {
    "neighbours": {"low": 1, "high": 32, "log": True},
    "temperature": {"low": 0.03, "high": 3.0, "log": True},
}
"""What tuning may try."""


@dataclass(frozen=True)
class Settings:
    """Settings of nearest neighbours.

    Attributes:
        neighbours: k, or all demonstrated states if there are fewer.
        temperature: tau as a fraction of the mean distance of the k neighbours; smaller values favour the nearest.
    """

    neighbours: Annotated[int, Ge(1)] = 5
    temperature: Annotated[float, Gt(0.0)] = 0.3


@dataclass(frozen=True)
class Shape(Sizes):
    """Everything of a `Table` but its content."""

    rows: Annotated[int, Ge(1), Le(10**9)]
    settings: Settings


class Table(nn.Module):
    """Demonstrated states [N, O], in standard deviations, and their actions [N, A]; nothing in it is trained."""

    states: Tensor
    actions: Tensor

    def __init__(self, shape: Shape, scaling: Scaling) -> None:
        super().__init__()
        self.shape = shape
        self.scaling = scaling
        self.register_buffer("states", torch.empty(shape.rows, shape.observation_size))
        self.register_buffer("actions", torch.empty(shape.rows, shape.action_size))


class NearestNeighbours(Policy):
    """Deterministic actions are the weighted mean of the neighbours' ones; sampled ones are those of one neighbour."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._tree = cKDTree(table.states.numpy())
        self._actions = table.actions.numpy()

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        rows, settings = self.table.shape.rows, self.table.shape.settings
        states = self.table.scaling(torch.from_numpy(np.asarray(observations, np.float32))).numpy()
        k = min(settings.neighbours, rows)
        distances, nearest = (np.reshape(found, (len(states), k)) for found in self._tree.query(states, k))
        weights = neighbour_weights(distances, settings.temperature)
        if deterministic:
            return np.einsum("nk,nka->na", weights, self._actions[nearest]).astype(np.float32)
        drawn = (weights.cumsum(axis=1) < rng.random((len(states), 1))).sum(axis=1).clip(max=k - 1)
        return self._actions[nearest[np.arange(len(states)), drawn]]

    def save(self, folder: Path) -> None:
        save_network(self.table, folder)

    @classmethod
    def load(cls, folder: Path) -> NearestNeighbours:
        def build(shape: Shape) -> Table:
            return Table(shape, Scaling.unknown(shape.observation_size))

        return cls(load_network(folder, Shape, build))


def neighbour_weights(distances: np.ndarray, temperature: float) -> np.ndarray:
    """Weights [n, k] of neighbours at `distances` [n, k], which rise along each row; each row of weights sums to 1."""
    tau = temperature * np.maximum(distances.mean(axis=1, keepdims=True), np.finfo(float).tiny)
    weights = np.exp(-(distances - distances[:, :1]) / tau)
    return weights / weights.sum(axis=1, keepdims=True)


@register
class Knn(Method):
    """k nearest demonstrated states; see the module."""

    name: ClassVar[str] = "knn"
    display_name = "Nearest neighbours"
    Settings: ClassVar[type] = Settings
    needs_environment: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = NearestNeighbours
    summary: ClassVar[str] = "actions of the nearest demonstrated states (VINN without images); nothing is trained"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> NearestNeighbours:
        steps = Steps.of(demonstrations, "cpu")
        task = context.task
        scaling = Scaling.observed(demonstrations)
        table = Table(Shape(task.observation_size, task.action_size, len(steps), self.settings), scaling)
        table.states.copy_(scaling(steps.observations))
        table.actions.copy_(steps.actions.clamp(-1.0, 1.0))
        policy = NearestNeighbours(table)
        context.checkpoint(policy, 1.0, 0)
        return policy
