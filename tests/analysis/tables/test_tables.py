"""The tables' numbers against values computed by hand, and their three forms."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.data import all_series
from analysis.formatting import percent, written_bound
from analysis.load import Results, load
from analysis.statistics import difference, rate_interval
from analysis.tables.build import Table, all_tables, improvement_table, main_table
from analysis.tables.render import latex, markdown, text
from tests.analysis.synthetic import Folder, comparison, make_record


def tables(results: Results) -> dict[str, Table]:
    return {table.name: table for table in all_tables(results)}


@pytest.fixture
def by_hand(tmp_path: Path) -> Results:
    """BC succeeds in 2, 4, 6 and 8 of 10 rollouts, fails once; GPRIL in 8 of 10, one is missing; so is all of GAIL."""
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
    expected = rate_interval([0.0, 0.2, 0.4, 0.6, 0.8], 40)  # ten rollouts of each of the four that ended well
    assert [bc[f"sampled_mean{end}"] for end in ("", "_low", "_high")] == pytest.approx(list(expected))
    assert bc["mean_last_median"] == pytest.approx(0.1)
    assert (bc["episodes"], bc["gradient_steps"]) == (0, 100)  # of the trials that ended well
    assert (gpril["seeds"], gpril["missing"], gpril["episodes"]) == (1, 1, 30)
    assert (gail["label"], gail["demonstrations"], gail["seeds"], gail["missing"]) == ("GAIL", 10, 0, 1)


def test_main_table_for_people(by_hand: Results) -> None:
    bc, gpril, gail = main_table(by_hand).shown.to_dict(orient="records")
    assert bc["Seeds"] == "5 (1 failed)"
    assert bc["Sampled actions"] == "40 [20, 60]" and bc["Sampled mean"] == "40 [13, 75]"
    assert gpril["Seeds"] == "1 (1 missing)"
    assert gpril["Deterministic actions"] == gpril["Deterministic mean"] == "90"  # one seed has no spread
    assert (gail["Task"], gail["Seeds"], gail["Sampled actions"]) == ("Peg insertion", "0 (1 missing)", "–")


def test_improvement_by_hand(by_hand: Results) -> None:
    sampled = improvement_table(by_hand).data.iloc[0]
    assert (sampled["label"], sampled["other"], sampled["trials"], sampled["other_trials"]) == ("BC", "GPRIL", 5, 1)
    assert sampled["probability"] == pytest.approx(0.1)  # one tie of five
    assert pd.isna(sampled["probability_low"])


def test_changes_are_against_the_base_that_the_plan_names(tmp_path: Path) -> None:
    """Not against what its label begins with; a variant that is the same trials as its base has no row."""
    folder = Folder()
    for seed in range(2):
        for key, base, method, sampled, mean in (
            ("bc", "", "bc", 0.0, 0.0),
            ("gpril", "", "gpril", 0.5, 0.75),
            ("gpril/no L2", "gpril", "gpril", 0.25 + 0.5 * seed, 0.75),
            ("gpril/once more", "gpril/no L2", "gpril", 1.0, 1.0),
            ("gail/alone", "gail", "gail", 1.0, 1.0),  # its base is not here
        ):
            budget, success = (0, len(key), 1.0), {"sampled": sampled, "mean": mean}  # settings would tell them apart
            record = make_record(method, seed=seed, success=success, rollouts=4, usage=budget)  # type: ignore[arg-type]
            folder.add(f"label of {key}", record, variant=key, base=base)
            if key == "gpril":
                folder.add("the same", record, variant="gpril/same", base="gpril")
    table = tables(load(folder.write(tmp_path)))["changes"]
    first, second = table.data.to_dict(orient="records")
    assert (first["label"], first["base"], first["trials"]) == ("label of gpril/no L2", "label of gpril", 2)
    assert (second["label"], second["base"]) == ("label of gpril/once more", "label of gpril/no L2")
    expected = difference(rate_interval([0.25, 0.75], 8), rate_interval([0.5, 0.5], 8))
    assert (first["sampled"], first["sampled_low"], first["sampled_high"]) == pytest.approx(tuple(expected))
    assert table.shown["Sampled actions"].iloc[1] == "+50 [-57, +99]"


def test_seeds_are_paired_where_each_drew_its_own_demonstrations(tmp_path: Path) -> None:
    """Two variants that rise and fall together differ by much less than seeds that have nothing in common."""
    widths = []
    for drawn in (False, True):
        folder = Folder()
        for key, base, lift in (("bc", "", 0.0), ("bc/more", "bc", 0.1)):
            for seed, share in enumerate((0.1, 0.3, 0.5, 0.7, 0.85)):
                record = make_record(
                    "bc", seed=seed, success={"sampled": share + lift, "mean": share}, usage=(0, len(key), 1.0)
                )
                if drawn:
                    chosen = record.trial.demonstrations.model_copy(update={"draw_seed": seed})
                    trial = record.trial.model_copy(update={"demonstrations": chosen})
                    record = record.model_copy(update={"trial": trial})
                folder.add(key, record, variant=key, base=base)
        (row,) = tables(load(folder.write(tmp_path / str(drawn))))["changes"].data.to_dict(orient="records")
        assert row["sampled"] == pytest.approx(0.1)
        widths.append(row["sampled_high"] - row["sampled_low"])
    assert widths[1] < 0.4 * widths[0]


def test_a_mode_that_a_policy_does_not_have_is_a_blank(tmp_path: Path) -> None:
    folder = Folder()
    for seed in range(5):
        both = make_record("bc", seed=seed, success={"sampled": 0.5, "mean": 0.6})
        folder.add("BC", both)
        one = make_record(
            "act", seed=seed, success={"sampled": 0.0, "mean": 0.9}, status="failed" if seed == 4 else "ok"
        )
        curve = [point.model_copy(update={"sampled": None}) for point in one.curve]
        final = {mode: rollouts for mode, rollouts in one.final.items() if mode == "mean"}
        folder.add("ACT", one.model_copy(update={"curve": curve, "final": final}))
    results = load(folder.write(tmp_path))
    made = tables(results)
    bc, act = made["main"].shown.to_dict(orient="records")
    assert act["Sampled actions"] == act["Sampled mean"] == "–" and act["Seeds"] == "5 (1 failed)"
    assert act["Deterministic actions"] == "90 [90, 90]" and bc["Sampled actions"] == "50 [50, 50]"
    assert pd.isna(made["main"].data.loc[1, "sampled_mean"])
    assert made["trials"].data.loc[made["trials"].data["label"] == "ACT", "sampled"].isna().all()
    assert made["winners"].data[["mode", "best"]].to_numpy().tolist() == [["mean", "ACT"]]
    assert len(made["improvement"].data) == 1 and len(made["endings"].data) == 3
    for series in all_series(results):
        assert not ((series.data["label"] == "ACT") & (series.data.get("mode") == "sampled")).any(), series.name
        said = f"Each point is from {results.curve['rollouts'].iloc[0]} rollouts per seed."
        assert (said in series.note) == (series.figure.kind == "curves")


def test_what_some_trainings_use_has_a_column_where_any_did(tmp_path: Path) -> None:
    folder = comparison(tasks=("peg",), seeds=1)
    assert "Expert queries" not in main_table(load(folder.write(tmp_path / "1"))).shown
    asked = make_record("dagger")
    folder.add("DAgger", asked.model_copy(update={"usage": asked.usage.model_copy(update={"expert_queries": 1234})}))
    table = main_table(load(folder.write(tmp_path / "2")))
    assert table.shown["Expert queries"].tolist() == ["0", "0", "0", "1,234"]
    assert table.data["expert_queries"].tolist() == [0, 0, 0, 1234]


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


def test_overall_weighs_cells_equally(tmp_path: Path) -> None:
    """Ten trials at .2 on one task weigh as much as two at .6 on the other; the IQM counts trials."""
    folder = Folder()
    for task, share, seeds in (("clip", 0.2, 10), ("peg", 0.6, 2)):
        for seed in range(seeds):
            folder.add("BC", make_record("bc", task, seed=seed, success={"sampled": share, "mean": 0.0}))
    data = tables(load(folder.write(tmp_path)))["overall"].data
    assert data[["label", "mode", "cells", "trials"]].to_numpy().tolist()[0] == ["BC", "sampled", 2, 12]
    row = data.iloc[0]
    assert row["mean"] == pytest.approx(0.4) and row["iqm"] == pytest.approx(0.2)
    assert (row["mean_low"], row["mean_high"]) == pytest.approx(tuple(rate_interval([0.4, 0.4], 80))[1:])


def test_the_best_of_a_comparison(tmp_path: Path) -> None:
    """Over the numbers of demonstrations that all variants have: GPRIL .6 and .8, BC .5 and .7, GAIL with 25 alone."""
    folder = Folder()
    for seed in range(5):
        for label, method, number, share in (
            ("GPRIL", "gpril", 10, 0.6),
            ("GPRIL", "gpril", 25, 0.8),
            ("BC", "bc", 10, 0.5),
            ("BC", "bc", 25, 0.7),
        ):
            record = make_record(
                method, demonstrations=number, seed=seed, success={"sampled": share, "mean": 0.3}, rollouts=100
            )
            folder.add(label, record)
    row = tables(load(folder.write(tmp_path)))["winners"].data.iloc[0]
    assert (row["mode"], row["cells"], row["best"], row["next"]) == ("sampled", 2, "GPRIL", "BC")
    ours, theirs = rate_interval([0.7] * 5, 1000), rate_interval([0.6] * 5, 1000)
    assert row[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        list(difference(ours, theirs))
    )


@pytest.mark.parametrize(
    ("number", "form", "text"),
    [
        (-0.13, "+.0f", "-0"),
        (0.13, "+.0f", "+0"),
        (-1e-12, "+.0f", "+0"),
        (-0.0, "+.0f", "+0"),
        (-0.04, "+.1f", "-0.0"),
        (-12.6, "+.0f", "-13"),
        (0.0, ".0f", "0"),
    ],
)
def test_a_bound_shows_on_which_side_of_zero_it_is(number: float, form: str, text: str) -> None:
    assert written_bound(number, form) == text


@pytest.mark.parametrize("noise", [-1e-15, 0.0, 1e-15])
def test_the_noise_of_sums_does_not_decide_how_a_half_is_rounded(noise: float) -> None:
    assert (percent(0.805 + noise), percent(0.865 + noise)) == ("80", "86")
    assert written_bound(80.5 + 100 * noise, ".0f") == "80"


def test_a_single_cell_has_no_overall_table(tmp_path: Path) -> None:
    assert "overall" not in tables(load(comparison(tasks=("peg",), seeds=2).write(tmp_path)))


def test_nothing_but_failures_still_makes_tables(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(status="diverged", error="non-finite loss", points=0))
    made = tables(load(folder.write(tmp_path)))
    assert set(made) == {"main", "trials"}
    assert made["main"].shown[["Seeds", "Sampled actions", "Episodes"]].to_numpy().tolist()[0] == [
        "1 (1 diverged)",
        "0",
        "–",
    ]
    assert made["trials"].shown[["Status", "Error"]].to_numpy().tolist()[0] == ["diverged", "non-finite loss"]


def test_csv_holds_every_digit(by_hand: Results) -> None:
    table = main_table(by_hand)
    rows = list(csv.DictReader(StringIO(table.files()["main.csv"].decode())))
    assert float(rows[0]["sampled_mean_low"]) == table.data.loc[0, "sampled_mean_low"]
    assert rows[0]["seeds"] == "5" and rows[2]["sampled_mean"] == rows[2]["episodes"] == ""


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
    assert "depend on the hardware" in first["costs"].note


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
    frame = pd.DataFrame({"Method": ["[red]x[/red]", "y"], "Sampled actions": ["40 [20, 60]", "5"]})
    first, second = text(frame).splitlines()[-2:]
    assert first.startswith("[red]x[/red]") and len(first) == len(second) and second.endswith(" 5")


def test_text_fits_a_terminal() -> None:
    """Numbers are whole, words break: labels hold the settings that were changed for a run."""
    settings = ", ".join(f"a_setting_with_a_long_name_{i}=0.123" for i in range(3))
    frame = pd.DataFrame(
        {"Method": [f"GPRIL ({settings})"], **{name: ["100 [100, 100]"] for name in ("A b", "C d", "E")}}
    )
    lines = text(frame).splitlines()
    assert max(map(len, lines)) <= 80 and sum("100 [100, 100]" in line for line in lines) == 1
