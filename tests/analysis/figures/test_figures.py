"""The figures' data by hand; that they are drawn, carry what they must and are reproducible."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.figures.data import MOST_LINES, Series, all_series, curves, profile, seeds
from analysis.figures.draw import CENTRES, PLOTS, draw
from analysis.figures.style import LINES, compressed, styles
from analysis.load import Results, load
from benchmarks.paper import FIGURES
from tests.analysis.synthetic import Folder, comparison, make_record


def load_frames(folder: Folder, directory: Path | None = None) -> Results:
    with TemporaryDirectory() as temporary:
        return load(folder.write(directory or Path(temporary)))


def series_of(results: Results) -> dict[str, Series]:
    return {series.name: series for series in all_series(results)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return load(comparison(seeds=3).write(tmp_path_factory.mktemp("results")))


def test_every_experiment_has_its_figures(results: Results) -> None:
    kinds = ["success", "curves-episodes", "curves-gradient-steps", "curves-training-seconds", "performance-profile"]
    assert list(series_of(results)) == [f"comparison-{kind}" for kind in kinds]


@pytest.mark.parametrize("variants", [MOST_LINES, MOST_LINES + 1])
def test_more_variants_than_kinds_of_lines_have_panels_of_their_own(variants: int) -> None:
    folder = Folder()
    for number in range(variants):
        key = f"gpril/{number}" if number else "gpril"
        folder.add(key, make_record("gpril", seed=number), variant=key, base="gpril" if number else "")
    results = load_frames(folder)
    drawn = {name: series.figure.kind for name, series in series_of(results).items()}
    assert "comparison-success" in drawn
    assert ("comparison-performance-profile" in drawn) == (variants == 12)
    assert drawn["comparison-curves-gradient-steps"] == ("curves" if variants == 12 else "curve_panels")
    assert variants > MOST_LINES or len({style.line for style in styles(results).values()}) == variants


def test_names_stay_within_the_folder(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("BC", make_record(), experiment="../fig 1")
    folder.add("BC", make_record(seed=1), experiment="../fig 1")
    assert next(iter(series_of(load(folder.write(tmp_path))))) == "..%2Ffig%201-success"


def test_curves_by_hand(tmp_path: Path) -> None:
    """Two seeds reach .5 and 1 after 10 and 20 episodes; a third fails half way and counts as 0 from there on."""
    folder = Folder()
    for seed, (share, episodes) in enumerate([(0.5, 10), (1.0, 20)]):
        success = {"sampled": share, "mean": share}
        folder.add("A", make_record("a", seed=seed, success=success, points=2, usage=(episodes, 100, 1.0)))  # type: ignore[arg-type]
    broken = make_record(
        "a", seed=2, success={"sampled": 1.0, "mean": 1.0}, points=2, status="failed", usage=(30, 100, 1.0)
    )
    folder.add("A", broken)
    folder.add("B", make_record("b", success={"sampled": 0.3, "mean": 0.2}, points=2))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    sampled = data[data["mode"] == "sampled"]
    start, end, level = sampled.to_dict(orient="records")
    assert (start["label"], start["point"], start["episodes"], start["trials"]) == ("A", 0, 10, 3)  # of 5, 10 and 15
    assert start["median"] == 0.7  # of .35, .7 and .7: the square root of a half, in twentieths
    assert (end["point"], end["episodes"], end["median"], end["q1"], end["q3"]) == (1, 15, 0.5, 0.25, 0.75)
    assert level["label"] == "B" and pd.isna(level["point"]) and pd.isna(level["episodes"]) and level["median"] == 0.3


def test_labels_that_share_a_trial_both_have_its_curve(tmp_path: Path) -> None:
    folder = Folder()
    for label in ("bc", "bc, L2 0.01"):
        folder.add(label, make_record("bc", points=2, usage=(10, 100, 1.0)))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    assert data.groupby("label", observed=True)["point"].agg(list).map(sorted).tolist() == [[0, 0, 1, 1]] * 2


def test_a_method_that_failed_before_its_first_point_is_drawn_at_nothing(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("A", make_record("a", points=2, usage=(10, 100, 1.0)))
    failed = make_record("b", points=2, usage=(7, 5, 1.0), status="failed")
    folder.add("B", failed.model_copy(update={"curve": []}))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    level = data[data["label"] == "B"]
    assert level["point"].isna().all() and (level["median"] == 0).all() and len(level) == 2


@pytest.mark.parametrize("points", [2, 6], ids=["one point each", "three"])
def test_a_curve_whose_trials_all_failed_ends_at_nothing(points: int, tmp_path: Path) -> None:
    """What they reached before is shown; then they count as 0, as in the tables."""
    folder = Folder()
    for seed in range(2):
        usage = (10 * (seed + 1), 60, 1.0)
        folder.add("A", make_record("a", seed=seed, points=points, usage=usage, status="failed"))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    ends = data[data["point"] == points // 2]
    assert (ends["median"] == 0).all() and (ends["trials"] == 2).all() and (ends["episodes"] == 20).all()
    assert len(data) == 2 * (points // 2 + 1)
    assert (data[data["point"] < points // 2]["median"] > 0).all()


def test_the_curve_of_a_trial_that_was_killed_is_drawn_though_its_usage_was_lost(tmp_path: Path) -> None:
    record = make_record("a", points=4, usage=(20, 60, 1.0), status="failed")
    lost = record.usage.model_copy(update={"episodes": 0})
    folder = Folder()
    folder.add("A", record.model_copy(update={"usage": lost}))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    assert data["point"].tolist() == [0, 1, 2] * 2 and data["episodes"].tolist() == [5, 10, 10] * 2


def test_a_trial_that_failed_in_its_final_evaluation_counts_as_nothing_at_the_last_point(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("A", make_record("a", points=2, usage=(10, 100, 1.0)))
    whole = make_record("a", seed=1, points=2, usage=(10, 100, 1.0))
    folder.add("A", whole.model_copy(update={"status": "failed", "final": {}}))
    results = load(folder.write(tmp_path))
    data = curves(results.scores, results.curve, "episodes")
    assert data["point"].tolist() == [0, 1] * 2 and data.loc[data["point"] == 1, "median"].tolist() == [0.25] * 2
    single = seeds(results.scores, results.curve, "episodes")
    broken = single[(single["seed"] == 1) & (single["mode"] == "mean")]
    assert broken["point"].tolist() == [0, 1, 2] and broken["episodes"].tolist() == [5, 10, 10]
    assert single["point"].dtype == single["episodes"].dtype == "int64"
    assert broken["success"].iloc[-1] == 0 and not broken["best"].any()


def test_long_labels_leave_room_for_what_is_drawn(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    folder = Folder()
    settings = ", ".join(f"a_setting_with_a_long_name_{i}=0.123" for i in range(6))
    folder.add(f"bc ({settings})", make_record("bc", points=2, usage=(10, 100, 1.0)))
    results = load(folder.write(tmp_path))
    for series in series_of(results).values():
        figure = PLOTS[series.figure.kind](series, styles(results))
        figure.set_layout_engine("constrained")
        figure.draw_without_rendering()
        assert figure.axes[0].get_position().width > 0.15, series.name
    assert not recwarn.list


def test_many_labels_leave_room_for_what_is_drawn(tmp_path: Path) -> None:
    folder = Folder()
    for i in range(30):
        folder.add(f"bc with the setting of number {i}", make_record("bc", seed=i, points=2, usage=(10, 100, 1.0)))
    data = load(folder.write(tmp_path))
    for series in series_of(data).values():
        figure = PLOTS[series.figure.kind](series, styles(data))
        figure.set_layout_engine("constrained")
        figure.draw_without_rendering()
        box = figure.axes[0].get_position()
        assert box.height * figure.get_figheight() > 1.2, series.name  # inches


def test_profile_by_hand(tmp_path: Path) -> None:
    folder = Folder()
    for seed, share in enumerate((0.25, 0.5)):
        folder.add("A", make_record("a", seed=seed, success={"sampled": share, "mean": 0.0}))
    data = profile(load(folder.write(tmp_path)).scores)
    fractions = data[data["mode"] == "sampled"].set_index("threshold")["fraction"]
    assert [fractions[at] for at in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99)] == [1.0, 1.0, 0.5, 0.5, 0.0, 0.0]
    assert (data.loc[data["mode"] == "mean", "fraction"] == 0).all()


@pytest.mark.parametrize("kind", ["success", "curves-episodes", "performance-profile"])
def test_files_are_pictures_with_content_and_reproducible(results: Results, kind: str) -> None:
    series, look = series_of(results)[f"comparison-{kind}"], styles(results)
    files = draw(series, look, "quick").files
    assert list(files) == [f"{series.name}.png", f"{series.name}.pdf"]
    image = Image.open(BytesIO(files[f"{series.name}.png"]))
    assert image.width >= 1000 and "Software" not in image.info
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for label in ("GPRIL", "GAIL"):  # each method's colour is there
        distance = np.abs(pixels - 255 * np.array(look[label].colour)).max(axis=1)
        assert (distance < 12).sum() > 100
    pdf = files[f"{series.name}.pdf"]
    assert pdf.startswith(b"%PDF") and len(pdf) > 5_000 and b"CreationDate" not in pdf
    assert draw(series, look, "quick").files == files


def test_smoke_figures_carry_their_warning(results: Results) -> None:
    series = series_of(results)["comparison-success"]
    plain, marked = (
        draw(series, styles(results), profile).files["comparison-success.png"] for profile in ("quick", "smoke")
    )

    def reddish(png: bytes) -> int:
        red, green, blue = np.asarray(Image.open(BytesIO(png)).convert("RGB"), dtype=int).reshape(-1, 3).T
        return int(((red > 150) & (green < 60) & (blue < 60)).sum())

    assert reddish(plain) == 0 and reddish(marked) > 200


def test_axes_are_named_with_units_and_modes(results: Results) -> None:
    for series in series_of(results).values():
        figure = PLOTS[series.figure.kind](series, styles(results))
        names = {axes.get_xlabel() for axes in figure.axes} | {axes.get_ylabel() for axes in figure.axes}
        assert any("%" in name for name in names)
        words = " ".join(
            [axes.get_title() for axes in figure.axes] + [t.get_text() for t in figure.legends[0].get_texts()]
        )
        assert "sampled actions" in words.lower() and "deterministic actions" in words.lower()
        assert series.figure.kind == "profile" or CENTRES[series.figure.centre] in words, "what bars and bands are"
    figure = PLOTS["curves"](series_of(results)["comparison-curves-episodes"], styles(results))
    assert figure.axes[0].get_xscale() == "log"
    assert "BC (final success)" in [text.get_text() for text in figure.legends[0].get_texts()]
    figure = PLOTS["curves"](series_of(results)["comparison-curves-gradient-steps"], styles(results))
    assert figure.axes[0].get_xlim()[0] > 0.0, "levels have no place on the axis of costs"


def test_panels_of_curves_leave_out_what_lacks_the_cost(results: Results) -> None:
    """One row per label: the same curves as in one panel, at costs of their own; BC has no episodes."""
    series = series_of(results)["comparison-curves-episodes"]
    figure = PLOTS["curve_panels"](series, styles(results))
    cells = series.data[["task", "demonstrations"]].drop_duplicates()
    rows = [axes.get_ylabel() for axes in figure.axes[:: len(cells)]]
    assert rows == [label for label in styles(results) if label != "BC"]
    for axes, label in zip(figure.axes[:: len(cells)], rows, strict=True):
        own = series.data[(series.data["label"] == label) & (series.data["task"] == cells["task"].iloc[0])]
        drawn = np.concatenate([line.get_xydata() for line in axes.lines])
        np.testing.assert_allclose(drawn, own[["episodes", "median"]] * (1, 100))


def test_several_numbers_of_demonstrations_become_an_axis(tmp_path: Path) -> None:
    results = load(comparison(("peg",), (5, 25), seeds=2).write(tmp_path))
    figure = PLOTS["success"](series_of(results)["comparison-success"], styles(results))
    assert figure.axes[0].get_xlabel() == "Demonstrations (episodes)"
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["5", "25"]
    assert len(figure.axes) == 2  # one task: its two modes side by side


def test_costs_that_start_at_zero_get_a_symmetric_logarithm(tmp_path: Path) -> None:
    folder = Folder()
    record = make_record("gpril", usage=(500, 1_000, 9.0), points=3)
    start = record.curve[0].model_copy(update={"episodes": 0, "progress": 0.0})
    folder.add(
        "GPRIL",
        record.model_copy(update={"curve": [start, make_record("gpril", usage=(5, 9, 1.0)).curve[-1], *record.curve]}),
    )
    results = load(folder.write(tmp_path))
    figure = PLOTS["curves"](series_of(results)["comparison-curves-episodes"], styles(results))
    assert figure.axes[0].get_xscale() == "symlog"


def test_a_method_has_one_colour_and_marker_everywhere(tmp_path: Path) -> None:
    """Whatever else is compared; its variants differ by their lines."""
    many = Folder()
    for key, base, method in (
        ("gail", "", "gail"),
        ("gpril", "", "gpril"),
        ("gpril/states", "gpril", "gpril"),
        ("gpril/mine", "gpril", "gpril"),
        ("zebra", "", "zebra"),
        ("mine", "", "mine.py:Mine"),
        ("mine (rate=0.1)", "mine", "mine.py:Mine"),
    ):
        many.add(key, make_record(method, seed=len(many.rows)), "fig1d", variant=key, base=base)
    few = Folder()
    few.add("gpril/states", make_record("gpril"), "fig2d", variant="gpril/states", base="gpril")
    look, other = styles(load(many.write(tmp_path / "many"))), styles(load(few.write(tmp_path / "few")))
    assert list(look) == ["gail", "gpril", "gpril/states", "gpril/mine", "zebra", "mine", "mine (rate=0.1)"]
    assert other["gpril/states"] == look["gpril/states"], "with its method or without"
    of_method = {key.partition("/")[0].partition(" ")[0]: (style.colour, style.marker) for key, style in look.items()}
    assert len(set(of_method.values())) == 4
    for key, style in look.items():
        assert (style.colour, style.marker) == of_method[key.partition("/")[0].partition(" ")[0]]
    assert {look[key].line for key in ("gail", "gpril", "zebra", "mine")} == {"-"}
    assert len({look[key].line for key in ("gpril", "gpril/states", "gpril/mine")}) == 3
    assert look["mine (rate=0.1)"].line != "-"


def test_variants_of_the_paper_have_lines_of_their_own() -> None:
    """In any one of its figures."""
    for experiment in FIGURES:
        for method in {variant.method for variant in experiment.variants}:
            keys = [variant.key for variant in experiment.variants if variant.method == method]
            if len(keys) <= len(LINES) and experiment.figure and experiment.figure.kind != "interactions":
                folder = Folder()
                for key in keys:
                    folder.add(key, make_record(method), variant=key, base="" if key == method else method)
                results = load_frames(folder)
                assert len({style.line for style in styles(results).values()}) == len(keys), experiment.name


def test_panels_and_legend_can_be_shown_apart(results: Results) -> None:
    """Each panel has its own title and axes; the page puts them below each other where there is no room."""
    series = series_of(results)["comparison-curves-episodes"]
    drawing = draw(series, styles(results), "quick")
    whole = Image.open(BytesIO(drawing.files[f"{series.name}.png"]))
    assert len(drawing.panels) == 4
    assert [text for _, text in drawing.legend] == ["GPRIL", "GAIL", "BC (final success)", "median, quartiles"]
    look = styles(results)
    for panel in drawing.panels:
        picture = Image.open(BytesIO(panel)).convert("RGB")
        assert 0.35 * whole.width < picture.width < 0.6 * whole.width and picture.height < 0.6 * whole.height
        pixels = np.asarray(picture, dtype=int)
        for label in ("GPRIL", "GAIL"):
            assert (np.abs(pixels - 255 * np.array(look[label].colour)).max(axis=2) < 12).sum() > 50
        frame = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (frame > 250).all(), "nothing is cut off"
    for (picture, text), label in zip(drawing.legend[:3], ("GPRIL", "GAIL", "BC"), strict=True):
        pixels = np.asarray(Image.open(BytesIO(picture)).convert("RGB"), dtype=int)
        assert (np.abs(pixels - 255 * np.array(look[label].colour)).max(axis=2) < 12).sum() > 20, text


def test_intervals_are_drawn_within_the_axes(tmp_path: Path) -> None:
    """Of seeds at and near 0 and 100 %, where an interval that is symmetric would leave them."""
    folder = Folder()
    for number, shares in ((5, (0.0, 0.0, 0.0)), (25, (1.0, 1.0, 0.2)), (50, (1.0, 1.0, 1.0))):
        for seed, share in enumerate(shares):
            record = make_record("gpril", "PegInsertion-v0", number, seed, success={"sampled": share, "mean": share})
            folder.add("GPRIL", record, "fig2d", variant="gpril")
            folder.add("GPRIL", record, "fig2c", variant="gpril")
    for series in all_series(load_frames(folder, tmp_path)):
        if series.figure.centre == "mean":
            bounds = series.data[["low", "mean", "high"]].to_numpy(dtype=float)
            assert bounds.min() >= 0.0 and bounds.max() <= 1.0 and (bounds[:, 2] > bounds[:, 0]).all(), series.name


def test_one_seed_without_curve_is_drawn(tmp_path: Path) -> None:
    folder = Folder()
    folder.add("costs $1_0^ & 5 %", make_record(points=0))
    results = load(folder.write(tmp_path))
    assert list(series_of(results)) == []
    folder.add("other", make_record(points=0, seed=1))
    results = load(folder.write(tmp_path))
    assert list(series_of(results)) == ["comparison-success", "comparison-performance-profile"]
    for series in series_of(results).values():
        assert len(draw(series, styles(results), "quick").files[f"{series.name}.png"]) > 5_000


def test_a_compressed_picture_keeps_the_colours_of_small_markers() -> None:
    shades = np.random.default_rng(0).integers(256, size=(60, 60, 3), dtype=np.uint8)
    picture = np.vstack([shades, np.full((340, 60, 3), 255, dtype=np.uint8)])
    markers = [(222, 143, 5), (213, 94, 0), (204, 120, 188), (202, 145, 97)]
    for place, colour in enumerate(markers):
        picture[100 + 20 * place : 107 + 20 * place, 20:27] = colour
    kept = Image.open(BytesIO(compressed(Image.fromarray(picture)))).convert("RGB").getcolors()
    assert kept and {(255, 255, 255), *markers} <= {colour for _, colour in kept}
