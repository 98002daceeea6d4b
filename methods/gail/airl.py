"""AIRL: adversarial inverse reinforcement learning, through `imitation`'s AIRL on the loop of our GAIL.

Fu, Luo & Levine (2018), "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning". The discriminator
is D = exp(f) / (exp(f) + pi(a | s)), where pi is the current policy and f(s, a, s') = g(s, a) + gamma h(s') - h(s) is
a reward g with a shaping potential h, so its logit is f(s, a, s') - log pi(a | s). At the optimum f is log pi_E(a | s),
the demonstrator's advantage, and with `use_actions` false g is its state reward up to a constant. The policy's reward
is log D - log(1 - D), the logit itself, as in the paper: f with an entropy bonus. (`imitation` leaves the bonus to the
learner, but TRPO has none; with `policy_entropy` 0 the reward is the library's, f.) Networks and logits are the
library's.

Demonstrated actions are needed whatever g sees, because D depends on their probability under the policy.

Rewards can have either sign, so they could make any end of an episode attractive or repulsive, whether success or
failure. Therefore episodes end in absorbing states ("absorbing"): observations have a flag, and from its terminal state
s_T an episode moves to (s_T, 1) and stays there, with no choice of action (log pi = 0). The discriminator judges these
steps like all others, demonstrated ones against the policy's. Each end counts as gamma / (1 - gamma) steps, which is
what discounting leaves of them, and the sum of their rewards is paid with the last step. So the potential of s_T
cancels, and an end is rewarded to the extent that demonstrations end like this more often than the policy. With
`terminal = "terminal"` ends are the library's: nothing follows, and h(s_T) = 0.

Other differences from the paper: the density of an action depends on its unit, which shifts f by a constant at each
step but not at ends, so actions are measured in a unit in which an untrained policy has entropy 0. The discriminator is
regularised, and by default it sees the policy's samples of the last iteration only, where the paper mixes in those of
the 20 before (`earlier_iterations`). Profiles may start the policy from cloning.

What to expect: the discriminator memorises few demonstrations, as GAIL's does; users of the library often find AIRL
weaker than GAIL. Cost: that of GAIL, with one more network in each update of the discriminator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, cast

import gymnasium
import numpy as np
import torch
from annotated_types import Ge, Le
from gymnasium.spaces import Box
from imitation.algorithms.adversarial.airl import AIRL
from imitation.rewards.reward_nets import BasicShapedRewardNet, RewardNet
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods.gail.discriminator import AdversarialTrainer, Terminal, taken
from methods.gail.training import AdversarialSettings, Training
from methods.interface import FitContext, Method, MethodError, State
from methods.policy import GaussianNetwork, GaussianPolicy, compress
from methods.registry import register

SEARCH = {
    "gamma": {"choices": [0.9, 0.97, 0.99, 0.995]},
    "kl": {"low": 3e-3, "high": 3e-2, "log": True},
    "discriminator_steps": {"low": 5, "high": 80, "log": True},
    "discriminator_learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "gradient_penalty": {"choices": [0.0, 0.1, 1.0, 10.0]},
    "entropy": {"choices": [0.0, 1e-2, 0.1, 1.0]},
    "policy_entropy": {"choices": [0.0, 0.1, 1.0]},
    "earlier_iterations": {"choices": [0, 20]},
    "use_actions": {"choices": [False, True]},
    "compress": {"choices": [0.0, 2.0]},
    "critic_learning_rate": {"low": 3e-4, "high": 5e-3, "log": True},
}
"""What tuning may try: that of GAIL, and what AIRL adds to it."""


@dataclass(frozen=True)
class Settings(AdversarialSettings):
    """Settings of AIRL; those shared with GAIL are explained in `AdversarialSettings`.

    Attributes:
        discriminator_hidden: units of the hidden layers (tanh) of the reward g.
        potential_hidden: units of the hidden layers (tanh) of the potential h.
        use_actions: g sees the action; if false, g depends on states only. Demonstrated actions are needed anyway.
        terminal: what follows the end of an episode: "absorbing" and "terminal" see the module, "always" and "chain"
            see `methods.gail.discriminator.Terminal`.
        policy_entropy: weight of -log pi(a | s) in the policy's reward: 1 is the paper's, 0.1 that of its authors'
            code, 0 the library's.
        earlier_iterations: half of the policy's samples that the discriminator sees are from so many iterations before
            the last one, so that it does not forget what it has rejected (20 in the paper); 0 is off. Their
            log pi(a | s) is that of the present policy, as in the library.
    """

    terminal: Terminal = "absorbing"
    potential_hidden: tuple[int, ...] = (32, 32)
    policy_entropy: Annotated[float, Ge(0.0)] = 1.0
    earlier_iterations: Annotated[int, Ge(0), Le(100)] = field(default=0, metadata={"neutral": True})


@register
class Airl(Method):
    """AIRL; see the module for the algorithm and for what to expect of it."""

    name: ClassVar[str] = "airl"
    display_name = "AIRL"
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "adversarial inverse reinforcement learning (Fu et al., 2018) through imitation's AIRL"
    small: ClassVar[Mapping[str, Any]] = {"processes": 4, "batch_size": 64, "critic_batch": 128}

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> GaussianPolicy:
        return AirlTraining(self.name, self.settings, demonstrations, context).run()


@dataclass(frozen=True)
class Steps:
    """Steps of episodes.

    Attributes:
        states: [n, O] float32.
        actions: [n, A] float32.
        reached: [n, O] float32, the next states.
        ended: [n] whether these are terminal, other than by a time limit.
    """

    states: np.ndarray
    actions: np.ndarray
    reached: np.ndarray
    ended: np.ndarray

    @staticmethod
    def of(demonstrations: Demonstrations) -> Steps:
        """All demonstrated steps; each episode ends with a terminal state.

        Raises:
            MethodError: actions are missing, or steps are left out.
        """
        if demonstrations.actions is None:
            raise MethodError(
                "AIRL asks how probable the policy finds demonstrated actions, and these demonstrations hold states "
                "only; infer the actions (--actions inferred), or use gail or gaifo"
            )
        rows, states = taken(demonstrations), demonstrations.observations
        return Steps(states[rows], demonstrations.actions[rows], states[rows + 1], demonstrations.terminal[rows + 1])

    def inputs(self, terminal: Terminal, rows: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
        """Steps in the form `imitation` expects, whose states have a flag in addition, [k, O + 1].

        Args:
            terminal: how ends are marked: by the flag ("absorbing"), as `dones` ("terminal"), or not at all.
            rows: [k] which steps.
            after: [k] whether to give a step in the absorbing state after that step instead.
        """
        reached, ended = self.reached[rows], self.ended[rows]
        states = np.where(after[:, None], reached, self.states[rows])
        return {
            "obs": np.column_stack([states, after]).astype(np.float32),
            "acts": np.where(after[:, None], np.float32(0.0), self.actions[rows]),
            "next_obs": np.column_stack([reached, after | (ended & (terminal == "absorbing"))]).astype(np.float32),
            "dones": ended & (terminal == "terminal"),
        }

    def sample(self, terminal: Terminal, gamma: float, size: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Random `inputs`, where an end counts as gamma / (1 - gamma) further steps if `terminal` is "absorbing"."""
        ends = np.flatnonzero(self.ended) if terminal == "absorbing" else np.zeros(0, int)
        further = len(ends) * gamma / (1.0 - gamma)
        rows = rng.integers(len(self.states), size=size)
        after = rng.random(size) < further / (len(self.states) + further)
        if len(ends):
            rows = np.where(after, ends[rng.integers(len(ends), size=size)], rows)
        return self.inputs(terminal, rows, after)


class ShapedReward(RewardNet):
    """`imitation`'s f(s, a, s') of states with a flag, [n, O + 1], and actions [n, A]; see the module.

    Observations are normalised as for the policy, and compressed beyond `knee` standard deviations (0: never).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, action_space: gymnasium.Space, network: GaussianNetwork, settings: Settings) -> None:
        flagged = Box(-np.inf, np.inf, (network.shape.observation_size + 1,), np.float32)
        super().__init__(flagged, action_space)
        self.knee = settings.compress
        self.unit = action_unit(network)
        self.register_buffer("shift", nn.functional.pad(network.shift, (0, 1)))
        self.register_buffer("scale", nn.functional.pad(network.scale, (0, 1), value=1.0))
        self.shaped = BasicShapedRewardNet(
            flagged,
            action_space,
            reward_hid_sizes=settings.discriminator_hidden,
            potential_hid_sizes=settings.potential_hidden,
            use_action=settings.use_actions,
            discount_factor=settings.gamma,
            activation=nn.Tanh,
        )

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor, done: Tensor) -> Tensor:
        before, reached = (compress((part - self.shift) / self.scale, self.knee) for part in (state, next_state))
        return self.shaped(before, action / self.unit, reached, done)


def action_unit(network: GaussianNetwork) -> float:
    """The sigma of an untrained policy, half-way between its bounds."""
    return sum(network.shape.sigma_bounds) / 2.0


class RegularisedAirl(AdversarialTrainer, AIRL):
    """`imitation`'s AIRL with regularisation and absorbing states; the logits are the library's."""

    def __init__(
        self, *, network: GaussianNetwork, settings: Settings, rng: np.random.Generator, **options: Any
    ) -> None:
        """See `AIRL`.

        Args:
            network: the policy's.
            settings: of the method.
            rng: draws the policy's own samples.
            options: see `AdversarialTrainer`.
        """
        super().__init__(**options)
        self.network = network
        self.settings = settings
        self.rng = rng
        size = network.shape.action_size
        self._entropy = size * math.log(action_unit(network) * math.sqrt(2.0 * math.pi * math.e))
        self._own: Steps | None = None
        self._earlier: list[Steps] = []  # the oldest first
        self._paid: dict[str, float] = {}

    def _get_log_policy_act_prob(self, obs_th: Tensor, acts_th: Tensor) -> Tensor:
        """log pi [n] of actions [n, A] in states with a flag, [n, O + 1]; 0 in absorbing states."""
        return (1.0 - obs_th[:, -1]) * (self.network.log_prob(obs_th[:, :-1], acts_th) + self._entropy)

    def rewards(self, states: np.ndarray, actions: np.ndarray, reached: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """See `RewardFunction`. These steps are what the discriminator's next updates see of the policy."""
        s = self.settings
        if self._own is not None and s.earlier_iterations:
            self._earlier = [*self._earlier, self._own][-s.earlier_iterations :]
        own = self._own = Steps(states, actions, reached, ended)
        found = own.inputs(s.terminal, np.arange(len(states)), np.zeros(len(states), bool))
        rewards = self._reward_net.predict(*found.values())
        if s.policy_entropy:
            with torch.no_grad():
                columns = (torch.as_tensor(found[name], device=self._reward_net.device) for name in ("obs", "acts"))
                rewards = rewards - s.policy_entropy * self._get_log_policy_act_prob(*columns).cpu().numpy()
        self._paid = {"reward_steps": float(rewards.mean())}
        ends = np.flatnonzero(ended)
        if s.terminal == "absorbing" and len(ends):
            stays = self._reward_net.predict(*own.inputs(s.terminal, ends, np.ones(len(ends), bool)).values())
            rewards[ends] += s.gamma / (1.0 - s.gamma) * stays
            self._paid["reward_ends"] = float(stays.mean())
        return rewards

    def train_disc(
        self, *, expert_samples: Mapping | None = None, gen_samples: Mapping | None = None
    ) -> Mapping[str, float]:
        """See `AdversarialTrainer.train_disc`; returns as well what the last iteration's steps and ends were paid."""
        if gen_samples is None:
            gen_samples = self._own_batch()
        return {**super().train_disc(expert_samples=expert_samples, gen_samples=gen_samples), **self._paid}

    def _own_batch(self) -> dict[str, np.ndarray]:
        """Own samples, half of them from the earlier iterations if these are kept; each of these is as likely."""
        assert self._own is not None, "train_gen comes first"
        sources, counts = [self._own], [self.demo_batch_size]
        if self._earlier:
            old = self.rng.multinomial(self.demo_batch_size // 2, np.full(len(self._earlier), 1.0 / len(self._earlier)))
            sources, counts = [self._own, *self._earlier], [self.demo_batch_size - int(old.sum()), *old.tolist()]
        s = self.settings
        parts = [one.sample(s.terminal, s.gamma, n, self.rng) for one, n in zip(sources, counts, strict=True)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def get_state(self) -> State:
        """See `AdversarialTrainer.get_state`; with the steps that later iterations mix in."""
        kept = [*self._earlier, *([self._own] if self._own else [])] if self.settings.earlier_iterations else []
        return {**super().get_state(), "own_steps": [asdict(steps) for steps in kept]}

    def set_state(self, state: State) -> None:
        super().set_state(state)
        self._earlier = [Steps(**steps) for steps in state["own_steps"]]
        self._own = self._earlier.pop() if self._earlier else None

    def slopes(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See `AdversarialTrainer.slopes`; of f alone.

        Between demonstrated and own steps actions have no density to speak of under a narrow policy. There log pi has
        slopes of ten to a hundred, and a penalty on those of the logit would train f to have the same and nothing else.
        """
        net = cast(ShapedReward, self._reward_net)
        weight = torch.rand(len(batch["done"]) // 2, 1, device=net.device)

        def between(values: Tensor, weight: Tensor) -> Tensor:
            one, other = values.chunk(2)
            return torch.lerp(one, other, weight)

        state, action, reached = (
            between(batch[name], weight).requires_grad_(True) for name in ("state", "action", "next_state")
        )
        f = net(state, action, reached, between(batch["done"].float(), weight[:, 0]))
        slopes = torch.autograd.grad(f.sum(), (state, action, reached), create_graph=True, materialize_grads=True)
        units: tuple[Tensor | float, ...] = (net.scale, net.unit, net.scale)
        return torch.cat([slope * unit for slope, unit in zip(slopes, units, strict=True)], 1).norm(dim=1)


class DemonstratedSteps:
    """Endless random batches of demonstrated steps, in the form `imitation` expects; see `Steps.sample`."""

    def __init__(self, steps: Steps, settings: Settings, rng: np.random.Generator) -> None:
        self.steps, self.settings, self.rng = steps, settings, rng

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        s = self.settings
        while True:
            yield self.steps.sample(s.terminal, s.gamma, s.discriminator_batch, self.rng)


class AirlTraining(Training):
    """The loop with AIRL's discriminator."""

    settings: Settings

    @property
    def ends(self) -> Terminal:
        """Rewards hold already what an absorbing state pays."""
        return "terminal" if self.settings.terminal == "absorbing" else self.settings.terminal

    def demonstrated_batches(self) -> DemonstratedSteps:
        return DemonstratedSteps(Steps.of(self.demonstrations), self.settings, self.rng)

    def adversary(self, venv: VecEnv, **options: Any) -> RegularisedAirl:
        net = ShapedReward(venv.action_space, self.network, self.settings)
        return RegularisedAirl(
            venv=venv, reward_net=net, network=self.network, settings=self.settings, rng=self.rng, **options
        )
