"""The example of a real arm: another process with its own clock, its own limits, and numbers on a wire."""

from __future__ import annotations

import importlib
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest

from benchmarks.trial.evaluation import Evaluator
from envs.demonstrations import load, save
from methods.checkpointing import can_be_captured
from methods.interface import Policy
from methods.task_boundary import describe_task

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs/real_robot"


@pytest.fixture
def controller() -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([sys.executable, EXAMPLE / "controller.py"], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def port(controller: subprocess.Popen) -> int:
    assert controller.stdout
    return int(controller.stdout.readline())


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(EXAMPLE)
    yield importlib.import_module("arm")
    gymnasium.registry.pop("PlanarArm-v0")
    for name in ("arm", "record", "roll_out", "wire"):
        sys.modules.pop(name, None)


@pytest.fixture
def recording(example: ModuleType) -> ModuleType:
    return importlib.import_module("record")


@pytest.fixture
def arm(example: ModuleType, port: int) -> Iterator[Any]:
    env = example.PlanarArmEnv(port, patience=5.0)
    yield env
    env.close()


def test_an_episode_succeeds_at_the_pace_of_the_controller_s_clock(
    arm: Any, example: ModuleType, recording: ModuleType
) -> None:
    arm.reset(seed=0)
    begun, before = arm._state.time, np.array(arm._state.positions)
    late = [arm.step(np.array([0.4, -0.4]))[-1]["late"] for _ in range(5)]
    taken = arm._state.time - begun
    assert taken == pytest.approx(5 * arm.dt + sum(late)) and min(late) >= -1e-6
    moved = np.array(arm._state.positions) - before
    assert moved == pytest.approx(0.2 * np.array([taken, -taken]), abs=0.02), "the arm moved while we waited"
    assert recording.record(arm, range(1, 2)).lengths > 0.5
    with pytest.raises(example.ArmError, match="no episode"):
        arm.step(np.zeros(2))


def test_the_table_ends_an_episode_and_the_arm_stops(arm: Any, example: ModuleType) -> None:
    arm.reset(seed=0)
    for _ in range(arm.horizon):
        _, reward, terminated, truncated, info = arm.step(np.array([-1.0, -1.0]))
        if terminated:
            break
    assert terminated and not truncated and not info["is_success"] and reward == 0
    assert_still(arm)


def assert_still(arm: Any) -> None:
    """The arm comes to rest without another command than to tell what it does."""
    for _ in range(200):
        arm._command((0.0, 0.0))
        arm._listen()
        if not np.any(arm._state.velocities):
            return
    raise AssertionError(f"the arm moves with {arm._state.velocities} rad/s")


def test_silence_stops_the_arm_and_is_told(arm: Any, example: ModuleType, controller: subprocess.Popen) -> None:
    arm.reset(seed=0)
    arm.step(np.ones(2))
    arm._patience = 0.3
    controller.send_signal(signal.SIGSTOP)
    with pytest.raises(example.ArmError, match=r"no state from .* in 0\.3 s.*told to stop"):
        for _ in range(20):
            arm.step(np.ones(2))
    with pytest.raises(example.ArmError, match="no episode"):
        arm.step(np.ones(2))
    controller.send_signal(signal.SIGCONT)
    arm._patience = 5.0
    assert_still(arm)
    assert not arm.reset(seed=0)[1]["is_success"], "a person has looked; it goes on"


def test_the_controller_stops_by_itself_when_nobody_commands_it(arm: Any, example: ModuleType, port: int) -> None:
    arm.reset(seed=0)
    arm.step(np.ones(2))
    arm._link.close()  # as if the process had died
    other = example.PlanarArmEnv(port, patience=5.0)
    other._call()  # answered once the watchdog has let go of the first
    assert np.abs(other._state.velocities).max() < 0.5, "it brakes, or stands, whatever was last commanded"
    assert_still(other)
    other.close()


def test_only_one_drives_the_arm(arm: Any, example: ModuleType, port: int) -> None:
    arm.reset(seed=0)
    other = example.PlanarArmEnv(port, patience=0.1)
    arm.step(np.zeros(2))
    with pytest.raises(example.ArmError, match="nobody else drive the arm"):
        other._command((0.5, 0.5))
        arm.step(np.zeros(2))
        other._listen()
    other.close()


def test_the_controller_keeps_its_limits_and_ignores_what_it_does_not_understand(arm: Any) -> None:
    arm.reset(seed=0)
    for nonsense in (b"", b"x" * 999, struct.pack("<2d", np.nan, 1.0), struct.pack("<3d", 1, 1, 1)):
        arm._link.sendto(nonsense, arm._controller)
    arm.step(np.zeros(2))
    assert not np.any(arm._state.velocities)
    fastest = []
    for _ in range(60):
        arm._command((50.0, -50.0))
        arm._listen()
        fastest.append(np.abs(arm._state.velocities).max())
    assert max(fastest) == pytest.approx(0.6)


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0.0])])
def test_bad_actions_are_refused_and_stop_the_arm(arm: Any, example: ModuleType, action: np.ndarray) -> None:
    arm.reset(seed=0)
    arm.step(np.ones(2))
    with pytest.raises(example.ArmError, match="2 finite numbers"):
        arm.step(action)
    assert_still(arm)


def test_messages_of_others_and_damaged_ones_are_no_states(example: ModuleType) -> None:
    wire = sys.modules["wire"]
    state = wire.State(3, 0.5, (0.1, 0.2), (0.3, 0.4))
    assert wire.read_state(wire.pack_state(state)) == state
    assert wire.read_state(wire.pack_state(state)[:-1]) is None
    assert wire.read_state(wire.pack_state(state._replace(time=np.inf))) is None
    assert wire.read_command(wire.pack_command((0.1, 0.2))) == (0.1, 0.2)


def test_a_controller_that_is_not_there_is_said_to_be(example: ModuleType) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = example.PlanarArmEnv(port, patience=0.2)
    with pytest.raises(example.ArmError, match="is the controller running"):
        env.reset()
    env.close()


class Lowering(Policy):
    """Acts on a batch, as learnt policies do."""

    def __init__(self, recording: ModuleType) -> None:
        self.lowering = recording.lowering

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        return np.array([self.lowering(observation) for observation in observations])

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    load = save  # type: ignore[assignment]


def test_the_suite_reads_its_demonstrations_and_evaluates_on_it(
    arm: Any, recording: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ARM_PORT", str(port))
    monkeypatch.setattr(type(arm).__init__, "__defaults__", (None, 5.0))  # the machine may be busy
    assert not can_be_captured(arm), "so its trials start over after an interruption"
    save(recording.record(arm, range(2)), tmp_path / "mine.npz")
    shown = load(tmp_path / "mine.npz")
    assert shown.episodes == 2 and np.abs(shown.actions).max() <= 1
    task = describe_task("arm:PlanarArm-v0", shown)
    assert (task.horizon, task.dt, task.observation_size, task.action_size) == (200, 0.05, 6, 2)
    evaluator = Evaluator(task)
    (rollout,) = evaluator.evaluate(Lowering(recording), 1, first_seed=7, deterministic=True)
    assert rollout.success and 0.3 < rollout.seconds < 10
    evaluator.close()
    alone = importlib.import_module("roll_out")
    assert alone.successes(arm, Lowering(recording), range(7, 8)) == 1
