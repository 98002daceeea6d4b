"""The command line that records, shows and films."""

import ctypes.util
import os
import platform
import subprocess
import sys

import gymnasium
import imageio.v3 as imageio
import mujoco
import numpy as np
import pytest
from click.testing import CliRunner

import envs
from envs.demonstrations import DemonstrationError, load, load_task
from envs.experts.demonstrate import collect, main
from envs.experts.render import film, write_video
from envs.experts.scripted import ExpertSettings

both = pytest.mark.parametrize("task", list(envs.WITH_ACTIONS))
every = pytest.mark.parametrize("task", list(envs.TASKS))


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@every
def test_the_first_shipped_demonstrations_are_reproduced_to_the_bit(task):
    shipped = load_task(task)
    _require_the_same_libraries(shipped)
    again, first = collect(task, 5, seed=0), shipped.subset(episodes=5)
    assert np.array_equal(again.observations, first.observations)
    assert (again.actions is None) == (first.actions is None)
    assert first.actions is None or np.array_equal(again.actions, first.actions)


def _require_the_same_libraries(shipped):
    here = {"mujoco": mujoco.__version__, "numpy": np.__version__}
    if (shipped.origin["versions"], shipped.origin["platform"]) != (here, f"{platform.system()} {platform.machine()}"):
        pytest.skip(f"the shipped files were made with {shipped.origin['versions']}, bits may differ here")


@pytest.mark.science
@every
def test_the_shipped_demonstrations_are_reproduced_to_the_bit(task, tmp_path):
    shipped = load_task(task)
    _require_the_same_libraries(shipped)
    result = call("--task", task, "--episodes", 100, "--seed", 0, "--out", tmp_path / "again.npz")
    assert result.exit_code == 0
    again = load(tmp_path / "again.npz")
    assert np.array_equal(again.observations, shipped.observations)
    assert again.digest == shipped.digest


@every
def test_a_shorter_recording_is_the_beginning_of_a_longer_one(task):
    few, more = collect(task, 2, seed=9), collect(task, 4, seed=9).subset(episodes=2)
    assert np.array_equal(few.observations, more.observations)
    assert few.actions is more.actions is None or np.array_equal(few.actions, more.actions)
    assert not np.array_equal(few.observations[0], collect(task, 1, seed=8).observations[0])


@both
def test_recorded_actions_lead_from_each_state_to_the_next(task):
    recorded = collect(task, 1, seed=1)
    env = gymnasium.make(envs.TASKS[task])
    observation, info = env.reset(seed=recorded.origin["reset_seeds"][0])
    for row, action in zip(recorded.observations, recorded.actions, strict=True):
        assert np.array_equal(row, observation)
        if not info["end_reason"]:
            observation, *_, info = env.step(action)
    assert info["is_success"]


def test_failures_are_left_out_and_counted():
    noisy = collect("clip", 3, seed=0, settings=ExpertSettings(noise=5.0))
    assert noisy.origin["failed_attempts"] > 0 and noisy.episodes == 3
    assert noisy.origin["expert"]["noise"] == 5.0


def test_a_hopeless_operator_is_given_up():
    with pytest.raises(DemonstrationError, match=r"lower the noise \(200"):
        collect("peg", 50, seed=0, settings=ExpertSettings(noise=200.0))


def test_show_describes_a_file(tmp_path):
    path = tmp_path / "two.npz"
    assert call("--task", "peg", "--episodes", 2, "--seed", 3, "--noise", 0.5, "--out", path).exit_code == 0
    shown = call("--show", path)
    assert shown.exit_code == 0
    for text in ("PegInsertion-v0", "episodes      2", "0 failed", load(path).digest, "noise 0.5", "action  6"):
        assert text in shown.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --task and --out"),
        (["--task", "peg"], "give --task and --out"),
        (["--task", "screw", "--out", "a.npz"], "'screw' is not one of"),
        (["--task", "peg", "--out", "nowhere/a.npz"], "no folder nowhere"),
        (["--task", "peg", "--out", "a.npz", "--episodes", "0"], "0 is not in the range"),
        (["--task", "peg", "--out", "a.npz", "--noise", "-1"], "noise -1.0"),
        (["--task", "peg", "--out", "a.npz", "--lag", "nan"], "lag nan"),
        (["--task", "peg", "--out", "a.npz", "--noise", "200", "--episodes", "2"], "lower the noise"),
        (["--show", "absent.npz"], "absent.npz: no such file"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_only_whole_recordings_are_filmed_and_only_into_known_formats(tmp_path):
    recorded = collect("peg", 2, seed=0)
    with pytest.raises(DemonstrationError, match="whole recording"):
        film(recorded.subset(episodes=1))
    with pytest.raises(DemonstrationError, match=r"\.gif or \.mp4"):
        write_video([], 0.1, tmp_path / "film.avi")


@pytest.mark.skipif(ctypes.util.find_library("EGL") is None, reason="drawing without a display needs libEGL")
def test_a_film_is_drawn_without_a_display(tmp_path):
    path = tmp_path / "film.gif"
    command = [
        sys.executable,
        "-m",
        "envs.experts.demonstrate",
        "--task",
        "peg",
        "--episodes",
        "1",
        "--out",
        tmp_path / "one.npz",
    ]
    environment = {**os.environ, "MUJOCO_GL": "egl", "PYTHONWARNINGS": "ignore"}
    result = subprocess.run([*command, "--video", path], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    frames = imageio.imread(path)
    steps = len(load(tmp_path / "one.npz").observations)
    assert frames.shape == (steps, 360, 480, 3)
    assert frames[0].std() > 20 and np.abs(frames[0].astype(int) - frames[-1]).max() > 50


def test_states_alone_are_filmed_by_putting_the_arm_where_they_say(monkeypatch):
    recorded = collect("physical-fixed", 1, seed=0)
    drawn = []
    monkeypatch.setattr(
        "envs.insertion.viewer.Viewer.picture", lambda viewer, camera: drawn.append(viewer._data.qpos[:7].copy())
    )
    assert len(film(recorded)) == len(recorded.observations)
    assert np.abs(drawn - recorded.observations[:, :7]).max() < 0.01, "but for the noise of the first"
    assert np.array_equal(drawn[1:], recorded.observations[1:, :7])
