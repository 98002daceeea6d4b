"""One trial's diagnostics: the right trial or a clear error, every reported value drawn with its unit, stable files."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from analysis.diagnose import main
from analysis.figures.diagnostics import PANELS, Wanted, choose, draw_diagnostics, plot_diagnostics
from analysis.load import ResultsError, plan_of
from benchmarks.records.files import load_record, record_files
from benchmarks.records.schema import Diagnostics, Record
from methods.gpril.algorithm import Gpril
from tests.analysis.synthetic import Folder, make_record, record_path
from tests.methods.gpril.test_diagnostics import SHORT
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

SERIES = {
    "information_train": [(10, 1.0), (20, 2.5)],
    "information_held_out": [(10, -3.0), (20, 0.5)],
    "kinematic_error_sampled": [(10, 0.018), (20, 0.009)],
    "gradient_norm_states": [(10, 800.0), (20, 300.0)],
    "surprise": [(20, 7.0)],
}
ROOT = Path(__file__).parents[3]


def reporting(method: str, seed: int = 0, task: str = "ClipInsertion-v0", demos: int = 10) -> Record:
    record = make_record(method, task, demos, seed)
    return record.model_copy(update={"diagnostics": Diagnostics(series=SERIES)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPRIL twice under one method name, two seeds and tasks, and a trial that failed before it reported anything."""
    made = Folder()
    for seed in (0, 1):
        made.add("gpril", reporting("gpril", seed))
        made.add("gpril", made.records[-1], experiment="placebo")
        made.add("gpril, shuffled", reporting("gpril", seed, demos=11), experiment="placebo")
        made.add("gpril", reporting("gpril", seed, "PegInsertion-v0"))
    made.add("bc", make_record("bc", points=0, status="failed", error="ValueError: no\nmore"))
    return made.write(tmp_path_factory.mktemp("results"))


def chosen(folder: Path, **wanted: object) -> Record:
    return choose(folder, plan_of(folder), Wanted(**wanted))  # type: ignore[arg-type]


def test_the_trial_is_found(folder: Path) -> None:
    record = chosen(folder, method="gpril", task="clip", seed=1)
    assert (record.trial.task, record.trial.seed, record.trial.demonstrations.episodes) == ("ClipInsertion-v0", 1, 10)
    assert chosen(folder, trial=record.trial.id[:10]) == record
    assert chosen(folder, method="gpril, shuffled", seed=0).trial.demonstrations.episodes == 11
    assert chosen(folder, task="CLIP", demos=11, seed=0).trial.demonstrations.episodes == 11
    assert chosen(folder, experiment="placebo", demos=10, seed=1) == record


def test_an_ambiguous_choice_is_refused_with_the_trials_there_are(folder: Path) -> None:
    with pytest.raises(ResultsError, match="2 trials fit; name one with --trial:") as refused:
        chosen(folder, method="gpril", task="clip")
    lines = str(refused.value).splitlines()
    assert len(lines) == 3 and "gpril: Clip insertion, 10 demonstrations, seed 0" in str(refused.value)
    with pytest.raises(ResultsError, match=r"no record .* fits; there are methods: 'bc', 'gpril', 'gpril, shuffled'"):
        chosen(folder, method="gpirl")


@pytest.mark.parametrize("name", ["my-gru", "My GRU", "my-gru/inferred", "/a/gru.py:Gru", "bc"])
def test_a_method_in_a_file_is_found_by_its_names(name: str, tmp_path: Path) -> None:
    made = Folder()
    for method, label, key in (("/a/gru.py:Gru", "My GRU", "my-gru"), ("bc", "BC", "bc")):
        for shown, words in (("", ""), ("/inferred", ", inferred actions")):
            suffix = " (budget.policy_updates=30)"
            record = reporting(method, task="/a/pin.py:Pin-v0", demos=10 + len(shown))
            made.add(f"{label}{words}{suffix}", record, variant=f"{key}{shown}{suffix}", base=f"{key}{shown}")
    directory = made.write(tmp_path)
    record = chosen(directory, method=name, demos=19 if "/inferred" in name else 10)
    assert record.trial.method == ("bc" if name == "bc" else "/a/gru.py:Gru")
    paths = draw_diagnostics(directory, Wanted(trial=record.trial.id), tmp_path)
    start = "bc" if name == "bc" else "Gru"
    assert {path.stem.removesuffix(record.trial.id) for path in paths} == {
        f"{start}-Pin-v0-{record.trial.demonstrations.episodes}-demos-seed-0-"
    }


def test_every_value_is_drawn_with_its_unit() -> None:
    figure = plot_diagnostics(reporting("gpril"), "a title")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.axison}
    assert list(panels) == [
        "Success",
        "What B^a knows beyond the policy",
        "Consistency of sampled states",
        "Gradients before clipping",
        "surprise",
    ]
    assert all("(" in axes.get_ylabel() for name, axes in panels.items() if name != "surprise")
    drawn = {
        (title, "" if str(line.get_label()).startswith("_") else line.get_label()): line.get_xydata()
        for title, axes in panels.items()
        for line in axes.lines
        if len(line.get_xydata()) and line.get_marker() != "None"
    }
    assert np.allclose(drawn["What B^a knows beyond the policy", "held-out rollouts"], [(10, -3.0), (20, 0.5)])
    assert np.allclose(drawn["Consistency of sampled states", "sampled from B^s"], [(10, 18.0), (20, 9.0)])
    assert np.allclose(drawn["surprise", ""], [(20, 7.0)])
    assert len(drawn) == 2 + len(SERIES), "two modes of success, and each diagnostic once"
    for (title, _), points in drawn.items():
        (left, right), (low, high) = panels[title].get_xlim(), panels[title].get_ylim()
        assert all(left < x < right and low < y < high for x, y in points), f"{title}: within the axes"
    assert panels["Gradients before clipping"].get_yscale() == "log"
    labelled = [axes.get_xlabel() for axes in panels.values()]
    assert labelled[-3:] == ["Gradient steps (all networks)"] * 3


def test_all_that_shipped_methods_report_has_a_panel(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, updates=10, steps=5000)
    Gpril(SHORT).fit(demonstrate(2, 0), context)
    names = set(context.reports[-1][1])
    for path in record_files(ROOT / "results/quick").values():
        names |= set(load_record(path).diagnostics.series)
    assert len(names) > 20
    assert not names.difference(*(panel.names for panel in PANELS))


def test_the_command_writes_the_same_files_each_time(folder: Path, tmp_path: Path) -> None:
    arguments = [str(folder), "--method", "gpril", "--task", "clip", "--seed", "0"]
    contents = []
    for place in (tmp_path, folder / "figures" / "diagnostics"):
        done = CliRunner().invoke(main, [*arguments, *(["--out", str(place)] if place == tmp_path else [])])
        assert done.exit_code == 0, done.output
        paths = [Path(line) for line in done.output.splitlines()]
        assert [path.suffix for path in paths] == [".svg", ".png", ".csv"] and {path.parent for path in paths} == {
            place
        }
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    svg, png, csv = paths
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert np.asarray(Image.open(png).convert("L")).std() > 10
    data = pd.read_csv(csv)
    assert data.columns.tolist() == ["diagnostic", "gradient_step", "value"]
    assert len(data) == sum(len(points) for points in SERIES.values())


def test_a_trial_that_failed_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"\(failed\) reported nothing"):
        draw_diagnostics(folder, Wanted(method="bc"), tmp_path)
    broken = Folder()
    record = broken.add("x", reporting("x").model_copy(update={"status": "diverged", "error": "B^s: NaN\nmore"}))
    directory = broken.write(tmp_path / "broken")
    record_path(directory, record).write_bytes(record.model_copy(update={"final": {}}).to_bytes())
    svg = draw_diagnostics(directory, Wanted(), tmp_path)[0]
    assert svg.stat().st_size > 10_000
    record_path(directory, record).write_bytes(record.model_copy(update={"final": {}, "error": ""}).to_bytes())
    assert draw_diagnostics(directory, Wanted(), tmp_path)


def test_errors_are_for_people(folder: Path, tmp_path: Path) -> None:
    for arguments, message in [
        ([str(folder), "--seed", "9"], "there are methods"),
        ([str(tmp_path / "absent")], "is not a folder"),
        ([str(tmp_path)], "has no plan.json"),
        ([str(folder), "--method", "gpril"], "4 trials fit"),
    ]:
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2 and message in done.output and "Traceback" not in done.output
    (tmp_path / "file").write_text("")
    taken = CliRunner().invoke(
        main, [str(folder), "--task", "peg", "--seed", "0", "--method", "gpril", "--out", str(tmp_path / "file")]
    )
    assert taken.exit_code == 2 and "cannot write" in taken.output
