"""What a researcher needs to see while GPRIL trains, by the names under which it is reported.

log_states_*, log_actions_*    mean log B^s and log B^a on replayed (train) and on held-out roll-outs, in nats
information_*                  mean log B^a - log pi there, in nats; see `predecessor.Likelihoods`
kinematic_error_*              median distance between what joints and tip say, in metres, in states that B^s
                               imagines before demonstrated ones (sampled) and in real ones (replay)
outside_share                  share of these sampled states that lie outside the data; see `outside_share`
gradient_norm_*                median L2 norm of the gradients of B^s (states), B^a (actions) and the policy
clipped_share_*                share of the updates of B^s and of B^a whose gradient was clipped
policy_sigma                   mean standard deviation of the policy at demonstrated states, in action units
replay_rows                    rows of the replay buffer
kept_updates_*                 updates of this iteration after which the weights kept came, where models stop early
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

TRIPLES = 1024
"""Triples that likelihoods are averaged over, and held-out states that say how far apart data lie."""
SAMPLES = 256
"""States drawn from B^s."""
NEIGHBOURS = 2048
"""Replayed states among which the nearest one is looked for."""
OUTSIDE = 0.99
"""Share of held-out states that count as inside the data."""


def of_models(
    models: PredecessorModels,
    replay: Replay,
    held_out: Replay,
    targets: np.ndarray,
    task: Task,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Diagnostics of models and policy as they stand; what would need held-out roll-outs is left out without any.

    Args:
        replay, held_out: roll-outs that the models were trained on, and others.
        targets: [n, O] demonstrated states.
        rng: of these diagnostics alone, so that watching changes no training.
    """
    s, found = models.settings, {}
    for name, rollouts in (("train", replay), ("held_out", held_out)):
        if len(rollouts):
            likelihoods = models.likelihoods(rollouts.sample(TRIPLES, s.gamma, s.cross_episodes, rng))
            found[f"log_states_{name}"] = likelihoods.states
            found[f"log_actions_{name}"] = likelihoods.actions
            found[f"information_{name}"] = likelihoods.information

    low, high = replay.range()
    generator = torch.Generator(models.device).manual_seed(int(rng.integers(2**31)))
    sampled = models.sample(targets[rng.integers(len(targets), size=SAMPLES)], low, high, generator)[0].cpu().numpy()
    real = replay.sample(NEIGHBOURS, s.gamma, s.cross_episodes, rng).states
    if task.kinematic_error:
        found["kinematic_error_sampled"] = float(np.median(task.kinematic_error(sampled)))
        found["kinematic_error_replay"] = float(np.median(task.kinematic_error(real[:SAMPLES])))
    if len(held_out):
        unseen = held_out.sample(TRIPLES, s.gamma, s.cross_episodes, rng).states
        found["outside_share"] = outside_share(
            *(models.space.encode(models.tensor(part)) for part in (sampled, real, unseen))
        )

    with torch.no_grad():
        found["policy_sigma"] = float(models.policy(models.tensor(targets))[1].mean())
    found["replay_rows"] = float(len(replay))
    return found


def of_gradients(norms: Mapping[str, Sequence[float]], clip: float = math.inf) -> dict[str, float]:
    """Median norm of each network's gradients, and the share of them that `clip` binds, where there is a clip."""
    found = {}
    for name, values in norms.items():
        if len(values):
            found[f"gradient_norm_{name}"] = float(np.median(values))
            if clip < math.inf:
                found[f"clipped_share_{name}"] = float(np.mean(np.greater(values, clip)))
    return found


def outside_share(sampled: Tensor, replayed: Tensor, held_out: Tensor) -> float:
    """Share of sampled states [n, O] that lie outside the data, all in model space.

    Outside is a state whose nearest neighbour among the replayed ones is farther than that of 99 % of the held-out
    states, which are real but unseen too. So a faithful model has 0.01, whatever the scale of the data.
    """
    distance, usual = (torch.cdist(states, replayed).amin(1) for states in (sampled, held_out))
    return float((distance > usual.quantile(OUTSIDE)).float().mean())
