"""The page of results: what the committed records say, figure by figure, as short tables.

Which variants a table has is declared (by the paper's figures, and here), so that one without records has its row too,
which says so. What the page says in words besides the paper's claims is declared as claims as well: each sentence
is shown with its verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.claims import PAPER, claims_table
from analysis.figures.data import seconds
from analysis.formatting import NOTHING, percent, with_bounds
from analysis.load import Results, mark_of, version_note
from analysis.names import MODE_NAMES, task_name
from analysis.pooling import Pooled, cells_of, in_cells
from analysis.report.effects import NOT_YET, loaded
from analysis.report.html import VERDICTS
from analysis.statistics import quartiles
from analysis.tables.render import markdown
from benchmarks.paper import FIGURES, Claim, Experiment, Measure, Variant
from benchmarks.records.schema import MODES
from envs.commands import plural

STANDARD, TUNING = "results/standard", "results/tuning"
FIGURE = {experiment.name: experiment for experiment in FIGURES}
PENDING = "Not measured yet.\n"
"""Shown instead of a table whose records are not there."""
HEADLINE = 10
"""Demonstrations of which the first page tells the success."""
KEYS = ["variant", "base", "label", "task", "demonstrations", "trial"]
COSTS = {"episodes": "Episodes", "environment_steps": "Environment steps", "core_seconds": "Core-seconds"}


@dataclass(frozen=True)
class Shown:
    """What a table shows.

    Attributes:
        folder: where its records are, below the root.
        experiment: whose.
        title: in words.
        variants: keys and labels of the rows that it has in any case, in order.
        alone: whether it leaves out other variants of the experiment.
    """

    folder: str
    experiment: str
    title: str
    variants: Mapping[str, str]
    alone: bool = False


def _labels(variants: Sequence[Variant]) -> dict[str, str]:
    return {variant.key: variant.label for variant in variants}


def _of_figure(experiment: Experiment) -> Shown:
    number = experiment.name.removeprefix("fig")
    summary = f"{experiment.summary[:1].upper()}{experiment.summary[1:]}"
    return Shown(STANDARD, experiment.name, f"Figure {number}. {summary}", _labels(experiment.variants))


CONTROLS = {
    "gpril": "GPRIL",
    "gpril/self-imitation": "GPRIL, self-imitation",
    "gpril/shuffled targets": "GPRIL, shuffled targets",
}
TABLES: Mapping[str, Shown] = {
    **{f"standard/{experiment.name}": _of_figure(experiment) for experiment in FIGURES},
    "standard/gail-long": Shown(STANDARD, "gail-long", "GAIL with the paper's number of steps, as we read it", {}),
    "standard/gail-long-peg": Shown(STANDARD, "gail-long-peg", "GAIL from states only with ten times the steps", {}),
    "tuning/controls": Shown(TUNING, "gpril-ablation", "GPRIL without what its models know", CONTROLS, alone=True),
}
"""By the name that a page gives to ask for it."""


def _statement(figure: str, text: str, *variants: str, measure: Measure = "difference") -> tuple[Experiment, Claim]:
    """A sentence that holds where the first variant succeeds more than the second, or where success grows."""
    return FIGURE[figure], Claim(text, measure, "more", variants)


STATEMENTS = (
    _statement("fig1b", "More demonstrations help GAIL on the clip", "gail", measure="growth"),
    _statement("fig1b", "More demonstrations help BC on the clip", "bc", measure="growth"),
    _statement("fig1b", "Tuning helps GPRIL on the clip", "gpril/tuned", "gpril"),
    _statement("fig1b", "Tuning helps GAIL on the clip", "gail/tuned", "gail"),
    _statement("fig1b", "Tuning helps BC on the clip", "bc/tuned", "bc"),
    _statement("fig1b", "The paper's choices cost GPRIL success on the clip", "gpril", "gpril/paper"),
    _statement("fig1c", "More rollouts help GPRIL on the clip", "gpril/25-per-iteration", "gpril"),
    _statement("fig1c", "More environment steps help GAIL on the clip", "gail/500k-steps", "gail"),
    _statement("fig1d", "GPRIL from states only beats BC, which sees the actions", "gpril/states", "bc"),
    _statement("fig1d", "GPRIL from states only beats GAIL, which sees the actions", "gpril/states", "gail"),
    _statement("fig2e", "GPRIL succeeds more often than GAIL on the peg", "gpril", "gail"),
    _statement("fig2e", "GPRIL succeeds more often than BC on the peg", "gpril", "bc"),
    _statement("fig2e", "GAIL succeeds more often than BC on the peg", "gail", "bc"),
)
"""What else is asked of the records, each with the figure whose trials decide it."""


def claims(results: Results | None, judged: Sequence[tuple[Experiment, Claim]], head: str) -> str:
    """The verdicts in a few columns, under how many there are of each; `head` names the column of the sentences."""
    table = claims_table(results, judged) if results else None
    if table is None or results is None:
        return PENDING
    shown = table.shown[["The paper says", "Verdict", *(MODE_NAMES[mode] for mode in MODES), "Version", "Remarks"]]
    counts = Counter(table.data["verdict"])
    counted = [f"{counts[name]} {words[counts[name] != 1]}" for name, words in VERDICTS.items() if name in counts]
    title = f"{plural(len(shown), 'claim')}: {', '.join(counted)}"
    about = results.scores[results.scores["experiment"].isin([experiment.name for experiment, _ in judged])]
    return markdown(title, shown.rename(columns={"The paper says": head}), version_note(about))


def success(table: Shown, results: Results | None) -> str:
    """The success of each variant by number of demonstrations, its difference, and what a training cost."""
    scores = None if results is None else results.scores[results.scores["experiment"] == table.experiment]
    if results is None or scores is None or scores.empty:
        return f"**{table.title}**\n\n{PENDING}"
    missing = results.missing[results.missing["experiment"] == table.experiment]
    planned = pd.concat([scores[KEYS], missing[KEYS]]).astype({"label": str, "task": str})
    labels = dict(table.variants)
    if not table.alone:
        labels |= dict(planned[["variant", "label"]].drop_duplicates().itertuples(index=False, name=None))
    numbers = sorted(planned["demonstrations"].unique())
    tasks = list(dict.fromkeys(planned["task"]))
    figure = FIGURE[table.experiment].figure if table.experiment in FIGURE else None
    in_seconds = figure is not None and figure.kind == "seconds"
    rows = []
    for task in tasks:
        of_task = scores[scores["task"] == task]
        for key, label in labels.items():
            own = of_task[of_task["variant"] == key]
            row = {"Method": label} if len(tasks) == 1 else {"Task": task_name(task), "Method": label}
            for number in numbers:
                of_number = planned[(planned["task"] == task) & (planned["demonstrations"] == number)]
                want = of_number.loc[of_number["variant"] == key, "trial"].nunique()
                row[plural(number, "demonstration")] = _cell(own[own["demonstrations"] == number], want)
            if in_seconds:
                row["Seconds"] = _seconds(own, results)
            base = _base(key, planned[planned["task"] == task])
            row["Compared with"] = labels.get(base, base) or NOTHING
            row["Difference"] = _difference(own, of_task[of_task["variant"] == base]) if base else NOTHING
            trials = own.drop_duplicates("trial")
            for column, name in COSTS.items():
                row[name] = NOTHING if trials.empty else f"{trials[column].median():,.0f}"
            rows.append(row)
    return markdown(table.title, pd.DataFrame(rows), version_note(scores))


def _cell(scores: pd.DataFrame, planned: int) -> str:
    """`56 / 41 (8)`: the median in each mode that there is, and how many seeds it is of."""
    there = scores["trial"].nunique()
    if not there:
        return NOT_YET
    shares = [scores.loc[scores["mode"] == mode, "success"].to_numpy() for mode in MODES]
    medians = [percent(quartiles(found).median) if len(found) else NOTHING for found in shares]
    return f"{' / '.join(medians)} ({there if there == planned else f'{there} of {planned}'})"


def _base(key: str, planned: pd.DataFrame) -> str:
    """What a variant is compared with: the one it changes, or else the first of the experiment; "" for none."""
    comparable = planned[planned["variant"].map(mark_of) == mark_of(key)]
    variants = comparable["variant"].tolist()
    if key not in variants:
        return ""
    plain = comparable.loc[comparable["base"] == "", "variant"].tolist()
    changed = comparable.loc[comparable["variant"] == key, "base"].iloc[0]
    candidates = [changed, *sorted(plain, key="gpril".__ne__), variants[0]]
    base = next(name for name in candidates if name in variants)
    return "" if base == key else str(base)


def _difference(ours: pd.DataFrame, theirs: pd.DataFrame) -> str:
    """`+44 [+39, +48] / +58 [+54, +61]` over the cells that both have."""
    shared = cells_of(ours) & cells_of(theirs)
    if not shared:
        return NOT_YET
    found = []
    for mode in MODES:
        sides = [in_cells(scores, shared) for scores in (ours, theirs)]
        sides = [side[side["mode"] == mode] for side in sides]
        if not all(map(len, sides)):
            found.append(NOTHING)
            continue
        found.append(with_bounds(Pooled.of(sides[0]).minus(Pooled.of(sides[1])), "+.0f", 100))
    return " / ".join(found)


def _seconds(scores: pd.DataFrame, results: Results) -> str:
    """The median simulated seconds of the successful rollouts in each mode."""
    if not scores["successes"].any():
        return NOTHING
    medians = seconds(scores, results.rollouts).drop_duplicates("mode").set_index("mode")["median"]
    return " / ".join(f"{medians[mode]:.1f}" if mode in medians else NOTHING for mode in MODES)


def headline(results: Results | None) -> str:
    """The success on the clip from a few demonstrations, in one line."""
    if results is None:
        return PENDING
    scores = results.scores[(results.scores["experiment"] == "fig1b") & (results.scores["base"] == "")]
    scores = scores[scores["demonstrations"] == HEADLINE]
    if scores.empty:
        return PENDING
    found = [f"{label} {_cell(own, own['trial'].nunique())}" for label, own in scores.groupby("label", observed=True)]
    sentence = (
        f"Success with {HEADLINE} demonstrations of the clip, in % of rollouts with sampled / deterministic actions "
        f"(median over how many seeds): {', '.join(found)}."
    )
    return f"{sentence} {version_note(scores)}".strip() + "\n"


def versions(root: Path) -> str:
    """Which version of the suite made the records of each folder."""
    rows = []
    for plan in sorted((root / "results").glob("*/plan.json")):
        if results := loaded(plan.parent):
            made_by = ", ".join(sorted(set(results.scores["version"])))
            note = version_note(results.scores) or f"Records of version {made_by}."
            rows.append({"Folder": plan.parent.name, "Trials": f"{results.scores['trial'].nunique()}", "Version": note})
    return markdown("Records", pd.DataFrame(rows), "") if rows else PENDING


BLOCKS: Mapping[str, Callable[[Path], str]] = {
    "standard/claims": lambda root: claims(loaded(root / STANDARD), PAPER, "The paper says"),
    "standard/statements": lambda root: claims(loaded(root / STANDARD), STATEMENTS, "Claim"),
    "results/versions": versions,
    "standard/headline": lambda root: headline(loaded(root / STANDARD)),
    **{
        name: partial(lambda table, root: success(table, loaded(root / table.folder)), table)
        for name, table in TABLES.items()
    },
}
"""Name of a block -> its text in Markdown, from the records that are committed below a folder."""
