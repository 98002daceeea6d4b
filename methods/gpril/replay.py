"""The replay buffer: experience as one stream of steps, and batches of (state, action, future state) drawn from it.

Paper, section 2.1: episodes are chained by artificial transitions from terminal to initial states, which makes the
process ergodic. Section 3.2 and equation 10: a source step t is paired with the state j + 1 steps later, where
j ~ Geom(1 - gamma).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Episode:
    """One rollout of T steps.

    Attributes:
        observations: [T + 1, O] float32, the last one terminal.
        actions: [T, A] float32.
        means: [T, A] float32, mean of the policy that acted.
        sigmas: [T, A] float32, its standard deviation, exploration included.
    """

    observations: np.ndarray
    actions: np.ndarray
    means: np.ndarray
    sigmas: np.ndarray


@dataclass(frozen=True)
class FutureStateBatch(Generic[Array]):
    """A batch of steps with a later state of each: arrays, or tensors on a device.

    Attributes:
        states: [n, O].
        actions: [n, A].
        targets: [n, O], the states j + 1 steps later.
        means: [n, A], mean of the policy that acted.
        sigmas: [n, A], its standard deviation, exploration included.
    """

    states: Array
    actions: Array
    targets: Array
    means: Array
    sigmas: Array

    def split(self, size: int) -> list[FutureStateBatch[Array]]:
        """Batches of `size` rows; the last may be smaller."""
        columns = (self.states, self.actions, self.targets, self.means, self.sigmas)
        starts = range(0, len(self.states), size)
        return [FutureStateBatch(*(column[start : start + size] for column in columns)) for start in starts]


class Replay:
    """The newest `size` rows of the stream. A row is a state with its action, or a terminal state without one."""

    def __init__(self, size: int, observation_size: int, action_size: int) -> None:
        self.size = size
        self._observations = np.zeros((size, observation_size), np.float32)
        self._actions = np.zeros((size, action_size), np.float32)
        self._means = np.zeros((size, action_size), np.float32)
        self._sigmas = np.ones((size, action_size), np.float32)
        self._ends = np.zeros(size, np.int64)  # index in the stream of the last row of each row's episode
        self._terminal = np.ones(size, bool)
        self._written = 0  # rows added so far, including those that were dropped since

    def __len__(self) -> int:
        return min(self._written, self.size)

    def add(self, episode: Episode) -> None:
        """Append an episode, dropping the oldest rows if the buffer is full."""
        rows = len(episode.observations)
        keep = min(rows, self.size)  # of an episode longer than the buffer only the end is kept
        first = self._written + rows - keep
        slots = np.arange(first, first + keep) % self.size
        self._observations[slots] = episode.observations[-keep:]
        with_action = slots[:-1]
        self._actions[with_action] = episode.actions[rows - keep :]
        self._means[with_action] = episode.means[rows - keep :]
        self._sigmas[with_action] = episode.sigmas[rows - keep :]
        self._terminal[slots] = False
        self._terminal[slots[-1]] = True
        self._written += rows
        self._ends[slots] = self._written - 1

    def get_state(self) -> dict[str, Any]:
        """All rows and their position in the stream, as plain data."""
        return {"written": self._written} | {name: rows[: len(self)] for name, rows in self._columns().items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `get_state` of a buffer of the same size returned."""
        self._written = state["written"]
        for name, rows in self._columns().items():
            rows[: len(self)] = state[name]

    def _columns(self) -> dict[str, np.ndarray]:
        """All arrays of rows, by name; views, not copies."""
        return {
            "observations": self._observations,
            "actions": self._actions,
            "means": self._means,
            "sigmas": self._sigmas,
            "ends": self._ends,
            "terminal": self._terminal,
        }

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of each observation entry, [O] each."""
        rows = self._observations[: len(self)]
        return rows.min(axis=0), rows.max(axis=0)

    def sample(self, count: int, gamma: float, cross_episodes: bool, rng: np.random.Generator) -> FutureStateBatch:
        """Draw `count` steps and a later state of each (equation 10).

        A terminal state is a target but never a source: no action was taken there. Pairs whose target is not in the
        buffer yet are drawn again, and so are those that cross the end of an episode unless `cross_episodes`.

        Raises:
            ValueError: the buffer holds no step.
        """
        oldest = self._written - len(self)
        if len(self) < 2 or self._terminal[: len(self)].all():
            raise ValueError("the replay buffer holds no step to draw")
        sources: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        missing = count
        while missing > 0:
            draws = 2 * missing + 16
            step = rng.integers(oldest, self._written, size=draws)
            target = step + rng.geometric(1.0 - gamma, size=draws)  # NumPy counts from 1: this is j + 1
            last = self._written - 1 if cross_episodes else self._ends[step % self.size]
            good = (~self._terminal[step % self.size] & (target <= last)).nonzero()[0][:missing]
            sources.append(step[good])
            targets.append(target[good])
            missing -= len(good)
        source, target = np.concatenate(sources) % self.size, np.concatenate(targets) % self.size
        return FutureStateBatch(
            self._observations[source],
            self._actions[source],
            self._observations[target],
            self._means[source],
            self._sigmas[source],
        )
