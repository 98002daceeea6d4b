"""Experiments: each a declarative grid of variants, tasks and numbers of demonstrations. To add one, add a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import unknown


@dataclass(frozen=True)
class Variant:
    """One line of a table, one colour of a figure.

    Attributes:
        label: how tables and figures call it.
        method: the method's name.
        settings: what it changes of the profile's settings.
        every: learn from each n-th demonstrated state (and the final one).
        final_only: learn from the final state of each demonstration alone.
        states_alone: learn without the demonstrated actions.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    every: int = 1
    final_only: bool = False
    states_alone: bool = False


@dataclass(frozen=True)
class Experiment:
    """A grid: every variant on every task with every number of demonstrations, over the profile's seeds.

    Attributes:
        name: for `--experiment`.
        summary: one line for `--list`.
        variants: empty means each chosen method as it is.
        tasks: short names of `envs.TASKS`; `--tasks` narrows them, or replaces them where `variants` is empty.
        demonstrations: demonstrated episodes; empty means the profile's. `--demos` replaces them.
    """

    name: str
    summary: str
    variants: tuple[Variant, ...] = ()
    tasks: tuple[str, ...] = ("clip", "peg")
    demonstrations: tuple[int, ...] = ()


DEFAULT = "compare"


LEADS: dict[str, dict[str, dict[str, Any]]] = {
    "gpril": {
        "shuffled targets": {"control": "shuffled"},
        "self-imitation": {"control": "self"},
        "absolute states": {"displacement": False},
        "actions not scaled": {"scale_actions": False},
        "no compression": {"compress": 0.0},
        "samples not clipped": {"clip_samples": False},
        "pairs across episodes": {"cross_episodes": True},
        "20 episodes, 3 an iteration": {"initial_episodes": 20, "episodes_per_iteration": 3},
        "20 episodes an iteration": {"episodes_per_iteration": 20},
        "replay of 5000 steps": {"replay_size": 5_000},
        "no L2": {"model_l2": 0.0},
        "L2 0.01": {"model_l2": 1e-2},
        "early stopping": {"model_patience": 3},
        "early stopping, no L2": {"model_patience": 3, "model_l2": 0.0},
        "gamma 0.5": {"gamma": 0.5},
        "gamma 0.9": {"gamma": 0.9},
        "exploring third": {"exploration": 0.2, "exploration_share": 0.3},
        "overlapping roll-outs": {"overlap": True},
        "residual B^a": {"residual_actions": True},
        "no warm start": {"warm_start": 0},
        "no burn-in": {"burn_in": 0},
        "floor 0.03": {"sigma_floor": 0.03},
        "beta_d 0.5": {"beta_d": 0.5},
        "beta_d 2": {"beta_d": 2.0},
        "N_B equal to N_pi": {"model_updates": 64},
        "N_B four times N_pi": {"model_updates": 256},
        "constant policy rate": {"policy_decay": False},
    },
    "gail": {
        "always bootstrap": {"terminal": "always"},
        "ends pay nothing": {"terminal": "terminal"},
        "no warm start": {"warm_start": 0, "warm_start_sigma": 0.0},
        "states alone": {"use_actions": False},
        "no gradient penalty": {"gradient_penalty": 0.0},
        "gradient penalty 10": {"gradient_penalty": 10.0},
        "5 discriminator steps": {"discriminator_steps": 5},
        "discriminator rate 1e-4": {"discriminator_learning_rate": 1e-4},
        "entropy 1": {"entropy": 1.0},
        "KL 0.01": {"kl": 0.01},
        "gamma 0.97": {"gamma": 0.97},
        "sigma as cloned": {"warm_start_sigma": 0.0},
        "1024 steps": {"batch_size": 64},
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


def _leads(method: str) -> Experiment:
    """A method as the profile has it, and with one change at a time."""
    changed = (Variant(f"{method}, {name}", method, settings) for name, settings in LEADS[method].items())
    summary = f"what each choice of {method} is worth, one change at a time"
    return Experiment(f"{method}-leads", summary, (Variant(method, method), *changed))


NO_ACTIONS: dict[str, Any] = {"beta_pi": 0.0, "warm_start": 0}
"""GPRIL without demonstrated actions: there is nothing to clone."""

EXPLORING: dict[str, Any] = NO_ACTIONS | {"exploration": 0.2, "exploration_share": 0.5}
"""The same, but every other roll-out leaves the policy's path, which at first nothing leads to the demonstrations."""


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(DEFAULT, "the chosen methods side by side"),
        Experiment(
            "placebo",
            "does GPRIL gain because its models know the target? two controls that do not",
            (
                Variant("gpril", "gpril"),
                Variant("gpril, shuffled targets", "gpril", {"control": "shuffled"}),
                Variant("gpril, self-imitation", "gpril", {"control": "self"}),
                Variant("bc", "bc"),
            ),
        ),
        Experiment(
            "states",
            "what if the demonstrations hold no actions, or only how they end?",
            (
                Variant("bc", "bc"),
                Variant("gpril", "gpril"),
                Variant("gpril, states alone", "gpril", NO_ACTIONS, states_alone=True),
                Variant("gpril, states alone, exploring", "gpril", EXPLORING, states_alone=True),
                Variant("gpril, every tenth state", "gpril", NO_ACTIONS, every=10, states_alone=True),
                Variant("gpril, final states", "gpril", NO_ACTIONS, final_only=True),
                Variant("gpril, final states, exploring", "gpril", EXPLORING, final_only=True),
                Variant(
                    "gpril, final states, shuffled targets",
                    "gpril",
                    EXPLORING | {"control": "shuffled"},
                    final_only=True,
                ),
            ),
            demonstrations=(25,),
        ),
        *map(_leads, LEADS),
    )
}


def find(names: str) -> list[Experiment]:
    """The experiments of a comma-separated list, or all of them for "all"; raises InputError for an unknown one."""
    if names == "all":
        return list(EXPERIMENTS.values())
    chosen = [name.strip() for name in names.split(",")]
    for name in chosen:
        if name not in EXPERIMENTS:
            raise unknown("experiment", name, [*EXPERIMENTS, "all"])
    return [EXPERIMENTS[name] for name in dict.fromkeys(chosen)]
