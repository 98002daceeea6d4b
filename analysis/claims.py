"""The paper's claims against our records: a row a claim, with what was measured, its intervals and a verdict.

A claim says where a number lies (see `analysis.measures`) after training. It *holds* where the whole 95 % bootstrap
interval lies there, *does not hold* where none of it does, and is *undecided* where the interval is on both sides or
unknown, as with a single seed, where planned trials have no record yet, and where what is compared with hardly
succeeds itself (in less than `LITTLE` of its roll-outs): it has nothing to lose. The verdict is that of sampled and of
mean actions alike; where these disagree, the claim is undecided. For differences of the success, "more" is above 0,
"at least" is 0 or above, "little" is a loss of at most `LITTLE`, a "drop" is a larger one, and "nothing" is a change
of at most `LITTLE` either way. "Faster" is below 0 seconds, "orders of magnitude" are at least `ORDERS` times, and to
"learn" is to succeed in more than `HALF` of the roll-outs.
"""

from __future__ import annotations

from math import inf, isnan, nan, nextafter
from typing import Any, Literal

import pandas as pd

from analysis.load import MODES, OTHER_CODE, Results
from analysis.measures import Measure, Measured, difference, gap, growth, interactions, reached, seconds, spread
from analysis.statistics import Estimate
from analysis.tables.build import MODE_NAMES, NOTHING, PIPELINE_CHECK, Table
from benchmarks.paper import FIGURES, Claim

Verdict = Literal["holds", "does not hold", "undecided", "no records yet"]
Region = tuple[float, float]
"""Both bounds belong to it."""

LITTLE = 0.1
HALF = 0.5
ORDERS = 100.0
GAIL_STEPS = 10_000 * 16 * 256
"""Environment steps of the paper's GAIL (appendix B: TRPO's iterations, each of so many steps in so many processes)."""

MORE: Region = (nextafter(0.0, 1.0), inf)
AT_LEAST: Region = (0.0, inf)
LITTLE_LOSS: Region = (-LITTLE, inf)
DROP: Region = (-inf, nextafter(-LITTLE, -inf))
NOTHING_CHANGED: Region = (-LITTLE, LITTLE)
FASTER: Region = (-inf, nextafter(0.0, -1.0))
MANY_TIMES: Region = (ORDERS, inf)
LEARNT: Region = (nextafter(HALF, 1.0), inf)

MEASURES: dict[str, tuple[Measure, str, float, str]] = {
    "difference": (difference, "points", 100.0, "{:+.0f}"),
    "gap": (gap, "points", 100.0, "{:+.0f}"),
    "spread": (spread, "points", 100.0, "{:+.0f}"),
    "growth": (growth, "points", 100.0, "{:+.0f}"),
    "seconds": (seconds, "s", 1.0, "{:+.1f}"),
    "interactions": (interactions, "times", 1.0, "{:,.3g}"),
    "learned": (reached, "%", 100.0, "{:.0f}"),
}
"""Measure -> its function, its unit for people, how many of it one is, and how it is written."""
REGIONS: dict[str, Region] = {
    "more": MORE,
    "at least": AT_LEAST,
    "little loss": LITTLE_LOSS,
    "drop": DROP,
    "unchanged": NOTHING_CHANGED,
    "less": FASTER,
    "orders of magnitude": MANY_TIMES,
    "most": LEARNT,
}


def trials_of(experiment: str, claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scores`, or of `missing`, that a claim is about; those of other code are not."""
    same_code = ~frame["label"].astype(str).str.endswith(OTHER_CODE)
    rows = frame[(frame["experiment"] == experiment) & same_code]
    if claim.measure != "interactions":  # which compares methods by all their budgets
        rows = rows[rows["variant"].isin(claim.variants)]
    return rows[rows["task"] == claim.task] if claim.task else rows


def claims_table(results: Results) -> Table | None:
    """Every claim with its verdict; None where the plan holds no experiment of the paper.

    Data: claim, figure, unit, for each mode the `value` with bounds `low` and `high` (a share, seconds, or times) and
    what it was `measured` from, verdict, and how many `trials` of those `planned` there are.
    """
    data, shown = [], []
    for experiment, claim in ((one, claim) for one in FIGURES for claim in one.claims):
        name, figure = experiment.name, experiment.name.removeprefix("fig")
        measure, unit, *_ = MEASURES[claim.measure]
        scores = trials_of(name, claim, results.scores)
        measured = {mode: measure(claim.variants, scores[scores["mode"] == mode], results) for mode in MODES}
        trials = scores["trial"].nunique()
        planned = trials + len(trials_of(name, claim, results.missing))
        verdicts = {verdict(REGIONS[claim.region], one) for one in measured.values() if one}
        decided: Verdict = verdicts.pop() if len(verdicts) == 1 and trials == planned else "undecided"
        if not trials:
            decided = "no records yet"
        row: dict[str, Any] = {"claim": claim.text, "figure": figure, "unit": unit}
        for mode, one in measured.items():
            row |= {f"{mode}_{name}": number for name, number in zip(Estimate._fields, _numbers(one), strict=True)}
            row[f"{mode}_measured"] = one.words if one else ""
        data.append({**row, "verdict": decided, "trials": trials, "planned": planned})
        first = measured[MODES[0]]
        shown.append(
            {
                "The paper says": f"{claim.text} ({figure})",
                "Verdict": decided,
                **{MODE_NAMES[mode].capitalize(): _written(claim, one) for mode, one in measured.items()},
                "Measured": first.words if first else NOTHING,
                "Records": f"{name}: {trials if trials == planned else f'{trials} of {planned}'} trials",
            }
        )
    frame = pd.DataFrame(data)
    if not frame["planned"].any():
        return None
    title = "The paper's claims" + (f" ({PIPELINE_CHECK})" if results.profile == "smoke" else "")
    note = (
        "A claim holds where the whole 95 % bootstrap interval agrees, does not hold where none of it does, both for "
        "sampled and for mean actions, and is undecided otherwise. Points: difference of the inter-quartile means of "
        "the success in % of roll-outs after training, over all seeds, numbers of demonstrations and (growth on the "
        f"peg) kinds of demonstrations of the figure; little and nothing are up to {100 * LITTLE:.0f} of them, a drop "
        "is more, and neither is decided where what is compared with succeeds in fewer. Times: GAIL's episodes over "
        "GPRIL's at the highest success that both reach. Fewer than the fewest tried might do as well: of GPRIL, so "
        "there may be no upper end; of GAIL, so the lower one may be 0. Orders of magnitude are at least "
        f"{ORDERS:.0f}. To learn is to succeed in more than {100 * HALF:.0f} % of roll-outs, "
        "inter-quartile mean over seeds. Measured: what the number of sampled actions is made of. "
        "Tuned: not the paper's claim, but the same asked of a baseline with the best settings found on other "
        "demonstrations." + _short_of_steps(results.scores)
    )
    return Table("claims", title, note, frame, pd.DataFrame(shown))


def _short_of_steps(scores: pd.DataFrame) -> str:
    """What to remember of GAIL's rows where it had fewer steps than the paper's."""
    figures = {experiment.name for experiment in FIGURES}
    steps = scores.loc[scores["experiment"].isin(figures) & (scores["method"] == "gail"), "environment_steps"].max()
    if isnan(steps) or steps >= GAIL_STEPS:
        return ""
    return (
        f" GAIL had at most {steps:,.0f} environment steps in any of these trials, the paper's {GAIL_STEPS:,}: what is "
        "said of it, and of others beside it, is said of these."
    )


def verdict(region: Region, measured: Measured) -> Verdict:
    """Whether the interval lies within a region, outside of it, or neither."""
    _, low, high = measured.estimate
    nothing_to_lose = region in (LITTLE_LOSS, DROP, NOTHING_CHANGED) and measured.baseline < LITTLE
    if isnan(low) or nothing_to_lose:
        return "undecided"
    if region[0] <= low and high <= region[1]:
        return "holds"
    return "does not hold" if high < region[0] or region[1] < low else "undecided"


def _numbers(measured: Measured | None) -> Estimate:
    return measured.estimate if measured else Estimate(nan, nan, nan)


def _written(claim: Claim, measured: Measured | None) -> str:
    """`+43 points [+34, +53]`."""
    _, unit, worth, form = MEASURES[claim.measure]
    numbers = _numbers(measured)
    if isnan(numbers.value):
        return NOTHING
    texts = [form.format(worth * number) for number in numbers]
    value, low, high = (text.replace("-", "+") if float(text) == 0 else text for text in texts)  # no "-0"
    return f"{value} {unit}" + ("" if isnan(numbers.low) else f" [{low}, {high}]")
