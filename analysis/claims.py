"""The paper's claims against our records: one row per claim, with what was measured, its intervals and a verdict.

A claim (see `benchmarks.paper`) says where a number lies after training. It *holds* where the whole 95 % interval lies
there, *does not hold* where none of it does, and is *undecided* otherwise: where the interval includes both outcomes,
where a variant has fewer than `SEEDS` seeds, where planned trials have no record yet, and where what is compared
with succeeds in less than `LITTLE` of its rollouts, so that it has nothing to lose. The verdict is that of sampled and
of deterministic actions alike; where these disagree, the claim is undecided and the row says what each of them gives.

All numbers of a claim weigh each cell (a task with a number of demonstrations) equally: a seed's score is the mean of
its success over the cells, and the spread of these scores over seeds gives the interval. Where each seed draws its own
demonstrations, seeds of different variants are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Any, Literal, TypeAlias

import pandas as pd

from analysis.load import MODES, Results
from analysis.names import MODE_NAMES, plural
from analysis.pooling import Pooled, cells_of, in_cells
from analysis.statistics import (
    CONFIDENCE,
    Estimate,
    correlation,
    deviations,
    difference,
    mean_interval,
    rate_interval,
    times_fewer,
)
from analysis.tables.build import NOTHING, PIPELINE_CHECK, Table, written
from benchmarks.paper import FIGURES, Claim, Experiment, Measure, Region

Verdict = Literal["holds", "does not hold", "undecided", "no records yet"]

SEEDS = 5
"""Fewest seeds of each variant in each cell that decide a claim; with fewer, intervals cover too little."""
LITTLE = 0.1
EPISODES = 2000
"""Within which the paper's arm learns (section 4.3)."""
GAIL_STEPS = 10_000 * 16 * 256
"""Environment steps of the paper's GAIL, if appendix B counts iterations of TRPO (of so many steps in 16 processes)."""

REGIONS: Mapping[Region, tuple[float, float]] = {
    "more": (0.0, inf),
    "little loss": (-LITTLE, inf),
    "drop": (-inf, -LITTLE),
    "unchanged": (-LITTLE, LITTLE),
    "less": (-inf, 0.0),
    "orders of magnitude": (100.0, inf),
    "most": (0.5, inf),
}
"""Between which bounds a number lies if the claim holds: success is in [0, 1]."""
ABOUT_A_LOSS = ("little loss", "drop", "unchanged")

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
"""Measure -> its unit for people, how many of it one is, and how it is written."""


@dataclass(frozen=True)
class Measured:
    """What the records say.

    Attributes:
        estimate: the number and its interval.
        words: what it is made of.
        seeds: fewest in any cell of any variant that it is made of.
        cells: the number in each cell, where there are several: the cell in words, and the number.
        baseline: the success, in [0, 1], of what is compared with.
    """

    estimate: Estimate
    words: str
    seeds: int
    cells: tuple[tuple[str, float], ...] = ()
    baseline: float = 1.0


Compare: TypeAlias = Callable[[Sequence[str], pd.DataFrame, Results, float], Measured | None]
"""Of the keys of the compared variants, their scores in one mode, the results, and the confidence of the interval; None
without records of all of them."""


def claims_table(results: Results) -> Table | None:
    """Every claim with its verdict; None where the plan holds no experiment of the paper.

    Data: claim, figure, unit, for each mode the `value` with bounds `low` and `high` (a fraction, seconds, or times),
    what it was `measured` from and its value in each of the `cells`; the verdict, the verdict `corrected` for the
    number of claims, `remarks`, and how many `trials` of those `planned` there are.
    """
    judged = [(experiment, claim) for experiment in FIGURES for claim in experiment.claims]
    found = [measure(experiment, claim, results) for experiment, claim in judged]
    asked = sum(any(measured.values()) for measured in found)
    data, shown = [], []
    for (experiment, claim), measured in zip(judged, found, strict=True):
        trials = trials_of(experiment, claim, results.scores)["trial"].nunique()
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
            numbers = one.estimate if one else Estimate(nan, nan, nan)
            row |= {f"{mode}_{name}": number for name, number in zip(Estimate._fields, numbers, strict=True)}
            row[f"{mode}_measured"] = one.words if one else ""
            row[f"{mode}_cells"] = _cells_in_words(claim, one)
        said = {"verdict": decided, "corrected": corrected, "remarks": remarks}
        data.append({**row, **said, "trials": trials, "planned": planned})
        shown.append(
            {
                "The paper says": f"{claim.text} ({figure})",
                "Verdict": decided,
                **{MODE_NAMES[mode]: _written(claim, one) for mode, one in measured.items()},
                "Compared": first.words if first else NOTHING,
                "In each cell": _cells_in_words(claim, *filter(None, measured.values())) or NOTHING,
                "Remarks": remarks,
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
    if region in ABOUT_A_LOSS and measured.baseline < LITTLE:
        return "undecided", f"nothing to lose: the baseline succeeds in only {100 * measured.baseline:.0f} %"
    if isnan(low):
        return "undecided", "no interval"
    if least <= low and high <= most:
        return "holds", ""
    if high < least or most < low:
        return "does not hold", ""
    return "undecided", "the interval includes both outcomes"


def _difference(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides:
        return None
    ours, theirs = sides
    cells = {cell: ours.cells[cell] - theirs.cells[cell] for cell in ours.cells}
    return Measured(ours.minus(theirs), _words(sides), _seeds(sides), _named(cells), theirs.estimate.value)


def _gap(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides:
        return None
    a, b, c, d = sides
    first, second = a.minus(b), c.minus(d)
    cells = {cell: a.cells[cell] - b.cells[cell] - c.cells[cell] + d.cells[cell] for cell in a.cells}
    words = f"{a.label} minus {b.label} {100 * first.value:+.0f}, {c.label} minus {d.label} {100 * second.value:+.0f}"
    return Measured(difference(first, second), words, _seeds(sides), _named(cells), c.estimate.value)


def _growth(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    numbers = scores["demonstrations"].min(), scores["demonstrations"].max()
    if not numbers[0] < numbers[1]:
        return None
    by_number = [scores[scores["demonstrations"] == number] for number in reversed(numbers)]
    shared = [key for key in keys if all((rows["variant"] == key).any() for rows in by_number)]
    if not shared:
        return None
    sides = [
        Pooled.of(rows[rows["variant"].isin(shared)], plural(number, "demonstration"), ["variant"], confidence)
        for number, rows in zip(reversed(numbers), by_number, strict=True)
    ]
    most, fewest = sides
    labels = _labels(scores)
    cells = {(labels[key[0]],): most.cells[key] - fewest.cells[key] for key in most.cells}
    return Measured(most.minus(fewest), _words(sides), _seeds(sides), _named(cells))


def _spread(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    sides = _sides(keys, scores, confidence)
    if not sides or min(len(side.scores) for side in sides) < 2:
        return None
    ours, theirs = (mean_interval(deviations(list(side.scores.values())), confidence) for side in sides)
    words = f"{sides[0].label} {100 * ours.value:.0f} points, {sides[1].label} {100 * theirs.value:.0f} points"
    return Measured(difference(ours, theirs), words, _seeds(sides))


def _seconds(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """Mean over seeds of the median seconds of a seed's successful rollouts."""
    successful = results.rollouts[results.rollouts["success"]].groupby(["trial", "mode"], observed=True)["seconds"]
    rows = scores.join(successful.median(), on=["trial", "mode"]).dropna(subset="seconds")
    samples = [rows[rows["variant"] == key].groupby("seed")["seconds"].mean() for key in keys]
    if not all(map(len, samples)):
        return None
    ours, theirs = (mean_interval(sample.to_numpy(), confidence) for sample in samples)
    paired = bool(rows["drawn"].all()) and samples[0].index.equals(samples[1].index)
    related = correlation(*(sample.to_numpy() for sample in samples)) if paired else 0.0
    labels = _labels(scores)
    words = ", ".join(f"{labels[key]} {sample.mean():.1f} s" for key, sample in zip(keys, samples, strict=True))
    return Measured(difference(ours, theirs, related), words, min(map(len, samples)))


def _retries(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """A seed's score is the fraction that came back of its rollouts, in all cells, that missed; None if unrecorded."""
    trials = scores[["trial", "mode", "variant", "label", "seed", "drawn"]]
    rollouts = results.rollouts.drop(columns="seed").merge(trials, on=["trial", "mode"])
    rollouts = rollouts.assign(missed=rollouts["misses"] > 0, back=rollouts["retries"] > 0)
    if set(rollouts["variant"]) != set(keys) or rollouts["misses"].isna().any():
        return None
    sides, words = [], []
    for key in keys:
        own = rollouts[rollouts["variant"] == key]
        missed = own[own["missed"]]
        if missed.empty:
            return Measured(Estimate(nan, nan, nan), f"{own['label'].iloc[0]} never missed", 0)
        seeds = missed.groupby(["variant", "label", "seed"], observed=True)
        scored = seeds.agg(success=("back", "mean"), rollouts=("back", "size"), drawn=("drawn", "all")).reset_index()
        side = Pooled.of(scored, by=["variant"], confidence=confidence)
        share, back, succeeded = own["missed"].mean(), side.estimate.value, missed["success"].mean()
        of_these = f"came back in {100 * back:.0f} % of these, succeeded in {100 * succeeded:.0f} %"
        sides.append(side)
        words.append(f"{side.label} missed in {100 * share:.0f} %, {of_these}")
    return Measured(sides[0].minus(sides[1]), "; ".join(words), _seeds(sides))


def _learned(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """Success after `EPISODES`: the final one, or that of the last evaluation before where training continued."""
    if scores.empty:
        return None
    mode = scores["mode"].iloc[0]
    within = results.curve[results.curve["episodes"] <= EPISODES].groupby("trial")[mode].last()
    before = scores["trial"].map(within).fillna(0.0)
    final = (scores["episodes"] <= EPISODES) | (scores["status"] != "ok")
    success = scores["success"].where(final, before).to_numpy(dtype=float)
    estimate = rate_interval(success, int(scores["rollouts"].sum()), confidence)
    return Measured(estimate, f"best seed {100 * success.max():.0f} %", scores["seed"].nunique())


def _interactions(keys: Sequence[str], scores: pd.DataFrame, results: Results, confidence: float) -> Measured | None:
    """How many times as many episodes the second method needs as the first to succeed as often; see `times_fewer`."""
    first, second = (_budgets(scores, scores.loc[scores["variant"] == key, "method"].max(), confidence) for key in keys)
    if not first or not second:
        return None
    table = [[ours.minus(theirs) for _, theirs in second] for _, ours in first]
    estimate = times_fewer([episodes for episodes, _ in first], [episodes for episodes, _ in second], table)
    words = "; ".join(map(_curve_in_words, (first, second)))
    return Measured(estimate, words, min(side.seeds for _, side in (*first, *second)))


def _budgets(scores: pd.DataFrame, method: str, confidence: float) -> list[tuple[float, Pooled]]:
    """Median episodes and success of each variant of a method, from few to many episodes."""
    variants = scores[scores["method"] == method].groupby("variant", observed=True)
    found = [
        (max(float(rows["episodes"].median()), 1.0), Pooled.of(rows, confidence=confidence)) for _, rows in variants
    ]
    return sorted(found, key=lambda budget: budget[0])


def _curve_in_words(budgets: Sequence[tuple[float, Pooled]]) -> str:
    """`GAIL 28 % (96 episodes), 32 % (436)`, under the shortest of the labels."""
    label = min((side.label for _, side in budgets), key=len)
    (fewest, first), *others = budgets
    more = [f"{100 * side.estimate.value:.0f} % ({episodes:,.0f})" for episodes, side in others]
    return ", ".join([f"{label} {100 * first.estimate.value:.0f} % ({fewest:,.0f} episodes)", *more])


MEASURES: Mapping[Measure, Compare] = {
    "difference": _difference,
    "gap": _gap,
    "growth": _growth,
    "spread": _spread,
    "seconds": _seconds,
    "learned": _learned,
    "interactions": _interactions,
    "retries": _retries,
}


def _sides(keys: Sequence[str], scores: pd.DataFrame, confidence: float) -> list[Pooled]:
    """Each variant's success over the cells that all of them have; nothing where they share none."""
    shared = set.intersection(*(cells_of(scores[scores["variant"] == key]) for key in keys))
    if not shared:
        return []
    rows = in_cells(scores, shared)
    return [Pooled.of(rows[rows["variant"] == key], confidence=confidence) for key in keys]


def _seeds(sides: Sequence[Pooled]) -> int:
    return min(side.seeds for side in sides)


def _labels(scores: pd.DataFrame) -> dict[str, str]:
    return dict(zip(scores["variant"], scores["label"].astype(str), strict=True))


def _words(sides: Sequence[Pooled]) -> str:
    return ", ".join(map(_percent, sides))


def _percent(side: Pooled) -> str:
    return f"{side.label} {100 * side.estimate.value:.0f} %"


def _named(cells: Mapping[tuple[Any, ...], float]) -> tuple[tuple[str, float], ...]:
    """Cells by what tells them apart; nothing where there is one."""
    differing = [place for place in range(len(next(iter(cells)))) if len({cell[place] for cell in cells}) > 1]
    if not differing:
        return ()
    return tuple((", ".join(str(cell[place]) for place in differing), number) for cell, number in cells.items())


def _cells_in_words(claim: Claim, *measured: Measured | None) -> str:
    """`5: +43, 10: +52`, or `5: +43 / +40, 10: +52 / +31` of several modes."""
    _, worth, form = UNITS[claim.measure]
    numbers: dict[str, list[str]] = {}
    for one in filter(None, measured):
        for cell, number in one.cells:
            numbers.setdefault(cell, []).append(written(worth * number, form))
    return ", ".join(f"{cell}: {' / '.join(found)}" for cell, found in numbers.items())


def _written(claim: Claim, measured: Measured | None) -> str:
    """`+43 points [+34, +53]`."""
    if not measured or isnan(measured.estimate.value):
        return NOTHING
    unit, worth, form = UNITS[claim.measure]
    value, low, high = (written(worth * number, form) for number in measured.estimate)
    return f"{value} {unit}" + ("" if isnan(measured.estimate.low) else f" [{low}, {high}]")


def _note(scores: pd.DataFrame, asked: int) -> str:
    little, most = 100 * LITTLE, 100 * REGIONS["most"][0]
    widened = 100 - 100 * (1 - CONFIDENCE) / max(asked, 1)
    return (
        "A claim holds if the whole 95 % interval supports it, both for sampled and for deterministic actions. It does "
        "not hold if the whole interval contradicts it, again for both. Otherwise, and with fewer than "
        f"{SEEDS} seeds, it is undecided. Points: difference in the success rate of the final rollouts. Each number of "
        "demonstrations (and, for growth on the peg, each kind of demonstrations) has the same weight and is shown for "
        f"sampled / deterministic actions. A change of up to {little:.0f} points counts as little or nothing, a larger "
        "loss as a drop; if the baseline's own success is lower than that, the claim is undecided. Spread: mean "
        "distance of a seed's success from the median over seeds. Times: GPRIL's fewest episodes, compared with the "
        "largest budget of episodes up to which GAIL succeeds less often than that; GPRIL's larger budgets exceed GAIL "
        "as well. The ratio has no upper bound unless GAIL exceeds GPRIL with some budget. Orders of magnitude: at "
        f"least {REGIONS['orders of magnitude'][0]:.0f} times. Learns: succeeds in more than {most:.0f} % of rollouts, "
        "mean over seeds. Retries: difference in the percentage of rollouts that came back to the socket's mouth, "
        "among those that had reached it and moved away, over all numbers of demonstrations. Compared: the values "
        "behind the number for sampled actions. Tuned: not a claim of the paper, but the same comparison with a "
        "baseline that has the best settings found on other demonstrations. Each verdict is at the 95 % level on its "
        "own, so one interval in twenty misses. The remarks name the verdicts that become undecided if every interval "
        f"is widened to {widened:.1f} % (Bonferroni correction for the {asked} claims with records)."
        + _short_of_steps(scores)
    )


def _short_of_steps(scores: pd.DataFrame) -> str:
    """What to remember of GAIL's rows where it had fewer steps than the paper's."""
    figures = {experiment.name for experiment in FIGURES}
    steps = scores.loc[scores["experiment"].isin(figures) & (scores["method"] == "gail"), "environment_steps"].max()
    if isnan(steps) or steps >= GAIL_STEPS:
        return ""
    return (
        f" GAIL had at most {steps:,.0f} environment steps in any of these trials. The paper's GAIL had "
        f"{GAIL_STEPS:,}, as we read it, so comparisons with GAIL hold for this budget only."
    )
