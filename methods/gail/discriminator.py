"""The parts of GAIL that `imitation` and sb3-contrib leave open: what is judged, how the judge is regularised, and
what the end of an episode is worth.

"The cited implementation" is the one the paper compares with, openai/baselines' `gail`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import gymnasium
import numpy as np
import torch
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.rollout import TrajectoryAccumulator
from imitation.rewards.reward_nets import RewardNet
from imitation.util.networks import build_mlp
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor, nn
from torch.nn import functional as F

from envs.demonstrations import Demonstrations
from methods.gail.trpo import ThriftyTRPO
from methods.interface import MethodError, State
from methods.policy import GaussianNetwork, compress

Terminal = Literal["always", "absorbing", "terminal"]
Judge = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Discriminator(RewardNet):
    """Logits that are high for demonstrations, of a state and its action, or of the state that a step leads to.

    Where actions are not used it is the *next* state that is judged: only there do terminal states occur among the
    policy's own samples, without which demonstrations of final states could be told from them trivially.
    Observations are normalised as the policy normalises them, and compressed beyond `knee` deviations.
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
    ) -> None:
        super().__init__(observation_space, action_space)
        self.use_actions = use_actions
        self.knee = knee
        self.register_buffer("shift", network.shift.clone())
        self.register_buffer("scale", network.scale.clone())
        inputs = network.shape.observation_size + (network.shape.action_size if use_actions else 0)
        self.mlp = build_mlp(inputs, hidden, activation=nn.Tanh, squeeze_output=True)

    def features(self, state: Tensor, action: Tensor, next_state: Tensor) -> Tensor:
        """What is judged, [n, O + A] or [n, O], with normalised observations."""
        observation = state if self.use_actions else next_state
        normalised = compress((observation - self.shift) / self.scale, self.knee)
        return torch.cat([normalised, action], 1) if self.use_actions else normalised

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor, done: Tensor) -> Tensor:
        return self.mlp(self.features(state, action, next_state))


@dataclass(frozen=True)
class Regularisation:
    """What is added to the discriminator's loss.

    Attributes:
        entropy: weight of minus the mean entropy of its verdicts, over demonstrated and the policy's samples.
        gradient_penalty: weight of (|gradient| - 1)^2 between demonstrated and the policy's samples (Gulrajani et al.,
            2017; in imitation Kostrikov et al., 2019).
    """

    entropy: float
    gradient_penalty: float


class RegularisedGail(GAIL):
    """`imitation`'s GAIL with a regularised discriminator.

    The loss is E_demonstrations[-log D] + E_policy[-log(1 - D)] and the two terms of `Regularisation`; without them it
    is twice the library's, which makes no difference to Adam. The reward is the library's, -log(1 - D), and positive.
    """

    def __init__(self, *, regularisation: Regularisation, **options: Any) -> None:
        super().__init__(**options)
        self.regularisation = regularisation

    def _get_log_policy_act_prob(self, obs_th: Tensor, acts_th: Tensor) -> None:
        """The library's other adversaries need the policy's probabilities, GAIL does not."""

    def train_disc(
        self, *, expert_samples: Mapping | None = None, gen_samples: Mapping | None = None
    ) -> Mapping[str, float]:
        """One step of the discriminator; returns its loss and its accuracy on samples of either kind."""
        (batch,) = self._make_disc_train_batches(gen_samples=gen_samples, expert_samples=expert_samples)
        judge = cast(Discriminator, self._reward_net)
        features = judge.features(batch["state"], batch["action"], batch["next_state"])
        labels = batch["labels_expert_is_one"].float()
        logits = judge.mlp(features)
        loss = 2.0 * F.binary_cross_entropy_with_logits(logits, labels)
        if self.regularisation.entropy:
            entropy = F.binary_cross_entropy_with_logits(logits, logits.sigmoid())
            loss = loss - self.regularisation.entropy * entropy
        if self.regularisation.gradient_penalty:
            loss = loss + self.regularisation.gradient_penalty * _gradient_penalty(judge.mlp, *features.chunk(2))
        self._disc_opt.zero_grad()
        loss.backward()
        self._disc_opt.step()
        right = (logits > 0) == (labels > 0.5)
        demonstrated, generated = (float(part.float().mean()) for part in right.chunk(2))
        return {"loss": float(loss.detach()), "accuracy_demonstrations": demonstrated, "accuracy_policy": generated}

    def get_state(self) -> State:
        """What changes from iteration to iteration, between two of them; the libraries themselves keep none of it."""
        trpo = cast(ThriftyTRPO, self.gen_algo)
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
        """Go on from what `get_state` gave, with environments that stand where they stood then.

        The roll-out and replay buffers are filled anew in each iteration, and so are not part of it.
        """
        trpo = cast(ThriftyTRPO, self.gen_algo)
        trpo.policy.load_state_dict(state["policy"])
        trpo.policy.optimizer.load_state_dict(state["critic_optimizer"])
        self._reward_net.load_state_dict(state["discriminator"])
        self._disc_opt.load_state_dict(state["discriminator_optimizer"])
        trpo._last_obs, trpo._last_episode_starts = state["observations"], state["episode_starts"]
        trpo.num_timesteps = state["environment_steps"]
        # imitation's wrapper began with a reset; the trajectories it gathers begin where the environments are now.
        trajectories = TrajectoryAccumulator()
        for row, observation in enumerate(state["observations"]):
            trajectories.add_step({"obs": observation}, key=row)
        self.venv_buffering._traj_accum = trajectories


def _gradient_penalty(judge: nn.Module, demonstrated: Tensor, generated: Tensor) -> Tensor:
    mixed = torch.lerp(demonstrated, generated, torch.rand(len(generated), 1, device=generated.device))
    mixed.requires_grad_(True)
    (gradient,) = torch.autograd.grad(judge(mixed).sum(), mixed, create_graph=True)
    return (gradient.norm(dim=1) - 1.0).square().mean()


class DemonstratedBatches:
    """Endless random batches of demonstrated transitions, drawn with replacement, as `imitation` takes them."""

    def __init__(
        self, demonstrations: Demonstrations, action_size: int, use_actions: bool, size: int, rng: np.random.Generator
    ) -> None:
        """Pairs of state and action, or all states that a step led to.

        Raises:
            MethodError: there are no pairs although actions are to be used.
        """
        if use_actions:
            if demonstrations.actions is None or demonstrations.terminal.all():
                raise MethodError(
                    "these demonstrations hold states alone; set gail.use_actions=false and gail.warm_start=0"
                )
            states, actions = demonstrations.pairs()
        else:
            states = demonstrations.observations[demonstrations.time_step > 0]
            actions = np.zeros((len(states), action_size), np.float32)
        # The library asks for whole transitions; the discriminator looks at (obs, acts) or at next_obs.
        self.columns = {"obs": states, "acts": actions, "next_obs": states, "dones": np.zeros(len(states), bool)}
        self.size, self.rng = size, rng

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        while True:
            rows = self.rng.integers(len(self.columns["obs"]), size=self.size)
            yield {name: column[rows] for name, column in self.columns.items()}


class LateRewards(VecEnvWrapper):
    """Pays nothing while steps are taken, and keeps what was done until a roll-out is complete, to be judged at once.

    It also decides what a terminated episode is worth. Rewards are positive, so an end that pays nothing more teaches
    to put it off, although these tasks end on success. With r the reward of the last step and V the critic's value of
    the terminal state:

    - "always" (the paper, section 4.1): the end counts as an interruption, and SB3 adds gamma V(s_T).
    - "absorbing": the last reward is paid for ever, r / (1 - gamma); for failing too, where the discriminator errs.
    - "terminal": nothing more is paid.

    Where an episode is cut off by the clock, all three add gamma V(s_T), as SB3 does. All rewards are multiplied by
    `scale`.
    """

    def __init__(self, venv: VecEnv, judge: Judge, terminal: Terminal, gamma: float, scale: float = 1.0) -> None:
        """`judge` gives the rewards [n] of states [n, O], actions [n, A], next states [n, O] and ends [n]."""
        super().__init__(venv)
        self.judge = judge
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
        for i in np.flatnonzero(dones):
            reached[i] = infos[i]["terminal_observation"]
            if infos[i].get("TimeLimit.truncated", False):
                continue
            if self.terminal == "always":
                infos[i]["TimeLimit.truncated"] = True
            elif self.terminal == "absorbing":
                weights[i] /= 1.0 - self.gamma
        self._steps.append((self._actions, reached, dones, weights))
        return observations, np.zeros(len(dones), np.float32), dones, infos

    def rewards(self, observations: np.ndarray) -> np.ndarray:
        """The rewards [T, N] of the steps since the last call, which were taken at `observations` [T, N, O]."""
        *columns, weights = (np.stack(column) for column in zip(*self._steps, strict=True))
        self._steps = []
        flat = [column.reshape(-1, *column.shape[2:]) for column in (observations, *columns)]
        return weights * self.judge(*flat).reshape(weights.shape)
