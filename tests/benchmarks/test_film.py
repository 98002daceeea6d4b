"""Films: which roll-outs are chosen, that they go as they were recorded, and what is said where they do not."""

from __future__ import annotations

import os
import re
import sys
from math import ceil
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from PIL import Image

from benchmarks import film as filming
from benchmarks.film import Shot, main, shots
from benchmarks.records.files import load_plan
from benchmarks.records.films import read_films
from benchmarks.records.plans import Plan
from benchmarks.records.schema import Mode, Record, Rollout
from benchmarks.trial import saved_policy
from benchmarks.trial.evaluation import WIDTH, Evaluator
from envs.demonstrations import load_task
from methods.policy import GaussianNetwork, GaussianPolicy, PolicyShape
from methods.task_boundary import ActionBounds, describe_task
from tests import tiny
from tests.analysis.synthetic import Folder, make_record
from tests.benchmarks.fakes import Linear
from tests.benchmarks.trial.test_saved_policy import OWN

PEG = "PegInsertion-v0"


def test_best_and_median_at_the_middle_number_of_demonstrations(tmp_path: Path) -> None:
    folder = Folder()
    for number in (5, 25, 50):
        for seed, share in enumerate((0.2, 0.9, 0.5, 0.9)):
            success = {"sampled": share, "mean": 1 - share}
            folder.add("gpril, x", make_record("gpril", PEG, number, seed, success=success), f"fig{number}")  # type: ignore[arg-type]
    folder.add("bc", make_record("bc", PEG))
    folder.add("gail", make_record("gail", PEG, status="failed"))
    chosen = list(shots(load_plan(folder.write(tmp_path) / "plan.json"), folder.records))
    assert [(shot.label, shot.policy, shot.seeds, shot.record.trial.seed) for shot in chosen] == [
        ("gpril, x", "best", 4, 1),
        ("gpril, x", "median", 4, 2),
        ("bc", "best", 1, 0),
    ]
    assert chosen[1].name == "peg-gpril-x-25-demos-median.webp"


def test_a_label_that_stands_for_other_settings_is_filmed_for_each() -> None:
    folder, first = Folder(), make_record("gpril", PEG)
    other = first.trial.model_copy(update={"settings": {"gamma": 0.5}})
    for experiment, trial in (("states", first.trial), ("fig2c", other), ("fig2d", other)):
        folder.add("gpril", first.model_copy(update={"trial": trial}), experiment)
    chosen = shots(Plan(profile="quick", rows=folder.rows), folder.records)
    assert [(shot.label, shot.record.trial, shot.name) for shot in chosen] == [
        ("gpril (states)", first.trial, "peg-gpril-states-10-demos-best.webp"),
        ("gpril (fig2c, fig2d)", other, "peg-gpril-fig2c-fig2d-10-demos-best.webp"),
    ]


def test_films_whose_names_would_be_the_same_have_names_of_their_own() -> None:
    folder = Folder()
    for seed, label in enumerate(("x=1", "x=-1", "y=1")):
        folder.add(label, make_record("bc", PEG, seed=seed))
    one, minus_one, other = (shot.name for shot in shots(Plan(profile="quick", rows=folder.rows), folder.records))
    assert other == "peg-y-1-10-demos-best.webp"
    assert one != minus_one and all(
        re.fullmatch(r"peg-x-1-10-demos-best-[0-9a-f]{8}\.webp", n) for n in (one, minus_one)
    )


def test_a_film_is_named_after_its_task_not_the_folders_above_it() -> None:
    folder = Folder()
    folder.add("BC", make_record("bc", "/a/pin.py:Pin-v0"))
    (shot,) = shots(Plan(profile="quick", rows=folder.rows), folder.records)
    assert shot.name == "Pin-v0-BC-10-demos-best.webp" and shot.film.task == "/a/pin.py:Pin-v0"


def keep(policy: GaussianPolicy, folder: Path, record: Record) -> None:
    """Save the policy of a record in a results folder."""
    trial, task = record.trial, describe_task(PEG, load_task(PEG))
    saved_policy.save(policy, folder / "policies" / trial.id, trial, task, ActionBounds((-1.0,) * 7, (1.0,) * 7))


class Wide(tiny.TinySlot):
    """As large as the peg, so that its policies fit."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str) -> None:
        super().__init__()
        self.observation_space, self.action_space = Box(-9, 9, (21,)), Box(-1, 1, (7,))

    def _observe(self) -> np.ndarray:
        return np.resize(self._state, 21).astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(action[:2])


class Blank(Wide):
    def render(self) -> None:
        return None


class Unfinished(Wide):
    """Has no render()."""


@pytest.mark.filterwarnings("error:.*render_mode")
def test_tasks_that_cannot_be_filmed_are_named_and_passed_over(
    recorded: tuple[Record, GaussianPolicy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, policy = recorded
    for kind in (Blank, Unfinished):
        monkeypatch.setitem(gymnasium.registry, f"{kind.__name__}-v0", EnvSpec(f"{kind.__name__}-v0", entry_point=kind))
    said = {
        "Nowhere-v0": "Nowhere-v0 is unknown",
        "json.tool:Own-v0": "name it with --task json.tool:Own-v0",
        f"tests.tiny:{tiny.ID}": f"{tiny.ID} cannot draw itself: its metadata has no render mode 'rgb_array'",
        "Blank-v0": "Blank-v0 draws no pictures",
        "Unfinished-v0": "Unfinished-v0 draws no pictures",
    }
    folder = Folder()
    for task in said:
        made = folder.add("bc", record.model_copy(update={"trial": record.trial.model_copy(update={"task": task})}))
        keep(policy, tmp_path, made)
    sys.modules.pop("json.tool", None)
    result = CliRunner().invoke(main, [str(folder.write(tmp_path)), "--task", f"tests.tiny:{tiny.ID}"])
    assert result.exit_code == 0 and "json.tool" not in sys.modules, result.output
    unknown = CliRunner().invoke(main, [str(tmp_path), "--task", "Nowhere-v0"])
    assert unknown.exit_code == 2 and "Nowhere-v0" in unknown.stderr
    for line, words in zip(result.stdout.splitlines(), said.values(), strict=True):
        assert "not filmed: " in line and words in line


def test_the_roll_out_is_the_first_of_a_batch_and_of_middling_length() -> None:
    seconds = {0: 9.0, WIDTH: 50.0, 2 * WIDTH: 4.0, 3 * WIDTH: 5.0}
    rollouts = [Rollout(seed=i, success=True, seconds=seconds.get(i, 1.0), end="success") for i in range(4 * WIDTH)]
    record = make_record("bc", PEG).model_copy(update={"final": {"sampled": rollouts, "mean": []}})
    assert Shot("bc", "best", 1, record).rollout.seconds == 5.0


draws = pytest.mark.skipif(
    not {"MUJOCO_GL", "DISPLAY"} & set(os.environ),
    reason="without a display, drawing needs MUJOCO_GL=egl, as tox sets it",
)


@pytest.fixture(scope="module")
def recorded() -> tuple[Record, GaussianPolicy]:
    """A policy that knows nothing, and the record of its roll-outs."""
    demonstrations = load_task(PEG)
    task = describe_task(PEG, demonstrations)
    torch.manual_seed(0)
    policy = GaussianPolicy(GaussianNetwork(PolicyShape.of(task), demonstrations.statistics))
    evaluator = Evaluator(task)
    final = {"sampled": evaluator.evaluate(policy, WIDTH + 1, 70, deterministic=False), "mean": []}
    evaluator.close()
    return make_record("bc", PEG).model_copy(update={"final": final}), policy


@draws
def test_films_go_as_recorded_and_are_listed(
    recorded: tuple[Record, GaussianPolicy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filming, "LONGEST", 0.8)
    record, policy = recorded
    folder = Folder()
    folder.add("bc", record)
    folder.add("gail", make_record("gail", PEG))
    directory = folder.write(tmp_path)
    keep(policy, directory, record)
    result = CliRunner().invoke(main, [str(directory)])
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first == str(directory / "videos/peg-bc-10-demos-best.webp") and second.startswith(
        "peg-gail-10-demos-best.webp: not"
    )
    (listed,) = read_films(directory)
    rollout = Shot("bc", "best", 1, record).rollout
    with Image.open(first) as film:  # from its start to its end, in 0.8 s or a little less
        assert film.size == (240, 180) and 3 <= getattr(film, "n_frames", 0) <= 6
    assert (listed.label, listed.success, listed.seconds) == ("bc", rollout.success, rollout.seconds)
    assert listed.trial == record.trial.id and listed.speed == ceil(rollout.seconds / 0.8) > 1

    before = Path(first).stat().st_mtime_ns
    (directory / "videos/old.webp").write_bytes(b"of another record")
    CliRunner().invoke(main, [str(directory)])
    assert Path(first).stat().st_mtime_ns == before and not (directory / "videos/old.webp").exists()
    other = record.model_copy(update={"provenance": record.provenance.model_copy(update={"code_digest": "f" * 64})})
    folder = Folder()
    folder.add("bc", other)
    folder.write(tmp_path)
    CliRunner().invoke(main, [str(directory)])
    assert Path(first).stat().st_mtime_ns != before  # the trial was repeated, so it is filmed again
    for path in (directory / "records").iterdir():
        path.unlink()
    CliRunner().invoke(main, [str(directory)])
    assert read_films(directory) == [] and not Path(first).exists()


@draws
def test_a_rollout_that_ends_otherwise_is_not_filmed(recorded: tuple[Record, GaussianPolicy], tmp_path: Path) -> None:
    record, policy = recorded
    changed = [rollout.model_copy(update={"seconds": rollout.seconds + 1}) for rollout in record.final["sampled"]]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(filming.FilmError, match="the record says"):
        patch.setattr(filming, "LONGEST", 0.5)
        keep(policy, tmp_path, record)
        saved = saved_policy.load(tmp_path / "policies" / record.trial.id)
        filming.film(Shot("bc", "best", 1, record.model_copy(update={"final": {"sampled": changed}})), saved)


class Drawn(tiny.TinySlot):
    """The tiny task with pictures."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()

    def render(self) -> np.ndarray:
        return np.zeros((30, 40, 3), np.uint8)


@pytest.mark.parametrize("mode", ["sampled", "mean"])
def test_a_film_acts_in_the_mode_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    spec = EnvSpec(tiny.ID, entry_point=Drawn, order_enforce=False)
    monkeypatch.setitem(gymnasium.registry, tiny.ID, spec)
    shown = tiny.demonstrate(4, 0)
    observations, actions = shown.pairs()
    policy = Linear(np.linalg.lstsq(np.column_stack([observations, np.ones(len(actions))]), actions, rcond=None)[0])
    task = describe_task(tiny.ID, shown)
    rollouts = Evaluator(task).evaluate(policy, 1, 7, deterministic=mode == "mean")
    trial = make_record("bc", PEG).trial.model_copy(update={"task": tiny.ID, "method": OWN})
    saved_policy.save(policy, tmp_path, trial, task, ActionBounds((-1.0,) * 2, (1.0,) * 2))
    saved = saved_policy.load(tmp_path, [OWN])
    other: Mode = "mean" if mode == "sampled" else "sampled"
    for recorded in (mode, other):
        record = make_record("bc", PEG).model_copy(update={"trial": trial, "final": {recorded: rollouts}})
        shot = Shot("bc", "best", 1, record)
        if recorded == mode:
            assert filming.film(shot, saved)
        else:
            with pytest.raises(filming.FilmError, match="the record says"):
                filming.film(shot, saved)


def test_a_machine_that_cannot_draw_exits_2_and_loses_nothing(
    recorded: tuple[Record, GaussianPolicy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, policy = recorded
    folder = Folder()
    folder.add("bc", record)
    directory = folder.write(tmp_path)
    keep(policy, directory, record)
    (directory / "videos").mkdir()
    for name in ("old.webp", "films.csv"):
        (directory / "videos" / name).write_text("file\n")

    def no_display(*_: object) -> None:
        raise OSError("no display")

    monkeypatch.setattr("mujoco.Renderer", no_display)
    result = CliRunner().invoke(main, [str(directory)])
    assert result.exit_code == 2 and "set MUJOCO_GL=egl" in result.stderr and "Traceback" not in result.output
    assert sorted(path.name for path in (directory / "videos").iterdir()) == ["films.csv", "old.webp"]


def test_a_folder_without_a_plan_exits_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2 and "plan.json" in result.stderr and "Traceback" not in result.output
