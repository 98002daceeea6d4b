"""The paper's evaluations, each declared once: what is trained, what its figure shows, and what the paper claims.

Schroecker, Vecerik and Scholz, "Generative predecessor models for sample-efficient imitation learning" (ICLR 2019).
Planning runs these experiments and the analysis draws and judges them. A variant is identified by its `key`, which
plans record with the trials, so its label may change without consequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from envs import TASKS

Kind = Literal["success", "seconds", "curves", "curve_panels", "seeds", "interactions", "profile", "methods", "costs"]
Cost = Literal["episodes", "environment_steps", "gradient_steps", "training_seconds"]
Centre = Literal["median", "mean"]
Measure = Literal["difference", "gap", "spread", "growth", "seconds", "interactions", "learned", "retries"]
Region = Literal["more", "no less", "little loss", "drop", "unchanged", "less", "orders of magnitude", "most"]


@dataclass(frozen=True)
class Variant:
    """One line of a table, one line of a figure.

    Attributes:
        key: its identity in plans, figures and claims, unique among all experiments.
        label: its name in tables and figures.
        method: the method's name.
        settings: what it is about: the settings that it changes, whatever the profile.
        budget: the same for the budget.
        preset: a table of the profile, `[presets.NAME]`, with settings and budget that it needs besides; a profile
            without that table changes nothing.
        base: key of the variant that this one changes, with which tables compare it; "" where it changes none.
        every: learn from each n-th demonstrated state (and the final one).
        offset: the first state of each demonstration that is shown, if not every one is.
        final_only: learn from the final state of each demonstration only.
        states_alone: learn without the demonstrated actions.
        statistics: normalise observations with the statistics of all recorded states or only of those shown.
        inference_steps: own steps from which actions are inferred before the method trains; 0 infers none.
    """

    key: str
    label: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    preset: str = ""
    base: str = ""
    every: int = 1
    offset: int = 0
    final_only: bool = False
    states_alone: bool = False
    statistics: Literal["recorded", "shown"] = "recorded"
    inference_steps: int = 0


@dataclass(frozen=True)
class Figure:
    """What one figure shows.

    Attributes:
        kind: success by demonstrations, simulated seconds to success, learning curves with their spread over seeds, the
            curve of every seed, success by interactions used, performance profiles, methods in the order of their
            success, or their success by each cost.
        title: in words.
        cost: the horizontal axis of a learning curve.
        centre: how seeds are summarised: median and quartiles, or mean and 95 % interval.
    """

    kind: Kind
    title: str
    cost: Cost | None = None
    centre: Centre = "median"


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        text: in words.
        measure: the number that decides it, of the trials after training:
            "difference": success of the first variant minus that of the second;
            "gap": the same difference of the first two minus that of the last two;
            "spread": mean distance of a seed's success from the median over seeds, of the first variant minus that of
            the second;
            "growth": success with most demonstrations minus that with fewest;
            "seconds": simulated seconds to success of the first variant minus those of the second;
            "interactions": episodes of the second method over those of the first for equal success, over all budgets of
                both methods that the experiment has;
            "learned": success within the episodes that the paper's robot was given;
            "retries": fraction that came back to the mouth, of the rollouts that missed it, of the first variant minus
            that of the second.
        region: where that number lies if the claim holds; `analysis.claims` has the bounds.
        variants: keys of those compared, in the order of the measure.
        task: Gymnasium id of the only task asked; "" means all of the experiment.
    """

    text: str
    measure: Measure
    region: Region
    variants: tuple[str, ...]
    task: str = ""


@dataclass(frozen=True)
class Experiment:
    """A grid: every variant on every task with every number of demonstrations, over the seeds.

    Attributes:
        name: for `--experiment`.
        summary: one line for `--list`.
        variants: empty means the chosen methods, unchanged.
        tasks: short names of `envs.TASKS`; `--tasks` narrows them, or replaces them where `variants` is empty.
        demonstrations: numbers of demonstrated episodes; empty means the profile's. `--demos` replaces them.
        seeds: at least as many as the paper's figure has; for profiles with `figure_seeds`. None means the profile's.
        figure: how the paper draws it; None where the paper has no such figure.
        claims: what the paper says of it.
        fewer_tasks: key of a variant -> the tasks that it is tried on, if not on all of them.
    """

    name: str
    summary: str
    variants: tuple[Variant, ...] = ()
    tasks: tuple[str, ...] = ("clip", "peg")
    demonstrations: tuple[int, ...] = ()
    seeds: int | None = None
    figure: Figure | None = None
    claims: tuple[Claim, ...] = ()
    fewer_tasks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


GPRIL, GAIL, BC = Variant("gpril", "GPRIL", "gpril"), Variant("gail", "GAIL", "gail"), Variant("bc", "BC", "bc")
COMPARED = (GPRIL, GAIL, BC)

AS_IN_THE_PAPER = Variant("gpril/paper", "GPRIL (as in the paper)", "gpril", preset="gpril-paper", base="gpril")
"""GPRIL with the paper's choices where a profile departs from them."""
BASELINES_AS_IN_THE_PAPER = (
    Variant("gail/paper", "GAIL (as in the paper)", "gail", preset="gail-paper", base="gail"),
    Variant("bc/paper", "BC (as in the paper)", "bc", preset="bc-paper", base="bc"),
)
"""The same for the baselines; the budget is the profile's."""
TUNED = tuple(
    Variant(f"{method.key}/tuned", f"{method.label} (tuned)", method.key, preset=f"{method.key}-tuned", base=method.key)
    for method in COMPARED
)
"""With the best settings that equally many trials found on other demonstrations and seeds (docs/tuning.md)."""

GPRIL_NO_ACTIONS: dict[str, Any] = {"beta_pi": 0.0, "warm_start": 0}
"""Without demonstrated actions there is nothing to clone (section 4.1: beta_pi = 0, beta_d = 1)."""
GAIL_NO_ACTIONS: dict[str, Any] = {"use_actions": False, "warm_start": 0, "warm_start_sigma": 0.0}
"""Without demonstrated actions GAIL's discriminator sees states only, and the policy starts untrained."""

SCENARIOS: dict[str, tuple[str, dict[str, Any]]] = {
    "states": ("states only", {"states_alone": True}),
    "tenth": ("every tenth state", {"states_alone": True, "every": 10}),
    "final": ("final states", {"final_only": True}),
}
"""What the demonstrations of section 4.2 show: key -> name and the fields of a variant."""

GPRIL_STATES, GPRIL_TENTH, GPRIL_FINAL = GPRIL_SCENARIOS = tuple(
    Variant(
        f"gpril/{key}", f"GPRIL, {name}", "gpril", GPRIL_NO_ACTIONS, preset="gpril-no-actions", base="gpril", **shown
    )
    for key, (name, shown) in SCENARIOS.items()
)
GAIL_STATES, GAIL_TENTH, GAIL_FINAL = GAIL_SCENARIOS = tuple(
    Variant(f"gail/{key}", f"GAIL, {name}", "gail", GAIL_NO_ACTIONS, preset="gail-no-actions", base="gail", **shown)
    for key, (name, shown) in SCENARIOS.items()
)


WITH_ACTIONS = (
    Variant(
        "gpril/like-states",
        "GPRIL, trained as from states only",
        "gpril",
        {"warm_start": 0},
        preset="gpril-no-actions",
        base="gpril",
    ),
    Variant(
        "gail/like-states",
        "GAIL, trained as from states only",
        "gail",
        {"warm_start": 0, "warm_start_sigma": 0.0},
        preset="gail-no-actions",
        base="gail",
    ),
)
"""Trained like the variants without actions, but for the demonstrated actions: the difference is theirs alone."""


def _actor(initial: int, each: int, preset: str = "") -> Variant:
    """GPRIL with its actor limited to so many episodes before the first iteration and in each one."""
    settings = {"initial_episodes": initial, "episodes_per_iteration": each}
    label = f"GPRIL, {each} episode{'s' * (each > 1)} per iteration"
    return Variant(f"gpril/{each}-per-iteration", label, "gpril", settings, preset=preset, base="gpril")


def _few_episodes(total: int) -> Variant:
    """GPRIL with so few episodes in all: half of them first, the others one by one before each further iteration.

    The preset makes iterations so long that the budget of updates is enough for these. No episode is held out.
    """
    settings = {"initial_episodes": total // 2, "episodes_per_iteration": 1, "held_out_every": 0}
    key, label = f"gpril/{total}-episodes", f"GPRIL, {total // 2} episodes, then 1 per iteration"
    return Variant(key, label, "gpril", settings, preset=f"gpril-{total}-episodes", base="gpril")


def _gail_steps(steps: int) -> Variant:
    label = f"GAIL, {steps // 1000}k environment steps"
    return Variant(f"gail/{steps // 1000}k-steps", label, "gail", budget={"environment_steps": steps}, base="gail")


FIGURES = (
    Experiment(
        "fig1b",
        "clip: success by number of demonstrations",
        (AS_IN_THE_PAPER, *BASELINES_AS_IN_THE_PAPER, *COMPARED, *TUNED),
        ("clip",),
        seeds=8,
        figure=Figure("success", "Final success by number of demonstrations"),
        claims=(
            Claim("GPRIL succeeds more often than GAIL on the clip", "difference", "more", ("gpril", "gail")),
            Claim(
                "GPRIL succeeds more often than GAIL, both tuned", "difference", "more", ("gpril/tuned", "gail/tuned")
            ),
            Claim("GPRIL succeeds more often than BC on the clip", "difference", "more", ("gpril", "bc")),
            Claim("GPRIL succeeds more often than BC, both tuned", "difference", "more", ("gpril/tuned", "bc/tuned")),
            Claim("GAIL succeeds more often than BC on the clip", "difference", "more", ("gail", "bc")),
            Claim("GAIL succeeds more often than BC, both tuned", "difference", "more", ("gail/tuned", "bc/tuned")),
            Claim("GPRIL's success on the clip grows with demonstrations", "growth", "more", ("gpril",)),
            Claim("GPRIL retries more often after a miss than GAIL", "retries", "more", ("gpril", "gail")),
        ),
    ),
    Experiment(
        "fig1c",
        "clip: success by self-supervised episodes, with GPRIL's actor limited",
        (
            *map(_few_episodes, (10, 20, 40)),
            _actor(20, 1),
            _actor(30, 3),
            GPRIL,
            _actor(60, 25, "gpril-many-episodes"),
            _gail_steps(40_000),
            GAIL,
            *map(_gail_steps, (500_000, 2_000_000)),
        ),
        ("clip",),
        (10,),
        8,
        Figure("interactions", "Final success by self-supervised episodes", "episodes"),
        (
            Claim(
                "GPRIL needs orders of magnitude fewer interactions than GAIL",
                "interactions",
                "orders of magnitude",
                ("gpril", "gail"),
            ),
        ),
    ),
    Experiment(
        "fig1d",
        "clip: success by number of demonstrations, from states only",
        (GPRIL_STATES, GAIL_STATES, *WITH_ACTIONS, *COMPARED),
        ("clip",),
        seeds=8,
        figure=Figure("success", "Final success by number of demonstrations, from states only"),
        claims=(
            Claim(
                "Learning from states only costs GPRIL little",
                "difference",
                "little loss",
                ("gpril/states", "gpril/like-states"),
            ),
            Claim(
                "Learning from states only costs GAIL little",
                "difference",
                "little loss",
                ("gail/states", "gail/like-states"),
            ),
            Claim(
                "The lead of GPRIL over GAIL is the same from states only",
                "gap",
                "unchanged",
                ("gpril/states", "gail/states", "gpril/like-states", "gail/like-states"),
            ),
        ),
    ),
    Experiment(
        "fig2b",
        "peg: GAIL's learning curves from all, every tenth and only final states, and GPRIL's from all",
        (*GAIL_SCENARIOS, GPRIL_STATES),
        ("peg",),
        (25,),
        10,
        Figure("curves", "GAIL's success during training", "environment_steps", "mean"),
        (
            Claim(
                "GPRIL matches or outperforms GAIL on the peg",
                "difference",
                "no less",
                ("gpril/states", "gail/states"),
            ),
            Claim(
                "Every tenth state changes nothing for GAIL", "difference", "unchanged", ("gail/tenth", "gail/states")
            ),
            Claim("Final states only: GAIL drops", "difference", "drop", ("gail/final", "gail/states")),
            Claim("Final states only: GAIL varies more between seeds", "spread", "more", ("gail/final", "gail/states")),
        ),
    ),
    Experiment(
        "fig2c",
        "peg: GPRIL's learning curves from all, every tenth and only final states",
        GPRIL_SCENARIOS,
        ("peg",),
        (25,),
        10,  # the paper has 5; from final states they differ much
        Figure("curves", "GPRIL's success during training", "gradient_steps", "mean"),
        (Claim("Final states only: GPRIL loses little", "difference", "little loss", ("gpril/final", "gpril/states")),),
    ),
    Experiment(
        "fig2d",
        "peg: GPRIL's success by number of demonstrations, from all, every tenth and only final states",
        GPRIL_SCENARIOS,
        ("peg",),
        seeds=5,
        figure=Figure("success", "Final success by number of demonstrations", centre="mean"),
        claims=(
            Claim(
                "Every tenth state changes nothing for GPRIL",
                "difference",
                "unchanged",
                ("gpril/tenth", "gpril/states"),
            ),
            Claim(
                "Final states only change nothing for GPRIL", "difference", "unchanged", ("gpril/final", "gpril/states")
            ),
            Claim(
                "GPRIL's success on the peg grows with demonstrations",
                "growth",
                "more",
                ("gpril/states", "gpril/tenth", "gpril/final"),
            ),
        ),
    ),
    Experiment(
        "fig2e",
        "peg: seconds to insertion, from all, every tenth and only final states",
        (*GPRIL_SCENARIOS, *COMPARED, *TUNED),
        ("peg",),
        (25,),
        5,
        Figure("seconds", "Simulated seconds to insertion of the successful rollouts"),
        (Claim("Final states only: GPRIL inserts faster", "seconds", "less", ("gpril/final", "gpril/states")),),
    ),
    Experiment(
        "fig2f",
        "physical peg, socket fixed or varying: GPRIL's learning curves from 20 demonstrations of states only",
        GPRIL_SCENARIOS[:1],
        ("physical-fixed", "physical-varying"),
        (20,),
        5,
        Figure("seeds", "Success of every seed by self-supervised episodes", "episodes"),
        tuple(
            Claim(
                f"GPRIL learns on the physical peg within 2000 episodes, socket {socket}",
                "learned",
                "most",
                ("gpril/states",),
                TASKS[f"physical-{socket}"],
            )
            for socket in ("fixed", "varying")
        ),
    ),
)
"""The paper's evaluations, by figure."""
