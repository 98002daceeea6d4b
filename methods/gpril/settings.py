"""Settings of GPRIL. Defaults are the paper's values for clip insertion (appendix B, table a) wherever it gives one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from methods.gpril.likelihood import Reduction
from methods.policy import SIGMA_BOUNDS, SigmaBounds

SEARCH = {
    "gamma": {"choices": [0.5, 0.7, 0.8, 0.9, 0.95]},
    "model_learning_rate": {"low": 1e-5, "high": 3e-3, "log": True},
    "model_l2": {"low": 1e-5, "high": 1e-2, "log": True},
    "sigma_floor": {"choices": [0.01, 0.03, 0.1]},
    "policy_learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
    "policy_l2": {"low": 1e-6, "high": 1e-1, "log": True},
    "beta_d": {"low": 0.1, "high": 3.0, "log": True},
}
"""What tuning may try. The paper's tasks have gamma 0.7 and 0.9, models' learning rates of 1e-5 to 3e-5, their L2 of
1e-3 and 1e-2, floors of 0.01 and 0.1 and a policy's rate of 1e-4; shorter budgets need higher rates."""
NEUTRAL = {"neutral": True}
"""Metadata of a setting added later: at its default it is no part of a trial's identity."""


@dataclass(frozen=True)
class Settings:
    """Settings of GPRIL.

    In the paper (algorithm 1, section 3, appendix B):
        batch_size: B, rows of either kind per update.
        gamma: discount of the predecessor distribution; offsets follow Geom(1 - gamma).
        replay_size: steps of experience kept.
        model_updates: N_B, joint updates of both predecessor models per iteration.
        policy_updates: N_pi, updates of the policy per iteration.
        burn_in: joint model updates before the first policy update on predecessor samples.
        model_layers: number of stacked masked autoencoders in each flow.
        model_hidden: units of their hidden layers.
        model_learning_rate: Adam's learning rate of the models.
        model_l2: L2 regularisation of the flows' weights and biases.
        sigma_floor: min(sigma_i) of each autoencoder.
        gradient_clip: largest L2 norm of a model's gradient.
        policy_learning_rate: Adam's learning rate of the policy.
        sigma_bounds: lowest and highest sigma of the policy. The paper gives (0.01, 0.1) for target velocities and no
            unit; here the unit is a fraction of the action bounds. Read in rad/s they are (0.02, 0.2) on the shipped
            tasks, whose bounds are 0.5 rad/s.

    Free choices, where the paper is silent or ambiguous:
        beta_pi: weight of the demonstrated actions; 0 learns from states only, as in figure 1d. The paper gives
            neither weight for demonstrations with actions.
        beta_d: weight of the predecessor samples; 0 is behavioural cloning.
        initial_episodes: rollouts collected before training.
        episodes_per_iteration: rollouts collected before each further iteration; the paper's actor is asynchronous.
        burn_in_collects: also collect rollouts before every further `model_updates` updates of the burn-in.
        overlap: collect rollouts in a thread while the previous iteration trains, with the policy as it was when that
            iteration began; the outcome does not depend on timing.
        held_out_every: hold out every n-th rollout for diagnostics and early stopping; 0 holds out none.
        model_patience: early stopping of each model: after so many checks (one every 16 updates) without a higher
            likelihood of the held-out rollouts, stop for this iteration and keep the best weights; 0 is off.
        policy_l2: L2 regularisation of the policy.
        batch_reduction: whether the loss takes the mean or the sum of a batch's log densities. Algorithm 1 prints sums.
            With a sum the gradient clip binds more often and L2 terms weigh less.
        initial_targets: whether the initial states of demonstrations are targets. With `cross_episodes = false` no
            training pair ever leads to an initial state, so the models can only guess what precedes one.

    Departures from the paper, all off by default:
        warm_start: policy updates by behavioural cloning before the first rollout, counted in the policy's budget.
        cross_episodes: let offsets cross the end of an episode, as in the paper's ergodic chain (on by default).
        displacement: model the scaled difference to the target instead of the state itself, and condition B^a on it. An
            invertible affine change of variables, so the models remain masked autoregressive flows.
        scale_actions: model actions in units of their spread in the replay buffer.
        compress: compress normalised observations logarithmically beyond this many standard deviations; 0 is off.
        clip_samples: clamp sampled states to the range of the replay buffer.
        exploration: standard deviation, in action units, of a bias added to the actions of rollouts; 0 is off. Needed
            if the policy alone (sigma at most 0.1) hardly leaves its initial states.
        exploration_share: fraction of the rollouts that explore; the others follow the policy.
        exploration_steps: mean number of steps before the bias of `exploration` is drawn again.
        residual_actions: B^a models the action relative to the policy that took it, (a - mean(s)) / sigma(s).
            Experimental: it is worse with sampled actions.
        policy_decay: decrease the policy's learning rate linearly to zero over its updates.
        reset_sigma: policy sigma set after the warm start, so that rollouts explore; 0 keeps what cloning left.
        control: "shuffled" trains the models with permuted targets (a placebo); "self" takes sampled actions from the
            policy instead of B^a (self-imitation). Both must lose the gain if it comes from knowing the target.
        flow: "fast" is the suite's flow; "nflows" the library's own, whose first dimension ignores the target and which
            has no floor; "spline" (experimental) adds one of nflows' rational-quadratic splines to each affine layer.
    """

    batch_size: Annotated[int, Ge(1)] = 256
    gamma: Annotated[float, Ge(0.0), Lt(1.0)] = 0.9
    replay_size: Annotated[int, Ge(100)] = 50_000
    model_updates: Annotated[int, Ge(0)] = 15_000
    policy_updates: Annotated[int, Ge(1)] = 5_000
    burn_in: Annotated[int, Ge(0)] = 50_000
    beta_pi: Annotated[float, Ge(0.0)] = 1.0
    beta_d: Annotated[float, Ge(0.0)] = 1.0
    model_layers: Annotated[int, Ge(1)] = 2
    model_hidden: tuple[int, ...] = (500, 500)
    model_learning_rate: Annotated[float, Gt(0.0)] = 2e-5
    model_l2: Annotated[float, Ge(0.0)] = 1e-2
    sigma_floor: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    gradient_clip: Annotated[float, Gt(0.0)] = 100.0
    policy_learning_rate: Annotated[float, Gt(0.0)] = 1e-4
    sigma_bounds: SigmaBounds = field(default=SIGMA_BOUNDS, metadata=NEUTRAL)

    initial_episodes: Annotated[int, Ge(1)] = 20
    episodes_per_iteration: Annotated[int, Ge(0)] = 20
    burn_in_collects: bool = field(default=False, metadata=NEUTRAL)
    overlap: bool = False
    held_out_every: Annotated[int, Ge(0), Le(1000)] = 10
    model_patience: Annotated[int, Ge(0)] = 0
    policy_l2: Annotated[float, Ge(0.0)] = 0.0
    batch_reduction: Reduction = field(default="mean", metadata=NEUTRAL)
    initial_targets: bool = field(default=True, metadata=NEUTRAL)

    warm_start: Annotated[int, Ge(0)] = 0
    cross_episodes: bool = True
    displacement: bool = False
    scale_actions: bool = False
    compress: Annotated[float, Ge(0.0)] = 0.0
    clip_samples: bool = False
    exploration: Annotated[float, Ge(0.0)] = 0.0
    exploration_share: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    exploration_steps: Annotated[float, Ge(1.0)] = 10.0
    residual_actions: bool = False
    policy_decay: bool = False
    reset_sigma: Annotated[float, Ge(0.0)] = 0.0
    control: Literal["none", "shuffled", "self"] = "none"
    flow: Literal["fast", "nflows", "spline"] = "fast"
