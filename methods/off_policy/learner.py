"""An off-policy actor-critic for imitation: TD3 (Fujimoto et al., 2018) on the suite's policy network.

In every cycle each environment is stepped once with the deterministic action plus Gaussian noise. Whole episodes enter
the replay buffer. Then critics and policy are updated on batches that mix demonstrated steps and the policy's own. A
method is a `Learner` with a loss for the critics, or a `RewardLearner`, which has the loss and needs rewards.

All values are multiplied by 1 - gamma, so that they are averages of rewards, whatever the discount. Unless a time limit
ends an episode, it ends in an absorbing state, whose value `end_values` gives. Both success and failure end episodes in
these tasks, so an end with value zero would not distinguish them.

Differences from TD3: two critics with layer normalisation (as in Ball et al., 2023) and n-step targets; the current
policy instead of a slow copy in the targets; the policy's loss is divided by the mean absolute value, as in TD3+BC
(Fujimoto & Gu, 2021), and two terms may be added that keep it near the demonstrated actions and near the cloned policy;
only the policy's mean is trained, without a final tanh but with a penalty beyond the action bounds, and its sigma is
constant; what is returned is a running average of the policy's weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from envs.demonstrations import Demonstrations
from methods.interface import Diverged, EnvGroup, FitContext, MethodError, State
from methods.off_policy.networks import Features, TwinCritics, seeded
from methods.off_policy.replay import Batch, Replay
from methods.policy import GaussianNetwork, GaussianPolicy, new_network
from methods.warm_start import warm_start

CLONED_PAIRS = 64
"""Demonstrated pairs in each evaluation of the cloning term."""
CLONING_UNIT = 0.1
"""Difference of an action that the cloning term counts as 1."""
CYCLES = 10
"""Cycles between two checkpoints."""
REPORT_EVERY = 200
"""Updates of the critics between two reports."""

SEARCH: dict[str, dict[str, Any]] = {
    "updates_per_step": {"low": 0.3, "high": 1.0, "log": True},
    "gamma": {"choices": [0.95, 0.98, 0.99]},
    "critic_learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
    "target_rate": {"choices": [0.005, 0.02]},
    "actor_learning_rate": {"low": 3e-5, "high": 5e-4, "log": True},
    "exploration": {"low": 0.02, "high": 0.3, "log": True},
    "cloning": {"choices": [0.0, 0.02, 0.05, 0.2]},
    "anchor": {"choices": [0.0, 0.1, 0.3, 1.0]},
    "sigma": {"choices": [0.02, 0.05]},
}
"""What tuning may try for every method on this learner."""


@dataclass(frozen=True)
class OffPolicySettings:
    """Settings of the learner; the same for all methods on it.

    Attributes:
        processes: environments stepped in parallel.
        episode_steps: truncate the policy's episodes after so many steps, as by a time limit; 0 is off.
        first_steps: environment steps of the learner before the first update, at most half of the budget.
        updates_per_step: updates of the critics per environment step after that.
        batch_size: steps per update, drawn with replacement from the whole replay buffer.
        demonstrated: fraction of each batch drawn from the demonstrations, if their actions are used.
        gamma: discount.
        n_steps: number of rewards summed in a target before it bootstraps.
        critic_hidden: units of each critic's hidden layers.
        critic_learning_rate: Adam's learning rate of each critic.
        target_rate: update rate of the target critics and of the averaged policy that is returned.
        actor_learning_rate: Adam's learning rate of the policy.
        actor_every: updates of the critics per update of the policy.
        actor_delay: updates of the critics before the first update of the policy.
        cloning: weight in the policy's loss of the mean squared difference from demonstrated actions, in units of 0.1;
            needs demonstrated actions unless 0.
        anchor: weight in the policy's loss of the mean squared difference from the actions of the cloned policy, in the
            same units, in the states of the batch; without a warm start it has no effect.
        exploration: standard deviation of the noise on actions while collecting, and in the critics' targets.
        sigma: constant sigma of the policy that is returned, between the policy's bounds.
        action_scale: actions are divided by this where critics and discriminators see them.
        warm_start: updates of behavioural cloning before the first step, at most the budget's policy updates; needs
            demonstrated actions unless 0.
        warm_start_learning_rate: Adam's learning rate in the warm start.
        warm_start_l2: weight of half the sum of squared parameters in the warm start.
        warm_start_decay: whether the learning rate of the warm start falls linearly to 0.
    """

    processes: Annotated[int, Ge(1)] = 16
    episode_steps: Annotated[int, Ge(0)] = 120
    first_steps: Annotated[int, Ge(1)] = 4000
    updates_per_step: Annotated[float, Gt(0.0), Le(20.0)] = 0.4
    batch_size: Annotated[int, Ge(2)] = 128
    demonstrated: Annotated[float, Ge(0.0), Lt(1.0)] = 0.25
    gamma: Annotated[float, Ge(0.0), Lt(1.0)] = 0.98
    n_steps: Annotated[int, Ge(1), Le(100)] = 5
    critic_hidden: tuple[Annotated[int, Ge(1)], ...] = (160, 160)
    critic_learning_rate: Annotated[float, Gt(0.0)] = 5e-4
    target_rate: Annotated[float, Gt(0.0), Le(1.0)] = 0.005
    actor_learning_rate: Annotated[float, Gt(0.0)] = 1e-4
    actor_every: Annotated[int, Ge(1)] = 2
    actor_delay: Annotated[int, Ge(0)] = 1500
    cloning: Annotated[float, Ge(0.0)] = 0.0
    anchor: Annotated[float, Ge(0.0)] = 0.0
    exploration: Annotated[float, Gt(0.0), Le(1.0)] = 0.05
    sigma: Annotated[float, Gt(0.0)] = 0.05
    action_scale: Annotated[float, Gt(0.0)] = 0.2
    warm_start: Annotated[int, Ge(0)] = 0
    warm_start_learning_rate: Annotated[float, Gt(0.0)] = 1e-3
    warm_start_l2: Annotated[float, Ge(0.0)] = 1e-2
    warm_start_decay: bool = True


class Learner(ABC):
    """One training; a method adds `critic_loss`.

    Attributes:
        network: the policy that acts and is updated.
        average: a running average of it, which is returned.
        start: the policy before the first update, for the anchor.
        replay: the policy's own steps, and the demonstrated ones if actions are used.
        features: what critics see.
        critics, targets: see `TwinCritics`; the targets follow slowly.
        rng: the only source of randomness of updates.
        updates: of the critics, so far.
    """

    def __init__(
        self, settings: OffPolicySettings, demonstrations: Demonstrations, context: FitContext, use_actions: bool
    ) -> None:
        """Make everything but environments.

        Args:
            settings: of the method.
            demonstrations: what the expert showed.
            context: the trial's.
            use_actions: put the demonstrated steps into the replay buffer.

        Raises:
            MethodError: actions are to be used and the demonstrations do not fit, see `Replay.add_demonstrations`; or
                the budget is too small.
        """
        self.settings, self.demonstrations, self.context = settings, demonstrations, context
        steps, task = context.budget.environment_steps, context.task
        if steps < 2 * settings.processes:
            raise MethodError(
                f"a budget of {steps} environment steps is less than two in each of {settings.processes} environments; "
                "raise it, or lower `processes`"
            )
        if not use_actions and (settings.warm_start or settings.cloning):
            raise MethodError(
                "warm_start and cloning need demonstrated actions, and these demonstrations hold states only; "
                "set both to 0"
            )
        self.network = new_network(demonstrations, context)
        self.average = deepcopy(self.network).requires_grad_(False)
        self.policy = GaussianPolicy(self.average)
        self.features = Features(self.network, settings.action_scale)
        self.replay = Replay(
            steps + len(demonstrations.observations),
            task.observation_size,
            task.action_size,
            context.device,
            self.features.encode,
        )
        if use_actions:
            self.replay.add_demonstrations(demonstrations)
        self.critics = seeded(context, "critics", lambda: TwinCritics(self.features.pairs, settings.critic_hidden))
        self.targets = deepcopy(self.critics).requires_grad_(False)
        self.critic_optimizer = torch.optim.Adam(
            self.critics.parameters(), lr=settings.critic_learning_rate, fused=True
        )
        self.start = deepcopy(self.average)
        self._acting, self._averaged = map(_trained, (self.network, self.average))
        self.actor_optimizer = torch.optim.Adam(self._acting, lr=settings.actor_learning_rate, fused=True)
        self.rng = context.seeds.generator("off-policy updates")
        self.rollouts = context.seeds.generator("rollouts")
        self.updates = 0
        self._running: list[tuple[list[np.ndarray], list[np.ndarray]]] = []  # states and actions of running episodes
        self._warm_updates = 0
        self._actor_updates = 0
        self._scalars: dict[str, list[Tensor]] = {}

    @abstractmethod
    def critic_loss(self, batch: Batch) -> Tensor:
        """Loss of the critics on a batch, summed over the two."""

    @property
    def least_scale(self) -> float:
        """What the policy's loss is divided by where the mean absolute value is smaller."""
        return 1e-6

    @property
    def other_updates(self) -> int:
        """Gradient steps of the method's own networks."""
        return 0

    def before_updates(self) -> None:
        """Called once, when the first own steps are stored."""
        return

    def after_update(self) -> None:
        """Called after each update of the critics."""
        return

    def method_state(self) -> State:
        """What the method itself changes while it trains."""
        return {}

    def restore_method(self, state: State) -> None:
        """Restore what `method_state` returned."""
        return

    def run(self) -> GaussianPolicy:
        """Train until the budget of environment steps is spent.

        Raises:
            Diverged: a loss is not finite.
        """
        s = self.settings
        group = self.context.make_env_group(s.processes)
        try:
            state = self.context.resume() or {"warm_start": None}
            if "replay" in state:
                self._restore(state)
            else:
                cloned = GaussianPolicy(self.network)
                self._warm_updates = warm_start(cloned, self.demonstrations, self.context, s, state["warm_start"])
                self.network.set_sigma(s.sigma)
                for copy in (self.average, self.start):
                    copy.load_state_dict(self.network.state_dict())
                self._running = [([], []) for _ in range(s.processes)]
            self._collect_and_update(group)
        finally:
            group.close()
        return self.policy

    def _collect_and_update(self, group: EnvGroup) -> None:
        s, budget = self.settings, self.context.budget.environment_steps
        first = min(s.first_steps, budget // 2)
        cycles = 0
        while (left := budget - self.context.environment_steps) > 0:
            self._step(group, min(left, s.processes))
            # Not the context's count, which includes the steps that inferred the demonstrated actions.
            taken = self.replay.own_steps + sum(len(actions) for _, actions in self._running)
            due = int((taken - first) * s.updates_per_step)
            while self.updates < due and self.replay.own_episodes:
                if not self.updates:
                    self.before_updates()
                self.update()
            cycles += 1
            if cycles % CYCLES == 0 or left <= s.processes:
                progress = self.context.environment_steps / budget
                self.context.checkpoint(self.policy, progress, self._gradient_steps, self._state)

    @property
    def _gradient_steps(self) -> int:
        return self._warm_updates + self.updates + self._actor_updates + self.other_updates

    def _step(self, group: EnvGroup, count: int) -> None:
        """One step in each of the first `count` environments; an episode that ends is stored."""
        s, size = self.settings, self.context.task.observation_size
        begin = [row for row in range(count) if not self._running[row][0]]
        if begin:
            seeds = [int(seed) for seed in self.rollouts.integers(2**31, size=len(begin))]
            for row, state in zip(begin, group.reset(seeds, begin), strict=True):
                self._running[row][0].append(state)
        # Always as many rows, because matrix products round differently for different numbers of rows.
        observations = np.zeros((s.processes, size), np.float32)
        observations[:count] = [states[-1] for states, _ in self._running[:count]]
        with torch.no_grad():
            mean = self.network(torch.from_numpy(observations).to(self.context.device))[0].cpu().numpy()
        noise = s.exploration * self.rollouts.standard_normal(mean.shape, dtype=np.float32)
        actions = np.clip(mean + noise, -1.0, 1.0)
        if not np.isfinite(actions).all():
            raise Diverged(f"actions are not finite after {self.updates} updates; lower the learning rates")
        rows = range(count)
        for row, state, end in zip(rows, *group.step(actions[:count], rows), strict=True):
            states, taken = self._running[row]
            states.append(state)
            taken.append(actions[row])
            if end or len(taken) == s.episode_steps:
                if np.isfinite(state).all():
                    self.replay.add(np.array(states), np.array(taken), ended=end not in ("", "timeout"))
                self._running[row] = ([], [])

    def update(self) -> None:
        """One update of the critics, and every now and then one of the policy."""
        s = self.settings
        shown = round(s.demonstrated * s.batch_size) if self.replay.shown else 0
        batch = self.replay.sample(self.rng, s.batch_size - shown, shown, s.n_steps)
        loss = self.critic_loss(batch)
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), s.target_rate)
        self.updates += 1
        self.note(critic_loss=loss.detach())
        if self.updates > s.actor_delay and self.updates % s.actor_every == 0:
            self._update_actor(batch)
        self.after_update()
        if self.updates % REPORT_EVERY == 0:
            means = {name: float(torch.stack(values).mean()) for name, values in self._scalars.items()}
            self._scalars.clear()
            if not all(map(math.isfinite, means.values())):
                raise Diverged(f"after {self.updates} updates: {means}; lower the learning rates")
            self.context.report(self._gradient_steps, **means)

    def explored(self, states: Tensor) -> Tensor:
        """Actions [..., A] of the policy in states [..., O], with the noise of exploration."""
        mean = self.network(states)[0]
        noise = torch.from_numpy(self.rng.standard_normal(mean.shape, dtype=np.float32)).to(mean.device)
        return (mean + self.settings.exploration * noise).clamp(-1.0, 1.0)

    def _update_actor(self, batch: Batch) -> None:
        s = self.settings
        means = self.network(batch.states)[0]
        actions = means.clamp(-1.0, 1.0)
        values = self.critics(self.features.of_pairs(batch.features[:, 0], actions)).amin(0)
        loss = -values.mean() / values.detach().abs().mean().clamp(min=self.least_scale)
        # Values have no slope beyond the bounds, so without this a mean that left them would never return.
        loss = loss + ((means - actions) / CLONING_UNIT).square().mean()
        if s.cloning:
            states, wanted = self.replay.demonstrated_pairs(self.rng, CLONED_PAIRS)
            loss = loss + s.cloning * ((self.network(states)[0] - wanted) / CLONING_UNIT).square().mean()
        if s.anchor and s.warm_start:
            with torch.no_grad():
                start = self.start(batch.states)[0]
            loss = loss + s.anchor * ((actions - start) / CLONING_UNIT).square().mean()
        # Gradients of the policy alone: those of the critics would cost half as much again.
        for parameter, gradient in zip(self._acting, torch.autograd.grad(loss, self._acting), strict=True):
            parameter.grad = gradient
        self.actor_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._averaged, self._acting, s.target_rate)
        self._actor_updates += 1
        self.note(value=values.detach().mean())

    def note(self, **scalars: Tensor) -> None:
        """Diagnostics whose mean is reported every so many updates."""
        for name, value in scalars.items():
            self._scalars.setdefault(name, []).append(value)

    def _state(self) -> State:
        return {
            "replay": self.replay.state(),
            "running": [
                {"states": np.array(states), "actions": np.array(actions)} if states else None
                for states, actions in self._running
            ],
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "start": self.start.state_dict(),
            "critics": self.critics.state_dict(),
            "targets": self.targets.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "updates_rng": self.rng.bit_generator.state,
            "rollouts_rng": self.rollouts.bit_generator.state,
            "updates": self.updates,
            "warm_updates": self._warm_updates,
            "actor_updates": self._actor_updates,
            "scalars": {name: torch.stack(values) for name, values in self._scalars.items()},
            "method": self.method_state(),
        }

    def _restore(self, state: State) -> None:
        self.replay.restore(state["replay"])
        self._running = [
            ([], []) if kept is None else (list(kept["states"]), list(kept["actions"])) for kept in state["running"]
        ]
        for name in ("network", "average", "start", "critics", "targets", "critic_optimizer", "actor_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.rng.bit_generator.state = state["updates_rng"]
        self.rollouts.bit_generator.state = state["rollouts_rng"]
        self.updates = state["updates"]
        self._warm_updates, self._actor_updates = state["warm_updates"], state["actor_updates"]
        self._scalars = {name: list(values) for name, values in state["scalars"].items()}
        self.restore_method(state["method"])


def _trained(network: GaussianNetwork) -> list[Tensor]:
    """The weights of the mean: all that is trained."""
    return [*network.body.parameters(), *network.mean.parameters()]


class RewardLearner(Learner):
    """A learner from rewards, with n-step targets; a method adds `rewards`, `end_values` and `value_bounds`."""

    @abstractmethod
    def rewards(self, batch: Batch) -> Tensor:
        """Rewards [B, n] of the steps of a batch; those of padding do not count."""

    @abstractmethod
    def end_values(self, batch: Batch) -> Tensor:
        """Values [B] of the absorbing state after `batch.reached`, used where that is terminal."""

    @property
    @abstractmethod
    def value_bounds(self) -> tuple[float, float]:
        """The lowest and the highest reward, between which all values are."""

    def critic_loss(self, batch: Batch) -> Tensor:
        """Mean squared difference of both critics from n-step targets, summed over the two."""
        s = self.settings
        with torch.no_grad():
            discounts = s.gamma ** torch.arange(s.n_steps, device=batch.counted.device)
            sums = ((1.0 - s.gamma) * self.rewards(batch) * batch.counted * discounts).sum(1)
            values = self.targets(self.features.of_pairs(batch.reached_features, self.explored(batch.reached))).amin(0)
            values = torch.where(batch.ended, self.end_values(batch), values)
            target = (sums + s.gamma**batch.length * values).clamp(*self.value_bounds)
        found = self.critics(self.features.of_pairs(batch.features[:, 0], batch.actions[:, 0]))
        self.note(target=target.mean())
        return (found - target).square().mean(1).sum()
