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

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(DEFAULT, "the chosen methods side by side"),
        Experiment(
            "cloning",
            "is BC as strong as it can be? regularisation chosen on held-out episodes, and fixed",
            (
                Variant("bc", "bc"),
                Variant("bc, no L2", "bc", {"l2": 0.0}),
                Variant("bc, L2 0.01", "bc", {"l2": 0.01}),
            ),
            tasks=("clip",),
        ),
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
