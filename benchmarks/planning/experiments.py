"""All experiments: the comparison of chosen methods, the field, the paper's evaluations, controls and ablations."""

from __future__ import annotations

from dataclasses import replace

import envs
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
    WITH_ACTIONS,
    Experiment,
    Variant,
)
from benchmarks.planning.ablations import ABLATIONS, FIELD_CHANGES, SIGMA_IN_RAD_PER_S, changed
from methods import registry
from methods.action_inference import STEPS

DEFAULT = "compare"

PLACEBO = Experiment(
    "placebo",
    "is knowing the target what makes GPRIL work? Two controls without this knowledge",
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

STATES_ALONE = Experiment(
    "states-alone",
    "clip: why GPRIL loses success from states only: warm start, exploration, sigma, budget or missing actions",
    (
        GPRIL,
        WITH_ACTIONS[0],
        GPRIL_STATES,
        replace(
            GPRIL_STATES,
            key="gpril/states/warm-start",
            label="GPRIL, states only, warm start from inferred actions",
            settings={"beta_pi": 0.0},
            base=GPRIL_STATES.key,
            inference_steps=STEPS,
        ),
        *changed(GPRIL_STATES, SIGMA_IN_RAD_PER_S),
        replace(
            GPRIL_STATES,
            key="gpril/states/ten times the updates",
            label="GPRIL, states only, ten times the updates",
            preset="gpril-no-actions-long",
            base=GPRIL_STATES.key,
        ),
        Variant(
            "gpril/inferred",
            "GPRIL, inferred actions",
            "gpril",
            base="gpril",
            states_alone=True,
            inference_steps=STEPS,
        ),
    ),
    ("clip",),
    (10,),
    5,
)
"""From GPRIL with actions to GPRIL without, one difference at a time."""

GAIL_LONG = Experiment(
    "gail-long",
    "clip: one trial of GAIL with 40 million environment steps (10,000 iterations of TRPO), some three hours",
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
    "peg: GAIL from states only with ten times the environment steps of fig2b, half an hour per seed",
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

GAIL_SCRATCH = Experiment(
    "gail-scratch",
    "GAIL as in the paper, from an untrained policy, with 10 million environment steps, about an hour per seed",
    (
        Variant(
            "gail/paper-10M-steps",
            "GAIL (as in the paper), 10M environment steps",
            "gail",
            budget={"environment_steps": 10_000_000},
            preset="gail-paper",
            base="gail",
        ),
    ),
    demonstrations=(25,),
    seeds=2,
)


OUTLINES = {name: registry.outline(name) for name in registry.BUILT_IN}


def _methods(needs_actions: bool) -> tuple[Variant, ...]:
    """The suite's methods that need demonstrated actions, or those that do not, which are shown states alone."""
    return tuple(
        Variant(
            name if needs_actions else f"{name}/states-alone",
            about.display_name or name,
            name,
            states_alone=not needs_actions,
        )
        for name, about in OUTLINES.items()
        if about.needs_actions == needs_actions
    )


def _inferring(*names: str) -> tuple[Variant, ...]:
    """Methods that learn from actions which were inferred from their own steps."""
    return tuple(
        Variant(
            f"{name}/inferred",
            f"{OUTLINES[name].display_name or name}, inferred actions",
            name,
            base=name,
            states_alone=True,
            inference_steps=STEPS,
        )
        for name in names
    )


OWN_WAY = (GPRIL_STATES, GAIL_STATES, *_methods(needs_actions=False))
"""Methods that learn from states alone as they are published."""
INFERRING = _inferring("gpril", "dac", "gail", "act", "diffusion")
PHYSICAL = ("gpril", "bco", "dac", "diffusion")
PLAIN = ("clip", "peg")
FIELD = (
    Experiment(
        "field",
        "every method that learns from demonstrated actions, on the clip, the peg and their hard variants",
        _methods(needs_actions=True),
        tuple(envs.WITH_ACTIONS),
        (10, 25),
    ),
    Experiment(
        "field-states",
        "methods that learn from states only, in their own way or from inferred actions, on the same tasks",
        OWN_WAY + INFERRING,
        tuple(envs.WITH_ACTIONS),
        (10, 25),
        # From an untrained policy GAIL never inserted the plain clip (8 seeds of fig1d, results/standard). From a
        # cloned one it inserts the hard variants no more often than BC.
        fewer_tasks={GAIL_STATES.key: PLAIN, "gaifo/states-alone": PLAIN, "gail/inferred": PLAIN},
    ),
    Experiment(
        "field-physical",
        "a few methods on the hard physical peg, from states only",
        # One of each kind: this task has no ranking over tasks to complete.
        tuple(variant for variant in OWN_WAY + INFERRING if variant.method in PHYSICAL),
        ("physical-hard",),
        (10, 25),
    ),
)
"""The comparison of all methods (docs/which-method.md); `--methods`, `--tasks` and `--demos` choose a slice of it."""

FIELD_ABLATION = Experiment(
    "field-ablation",
    "the methods of the field without what sets each of them apart",
    tuple(
        variant
        for base in _methods(needs_actions=True)
        if base.method in FIELD_CHANGES
        for variant in (base, *changed(base, FIELD_CHANGES[base.method]))
    ),
    PLAIN,
    (10,),
)

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(DEFAULT, "compares the chosen methods"),
        *FIELD,
        FIELD_ABLATION,
        PLACEBO,
        STATES,
        STATES_ALONE,
        *FIGURES,
        GAIL_LONG,
        GAIL_LONG_PEG,
        GAIL_SCRATCH,
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
