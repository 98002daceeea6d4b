"""SAIL: state aware imitation learning, which also follows the gradient of the log stationary state distribution.

Schroecker & Isbell (2017), "State Aware Imitation Learning", NeurIPS. At demonstrated states s and actions a it ascends

    beta_pi grad log pi(a | s)  +  beta_d grad log d(s)

where d is the stationary state distribution of the policy and all gradients are in the policy's parameters. As d is the
same one step later, f = grad log d obeys a recursion backwards in time (Morimura et al., 2010; equation 5 of Schroecker
et al., 2019),

    f(s') = E[ f(s) + grad log pi(a | s)  given the next state s' ]          with mean zero under d,

which temporal-difference learning solves on rollouts of the policy: f(s') <- gamma f(s) + grad log pi(a | s), where
gamma below 1 trades bias for variance. As in GPRIL an artificial transition, with no action and so no gradient, leads
from the end of each episode to the start of another, which makes the chain ergodic.

The authors learn f with a network that has as many outputs as the policy has parameters, so their policies are small.
Here f(s) = M x(s) is linear in features x that have mean zero under d and are the same for all outputs. Least squares
gives the fixed point at once (LSTD of Bradtke & Barto, 1996, backwards in time), with means over transitions s, a, s':

    M = B A^-1      A = mean (x(s') - gamma x(s)) x(s')^T + ridge I      B = mean grad log pi(a | s) x(s')^T

M is never needed. The mean of f at the demonstrations, M m where m is the mean of their features, equals

    mean w grad log pi(a | s)      with weights      w = x(s')^T A^-1 m

which are one number per transition, whatever the number of parameters, so the policy is the suite's network. (They are
what LSTD estimates as the value of s' where the reward is the density of demonstrations divided by d.)

Two details decide the direction. Gradients are those of the sampled actions, before they are clipped to the bounds,
since clipped actions have grad log pi of mean other than zero. And the recursion holds where ends of episodes depend on
the state alone, so own episodes are ended at random, with the same probability at each step, not by a time limit;
demonstrated states count as often as they would be reached under the same rule.

Differences: f is linear in the observation and in random Fourier features, not a network trained step by step. Several
steps of Adam are taken on the same rollouts, with the clipped probability ratio of PPO (Schulman et al., 2017). The
part of w that the state s alone explains is subtracted, which reduces variance without bias. Rollouts have a larger
sigma than a cloned policy, which explores too little. Training begins with cloning. Learning from states only works too
(beta_pi = 0 and warm_start = 0). Cost: BC, the rollouts, and a system of some 300 linear equations per iteration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.bc import Pairs
from methods.env_group import roll_out
from methods.interface import Diverged, EnvGroup, FitContext, Method, MethodError, State
from methods.policy import GaussianNetwork, GaussianPolicy, compress, gaussian_log_prob, new_network
from methods.registry import register

CHECKPOINT_EVERY = 50
"""Updates between two checkpoints."""
WIDTH = 10
"""Episodes in parallel."""
KNEE = 2.0
"""Normalised observations are compressed logarithmically beyond this many standard deviations."""
STREAMS = ("demonstrated pairs", "own steps", "starts and ends of episodes", "rollouts")

SEARCH: dict[str, dict[str, Any]] = {
    "beta_d": {"low": 0.1, "high": 10.0, "log": True},
    "gamma": {"choices": [0.9, 0.97, 0.99, 1.0]},
    "ridge": {"low": 0.01, "high": 10.0, "log": True},
    "bandwidth": {"choices": [2.5, 4.0, 8.0]},
    "rollout_sigma": {"choices": [0.0, 0.03, 0.05, 0.08]},
    "learning_rate": {"low": 3e-5, "high": 1e-3, "log": True},
    "l2": {"low": 1e-5, "high": 1e-1, "log": True},
    "warm_start": {"choices": [1500, 2500, 3500]},
    "policy_updates": {"choices": [5, 20, 50]},
}
"""What tuning may try. A shorter warm start with more policy updates per iteration gives the second term more weight
within the same budget."""


@dataclass(frozen=True)
class Settings:
    """Settings of SAIL.

    Attributes:
        beta_pi: weight of the demonstrated actions; 0 learns from states only.
        beta_d: weight of the state distribution; 0 is cloning with the same rollouts and updates, as a control.
        gamma: discount of earlier gradients; 1 has no bias.
        features: random Fourier features of the normalised, compressed observation, besides that observation itself.
        bandwidth: distance, in standard deviations of the demonstrations, over which these features vary.
        ridge: regularisation of both least-squares problems; features have variance 1.
        warm_start: updates of cloning before the first rollout.
        episodes_per_iteration: rollouts that are collected before the policy is updated.
        policy_updates: updates of the policy per iteration.
        episode_steps: mean number of steps after which own episodes are ended at random; 0 does not end them.
        rollout_sigma: sigma of the actions of rollouts and in the second term, which then trains the policy's mean
            alone; 0 takes the policy's own sigma.
        ratio_clip: largest relative change of an own action's probability that the second term still rewards.
        warm_start_learning_rate: Adam's learning rate in the warm start, falling linearly to zero.
        learning_rate: Adam's learning rate after the warm start.
        decay: let the learning rate fall linearly to zero.
        batch_size: demonstrated pairs per update, sampled with replacement.
        own_batch_size: own steps per update.
        l2: weight in the loss of half the sum of squared parameters.
    """

    beta_pi: Annotated[float, Ge(0.0)] = 1.0
    beta_d: Annotated[float, Ge(0.0)] = 1.0
    gamma: Annotated[float, Ge(0.0), Le(1.0)] = 0.97
    features: Annotated[int, Ge(0), Le(4096)] = 300
    bandwidth: Annotated[float, Gt(0.0)] = 4.0
    ridge: Annotated[float, Gt(0.0)] = 1.0
    warm_start: Annotated[int, Ge(0)] = 3500
    episodes_per_iteration: Annotated[int, Ge(1)] = 60
    policy_updates: Annotated[int, Ge(1)] = 20
    episode_steps: Annotated[int, Ge(0)] = 120
    rollout_sigma: Annotated[float, Ge(0.0), Le(1.0)] = 0.05
    ratio_clip: Annotated[float, Gt(0.0)] = 0.2
    warm_start_learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    learning_rate: Annotated[float, Gt(0.0)] = 1e-4
    decay: bool = True
    batch_size: Annotated[int, Ge(1)] = 256
    own_batch_size: Annotated[int, Ge(1)] = 4096
    l2: Annotated[float, Ge(0.0)] = 1e-2


def step_weights(before: np.ndarray, after: np.ndarray, target: np.ndarray, gamma: float, ridge: float) -> np.ndarray:
    """The weights w of the module's last equation.

    Args:
        before: features of the states s of a chain's transitions, [N, F], mean zero over the chain.
        after: those of the states s' that follow them, [N, F].
        target: mean features of the states at which the gradient of log d is wanted, [F] or, for several, [F, K].
        gamma: discount.
        ridge: regularisation.

    Returns:
        [N] or [N, K]; the mean over transitions of weight times grad log pi(a | s) is the gradient.
    """
    system = (after - gamma * before).T @ after / len(before)
    return after @ np.linalg.solve(system + ridge * np.eye(len(system), dtype=system.dtype), target)


def explained(features: np.ndarray, values: np.ndarray, ridge: float) -> np.ndarray:
    """The part of `values` [N] that ridge regression on `features` [N, F] explains, [N]."""
    covariance = features.T @ features / len(features)
    system = covariance + ridge * np.eye(len(covariance), dtype=covariance.dtype)
    return features @ np.linalg.solve(system, features.T @ values / len(features))


@dataclass(frozen=True)
class Rollout:
    """One own episode of T steps.

    Attributes:
        observations: [T + 1, O] float32.
        actions: [T, A] float32 as sampled, not clipped to the bounds.
        log_probs: [T] float32, of the actions when they were taken.
    """

    observations: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray


def gradient_weights(
    rollouts: Sequence[np.ndarray], demonstrated: np.ndarray, counts: np.ndarray, gamma: float, ridge: float
) -> list[np.ndarray]:
    """Weights of the steps of rollouts, whose weighted sum of grad log pi(a | s) estimates the mean of grad log d.

    Args:
        rollouts: features of the states of each episode, [T + 1, F]; they need be neither centred nor scaled.
        demonstrated: features of the demonstrated states, [D, F].
        counts: how much each of these counts, [D].
        gamma: discount.
        ridge: regularisation.

    Returns:
        [T] for each episode.
    """
    raw = np.concatenate(rollouts)
    mean, scale = raw.mean(axis=0), raw.std(axis=0) + 1e-6
    here = (raw - mean) / scale
    target = (np.average(demonstrated, axis=0, weights=counts) - mean) / scale
    # Each end is followed by the next episode's start, the last one by the first.
    weights = step_weights(here, np.roll(here, -1, axis=0), target, gamma, ridge)
    weights = (weights - explained(here, weights, ridge)) / len(here)
    ends = np.cumsum([len(states) for states in rollouts])
    return [part[:-1] for part in np.split(weights, ends[:-1])]


@register
class Sail(Method):
    """SAIL; see the module for the algorithm."""

    name: ClassVar[str] = "sail"
    display_name = "SAIL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "state aware imitation learning (Schroecker & Isbell, 2017), with a linear estimate"
    small: ClassVar[Mapping[str, Any]] = {
        "features": 20,
        "warm_start": 30,
        "episodes_per_iteration": 8,
        "policy_updates": 20,
        "own_batch_size": 64,
    }

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        return settings.beta_pi > 0.0 or settings.warm_start > 0

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        if demonstrations.actions is None and self.requires_actions(self.settings):
            raise MethodError(
                "these demonstrations have states only, but beta_pi or warm_start need actions; "
                "set sail.beta_pi=0 and sail.warm_start=0"
            )
        if not (self.settings.beta_pi or self.settings.beta_d):
            raise MethodError("sail.beta_pi and sail.beta_d are both 0, so nothing is learned; raise one of them")
        if context.budget.environment_steps < context.task.horizon:
            raise MethodError(
                f"a budget of {context.budget.environment_steps} environment steps is less than one episode "
                f"({context.task.horizon}); raise it"
            )
        return _Training(self.settings, demonstrations, context).run()


class _Training:
    """One training: cloning, then iterations of rollouts and updates, resumable at every checkpoint."""

    def __init__(self, settings: Settings, demonstrations: Demonstrations, context: FitContext) -> None:
        self.settings, self.demonstrations, self.context = settings, demonstrations, context
        self.network = new_network(demonstrations, context)
        self.policy = GaussianPolicy(self.network)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.l2, fused=True
        )
        self.pairs = Pairs.of(demonstrations, context.device) if Sail.requires_actions(settings) else None
        self.features = _Features(self.network, settings, context.seeds.generator("features"))
        self.rng = {name: context.seeds.generator(name) for name in STREAMS}
        self.rollouts: list[Rollout] = []  # of this iteration
        self.own: tuple[Tensor, ...] | None = None  # their states, actions, log probabilities and weights, step by step
        self.updates = 0
        self.iterations = 0  # whose rollouts are complete

    def run(self) -> GaussianPolicy:
        """Train until a budget is spent, that of policy updates or that of environment steps.

        Raises:
            Diverged: the loss is not finite.
        """
        group = self.context.make_env_group(WIDTH)
        losses: list[Tensor] = []
        try:
            self._resume()
            while not self._finished():
                if self._due():
                    self._collect(group)
                losses.append(self._update())
                if self.updates % CHECKPOINT_EVERY == 0 or self._finished():
                    loss = float(torch.stack(losses).mean())
                    losses.clear()
                    if not math.isfinite(loss):
                        raise Diverged(f"the loss is {loss} after {self.updates} updates; lower the learning rate")
                    self._checkpoint()
        finally:
            group.close()
        return self.policy

    def _due(self) -> bool:
        """Whether rollouts are due."""
        return self.updates >= self.settings.warm_start + self.iterations * self.settings.policy_updates

    def _affordable(self) -> int:
        """Rollouts that the budget allows for certain."""
        context = self.context
        return (context.budget.environment_steps - context.environment_steps) // context.task.horizon

    def _finished(self) -> bool:
        spent = self.own is not None and self._due() and not self._affordable()
        return spent or self.updates == self.context.budget.policy_updates

    def _collect(self, group: EnvGroup) -> None:
        """The rollouts of an iteration, as many as the budget allows."""
        s, rng = self.settings, self.rng["starts and ends of episodes"]
        if self.own is not None:
            self.own, self.rollouts = None, []
        while count := min(WIDTH, s.episodes_per_iteration - len(self.rollouts), self._affordable()):
            seeds = rng.integers(2**31, size=count).tolist()
            found = roll_out(
                _RandomEnds(group, s.episode_steps, rng),
                _Explorer(self.network, s.rollout_sigma),
                seeds,
                action_size=self.context.task.action_size,
                width=WIDTH,
                deterministic=False,
                rng=self.rng["rollouts"],
            )
            for episode in found:
                with torch.no_grad():
                    log_probs = self._log_prob(*self._tensors(episode.observations[:-1], episode.actions))
                self.rollouts.append(Rollout(episode.observations, episode.actions, log_probs.cpu().numpy()))
            self._checkpoint()
        self.iterations += 1
        self.context.report(self.updates, weights_deviation=self._weigh())

    def _weigh(self) -> float:
        """Compute the weights of all own steps; returns their standard deviation."""
        s = self.settings
        counts = np.ones(len(self.demonstrations.observations))
        if s.episode_steps:
            counts = (1.0 - 1.0 / s.episode_steps) ** self.demonstrations.time_step
        weights = gradient_weights(
            [self.features(rollout.observations) for rollout in self.rollouts],
            self.features(self.demonstrations.observations),
            counts,
            s.gamma,
            s.ridge,
        )
        columns = [(rollout.observations[:-1], rollout.actions, rollout.log_probs) for rollout in self.rollouts]
        states, actions, log_probs = (np.concatenate(column) for column in zip(*columns, strict=True))
        weight = np.concatenate(weights) * len(actions)  # updates take means
        self.own = self._tensors(states, actions, log_probs, weight)
        return float(weight.std())

    def _update(self) -> Tensor:
        """One gradient step of the policy; returns the loss []."""
        s = self.settings
        loss = torch.zeros((), device=self.context.device)
        cloning = self.updates < s.warm_start
        if self.pairs is not None and (cloning or s.beta_pi):
            rows = self._rows("demonstrated pairs", len(self.pairs.actions), s.batch_size)
            log_probs = self.network.log_prob(self.pairs.observations[rows], self.pairs.actions[rows])
            loss = loss - (1.0 if cloning else s.beta_pi) * log_probs.mean()
        if self.own is not None and s.beta_d:
            rows = self._rows("own steps", len(self.own[0]), s.own_batch_size)
            states, actions, log_probs, weights = (column[rows] for column in self.own)
            ratio = torch.exp(self._log_prob(states, actions) - log_probs)
            clipped = ratio.clamp(1.0 - s.ratio_clip, 1.0 + s.ratio_clip)
            loss = loss - s.beta_d * torch.minimum(weights * ratio, weights * clipped).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(cloning)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        return loss.detach()

    def _learning_rate(self, cloning: bool) -> float:
        s, budget = self.settings, self.context.budget
        if cloning:
            return s.warm_start_learning_rate * (1.0 - self.updates / s.warm_start)
        updates = (self.updates - s.warm_start) / (budget.policy_updates - s.warm_start)
        steps = self.context.environment_steps / budget.environment_steps
        return s.learning_rate * (1.0 - max(updates, steps) if s.decay else 1.0)

    def _log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log density [n] of own actions, under the sigma of rollouts."""
        mean, sigma = self.network(observations)
        if self.settings.rollout_sigma:
            sigma = torch.full_like(sigma, self.settings.rollout_sigma)
        return gaussian_log_prob(actions, mean, sigma)

    def _rows(self, stream: str, known: int, count: int) -> Tensor:
        return torch.from_numpy(self.rng[stream].integers(known, size=count)).to(self.context.device)

    def _tensors(self, *arrays: np.ndarray) -> tuple[Tensor, ...]:
        return tuple(torch.tensor(array, dtype=torch.float32, device=self.context.device) for array in arrays)

    def _checkpoint(self) -> None:
        budget = self.context.budget
        steps = self.context.environment_steps / budget.environment_steps
        progress = 1.0 if self._finished() else max(self.updates / budget.policy_updates, steps)
        self.context.checkpoint(self.policy, progress, self.updates, self._state)

    def _state(self) -> State:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rollouts": [asdict(rollout) for rollout in self.rollouts],
            "weighed": self.own is not None,
            "generators": {name: rng.bit_generator.state for name, rng in self.rng.items()},
            "updates": self.updates,
            "iterations": self.iterations,
        }

    def _resume(self) -> None:
        state = self.context.resume()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rollouts = [Rollout(**rollout) for rollout in state["rollouts"]]
        for name, generator in state["generators"].items():
            self.rng[name].bit_generator.state = generator
        self.updates, self.iterations = state["updates"], state["iterations"]
        if state["weighed"]:
            self._weigh()


class _Features:
    """Observations [n, O] -> features [n, O + F], raw: neither centred nor scaled."""

    def __init__(self, network: GaussianNetwork, settings: Settings, rng: np.random.Generator) -> None:
        self._network = network
        size = network.shape.observation_size
        self._directions = rng.standard_normal((size, settings.features)).astype(np.float32) / settings.bandwidth
        self._phases = rng.uniform(0.0, 2.0 * math.pi, settings.features).astype(np.float32)

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            raw = torch.tensor(observations, device=self._network.shift.device)
            seen = compress(self._network.normalise(raw), KNEE).cpu().numpy()
        return np.concatenate([seen, np.cos(seen @ self._directions + self._phases)], axis=1)


class _Explorer(GaussianPolicy):
    """The policy with another sigma, unless that is 0; its sampled actions are not clipped."""

    def __init__(self, network: GaussianNetwork, sigma: float) -> None:
        super().__init__(network)
        self._sigma = sigma

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        with torch.no_grad():
            batch = torch.from_numpy(observations).to(self.network.shift.device)
            mean, sigma = (part.cpu().numpy() for part in self.network(batch))
        return mean + (self._sigma or sigma) * rng.standard_normal(mean.shape, dtype=np.float32)


class _RandomEnds(EnvGroup):
    """A group that clips actions to the bounds and ends each episode with the same probability at every step."""

    def __init__(self, group: EnvGroup, mean_steps: int, rng: np.random.Generator) -> None:
        """`mean_steps`: mean length of episodes that have no other end; 0 for no random ends."""
        self._group, self._mean_steps, self._rng = group, mean_steps, rng
        self._left = dict[int, float]()

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        for row in rows:
            self._left[row] = self._rng.geometric(1.0 / self._mean_steps) if self._mean_steps else math.inf
        return self._group.reset(seeds, rows)

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        observations, ends = self._group.step(np.clip(actions, -1.0, 1.0), rows)
        for row in rows:
            self._left[row] -= 1
        return observations, [end or "cut off" * (self._left[row] <= 0) for row, end in zip(rows, ends, strict=True)]

    def close(self) -> None:
        self._group.close()
