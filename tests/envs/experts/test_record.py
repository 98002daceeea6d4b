"""Recording demonstrations of any task, by policies and by people whose keys and sticks are synthetic events."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium.spaces import Box

from envs import tasks
from envs.demonstrations import DemonstrationError, load
from envs.experts.recording import Recording, dt_of
from envs.insertion.base import make_env
from envs.record import main

pygame = pytest.importorskip("pygame", reason="pygame is not installed: pip install pygame")
from envs.experts.teleoperation import CAMERAS, LINEAR_SPEED, camera_axes  # noqa: E402
from tests.envs.experts.steady_hand import SteadyHand, key  # noqa: E402

LINE = '''
import gymnasium, numpy as np
from gymnasium.spaces import Box

class Line(gymnasium.Env):
    """A point on a line that must get beyond 1; the action is its velocity, of which 4 is the least and 6 the most."""
    dt = 0.5
    def __init__(self, low=-1.0, success=True):
        self.observation_space, self.action_space = Box(-9, 9, (2,), np.float64), Box(low, 6.0, (2,), np.float32)
        self.success = success
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.uniform(-0.5, 0.5, 2), 0
        return self.at.copy(), {}
    def step(self, action):
        self.at, self.steps = self.at + self.dt * 0.1 * action, self.steps + 1
        done, late = bool(self.at[0] > 1), self.steps >= 30
        return self.at.copy(), 0.0, done, late, {"is_success": done} if self.success else {}
    def make_expert(self, rng):
        return Expert(self, rng)

class Faulty(Line):
    """Goes wrong in one way or another; some do so only later."""
    calls = 0
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
    def reset(self, **options):
        found = super().reset(**options)
        if self.fault == "reset":
            raise KeyError("no such socket")
        return found[0] if self.fault == "old reset" else found
    def step(self, action):
        found = super().step(action)
        Faulty.calls += 1
        if self.fault == "step" and Faulty.calls > 60:
            raise RuntimeError("motor off\\nand on fire")
        if self.fault == "nan":
            found[0][1] = np.nan
        if self.fault == "two":
            return *found[:4], {"is_success": np.zeros(2)}
        if self.fault == "passing":
            return *found[:2], False, found[3], {"is_success": found[2] and not found[3]}
        return found[:4] if self.fault == "old step" else found
    def make_expert(self, rng):
        return Deaf() if self.fault == "deaf" else Watching(self, rng)

class Late(Line):
    def make_expert(self):
        return Expert(self, None)

class Deaf:
    def act(self):
        return np.ones(2)

class Expert:
    def __init__(self, env, rng):
        self.env, self.rng = env, rng
    def reset(self):
        pass
    def act(self):
        return self.rng.uniform(self.env.action_space.low, self.env.action_space.high)

class Watching(Expert):
    def act(self, observation):
        return np.full(2, 1.0 if self.rng.random() < 0.8 else -1.0) * (observation[0] < 9)

class Lazy(Expert):
    def act(self):
        return np.zeros(2)

class Stuck(Expert):
    def act(self):
        raise ValueError("planner found no path")

class Unready(Expert):
    def reset(self):
        self.plan.clear()

class Wordy(Expert):
    def act(self):
        return "forwards"

class Wrong(Expert):
    def act(self):
        return np.zeros(3)

gymnasium.register("Line-v0", Line)
gymnasium.register("FarLine-v0", Line, kwargs={"low": 4.0})
gymnasium.register("UnjudgedLine-v0", Line, kwargs={"success": False})
gymnasium.register("LateLine-v0", Late)
for fault in ("reset", "old reset", "step", "old step", "nan", "two", "passing", "deaf"):
    gymnasium.register(f"Faulty{fault.replace(' ', '')}-v0", Faulty, kwargs={"fault": fault})
'''


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "line.py"
    file.write_text(LINE)
    yield file
    for name in [name for name in gymnasium.registry if "Line-v0" in name or name.startswith("Faulty")]:
        del gymnasium.registry[name]


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("policy", ["expert", "Watching"])
def test_a_policy_records_any_task_and_the_file_grows_when_continued(tmp_path: Path, line: Path, policy: str) -> None:
    out, policy = tmp_path / "a.npz", policy if policy == "expert" else f"{line}:{policy}"
    first = call("--task", f"{line}:Line-v0", "--policy", policy, "--out", out, "--episodes", 3)
    assert first.exit_code == 0, first.output
    three = load(out)
    second = call("--task", f"{line}:Line-v0", "--policy", policy, "--out", out, "--episodes", 5)
    assert second.exit_code == 0 and "5 episodes, 2 of them new" in second.output
    five = load(out)
    assert five.episodes == 5 and five.task == "Line-v0" and five.dt == 0.5
    np.testing.assert_array_equal(five.subset(3).observations, three.observations)
    assert len(set(five.origin["reset_seeds"])) == 5 and five.origin["made_by"] == "envs.record"
    env = tasks.make("Line-v0")
    for seed, (observations, actions) in zip(five.origin["reset_seeds"], five.trajectories(), strict=True):
        assert observations[-1, 0] > 1 >= observations[:-1, 0].max()
        seen = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
        np.testing.assert_allclose(seen, observations, atol=1e-6)
    before = out.read_bytes()
    assert "0 of them new" in call("--task", "Line-v0", "--policy", policy, "--out", out, "--episodes", 5).output
    assert out.read_bytes() == before


def test_the_task_s_own_expert_records_an_insertion(tmp_path: Path) -> None:
    assert call("--task", "peg", "--policy", "expert", "--out", tmp_path / "a.npz", "--episodes", 1).exit_code == 0
    assert load(tmp_path / "a.npz").task == "PegInsertion-v0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "peg"], "one of --keyboard, --gamepad and --policy"),
        (["--task", "peg", "--keyboard", "--policy", "expert"], "one of --keyboard, --gamepad and --policy"),
        (["--task", "pegg", "--policy", "expert"], "did you mean 'peg'"),
        (["--task", "peg", "--policy", "nobody"], "'nobody': 'expert', file.py:Name"),
        (["--task", "peg", "--policy", "nowhere.py:Expert"], "no file 'nowhere.py'"),
        (["--task", "physical-fixed", "--policy", "expert"], "taught by hand"),
        (["--task", "Pendulum-v1", "--policy", "expert"], "no expert"),
        (["--task", "CartPole-v1", "--policy", "expert"], "one-dimensional boxes are needed"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Nothing"], "nothing called 'Nothing'"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:gymnasium"], "nothing called 'gymnasium'"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Line"], "Line(environment, generator) failed ("),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Lazy"], "succeeded in 0 of 21 attempts"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Wrong"], "2 finite numbers are needed"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Deaf"], "Deaf(environment, generator) failed (TypeError: "),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Stuck"], "act() failed (ValueError: planner found no path)"),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Unready"], "the policy's reset() failed (AttributeError: "),
        (["--task", "{line}:Line-v0", "--policy", "{line}:Wordy"], "the policy's act() failed (ValueError: could not"),
        (["--task", "{line}:Line-v0", "--policy", "expert", "--dt", "0.1"], "--dt 0.1: Line-v0 has its own dt, 0.5 s"),
        (["--task", "{line}:LateLine-v0", "--policy", "expert"], "make_expert(generator) of LateLine-v0 failed (Type"),
        (["--task", "{line}:Faultydeaf-v0", "--policy", "expert"], "of type Deaf, has no method reset()"),
        (["--task", "{line}:Faultyreset-v0", "--policy", "expert"], "reset() of Faultyreset-v0 failed (KeyError: "),
        (["--task", "{line}:Faultyoldreset-v0", "--policy", "expert"], "reset() of Faultyoldreset-v0 failed ("),
        (["--task", "{line}:Faultyoldstep-v0", "--policy", "expert"], "step() of Faultyoldstep-v0 failed (ValueError"),
        (["--task", "{line}:Faultynan-v0", "--policy", "expert"], "2 finite numbers are needed as an observation"),
        (
            ["--task", "{line}:Faultytwo-v0", "--policy", "expert"],
            "step() of Faultytwo-v0 failed (ValueError: The truth",
        ),
        (["--task", "{line}:Faultypassing-v0", "--policy", "expert"], "was true earlier, but only the step that ends"),
        (["--task", "{line}:Line-v0", "--keyboard", "--viewer"], "Line-v0 cannot draw itself: its metadata has no"),
        (["--task", "{line}:UnjudgedLine-v0", "--policy", "expert"], "does not set info['is_success']"),
        (["--task", "peg", "--policy", "expert", "--jogging", "joints"], "--jogging is for"),
        (["--task", "peg", "--policy", "expert", "--out", "nowhere/a.npz"], "no folder nowhere"),
        (["--task", "{line}:Line-v0", "--keyboard", "--jogging", "cartesian"], "no insertion task"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(
    tmp_path: Path, line: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    given = [text.replace("{line}", str(line)) for text in arguments]
    out = [] if "--out" in given else ["--out", str(tmp_path / "a.npz")]
    done = call(*given, *out)
    assert done.exit_code == 2 and message in done.output, done.output
    assert len(done.output.strip().splitlines()) <= 5 and "Traceback" not in done.output
    assert not (tmp_path / "a.npz").exists()


def test_what_was_recorded_before_a_failure_is_kept_and_told(tmp_path: Path, line: Path) -> None:
    out = tmp_path / "a.npz"
    done = call("--task", f"{line}:Faultystep-v0", "--policy", "expert", "--out", out, "--episodes", 99)
    kept = load(out).episodes
    assert done.exit_code == 2 and kept and "Traceback" not in done.output
    said = f"step() of Faultystep-v0 failed (RuntimeError: motor off); {out} keeps {kept} episode"
    assert said in done.output, done.output


@pytest.mark.parametrize("fps", [-5, 0, float("inf"), float("nan"), "30"])
def test_pictures_per_second_that_make_no_sense_are_refused(fps: object) -> None:
    env = gymnasium.Env[np.ndarray, np.ndarray]()
    env.metadata = {"render_fps": fps}
    with pytest.raises(DemonstrationError, match=r"render_fps is .* a positive number"):
        dt_of(env, "Task-v0")
    env.metadata = {"render_fps": 20}
    assert dt_of(env, "Task-v0") == 0.05


def test_an_episode_that_could_not_be_saved_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make_env("peg")
    recording = Recording(tmp_path / "a.npz", env, "PegInsertion-v0", env.dt, 0, "test")
    states, actions = [np.zeros(21)] * 2, [np.zeros(6)]
    recording.keep(states, actions)
    monkeypatch.setattr("envs.experts.recording.save", lambda made, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recording.keep(states, actions)
    assert recording.episodes == load(tmp_path / "a.npz").episodes == 1
    env.close()


@pytest.mark.parametrize("given", [0.5, 0.5000001])
def test_the_task_s_own_control_period_may_be_given_again(tmp_path: Path, line: Path, given: float) -> None:
    out = tmp_path / "a.npz"
    arguments = ("--task", f"{line}:Line-v0", "--policy", "expert", "--out", out, "--dt", given, "--episodes", 1)
    assert call(*arguments).exit_code == 0 and load(out).dt == 0.5


def test_other_files_are_not_touched(tmp_path: Path, line: Path) -> None:
    out = tmp_path / "a.npz"
    assert call("--task", f"{line}:Line-v0", "--policy", "expert", "--out", out, "--episodes", 1).exit_code == 0
    before = out.read_bytes()
    for task, message in ((f"{line}:FarLine-v0", "holds Line-v0"), ("peg", "holds Line-v0")):
        done = call("--task", task, "--policy", "expert", "--out", out)
        assert done.exit_code == 2 and message in done.output
    assert out.read_bytes() == before
    out.write_bytes(b"something else")
    assert call("--task", f"{line}:Line-v0", "--policy", "expert", "--out", out).exit_code == 2
    assert out.read_bytes() == b"something else"


def test_without_a_display_the_window_is_refused(tmp_path: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "envs.record", "--task", "peg", "--keyboard", "--out", str(tmp_path / "a.npz")]
    for environment in (bare, bare | {"DISPLAY": ":12345"}):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and "no window can be opened" in done.stderr
        assert environment is not bare or len(done.stderr.splitlines()) == 1, done.stderr


# A person at the controls


Operator = Iterator[list[Any]]
"""Gives the events of each control step."""


def press(number: int) -> list[Any]:
    return [key(number), key(number, down=False)]


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recording]:
    """Runs a session with an operator's events, on SDL's driver without a display."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    from envs.experts import teleoperation

    def run(env: Any, operator: Callable[[Any], Operator], episodes: int = 1, **options: Any) -> Recording:
        identity = env.spec.id
        recording = Recording(tmp_path / "mine.npz", env, identity, env.unwrapped.dt, 0, "keyboard")

        class Synthetic(teleoperation.Teleoperation):
            def _wait(self, due: float) -> float:
                for event in next(events, [pygame.event.Event(pygame.QUIT)]):
                    pygame.event.post(event)
                return super()._wait(due)

        teleoperation_session = Synthetic(env, recording, real_time=False, **options)
        events = operator(teleoperation_session)
        teleoperation_session.run(episodes)
        return recording

    return run


def test_keys_drive_a_task_to_success_and_failures_are_not_kept(session: Any, line: Path, tmp_path: Path) -> None:
    env = tasks.make(f"{line}:Line-v0")
    starts: list[int] = []

    def operator(session: Any) -> Operator:
        recording = session.recording
        starts.append(recording.start_seed)
        yield [key(pygame.K_2)]  # the wrong joint, until it is too late
        yield from ([] for _ in range(31))
        assert "Failed" in session.message and recording.episodes == 0
        yield [*press(pygame.K_RETURN), key(pygame.K_2, down=False)]  # a failure is not kept
        yield []
        assert recording.episodes == 0
        yield press(pygame.K_BACKSPACE)
        yield []
        starts.append(recording.start_seed)
        assert recording.discarded == 1
        yield [key(pygame.K_1), key(pygame.K_LCTRL)]
        yield []
        yield [*press(pygame.K_n), key(pygame.K_LCTRL, down=False)]  # midway: another start
        yield []
        starts.append(recording.start_seed)
        yield from ([] for _ in range(30))  # succeeds, since the key is still held

    recording = session(env, operator, device="keyboard")
    assert starts[0] == starts[1] != starts[2]
    made = load(tmp_path / "mine.npz")
    assert made.episodes == 1 and made.origin["failed_attempts"] == recording.discarded == 2
    assert made.origin["reset_seeds"] == [starts[2]] and made.observations[-1, 0] > 1
    _, actions = made.pairs()
    assert set(actions[:, 0]) == {6.0} and set(actions[:, 1]) == {0.0}


def test_a_task_without_a_picture_shows_its_observation(session: Any, line: Path) -> None:
    shown: list[bytes] = []

    def operator(session: Any) -> Operator:
        for number in (pygame.K_2, pygame.K_1):
            yield [key(number)]
            shown.append(pygame.image.tobytes(session._screen.subsurface((0, 40, 800, 560)), "RGB"))
            yield [key(number, down=False)]

    session(tasks.make(f"{line}:Line-v0"), operator, device="keyboard")
    assert all(len(set(picture)) > 9 for picture in shown) and shown[0] != shown[1]


def test_nothing_is_recorded_before_the_first_movement_or_while_paused(
    session: Any, line: Path, tmp_path: Path
) -> None:
    def operator(session: Any) -> Operator:
        yield from ([] for _ in range(10))
        yield [key(pygame.K_1), key(pygame.K_LCTRL)]
        yield [key(pygame.K_1, down=False)]
        yield press(pygame.K_SPACE)
        yield from ([] for _ in range(10))
        yield press(pygame.K_SPACE)
        yield [key(pygame.K_LCTRL, down=False), key(pygame.K_LSHIFT), key(pygame.K_1)]
        yield []
        yield [key(pygame.K_LSHIFT, down=False)]
        yield from ([] for _ in range(20))

    session(tasks.make(f"{line}:Line-v0"), operator, device="keyboard")
    actions = load(tmp_path / "mine.npz").pairs()[1][:, 0].tolist()
    assert actions[0] == 1.5, "precise: a quarter of the way from resting to the highest action"
    assert actions.count(0.0) == 2 and -1.0 in actions and actions[-1] == 6.0


def test_an_action_space_without_zero_rests_at_its_nearest_action(session: Any, line: Path, tmp_path: Path) -> None:
    def operator(session: Any) -> Operator:
        yield [key(pygame.K_1)]
        yield from ([] for _ in range(9))

    session(tasks.make(f"{line}:FarLine-v0"), operator, device="keyboard")
    actions = load(tmp_path / "mine.npz").pairs()[1]
    assert set(actions[:, 0]) == {6.0} and set(actions[:, 1]) == {4.0}


def test_a_task_that_does_not_judge_itself_is_judged_by_the_person(session: Any, line: Path, tmp_path: Path) -> None:
    def operator(session: Any) -> Operator:
        yield [key(pygame.K_1)]
        yield []
        yield press(pygame.K_RETURN)
        yield []

    session(tasks.make(f"{line}:UnjudgedLine-v0"), operator, device="keyboard")
    assert load(tmp_path / "mine.npz").episodes == 1


def test_quitting_leaves_what_was_saved(session: Any, line: Path, tmp_path: Path) -> None:
    def operator(session: Any) -> Operator:
        yield [key(pygame.K_1)]
        while session.recording.episodes < 2:
            yield []
        yield press(pygame.K_ESCAPE)

    assert session(tasks.make(f"{line}:Line-v0"), operator, episodes=9, device="keyboard").episodes == 2
    assert load(tmp_path / "mine.npz").episodes == 2


def test_releasing_the_window_releases_the_keys(session: Any, line: Path) -> None:
    def operator(session: Any) -> Operator:
        yield [key(pygame.K_1)]
        yield [pygame.event.Event(pygame.WINDOWFOCUSLOST)]
        yield []
        assert not session.device.keys
        yield press(pygame.K_ESCAPE)

    assert session(tasks.make(f"{line}:Line-v0"), operator, device="keyboard").episodes == 0


@pytest.mark.parametrize(
    ("pressed", "axis", "sign"), [("d", 0, 1), ("left", 0, -1), ("w", 1, 1), ("s", 1, -1), ("r", 2, 1), ("f", 2, -1)]
)
@pytest.mark.parametrize("camera", CAMERAS)
def test_keys_move_the_tip_as_the_picture_shows_it(
    session: Any, pressed: str, axis: int, sign: int, camera: str
) -> None:
    env = gymnasium.make("PegInsertion-v0")
    inside: Any = env.unwrapped
    moved = []

    def operator(session: Any) -> Operator:
        inside.camera = camera
        moved.append(inside.tip_position())
        yield [key(pygame.key.key_code(pressed))]
        yield from ([] for _ in range(4))
        moved.append(inside.tip_position())

    session(env, operator, device="keyboard")
    way = camera_axes(inside) @ (moved[1] - moved[0])
    assert np.argmax(np.abs(way)) == axis and np.sign(way[axis]) == sign
    assert 0.5 < abs(way[axis]) / (LINEAR_SPEED * 0.1 * 4) < 1.5


@pytest.mark.parametrize("device", ["keyboard", "gamepad"])
def test_a_steady_hand_inserts_the_peg(
    session: Any, device: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pygame.joystick, "get_count", lambda: 1)
    monkeypatch.setattr(pygame.joystick, "Joystick", lambda number: None)
    env = gymnasium.make("PegInsertion-v0", render_mode="rgb_array", width=64, height=48)

    def operator(session: Any) -> Operator:
        hand = SteadyHand(env.unwrapped, device)
        while True:
            yield hand.events()

    session(env, operator, device=device)
    made = load(tmp_path / "mine.npz")
    assert made.episodes == 1 and made.lengths[0] < 40
    again = make_env("peg")
    again.reset(seed=made.origin["reset_seeds"][0])
    for action in made.pairs()[1]:
        *_, info = again.step(action)
    assert info["is_success"]


def test_a_gamepad_chooses_joints_and_is_needed(session: Any, line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = tasks.make(f"{line}:Line-v0")
    monkeypatch.setattr(pygame.joystick, "get_count", lambda: 0)
    with pytest.raises(DemonstrationError, match="no gamepad is connected"):
        session(env, lambda session: iter([]), device="gamepad")
    monkeypatch.setattr(pygame.joystick, "get_count", lambda: 1)
    monkeypatch.setattr(pygame.joystick, "Joystick", lambda number: None)

    def operator(session: Any) -> Operator:
        yield [pygame.event.Event(pygame.JOYAXISMOTION, axis=1, value=-0.1)]
        yield []
        assert not session.device.joints(2).any(), "a stick rests a little off its middle"
        yield [pygame.event.Event(pygame.JOYAXISMOTION, axis=1, value=-1.0)]
        yield []
        assert session.device.joints(2).tolist() == [1.0, 0.0]
        yield [pygame.event.Event(pygame.JOYBUTTONDOWN, button=5)]
        yield []
        assert session.device.joints(2).tolist() == [0.0, 1.0]
        yield [pygame.event.Event(pygame.JOYDEVICEREMOVED)]
        yield []
        assert not session.device.joints(2).any()
        yield [pygame.event.Event(pygame.QUIT)]

    assert session(env, operator, device="gamepad").episodes == 0


def test_actions_with_too_many_numbers_for_a_keyboard_are_refused(session: Any) -> None:
    class Hand(gymnasium.Env):
        dt = 0.1
        observation_space, action_space = Box(-1, 1, (1,), np.float32), Box(-1, 1, (20,), np.float32)

    gymnasium.register("Hand-v0", Hand)
    with pytest.raises(DemonstrationError, match="20 numbers in an action"):
        session(gymnasium.make("Hand-v0", disable_env_checker=True), lambda session: iter([]), device="keyboard")
