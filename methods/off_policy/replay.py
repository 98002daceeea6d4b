"""The replay buffer: the demonstrated episodes, followed by whole episodes of the policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.interface import MethodError, State


@dataclass(frozen=True)
class Batch:
    """B sampled steps, each with the m <= n steps of its episode that begin with it, padded to n.

    Attributes:
        states: [B, O] observations where the first step begins.
        actions: [B, n, A].
        features: [B, n + 1, O] what critics and discriminators see of the n + 1 states along the steps.
        counted: [B, n] float32, 1 for the m steps and 0 for the padding, which repeats the episode's last state.
        reached: [B, O] the state after the m-th step.
        reached_features: [B, O] its features.
        length: [B] float32, m.
        ended: [B] bool, whether `reached` is terminal: the episode ended there, other than by a time limit.
        demonstrated: [B] bool, whether the steps were demonstrated.
    """

    states: Tensor
    actions: Tensor
    features: Tensor
    counted: Tensor
    reached: Tensor
    reached_features: Tensor
    length: Tensor
    ended: Tensor
    demonstrated: Tensor


class Replay:
    """Whole episodes one after the other, the demonstrated ones first: a row per state, the last one included.

    Attributes:
        steps: environment steps stored.
        shown: how many of them were demonstrated.
    """

    def __init__(
        self,
        capacity: int,
        observation_size: int,
        action_size: int,
        device: str,
        encode: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Room for `capacity` steps; nothing is ever overwritten. `encode` gives the features [T, O] of states."""
        rows = 2 * capacity  # at most as many final states as steps; memory that is never written is never used
        self.states = np.empty((rows, observation_size), np.float32)
        self.features = np.empty((rows, observation_size), np.float32)
        self.actions = np.empty((rows, action_size), np.float32)
        self._rows = np.empty(capacity, np.int64)  # the row where each step begins
        self._last = np.empty(rows, np.int64)  # the row of the last state of each row's episode
        self._ended = np.empty(rows, bool)  # whether that state is terminal
        self._finals: list[int] = []  # the row of the last state of each of the policy's own episodes
        self._size = self._shown_size = self.steps = self.shown = 0
        self._device, self._encode = device, encode

    def add(self, states: np.ndarray, actions: np.ndarray, ended: bool) -> None:
        """Store an episode of T >= 1 steps.

        Args:
            states: [T + 1, O].
            actions: [T, A].
            ended: whether its last state is terminal; False where a time limit cut it off.
        """
        count, begin = len(actions), self._size
        end = begin + count
        self.states[begin : end + 1], self.features[begin : end + 1] = states, self._encode(states)
        self.actions[begin:end], self.actions[end] = actions, 0.0
        self._last[begin : end + 1], self._ended[begin : end + 1] = end, ended
        self._rows[self.steps : self.steps + count] = np.arange(begin, end)
        self._finals.append(end)
        self._size, self.steps = end + 1, self.steps + count

    def add_demonstrations(self, demonstrations: Demonstrations) -> None:
        """Store all demonstrated episodes, before any other.

        Raises:
            MethodError: they have no actions, or leave steps out, so that n-step sums cannot be formed.
        """
        if demonstrations.actions is None or demonstrations.terminal.all():
            raise MethodError("demonstrated actions are needed, and these demonstrations hold states only")
        gaps = np.diff(demonstrations.time_step)[np.diff(demonstrations.episode) == 0] != 1
        if gaps.any():
            raise MethodError(
                f"every step of an episode is needed, and these demonstrations leave steps out in {int(gaps.sum())} "
                "places; use demonstrations with every=1"
            )
        for states, actions in demonstrations.trajectories():
            if actions is not None and len(actions):
                self.add(states, actions, ended=True)
        self.shown, self._shown_size = self.steps, self._size
        self._finals.clear()

    def sample(self, rng: np.random.Generator, own: int, shown: int, steps: int) -> Batch:
        """Steps drawn with replacement, the policy's own before the demonstrated ones.

        Args:
            rng: draws them.
            own: how many of the policy's own; some must be stored.
            shown: how many demonstrated ones; some must be stored.
            steps: n.
        """
        drawn = [rng.integers(self.shown, self.steps, size=own), rng.integers(max(self.shown, 1), size=shown)]
        first = self._rows[np.concatenate(drawn)]
        last = self._last[first]
        wanted = first[:, None] + np.arange(steps + 1)
        rows = np.minimum(wanted, last[:, None])
        reached = rows[:, -1]
        return Batch(
            states=self._tensor(self.states[first]),
            actions=self._tensor(self.actions[rows[:, :-1]]),
            features=self._tensor(self.features[rows]),
            counted=self._tensor((wanted[:, 1:] <= last[:, None]).astype(np.float32)),
            reached=self._tensor(self.states[reached]),
            reached_features=self._tensor(self.features[reached]),
            length=self._tensor((reached - first).astype(np.float32)),
            ended=self._tensor(self._ended[first] & (reached == last)),
            demonstrated=self._tensor(np.arange(own + shown) >= own),
        )

    def demonstrated_pairs(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Demonstrated observations [count, O] and actions [count, A], drawn with replacement."""
        rows = self._rows[rng.integers(self.shown, size=count)]
        return self._tensor(self.states[rows]), self._tensor(self.actions[rows])

    def own_finals(self, rng: np.random.Generator, count: int) -> Tensor:
        """Features [count, O] of last states of the policy's own episodes, terminal or cut off.

        They are drawn with replacement; some episodes must be stored.
        """
        return self._tensor(self.features[[self._finals[i] for i in rng.integers(len(self._finals), size=count)]])

    @property
    def own_steps(self) -> int:
        """How many steps of the policy's own are stored."""
        return self.steps - self.shown

    @property
    def own_episodes(self) -> int:
        """How many episodes of the policy's own are stored."""
        return len(self._finals)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def state(self) -> State:
        """The policy's own episodes; the demonstrated ones are known."""
        rows, finals = slice(self._shown_size, self._size), np.array(self._finals, np.int64)
        return {
            "states": self.states[rows].copy(),
            "actions": self.actions[rows].copy(),
            "finals": finals,
            "ended": self._ended[finals],
        }

    def restore(self, state: State) -> None:
        """Restore what `state` returned, after the demonstrations were added."""
        begin = 0
        for final, ended in zip(state["finals"].tolist(), state["ended"].tolist(), strict=True):
            end = final - self._shown_size
            self.add(state["states"][begin : end + 1], state["actions"][begin:end], bool(ended))
            begin = end + 1
