"""The paper's claims: every verdict occurs, and the numbers are those computed by hand."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.claims import REGIONS, SEEDS, UNITS, claims_table, verdict
from analysis.load import load
from analysis.measures import MEASURES, Measured
from analysis.report.__main__ import check_report, write_report
from analysis.statistics import Estimate, deviations, difference, mean_interval, rate_interval
from benchmarks.paper import FIGURES, Region
from benchmarks.records.schema import Mode, Rollout
from tests.analysis.synthetic import Folder, comparison, make_record, of_first_release

CLAIMS = [claim for experiment in FIGURES for claim in experiment.claims]
CLIP, PEG = "ClipInsertion-v0", "PegInsertion-v0"
INTERACTIONS = "GPRIL needs orders of magnitude fewer interactions than GAIL"
RETRIES = "GPRIL retries more often after a miss than GAIL"
AGAINST_BC = "GPRIL succeeds more often than BC on the clip"


class Paper:
    """Synthetic records of the paper's experiments."""

    def __init__(self) -> None:
        self.folder = Folder(profile="standard")

    def add(
        self,
        experiment: str,
        key: str,
        *shares: float,
        number: int = 25,
        task: str = CLIP,
        episodes: int = 100,
        seconds: float = 6.0,
        drawn: bool = False,
    ) -> Paper:
        """One trial per success, on seeds 0, 1, ...; a single one is that of five seeds."""
        for seed, share in enumerate(shares if len(shares) > 1 else shares * SEEDS):
            success = {"sampled": share, "mean": share}
            method = key.partition("/")[0]
            usage = (episodes, sum(map(ord, key)), 9.0)
            record = make_record(method, task, number, seed, success=success, usage=usage, points=4)  # type: ignore[arg-type]
            if drawn:
                chosen = record.trial.demonstrations.model_copy(update={"draw_seed": seed})
                trial = record.trial.model_copy(update={"demonstrations": chosen})
                record = record.model_copy(update={"trial": trial})
            made = [Rollout(seed=i, success=i < 20 * share, seconds=seconds + seed, end="x") for i in range(20)]
            record = record.model_copy(update={"final": {"sampled": made, "mean": made}})
            self.folder.add(f"label of {key}", record, experiment, variant=key, base="" if key == method else method)
        return self

    def missing(self, experiment: str, key: str) -> Paper:
        """A planned trial without a record."""
        record = make_record(key, CLIP, 50, 7)
        self.folder.add(f"label of {key}", record, experiment, missing=True, variant=key)
        return self

    def of_first_release(self, method: str) -> None:
        """Let its records be of version 0.1.0."""
        self.folder.records = [
            of_first_release(record) if record.trial.method == method else record for record in self.folder.records
        ]

    def without(self, number: int, seeds: range) -> Paper:
        """Drop the trials of some seeds with a number of demonstrations, from plan and records."""
        gone = {row.trial for row in self.folder.rows if row.demonstrations == number and row.seed in seeds}
        self.folder.rows = [row for row in self.folder.rows if row.trial not in gone]
        self.folder.records = [record for record in self.folder.records if record.trial.id not in gone]
        return self

    def rows(self, directory: Path) -> pd.DataFrame:
        table = claims_table(load(self.folder.write(directory)))
        assert table
        return table.data.set_index("claim")


def values(row: pd.Series) -> list[float]:
    return [row[f"sampled_{name}"] for name in Estimate._fields]


@pytest.mark.parametrize(
    ("region", "bounds", "expected"),
    [
        ("more", (0.01, 0.2), "holds"),
        ("more", (-0.2, -0.01), "does not hold"),
        ("more", (-0.01, 0.2), "undecided"),
        ("little loss", (-0.09, 0.3), "holds"),
        ("little loss", (-0.3, -0.11), "does not hold"),
        ("little loss", (-0.3, -0.09), "undecided"),
        ("drop", (-0.3, -0.11), "holds"),
        ("drop", (-0.09, 0.0), "does not hold"),
        ("unchanged", (-0.09, 0.09), "holds"),
        ("unchanged", (0.11, 0.3), "does not hold"),
        ("less", (-3.0, -1.0), "holds"),
        ("orders of magnitude", (100.0, inf), "holds"),
        ("orders of magnitude", (0.0, inf), "undecided"),
        ("most", (0.51, 1.0), "holds"),
        ("more", (nan, nan), "undecided"),
    ],
)
def test_verdicts(region: Region, bounds: tuple[float, float], expected: str) -> None:
    assert verdict(region, Measured(Estimate(0.0, *bounds), "", SEEDS))[0] == expected


def test_few_seeds_decide_nothing() -> None:
    found, why = verdict("more", Measured(Estimate(0.5, 0.4, 0.6), "", SEEDS - 1))
    assert found == "undecided" and why == "4 seeds, but at least 5 are needed"


@pytest.mark.parametrize("region", ["little loss", "drop", "unchanged"])
def test_what_never_succeeded_has_nothing_to_lose(region: Region) -> None:
    found, why = verdict(region, Measured(Estimate(0.0, -0.01, 0.01), "", SEEDS, baseline=0.05))
    assert found == "undecided" and "nothing to lose" in why
    assert verdict(region, Measured(Estimate(0.0, -0.01, 0.01), "", SEEDS, baseline=0.5))[0] != "undecided"


def test_every_claim_can_be_measured() -> None:
    assert len(CLAIMS) >= 21
    for claim in CLAIMS:
        assert claim.measure in MEASURES and claim.measure in UNITS and claim.region in REGIONS


def test_the_first_figure(tmp_path: Path) -> None:
    """GPRIL .9 and .8 against GAIL's .5 and .4 and BC's .6 everywhere; each over 5 and 25 demonstrations."""
    paper = Paper()
    for number, lift in ((5, 0.0), (25, 0.1)):
        paper.add("fig1b", "gpril", 0.8 + lift, number=number)
        paper.add("fig1b", "gail", 0.4 + lift, number=number)
        paper.add("fig1b", "bc", 0.6, number=number)
    rows = paper.missing("fig1b", "bc").rows(tmp_path)
    row = rows.loc["GPRIL succeeds more often than GAIL on the clip"]
    expected = difference(rate_interval([0.85] * 5, 200), rate_interval([0.45] * 5, 200))
    assert values(row) == pytest.approx(list(expected)) and row["verdict"] == "holds"
    assert row["sampled_measured"] == "label of gpril 85 %, label of gail 45 %"
    assert row["sampled_cells"] == "5: +40, 25: +40" and (row["trials"], row["planned"]) == (20, 20)
    assert rows.loc[AGAINST_BC, "planned"] == 21
    behind = rows.loc["GAIL succeeds more often than BC on the clip"]
    assert behind["verdict"] == "undecided" and behind["remarks"] == "no record yet of 1 trial"
    grows = rows.loc["GPRIL's success on the clip grows with demonstrations"]
    assert grows["sampled_measured"] == "25 demonstrations 90 %, 5 demonstrations 80 %"
    assert grows["sampled_value"] == pytest.approx(0.1) and grows["trials"] == 10
    assert (rows["verdict"] == "no records yet").sum() == len(CLAIMS) - 5  # three by success, growth, retries


def test_cells_weigh_equally_whatever_their_number_of_seeds(tmp_path: Path) -> None:
    """An inter-quartile mean over all trials would say 0 here: it would drop the cell in which GPRIL gains."""
    paper = Paper()
    for number, gain in ((5, 0.0), (10, 0.0), (25, 0.0), (50, 0.8)):
        paper.add("fig1b", "gpril", 0.1 + gain, number=number).add("fig1b", "bc", 0.1, number=number)
    row = paper.rows(tmp_path).loc[AGAINST_BC]
    assert row["sampled_value"] == pytest.approx(0.2) and row["sampled_cells"] == "5: +0, 10: +0, 25: +0, 50: +80"


def test_seeds_that_drew_their_demonstrations_are_paired(tmp_path: Path) -> None:
    """GPRIL is a little better from each draw: clear if draws are compared with themselves, not otherwise."""
    verdicts = []
    for drawn in (False, True):
        paper = Paper().add("fig1b", "gpril", 0.3, 0.5, 0.7, 0.45, 0.85, drawn=drawn)
        row = (
            paper.add("fig1b", "bc", 0.2, 0.4, 0.6, 0.35, 0.75, drawn=drawn).rows(tmp_path / str(drawn)).loc[AGAINST_BC]
        )
        assert row["sampled_value"] == pytest.approx(0.1)
        verdicts.append(row["verdict"])
    assert verdicts == ["undecided", "holds"]


def test_a_claim_is_decided_once_all_its_trials_are_there(tmp_path: Path) -> None:
    paper = Paper().add("fig1b", "gpril", 0.85).add("fig1b", "bc", 0.2)
    assert paper.rows(tmp_path / "1").loc[AGAINST_BC, "verdict"] == "holds"
    row = paper.missing("fig1b", "gpril").rows(tmp_path / "2").loc[AGAINST_BC]
    assert (row["verdict"], row["trials"], row["planned"]) == ("undecided", 10, 11)
    assert row["sampled_value"] == pytest.approx(0.65), "and says where it stands"


def test_records_of_other_code_decide_nothing(tmp_path: Path) -> None:
    paper = Paper().add("fig1c", "gpril", 0.8, episodes=10).add("fig1c", "gail", 0.3, episodes=400)
    paper.add("fig1c", "gail/40k-steps", 0.9, episodes=20)
    paper.folder.rows[-5:] = [row.model_copy(update={"other_code": True}) for row in paper.folder.rows[-5:]]
    row = paper.rows(tmp_path).loc[INTERACTIONS]
    assert row["sampled_value"] == 40.0 and row["trials"] == 10


def test_a_claim_is_not_decided_by_records_of_two_versions(tmp_path: Path) -> None:
    paper = Paper().add("fig1b", "gpril", 0.9).add("fig1b", "bc", 0.2)
    assert paper.rows(tmp_path / "1").loc[AGAINST_BC, ["verdict", "version"]].tolist() == ["holds", "0.2.0"]
    paper.of_first_release("bc")
    row = paper.rows(tmp_path / "2").loc[AGAINST_BC]
    assert (row["verdict"], row["remarks"]) == ("undecided", "not all variants have records")
    paper.of_first_release("gpril")
    table = claims_table(load(paper.folder.write(tmp_path / "3")))
    assert table and "of version 0.1.0 of the suite" in table.note
    row = table.data.set_index("claim").loc[AGAINST_BC]
    assert (row["verdict"], row["version"]) == ("holds", "0.1.0")


def test_few_seeds_that_all_cells_have_decide_nothing(tmp_path: Path) -> None:
    """Five seeds in each cell, but only three of them in both: the interval is that of three."""
    paper = Paper()
    for key, level in (("gpril", 0.9), ("bc", 0.2)):
        paper.add("fig1b", key, *[level] * 5, number=5).add("fig1b", key, *[level] * 7, number=50)
    row = paper.without(50, range(2)).rows(tmp_path).loc[AGAINST_BC]
    assert (row["verdict"], row["remarks"]) == ("undecided", "3 seeds, but at least 5 are needed")


def test_scenarios(tmp_path: Path) -> None:
    paper = Paper()
    for experiment, method, final in (("fig2c", "gpril", 0.95), ("fig2b", "gail", 0.3)):
        paper.add(experiment, f"{method}/states", 0.9, task=PEG)
        paper.add(experiment, f"{method}/final", final, task=PEG)
    paper.add("fig2b", "gail/tenth", 0.3, 0.8, 0.9, 0.5, 0.9, task=PEG)
    for number, share in ((5, 0.6), (50, 0.95)):
        for key in ("states", "tenth", "final"):
            paper.add("fig2d", f"gpril/{key}", *[share] * 20, number=number, task=PEG)
    rows = paper.rows(tmp_path)
    verdicts = rows["verdict"]
    assert verdicts["Final states only: GPRIL loses little"] == "holds"
    assert verdicts["Final states only: GAIL drops"] == "holds"
    assert verdicts["Every tenth state changes nothing for GAIL"] == "undecided"
    assert verdicts["Every tenth state changes nothing for GPRIL"] == "holds"
    assert verdicts["Final states only change nothing for GPRIL"] == "holds"
    growth = rows.loc["GPRIL's success on the peg grows with demonstrations"]
    assert growth["verdict"] == "holds" and growth["sampled_cells"].count("+35") == 3


def test_equal_leads(tmp_path: Path) -> None:
    """GPRIL leads by 40 points with actions and by 45 from states only: the difference of differences is 5."""
    paper = Paper()
    (claim,) = (claim for claim in CLAIMS if claim.measure == "gap")
    for key, share in zip(claim.variants, (0.75, 0.3, 0.9, 0.5), strict=True):
        for number in (5, 50):
            paper.add("fig1d", key, share, number=number)
    row = paper.rows(tmp_path).loc[claim.text]
    assert row["sampled_value"] == pytest.approx(0.05) and row["sampled_cells"] == "5: +5, 50: +5"
    sides = [rate_interval([share] * 5, 200) for share in (0.75, 0.3, 0.9, 0.5)]
    assert values(row) == pytest.approx(list(difference(difference(*sides[:2]), difference(*sides[2:]))))


@pytest.mark.parametrize(
    ("gpril", "gail", "verdict"), [(0.95, 0.04, "holds"), (0.5, 0.5, "undecided"), (0.1, 0.5, "does not hold")]
)
def test_matching_is_to_be_at_most_a_little_worse_also_where_gail_has_nothing_to_lose(
    tmp_path: Path, gpril: float, gail: float, verdict: str
) -> None:
    paper = Paper().add("fig2b", "gpril/states", gpril - 0.05, gpril, gpril + 0.05, gpril, gpril, task=PEG)
    paper.add("fig2b", "gail/states", gail + 0.2 * (gail == 0.5), *[gail] * 4, task=PEG)
    assert paper.rows(tmp_path).loc["GPRIL matches or outperforms GAIL on the peg", "verdict"] == verdict


def test_spread_between_seeds(tmp_path: Path) -> None:
    wild, calm = (0.0, 0.9, 0.1, 0.95, 0.5), (0.8, 0.8, 0.85, 0.8, 0.8)
    paper = Paper().add("fig2b", "gail/final", *wild, task=PEG).add("fig2b", "gail/states", *calm, task=PEG)
    row = paper.rows(tmp_path).loc["Final states only: GAIL varies more between seeds"]
    expected = difference(*(mean_interval(deviations(side)) for side in (wild, calm)))
    assert values(row) == pytest.approx(list(expected)) and row["verdict"] == "holds" and row["unit"] == "points"
    assert expected.value == pytest.approx(np.sqrt(5 / 4) * (0.5 + 0.4 + 0.4 + 0.45 - 0.05) / 5)


def test_seconds_are_compared_seed_by_seed(tmp_path: Path) -> None:
    """Five seeds of 4 to 8 s against five of 14 to 18 s; a sixth never succeeds, and has no seconds."""
    paper = Paper().add("fig2e", "gpril/final", *[0.5] * 5, 0.0, task=PEG, seconds=4.0)
    paper.add("fig2e", "gpril/states", *[0.5] * 5, task=PEG, seconds=14.0)
    row = paper.rows(tmp_path).loc["Final states only: GPRIL inserts faster"]
    half_width = 2.776445 * np.sqrt(2.5 / 5)
    assert values(row) == pytest.approx([-10.0, -10 - half_width * np.sqrt(2), -10 + half_width * np.sqrt(2)])
    assert row["verdict"] == "holds" and row["sampled_measured"].startswith("label of gpril/final 6.0 s")


def with_retries(paper: Paper, attempts: dict[str, list[tuple[int, int]]]) -> Paper:
    """Rollouts that missed and came back so often each, for the variants of the records that were added last."""
    for number, (row, record) in enumerate(zip(paper.folder.rows, paper.folder.records, strict=True)):
        made = [
            rollout.model_copy(update={"misses": misses, "retries": retries})
            for rollout, (misses, retries) in zip(record.final["sampled"], attempts[row.variant], strict=True)
        ]
        paper.folder.records[number] = record.model_copy(update={"final": {"sampled": made, "mean": made}})
    return paper


def test_retries_after_a_miss(tmp_path: Path) -> None:
    """Of 20 rollouts GPRIL misses in 12 and comes back in 10 of them; GAIL misses in 15 and comes back in 5."""
    paper = Paper().add("fig1b", "gpril", 0.6).add("fig1b", "gail", 0.4).add("fig1b", "gpril", 0.6, number=5)
    gpril = [(1, 0), (0, 0), (2, 2), (3, 2), (0, 0), (1, 1), (0, 0), (2, 2), (3, 2), (0, 0)]
    gail = [(1, 0), (0, 0), (1, 0), (1, 1)]
    row = with_retries(paper, {"gpril": gpril * 2, "gail": gail * 5}).rows(tmp_path / "1").loc[RETRIES]
    assert row["verdict"] == "holds" and row["unit"] == "points" and row["trials"] == 15
    sides = rate_interval([10 / 12] * 5, 120), rate_interval([5 / 15] * 5, 75)
    assert values(row) == pytest.approx(list(difference(*sides)))
    ours, theirs = row["sampled_measured"].split("; ")
    assert ours == "label of gpril missed in 60 %, came back in 83 % of these, succeeded in 58 %"
    assert theirs == "label of gail missed in 75 %, came back in 33 % of these, succeeded in 40 %"
    never = with_retries(paper, {"gpril": [(0, 0)] * 20, "gail": gail * 5}).rows(tmp_path / "2").loc[RETRIES]
    assert never["verdict"] == "undecided" and never["sampled_measured"] == "label of gpril never missed"


def test_records_without_retries_say_so(tmp_path: Path) -> None:
    paper = Paper().add("fig1b", "gpril", 0.6).add("fig1b", "gail", 0.4)
    row = paper.rows(tmp_path / "1").loc[RETRIES]
    assert (row["verdict"], row["remarks"]) == ("undecided", "not recorded") and pd.isna(row["sampled_value"])
    counted = with_retries(paper, {"gpril": [(1, 1)] * 20, "gail": [(1, 0)] * 20})
    assert counted.rows(tmp_path / "2").loc[RETRIES, "verdict"] == "holds"
    row = counted.add("fig1b", "gail", 0.4, number=5).rows(tmp_path / "3").loc[RETRIES]
    assert (row["verdict"], row["remarks"]) == ("undecided", "not recorded"), "in some of the records"


def with_budgets(gpril: dict[int, float], gail: dict[int, float]) -> Paper:
    """Records of figure 1c: success by episodes, five seeds of twenty rollouts each."""
    paper = Paper()
    keys = {
        "gpril": ("gpril", "gpril/10-episodes", "gpril/20-episodes"),
        "gail": ("gail", "gail/40k-steps", "gail/500k-steps"),
    }
    for method, budgets in (("gpril", gpril), ("gail", gail)):
        for key, (episodes, share) in zip(keys[method], budgets.items(), strict=False):
            paper.add("fig1c", key, share, episodes=episodes)
    return paper


@pytest.mark.parametrize(
    ("gpril", "gail", "expected", "found"),
    [
        # The fewest of GPRIL are enough against all of GAIL's.
        ({10: 0.8, 500: 0.9}, {100: 0.2, 1500: 0.3}, [150.0, 150.0, inf], "holds"),
        # With 10 GPRIL does not exceed GAIL's best, with 20 it does.
        ({10: 0.2, 20: 0.8, 500: 0.9}, {100: 0.1, 1500: 0.3}, [75.0, 75.0, inf], "undecided"),
        # 10 would do, but a larger number does not.
        ({10: 0.8, 20: 0.1, 500: 0.9}, {100: 0.2, 1500: 0.3}, [3.0, 3.0, inf], "undecided"),
        # GAIL reaches and exceeds what GPRIL ever gets.
        ({10: 0.3, 500: 0.5}, {100: 0.2, 1500: 0.9}, [0.2, 0.2, 150.0], "undecided"),
        ({100: 0.3, 500: 0.5}, {100: 0.2, 1500: 0.9}, [0.2, 0.2, 15.0], "does not hold"),
        # Nobody succeeds.
        ({10: 0.0}, {100: 0.0, 1500: 0.0}, [0.0, 0.0, inf], "undecided"),
    ],
)
def test_interactions_for_equal_success(
    tmp_path: Path, gpril: dict[int, float], gail: dict[int, float], expected: list[float], found: str
) -> None:
    row = with_budgets(gpril, gail).rows(tmp_path).loc[INTERACTIONS]
    assert values(row) == pytest.approx(expected) and row["unit"] == "times" and row["verdict"] == found


def test_interactions_show_every_budget(tmp_path: Path) -> None:
    row = with_budgets({10: 0.8, 500: 0.9}, {100: 0.2, 1500: 0.3}).rows(tmp_path).loc[INTERACTIONS]
    ours, theirs = "label of gpril 80 % (10 episodes), 90 % (500)", "label of gail 20 % (100 episodes), 30 % (1,500)"
    assert row["sampled_measured"] == f"{ours}; {theirs}" and row["trials"] == 20


def test_interactions_without_one_method_or_with_few_seeds(tmp_path: Path) -> None:
    paper = Paper().add("fig1c", "gail", 0.5)
    row = paper.rows(tmp_path / "1").loc[INTERACTIONS]
    assert row["verdict"] == "undecided" and pd.isna(row["sampled_value"])
    row = paper.add("fig1c", "gpril", 0.7, 0.8).rows(tmp_path / "2").loc[INTERACTIONS]
    assert row["verdict"] == "undecided" and row["remarks"] == "2 seeds, but at least 5 are needed"


def test_learning_within_2000_episodes(tmp_path: Path) -> None:
    """A trial of 4000 episodes has reached .7 of its final success after 2000: the square root of a half."""
    fixed, varying = (f"PhysicalPegInsertion{name}-v0" for name in ("Fixed", "Varying"))
    paper = Paper().add("fig2f", "gpril/states", 0.9, 0.9, 0.8, 0.9, 0.9, task=fixed, episodes=2000, number=20)
    rows = paper.add("fig2f", "gpril/states", 1.0, task=varying, episodes=4000, number=20).rows(tmp_path)
    first, second = (
        rows.loc[f"GPRIL learns on the physical peg within 2000 episodes, socket {name}"]
        for name in ("fixed", "varying")
    )
    assert first["sampled_measured"] == "best seed 90 %" and first["verdict"] == "holds" and first["trials"] == 5
    assert second["sampled_value"] == 0.7 and second["sampled_measured"] == "best seed 70 %"


def test_a_trial_that_failed_has_learned_nothing(tmp_path: Path) -> None:
    task = "PhysicalPegInsertionFixed-v0"
    paper = Paper().add("fig2f", "gpril/states", 0.9, 0.9, task=task, episodes=2000)
    success: dict[Mode, float] = {"sampled": 1.0, "mean": 1.0}
    failed = make_record("gpril", task, 25, 2, success=success, status="failed", usage=(4000, 1, 1.0))
    assert (failed.curve[0].sampled or 0) > 0
    paper.folder.add("label of gpril/states", failed, "fig2f", variant="gpril/states")
    row = paper.rows(tmp_path).loc["GPRIL learns on the physical peg within 2000 episodes, socket fixed"]
    assert (row["sampled_value"], row["trials"]) == (pytest.approx(0.6), 3)


def with_modes(directory: Path, mean: float | None) -> pd.Series:
    """GPRIL 90 % sampled against 40 % of BC; deterministic actions `mean` against 80 %, or none of GPRIL's."""
    folder = Folder(profile="standard")
    for method in ("gpril", "bc"):
        for seed in range(5):
            deterministic = 0.8 if method == "bc" else mean or 0.0
            success: dict[Mode, float] = {"sampled": 0.9 if method == "gpril" else 0.4, "mean": deterministic}
            record = make_record(method, CLIP, seed=seed, success=success, points=0)
            if method == "gpril" and mean is None:
                record = record.model_copy(update={"final": {"sampled": record.final["sampled"]}})
            folder.add(method.upper(), record, "fig1b", variant=method)
    table = claims_table(load(folder.write(directory)))
    assert table
    return table.data.set_index("claim").loc[AGAINST_BC]


def test_modes_that_disagree_leave_a_claim_undecided_and_say_so(tmp_path: Path) -> None:
    row = with_modes(tmp_path, 0.5)
    assert row["sampled_low"] > 0 > row["mean_high"] and row["verdict"] == "undecided"
    sampled, deterministic = "GPRIL 90 %, BC 40 %", "GPRIL 50 %, BC 80 %"
    assert row["remarks"] == (
        f"sampled actions: holds ({sampled}); deterministic actions: does not hold ({deterministic})"
    )


def test_an_undecided_mode_says_why(tmp_path: Path) -> None:
    row = with_modes(tmp_path, 0.8)
    assert "deterministic actions: undecided, the interval includes both outcomes (GPRIL 80 %" in row["remarks"]


def test_cells_are_shown_in_both_modes(tmp_path: Path) -> None:
    paper = Paper()
    for number, gain in ((5, 0.1), (50, 0.4)):
        paper.add("fig1b", "gpril", 0.5 + gain, number=number).add("fig1b", "bc", 0.5, number=number)
    table = claims_table(load(paper.folder.write(tmp_path)))
    assert table
    shown = table.shown.set_index("The paper says").loc[f"{AGAINST_BC} (1b)"]
    assert shown["In each cell"] == "5: +10 / +10, 50: +40 / +40"


def test_a_mode_that_a_policy_does_not_have_is_not_asked(tmp_path: Path) -> None:
    row = with_modes(tmp_path, None)
    assert row["verdict"] == "holds" and pd.isna(row["mean_value"]) and row["mean_measured"] == ""


def test_what_many_claims_make_uncertain_is_said(tmp_path: Path) -> None:
    """A difference that its own interval decides, but not the one for as many claims as have records."""
    paper = Paper().add("fig1b", "gpril", 0.6, 0.7, 0.8, 0.65, 0.75).add("fig1b", "bc", 0.4, 0.5, 0.6, 0.5, 0.35)
    row = paper.rows(tmp_path / "1").loc[AGAINST_BC]
    assert (row["verdict"], row["corrected"], row["remarks"]) == ("holds", "holds", "")
    for experiment in FIGURES:
        for variant in experiment.variants:
            task = {"peg": PEG, "physical-fixed": "PhysicalPegInsertionFixed-v0"}.get(experiment.tasks[0], CLIP)
            if experiment.name != "fig1b" or variant.key not in ("gpril", "bc"):
                paper.add(experiment.name, variant.key, 0.5, number=10, task=task)
    row = paper.rows(tmp_path / "2").loc[AGAINST_BC]
    assert (row["verdict"], row["corrected"]) == ("holds", "undecided")
    assert row["remarks"].startswith("undecided after correction for 17 claims")


@pytest.mark.parametrize(
    ("method", "episodes", "said"), [("gail", 300, True), ("gail", 410_000, False), ("gpril", 300, False)]
)
def test_what_is_said_of_gail_names_its_steps(tmp_path: Path, method: str, episodes: int, said: bool) -> None:
    """Records here have 100 steps an episode."""
    paper = Paper().add("fig1b", method, 0.5, episodes=episodes)
    table = claims_table(load(paper.folder.write(tmp_path)))
    assert table and ("at most 30,000 environment steps" in table.note) == said
    assert ("The paper's GAIL had 40,960,000, as we read it" in table.note) == said


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    folder = Folder(profile="standard")
    for method, share in (("gpril", 0.9), ("bc", 0.1)):
        folder.add(
            method, make_record(method, CLIP, success={"sampled": share, "mean": share}), "fig1b", variant=method
        )
    table = claims_table(load(folder.write(tmp_path)))
    assert table
    row = table.data.set_index("claim").loc[AGAINST_BC]
    assert row["verdict"] == "undecided" and row["sampled_value"] == pytest.approx(0.8) and pd.isna(row["sampled_low"])


def test_the_table_is_there_only_for_the_paper(tmp_path: Path) -> None:
    assert claims_table(load(comparison(seeds=1).write(tmp_path / "other"))) is None
    directory = Paper().add("fig1b", "gpril", 0.9).add("fig1b", "bc", 0.1).folder.write(tmp_path / "paper")
    write_report(directory)
    text = (directory / "tables/claims.md").read_text()
    assert "| GPRIL succeeds more often than BC on the clip (1b) | holds | +80 points [+" in text
    assert "The paper's claims" in (directory / "report.html").read_text().replace("&#39;", "'")
    assert check_report(directory) == []
