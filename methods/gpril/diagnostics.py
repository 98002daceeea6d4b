"""Diagnostics of GPRIL training, by the names under which they are reported.

log_states_*, log_actions_*    mean log B^s and log B^a on replayed (train) and on held-out rollouts, in nats
information_*                  mean log B^a - log pi there, in nats; see `models.Likelihoods`
kinematic_error_*              median `Task.kinematic_error` in metres, of states sampled from B^s before demonstrated
                               states (sampled) and of real states (replay)
outside_share                  fraction of these sampled states that lie outside the data; see `outside_fraction`
gradient_norm_*                median L2 norm of the gradients of B^s (states), B^a (actions) and the policy
clipped_share_*                fraction of the updates of B^s and of B^a whose gradient was clipped
policy_sigma                   mean standard deviation of the policy at demonstrated states, in action units
replay_rows                    rows of the replay buffer
kept_updates_*                 with early stopping, number of updates of this iteration that led to the weights kept
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Replay
from methods.interface import Task

LIKELIHOOD_ROWS = 1024
"""Rows that likelihoods are averaged over, and held-out states that tell how far apart data points lie."""
SAMPLES = 256
"""States drawn from B^s."""
NEIGHBOURS = 2048
"""Replayed states searched for nearest neighbours."""
OUTSIDE = 0.99
"""Fraction of held-out states that count as inside the data."""


def model_diagnostics(
    models: PredecessorModels,
    replay: Replay,
    held_out: Replay,
    targets: np.ndarray,
    task: Task,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Diagnostics of models and policy; those that need held-out rollouts are left out if there are none.

    Args:
        models: B^s, B^a and the policy.
        replay, held_out: rollouts that the models are trained on, and others.
        targets: [n, O] demonstrated states.
        task: its `kinematic_error` is reported if it has one.
        rng: used for these diagnostics only, so that they do not change the training.
    """
    s, found = models.settings, {}
    for name, rollouts in (("train", replay), ("held_out", held_out)):
        if len(rollouts):
            likelihoods = models.likelihoods(rollouts.sample(LIKELIHOOD_ROWS, s.gamma, s.cross_episodes, rng))
            found[f"log_states_{name}"] = likelihoods.states
            found[f"log_actions_{name}"] = likelihoods.actions
            found[f"information_{name}"] = likelihoods.information

    low, high = replay.range()
    generator = torch.Generator(models.device).manual_seed(int(rng.integers(2**31)))
    chosen = targets[rng.integers(len(targets), size=SAMPLES)]
    sampled = models.sample_predecessors(chosen, low, high, generator)[0].cpu().numpy()
    real = replay.sample(NEIGHBOURS, s.gamma, s.cross_episodes, rng).states
    if task.kinematic_error:
        found["kinematic_error_sampled"] = float(np.median(task.kinematic_error(sampled)))
        found["kinematic_error_replay"] = float(np.median(task.kinematic_error(real[:SAMPLES])))
    if len(held_out):
        unseen = held_out.sample(LIKELIHOOD_ROWS, s.gamma, s.cross_episodes, rng).states
        encoded = (models.space.encode(models.tensor(part)) for part in (sampled, real, unseen))
        found["outside_share"] = outside_fraction(*encoded)

    with torch.no_grad():
        found["policy_sigma"] = float(models.policy(models.tensor(targets))[1].mean())
    found["replay_rows"] = float(len(replay))
    return found


def gradient_diagnostics(norms: Mapping[str, Sequence[float]], clip: float = math.inf) -> dict[str, float]:
    """Median norm of each network's gradients and, with a clip, the fraction of them that it bound."""
    found = {}
    for name, values in norms.items():
        if len(values):
            found[f"gradient_norm_{name}"] = float(np.median(values))
            if clip < math.inf:
                found[f"clipped_share_{name}"] = float(np.mean(np.greater(values, clip)))
    return found


def outside_fraction(sampled: Tensor, replayed: Tensor, held_out: Tensor) -> float:
    """Fraction of sampled states [n, O] that lie outside the data, all in model space.

    A state is outside if its nearest neighbour among the replayed states is farther away than that of 99 % of the
    held-out states, which are real but unseen. A perfect model has 0.01, whatever the scale of the data.
    """
    distance, usual = (torch.cdist(states, replayed).amin(1) for states in (sampled, held_out))
    return float((distance > usual.quantile(OUTSIDE)).float().mean())
