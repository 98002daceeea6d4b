"""Compares a run with the reference results in the repository: do they agree within their intervals?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.formatting import with_bounds
from analysis.load import Results, ResultsError, load
from analysis.names import short_mode, task_name
from analysis.pooling import Pooled
from analysis.statistics import Estimate
from analysis.tables.data import named
from analysis.tables.render import text
from envs.commands import plural

FOLDER = Path(__file__).parents[1] / "results"
"""The committed results: one folder per profile. An installed package has none."""
KEY = ["variant", "task", "demonstrations", "mode", "conditions"]
"""What two results share that can be compared: the last holds the demonstrations and the evaluation."""


def reference_of(directory: Path, profile: str, folder: Path = FOLDER) -> Path | None:
    """The reference results of a profile; None where there are none, or where the run is these itself."""
    reference = folder / profile
    if not (reference / "plan.json").is_file() or reference.resolve() == directory.resolve():
        return None
    return reference


def compare(ours: Results, theirs: Results) -> pd.DataFrame:
    """Every cell that both results have: one row per (variant, task, demonstrations, mode).

    Columns: label, the mean success `here` and of the `reference` with their intervals, the `difference` with its
    interval, and whether they `agree`: whether the interval includes 0; None if either side has a single seed.
    """
    parts = [dict(iter(scores.groupby(KEY, observed=True))) for scores in (_unique(ours), _unique(theirs))]
    rows = []
    for key in (key for key in parts[0] if key in parts[1]):
        here, reference = (Pooled.of(part[key]) for part in parts)
        difference = here.minus(reference)
        row = {**dict(zip(KEY, key, strict=True)), "label": here.label}
        for name, estimate in (("here", here.estimate), ("reference", reference.estimate), ("difference", difference)):
            row |= named(name, estimate)
        row["agree"] = None if pd.isna(difference.low) else difference.low <= 0.0 <= difference.high
        rows.append(row)
    return pd.DataFrame(rows)


def against_reference(directory: Path, folder: Path = FOLDER) -> str:
    """A run beside the reference results of its profile, as text for a terminal of 80 columns.

    Empty where there are no such results, or none of the same variants, demonstrations and evaluation.

    Raises:
        ResultsError: the run's folder holds nothing to report; see `load`.
    """
    ours = load(directory)
    reference = reference_of(directory, ours.profile, folder)
    if reference is None:
        return ""
    try:
        compared = compare(ours, load(reference))
    except ResultsError:
        return ""  # damaged reference results are no reason to fail a run
    if compared.empty:
        return ""
    shown = pd.DataFrame(
        {
            "Task": compared["task"]
            .astype(str)
            .map(task_name)
            .str.removesuffix(" insertion"),  # so that no word is cut
            "Demos": compared["demonstrations"].astype(str),
            "Method": compared["label"].astype(str),
            "Actions": [short_mode(mode) for mode in compared["mode"]],
            "Here": _percent(compared, "here"),
            "Reference": _percent(compared, "reference"),
            "Agree": compared["agree"].map({True: "yes", False: "no"}).fillna("?"),
        }
    )
    known = compared["agree"].dropna()
    lines = [f"Compared with the reference results of profile {ours.profile}", text(shown)]
    if len(known):
        agree = f"{int(known.sum())} of {plural(len(known), 'comparison')} agree"
        lines.append(f"{agree}: the 95 % interval of the difference includes 0.\nBy chance, one in twenty does not.")
    if len(known) < len(compared):
        lines.append("A question mark means a single seed, which has no interval.")
    return "\n\n".join(lines)


def _unique(results: Results) -> pd.DataFrame:
    """The scores with each trial once, whatever number of experiments it belongs to."""
    return results.scores.drop_duplicates(["trial", "variant", "mode"])


def _percent(compared: pd.DataFrame, name: str) -> list[str]:
    estimates = compared[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False, name=None)
    return [with_bounds(Estimate(*estimate), ".0f", 100) for estimate in estimates]
