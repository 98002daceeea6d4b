"""Small Markov decision processes in which every quantity of the paper's section 3 and appendices A and C is exact.

States and actions are numbered; the policy is a table of logits theta [S, A], so gradients have that shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from methods.gpril.replay import Episode


@dataclass(frozen=True)
class Mdp:
    """An ergodic chain; where `terminal` is set, that state's only way on is the artificial one to an initial state.

    Attributes:
        transitions: p(s' | s, a), [S, A, S].
        theta: logits of the policy, [S, A].
        terminal: index of the terminal state, or None.
    """

    transitions: np.ndarray
    theta: np.ndarray
    terminal: int | None = None

    @cached_property
    def policy(self) -> np.ndarray:
        """pi(a | s), [S, A]."""
        weights = np.exp(self.theta - self.theta.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    @cached_property
    def chain(self) -> np.ndarray:
        """P(s' | s) under the policy, [S, S]."""
        return np.einsum("sa,sat->st", self.policy, self.transitions)

    @cached_property
    def stationary(self) -> np.ndarray:
        """d(s), [S]: the solution of equation 3."""
        size = len(self.chain)
        system = np.vstack([self.chain.T - np.eye(size), np.ones(size)])
        return np.linalg.lstsq(system, np.r_[np.zeros(size), 1.0], rcond=None)[0]

    @cached_property
    def joint(self) -> np.ndarray:
        """rho(s, a) = pi(a | s) d(s), [S, A]."""
        return self.stationary[:, None] * self.policy

    @cached_property
    def score(self) -> np.ndarray:
        """Gradient of log pi(a | s) in theta, [S, A, S, A]."""
        states, actions = self.theta.shape
        gradient = np.zeros((states, actions, states, actions))
        for s in range(states):
            for a in range(actions):
                gradient[s, a, s] = -self.policy[s]
                gradient[s, a, s, a] += 1.0
        return gradient

    def reverse(self, steps: int) -> np.ndarray:
        """q(s_t = s, a_t = a | s_{t + steps + 1} = target), [S, A, target] (equation 1 over several steps)."""
        ahead = self.transitions @ np.linalg.matrix_power(self.chain, steps)
        return self.joint[:, :, None] * ahead / self.stationary

    def predecessors(self, gamma: float) -> np.ndarray:
        """B(s, a | target) of equation 8 in closed form, [S, A, target]."""
        size = len(self.chain)
        ahead = self.transitions @ np.linalg.inv(np.eye(size) - gamma * self.chain)
        return (1.0 - gamma) * self.joint[:, :, None] * ahead / self.stationary

    def discounted_gradient(self, gamma: float) -> np.ndarray:
        """The right-hand side of equation 7, [target, S, A]: E_B[grad log pi] / (1 - gamma)."""
        return np.einsum("sat,saxy->txy", self.predecessors(gamma), self.score) / (1.0 - gamma)

    def roll_out(self, steps: int, rng: np.random.Generator) -> list[Episode]:
        """Episodes of at least `steps` steps in all; one where there is no terminal state."""
        draws = rng.random((2, steps + 10_000))
        by_policy, by_dynamics = self.policy.cumsum(axis=1), self.transitions.cumsum(axis=2)
        state, states, actions, episodes = 0, [0], [], []
        for step in range(draws.shape[1]):
            action = min(int(np.searchsorted(by_policy[state], draws[0, step])), self.theta.shape[1] - 1)
            following = min(int(np.searchsorted(by_dynamics[state, action], draws[1, step])), len(self.theta) - 1)
            if state == self.terminal:  # the artificial transition: no action is kept
                episodes.append(_episode(states, actions))
                states, actions = [following], []
                if step >= steps:
                    return episodes
            else:
                states.append(following)
                actions.append(action)
            state = following
        return [*episodes, _episode(states, actions)]


def random_mdp(states: int, actions: int, seed: int, episodic: bool = False) -> Mdp:
    """Random dynamics and a random policy; ergodic, since every transition has positive probability."""
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(states, 0.7), size=(states, actions)) * 0.98 + 0.02 / states
    terminal = None
    if episodic:
        terminal = states - 1
        start = rng.dirichlet(np.ones(states - 1))
        transitions[terminal] = np.r_[start, 0.0]
    return Mdp(transitions, rng.standard_normal((states, actions)), terminal)


def _episode(states: list[int], actions: list[int]) -> Episode:
    observations = np.array(states, np.float32)[:, None]
    taken = np.array(actions, np.float32)[:, None]
    return Episode(observations, taken, np.zeros_like(taken), np.ones_like(taken))
