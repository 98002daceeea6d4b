"""Discriminators: the inputs of GAIL's, regularisation, and the rewards, including those at the end of episodes.

"The cited implementation" is the one the paper compares with, openai/baselines' `gail`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import gymnasium
import numpy as np
import torch
from imitation.algorithms.adversarial import common
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.rollout import TrajectoryAccumulator
from imitation.rewards.reward_nets import RewardNet
from imitation.util.networks import build_mlp
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from envs.demonstrations import Demonstrations
from methods.gail.trpo import SubsampledTRPO
from methods.interface import MethodError, State
from methods.policy import GaussianNetwork, compress

Terminal = Literal["always", "chain", "absorbing", "terminal"]
"""What follows the end of an episode. With r the reward of the last step, V the critic and s_T the terminal state:

- "always": a termination counts as an interruption, so gamma V(s_T) follows. One reading of the paper's "bootstrapping
  regardless" of termination (section 4.1). No s_T is ever an input that the critic is trained on.
- "chain": gamma V(first state of the next episode) follows, and advantages carry over into that episode. The other
  reading: it is what the cited implementation does when its test for termination is left out, and the ergodic chain of
  section 2.1. Time limits are treated alike.
- "absorbing": r is paid forever, r / (1 - gamma); for failures too, where the discriminator errs. A departure.
- "terminal": nothing follows. A departure.

Rewards are positive, so an end that pays nothing more teaches the policy to delay it, although these tasks end on
success. Except with "chain", gamma V(s_T) follows where an episode is cut off by the time limit.
"""
RewardFunction = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""States [n, O], actions [n, A], next states [n, O] and whether these are terminal [n] -> rewards [n]."""


class Discriminator(RewardNet):
    """Logits of a state and its action, or of the state that a step leads to; high for demonstrations.

    With `transitions` it sees a state and the next one, and no action (Torabi et al., 2019). Else, without actions, its
    input is the *next* state: only there do terminal states occur among the policy's own samples, and without them
    demonstrations of final states could be told apart trivially. Observations are normalised as for the policy, and
    compressed beyond `knee` standard deviations (0: never).
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        network: GaussianNetwork,
        hidden: tuple[int, ...],
        use_actions: bool,
        knee: float = 0.0,
        transitions: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.use_actions = use_actions
        self.transitions = transitions
        self.knee = knee
        self.register_buffer("shift", network.shift.clone())
        self.register_buffer("scale", network.scale.clone())
        inputs = network.shape.observation_size * (1 + transitions) + (network.shape.action_size if use_actions else 0)
        self.mlp = build_mlp(inputs, hidden, activation=nn.Tanh, squeeze_output=True)

    def features(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """The input of the network, [n, O + A], [n, O] or [n, 2 O], with normalised observations."""
        if self.transitions:
            pair = [compress((part - self.shift) / self.scale, self.knee) for part in (state, next_state)]
            return torch.cat(pair, 1)
        observation = state if self.use_actions else next_state
        normalised = compress((observation - self.shift) / self.scale, self.knee)
        return torch.cat([normalised, action], 1) if self.use_actions else normalised

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor, done: Tensor) -> Tensor:
        return self.mlp(self.features(state, action, next_state))


@dataclass(frozen=True)
class Regularisation:
    """Terms of the discriminator's loss besides the cross-entropy.

    Attributes:
        entropy: weight of minus the mean entropy of its predictions, over demonstrated and the policy's samples.
        gradient_penalty: weight of (|gradient| - 1)^2 between demonstrated and the policy's samples (Gulrajani et al.,
            2017; for imitation Kostrikov et al., 2019).
    """

    entropy: float
    gradient_penalty: float


class AdversarialTrainer(common.AdversarialTrainer):
    """`imitation`'s adversarial trainer with a regularised discriminator, and with a state to resume from.

    The loss is E_demonstrations[-log D] + E_policy[-log(1 - D)] plus the two terms of `Regularisation`. Without them it
    is twice the library's, which makes no difference to Adam.
    """

    def __init__(self, *, regularisation: Regularisation, **options: Any) -> None:
        super().__init__(**options)
        self.regularisation = regularisation

    @abstractmethod
    def rewards(self, states: np.ndarray, actions: np.ndarray, reached: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """See `RewardFunction`."""

    @abstractmethod
    def slopes(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Lengths [n] of the gradient of the logits at random points between n demonstrated and n own samples.

        `batch` holds both kinds, [2 n, ...] each, the demonstrated ones first. Lengths are differentiable.
        """

    def train_disc(
        self, *, expert_samples: Mapping | None = None, gen_samples: Mapping | None = None
    ) -> Mapping[str, float]:
        """One step of the discriminator; returns its loss and its accuracy on both kinds of samples."""
        (batch,) = self._make_disc_train_batches(gen_samples=gen_samples, expert_samples=expert_samples)
        labels = batch["labels_expert_is_one"].float()
        logits = self.logits_expert_is_high(
            batch["state"], batch["action"], batch["next_state"], batch["done"], batch["log_policy_act_prob"]
        )
        loss = 2.0 * F.binary_cross_entropy_with_logits(logits, labels)
        if self.regularisation.entropy:
            entropy = F.binary_cross_entropy_with_logits(logits, logits.sigmoid())
            loss = loss - self.regularisation.entropy * entropy
        if self.regularisation.gradient_penalty:
            loss = loss + self.regularisation.gradient_penalty * (self.slopes(batch) - 1.0).square().mean()
        self._disc_opt.zero_grad()
        loss.backward()
        self._disc_opt.step()
        right = (logits > 0) == (labels > 0.5)
        demonstrated, generated = (float(part.float().mean()) for part in right.chunk(2))
        return {"loss": float(loss.detach()), "accuracy_demonstrations": demonstrated, "accuracy_policy": generated}

    def get_state(self) -> State:
        """Everything that changes from iteration to iteration, between two of them; the libraries save none of it."""
        trpo = cast(SubsampledTRPO, self.gen_algo)
        return {
            "policy": trpo.policy.state_dict(),
            "critic_optimizer": trpo.policy.optimizer.state_dict(),
            "discriminator": self._reward_net.state_dict(),
            "discriminator_optimizer": self._disc_opt.state_dict(),
            "observations": trpo._last_obs,
            "episode_starts": trpo._last_episode_starts,
            "environment_steps": trpo.num_timesteps,
        }

    def set_state(self, state: State) -> None:
        """Restore what `get_state` returned, with environments that have been restored already.

        Rollout and replay buffers are filled again in each iteration, so they are no part of the state.
        """
        trpo = cast(SubsampledTRPO, self.gen_algo)
        trpo.policy.load_state_dict(state["policy"])
        trpo.policy.optimizer.load_state_dict(state["critic_optimizer"])
        self._reward_net.load_state_dict(state["discriminator"])
        self._disc_opt.load_state_dict(state["discriminator_optimizer"])
        trpo._last_obs, trpo._last_episode_starts = state["observations"], state["episode_starts"]
        trpo.num_timesteps = state["environment_steps"]
        # imitation's wrapper starts with a reset; the trajectories it gathers have to start where the environments are.
        trajectories = TrajectoryAccumulator()
        for row, observation in enumerate(state["observations"]):
            trajectories.add_step({"obs": observation}, key=row)
        self.venv_buffering._traj_accum = trajectories


class RegularisedGail(AdversarialTrainer, GAIL):
    """`imitation`'s GAIL with a regularised `Discriminator`. The reward is the library's, -log(1 - D) > 0."""

    def _get_log_policy_act_prob(self, obs_th: Tensor, acts_th: Tensor) -> None:
        """Other adversaries need the policy's probabilities, GAIL does not."""

    def rewards(self, states: np.ndarray, actions: np.ndarray, reached: np.ndarray, ended: np.ndarray) -> np.ndarray:
        return self.reward_train.predict(states, actions, reached, ended)

    def slopes(self, batch: Mapping[str, Tensor]) -> Tensor:
        discriminator = cast(Discriminator, self._reward_net)
        features = discriminator.features(batch["state"], batch["action"], batch["next_state"])
        demonstrated, generated = features.chunk(2)
        mixed = torch.lerp(demonstrated, generated, torch.rand(len(generated), 1, device=generated.device))
        mixed.requires_grad_(True)
        (gradient,) = torch.autograd.grad(discriminator.mlp(mixed).sum(), mixed, create_graph=True)
        return gradient.norm(dim=1)


class DemonstratedBatches:
    """Endless random batches of demonstrated transitions, drawn with replacement, in the form `imitation` expects."""

    def __init__(
        self,
        demonstrations: Demonstrations,
        action_size: int,
        use_actions: bool,
        size: int,
        rng: np.random.Generator,
        transitions: bool = False,
    ) -> None:
        """Batches of pairs of state and action, of the states that a step led to, or of states before and after a step.

        Raises:
            MethodError: actions are to be used, but the demonstrations have no pairs; or transitions are, but steps
                are left out.
        """
        if use_actions:
            if demonstrations.actions is None or demonstrations.terminal.all():
                raise MethodError(
                    "these demonstrations hold states only; set gail.use_actions=false and gail.warm_start=0"
                )
            states, actions = demonstrations.pairs()
            reached = states
        elif transitions:
            rows = taken(demonstrations)
            states, reached = demonstrations.observations[rows], demonstrations.observations[rows + 1]
            actions = np.zeros((len(states), action_size), np.float32)
        else:
            states = reached = demonstrations.observations[demonstrations.time_step > 0]
            actions = np.zeros((len(states), action_size), np.float32)
        # The library expects whole transitions; the discriminator reads (obs, acts), next_obs or (obs, next_obs).
        self.columns = {"obs": states, "acts": actions, "next_obs": reached, "dones": np.zeros(len(states), bool)}
        self.size, self.rng = size, rng

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        while True:
            rows = self.rng.integers(len(self.columns["obs"]), size=self.size)
            yield {name: column[rows] for name, column in self.columns.items()}


def taken(demonstrations: Demonstrations) -> np.ndarray:
    """The rows [N] of the demonstrated states in which a step was taken; the next row has the state it led to.

    Raises:
        MethodError: steps are left out, or there are none.
    """
    within = np.diff(demonstrations.episode) == 0
    if not within.any() or (np.diff(demonstrations.time_step)[within] != 1).any():
        raise MethodError(
            "transitions need every state of an episode, and these demonstrations leave some out; use demonstrations "
            "with every=1, or a method that does not judge transitions"
        )
    return np.flatnonzero(within)


class DeferredRewards(VecEnvWrapper):
    """Returns zero rewards during collection and scores the whole rollout in one pass of the discriminator.

    It also applies what follows the end of an episode (`Terminal`), and multiplies all rewards by `scale`.
    """

    def __init__(
        self, venv: VecEnv, reward_function: RewardFunction, terminal: Terminal, gamma: float, scale: float = 1.0
    ) -> None:
        super().__init__(venv)
        self.reward_function = reward_function
        self.terminal = terminal
        self.gamma = gamma
        self.scale = scale
        self._steps: list[tuple[np.ndarray, ...]] = []

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        stepped: Any = self.venv.step_wait()
        observations, _, dones, infos = stepped
        reached, weights = observations.copy(), np.full(len(dones), self.scale, np.float32)
        ended = dones.copy()
        for i in np.flatnonzero(dones):
            reached[i] = infos[i]["terminal_observation"]
            timeout = infos[i].get("TimeLimit.truncated", False)
            ended[i] = not timeout
            if self.terminal == "absorbing" and not timeout:
                weights[i] /= 1.0 - self.gamma
            # SB3 adds gamma V(s_T) to the reward of a step that it takes for the end by a time limit.
            infos[i]["TimeLimit.truncated"] = self.terminal == "always" or (timeout and self.terminal != "chain")
        self._steps.append((self._actions, reached, ended, weights))
        return observations, np.zeros(len(dones), np.float32), dones, infos

    def rewards(self, observations: np.ndarray) -> np.ndarray:
        """Rewards [T, N] of the steps since the last call, which were taken at `observations` [T, N, O]."""
        *columns, weights = (np.stack(column) for column in zip(*self._steps, strict=True))
        self._steps = []
        flat = [column.reshape(-1, *column.shape[2:]) for column in (observations, *columns)]
        return weights * self.reward_function(*flat).reshape(weights.shape)
