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

from dataclasses import dataclass
from math import inf, isnan, nan, nextafter
from typing import Any, Literal

import pandas as pd

from analysis.load import MODES, OTHER_CODE, Results
from analysis.measures import Measure, Measured, difference, growth, interactions, reached, seconds
from analysis.statistics import Estimate
from analysis.tables.build import MODE_NAMES, NOTHING, PIPELINE_CHECK, Table

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

UNITS: dict[Measure, tuple[str, float, str]] = {
    difference: ("points", 100.0, "{:+.0f}"),
    growth: ("points", 100.0, "{:+.0f}"),
    seconds: ("s", 1.0, "{:+.1f}"),
    interactions: ("times", 1.0, "{:,.3g}"),
    reached: ("%", 100.0, "{:.0f}"),
}
"""Measure -> its unit for people, how many of it one is, and how it is written."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        text: in words.
        figure: of the paper.
        measure: the number it is about.
        region: where it lies if the claim holds.
        compared: the labels, or methods, that the measure compares; empty where it takes all.
        task: the only one whose trials are asked; empty means all.
    """

    text: str
    figure: str
    measure: Measure
    region: Region
    compared: tuple[str, ...] = ()
    task: str = ""

    def trials(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of `scores`, or of `missing`, that the claim is about; those of other code are not."""
        same_code = ~frame["label"].astype(str).str.endswith(OTHER_CODE)
        rows = frame[(frame["experiment"] == f"fig{self.figure}") & same_code]
        if self.compared and self.measure is not interactions:
            rows = rows[rows["label"].isin(self.compared)]
        return rows[rows["task"] == self.task] if self.task else rows


ALL, TENTH, FINAL = "states alone", "every tenth state", "final states"
BEST = "best of its leads"
CLAIMS = (
    Claim("GPRIL succeeds at least as often as GAIL on the clip", "1b", difference, AT_LEAST, ("gpril", "gail")),
    Claim(f"The same, GAIL with the {BEST}", "1b", difference, AT_LEAST, ("gpril", f"gail, {BEST}")),
    Claim("GPRIL succeeds more often than BC on the clip", "1b", difference, MORE, ("gpril", "bc")),
    Claim(f"The same, BC with the {BEST}", "1b", difference, MORE, ("gpril", f"bc, {BEST}")),
    Claim("GAIL succeeds more often than BC on the clip", "1b", difference, MORE, ("gail", "bc")),
    Claim(f"The same, both with the {BEST}", "1b", difference, MORE, (f"gail, {BEST}", f"bc, {BEST}")),
    Claim("GPRIL's success on the clip grows with demonstrations", "1b", growth, MORE, ("gpril",)),
    Claim(
        "GPRIL needs orders of magnitude fewer interactions than GAIL",
        "1c",
        interactions,
        MANY_TIMES,
        ("gpril", "gail"),
    ),
    *(
        Claim(f"States alone cost {name} little", "1d", difference, LITTLE_LOSS, (f"{method}, {ALL}", method))
        for method, name in (("gpril", "GPRIL"), ("gail", "GAIL"))
    ),
    Claim("Final states only: GPRIL loses little", "2c", difference, LITTLE_LOSS, (f"gpril, {FINAL}", f"gpril, {ALL}")),
    Claim("Final states only: GAIL drops", "2b", difference, DROP, (f"gail, {FINAL}", f"gail, {ALL}")),
    *(
        Claim(
            f"Every tenth state changes nothing for {name}",
            figure,
            difference,
            NOTHING_CHANGED,
            (f"{method}, {TENTH}", f"{method}, {ALL}"),
        )
        for method, name, figure in (("gpril", "GPRIL", "2d"), ("gail", "GAIL", "2b"))
    ),
    Claim("GPRIL's success on the peg grows with demonstrations", "2d", growth, MORE),
    Claim("Final states only: GPRIL inserts faster", "2e", seconds, FASTER, (f"gpril, {FINAL}", f"gpril, {ALL}")),
    *(
        Claim(
            f"GPRIL learns on the physical peg within 2000 episodes, socket {variant.lower()}",
            "2f",
            reached,
            LEARNT,
            task=f"PhysicalPegInsertion{variant}-v0",
        )
        for variant in ("Fixed", "Varying")
    ),
)


def claims_table(results: Results) -> Table | None:
    """Every claim with its verdict; None where the plan holds no experiment of the paper.

    Data: claim, figure, unit, for each mode the `value` with bounds `low` and `high` (a share, seconds, or times) and
    what it was `measured` from, verdict, and how many `trials` of those `planned` there are.
    """
    data, shown = [], []
    for claim in CLAIMS:
        scores = claim.trials(results.scores)
        measured = {mode: claim.measure(claim.compared, scores[scores["mode"] == mode], results) for mode in MODES}
        trials = scores["trial"].nunique()
        planned = trials + len(claim.trials(results.missing))
        verdicts = {verdict(claim.region, one) for one in measured.values() if one}
        decided: Verdict = verdicts.pop() if len(verdicts) == 1 and trials == planned else "undecided"
        if not trials:
            decided = "no records yet"
        row: dict[str, Any] = {"claim": claim.text, "figure": claim.figure, "unit": UNITS[claim.measure][0]}
        for mode, one in measured.items():
            row |= {f"{mode}_{name}": number for name, number in zip(Estimate._fields, _numbers(one), strict=True)}
            row[f"{mode}_measured"] = one.words if one else ""
        data.append({**row, "verdict": decided, "trials": trials, "planned": planned})
        first = measured[MODES[0]]
        shown.append(
            {
                "The paper says": f"{claim.text} ({claim.figure})",
                "Verdict": decided,
                **{MODE_NAMES[mode].capitalize(): _written(claim, one) for mode, one in measured.items()},
                "Measured": first.words if first else NOTHING,
                "Records": f"fig{claim.figure}: {trials if trials == planned else f'{trials} of {planned}'} trials",
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
        f"{BEST.capitalize()}: not the paper's, but the same asked of a baseline with the best settings found "
        "on other demonstrations." + _short_of_steps(results.scores)
    )
    return Table("claims", title, note, frame, pd.DataFrame(shown))


def _short_of_steps(scores: pd.DataFrame) -> str:
    """What to remember of GAIL's rows where it had fewer steps than the paper's."""
    figures = {f"fig{claim.figure}" for claim in CLAIMS}
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
    unit, worth, form = UNITS[claim.measure]
    numbers = _numbers(measured)
    if isnan(numbers.value):
        return NOTHING
    texts = [form.format(worth * number) for number in numbers]
    value, low, high = (text.replace("-", "+") if float(text) == 0 else text for text in texts)  # no "-0"
    return f"{value} {unit}" + ("" if isnan(numbers.low) else f" [{low}, {high}]")
