"""Settings worth trying: the grids of the experiments named `-leads`, mostly of one change at a time."""

from __future__ import annotations

from typing import Any

PAPER: dict[str, Any] = {
    "gamma": 0.9,
    "model_l2": 1e-2,
    "policy_decay": False,
    "warm_start": 0,
    "cross_episodes": True,
    "scale_actions": False,
    "compress": 0.0,
    "clip_samples": False,
}
"""GPRIL's choices in the paper's simulated tasks where `quick` departs from them, but for the displacement and for what
belongs to its smaller budget: sizes, rates, updates and roll-outs."""

LEADS: dict[str, dict[str, dict[str, Any]]] = {
    "gpril": {
        "shuffled targets": {"control": "shuffled"},
        "self-imitation": {"control": "self"},
        "absolute states": {"displacement": False},
        "no compression": {"compress": 0.0},
        "pairs across episodes": {"cross_episodes": True},
        "20 episodes, 3 an iteration": {"initial_episodes": 20, "episodes_per_iteration": 3},
        "20 episodes an iteration": {"episodes_per_iteration": 20},
        "replay of 5000 steps": {"replay_size": 5_000},
        "no L2": {"model_l2": 0.0},
        "L2 0.01": {"model_l2": 1e-2},
        "early stopping": {"model_patience": 3},
        "gamma 0.5": {"gamma": 0.5},
        "gamma 0.9": {"gamma": 0.9},
        "residual B^a": {"residual_actions": True},
        "no warm start": {"warm_start": 0},
        "constant policy rate": {"policy_decay": False},
        "beta_d 0.5": {"beta_d": 0.5},
        "beta_d 2": {"beta_d": 2.0},
        "N_B equal to N_pi": {"model_updates": 64},
        "N_B four times N_pi": {"model_updates": 256},
        "no burn-in": {"burn_in": 0},
        "floor 0.03": {"sigma_floor": 0.03},
        "actions not scaled": {"scale_actions": False},
        "samples not clipped": {"clip_samples": False},
        "exploring third": {"exploration": 0.2, "exploration_share": 0.3},
        "early stopping, no L2": {"model_patience": 3, "model_l2": 0.0},
        "overlapping roll-outs": {"overlap": True},
        "the paper's choices and displacement": PAPER,
        "the paper's choices": PAPER | {"displacement": False},
    },
    "gail": {
        "judging states, compressed, 1024 steps": {
            "use_actions": False,
            "compress": 2.0,
            "batch_size": 64,
            "discriminator_steps": 5,
        },
        "judging states, compressed": {"use_actions": False, "compress": 2.0},
        "judging states": {"use_actions": False},
        "always bootstrap": {"terminal": "always"},
        "ends pay nothing": {"terminal": "terminal"},
        "no warm start": {"warm_start": 0, "warm_start_sigma": 0.0},
        "no gradient penalty": {"gradient_penalty": 0.0},
        "gradient penalty 10": {"gradient_penalty": 10.0},
        "5 discriminator steps": {"discriminator_steps": 5},
        "discriminator rate 1e-4": {"discriminator_learning_rate": 1e-4},
        "entropy 1": {"entropy": 1.0},
        "KL 0.01": {"kl": 0.01},
        "gamma 0.97": {"gamma": 0.97},
        "sigma as cloned": {"warm_start_sigma": 0.0},
        "1024 steps": {"batch_size": 64},
        "compression": {"compress": 2.0},
        "scaled rewards": {"scale_rewards": True},
        "KL 0.01, entropy 1": {"kl": 0.01, "entropy": 1.0},
        "KL 0.01, scaled rewards": {"kl": 0.01, "scale_rewards": True},
        "KL 0.01, judging states, compressed": {"kl": 0.01, "use_actions": False, "compress": 2.0},
        "KL 0.01, entropy 1, judging states, compressed": {
            "kl": 0.01,
            "entropy": 1.0,
            "use_actions": False,
            "compress": 2.0,
        },
        "KL 0.01, entropy 1, scaled rewards, judging states, compressed": {
            "kl": 0.01,
            "entropy": 1.0,
            "scale_rewards": True,
            "use_actions": False,
            "compress": 2.0,
        },
    },
    "bc": {
        **{f"L2 {l2:g}": {"l2": l2} for l2 in (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)},
        "constant rate": {"decay": False},
        "rate 3e-4": {"learning_rate": 3e-4},
        "rate 3e-3": {"learning_rate": 3e-3},
        "batches of 64": {"batch_size": 64},
    },
}
"""Method -> name of a change -> the settings that differ from the profile's."""

STATES_LEADS: dict[str, dict[str, Any]] = {
    "": {},
    "entropy 1": {"entropy": 1.0},
    "scaled rewards": {"scale_rewards": True},
    "compressed": {"compress": 2.0},
    "entropy 1, scaled rewards, compressed": {"entropy": 1.0, "scale_rewards": True, "compress": 2.0},
}
"""The same for GAIL from states alone: what helped it where it has actions."""
