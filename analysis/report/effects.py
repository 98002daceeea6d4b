"""Effects of single choices, for the documentation: readings of the paper, and GPRIL's departures from it.

The choices are declared here, so that a choice without records has a row too. All numbers are computed from records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.formatting import NOTHING, percent, with_bounds
from analysis.load import Results, ResultsError, load
from analysis.names import MODE_NAMES, task_name
from analysis.statistics import Estimate, paired_difference
from analysis.tables.render import markdown
from benchmarks.records.schema import MODES, Mode

CLIP, PEG = "ClipInsertion-v0", "PegInsertion-v0"
NOT_MEASURED, NOT_YET = "not measured", "not measured yet"


@dataclass(frozen=True)
class Source:
    """Where an experiment's committed records are.

    Attributes:
        folder: below the root.
        tasks: Gymnasium ids of the experiment's tasks.
        changed: task -> the task that takes its place where a choice is made; none where a choice changes no task.
    """

    folder: str
    tasks: tuple[str, ...] = (CLIP, PEG)
    changed: Mapping[str, str] = field(default_factory=dict)


FIXED_START = "docs/examples/fixed_start.py"
SOURCES: Mapping[str, Source] = {
    "readings": Source("results/readings"),
    "readings-states": Source("results/readings", (PEG,)),
    "compare": Source(
        "results/fixed-start",
        changed={CLIP: f"{FIXED_START}:ClipFixedStart-v0", PEG: f"{FIXED_START}:PegFixedStart-v0"},
    ),
    "gpril-ablation": Source("results/tuning"),
    "states": Source("results/states", (PEG,)),
}
"""By experiment."""


@dataclass(frozen=True)
class Choice:
    """A choice, and the comparison of two variants that measures it.

    Attributes:
        cells: what its row says, one text for each of the table's own headings.
        variant: key of the variant that makes it; "" where none does.
        base: key of the variant that does not, and is otherwise the same.
        experiment: of the variant, a key of `SOURCES`; "" where nothing measures it.
        base_experiment: of the base, if another one.
    """

    cells: tuple[str, ...]
    variant: str = ""
    base: str = "gpril"
    experiment: str = ""
    base_experiment: str = ""

    @property
    def experiments(self) -> tuple[str, ...]:
        """Of the variant and the base; none where nothing measures it."""
        return (self.experiment, self.base_experiment or self.experiment) if self.experiment else ()

    @property
    def tasks(self) -> Mapping[str, str]:
        """Task of the base -> task of the variant."""
        if not self.experiment:
            return {"": ""}
        source = SOURCES[self.experiment]
        return {task: source.changed.get(task, task) for task in source.tasks}


def _reading(what: str, instead: str, variant: str, base: str = "gpril", experiment: str = "readings") -> Choice:
    return Choice((what, instead), variant, base, experiment)


def _of_states(shown: str, what: str, instead: str, variant: str) -> Choice:
    """A reading that concerns a method without actions."""
    method, scenario, _ = variant.split("/", 2)
    return _reading(f"{method.upper()}, {shown}: {what}", instead, variant, f"{method}/{scenario}", "readings-states")


def _fixed_start(method: str) -> Choice:
    """A method on tasks whose arm starts in one place, compared with the same method on the shipped tasks."""
    cells = f"{method.upper()}: the arm starts in one place", "at random"
    return Choice(cells, method, method, "compare", "readings")


_SIGMA = ("sigma within (0.02, 0.2), the bounds in rad/s", "within (0.01, 0.1)")
_INITIAL = ("initial states are targets", "they are not")
_STATISTICS = ("statistics of the shown states", "of all recorded states")

READINGS = (
    _reading(f"GPRIL: {_SIGMA[0]}", _SIGMA[1], "gpril/sigma bounds in rad/s"),
    _reading("GPRIL: sums over batches", "means", "gpril/sums over batches"),
    _reading("GPRIL: sums over batches, L2 0.01", "means, L2 0.001", "gpril/L2 0.01, sums over batches"),
    _reading(f"GPRIL: {_INITIAL[0]}", _INITIAL[1], "gpril/initial states as targets"),
    _of_states("states only", *_SIGMA, "gpril/states/sigma bounds in rad/s"),
    _of_states("states only", *_INITIAL, "gpril/states/initial states as targets"),
    _of_states("every tenth state", *_INITIAL, "gpril/tenth/initial states as targets"),
    _of_states("every tenth state", "steps 5, 15, ...", "steps 0, 10, ...", "gpril/tenth/from the fifth on"),
    _of_states("every tenth state", *_STATISTICS, "gpril/tenth/statistics of the shown states"),
    _of_states("final states", *_STATISTICS, "gpril/final/statistics of the shown states"),
    _of_states("every tenth state", *_STATISTICS, "gail/tenth/statistics of the shown states"),
    _of_states("final states", *_STATISTICS, "gail/final/statistics of the shown states"),
    _reading(
        "GAIL: bootstraps from the terminal state",
        "absorbing ends",
        "gail/bootstrap from the terminal state",
        "gail",
    ),
    _reading("GAIL: bootstraps from the next episode", "absorbing ends", "gail/chained episodes", "gail"),
    _reading(
        "GAIL: bootstraps from the next episode",
        "from the terminal state",
        "gail/chained episodes",
        "gail/bootstrap from the terminal state",
    ),
    _fixed_start("gpril"),
    _fixed_start("gail"),
)
"""Readings of the paper (docs/fidelity.md), each with how the variant that it is compared with reads the sentence."""


def _setting(name: str, own: str, other: str, change: str = "", experiment: str = "gpril-ablation") -> Choice:
    """A setting of GPRIL, its value in `quick`, the value it is compared with, and the change that makes it that."""
    return Choice((name, own, other), f"gpril/{change}", "gpril", experiment) if change else Choice((name, own, other))


DEPARTURES = (
    _setting("displacement", "true", "false", "absolute states"),
    _setting("compress", "2.0", "0.0", "no compression"),
    _setting("scale_actions", "true", "false", "actions not scaled"),
    _setting("clip_samples", "true", "false", "samples not clipped"),
    _setting("cross_episodes", "false", "true", "pairs across episodes"),
    _setting("initial_targets", "false", "true", "initial states as targets", "readings"),
    _setting("batch_reduction", "mean", "sum", "sums over batches", "readings"),
    _setting("gamma", "0.7", "0.9", "gamma 0.9"),
    _setting("model_l2", "0.001", "0.01", "L2 0.01"),
    _setting("warm_start", "1500", "0", "no warm start"),
    _setting("policy_decay", "true", "false", "constant policy learning rate"),
    _setting("all of the above", "", "", "paper"),
    _setting("held_out_every", "10", "0", "no held-out rollouts"),
    _setting("burn_in_collects", "false", "true", "rollouts during the burn-in"),
    _setting("initial_episodes", "60", "20", "20 initial rollouts"),
    _setting("episodes_per_iteration", "10", "20", "20 episodes per iteration"),
    _setting("burn_in", "1000", "50000"),
    _setting("model_updates", "128", "15000"),
    _setting("policy_updates", "64", "5000"),
    _setting("model_hidden", "[128, 128]", "[500, 500]"),
    _setting("model_learning_rate", "0.001", "2e-05"),
    _setting("policy_learning_rate", "0.001", "0.0001"),
)
"""Where `quick` departs from `paper` on the clip, with the value of `paper`. Sizes, rates and numbers of updates, at
the end, belong to a budget of 125 times as many policy updates and are not compared at the budget of `quick`."""

EXTENSIONS = (
    Choice(("exploration, states only", "0.2", "0.0"), "gpril/states-on-policy", "gpril/states", "states"),
    Choice(("exploration, final states", "0.2", "0.0"), "gpril/final-on-policy", "gpril/final", "states"),
    _setting("exploration, with actions", "0.0", "0.2 in 30 % of rollouts", "exploration in 30 % of rollouts"),
    _setting("residual_actions", "false", "true", "residual B^a"),
    _setting("overlap", "false", "true", "overlapping rollouts"),
    _setting("model_patience", "0", "3", "early stopping"),
    _setting("control", "none", "shuffled", "shuffled targets"),
    _setting("control", "none", "self", "self-imitation"),
    _setting("flow", "fast", "spline"),
    _setting("flow", "fast", "nflows"),
    _setting("policy_l2", "0.0", "above 0"),
    _setting("reset_sigma", "0.0", "above 0"),
)
"""Settings that the paper does not have, off in `paper`. In `quick` only variants without actions explore."""

_PAIRS = (
    "Mean success of the final rollouts {first} minus that {second}, in points [95 % interval of the mean over paired "
    "seeds]. If there are several numbers of demonstrations, the mean for each follows, fewest first. Pairs: trials of "
    "both with the same seed and number of demonstrations. A trial that failed counts as success 0. The intervals are "
    "not corrected for multiple comparisons: one in twenty misses."
)


@dataclass(frozen=True)
class EffectsTable:
    """What a table of effects shows.

    Attributes:
        title: in bold above it.
        heads: of the choices' own cells.
        choices: its rows, each once per task.
        note: below it.
    """

    title: str
    heads: tuple[str, ...]
    choices: tuple[Choice, ...]
    note: str


TABLES = {
    "readings": EffectsTable(
        "Effects of the readings",
        ("Reading", "Instead of"),
        READINGS,
        _PAIRS.format(first="with the first reading", second="with the second"),
    ),
    "departures": EffectsTable(
        "GPRIL's settings, one at a time",
        ("Setting", "quick", "Compared"),
        DEPARTURES + EXTENSIONS,
        _PAIRS.format(first="with the compared value", second="with the value of `quick`"),
    ),
}
"""Tables by the name with which a page asks for them."""


@dataclass(frozen=True)
class Effect:
    """Success with a choice minus that without, in [-1, 1].

    Attributes:
        estimate: mean over the numbers of demonstrations, each with the same weight, with the interval of the paired
            seeds; NaN bounds with fewer than two seeds.
        by_demonstrations: the mean difference with each number of demonstrations.
        pairs: of trials that were compared.
        version: of the suite that made their records.
    """

    estimate: Estimate
    by_demonstrations: Mapping[int, float]
    pairs: int
    version: str


def effect(scores: pd.DataFrame, choice: Choice, task: str) -> dict[Mode, Effect]:
    """The effect of a choice in each mode that its two variants have; none where there is no pair of trials.

    A pair has the same seed and number of demonstrations. Seeds with a pair for every number of demonstrations count;
    where there is none of them, all pairs do. Records of several versions of the suite are not compared.

    Args:
        scores: `Results.scores`, of all folders that hold a part.
        choice: which variants, of which experiments.
        task: Gymnasium id of the task of the base.
    """
    places = zip(choice.experiments, (choice.tasks.get(task, task), task), (choice.variant, choice.base), strict=True)
    ours, theirs = (
        scores[(scores["experiment"] == experiment) & (scores["task"] == where) & (scores["variant"] == key)]
        for experiment, where, key in places
    )
    found = dict[Mode, Effect]()
    versions = {*ours["version"], *theirs["version"]}
    if len(versions) > 1:
        return found
    for mode in MODES:
        made, base = (
            rows[rows["mode"] == mode].set_index(["seed", "demonstrations"])[["success", "rollouts"]]
            for rows in (ours, theirs)
        )
        pairs = made.join(base, how="inner", rsuffix=" of base").unstack()
        if pairs.empty:
            continue
        whole = pairs.dropna()
        counted = pairs if whole.empty else whole
        success, other = (counted[name].to_numpy() for name in ("success", "success of base"))  # [seeds, numbers] each
        differences = np.nanmean(success - other, axis=0)
        estimate = Estimate(float(differences.mean()), nan, nan)
        if len(whole):
            rollouts = max(int(counted["rollouts"].to_numpy().sum()), len(whole))
            estimate = paired_difference(success.mean(axis=1), other.mean(axis=1), rollouts)
        by_count = dict(zip(counted["success"].columns.tolist(), differences.tolist(), strict=True))
        found[mode] = Effect(estimate, by_count, int(np.isfinite(success).sum()), *versions)
    return found


def effects_markdown(table: EffectsTable, results: Mapping[str, Results | None]) -> str:
    """A table in Markdown.

    Args:
        table: what it shows.
        results: experiment -> the records of its folder; None, or no entry, where there are none.
    """
    rows = []
    for choice in table.choices:
        parts = [part for name in dict.fromkeys(choice.experiments) if (part := results.get(name)) is not None]
        for task in choice.tasks:
            found = effect(_joined(parts), choice, task) if parts else {}
            pairs = max((one.pairs for one in found.values()), default=0)
            none = NOT_YET if choice.experiment else NOT_MEASURED
            row = dict(zip(table.heads, choice.cells, strict=True)) | {"Task": task_name(task), "Pairs": f"{pairs}"}
            there = results.get(choice.experiment)
            if there is not None and pairs < (planned := _planned(there, choice, task)):
                row["Pairs"] += f" of {planned}"
            row["Version"] = next((one.version for one in found.values()), NOTHING)
            rows.append(row | {MODE_NAMES[mode]: _written(found.get(mode), none) for mode in MODES})
    return markdown(table.title, pd.DataFrame(rows), table.note)


def committed(name: str, root: Path) -> str:
    """A table of `TABLES` in Markdown, from the records that are committed below `root`."""
    table = TABLES[name]
    experiments = {name for choice in table.choices for name in choice.experiments}
    return effects_markdown(table, {name: loaded(root / SOURCES[name].folder) for name in experiments})


def loaded(folder: Path) -> Results | None:
    """A results folder; None where it has no records yet."""
    return _loaded(folder.resolve())


@cache
def _loaded(folder: Path) -> Results | None:
    try:
        return load(folder)
    except ResultsError:
        return None


def _joined(parts: Sequence[Results]) -> pd.DataFrame:
    """The scores of several folders; their ordered categories may differ, so they become text."""
    names = ["experiment", "task", "variant", "mode"]
    return pd.concat([part.scores.astype(dict.fromkeys(names, "str")) for part in parts], ignore_index=True)


def _planned(results: Results, choice: Choice, task: str) -> int:
    """How many trials of a choice are planned, by the task of the base."""
    parts = [frame[["experiment", "task", "variant", "trial"]] for frame in (results.scores, results.missing)]
    rows = pd.concat([part.astype(str) for part in parts])
    places = {"experiment": choice.experiment, "task": choice.tasks[task], "variant": choice.variant}
    asked = (rows[list(places)] == list(places.values())).all(axis=1)
    return rows.loc[asked, "trial"].nunique()


def _written(effect: Effect | None, none: str) -> str:
    """`+5 [-3, +13]; +7, +3` in points, without bounds where there are none and parts where there is only one."""
    if effect is None:
        return none
    parts = [percent(part, "+.0f") for part in effect.by_demonstrations.values()]
    return with_bounds(effect.estimate, "+.0f", 100) + (f"; {', '.join(parts)}" if len(parts) > 1 else "")
