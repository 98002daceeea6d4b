"""The tables' numbers against values computed by hand, and their three forms."""

from __future__ import annotations

import csv
import re
from io import StringIO
from math import sqrt
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import Results, load
from analysis.tables.build import Table, all_tables, improvement_table, main_table
from analysis.tables.render import latex, markdown, text
from tests.analysis.synthetic import Folder, comparison, make_record


def tables(results: Results) -> dict[str, Table]:
    return {table.name: table for table in all_tables(results)}


@pytest.fixture
def by_hand(tmp_path: Path) -> Results:
    """BC succeeds in 2, 4, 6 and 8 of 10 roll-outs, fails once; GPRIL in 8 of 10, one is missing; so is all of GAIL."""
    folder = Folder()
    for seed, successes in enumerate((2, 4, 6, 8)):
        success = {"sampled": successes / 10, "mean": 0.1}
        folder.add("BC", make_record("bc", seed=seed, success=success, rollouts=10, points=1, usage=(0, 100, 5.0)))  # type: ignore[arg-type]
    folder.add("BC", make_record("bc", seed=4, status="failed", rollouts=10, usage=(0, 7, 1.0)))
    best = make_record("gpril", success={"sampled": 0.8, "mean": 0.9}, rollouts=10, usage=(30, 200, 9.0))
    folder.add("GPRIL", best)
    folder.add("GPRIL", make_record("gpril", seed=1), missing=True)
    folder.add("GAIL", make_record("gail"), missing=True)
    return load(folder.write(tmp_path))


def test_main_table_by_hand(by_hand: Results) -> None:
    table = main_table(by_hand)
    bc, gpril, gail = table.data.to_dict(orient="records")
    assert (bc["seeds"], bc["ok"], bc["failed"], bc["missing"]) == (5, 4, 1, 0)
    # Sorted with the failed trial: 0, .2, .4, .6, .8
    names = ["median", "q1", "q3"]
    assert [bc[f"sampled_last_{name}"] for name in names] == pytest.approx([0.4, 0.2, 0.6])
    assert [bc[f"sampled_best_{name}"] for name in names] == pytest.approx([0.4, 0.2, 0.6])
    assert bc["sampled_iqm"] == pytest.approx(0.4)
    assert bc["sampled_mean"] == pytest.approx(0.4)
    half_width = 2.776445 * sqrt(0.1) / sqrt(5)  # t(0.975, 4) times the standard error
    assert (bc["sampled_mean_low"], bc["sampled_mean_high"]) == pytest.approx(
        (0.4 - half_width, 0.4 + half_width), abs=1e-6
    )
    assert bc["mean_last_median"] == pytest.approx(0.1)
    assert (bc["episodes"], bc["gradient_steps"]) == (0, 100)  # of the trials that ended well
    assert (gpril["seeds"], gpril["missing"], gpril["episodes"]) == (1, 1, 30)
    assert (gail["label"], gail["demonstrations"], gail["seeds"], gail["missing"]) == ("GAIL", 10, 0, 1)


def test_main_table_for_people(by_hand: Results) -> None:
    bc, gpril, gail = main_table(by_hand).shown.to_dict(orient="records")
    assert bc["Seeds"] == "5 (1 failed)"
    assert bc["Sampled, last"] == "40 [20, 60]"
    assert gpril["Seeds"] == "1 (1 missing)"
    assert gpril["Mean action, last"] == gpril["Mean action, IQM"] == "90"  # one seed has no spread
    assert (gail["Task"], gail["Seeds"], gail["Sampled, last"]) == ("PegInsertion-v0", "0 (1 missing)", "–")


def test_improvement_by_hand(by_hand: Results) -> None:
    sampled = improvement_table(by_hand).data.iloc[0]
    assert (sampled["label"], sampled["other"], sampled["trials"], sampled["other_trials"]) == ("BC", "GPRIL", 5, 1)
    assert sampled["probability"] == pytest.approx(0.1)  # one tie of five
    assert pd.isna(sampled["probability_low"])


def test_changes_are_against_the_method_as_it_is(tmp_path: Path) -> None:
    folder = Folder()
    for seed in range(2):
        for label, method, sampled, mean in (
            ("bc", "bc", 0.0, 0.0),
            ("gpril", "gpril", 0.5, 0.75),
            ("gpril, no L2", "gpril", 0.25 + 0.5 * seed, 0.75),
            ("gail, alone", "gail", 1.0, 1.0),  # nothing to compare it with
        ):
            budget, success = (0, len(label), 1.0), {"sampled": sampled, "mean": mean}  # settings would tell them apart
            folder.add(label, make_record(method, seed=seed, success=success, rollouts=4, usage=budget))  # type: ignore[arg-type]
    table = tables(load(folder.write(tmp_path)))["changes"]
    (row,) = table.data.to_dict(orient="records")
    assert (row["label"], row["trials"]) == ("gpril, no L2", 2)
    assert (row["sampled"], row["sampled_low"], row["sampled_high"]) == (0.0, -0.25, 0.25)
    assert table.shown["Sampled"].item() == "+0 [-25, +25]" and table.shown["Mean action"].item() == "+0 [+0, +0]"


def test_changes_of_a_method_from_a_file_and_labels_that_change_nothing(tmp_path: Path) -> None:
    folder = Folder()
    for seed in range(2):
        whole = folder.add("mine", make_record("mine.py:Mine", seed=seed, usage=(0, 1, 1.0)))
        folder.add("mine, rate 0.1", whole)
        folder.add("mine (rate=0.2)", make_record("mine.py:Mine", seed=seed, usage=(0, 2, 1.0)))
        folder.add("mine (rate=0.2), wide", make_record("mine.py:Mine", seed=seed, usage=(0, 4, 1.0)))
        folder.add("mineral", make_record("mine.py:Mine", seed=seed, usage=(0, 3, 1.0)))
    data = tables(load(folder.write(tmp_path)))["changes"].data
    assert data["label"].tolist() == ["mine (rate=0.2)", "mine (rate=0.2), wide"]


def test_endings_by_hand(by_hand: Results) -> None:
    data = tables(by_hand)["endings"].data
    bc = data[(data["label"] == "BC") & (data["mode"] == "sampled")].iloc[0]
    # 20 of 40 succeed; the other 8, 6, 4 and 2 of each trial alternate between the two failures.
    assert (bc["rollouts"], bc["success"], bc["workspace"], bc["timeout"]) == (40, 0.5, 0.25, 0.25)
    assert bc["seconds_median"] == pytest.approx(6.2)  # lengths 6.0, 6.1, ... occur 4, 4, 3, 3, 2, 2, 1, 1 times


def test_unusual_endings_get_a_column(tmp_path: Path) -> None:
    folder = Folder()
    record = make_record(rollouts=4)
    final = {
        mode: [r.model_copy(update={"end": "unstable", "success": False}) for r in rolls]
        for mode, rolls in record.final.items()
    }
    folder.add("BC", record.model_copy(update={"final": final}))
    table = tables(load(folder.write(tmp_path)))["endings"]
    assert table.data["unstable"].tolist() == [1.0, 1.0] and table.data["success"].tolist() == [0.0, 0.0]
    assert table.shown["Unstable"].tolist() == ["100", "100"] and table.shown["Seconds"].tolist() == ["–", "–"]


def test_overall_weighs_all_cells(tmp_path: Path) -> None:
    folder = Folder()
    for task, share in (("clip", 0.2), ("peg", 0.6)):
        for seed in range(4):
            folder.add("BC", make_record(task=task, seed=seed, success={"sampled": share, "mean": 0.0}))
    data = tables(load(folder.write(tmp_path)))["overall"].data
    assert data[["label", "mode", "cells", "trials"]].to_numpy().tolist()[0] == ["BC", "sampled", 2, 8]
    assert data[["iqm", "iqm_low", "iqm_high"]].to_numpy().tolist()[0] == pytest.approx([0.4, 0.4, 0.4])


def test_a_single_cell_has_no_overall_table(tmp_path: Path) -> None:
    assert "overall" not in tables(load(comparison(tasks=("peg",), seeds=2).write(tmp_path)))


def test_nothing_but_failures_still_makes_tables(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(status="diverged", error="non-finite loss", points=0))
    made = tables(load(folder.write(tmp_path)))
    assert set(made) == {"main", "trials"}
    assert made["main"].shown[["Seeds", "Sampled, last", "Episodes"]].to_numpy().tolist()[0] == [
        "1 (1 diverged)",
        "0",
        "–",
    ]
    assert made["trials"].shown[["Status", "Error"]].to_numpy().tolist()[0] == ["diverged", "non-finite loss"]


def test_csv_holds_every_digit(by_hand: Results) -> None:
    table = main_table(by_hand)
    rows = list(csv.DictReader(StringIO(table.files()["main.csv"].decode())))
    assert float(rows[0]["sampled_mean_low"]) == table.data.loc[0, "sampled_mean_low"]
    assert rows[0]["seeds"] == "5" and rows[2]["sampled_iqm"] == rows[2]["episodes"] == ""


def test_only_costs_vary_between_identical_runs(tmp_path: Path) -> None:
    """Everything that the clock or the machine decides is kept out of the other tables."""
    folder = comparison(seeds=2)
    first = tables(load(folder.write(tmp_path / "first")))
    for place, record in enumerate(folder.records):
        usage = record.usage.model_copy(
            update={"training_seconds": 1e3, "evaluation_seconds": 2e3, "peak_memory_mib": 9.0}
        )
        curve = [point.model_copy(update={"training_seconds": 7.0}) for point in record.curve]
        provenance = record.provenance.model_copy(update={"started": "2030-01-01T00:00:00+00:00", "commit": ""})
        update = {"usage": usage, "curve": curve, "provenance": provenance}
        folder.records[place] = record.model_copy(update=update)
    second = tables(load(folder.write(tmp_path / "second")))
    differing = {name for name in first if first[name].files() != second[name].files()}
    assert differing == {"costs"}
    assert "Machine dependent" in first["costs"].note


def test_smoke_says_that_it_means_nothing(tmp_path: Path) -> None:
    table = main_table(load(comparison(seeds=1, profile="smoke").write(tmp_path)))
    for content in table.files().values():
        assert b"pipeline check, no scientific meaning" in content or content.startswith(b"experiment,")


NASTY = pd.DataFrame({"Method": ["a_b & 50 % #1 {x} ~^\\", "[c|d] <e>\n$f$"], "Seeds": ["1", "2"]})


def test_latex_is_escaped() -> None:
    lines = latex("title", NASTY, "note").splitlines()
    assert r"a\_b \& 50 \% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} & 1 \\" in lines
    assert r"{[}c\textbar{}d] \textless{}e\textgreater{} \$f\$ & 2 \\" in lines
    assert r"\begin{tabular}{lr}" in lines
    body = "\n".join(lines[2:])
    assert body.count("{") - body.count(r"\{") == body.count("}") - body.count(r"\}")


def test_markdown_is_escaped() -> None:
    rows = [line for line in markdown("title", NASTY, "note").splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert r"a\_b &amp; 50 % #1 {x} \~^\\" in rows[2]
    assert "&lt;e&gt; $f$" in rows[3]


def test_text_is_aligned_and_takes_no_markup() -> None:
    frame = pd.DataFrame({"Method": ["[red]x[/red]", "y"], "Sampled, last": ["40 [20, 60]", "5"]})
    first, second = text(frame).splitlines()[-2:]
    assert first.startswith("[red]x[/red]") and len(first) == len(second) and second.endswith(" 5")
