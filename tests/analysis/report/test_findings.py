"""The page of results: its numbers are those of the records, and what has none says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.claims import PAPER
from analysis.load import load
from analysis.report.findings import (
    FIGURE,
    NOT_YET,
    PENDING,
    STATEMENTS,
    TABLES,
    Shown,
    claims,
    headline,
    success,
)
from benchmarks.records.schema import Mode
from tests.analysis.synthetic import Folder, make_record

CLIP = "ClipInsertion-v0"
FIRST, SECONDS = TABLES["standard/fig1b"], TABLES["standard/fig2e"]


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]


def row(text: str, method: str) -> dict[str, str]:
    heads, _, *rows = cells(text)
    return next(found for each in rows if (found := dict(zip(heads, each, strict=True)))["Method"] == method)


def folder(experiment: str = "fig1b", levels: tuple[float, float] = (0.9, 0.5), gymnasium: str = "1.4.0") -> Folder:
    """GPRIL and BC, each with 5 and 50 demonstrations; deterministic actions succeed in 10 points fewer."""
    made = Folder("standard")
    for key, label, level in (("gpril", "GPRIL", levels[0]), ("bc", "BC", levels[1])):
        for number in (5, 50):
            for seed in range(5):
                success: dict[Mode, float] = {"sampled": level, "mean": level - 0.1}
                record = make_record(
                    *(key, CLIP, number, seed), success=success, usage=(400, 1, 80.0), rollouts=100, gymnasium=gymnasium
                )
                made.add(label, record, experiment, variant=key)
    return made


def test_a_figure_shows_success_difference_and_cost(tmp_path: Path) -> None:
    text = success(FIRST, load(folder().write(tmp_path)))
    assert row(text, "GPRIL")["5 demonstrations"] == "90 / 80 (5)" and row(text, "GPRIL")["Compared with"] == "–"
    found = row(text, "BC")
    assert found["50 demonstrations"] == "50 / 40 (5)" and found["Compared with"] == "GPRIL"
    assert found["Difference"].startswith("-40 [") and " / -40 [" in found["Difference"]
    assert (found["Episodes"], found["Environment steps"], found["Core-seconds"]) == ("400", "40,000", "80")
    assert "version" not in text


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    made = folder()
    made.records = [one for one in made.records if one.trial.method != "bc" or one.trial.seed < 3]
    text = success(FIRST, load(made.write(tmp_path)))
    assert row(text, "BC")["5 demonstrations"] == "50 / 40 (3 of 5)"
    assert row(text, "GAIL (tuned)")["5 demonstrations"] == NOT_YET and row(text, "GAIL (tuned)")["Difference"] == "–"
    made.records = [one for one in made.records if one.trial.method == "bc"]
    found = row(success(FIRST, load(made.write(tmp_path / "one"))), "BC")
    assert (found["Compared with"], found["Difference"]) == ("GPRIL", NOT_YET)
    for table in TABLES.values():
        assert success(table, None) == f"**{table.title}**\n\n{PENDING}"
    assert success(TABLES["standard/fig2c"], load(made.write(tmp_path))).endswith(PENDING)
    assert headline(None) == PENDING == claims(None, PAPER, "The paper says")


def test_seconds_are_shown_where_the_figure_is_about_them(tmp_path: Path) -> None:
    text = success(SECONDS, load(folder("fig2e").write(tmp_path)))
    assert row(text, "GPRIL")["Seconds"] == "10.4 / 9.9"  # of rollouts that last 6.0, 6.1, ... s
    assert "Seconds" not in cells(success(FIRST, load(folder().write(tmp_path))))[0]


def test_a_table_of_some_variants_leaves_out_the_others(tmp_path: Path) -> None:
    results = load(folder("e").write(tmp_path))
    assert len(cells(success(Shown("", "e", "All", {}), results))) == 4
    assert len(cells(success(Shown("", "e", "One", {"bc": "BC"}, alone=True), results))) == 3


@pytest.mark.parametrize(("levels", "verdict"), [((0.9, 0.5), "holds"), ((0.5, 0.9), "does not hold")])
def test_a_verdict_follows_the_records(tmp_path: Path, levels: tuple[float, float], verdict: str) -> None:
    """No sentence of the page can say what the records no longer say."""
    text = claims(load(folder("fig2e", levels).write(tmp_path)), STATEMENTS, "Claim")
    (line,) = (line for line in text.splitlines() if "GPRIL succeeds more often than BC on the peg" in line)
    assert line.split("|")[2].strip() == verdict
    assert text.startswith(f"**{len(STATEMENTS)} claims: 1 ") and "| Claim |" in text


def test_the_first_page_says_which_version_made_what_it_tells(tmp_path: Path) -> None:
    made = Folder("standard")
    for gymnasium in ("0.29.1", "1.4.0"):
        for one in folder(gymnasium=gymnasium).records:
            chosen = one.trial.demonstrations.model_copy(update={"episodes": 10})
            trial = one.trial.model_copy(update={"demonstrations": chosen})
            if (gymnasium == "0.29.1") == (trial.method == "bc"):
                made.add(trial.method.upper(), one.model_copy(update={"trial": trial}), "fig1b", variant=trial.method)
    said = headline(load(made.write(tmp_path)))
    assert "BC [version 0.1.0] 50 / 40 (5), GPRIL 90 / 80 (5)." in said
    assert "Records of version 0.1.0 of the suite, whose seeds share their demonstrations: some of fig1b." in said


def test_statements_are_about_variants_of_their_figures() -> None:
    for experiment, claim in STATEMENTS:
        assert experiment == FIGURE[experiment.name]
        assert set(claim.variants) <= {variant.key for variant in experiment.variants}
