"""`benchmarks.play`: which policy is shown, how, and what is said where none can be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from benchmarks import play as playing
from benchmarks.play import main
from benchmarks.trial import saved_policy
from envs.insertion.base import make_env
from methods.task_boundary import ActionBounds, describe_task
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import Linear
from tests.benchmarks.trial.test_saved_policy import OWN

BOUNDS = ActionBounds((-1.0, -1.0), (1.0, 1.0))


class Drawn(tiny.TinySlot):
    """The tiny task with pictures; says in which mode it was made, and whether it was closed."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "human"]}
    made: ClassVar[list[str]] = []

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode
        self.made.append(f"made {render_mode}")

    def render(self) -> Any:
        return np.full((30, 40, 3), 4 * self._steps, np.uint8) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self.made.append("closed")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Policies of two methods, with a record each; a good one and a bad one of three seeds."""
    spec = gymnasium.envs.registration.EnvSpec(tiny.ID, entry_point=Drawn, order_enforce=False)
    monkeypatch.setitem(gymnasium.registry, tiny.ID, spec)
    monkeypatch.chdir(tmp_path)
    Drawn.made.clear()
    shown = tiny.demonstrate(4, 0)
    task, folder = describe_task(tiny.ID, shown), tmp_path / "results"
    observations, actions = shown.pairs()
    weights = np.linalg.lstsq(np.column_stack([observations, np.ones(len(actions))]), actions, rcond=None)[0]
    (folder / "records").mkdir(parents=True)
    for method in (OWN, "bc"):
        for seed in (0, 1, 2):
            record = examples.record(seed)
            trial = record.trial.model_copy(update={"method": method, "task": tiny.ID})
            final = {
                "sampled": [one.model_copy(update={"success": i < seed}) for i, one in enumerate(record.final["mean"])]
            }
            record = record.model_copy(update={"trial": trial, "final": final})
            saved_policy.save(Linear(weights), folder / "policies" / trial.id, trial, task, BOUNDS)
            (folder / "records" / f"{trial.id}.json").write_bytes(record.to_bytes())
    Drawn.made.clear()
    return folder


@pytest.fixture
def run(results: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Without a display unless asked for one."""

    def do(*arguments: str, display: bool = False) -> Result:
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("MUJOCO_GL", "egl")
        if display:
            monkeypatch.setenv("DISPLAY", ":99")
        return CliRunner().invoke(main, ["--results", str(results), *arguments])

    return do


def test_the_median_policy_is_filmed_where_there_is_no_display(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("--method", OWN, "--episodes", "2", "--first", "7")
    assert result.exit_code == 0, result.output
    head, *episodes, last = result.stdout.splitlines()
    assert "seed 1, 50 % success in its evaluation, sampled actions" in head
    assert [re.fullmatch(r"episode with seed (\d): \w+ after [\d.]+ s", line)[1] for line in episodes] == ["7", "8"]  # type: ignore[index]
    assert last == f"film: play-Own-{tiny.ID}.webp"
    with Image.open(tmp_path / f"play-Own-{tiny.ID}.webp") as film:
        assert film.size == (320, 240) and getattr(film, "n_frames", 0) > 10
    assert Drawn.made == ["made rgb_array", "closed"]


def test_it_plays_as_the_evaluation_does(run: Callable[..., Result], results: Path) -> None:
    """With deterministic actions, which depend on no generator."""
    result = run("--method", OWN, "--seed", "2", "--actions", "deterministic", "--film", "x.gif", "--first", "3")
    folder = next(one.folder for one in playing.found_in(results) if one.description.method == OWN)
    policy = saved_policy.load(folder, [OWN]).policy
    env = tiny.TinySlot()
    observation, info = env.reset(seed=3)
    while not info["end_reason"]:
        observation, *_, info = env.step(policy.act(observation[None], True, np.random.default_rng(0))[0])
    assert f"episode with seed 3: {info['end_reason']} after {info['time']:.1f} s" in result.stdout, result.output


def test_a_window_is_opened_where_there_is_a_display(run: Callable[..., Result]) -> None:
    result = run("--method", OWN, display=True)
    assert result.exit_code == 0 and "film" not in result.stdout and Drawn.made == ["made human", "closed"]
    assert run("--method", OWN, "--film", "x.webp", display=True).exit_code == 0
    assert Drawn.made[2:] == ["made rgb_array", "closed"]


def test_a_window_that_cannot_be_opened_is_one_sentence(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Drawn) -> None:
        raise RuntimeError("no X server\nat all")

    monkeypatch.setattr(Drawn, "render", fail)
    result = run("--method", OWN, display=True)
    assert result.exit_code == 2 and Drawn.made[-1] == "closed"
    assert result.stderr == "error: no window can be opened (no X server at all); write a film with --film FILE\n"
    result = run("--method", OWN)
    assert result.exit_code == 2 and "set MUJOCO_GL=egl" in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.filterwarnings("error:.*render_mode")
@pytest.mark.parametrize("display", [False, True])
def test_a_task_that_cannot_draw_itself_is_one_sentence(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, display: bool
) -> None:
    monkeypatch.setattr(Drawn, "metadata", tiny.TinySlot.metadata)
    result = run("--method", OWN, display=display)
    assert result.exit_code == 2 and Drawn.made[-1] == "closed" and len(result.stderr.splitlines()) == 1
    mode = "human" if display else "rgb_array"
    assert result.stderr.startswith(f"error: {tiny.ID} cannot draw itself: its metadata has no render mode {mode!r}")
    assert "\x1b" not in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "gpril"], "no saved policy for --method gpril in"),
        (["--task", "peg"], "no saved policy for --task peg in"),
        (["--method", OWN, "--seed", "9"], "it has: "),
        (["--task", "nowhere"], "unknown task 'nowhere'"),
        (["--method", OWN, "--film", "x.mpeg"], "ends in .webp, .gif or .mp4"),
        (["--method", OWN, "--film", "no/such/x.gif"], "there is no folder no/such"),
        (["--method", OWN, "--actions", "deterministic", "--seed", "0", "--film", "policies"], "a film's name ends"),
        (["--method", "bc"], "not a saved policy"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(run: Callable[..., Result], arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2 and said in result.stderr and len(result.stderr.splitlines()) == 1, result.output
    assert not list(Path().glob("*.webp"))


def test_shipped_results_come_first_then_the_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("runs/new", "runs/old", "quick", "runs/empty")):
        (tmp_path / "results" / name / ("policies" * (name != "runs/empty"))).mkdir(parents=True)
        os.utime(tmp_path / "results" / name, (1e9 - age, 1e9 - age))
    found = playing.results_folders(None)
    assert [folder.as_posix() for folder in found] == ["results/quick", "results/runs/new", "results/runs/old"]
    assert playing.results_folders(Path("mine")) == [Path("mine")]


def test_the_folder_of_one_policy_will_do(run: Callable[..., Result], results: Path) -> None:
    folder = next(one.folder for one in playing.found_in(results) if one.description.method == OWN)
    (found,) = playing.found_in(folder)
    assert found.folder == folder and found.record is not None


def test_a_display_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo's viewer would end the process."""
    for name in ("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":47321")
    with pytest.raises(playing.PlayError, match=r"no window can be opened \(.*:47321.*--film FILE"):
        playing._open_window(make_env("peg"))
