"""The paper's claims against our records: one row per claim, with what was measured, its intervals and a verdict.

A claim (see `benchmarks.paper`) says in which region a number lies. It *holds* if the whole 95 % interval lies there,
*does not hold* if none of the interval does, and is *undecided* otherwise: if the interval includes both outcomes, if a
variant has fewer than `SEEDS` seeds, if planned trials have no record yet, or if the baseline succeeds in less than
`MARGIN` of its rollouts, so that it has nothing to lose. Sampled and deterministic actions must agree on the verdict;
otherwise the claim is undecided and the row says what each of them gives.

`measures` computes the numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isnan
from typing import Any, Literal

import pandas as pd

from analysis.formatting import NOTHING, percent, with_bounds, written
from analysis.load import Results, version_note
from analysis.measures import MEASURES, Measured
from analysis.names import MODE_NAMES
from analysis.statistics import CONFIDENCE, SEEDS, UNKNOWN, Estimate
from analysis.tables.build import PIPELINE_CHECK, Table
from benchmarks.paper import FIGURES, Claim, Experiment, Measure, Region
from benchmarks.records.schema import MODES
from envs.commands import plural

Verdict = Literal["holds", "does not hold", "undecided", "no records yet"]

MARGIN = 0.1
"""Loss of success up to which a claim speaks of little loss or of no change."""
GAIL_STEPS = 10_000 * 16 * 256
"""Environment steps of the paper's GAIL, if appendix B counts iterations of TRPO (of so many steps in 16 processes)."""

REGIONS: Mapping[Region, tuple[float, float]] = {
    "more": (0.0, inf),
    "no less": (-MARGIN, inf),
    "little loss": (-MARGIN, inf),
    "drop": (-inf, -MARGIN),
    "unchanged": (-MARGIN, MARGIN),
    "less": (-inf, 0.0),
    "orders of magnitude": (100.0, inf),
    "most": (0.5, inf),
}
"""Between which bounds a number lies if the claim holds: success is in [0, 1]."""
LOSS_REGIONS = ("little loss", "drop", "unchanged")

UNITS: Mapping[Measure, tuple[str, float, str]] = {
    "difference": ("points", 100.0, "+.0f"),
    "gap": ("points", 100.0, "+.0f"),
    "spread": ("points", 100.0, "+.0f"),
    "growth": ("points", 100.0, "+.0f"),
    "seconds": ("s", 1.0, "+.1f"),
    "interactions": ("times", 1.0, ",.3g"),
    "learned": ("%", 100.0, ".0f"),
    "retries": ("points", 100.0, "+.0f"),
}
"""Measure -> its unit for people, the factor from the number to this unit, and its format."""

PAPER = tuple((experiment, claim) for experiment in FIGURES for claim in experiment.claims)
"""The paper's claims, each with the experiment that it is about."""


def claims_table(results: Results, judged: Sequence[tuple[Experiment, Claim]] = PAPER) -> Table | None:
    """Every claim with its verdict; None where the plan holds no experiment of theirs.

    Data: claim, figure, unit, for each mode the `value` with bounds `low` and `high` (a fraction, seconds, or times),
    what it was `measured` from and its value in each of the `cells`; the verdict, the verdict `corrected` for the
    number of claims, `remarks`, the `version` of the suite that made the records, and how many `trials` of those
    `planned` there are.
    """
    found = [measure(experiment, claim, results) for experiment, claim in judged]
    asked = sum(any(measured.values()) for measured in found)
    data, shown = [], []
    for (experiment, claim), measured in zip(judged, found, strict=True):
        about = trials_of(experiment, claim, results.scores)
        trials = about["trial"].nunique()
        planned = trials + len(trials_of(experiment, claim, results.missing))
        decided, remarks = judge(claim, measured, trials, planned)
        corrected = decided
        if decided in ("holds", "does not hold"):
            widened = measure(experiment, claim, results, 1 - (1 - CONFIDENCE) / max(asked, 1))
            corrected, _ = judge(claim, widened, trials, planned)
            if corrected != decided:
                remarks = f"undecided after correction for {plural(asked, 'claim')}"
        figure, first = experiment.name.removeprefix("fig"), measured[MODES[0]]
        row: dict[str, Any] = {"claim": claim.text, "figure": figure, "unit": UNITS[claim.measure][0]}
        for mode, one in measured.items():
            numbers = one.estimate if one else UNKNOWN
            row |= {f"{mode}_{name}": number for name, number in zip(Estimate._fields, numbers, strict=True)}
            row[f"{mode}_measured"] = one.words if one else ""
            row[f"{mode}_cells"] = _cells_in_words(claim, one)
        version = " and ".join(sorted(about["version"].unique()))
        row |= {"verdict": decided, "corrected": corrected, "remarks": remarks, "version": version}
        data.append({**row, "trials": trials, "planned": planned})
        shown.append(
            {
                "The paper says": f"{claim.text} ({figure})",
                "Verdict": decided,
                **{MODE_NAMES[mode]: _written(claim, one) for mode, one in measured.items()},
                "Compared": first.words if first else NOTHING,
                "In each cell": _cells_in_words(claim, *filter(None, measured.values())) or NOTHING,
                "Remarks": remarks,
                "Version": version or NOTHING,
                "Trials": str(trials) if trials == planned else f"{trials} of {planned}",
            }
        )
    frame = pd.DataFrame(data)
    if not frame["planned"].any():
        return None
    title = "The paper's claims" + (f" ({PIPELINE_CHECK})" if results.profile == "smoke" else "")
    return Table("claims", title, _note(results.scores, asked), frame, pd.DataFrame(shown))


def trials_of(experiment: Experiment, claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scores`, or of `missing`, that a claim is about."""
    rows = frame[(frame["experiment"] == experiment.name) & (frame["task"] == claim.task if claim.task else True)]
    keys: set[str] = set(claim.variants)
    if claim.measure == "interactions":  # which compares methods over all their budgets
        methods = {variant.method for variant in experiment.variants if variant.key in keys}
        keys = {variant.key for variant in experiment.variants if variant.method in methods}
    return rows[rows["variant"].isin(keys)]


def measure(
    experiment: Experiment, claim: Claim, results: Results, confidence: float = CONFIDENCE
) -> dict[str, Measured | None]:
    """The number that decides a claim, in each mode; None in a mode that a variant does not have."""
    scores = trials_of(experiment, claim, results.scores)
    compare = MEASURES[claim.measure]
    return {mode: compare(claim.variants, scores[scores["mode"] == mode], results, confidence) for mode in MODES}


def judge(claim: Claim, measured: Mapping[str, Measured | None], trials: int, planned: int) -> tuple[Verdict, str]:
    """The verdict on a claim, and in words why it is undecided."""
    if not trials:
        return "no records yet", ""
    if trials < planned:
        return "undecided", f"no record yet of {plural(planned - trials, 'trial')}"
    there = {mode: one for mode, one in measured.items() if one}
    if not there:
        return "undecided", "not recorded" if claim.measure == "retries" else "not all variants have records"
    verdicts = {mode: verdict(claim.region, one) for mode, one in there.items()}
    if len({found for found, _ in verdicts.values()}) > 1:
        return "undecided", "; ".join(
            f"{MODE_NAMES[mode].lower()}: {found}{', ' * bool(why)}{why} ({there[mode].words})"
            for mode, (found, why) in verdicts.items()
        )
    found, _ = next(iter(verdicts.values()))
    return found, "; ".join(dict.fromkeys(why for _, why in verdicts.values() if why))


def verdict(region: Region, measured: Measured) -> tuple[Verdict, str]:
    """Whether the interval lies within a region, outside of it, or neither, and why neither."""
    _, low, high = measured.estimate
    least, most = REGIONS[region]
    if measured.seeds < SEEDS:
        return "undecided", f"{plural(measured.seeds, 'seed')}, but at least {SEEDS} are needed"
    if region in LOSS_REGIONS and measured.baseline < MARGIN:
        return "undecided", f"nothing to lose: the baseline succeeds in only {percent(measured.baseline)} %"
    if isnan(low):
        return "undecided", "no interval"
    if least <= low and high <= most:
        return "holds", ""
    if high < least or most < low:
        return "does not hold", ""
    return "undecided", "the interval includes both outcomes"


def _cells_in_words(claim: Claim, *measured: Measured | None) -> str:
    """`5: +43, 10: +52`, or `5: +43 / +40, 10: +52 / +31` of several modes."""
    _, scale, form = UNITS[claim.measure]
    numbers: dict[str, list[str]] = {}
    for one in filter(None, measured):
        for cell, number in one.cells:
            numbers.setdefault(cell, []).append(written(scale * number, form))
    return ", ".join(f"{cell}: {' / '.join(found)}" for cell, found in numbers.items())


def _written(claim: Claim, measured: Measured | None) -> str:
    """`+43 points [+34, +53]`."""
    if not measured or isnan(measured.estimate.value):
        return NOTHING
    unit, scale, form = UNITS[claim.measure]
    return with_bounds(measured.estimate, form, scale, f" {unit}")


def _note(scores: pd.DataFrame, asked: int) -> str:
    little, most = 100 * MARGIN, 100 * REGIONS["most"][0]
    widened = 100 - 100 * (1 - CONFIDENCE) / max(asked, 1)
    return (
        "A claim holds if the whole 95 % interval supports it, both for sampled and for deterministic actions. It does "
        "not hold if the whole interval contradicts it, again for both. Otherwise, and with fewer than "
        f"{SEEDS} seeds, it is undecided. Points: difference in the success rate of the final rollouts. Each number of "
        "demonstrations (and, for growth on the peg, each kind of demonstrations) has the same weight and is shown for "
        f"sampled / deterministic actions. A change of up to {little:.0f} points counts as little or nothing, a larger "
        "loss as a drop; if the baseline's own success is lower than that, the claim is undecided. Matches or "
        "outperforms: loses at most little. Spread: mean distance of a seed's success from the median over seeds, "
        "times sqrt(n / (n - 1)) for n seeds. Times: GPRIL's fewest episodes, compared with the largest budget of "
        "episodes up to which GAIL succeeds less often than that; GPRIL's larger budgets exceed GAIL as well. The "
        "ratio has no upper bound unless GAIL exceeds "
        f"GPRIL with some budget. Orders of magnitude: at least {REGIONS['orders of magnitude'][0]:.0f} times. Learns: "
        f"succeeds in more than {most:.0f} % of rollouts, mean over seeds. Retries: difference in the percentage of "
        "rollouts that came back to the socket's mouth, among those that had reached it and moved away, over all "
        "numbers of demonstrations together, mean over seeds. Compared: the values behind the number for sampled "
        "actions. Tuned: not a claim of the paper, but a comparison of methods that have the best of equally many "
        "choices of settings, found on other demonstrations. Each verdict is at the 95 % level on its own, so one "
        "interval in twenty misses. The remarks "
        f"name the verdicts that become undecided if every interval is widened to {widened:.1f} % (Bonferroni "
        f"correction for the {asked} claims for which there are numbers)."
        + "".join(f" {more}" for more in (_short_of_steps(scores), version_note(scores)) if more)
    )


def _short_of_steps(scores: pd.DataFrame) -> str:
    """What to remember of GAIL's rows where it had fewer steps than the paper's."""
    figures = {experiment.name for experiment in FIGURES}
    steps = scores.loc[scores["experiment"].isin(figures) & (scores["method"] == "gail"), "environment_steps"].max()
    if isnan(steps) or steps >= GAIL_STEPS:
        return ""
    return (
        f"GAIL had at most {steps:,.0f} environment steps in any of these trials. The paper's GAIL had "
        f"{GAIL_STEPS:,}, as we read it, so comparisons with GAIL hold for this budget only."
    )
