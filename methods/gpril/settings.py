"""What can be set about GPRIL. Defaults are the paper's values for clip insertion (appendix B, table a)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt


@dataclass(frozen=True)
class Settings:
    """Settings of GPRIL.

    In the paper (algorithm 1, section 3, appendix B):
        batch_size: B.
        gamma: discount of the predecessor distribution; offsets follow Geom(1 - gamma).
        replay_size: steps of experience kept.
        model_updates: N_B, updates of both predecessor models an iteration.
        policy_updates: N_pi, updates of the policy an iteration.
        burn_in: model updates before the first policy update by predecessor samples.
        beta_pi: weight of the demonstrated actions; 0 learns from states alone.
        beta_d: weight of the predecessor samples; 0 is behavioural cloning.
        model_layers: stacked masked autoencoders in each flow.
        model_hidden: their hidden layers.
        model_learning_rate: Adam.
        model_l2: L2 regularisation of the flows' weights.
        sigma_floor: min(sigma_i) of each autoencoder.
        gradient_clip: largest L2 norm of a model's gradient.
        policy_learning_rate: Adam.

    Free choices, where the paper is silent:
        initial_episodes: roll-outs collected before training.
        episodes_per_iteration: roll-outs collected before each further iteration; the paper's actor is asynchronous.
        overlap: collect them while the iteration before trains, in a thread, by the policy as it began that iteration;
            the outcome does not depend on the timing.
        held_out_every: each n-th episode is never trained on but watched, for the diagnostics; 0 keeps none.
        model_patience: early stopping, each model for itself: rest for the iteration after this many looks (one in 16
            updates) without a better likelihood of the held-out roll-outs, and keep the weights of the best; 0 is off.
        policy_l2: L2 regularisation of the policy.

    Departures from the paper, all off by default:
        warm_start: policy updates by behavioural cloning before the first roll-out, counted in the policy's budget.
        cross_episodes: let offsets cross the end of an episode, as the paper's ergodic chain does (on by default).
        displacement: model the scaled difference to the target instead of the state itself, and show it to B^a. An
            invertible affine change of variables, so the models stay masked autoregressive flows.
        scale_actions: model actions in units of their spread in the replay buffer.
        compress: compress normalised observations logarithmically beyond this many standard deviations; 0 is off.
        clip_samples: keep sampled states within the range of the replay buffer.
        exploration: standard deviation, in the environment's units, of a bias added to the actions of roll-outs; 0 is
            off. For where the policy by itself (sigma at most 0.1) hardly leaves its starts.
        exploration_share: share of the roll-outs that explore; the others act as the policy does.
        exploration_steps: mean number of steps before that bias is drawn anew.
        residual_actions: B^a models the action in units of the policy that took it, (a - mean(s)) / sigma(s).
        policy_decay: let the policy's learning rate fall linearly to zero over its updates.
        reset_sigma: policy sigma set after the warm start, so that roll-outs explore; 0 keeps what cloning left.
        control: "shuffled" trains the models with permuted targets (a placebo); "self" takes sampled actions from the
            policy instead of B^a (self-imitation). Both must lose the gain if it comes from knowing the target.
        flow: "fast" is the suite's flow; "nflows" the library's own, whose first dimension ignores the target and which
            has no floor; "spline" puts one of nflows' rational-quadratic splines after each affine layer of "fast".
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

    initial_episodes: Annotated[int, Ge(1)] = 20
    episodes_per_iteration: Annotated[int, Ge(0)] = 20
    overlap: bool = False
    held_out_every: Annotated[int, Ge(0), Le(1000)] = 10
    model_patience: Annotated[int, Ge(0)] = 0
    policy_l2: Annotated[float, Ge(0.0)] = 0.0

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
