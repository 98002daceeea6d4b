"""All experiments: the comparison of chosen methods, the paper's evaluations, controls and ablations."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.errors import unknown
from benchmarks.paper import (
    BC,
    FIGURES,
    GAIL,
    GAIL_STATES,
    GPRIL,
    GPRIL_FINAL,
    GPRIL_NO_ACTIONS,
    GPRIL_STATES,
    Experiment,
    Variant,
)
from benchmarks.planning.ablations import ABLATIONS

__all__ = ["DEFAULT", "EXPERIMENTS", "Experiment", "Variant", "find"]

DEFAULT = "compare"

PLACEBO = Experiment(
    "placebo",
    "does GPRIL gain because its models know the target? Two controls whose models do not",
    (
        GPRIL,
        Variant("gpril/shuffled", "GPRIL, shuffled targets", "gpril", {"control": "shuffled"}, base="gpril"),
        Variant("gpril/self", "GPRIL, self-imitation", "gpril", {"control": "self"}, base="gpril"),
        BC,
    ),
)

STATES = Experiment(
    "states",
    "GPRIL from demonstrations without actions, with and without exploration",
    (
        BC,
        GPRIL,
        Variant(
            "gpril/states-on-policy",
            "GPRIL, states only, on-policy",
            "gpril",
            GPRIL_NO_ACTIONS,
            base="gpril",
            states_alone=True,
        ),
        GPRIL_STATES,
        Variant(
            "gpril/tenth-on-policy",
            "GPRIL, every tenth state, on-policy",
            "gpril",
            GPRIL_NO_ACTIONS,
            base="gpril",
            every=10,
            states_alone=True,
        ),
        Variant(
            "gpril/final-on-policy",
            "GPRIL, final states, on-policy",
            "gpril",
            GPRIL_NO_ACTIONS,
            base="gpril",
            final_only=True,
        ),
        GPRIL_FINAL,
        replace(
            GPRIL_FINAL,
            key="gpril/final-shuffled",
            label="GPRIL, final states, shuffled targets",
            settings={**GPRIL_NO_ACTIONS, "control": "shuffled"},
            base=GPRIL_FINAL.key,
        ),
    ),
    demonstrations=(25,),
)

GAIL_LONG = Experiment(
    "gail-long",
    "clip: one GAIL with 40 million environment steps, as 10,000 iterations of TRPO have, some five hours",
    (
        replace(
            GAIL,
            key="gail/40M-steps",
            label="GAIL, 40M environment steps",
            budget={"environment_steps": 40_000_000},
            base="gail",
        ),
    ),
    ("clip",),
    (10,),
    1,
)

GAIL_LONG_PEG = Experiment(
    "gail-long-peg",
    "peg: GAIL from states only with ten times the environment steps of fig2b, half an hour a seed",
    (
        replace(
            GAIL_STATES,
            key="gail/states-5M-steps",
            label="GAIL, states only, 5M environment steps",
            budget={"environment_steps": 5_000_000},
            base=GAIL_STATES.key,
        ),
    ),
    ("peg",),
    (25,),
    5,
)

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(DEFAULT, "the chosen methods side by side"),
        PLACEBO,
        STATES,
        *FIGURES,
        GAIL_LONG,
        GAIL_LONG_PEG,
        *ABLATIONS,
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
