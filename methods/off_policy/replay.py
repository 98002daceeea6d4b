"""The replay buffer: whole episodes of the policy, and the demonstrated ones in front of them."""

from __future__ import annotations

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
        states: [B, n, O].
        actions: [B, n, A].
        next_states: [B, n, O].
        counted: [B, n] float32, 1 for the m steps and 0 for the padding, which repeats the episode's last step.
        reached: [B, O] the state after the m-th step.
        length: [B] float32, m.
        ended: [B] bool, whether `reached` is terminal: the episode ended there, other than by a time limit.
        demonstrated: [B] bool, whether the steps were demonstrated.
    """

    states: Tensor
    actions: Tensor
    next_states: Tensor
    counted: Tensor
    reached: Tensor
    length: Tensor
    ended: Tensor
    demonstrated: Tensor


class Replay:
    """Steps (s, a, s') of whole episodes, one episode after the other, the demonstrated ones first.

    Attributes:
        size: steps stored.
        shown: how many of them were demonstrated; these are rows 0 to `shown - 1`.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int, device: str) -> None:
        """Room for `capacity` steps; nothing is ever overwritten."""
        self.states = np.empty((capacity, observation_size), np.float32)
        self.actions = np.empty((capacity, action_size), np.float32)
        self.next_states = np.empty((capacity, observation_size), np.float32)
        self.last = np.empty(capacity, np.int64)  # the row where the step's episode ends
        self.ended = np.empty(capacity, bool)  # whether it ended there, other than by a time limit
        self.size = self.shown = 0
        self.device = device

    def add(self, states: np.ndarray, actions: np.ndarray, ended: bool) -> None:
        """Store an episode of T >= 1 steps.

        Args:
            states: [T + 1, O].
            actions: [T, A].
            ended: whether its last state is terminal; False where a time limit cut it off.
        """
        rows = slice(self.size, self.size + len(actions))
        self.states[rows], self.next_states[rows], self.actions[rows] = states[:-1], states[1:], actions
        self.last[rows], self.ended[rows] = rows.stop - 1, ended
        self.size = rows.stop

    def add_demonstrations(self, demonstrations: Demonstrations) -> None:
        """Store all demonstrated episodes, before any other.

        Raises:
            MethodError: they have no actions, or leave steps out, so that n-step sums cannot be formed.
        """
        if demonstrations.actions is None or demonstrations.terminal.all():
            raise MethodError("demonstrated actions are needed, and these demonstrations hold states alone")
        gaps = np.diff(demonstrations.time_step)[np.diff(demonstrations.episode) == 0] != 1
        if gaps.any():
            raise MethodError(
                f"every step of an episode is needed, and these demonstrations leave steps out in {int(gaps.sum())} "
                "places; use demonstrations with every=1"
            )
        for states, actions in demonstrations.trajectories():
            if actions is not None and len(actions):
                self.add(states, actions, ended=True)
        self.shown = self.size

    def sample(self, rng: np.random.Generator, own: int, shown: int, steps: int) -> Batch:
        """Steps drawn with replacement, the policy's own before the demonstrated ones.

        Args:
            rng: draws them.
            own: how many of the policy's own; some must be stored.
            shown: how many demonstrated ones; some must be stored.
            steps: n.
        """
        drawn = [rng.integers(self.shown, self.size, size=own), rng.integers(max(self.shown, 1), size=shown)]
        first = np.concatenate(drawn)
        wanted = first[:, None] + np.arange(steps)
        rows = np.minimum(wanted, self.last[first, None])
        counted = rows == wanted
        final = rows[:, -1]
        return Batch(
            states=self._tensor(self.states[rows]),
            actions=self._tensor(self.actions[rows]),
            next_states=self._tensor(self.next_states[rows]),
            counted=self._tensor(counted.astype(np.float32)),
            reached=self._tensor(self.next_states[final]),
            length=self._tensor(counted.sum(axis=1).astype(np.float32)),
            ended=self._tensor(self.ended[final] & (final == self.last[final])),
            demonstrated=self._tensor(np.arange(own + shown) >= own),
        )

    def own_ends(self) -> np.ndarray:
        """Terminal states [k, O] of the policy's own episodes."""
        rows = np.unique(self.last[self.shown : self.size])
        return self.next_states[rows[self.ended[rows]]]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def state(self) -> State:
        """The policy's own steps; the demonstrated ones are known."""
        rows = slice(self.shown, self.size)
        return {name: getattr(self, name)[rows].copy() for name in _COLUMNS}

    def restore(self, state: State) -> None:
        """Restore what `state` returned, after the demonstrations were added."""
        rows = slice(self.shown, self.shown + len(state["last"]))
        for name in _COLUMNS:
            getattr(self, name)[rows] = state[name]
        self.size = rows.stop


_COLUMNS = ("states", "actions", "next_states", "last", "ended")
