"""The report as a web page: summary, claims, figures, films, tables, failed trials and provenance.

The first figure of each experiment is embedded in the page. Further figures, which are folded, and films are files in
the folders next to it. The page loads nothing else, and its Content-Security-Policy forbids it. The embedded
`report.js` sorts tables and tells the reader if a table has more columns than the screen shows.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from analysis.figures.data import PAPER, Series
from analysis.figures.draw import Drawing
from analysis.formatting import percent, with_bounds
from analysis.load import Results
from analysis.names import ACTION_WORDS, MODE_NAMES, TASK_NAMES, listed, numbers_of_demonstrations, task_name
from analysis.statistics import Estimate
from analysis.tables.build import PIPELINE_CHECK, Table
from analysis.tables.render import WORDS
from benchmarks.paper import COMPARED, Centre, Kind
from benchmarks.records.films import FOLDER, Film
from benchmarks.records.schema import MODES
from envs.commands import plural

READING: dict[Kind, str] = {
    "success": "single seeds, and {centre} over them",
    "seconds": "single seeds' medians, and median and quartiles of all successful rollouts together",
    "interactions": "medians and quartiles over seeds, at the median number of episodes; lines connect the budgets",
    "curves": "{centre} over seeds",
    "curve_panels": "{centre} over seeds; methods without this cost are left out",
    "seeds": "every seed's learning curve; the thick line is the seed that ended best, selected afterwards",
    "methods": "single seeds, and {centre} over them; methods are sorted by their panels, and their mean over these",
    "costs": "{centre} over the cells of the ranks, at the median cost; grey steps show the best success up to a cost",
    "profile": "the percentage of trials, over all numbers of demonstrations, with more than each success rate",
}
"""How each kind of figure is read."""
CENTRES: dict[Centre, str] = {"median": "medians and quartiles", "mean": "means and 95 % intervals"}
VERDICTS = {
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("is undecided", "are undecided"),
    "no records yet": ("has no records yet", "have no records yet"),
}
"""Verdict -> its verb for one claim and for several."""
MOST_NAMED = 3
"""Tasks that the title names."""
LONG = 40
"""Rows of a table that is folded."""


def render(results: Results, tables: list[Table], drawings: list[tuple[Series, Drawing]], films: list[Film]) -> bytes:
    """The page.

    Args:
        results: the records' content.
        tables: in the order of the page; "trials" is left out, since the page shows only those that failed.
        drawings: each figure's series and how it was drawn, those of an experiment together.
        films: of single rollouts, whose files are there.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    by_name = {table.name: table for table in tables}
    groups = []
    for experiment, group in groupby(drawings, key=lambda drawn: drawn[0].experiment):
        first, *others = group
        groups.append((_heading(experiment), _figure(*first), others))
    folded = len(groups) > 1  # a single experiment shows all it has
    figures = [
        (heading, first, [_file(series) if folded else _figure(series, drawing) for series, drawing in others])
        for heading, first, others in groups
    ]
    failed = results.trials[results.trials["status"] != "ok"]
    claims = by_name.get("claims")
    return (
        environment.get_template("report.html")
        .render(
            title=f"Imitation learning on {_tasks_in_short(results)}: profile {results.profile}",
            compared=compared(results),
            won=headlines(by_name["winners"].data) if "winners" in by_name else [],
            verdicts=claims.data["verdict"].value_counts().to_dict() if claims else {},
            pipeline_check=PIPELINE_CHECK if results.profile == "smoke" else "",
            notices=results.notices,
            figures=figures,
            claims=claims,
            films=[_film(film, results) for film in films],
            tables=[table for table in tables if table.name not in ("claims", "trials")],
            words=WORDS,
            words_of_verdicts=VERDICTS,
            long=LONG,
            failed=[{**row, "task": task_name(row["task"])} for row in failed.to_dict(orient="records")],
            provenance=_provenance(results),
        )
        .encode()
    )


def compared(results: Results) -> str:
    """What was compared, in one sentence or two."""
    trials = results.trials
    labels = trials.loc[trials["base"] == "", "label"].astype(str).unique()
    methods = _methods(labels if len(labels) else sorted({name.rpartition(":")[2] for name in trials["method"]}))
    variants = trials.loc[trials["base"] != "", "label"].nunique()
    tasks = listed([task_name(task) for task in _tasks(trials)])
    numbers = sorted(trials["demonstrations"].unique())
    seeds = trials.groupby(["experiment", "task", "demonstrations", "label"], observed=True)["seed"].nunique()
    few, many = int(seeds.min()), int(seeds.max())
    each = plural(many, "seed") if few == many else f"{few} to {many} seeds"
    failed = trials.loc[trials["status"] != "ok", "trial"].nunique()
    counts = f"{plural(trials['trial'].nunique(), 'trial')}, {failed} of which failed"
    if absent := results.missing["trial"].nunique():
        counts += f"; {plural(absent, 'planned trial')} {'has' if absent == 1 else 'have'} no record yet"
    others = f" and {plural(variants, 'variant')} of them" if variants else ""
    return f"{methods}{others} on {tasks}, from {numbers_of_demonstrations(numbers)}, with {each} each: {counts}."


def _methods(labels: Iterable[str]) -> str:
    """`GPRIL and BC; BC and DAC with inferred actions`: what many labels end with is said once."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        end = next(filter(label.endswith, ACTION_WORDS), "")
        groups.setdefault(ACTION_WORDS.get(end, ""), []).append(label.removesuffix(end))
    paper = [variant.label for variant in COMPARED]
    ordered = {
        words: sorted(names, key=lambda name: paper.index(name) if name in paper else len(paper))
        for words, names in groups.items()
    }
    return "; ".join(f"{listed(names)}{words}" for words, names in ordered.items())


def _tasks(trials: pd.DataFrame) -> list[str]:
    """Those that have trials, in order."""
    return [task for task in trials["task"].cat.categories if (trials["task"] == task).any()]


def _tasks_in_short(results: Results) -> str:
    """The tasks in a few words."""
    tasks = _tasks(results.trials)
    if all(task in TASK_NAMES for task in tasks):
        return "insertion tasks"
    return listed([task_name(task) for task in tasks]) if len(tasks) <= MOST_NAMED else f"{len(tasks)} tasks"


def headlines(winners: pd.DataFrame) -> list[str]:
    """Who won each comparison with sampled actions, or with deterministic ones where no policy samples."""
    sentences = []
    for _, row in winners.drop_duplicates(["experiment", "task"]).iterrows():
        difference = Estimate(*(row[f"difference{end}"] for end in ("", "_low", "_high")))
        best, second = (f"{percent(row[f'{name}_success'])} %" for name in ("best", "next"))
        where = f"{task_name(row['task'])} ({_heading(row['experiment']).partition(':')[0].lower()})"
        how = "" if row["mode"] == MODES[0] else f" with {MODE_NAMES[row['mode']].lower()}"
        points = with_bounds(difference, "+.0f", 100, " points")
        if isnan(difference.low) or difference.low <= 0:
            interval = "a single seed decides nothing" if isnan(difference.low) else points
            outcome = f"no clear winner{how}: {row['best']} {best}, {row['next']} {second} ({interval})"
        else:
            outcome = f"{row['best']} succeeds most often{how}: {best}, against {second} for {row['next']} ({points})"
        sentences.append(f"{where}: {outcome}.")
    return sentences


def _heading(experiment: str) -> str:
    """`Figure 1b: Final success by number of demonstrations`, or the experiment's name."""
    figure = PAPER.get(experiment)
    return f"Figure {experiment.removeprefix('fig')}: {figure.title}" if figure else f"Experiment {experiment}"


def _figure(series: Series, drawing: Drawing) -> dict[str, Any]:
    """A figure within the page: its panels, which may stack, above a legend."""
    return {
        "panels": [f"data:image/png;base64,{_encoded(panel)}" for panel in drawing.panels],
        "legend": [(_encoded(picture), text) for picture, text in drawing.legend],
        "caption": _caption(series),
    }


def _file(series: Series) -> dict[str, Any]:
    """A figure that is a file beside the page."""
    return {"panels": [f"figures/{quote(series.name)}.png"], "legend": [], "caption": _caption(series)}


def _caption(series: Series) -> str:
    figure = series.figure
    caption = f"{figure.title}: {READING[figure.kind].format(centre=CENTRES[figure.centre])}."
    if figure.kind == "curves" and series.data["point"].isna().any():
        caption += " Horizontal lines are methods without this cost."
    return f"{caption} {series.note}".strip()


def _film(film: Film, results: Results) -> dict[str, Any]:
    planned = results.trials.loc[results.trials["trial"] == film.trial, "label"].astype(str).tolist()
    label = film.label if "(" in film.label else next(iter(planned), film.label)
    ended = "succeeds" if film.success else f"ends ({film.end})"
    faster = f", played at {film.speed} times real speed" if film.speed > 1 else ""
    caption = (
        f"{film.policy} of {plural(film.seeds, 'seed')} ({percent(film.share)} %), "
        f"{plural(film.demonstrations, 'demonstration')}, seed {film.seed}: {ended} after {film.seconds:g} s{faster}"
    )
    return {"task": task_name(film.task), "label": label, "caption": caption, "file": f"{FOLDER}/{quote(film.file)}"}


def _provenance(results: Results) -> dict[str, list[str]]:
    """What made the records: each distinct value and, where there are several, for how many records it holds."""
    frame = results.provenance
    code = frame["method"] + " on " + frame["task"] + ": " + frame["code_digest"].str[:12]
    columns = {
        "Code digests": code,
        "Commits": frame["commit"].replace("", "outside a checkout"),
        "Library versions": frame["versions"],
        "Machines": frame["machine"],
        "Threads per trial": frame["threads"].astype(str),
        "Interruptions": frame.apply(_interruptions, axis=1),
    }
    summary = {}
    for name, column in columns.items():
        counts = column.value_counts().sort_index()
        summary[name] = [
            str(value) if len(counts) == 1 else f"{value} ({plural(count, 'record')})"
            for value, count in counts.items()
        ]
    return summary | {"Started (UTC)": [f"{frame['started'].min()} to {frame['started'].max()}"]}


def _interruptions(made_by: pd.Series) -> str:
    """How a trial came to its end, in words."""
    if made_by["starts"] == 1:
        return "none"
    resumed = f"{made_by['resumed']} resumed from a checkpoint"
    again = made_by["starts"] - 1 - made_by["resumed"]
    reason = f" ({made_by['unsaved']})" if made_by["unsaved"] else ""
    return f"started {made_by['starts']} times, {resumed}" + (f", {again} from the beginning{reason}" if again else "")


def _encoded(content: bytes) -> str:
    return b64encode(content).decode()
