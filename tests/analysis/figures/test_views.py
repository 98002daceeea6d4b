"""The paper's figures: each experiment's own view, by hand and drawn."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.data import Series, all_series
from analysis.figures.draw import PLOTS, draw
from analysis.figures.style import styles
from analysis.load import Results, load
from analysis.report.__main__ import write_report
from analysis.statistics import rate_interval
from benchmarks.paper import FIGURES
from benchmarks.records.schema import Mode, Rollout
from tests.analysis.synthetic import Folder, make_record

VIEWS = {experiment.name: experiment.figure for experiment in FIGURES if experiment.figure}
SCENARIOS = {"gpril": 0.8, "gpril, every tenth state": 0.75, "gpril, final states": 0.6}


def paper(directory: Path, experiment: str, numbers: tuple[int, ...] = (25,)) -> Results:
    """Synthetic records of one experiment: success rises with demonstrations and falls with the scenario's place."""
    folder = Folder(profile="standard")
    rng = np.random.default_rng(0)
    for place, (label, level) in enumerate(SCENARIOS.items()):
        for number in numbers:
            for seed in range(3):
                share = float(np.clip(level * number / (number + 5) + rng.normal(0, 0.05), 0, 1))
                success: dict[Mode, float] = {"sampled": share, "mean": share / 2}
                usage = (100 * 10**place, 1_000 + place, 9.0)
                record = make_record("gpril", "PegInsertion-v0", number, seed, success=success, usage=usage)
                folder.add(label, record, experiment)
    results = load(folder.write(directory))
    expert = pd.DataFrame([{"task": "PegInsertion-v0", "success": 0.96, "median": 5.0, "q1": 4.0, "q3": 6.5}])
    return Results(**{**vars(results), "expert": expert})


def first(results: Results) -> Series:
    return next(iter(all_series(results)))


@pytest.mark.parametrize("experiment", VIEWS)
def test_each_experiment_of_the_paper_has_its_figure_first(tmp_path: Path, experiment: str) -> None:
    results = paper(tmp_path, experiment, (5, 25) if VIEWS[experiment].kind == "success" else (25,))
    series = first(results)
    assert series.name == experiment and series.figure is VIEWS[experiment]
    drawing = draw(series, styles(results), "standard")
    image = np.asarray(Image.open(BytesIO(drawing.files[f"{experiment}.png"])).convert("RGB"))
    assert image.shape[1] >= 750 and image.std() > 10
    assert drawing.panels and drawing.legend


def test_no_figure_is_drawn_twice(tmp_path: Path) -> None:
    assert "fig1b-success" not in [series.name for series in all_series(paper(tmp_path / "1", "fig1b"))]
    names = [series.name for series in all_series(paper(tmp_path / "2", "fig2d"))]
    assert names[:2] == ["fig2d", "fig2d-success"] and len(set(names)) == len(names)


def test_means_have_the_interval_of_a_rate(tmp_path: Path) -> None:
    """Of .2, .4 and .6 with 20 rollouts each."""
    folder = Folder()
    for seed, share in enumerate((0.2, 0.4, 0.6)):
        record = make_record("gpril", seed=seed, success={"sampled": share, "mean": share}, points=1)
        folder.add("gpril", record, "fig2c")
    data = first(load(folder.write(tmp_path))).data
    assert list(data.columns[-4:]) == ["mean", "low", "high", "trials"] and len(data) == 2
    row = data.iloc[0]
    assert row["gradient_steps"] == 1_000 and row["trials"] == 3
    assert (row["mean"], row["low"], row["high"]) == pytest.approx(tuple(rate_interval([0.2, 0.4, 0.6], 60)))


def test_seconds_are_those_of_all_successes_together(tmp_path: Path) -> None:
    """Two seeds succeed after 2, 4 and 6 s and after 9 s; a third one never does, and has no seconds."""
    folder = Folder()
    for seed, lengths in enumerate([(2.0, 4.0, 6.0), (9.0,), ()]):
        ends = [Rollout(seed=i, success=True, seconds=at, end="success") for i, at in enumerate(lengths)]
        ends.append(Rollout(seed=9, success=False, seconds=50.0, end="timeout"))
        record = make_record("gpril", seed=seed)
        folder.add("gpril", record.model_copy(update={"final": {"sampled": ends, "mean": ends[-1:]}}), "fig2e")
    data = first(load(folder.write(tmp_path))).data
    assert data[["mode", "seed", "successes", "seconds"]].values.tolist() == [
        ["sampled", 0, 3, 4.0],
        ["sampled", 1, 1, 9.0],
    ]
    assert data[["median", "q1", "q3"]].drop_duplicates().values.tolist() == [[5.0, 3.5, 6.75]]


def test_no_success_means_no_figure_of_seconds_but_all_others(tmp_path: Path) -> None:
    folder = Folder()
    for seed in range(2):
        folder.add("gpril", make_record("gpril", seed=seed, success={"sampled": 0.0, "mean": 0.0}), "fig2e")
    names = [series.name for series in all_series(load(folder.write(tmp_path)))]
    assert "fig2e" not in names and "fig2e-success" in names


def test_the_best_seed_is_the_one_that_ended_best(tmp_path: Path) -> None:
    folder = Folder()
    for seed, (sampled, mean) in enumerate([(0.5, 0.9), (0.7, 0.1), (0.7, 0.1)]):
        success: dict[Mode, float] = {"sampled": sampled, "mean": mean}
        folder.add("gpril", make_record("gpril", seed=seed, success=success, points=2, usage=(2000, 9, 1.0)), "fig2f")
    data = first(load(folder.write(tmp_path))).data
    best = data[data["best"]].groupby("mode", observed=True)["seed"].unique()
    assert best["sampled"].tolist() == [1] and best["mean"].tolist() == [0]
    assert len(data) == 3 * 2 * 2 and data["episodes"].max() == 2000


def test_interactions_stand_at_the_median_of_what_was_used(tmp_path: Path) -> None:
    folder = Folder()
    for seed, episodes in enumerate((80, 100, 200)):
        folder.add("gpril", make_record("gpril", seed=seed, usage=(episodes, 9, 1.0)), "fig1c")
    results = load(folder.write(tmp_path))
    data = first(results).data
    assert data["median_episodes"].unique().tolist() == [100] and data["episodes"].tolist() == [80, 100, 200] * 2
    assert data["median"].unique().tolist() == [0.5]


def test_a_missing_experiment_is_no_error_and_a_partial_one_is_drawn(tmp_path: Path) -> None:
    folder = Folder(profile="standard")
    folder.add("gpril", make_record("gpril", seed=0), "fig2e")
    folder.add("gpril", make_record("gpril", seed=1), "fig2e", missing=True)
    folder.add("gpril", make_record("gpril", seed=2), "fig2d", missing=True)
    write_report(folder.write(tmp_path))
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"fig2e.png", "fig2e.csv"} <= names and not any(name.startswith("fig2d") for name in names)
    assert "(1 missing)" in (tmp_path / "tables/main.md").read_text()


@pytest.mark.parametrize(("experiment", "levels"), [("fig1b", [96.0]), ("fig2e", [5.0])])
def test_the_demonstrator_is_a_dotted_line(tmp_path: Path, experiment: str, levels: list[float]) -> None:
    results = paper(tmp_path, experiment)
    figure = PLOTS[VIEWS[experiment].kind](first(results), styles(results))
    assert "the demonstrator" in [text.get_text() for text in figure.legends[0].get_texts()]
    for axes in figure.axes:
        across = [list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        assert across == [[level, level] for level in levels]
