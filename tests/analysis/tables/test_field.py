"""Many methods side by side: by hand, and what must hold for any records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis.figures.data import all_series
from analysis.figures.draw import PLOTS
from analysis.figures.style import plot_style, styles
from analysis.load import Results, load
from analysis.pooling import Pooled
from analysis.tables import field
from analysis.tables.build import field_table, ranks_table, winners_table
from benchmarks.records.plans import PlanRow
from tests.analysis.synthetic import FIELD, Folder, make_record, many_methods


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load(many_methods().write(tmp_path_factory.mktemp("results")))


@pytest.fixture
def by_hand(tmp_path: Path) -> Results:
    """Four methods with two seeds each; C has .5 in both, and so has D, one of whose trials failed after a success."""
    folder = Folder()
    for method, (first, second) in {"a": (1.0, 0.8), "gpril": (0.9, 0.7), "c": (0.5, 0.5), "d": (1.0, 0.0)}.items():
        for seed, success in enumerate((first, second)):
            record = make_record(
                method,
                seed=seed,
                success={"sampled": success, "mean": success},
                status="failed" if (method, seed) == ("d", 1) else "ok",
                usage=(10 * (seed + 1), 5, 2.0),
                drawn=True,
            )
            folder.add(method.upper(), record, variant=method)
    return load(folder.write(tmp_path))


def test_overview_by_hand(by_hand: Results) -> None:
    found = field.overview(by_hand)
    sampled = found[found["mode"] == "sampled"].set_index("label")
    assert sampled.index.tolist() == ["A", "GPRIL", "C", "D"]
    assert sampled["success"].tolist() == pytest.approx([0.9, 0.8, 0.5, 0.5])
    assert sampled["rank"].tolist() == [1.0, 2.0, 3.5, 3.5], "C and D share the ranks 3 and 4"
    assert sampled["behind"].tolist()[1:] == pytest.approx([-0.1, -0.4, -0.4]) and pd.isna(sampled["behind"]["A"])
    assert sampled["against"]["A"] == pytest.approx(0.1) and pd.isna(sampled["against"]["GPRIL"])
    assert sampled["failed"].tolist() == [0, 0, 0, 1] and sampled["seeds"].tolist() == [2] * 4
    assert sampled["environment_steps"].tolist() == [1500, 1500, 1500, 1000], "medians of those that ended well"
    assert sampled["core_seconds"].tolist() == [2.0] * 4 and set(sampled["shown"]) == {"actions"}
    assert set(sampled["rank_low"]) == {1.0} and set(sampled["rank_high"]) == {4.0}, "two seeds tell nobody apart"


def test_differences_are_those_of_paired_seeds(by_hand: Results) -> None:
    scores = by_hand.scores[by_hand.scores["mode"] == "sampled"]
    ours, theirs = (Pooled.of(scores[scores["label"] == label]) for label in ("GPRIL", "A"))
    found = field.overview(by_hand).set_index(["label", "mode"]).loc[("GPRIL", "sampled")]
    assert found[["behind", "behind_low", "behind_high"]].tolist() == pytest.approx(list(ours.minus(theirs)))


def test_a_method_that_lacks_a_cell_has_costs_but_no_place(results: Results) -> None:
    found = field.overview(results)
    lacking = found[found["label"] == "IQ-Learn"]
    assert lacking["success"].isna().all() and lacking["rank"].isna().all() and lacking["behind"].isna().all()
    assert lacking["cells"].tolist() == [2, 2] and (lacking["environment_steps"] == 60_000).all()
    others = found[found["label"] != "IQ-Learn"]
    assert others.groupby("mode")["rank"].sum().to_dict() == {"sampled": sum(range(1, 12)), "mean": sum(range(1, 11))}
    assert set(others["of_cells"]) == {4}
    assert "Diffusion policy" not in set(found.loc[found["mode"] == "mean", "label"]), "it only samples"
    there = field.details(results).set_index(["label", "task", "demonstrations"])
    assert there.loc[("IQ-Learn", "ClipInsertion-v0", 10), "sampled_rank"] >= 1, "but a place where it has the cell"


def unfinished(folder: Folder, tmp_path: Path, gone: Callable[[PlanRow], bool]) -> Results:
    """What is known while the records of some planned trials are not there yet."""
    trials = {row.trial for row in folder.rows if gone(row)}
    records = [record for record in folder.records if record.trial.id not in trials]
    return load(replace(folder, records=records).write(tmp_path))


def test_a_cell_that_few_methods_have_begun_takes_no_rank_away(tmp_path: Path) -> None:
    hard = "PegInsertionHard-v0"
    kept = unfinished(many_methods(), tmp_path / "kept", lambda row: row.task == hard)
    begun = unfinished(
        many_methods(), tmp_path / "begun", lambda row: row.task == hard and (row.label, row.seed) > ("BC", 1)
    )
    before, now = (field.overview(results).set_index(["mode", "label"]) for results in (kept, begun))
    assert now["rank"].notna().all() and set(now["cells"]) == {2} and set(now["of_cells"]) == {4}
    same = ["success", "success_low", "rank", "rank_low", "rank_high", "behind", "against_low", "core_seconds"]
    pd.testing.assert_frame_equal(now[same], before[same])
    assert now.loc[("sampled", "BC"), "missing"] == 2 * 3 and now.loc[("sampled", "GAIL"), "missing"] == 2 * 5
    table = ranks_table(begun)
    assert set(table.shown["Cells"]) == {"2 of 4"}
    words = "with sampled and deterministic actions are over Clip insertion with 10 and 25 demonstrations."
    assert table.note.endswith(f"success and ranks {words}")
    assert set(table.shown.loc[table.shown["Method"] == "GAIL", "Seeds"]) == {"5 (10 missing elsewhere)"}
    drawn = field.by_price(begun.scores, begun.missing)
    assert set(drawn["label"]) == set(FIELD)


def test_a_method_without_some_of_its_seeds_has_no_rank_and_leaves_those_of_others(tmp_path: Path) -> None:
    """Its success would be that of other seeds, and ranks that need common seeds would lose their intervals."""
    results = unfinished(many_methods(), tmp_path, lambda row: row.label == "DAC" and row.seed > 0)
    found = field.overview(results).set_index("label")
    assert found.loc["DAC", ["success", "rank"]].isna().all(axis=None) and set(found.loc["DAC", "cells"]) == {0}
    known = found.drop(["DAC", "IQ-Learn"])
    assert known[["rank_low", "rank_high", "behind_low"]].notna().sum().tolist() == [
        len(known),
        len(known),
        len(known) - 2,
    ]
    assert set(ranks_table(results).shown.set_index("Method").loc["DAC", "Seeds"]) == {"1 (16 missing)"}
    assert "no trial yet" not in ranks_table(results).note
    cells = field.details(results)
    alone = cells["label"] == "DAC"
    assert cells.loc[alone, "sampled_rank"].isna().all() and cells.loc[~alone, "sampled_rank_low"].notna().sum() == 42
    assert cells.loc[alone, "sampled_mean"].notna().all(), "but what is known of it is shown"


def test_the_best_of_a_comparison_has_all_of_its_seeds(tmp_path: Path) -> None:
    """One seed of the method that is the best with all of them: its luck would decide."""
    whole = winners_table(load(many_methods().write(tmp_path / "whole")))
    best = whole.data["best"].iloc[0]
    table = winners_table(unfinished(many_methods(), tmp_path, lambda row: row.label == best and row.seed > 0))
    assert best not in set(table.data["best"]) | set(table.data["next"])
    assert (table.data["variants"] == whole.data["variants"] - 1).all()
    assert table.note.endswith("left out.")


def test_methods_without_any_trial_are_named(tmp_path: Path) -> None:
    table = ranks_table(unfinished(many_methods(), tmp_path, lambda row: row.label in ("BC", "ACT")))
    assert not {"BC", "ACT"} & set(table.shown["Method"]) and table.note.endswith("there is no trial yet of BC, ACT.")


def test_the_only_method_of_a_cell_is_not_its_first(tmp_path: Path) -> None:
    results = unfinished(
        many_methods(), tmp_path, lambda row: row.task == "PegInsertionHard-v0" and row.label != "GPRIL"
    )
    assert "elsewhere" in ranks_table(results).shown.set_index("Method").loc["BC", "Seeds"].iloc[0]
    cells = field.details(results).set_index(["task", "label"])
    assert pd.isna(cells.loc[("PegInsertionHard-v0", "GPRIL"), "sampled_rank"]).all()


def test_a_policy_that_only_samples_has_no_deterministic_failures(tmp_path: Path) -> None:
    """Where all of its trials on one task failed, those on the others tell which actions it has."""
    folder = many_methods()
    for at, record in enumerate(folder.records):
        if (record.trial.method, record.trial.task) == ("diffusion", "PegInsertionHard-v0"):
            folder.records[at] = record.model_copy(update={"status": "failed", "final": {}})
    results = load(folder.write(tmp_path))
    found = results.scores[results.scores["label"] == "Diffusion policy"]
    assert set(found["mode"]) == {"sampled"} and found["success"].eq(0).sum() == 10
    shown = ranks_table(results).shown
    assert shown.loc[shown["Method"] == "Diffusion policy", "Actions"].tolist() == ["Sampled"]


def test_the_success_of_a_cell_is_what_it_is_ranked_by(tmp_path: Path) -> None:
    """A has the higher median, and B the higher mean and rank."""
    folder = Folder()
    for method, rates in {"a": (0.6, 0.6, 0.0), "b": (0.5, 0.5, 0.5), "c": (0.1,) * 3, "d": (0.0,) * 3}.items():
        for seed, success in enumerate(rates):
            folder.add(method, make_record(method, seed=seed, success={"sampled": success, "mean": success}))
    shown = field_table(load(folder.write(tmp_path))).shown.set_index("Method")
    assert [shown.loc[label, "Sampled actions"].partition(" ")[0] for label in "abcd"] == ["40", "50", "10", "0"]
    assert [shown.loc[label, "Sampled rank"].partition(" ")[0] for label in "abcd"] == ["2", "1", "3", "4"]


def test_failed_trials_appear_and_count(results: Results) -> None:
    row = ranks_table(results).shown
    assert set(row.loc[row["Method"] == "SQIL", "Seeds"]) == {"5 (2 of 20 trials failed)"}
    cells = field_table(results).shown
    assert "5 (1 diverged)" in set(cells.loc[cells["Method"] == "SQIL", "Seeds"])
    scores = results.scores[(results.scores["label"] == "SQIL") & (results.scores["mode"] == "sampled")]
    overview = field.overview(results).set_index(["label", "mode"])
    assert overview.loc[("SQIL", "sampled"), "success"] == pytest.approx(
        scores.groupby(["task", "demonstrations"], observed=True)["success"].mean().mean()
    )


def test_stars_are_rarer_than_intervals_without_zero(results: Results) -> None:
    found = field.overview(results).dropna(subset="behind")
    alone = (found["behind_low"] > 0) | (found["behind_high"] < 0)
    starred = found["behind_sure"].astype(bool)
    assert (alone | ~starred).all() and 0 < starred.sum() < alone.sum()
    shown = ranks_table(results).shown["Minus the best"]
    assert shown.str.endswith("*").sum() == starred.sum()


def test_a_star_takes_five_seeds(results: Results) -> None:
    few = replace(results, scores=results.scores[results.scores["seed"] < 4])
    found = field.overview(few).dropna(subset="behind")
    assert (found["behind_high"] < 0).any() and not found["behind_sure"].any()


def test_stars_at_the_best_are_corrected_for_all_pairs(results: Results) -> None:
    """Any method might have been selected as the best, so all pairs count; the reference was chosen beforehand."""
    scores = results.scores[(results.scores["mode"] == "sampled") & (results.scores["label"] != "IQ-Learn")]
    count = scores["label"].nunique()

    def sure(other: str, intervals: int) -> set[str]:
        confidence = 1 - 0.05 / intervals
        found = {str(k): Pooled.of(part, confidence=confidence) for k, part in scores.groupby("label", observed=True)}
        differences = {k: one.minus(found[other]) for k, one in found.items() if k != other}
        return {k for k, one in differences.items() if one.low > 0 or one.high < 0}

    found = field.overview(results).set_index("mode").loc["sampled"].set_index("label")
    starred = {name: set(found.index[found[f"{name}_sure"].astype(bool)]) for name in ("behind", "against")}
    assert starred["behind"] == sure(found.index[0], count * (count - 1) // 2)
    assert starred["against"] == sure("GPRIL", count - 1)
    assert starred["behind"] < sure(found.index[0], count - 1)


def test_the_interval_of_a_rank_holds_it_and_is_reproducible(results: Results) -> None:
    once, again = field.overview(results), field.overview(results)
    pd.testing.assert_frame_equal(once, again)
    known = once.dropna(subset="rank")
    assert (known["rank_low"] <= known["rank"]).all() and (known["rank"] <= known["rank_high"]).all()
    assert (known["rank_low"] < known["rank_high"]).any()


def test_methods_that_are_not_told_apart_share_a_place(results: Results) -> None:
    """The interval of a rank does not contradict that of the difference to GPRIL, which is first."""
    found = field.details(results).dropna(subset="sampled_against")
    unclear = found[(found["sampled_against_low"] <= 0) & (found["sampled_against_high"] >= 0)]
    assert len(unclear) > 3
    keys = ["task", "demonstrations"]
    first = field.details(results).set_index("label").loc["GPRIL"].set_index(keys)["sampled_rank_high"]
    assert (
        unclear["sampled_rank_low"].to_numpy() <= first.loc[[*map(tuple, unclear[keys].to_numpy())]].to_numpy()
    ).all()


def test_success_by_cost_has_a_front_that_nothing_beats(results: Results) -> None:
    data = field.by_price(results.scores, results.missing)
    assert list(data["price"].cat.categories) == ["environment_steps", "expert_queries", "core_seconds"]
    for _, points in data.groupby(["mode", "price"], observed=True):
        for point in points.itertuples():
            beaten = ((points["used"] <= point.used) & (points["mean"] > point.mean)).any()
            assert point.front == (not beaten)
    assert "IQ-Learn" not in set(data["label"])


def test_few_methods_have_neither_tables_nor_figures(tmp_path: Path) -> None:
    folder = Folder()
    for method in ("a", "b", "c"):
        folder.add(method, make_record(method))
    few = load(folder.write(tmp_path))
    assert field.overview(few).empty and field.details(few).empty
    assert next(series.name for series in all_series(few)) == "comparison-success"


def test_figures_of_many_methods_are_ordered_and_name_every_point(results: Results) -> None:
    drawn = {series.figure.kind: series for series in all_series(results)}
    look = styles(results)
    figure = PLOTS["methods"](drawn["methods"], look)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    found = field.overview(results)
    expected = found.groupby("label")["success"].mean()
    assert sorted(names) == sorted(FIELD) and names[0] == "GPRIL" and names[-1] == "IQ-Learn"
    only_both = [name for name in names[:-1] if name != "Diffusion policy"]
    assert only_both == sorted(only_both, key=lambda name: -expected[name])
    assert len(figure.axes) == 4
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    lacking = "no deterministic actions"
    assert said == [[lacking], [lacking], [lacking, "no trials"], [lacking, "no trials"]], "an empty row says why"
    with plot_style():
        costs = PLOTS["costs"](drawn["costs"], look)
        costs.draw_without_rendering()
    renderer = FigureCanvasAgg(costs).get_renderer()
    for axes in costs.axes:
        assert axes.get_title().endswith("actions\nmean over 4 cells, 95 % interval")
        written = [text for text in axes.texts if text.get_text()]
        assert len(written) in (10, 11)
        boxes = [Text.get_window_extent(text, renderer) for text in written]  # without the line to its point
        overlaps = [a.get_text() for i, a in enumerate(written) for j in range(i) if boxes[i].overlaps(boxes[j])]
        assert not overlaps, overlaps


def test_many_methods_have_colours_and_panels_of_their_own(tmp_path: Path) -> None:
    """Lines of the same hue cross each other; ten methods still have one each."""
    folder = Folder()
    for place in range(16):
        folder.add(f"m{place}", make_record(f"m{place}"), "sixteen", variant=f"m{place}")
        if place < 10:
            folder.add(f"m{place}", make_record(f"m{place}"), "ten", variant=f"m{place}")
    results = load(folder.write(tmp_path))
    assert len({style.colour for style in styles(results).values()}) == 16
    kinds = {
        name: {one.figure.kind for one in all_series(results) if one.experiment == name} for name in ("ten", "sixteen")
    }
    assert kinds == {
        "sixteen": {"methods", "costs", "curve_panels"},
        "ten": {"methods", "costs", "curves", "profile"},
    }


def test_ranks_of_tasks_count_each_cell(tmp_path: Path) -> None:
    """A is best on one task with two cells, B on another with one: A has the higher mean over the three."""
    folder = Folder()
    for method in "abcd":
        for task, count in (("ClipInsertion-v0", 10), ("ClipInsertion-v0", 25), ("PegInsertion-v0", 10)):
            best = {"ClipInsertion-v0": "a", "PegInsertion-v0": "b"}[task] == method
            for seed in range(3):
                success = 0.9 if best else 0.1
                folder.add(
                    method, make_record(method, task, count, seed, success={"sampled": success, "mean": success})
                )
    found = field.overview(load(folder.write(tmp_path)))
    found = found[found["mode"] == "sampled"].set_index("label")
    assert found["rank"].to_dict() == {"a": 1.0, "b": 2.0, "c": 3.5, "d": 3.5}
    assert found["rank_high"]["a"] > 1.0, "other tasks might all be like the second one"
    assert np.isclose(found["success"]["a"], (0.9 + 0.9 + 0.1) / 3)
