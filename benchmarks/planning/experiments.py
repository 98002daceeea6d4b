"""Experiments: each a declarative grid of variants, tasks and numbers of demonstrations. To add one, add a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.errors import unknown
from benchmarks.planning.ablations import LEADS, STATES_LEADS


@dataclass(frozen=True)
class Variant:
    """One line of a table, one colour of a figure.

    Attributes:
        label: how tables and figures call it.
        method: the method's name.
        settings: what it changes of the profile's settings.
        budget: what it changes of the profile's budget.
        every: learn from each n-th demonstrated state (and the final one).
        final_only: learn from the final state of each demonstration alone.
        states_alone: learn without the demonstrated actions.
    """

    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    every: int = 1
    final_only: bool = False
    states_alone: bool = False


@dataclass(frozen=True)
class Experiment:
    """A grid: every variant on every task with every number of demonstrations, over the seeds.

    Attributes:
        name: for `--experiment`.
        summary: one line for `--list`.
        variants: empty means each chosen method as it is.
        tasks: short names of `envs.TASKS`; `--tasks` narrows them, or replaces them where `variants` is empty.
        demonstrations: demonstrated episodes; empty means the profile's. `--demos` replaces them.
        seeds: as many as the paper's figure has; for profiles with `figure_seeds`. None means the profile's.
    """

    name: str
    summary: str
    variants: tuple[Variant, ...] = ()
    tasks: tuple[str, ...] = ("clip", "peg")
    demonstrations: tuple[int, ...] = ()
    seeds: int | None = None


DEFAULT = "compare"

NO_ACTIONS: dict[str, Any] = {"beta_pi": 0.0, "warm_start": 0}
"""GPRIL without demonstrated actions: there is nothing to clone (section 4.1: beta_pi = 0, beta_d = 1)."""

EXPLORING: dict[str, Any] = NO_ACTIONS | {"exploration": 0.2, "exploration_share": 0.5}
"""The same, but every other roll-out leaves the policy's path, which at first nothing leads to the demonstrations."""

GAIL_NO_ACTIONS: dict[str, Any] = {
    "use_actions": False,
    "warm_start": 0,
    "warm_start_sigma": 0.0,
    "batch_size": 64,
    "discriminator_steps": 5,
    "kl": 0.05,
}
"""GAIL without demonstrated actions: it judges states, and has to begin from nothing. An iteration moves the policy by
a small part of its sigma, so it takes more of them, each allowed to move it farther, to get anywhere."""

GAIL_NO_ACTIONS_BUDGET = {"environment_steps": 500_000}
"""Three times what it gets where actions can be cloned first."""

SCENARIOS: dict[str, dict[str, Any]] = {
    "states alone": {"states_alone": True},
    "every tenth state": {"states_alone": True, "every": 10},
    "final states": {"final_only": True},
}
"""What the demonstrations of the paper's peg show (section 4.2)."""

BASIC = tuple(Variant(method, method) for method in ("gpril", "gail", "bc"))
BEST = (
    Variant(
        "gail, best of its leads",
        "gail",
        LEADS["gail"]["KL 0.01, entropy 1, scaled rewards, judging states, compressed"],
    ),
    Variant("bc, best of its leads", "bc", LEADS["bc"]["L2 0.0001"]),
)
"""The baselines with the best of what was tried on other demonstrations and seeds (docs/tuning.md), found after the
settings of the profiles were settled: GAIL's by both tasks, BC's by the clip with 25 and 50 demonstrations."""
GAIL_SCENARIOS = tuple(
    Variant(f"gail, {name}", "gail", GAIL_NO_ACTIONS, GAIL_NO_ACTIONS_BUDGET, **shown)
    for name, shown in SCENARIOS.items()
)
GPRIL_SCENARIOS = tuple(Variant(f"gpril, {name}", "gpril", EXPLORING, **shown) for name, shown in SCENARIOS.items())


def _leads(method: str) -> Experiment:
    """A method as the profile has it, and with one change at a time."""
    changed = (Variant(f"{method}, {name}", method, settings) for name, settings in LEADS[method].items())
    summary = f"what each choice of {method} is worth, one change at a time"
    return Experiment(f"{method}-leads", summary, (Variant(method, method), *changed))


def _actor(initial: int, each: int, budget: Mapping[str, int] | None = None) -> Variant:
    """GPRIL whose actor is limited to so many episodes before the first iteration and in each one."""
    settings = {"initial_episodes": initial, "episodes_per_iteration": each}
    return Variant(f"gpril, {each} an iteration", "gpril", settings, budget or {})


def _gail(steps: int) -> Variant:
    return Variant(f"gail, {steps // 1000} thousand steps", "gail", budget={"environment_steps": steps})


FIGURES = (
    Experiment("fig1b", "clip: success against demonstrations", BASIC + BEST, ("clip",), seeds=8),
    Experiment(
        "fig1c",
        "clip: success against self-supervised episodes, GPRIL with its actor limited",
        (
            _actor(20, 1),
            _actor(30, 3),
            Variant("gpril", "gpril"),
            _actor(60, 25, {"environment_steps": 500_000}),
            *map(_gail, (40_000, 80_000)),
            Variant("gail", "gail"),
            _gail(500_000),
        ),
        ("clip",),
        (10,),
        8,
    ),
    Experiment(
        "fig1d",
        "clip: the same from states alone",
        (GPRIL_SCENARIOS[0], GAIL_SCENARIOS[0], *BASIC),
        ("clip",),
        seeds=8,
    ),
    Experiment(
        "fig2b", "peg: GAIL while it learns, three kinds of demonstrations", GAIL_SCENARIOS, ("peg",), (25,), 10
    ),
    Experiment("fig2c", "peg: GPRIL while it learns, the same", GPRIL_SCENARIOS, ("peg",), (25,), 5),
    Experiment("fig2d", "peg: GPRIL against demonstrations, the same", GPRIL_SCENARIOS, ("peg",), seeds=5),
    Experiment("fig2e", "peg: seconds to insertion, the same", (*GPRIL_SCENARIOS, *BASIC, *BEST), ("peg",), (25,), 5),
    Experiment(
        "fig2f",
        "physical peg, socket fixed or varying: GPRIL while it learns from 20 demonstrations of states alone",
        GPRIL_SCENARIOS[:1],
        ("physical-fixed", "physical-varying"),
        (20,),
        5,
    ),
)
"""The paper's evaluations, by figure."""


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
        *FIGURES,
        Experiment(
            "gail-long",
            "clip: one GAIL with as many environment steps as the paper's, some five hours",
            (Variant("gail, 40 million steps", "gail", budget={"environment_steps": 40_000_000}),),
            ("clip",),
            (10,),
            1,
        ),
        Experiment(
            "gail-long-peg",
            "peg: GAIL from states alone with ten times the environment steps of fig2b, half an hour a seed",
            (
                Variant(
                    "gail, states alone, 5 million steps",
                    "gail",
                    GAIL_NO_ACTIONS,
                    {"environment_steps": 5_000_000},
                    states_alone=True,
                ),
            ),
            ("peg",),
            (25,),
            5,
        ),
        *map(_leads, LEADS),
        Experiment(
            "gail-states-leads",
            "peg: what helps GAIL that has to begin from nothing, from states alone",
            tuple(
                Variant(
                    f"gail, states alone{name and ', '}{name}",
                    "gail",
                    GAIL_NO_ACTIONS | change,
                    GAIL_NO_ACTIONS_BUDGET,
                    states_alone=True,
                )
                for name, change in STATES_LEADS.items()
            ),
            ("peg",),
            (25,),
        ),
        Experiment(
            "bc-l2",
            "which regularisation BC wants with more demonstrations",
            tuple(Variant(f"bc, {name}", "bc", change) for name, change in LEADS["bc"].items() if "l2" in change),
            ("clip",),
            (10, 25, 50),
        ),
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
