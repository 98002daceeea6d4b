"""The report as one self-contained web page: figures, claims, films, tables, failed trials and provenance.

It loads nothing, which its Content-Security-Policy forbids as well; `report.js`, which it holds, shows values at the
pointer and sorts tables.
"""

from __future__ import annotations

from base64 import b64encode
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from analysis.figures.data import Series
from analysis.figures.render import Drawing
from analysis.load import MODES, Results
from analysis.report.films import Film
from analysis.tables.build import PIPELINE_CHECK, Table
from analysis.tables.render import WORDS
from benchmarks.paper import Centre, Kind

READING: dict[Kind, str] = {
    "success": "single seeds, and over them {centre}",
    "seconds": "single seeds' medians, and median and quartiles of all successful roll-outs together",
    "interactions": "medians and quartiles over seeds at the median of the episodes used; lines connect variants",
    "curves": "{centre} over seeds",
    "seeds": "every seed's learning curve; the thick one is the seed that ended best, chosen afterwards",
    "profile": "the share of trials, over all numbers of demonstrations, above each success",
}
"""How each kind of figure is read."""
CENTRES: dict[Centre, str] = {"median": "medians and quartiles", "mean": "means and 95 % intervals"}


def render(results: Results, tables: list[Table], drawings: list[tuple[Series, Drawing]], films: list[Film]) -> bytes:
    """The page, with everything it shows inside it.

    Args:
        results: the records' content.
        tables: in the order of the page; "trials" is left out, since the page shows only those that failed.
        drawings: each figure's series and how it was drawn, those of an experiment together.
        films: of single roll-outs.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    figures = []
    for experiment, group in groupby(drawings, key=lambda drawn: drawn[0].experiment):
        first, *others = (_figure(series, drawing) for series, drawing in group)
        figures.append((experiment, first, others))
    trials = results.scores[results.scores["mode"] == MODES[0]]
    failed = trials[trials["status"] != "ok"]
    counts = [
        (trials["trial"].nunique(), "trials with a record"),  # one may belong to several experiments
        (failed["trial"].nunique(), "did not end well"),
        (results.missing["trial"].nunique(), "missing"),
    ]
    return (
        environment.get_template("report.html")
        .render(
            title=f"Imitation learning on insertion tasks: results of the profile {results.profile}",
            summary=", ".join(f"{count} {what}" for count, what in counts) + ".",
            pipeline_check=PIPELINE_CHECK if results.profile == "smoke" else "",
            notices=results.notices,
            figures=figures,
            claims=next((table for table in tables if table.name == "claims"), None),
            films=[_film(film) for film in films],
            tables=[table for table in tables if table.name not in ("claims", "trials")],
            words=WORDS,
            failed=failed.to_dict(orient="records"),
            provenance=_provenance(results),
        )
        .encode()
    )


def _figure(series: Series, drawing: Drawing) -> dict[str, Any]:
    view, image = series.view, b64encode(drawing.files[f"{series.name}.png"]).decode()
    caption = f"{series.experiment}, {view.title}: {READING[view.kind].format(centre=CENTRES[view.centre])}."
    if view.kind == "curves" and series.data["point"].isna().any():
        caption += " Dashed levels are methods that use none of this cost."
    return {"image": image, "caption": caption, "places": drawing.places}


def _film(film: Film) -> dict[str, Any]:
    ended = "succeeds" if film.success else f"ends ({film.end})"
    faster = f", shown {film.speed} times as fast" if film.speed > 1 else ""
    caption = (
        f"{film.policy} of {film.seeds} seeds ({100 * film.share:.0f} %), {film.demonstrations} demonstrations, "
        f"seed {film.seed}: {ended} after {film.seconds:g} s{faster}"
    )
    return {"task": film.task, "label": film.label, "caption": caption, "image": b64encode(film.content).decode()}


def _provenance(results: Results) -> dict[str, list[str]]:
    """What made the records: each distinct value and, where there are several, for how many records it holds."""
    frame = results.provenance
    code = frame["method"] + " on " + frame["task"] + ": " + frame["code_digest"].str[:12]
    columns = {
        "Code digests": code,
        "Commits": frame["commit"].replace("", "outside a checkout"),
        "Library versions": frame["versions"],
        "Machines": frame["machine"],
        "Threads a trial": frame["threads"].astype(str),
        "Interruptions": frame.apply(_interruptions, axis=1),
    }
    summary = {}
    for name, column in columns.items():
        counts = column.value_counts().sort_index()
        summary[name] = [
            str(value) if len(counts) == 1 else f"{value} ({count} records)" for value, count in counts.items()
        ]
    return summary | {"Started (UTC)": [f"{frame['started'].min()} to {frame['started'].max()}"]}


def _interruptions(made_by: pd.Series) -> str:
    """How a trial came to its end, in words."""
    if made_by["starts"] == 1:
        return "none"
    resumed = f"{made_by['resumed']} from a snapshot"
    anew = made_by["starts"] - 1 - made_by["resumed"]
    reason = f" ({made_by['unsaved']})" if made_by["unsaved"] else ""
    return f"started {made_by['starts']} times, {resumed}" + (f", {anew} anew{reason}" if anew else "")
