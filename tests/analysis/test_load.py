"""Reading a results folder: what is counted, what is left out, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.figures.data import all_series
from analysis.figures.draw import PLOTS
from analysis.figures.style import styles
from analysis.load import ResultsError, load, version_note
from analysis.report.__main__ import check_report, write_report
from benchmarks.records.plans import Plan, PlanRow
from tests.analysis.synthetic import Folder, comparison, make_record, record_path


def test_one_row_a_trial_and_mode(tmp_path: Path) -> None:
    folder = Folder()
    record = folder.add("BC", make_record(success={"sampled": 0.75, "mean": 0.4}, rollouts=20))
    results = load(folder.write(tmp_path))
    assert results.scores["mode"].tolist() == ["sampled", "mean"]
    assert results.scores["success"].tolist() == [0.75, 0.4]
    assert results.scores["successes"].tolist() == [15, 8]
    assert results.scores["rollouts"].tolist() == [20, 20]
    assert results.scores["best"].tolist() == [max(point.sampled for point in record.curve), 0.4]
    assert results.scores["trial"].unique().tolist() == [record.trial.id]
    assert results.scores["gradient_steps"].tolist() == [1_000, 1_000]
    assert results.curve["point"].tolist() == list(range(6))
    assert len(results.rollouts) == 40
    assert results.missing.empty and not results.notices


def test_a_curve_ends_with_the_rollouts_it_was_measured_on(tmp_path: Path) -> None:
    """The final evaluation goes on to harder seeds here, which no earlier point of the curve has met."""
    folder = Folder()
    record = make_record(success={"sampled": 0.5, "mean": 0.5}, rollouts=20)
    fewer = record.trial.evaluation.model_copy(update={"curve_rollouts": 5})
    sorted_by_success = {
        mode: [one.model_copy(update={"success": place < 10}) for place, one in enumerate(rollouts)]
        for mode, rollouts in record.final.items()
    }
    trial = record.trial.model_copy(update={"evaluation": fewer})
    folder.add("BC", record.model_copy(update={"trial": trial, "final": sorted_by_success}))
    results = load(folder.write(tmp_path))
    assert results.curve["sampled"].tolist()[-1] == 1.0
    assert results.curve["sampled"].tolist()[:-1] == [point.sampled for point in record.curve[:-1]]
    assert results.scores["success"].tolist() == [0.5, 0.5] and results.scores["best"].tolist() == [1.0, 1.0]


def test_rows_follow_the_plan_not_the_alphabet(tmp_path: Path) -> None:
    folder = Folder()
    for label, method, task in [("Z", "z", "peg"), ("A", "a", "clip")]:
        for seed in (1, 0):
            folder.add(label, make_record(method, task, seed=seed))
    scores = load(folder.write(tmp_path)).scores
    assert scores["label"].unique().tolist() == ["Z", "A"]
    assert scores["task"].unique().tolist() == ["peg", "clip"]
    assert scores["seed"].tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize("status", ["failed", "diverged", "timed out"])
def test_a_trial_that_did_not_end_well_counts_as_zero(tmp_path: Path, status: str) -> None:
    folder = Folder()
    folder.add("BC", make_record(status=status, error="it broke"))  # type: ignore[arg-type]
    results = load(folder.write(tmp_path))
    assert results.scores[["success", "best"]].to_numpy().tolist() == [[0.0, 0.0]] * 2
    assert results.scores["error"].unique().tolist() == ["it broke"]
    assert len(results.curve) == 3 and results.rollouts.empty


def test_rollouts_of_a_failed_trial_are_not_counted(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(success={"sampled": 1.0, "mean": 1.0}).model_copy(update={"status": "diverged"}))
    assert load(folder.write(tmp_path)).scores["success"].tolist() == [0.0, 0.0]


def test_a_trial_without_curve_has_no_best(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(points=0))
    assert load(folder.write(tmp_path)).scores["best"].isna().all()


def test_planned_trials_without_record_are_missing(tmp_path: Path) -> None:
    folder = comparison(seeds=1)
    absent = folder.add("BC", make_record(seed=9), missing=True)
    missing = load(folder.write(tmp_path)).missing
    assert missing[["experiment", "label", "trial"]].astype(str).to_numpy().tolist() == [
        ["comparison", "BC", absent.trial.id]
    ]
    assert missing[["task", "demonstrations", "seed"]].to_numpy().tolist() == [["PegInsertion-v0", 10, 9]]


def test_records_outside_the_plan_are_ignored_and_named(tmp_path: Path) -> None:
    folder = comparison(seeds=1)
    directory = folder.write(tmp_path)
    stranger = make_record(seed=99)
    record_path(directory, stranger).write_bytes(stranger.to_bytes())
    results = load(directory)
    assert stranger.trial.id not in set(results.scores["trial"])
    assert len(results.notices) == 1 and "1 record (" in results.notices[0] and stranger.trial.id in results.notices[0]


def test_damaged_records_are_named_and_not_used(tmp_path: Path) -> None:
    folder = comparison(seeds=4)
    directory = folder.write(tmp_path)
    cut, edited, renamed, noise = (record_path(directory, record) for record in folder.records[:4])
    cut.write_bytes(cut.read_bytes()[:-100])
    edited.write_bytes(edited.read_bytes().replace(b'"success":false', b'"success":true', 1))
    renamed.write_bytes(folder.records[7].to_bytes())
    noise.write_bytes(b"\xff\x00")
    results = load(directory)
    assert len(results.notices) == 4
    for path in (cut, edited, renamed, noise):
        assert any(str(path) in notice for notice in results.notices)
        assert path.stem not in set(results.scores["trial"])
        assert path.stem in set(results.missing["trial"])


def test_a_trial_in_two_experiments_counts_in_both(tmp_path: Path) -> None:
    folder = Folder()
    record = folder.add("BC", make_record(), experiment="fig1b")
    folder.rows += [PlanRow.of("fig1d", "BC, actions", record.trial), folder.rows[0]]
    scores = load(folder.write(tmp_path)).scores
    assert scores[["experiment", "label"]].drop_duplicates().astype(str).to_numpy().tolist() == [
        ["fig1b", "BC"],
        ["fig1d", "BC, actions"],
    ]
    assert len(scores) == 4


def test_mixed_code_and_shared_seeds_are_noticed(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(seed=0, code="a" * 64))
    folder.add("BC", make_record(seed=0, rollouts=10, code="b" * 64))
    notices = load(folder.write(tmp_path)).notices
    assert any("bc on PegInsertion-v0" in notice and "2 different versions of the code" in notice for notice in notices)
    assert any("share a seed" in notice for notice in notices)


def test_what_is_not_comparable_is_noticed(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record("bc", rollouts=20))
    folder.add("GPRIL", make_record("gpril", rollouts=20))
    assert not any("not comparable" in notice for notice in load(folder.write(tmp_path / "same")).notices)
    other = make_record("gail")
    chosen = other.trial.demonstrations.model_copy(update={"digest": "e" * 64, "start": 50})
    other = other.model_copy(update={"trial": other.trial.model_copy(update={"demonstrations": chosen})})
    folder.add("GAIL", other)
    (notice,) = (one for one in load(folder.write(tmp_path / "different")).notices if "not comparable" in one)
    assert "comparison, PegInsertion-v0, 10 demonstrations" in notice and "eeeeeeee from 50 on" in notice


def test_records_of_other_code_have_a_label_of_their_own(tmp_path: Path) -> None:
    """Nothing is computed from both, and every table, figure and page says which is which."""
    folder = comparison(seeds=4)
    folder.rows = [
        row.model_copy(update={"other_code": row.label == "BC" and row.seed < 3 and row.task.startswith("Clip")})
        for row in folder.rows
    ]
    results = load(folder.write(tmp_path))
    clip = results.scores[(results.scores["task"] == "ClipInsertion-v0") & (results.scores["mode"] == "mean")]
    assert clip.groupby("label", observed=True).size().to_dict() == {
        **{"GPRIL": 4, "GAIL": 4, "BC": 1},
        "BC [other code]": 3,
    }
    assert "made by other code than the rest, and labelled so: 3 records [other code]" in results.notices

    write_report(tmp_path)
    for name in ("tables/main.csv", "tables/main.tex", "figures/comparison-success.csv", "report.html"):
        assert "BC [other code]" in (tmp_path / name).read_text().replace("{[}", "[")
    (drawn, *_) = all_series(results)
    figure = PLOTS[drawn.figure.kind](drawn, styles(results))
    assert any("BC [other code]" in [tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes)


def test_records_of_another_version_are_never_mixed_with_the_rest(tmp_path: Path) -> None:
    """A figure that is replaced step by step: what is left of the first release has labels of its own."""
    folder = Folder()
    for seed in range(5):
        for label, gymnasium in (("GPRIL", "1.4.0"), ("BC", "0.29.1")):
            folder.add(label, make_record(label.lower(), seed=seed, gymnasium=gymnasium), "new", variant=label.lower())
        for variant, base in (("bc", ""), ("bc/tuned", "bc")):
            old = make_record("bc", seed=seed, rollouts=20 + 10 * bool(base), gymnasium="0.29.1")
            folder.add(variant, old, "old", variant=variant, base=base)
            folder.add(variant, old, "both", variant=variant, base=base)
        folder.add("bc", make_record("bc", seed=seed, rollouts=40), "both", variant="bc")
    results = load(folder.write(tmp_path))
    keys = results.scores[["experiment", "label", "variant", "base"]].drop_duplicates().astype(str)
    assert set(keys.itertuples(index=False, name=None)) == {
        ("new", "GPRIL", "gpril", ""),
        ("new", "BC [version 0.1.0]", "bc [version 0.1.0]", ""),
        ("old", "bc", "bc", ""),
        ("old", "bc/tuned", "bc/tuned", "bc"),
        ("both", "bc", "bc", ""),
        ("both", "bc [version 0.1.0]", "bc [version 0.1.0]", ""),
        ("both", "bc/tuned [version 0.1.0]", "bc/tuned [version 0.1.0]", "bc [version 0.1.0]"),
    }
    said = (
        "Records of version 0.1.0 of the suite, whose seeds share their demonstrations: old; some of both, new. "
        "All others are of later versions."
    )
    assert said in results.notices
    write_report(tmp_path)
    assert all(said in (tmp_path / name).read_text() for name in ("tables/main.md", "tables/changes.md", "report.html"))
    assert check_report(tmp_path) == []


def test_one_version_needs_no_labels(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(gymnasium="0.29.1"))
    results = load(folder.write(tmp_path))
    assert version_note(results.scores) == (
        "Records of version 0.1.0 of the suite, whose seeds share their demonstrations."
    )
    assert results.scores["label"].astype(str).tolist() == ["BC", "BC"]
    folder.records = [make_record()]
    assert version_note(load(folder.write(tmp_path)).scores) == ""


def test_text_columns_survive_as_text(tmp_path: Path) -> None:
    """Under pandas 3 they are of its string type; a label such as "NA" or "1" must not become something else."""
    folder = Folder()
    for label in ("NA", "1", "None"):
        folder.add(label, make_record(method=f"m{label}"))
    scores = load(folder.write(tmp_path)).scores
    assert [str(label) for label in scores["label"].unique()] == ["NA", "1", "None"]
    assert not scores["label"].isna().any() and isinstance(scores["trial"].dtype, pd.StringDtype | object)


def test_folders_without_results_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="is not a folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ResultsError, match=r"has no plan\.json"):
        load(tmp_path)
    plan = tmp_path / "plan.json"
    plan.write_text(Plan(profile="quick", rows=[PlanRow.of("e", "l", make_record(seed=1).trial)]).model_dump_json())
    with pytest.raises(ResultsError, match="no usable record of the 1 planned trials"):
        load(tmp_path)
    plan.write_text("{}")
    with pytest.raises(ResultsError, match=r"plan\.json: not a plan"):
        load(tmp_path)


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    directory = str(comparison(seeds=1).write(tmp_path))
    write_report(directory)
    assert check_report(directory) == [] and load(directory).profile == "quick"
