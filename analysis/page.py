"""The report as one self-contained web page of figures, tables, failed trials and provenance, without scripts."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from analysis.formats import WORDS
from analysis.load import MODES, Results
from analysis.series import Series
from analysis.tables import PIPELINE_CHECK, Table
from analysis.views import Centre, Kind

READING: dict[Kind, str] = {
    "success": "single seeds, and over them {centre}",
    "seconds": "single seeds' medians, and median and quartiles of all successful roll-outs together",
    "interactions": "medians and quartiles over seeds at the median of the episodes used; lines connect variants",
    "curves": "{centre} over seeds; dashed levels are methods that use none of this cost",
    "seeds": "every seed's learning curve; the thick one is the seed that ended best, chosen afterwards",
    "profile": "the share of trials, over all numbers of demonstrations, above each success",
}
"""How each kind of figure is read."""
CENTRES: dict[Centre, str] = {"median": "medians and quartiles", "mean": "means and 95 % intervals"}


def render(results: Results, tables: list[Table], images: list[tuple[Series, bytes]]) -> bytes:
    """The page, with everything it shows inside it.

    Args:
        results: the records' content.
        tables: in the order of the page; "trials" is left out, since the page shows only those that failed.
        images: each figure's series and its PNG.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    figures = [{"image": b64encode(png).decode(), "caption": _caption(series)} for series, png in images]
    trials = results.scores[results.scores["mode"] == MODES[0]]
    failed = trials[trials["status"] != "ok"]
    counts = [
        (len(trials), "trials with a record"),
        (len(failed), "did not end well"),
        (len(results.missing), "missing"),
    ]
    return (
        environment.get_template("report.html")
        .render(
            title=f"Imitation learning on insertion tasks: results of the profile {results.profile}",
            summary=", ".join(f"{count} {what}" for count, what in counts) + ".",
            pipeline_check=PIPELINE_CHECK if results.profile == "smoke" else "",
            notices=results.notices,
            figures=figures,
            tables=[table for table in tables if table.name != "trials"],
            words=WORDS,
            failed=failed.to_dict(orient="records"),
            provenance=_provenance(results),
        )
        .encode()
    )


def _caption(series: Series) -> str:
    view = series.view
    return f"{series.experiment}, {view.title}: {READING[view.kind].format(centre=CENTRES[view.centre])}."


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
