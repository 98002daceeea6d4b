"""The paper's claims: every verdict occurs, and the numbers are those computed by hand."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path

import pandas as pd
import pytest

from analysis.claims import AT_LEAST, DROP, LITTLE_LOSS, MORE, NOTHING_CHANGED, claims_table, verdict
from analysis.load import load
from analysis.measures import Measured
from analysis.report.__main__ import check_report, write_report
from analysis.statistics import Estimate
from benchmarks.paper import FIGURES
from benchmarks.records.schema import Mode, Rollout
from tests.analysis.synthetic import Folder, comparison, make_record

CLAIMS = [claim for experiment in FIGURES for claim in experiment.claims]
CLIP, PEG = "ClipInsertion-v0", "PegInsertion-v0"


class Paper:
    """Synthetic records of the paper's experiments."""

    def __init__(self) -> None:
        self.folder = Folder(profile="standard")

    def add(
        self,
        experiment: str,
        label: str,
        *shares: float,
        number: int = 25,
        task: str = CLIP,
        episodes: int = 100,
        seconds: float = 6.0,
    ) -> Paper:
        """A trial a share of success, on seeds 0, 1, ..."""
        for seed, share in enumerate(shares):
            success = {"sampled": share, "mean": share}
            usage = (episodes, sum(map(ord, label)), 9.0)
            record = make_record(label.partition(",")[0], task, number, seed, success=success, usage=usage, points=4)  # type: ignore[arg-type]
            made = [Rollout(seed=i, success=i < 20 * share, seconds=seconds + seed, end="x") for i in range(20)]
            self.folder.add(label, record.model_copy(update={"final": {"sampled": made, "mean": made}}), experiment)
        return self

    def rows(self, directory: Path) -> pd.DataFrame:
        table = claims_table(load(self.folder.write(directory)))
        assert table
        return table.data.set_index("claim")


@pytest.mark.parametrize(
    ("region", "bounds", "expected"),
    [
        (MORE, (0.01, 0.2), "holds"),
        (MORE, (0.0, 0.0), "does not hold"),
        (MORE, (-0.01, 0.2), "undecided"),
        (AT_LEAST, (0.0, 0.0), "holds"),
        (AT_LEAST, (-0.2, -0.01), "does not hold"),
        (LITTLE_LOSS, (-0.1, 0.3), "holds"),
        (LITTLE_LOSS, (-0.3, -0.11), "does not hold"),
        (LITTLE_LOSS, (-0.3, -0.1), "undecided"),
        (DROP, (-0.3, -0.11), "holds"),
        (DROP, (-0.1, 0.0), "does not hold"),
        (NOTHING_CHANGED, (-0.1, 0.1), "holds"),
        (NOTHING_CHANGED, (0.11, 0.3), "does not hold"),
        (MORE, (nan, nan), "undecided"),
    ],
)
def test_verdicts(region: tuple[float, float], bounds: tuple[float, float], expected: str) -> None:
    measured = Measured(Estimate(0.0, *bounds), "")
    assert verdict(region, measured) == expected


@pytest.mark.parametrize("region", [LITTLE_LOSS, DROP, NOTHING_CHANGED])
def test_what_never_succeeded_has_nothing_to_lose(region: tuple[float, float]) -> None:
    assert verdict(region, Measured(Estimate(0.0, 0.0, 0.0), "", baseline=0.05)) == "undecided"
    assert verdict(region, Measured(Estimate(0.0, 0.0, 0.0), "", baseline=0.5)) != "undecided"


def test_the_first_figure(tmp_path: Path) -> None:
    """GPRIL .9 and .8 against GAIL's .5 and .4 and BC's .6 everywhere; each over 5 and 25 demonstrations."""
    paper = Paper()
    for number, lift in ((5, 0.0), (25, 0.1)):
        paper.add("fig1b", "gpril", 0.8 + lift, 0.8 + lift, number=number)
        paper.add("fig1b", "gail", 0.4 + lift, 0.4 + lift, number=number)
        paper.add("fig1b", "bc", 0.6, 0.6, number=number)
    paper.folder.add("bc", make_record("bc", CLIP, 50, 7), "fig1b", missing=True)
    rows = paper.rows(tmp_path)
    row = rows.loc["GPRIL succeeds at least as often as GAIL on the clip"]
    assert (
        row[["sampled_value", "sampled_low", "mean_high"]].tolist() == pytest.approx([0.4] * 3)
        and row["verdict"] == "holds"
    )
    assert row["sampled_measured"] == "GPRIL 85 %, GAIL 45 %" and (row["trials"], row["planned"]) == (8, 8)
    assert rows.loc["GPRIL succeeds more often than BC on the clip", "planned"] == 9
    assert rows.loc["GAIL succeeds more often than BC on the clip", "verdict"] == "undecided", "one is to come"
    grows = rows.loc["GPRIL's success on the clip grows with demonstrations"]
    assert grows["sampled_measured"] == "with 25 demonstrations 90 %, with 5 demonstrations 80 %"
    assert grows["sampled_value"] == pytest.approx(0.1) and grows["trials"] == 4
    assert (rows["verdict"] == "no records yet").sum() == len(CLAIMS) - 6


def test_a_claim_is_decided_once_all_its_trials_are_there(tmp_path: Path) -> None:
    claim = "GPRIL succeeds more often than BC on the clip"
    paper = Paper().add("fig1b", "gpril", 0.9, 0.8).add("fig1b", "bc", 0.2, 0.2)
    assert paper.rows(tmp_path / "1").loc[claim, "verdict"] == "holds"
    paper.folder.add("gpril", make_record("gpril", CLIP, 50, 7), "fig1b", missing=True)
    row = paper.rows(tmp_path / "2").loc[claim]
    assert (row["verdict"], row["trials"], row["planned"]) == ("undecided", 4, 5)
    assert row["sampled_value"] == pytest.approx(0.65), "and says where it stands"


def test_records_of_other_code_decide_nothing(tmp_path: Path) -> None:
    paper = Paper().add("fig1c", "gpril", 0.8, 0.8, episodes=10).add("fig1c", "gail", 0.8, 0.8, episodes=400)
    paper.add("fig1c", "gail, 40 thousand steps", 0.8, 0.8, episodes=20)
    paper.folder.rows[-2:] = [row.model_copy(update={"other_code": True}) for row in paper.folder.rows[-2:]]
    row = paper.rows(tmp_path).loc["GPRIL needs orders of magnitude fewer interactions than GAIL"]
    assert row["sampled_value"] == 40.0 and row["trials"] == 4


def test_scenarios(tmp_path: Path) -> None:
    paper = Paper()
    for experiment, method, final in (("fig2c", "gpril", 0.75), ("fig2b", "gail", 0.3)):
        paper.add(experiment, f"{method}, states alone", 0.8, 0.8, 0.8, task=PEG)
        paper.add(experiment, f"{method}, final states", final, final, final, task=PEG)
    paper.add("fig2b", "gail, every tenth state", 0.3, 0.8, 0.9, task=PEG)
    for number, share in ((5, 0.6), (50, 0.9)):
        paper.add("fig2d", "gpril, states alone", share, share, number=number, task=PEG)
        paper.add("fig2d", "gpril, every tenth state", share, share, number=number, task=PEG)
    verdicts = paper.rows(tmp_path)["verdict"]
    assert verdicts["Final states only: GPRIL loses little"] == "holds"
    assert verdicts["Final states only: GAIL drops"] == "holds"
    assert verdicts["Every tenth state changes nothing for GAIL"] == "undecided"
    assert verdicts["Every tenth state changes nothing for GPRIL"] == "holds"
    assert verdicts["GPRIL's success on the peg grows with demonstrations"] == "holds"


def test_seconds_are_of_all_successes(tmp_path: Path) -> None:
    """Three seeds of 4, 5 and 6 s against three of 8, 9 and 10 s, with as many successes each."""
    paper = Paper()
    paper.add("fig2e", "gpril, final states", 0.5, 0.5, 0.5, 0.0, task=PEG, seconds=4.0)
    paper.add("fig2e", "gpril, states alone", 0.5, 0.5, 0.5, task=PEG, seconds=8.0)
    row = paper.rows(tmp_path).loc["Final states only: GPRIL inserts faster"]
    assert (row["sampled_value"], row["sampled_low"], row["sampled_high"], row["unit"]) == (-4.0, -6.0, -2.0, "s")
    assert row["verdict"] == "holds" and row["sampled_measured"].startswith("GPRIL, final states 5.0 s")


@pytest.mark.parametrize(("last", "expected"), [(160_000, "holds"), (1_600, "does not hold")])
def test_interactions_at_equal_success(tmp_path: Path, last: int, expected: str) -> None:
    """GAIL ends at .6; GPRIL rises from .4 with 10 episodes to .8 with 1000: .6 is half way, at 100 episodes."""
    paper = Paper()
    paper.add("fig1c", "gpril, 1 an iteration", 0.4, 0.4, episodes=10).add("fig1c", "gpril", 0.8, 0.8, episodes=1000)
    paper.add("fig1c", "gail, 40 thousand steps", 0.2, 0.2, episodes=400).add("fig1c", "gail", 0.6, 0.6, episodes=last)
    row = paper.rows(tmp_path).loc["GPRIL needs orders of magnitude fewer interactions than GAIL"]
    assert row["sampled_value"] == pytest.approx(last / 100) and row["unit"] == "times" and row["verdict"] == expected
    assert row["sampled_measured"] == f"at 60 %: GPRIL 100 episodes, GAIL {last:,} episodes" and row["trials"] == 8


def test_interactions_where_the_smallest_budget_is_more_than_enough(tmp_path: Path) -> None:
    """GAIL never gets as far as GPRIL with its fewest episodes: fewer would do, so nobody knows how many times."""
    paper = Paper().add("fig1c", "gpril, 1 an iteration", 0.7, 0.7, episodes=10)
    paper.add("fig1c", "gpril", 0.8, 0.8, episodes=1000).add("fig1c", "gail", 0.6, 0.6, episodes=400)
    row = paper.rows(tmp_path).loc["GPRIL needs orders of magnitude fewer interactions than GAIL"]
    assert row[["sampled_value", "sampled_low", "sampled_high"]].tolist() == [40.0, 0.0, inf]
    assert row["verdict"] == "undecided"
    more = paper.add("fig1c", "gail, 40 thousand steps", 0.4, 0.4, episodes=100).rows(tmp_path / "2").loc[row.name]
    assert more[["sampled_value", "sampled_low", "sampled_high"]].tolist() == [40.0, 40.0, inf], "GAIL's fewest do not"


def test_interactions_without_success_or_without_one_method(tmp_path: Path) -> None:
    claim = "GPRIL needs orders of magnitude fewer interactions than GAIL"
    paper = Paper().add("fig1c", "gail", 0.0, 0.0)
    assert paper.rows(tmp_path / "1").loc[claim, "verdict"] == "undecided"
    row = paper.add("fig1c", "gpril", 0.5, 0.5).rows(tmp_path / "2").loc[claim]
    assert row["verdict"] == "undecided" and pd.isna(row["sampled_value"])


def test_learning_within_2000_episodes(tmp_path: Path) -> None:
    """A trial of 4000 episodes has reached .7 of its final success after 2000: the square root of a half."""
    fixed, varying = (f"PhysicalPegInsertion{name}-v0" for name in ("Fixed", "Varying"))
    paper = Paper().add("fig2f", "gpril, states alone", 0.9, 0.9, 0.8, task=fixed, episodes=2000, number=20)
    rows = paper.add("fig2f", "gpril, states alone", 1.0, 1.0, task=varying, episodes=4000, number=20).rows(tmp_path)
    first, second = (
        rows.loc[f"GPRIL learns on the physical peg within 2000 episodes, socket {name}"]
        for name in ("fixed", "varying")
    )
    assert first["sampled_measured"] == "best seed 90 %" and first["verdict"] == "holds" and first["trials"] == 3
    assert second["sampled_value"] == 0.7 and second["sampled_measured"] == "best seed 70 %"


def test_a_trial_that_failed_has_learnt_nothing(tmp_path: Path) -> None:
    task = "PhysicalPegInsertionFixed-v0"
    paper = Paper().add("fig2f", "gpril, states alone", 0.9, task=task, episodes=2000)
    success: dict[Mode, float] = {"sampled": 1.0, "mean": 1.0}
    failed = make_record("gpril", task, 25, 1, success=success, status="failed", usage=(4000, 1, 1.0))
    assert failed.curve[0].sampled > 0
    paper.folder.add("gpril, states alone", failed, "fig2f")
    row = paper.rows(tmp_path).loc["GPRIL learns on the physical peg within 2000 episodes, socket fixed"]
    assert (row["sampled_value"], row["trials"]) == (0.45, 2)


def test_modes_that_disagree_leave_a_claim_undecided(tmp_path: Path) -> None:
    folder = Folder(profile="standard")
    for label, mean in (("gpril", 0.5), ("bc", 0.8)):
        for seed in range(3):
            success: dict[Mode, float] = {"sampled": 0.9 if label == "gpril" else 0.4, "mean": mean}
            folder.add(label, make_record(label, CLIP, seed=seed, success=success), "fig1b")
    table = claims_table(load(folder.write(tmp_path)))
    assert table
    row = table.data.set_index("claim").loc["GPRIL succeeds more often than BC on the clip"]
    assert (row["sampled_low"], row["mean_high"]) == pytest.approx((0.5, -0.3)) and row["verdict"] == "undecided"
    assert "| undecided | +50 points [+50, +50] | -30 points [-30, -30] |" in table.files()["claims.md"].decode()


@pytest.mark.parametrize(
    ("method", "episodes", "said"), [("gail", 300, True), ("gail", 410_000, False), ("gpril", 300, False)]
)
def test_what_is_said_of_gail_names_its_steps(tmp_path: Path, method: str, episodes: int, said: bool) -> None:
    """Records here have 100 steps an episode."""
    paper = Paper().add("fig1b", method, 0.5, 0.5, episodes=episodes)
    table = claims_table(load(paper.folder.write(tmp_path)))
    assert table and ("at most 30,000 environment steps" in table.note) == said
    assert ("the paper's 40,960,000" in table.note) == said


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    rows = Paper().add("fig1b", "gpril", 0.9).add("fig1b", "bc", 0.1).rows(tmp_path)
    row = rows.loc["GPRIL succeeds more often than BC on the clip"]
    assert row["verdict"] == "undecided" and row["sampled_value"] == pytest.approx(0.8) and pd.isna(row["sampled_low"])


def test_the_table_is_there_only_for_the_paper(tmp_path: Path) -> None:
    assert claims_table(load(comparison(seeds=1).write(tmp_path / "other"))) is None
    directory = Paper().add("fig1b", "gpril", 0.9, 0.7).add("fig1b", "bc", 0.1, 0.2).folder.write(tmp_path / "paper")
    write_report(directory)
    text = (directory / "tables/claims.md").read_text()
    assert (
        "| GPRIL succeeds more often than BC on the clip (1b) | holds | +65 points [+50, +80] |" in text
        and "fig1b: 4 trials" in text
    )
    assert "The paper's claims" in (directory / "report.html").read_text().replace("&#39;", "'")
    assert check_report(directory) == []
    assert inf not in claims_table(load(directory)).data["sampled_value"].tolist()  # type: ignore[union-attr]
