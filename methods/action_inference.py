"""Infers the actions of state-only demonstrations from the robot's own interaction (BCO).

Torabi, Warnell & Stone (2018), "Behavioral Cloning from Observation": learn an inverse dynamics model from the robot's
own steps, and label the demonstrated transitions with it. Here the model is a ridge regression, in closed form, of the
action on the state and its change in one step. With a few thousand steps of a velocity-controlled arm it is more
accurate than a network trained on them. It uses no demonstrated action.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.demonstrations import Demonstrations
from methods.interface import FitContext, MethodError

STEPS = 4_000
"""Steps from which the model is learned, unless a method or trial says otherwise."""
WIDTH = 8
"""Environments stepped in parallel."""
NOISE, MEMORY = 0.25, 0.8
"""Exploratory actions are an Ornstein-Uhlenbeck process: its standard deviation, in fractions of the bounds, and its
autocorrelation after one step."""
HELD_OUT = 0.2
RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)
"""Weights of the penalty, relative to the number of steps, of which the best on held-out steps is taken."""
SMALLEST_R2 = 0.2
"""Lowest coefficient of determination; below it the inferred actions are useless and are refused."""


@dataclass(frozen=True)
class InverseModel:
    """The action that led from one state to the next.

    Attributes:
        mean, scale: of the inputs [I].
        used: the inputs that varied [2 O] bool; I of them.
        weights: [I + 1, A], the last row is the bias.
        rmse: root mean squared error of held-out own actions, in fractions of the bounds.
        r2: fraction of their variance that is explained.
    """

    mean: np.ndarray
    scale: np.ndarray
    used: np.ndarray
    weights: np.ndarray
    rmse: float
    r2: float

    def __call__(self, states: np.ndarray, successors: np.ndarray) -> np.ndarray:
        """Actions [n, A] float32 within the bounds, for states and their successors [n, O]."""
        inputs = (_inputs(states, successors)[:, self.used] - self.mean) / self.scale
        return np.clip(_with_bias(inputs) @ self.weights, -1.0, 1.0).astype(np.float32)


def fit_inverse_model(states: np.ndarray, actions: np.ndarray, successors: np.ndarray) -> InverseModel:
    """Ridge regression of `actions` [n, A] on `states` and `successors` [n, O]; the last fifth of the rows is held out.

    The penalty is the best one on the held-out rows; the final weights are fitted to all of them.
    """
    inputs = _inputs(states, successors)
    used = inputs.std(axis=0) > 1e-9
    mean, scale = inputs[:, used].mean(axis=0), inputs[:, used].std(axis=0)
    features = _with_bias((inputs[:, used] - mean) / scale)
    fitted = max(1, round(len(features) * (1.0 - HELD_OUT)))
    targets = np.asarray(actions, np.float64)
    variance = float(((targets[fitted:] - targets[:fitted].mean(axis=0)) ** 2).mean())
    candidates = []
    for ridge in RIDGES:
        weights = _ridge(features[:fitted], targets[:fitted], ridge)
        error = float(((features[fitted:] @ weights - targets[fitted:]) ** 2).mean())
        candidates.append((error, ridge))
    error, ridge = min(candidates)
    weights = _ridge(features, targets, ridge)
    return InverseModel(mean, scale, used, weights, error**0.5, 1.0 - error / max(variance, 1e-12))


def infer_actions(demonstrations: Demonstrations, context: FitContext, steps: int = STEPS) -> Demonstrations:
    """Demonstrations with inferred actions in place of demonstrated ones, which are ignored.

    Args:
        demonstrations: every state of each episode; actions, if any, are ignored.
        context: its environments are stepped, which is counted; the model's error is reported at gradient step 0.
        steps: own steps to learn from, at most what the budget leaves.

    Raises:
        MethodError: states are missing between others, or the model explains next to nothing.
    """
    inside = demonstrations.episode[1:] == demonstrations.episode[:-1]
    if not inside.any() or (np.diff(demonstrations.time_step)[inside] != 1).any():
        raise MethodError(
            "inferring actions needs every state of a demonstration, and these leave states out; "
            "use every=1 and final_only=False"
        )
    affordable = context.budget.environment_steps - context.environment_steps
    least = 4 * demonstrations.observations.shape[1]
    if min(steps, affordable) < least:
        raise MethodError(
            f"inferring actions needs at least {least} environment steps here, and {min(steps, affordable)} are "
            "allowed; raise the budget's environment_steps"
        )
    model = fit_inverse_model(*_explore(context, min(steps, affordable)))
    context.report(0, inferred_action_rmse=model.rmse, inferred_action_r2=model.r2)
    if model.r2 < SMALLEST_R2:
        raise MethodError(
            f"actions cannot be inferred from states here: on held-out steps the inverse model explains "
            f"{model.r2:.0%} of their variance; more steps may help, or use demonstrated actions"
        )
    observations = demonstrations.observations
    actions = np.zeros((len(observations), context.task.action_size), np.float32)
    rows = np.flatnonzero(~demonstrations.terminal)
    actions[rows] = model(observations[rows], observations[rows + 1])
    return replace(demonstrations, actions=actions)


def _explore(context: FitContext, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, actions and successors of own steps under correlated random actions."""
    rng = context.seeds.generator("exploration for action inference")
    width = min(WIDTH, steps)
    group = context.make_env_group(width)
    try:
        every = list(range(width))
        observations = group.reset(rng.integers(2**31, size=width).tolist(), every)
        noise = NOISE * rng.standard_normal((width, context.task.action_size))
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for _ in range(steps // width):
            noise = MEMORY * noise + NOISE * (1.0 - MEMORY**2) ** 0.5 * rng.standard_normal(noise.shape)
            actions = np.clip(noise, -1.0, 1.0).astype(np.float32)
            successors, ends = group.step(actions, every)
            found.append((observations.copy(), actions, np.array(successors)))
            observations = np.array(successors)
            if ended := [row for row in every if ends[row]]:
                observations[ended] = group.reset(rng.integers(2**31, size=len(ended)).tolist(), ended)
    finally:
        group.close()
    states, taken, reached = zip(*found, strict=True)
    return np.concatenate(states), np.concatenate(taken), np.concatenate(reached)


def _inputs(states: np.ndarray, successors: np.ndarray) -> np.ndarray:
    """[n, 2 O]: the state and its change in one step, which is better conditioned than two states."""
    states, successors = np.asarray(states, np.float64), np.asarray(successors, np.float64)
    return np.concatenate([states, successors - states], axis=1)


def _with_bias(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])


def _ridge(features: np.ndarray, targets: np.ndarray, ridge: float) -> np.ndarray:
    """Minimise the squared error plus a penalty on all weights but the bias."""
    penalty = ridge * len(features) * np.eye(features.shape[1])
    penalty[-1, -1] = 0.0
    return np.asarray(np.linalg.solve(features.T @ features + penalty, features.T @ targets))
