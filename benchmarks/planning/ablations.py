"""Ablations: a method with usually one setting changed, relative to the settings of the profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.paper import (
    AS_IN_THE_PAPER,
    BC,
    GAIL,
    GAIL_FINAL,
    GAIL_STATES,
    GAIL_TENTH,
    GPRIL,
    GPRIL_FINAL,
    GPRIL_STATES,
    GPRIL_TENTH,
    Experiment,
    Variant,
)

Changes = Mapping[str, Mapping[str, Any]]
"""Name of a change -> the settings that differ from the profile's."""

GPRIL_CHANGES: Changes = {
    "shuffled targets": {"control": "shuffled"},
    "self-imitation": {"control": "self"},
    "absolute states": {"displacement": False},
    "no compression": {"compress": 0.0},
    "pairs across episodes": {"cross_episodes": True},
    "20 episodes, 3 per iteration": {"initial_episodes": 20, "episodes_per_iteration": 3},
    "20 episodes per iteration": {"episodes_per_iteration": 20},
    "20 initial rollouts": {"initial_episodes": 20},
    "no held-out rollouts": {"held_out_every": 0},
    "rollouts during the burn-in": {"burn_in_collects": True},
    "replay of 5000 steps": {"replay_size": 5_000},
    "no L2": {"model_l2": 0.0},
    "L2 0.01": {"model_l2": 1e-2},
    "early stopping": {"model_patience": 3},
    "gamma 0.5": {"gamma": 0.5},
    "gamma 0.9": {"gamma": 0.9},
    "residual B^a": {"residual_actions": True},
    "no warm start": {"warm_start": 0},
    "constant policy learning rate": {"policy_decay": False},
    "beta_d 0.5": {"beta_d": 0.5},
    "beta_d 2": {"beta_d": 2.0},
    "N_B equal to N_pi": {"model_updates": 64},
    "N_B four times N_pi": {"model_updates": 256},
    "no burn-in": {"burn_in": 0},
    "floor 0.03": {"sigma_floor": 0.03},
    "actions not scaled": {"scale_actions": False},
    "samples not clipped": {"clip_samples": False},
    "exploration in 30 % of rollouts": {"exploration": 0.2, "exploration_share": 0.3},
    "early stopping, no L2": {"model_patience": 3, "model_l2": 0.0},
    "overlapping rollouts": {"overlap": True},
}

NO_WARM_START = {"warm_start": 0, "warm_start_sigma": 0.0}
"""Of GAIL and AIRL: an untrained policy, and no sigma that was chosen for a cloned one."""

GAIL_CHANGES: Changes = {
    "discriminator on states, compressed, 1024 steps": {
        "use_actions": False,
        "compress": 2.0,
        "batch_size": 64,
        "discriminator_steps": 5,
    },
    "discriminator on states, compressed": {"use_actions": False, "compress": 2.0},
    "discriminator on states": {"use_actions": False},
    "always bootstrap": {"terminal": "always"},
    "zero value after the end": {"terminal": "terminal"},
    "no warm start": NO_WARM_START,
    "no gradient penalty": {"gradient_penalty": 0.0},
    "gradient penalty 10": {"gradient_penalty": 10.0},
    "5 discriminator steps": {"discriminator_steps": 5},
    "discriminator learning rate 1e-4": {"discriminator_learning_rate": 1e-4},
    "entropy 1": {"entropy": 1.0},
    "KL 0.01": {"kl": 0.01},
    "gamma 0.97": {"gamma": 0.97},
    "sigma from cloning": {"warm_start_sigma": 0.0},
    "1024 steps": {"batch_size": 64},
    "compression": {"compress": 2.0},
    "scaled rewards": {"scale_rewards": True},
    "KL 0.01, entropy 1": {"kl": 0.01, "entropy": 1.0},
    "KL 0.01, scaled rewards": {"kl": 0.01, "scale_rewards": True},
    "KL 0.01, discriminator on states, compressed": {"kl": 0.01, "use_actions": False, "compress": 2.0},
    "KL 0.01, entropy 1, discriminator on states, compressed": {
        "kl": 0.01,
        "entropy": 1.0,
        "use_actions": False,
        "compress": 2.0,
    },
    "KL 0.01, entropy 1, scaled rewards, discriminator on states, compressed": {
        "kl": 0.01,
        "entropy": 1.0,
        "scale_rewards": True,
        "use_actions": False,
        "compress": 2.0,
    },
}

L2: Changes = {f"L2 {l2:g}": {"l2": l2} for l2 in (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)}
BC_CHANGES: Changes = {
    **L2,
    "constant learning rate": {"decay": False},
    "learning rate 3e-4": {"learning_rate": 3e-4},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "batches of 64": {"batch_size": 64},
}

GAIL_STATES_CHANGES: Changes = {
    "entropy 1": {"entropy": 1.0},
    "scaled rewards": {"scale_rewards": True},
    "compressed": {"compress": 2.0},
    "entropy 1, scaled rewards, compressed": {"entropy": 1.0, "scale_rewards": True, "compress": 2.0},
}
"""What helps GAIL where it has actions, tried where it sees states only."""


FROM_SCRATCH = {"warm_start": 0, "cloning": 0.0, "anchor": 0.0, "actor_delay": 0}
"""Of SQIL and IQ-Learn: nothing is cloned, as their authors do it."""
FIELD_CHANGES: Mapping[str, Changes] = {
    "gpril": {"self-imitation": {"control": "self"}},
    "gail": {"no warm start": NO_WARM_START},
    "bc-gmm": {"one component": {"components": 1}},
    "bc-rnn": {"no memory": {"horizon": 1}},
    "act": {"single actions": {"chunk": 1}},
    "diffusion": {"single actions": {"chunk": 1, "execute": 1}, "two observations": {"history": 2}},
    "dac": {"no cloning, no anchor": {"cloning": 0.0, "anchor": 0.0}},
    "sqil": {"from scratch": FROM_SCRATCH},
    "airl": {"no warm start": NO_WARM_START, "no entropy": {"policy_entropy": 0.0}},
    "iq-learn": {"from scratch": FROM_SCRATCH, "bounded targets": {"targets": "bounded"}},
    "sail": {"cloning only": {"beta_d": 0.0}},
}
"""Method -> what sets it apart, taken away. The control of DAgger and BCO is BC, that of GAIfO is GAIL."""


def changed(base: Variant, changes: Changes) -> tuple[Variant, ...]:
    """A variant with each of these changes."""
    return tuple(
        replace(
            base,
            key=f"{base.key}/{name}",
            label=f"{base.label}, {name}",
            settings={**base.settings, **settings},
            base=base.key,
        )
        for name, settings in changes.items()
    )


PAPER_DISPLACED = replace(
    AS_IN_THE_PAPER,
    key="gpril/paper-displacement",
    label=f"{AS_IN_THE_PAPER.label}, modelling displacements",
    settings={"displacement": True},
)

SIGMA_IN_RAD_PER_S: Changes = {"sigma bounds in rad/s": {"sigma_bounds": [0.02, 0.2]}}
"""The shipped tasks' action bounds are 0.5 rad/s, so (0.01, 0.1) rad/s are (0.02, 0.2) of them."""

GPRIL_READINGS = changed(
    GPRIL,
    {
        **SIGMA_IN_RAD_PER_S,
        "sums over batches": {"batch_reduction": "sum"},
        "L2 0.01, sums over batches": {"model_l2": 1e-2, "batch_reduction": "sum"},
        "initial states as targets": {"initial_targets": True},
    },
)
GAIL_READINGS = changed(
    GAIL,
    {"bootstrap from the terminal state": {"terminal": "always"}, "chained episodes": {"terminal": "chain"}},
)


def _shown_otherwise(base: Variant, name: str, **shown: Any) -> Variant:
    """A variant that sees other states, or knows other statistics."""
    return replace(base, key=f"{base.key}/{name}", label=f"{base.label}, {name}", base=base.key, **shown)


def _by_own_statistics(base: Variant) -> Variant:
    """A variant that normalises observations with the statistics of the states that it is shown."""
    return _shown_otherwise(base, "statistics of the shown states", statistics="shown")


STATES_READINGS = (
    GPRIL_STATES,
    *changed(GPRIL_STATES, {**SIGMA_IN_RAD_PER_S, "initial states as targets": {"initial_targets": True}}),
    GPRIL_TENTH,
    *changed(GPRIL_TENTH, {"initial states as targets": {"initial_targets": True}}),
    _shown_otherwise(GPRIL_TENTH, "from the fifth on", offset=5),
    _by_own_statistics(GPRIL_TENTH),
    GPRIL_FINAL,
    _by_own_statistics(GPRIL_FINAL),
    GAIL_TENTH,
    _by_own_statistics(GAIL_TENTH),
    GAIL_FINAL,
    _by_own_statistics(GAIL_FINAL),
)

ABLATIONS = (
    Experiment(
        "readings",
        "readings of the paper where it is silent: sigma's unit, sums or means, what GAIL bootstraps from",
        (GPRIL, *GPRIL_READINGS, GAIL, *GAIL_READINGS),
        demonstrations=(10, 25),
    ),
    Experiment(
        "readings-states",
        "peg: readings for demonstrations without actions: which states are shown, targets, statistics",
        STATES_READINGS,
        ("peg",),
        (10, 25),
    ),
    Experiment(
        "gpril-ablation",
        "GPRIL, one setting at a time",
        (GPRIL, *changed(GPRIL, GPRIL_CHANGES), PAPER_DISPLACED, AS_IN_THE_PAPER),
    ),
    Experiment("gail-ablation", "GAIL, one or a few settings at a time", (GAIL, *changed(GAIL, GAIL_CHANGES))),
    Experiment("bc-ablation", "BC, one setting at a time", (BC, *changed(BC, BC_CHANGES))),
    Experiment(
        "gail-states-ablation",
        "peg: GAIL from states only, one or a few settings at a time",
        (GAIL_STATES, *changed(GAIL_STATES, GAIL_STATES_CHANGES)),
        ("peg",),
        (25,),
    ),
    Experiment(
        "bc-l2", "clip: BC's regularisation by number of demonstrations", changed(BC, L2), ("clip",), (10, 25, 50)
    ),
)
