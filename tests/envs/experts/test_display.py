"""Recording in a real window of a virtual X display, whose keys are pressed from outside; the robot moves in real time.

Debian and Ubuntu: apt-get install xvfb xdotool
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from envs.demonstrations import load

pytest.importorskip("pygame", reason="pygame is not installed: pip install pygame")
pytestmark = pytest.mark.skipif(
    not (shutil.which("Xvfb") and shutil.which("xdotool")),
    reason="no virtual display is installed: apt-get install xvfb xdotool",
)

ROOT = Path(__file__).parents[3]
TASK = "tests/envs/experts/steady_hand.py:WatchedPeg-v0"
PATIENCE = 120.0


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """The first true value that `found` returns."""
    end = monotonic() + PATIENCE
    while not (value := found()):
        assert monotonic() < end, f"waited for: {what}"
        sleep(0.02)
    return value


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """A virtual display that chooses a free number."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1000x800x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as numbers:
            yield f":{numbers.readline().strip()}"
        server.terminate()


class Session:
    """A running `python -m envs.record --keyboard` and the person at its keyboard."""

    def __init__(self, display: str, folder: Path, episodes: int) -> None:
        self.watched = folder / "watched.json"
        self.watched.unlink(missing_ok=True)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SDL_")}
        self.environment |= {"DISPLAY": display, "WATCHED": str(self.watched)}
        command = [sys.executable, "-m", "envs.record", f"--task={TASK}", "--keyboard", f"--episodes={episodes}"]
        self.process = subprocess.Popen(
            [*command, f"--out={folder / 'mine.npz'}"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for("the window", lambda: self.status() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()

    def status(self) -> dict[str, Any]:
        """The state of the robot and the keys that a steady hand would hold down."""
        return json.loads(self.watched.read_text()) if self.watched.exists() else {}

    def keys(self, *commands: str) -> None:
        subprocess.run(["xdotool", *commands], env=self.environment, check=True)

    def hold(self, keys: set[str], down: set[str]) -> set[str]:
        changed = [word for one in sorted(down - keys) for word in ("keyup", one)]
        changed += [word for one in sorted(keys - down) for word in ("keydown", one)]
        if changed:
            self.keys(*changed)
        return keys

    def insert(self) -> None:
        """Hold the right keys down until another episode begins or the program ends."""
        begun, down = self.status()["resets"], set[str]()
        end = monotonic() + PATIENCE
        while self.process.poll() is None and self.status()["resets"] == begun:
            assert monotonic() < end, "the peg was not inserted"
            down = self.hold(set(self.status()["keys"]), down)
            sleep(0.02)
        self.hold(set(), down)

    def output(self) -> str:
        return self.process.communicate(timeout=PATIENCE)[0]


def test_a_person_records_retries_is_killed_and_resumes(
    display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mine.npz"
    session = Session(display, tmp_path, episodes=2)
    first = session.status()
    session.keys("keydown", "r")
    wait_for("a movement", lambda: session.status()["steps"] > 3)
    session.keys("keyup", "r", "key", "Return")  # refused: the peg is not in the hole
    session.keys("key", "BackSpace")
    again = wait_for("the same start", lambda: session.status()["resets"] == 2 and session.status())
    assert again["seed"] == first["seed"] and not out.exists()
    session.keys("key", "n")
    wait_for("another start", lambda: session.status()["seed"] != first["seed"])
    session.insert()
    assert load(out).episodes == 1 and load(out).origin["failed_attempts"] == 2

    session.keys("keydown", "f")
    wait_for("the second episode", lambda: session.status()["steps"] > 3)
    session.process.kill()
    session.output()
    session.keys("keyup", "f")
    kept = out.read_bytes()
    assert load(out).episodes == 1 and {path.name for path in tmp_path.iterdir()} <= {"mine.npz", "watched.json"}

    session = Session(display, tmp_path, episodes=2)
    session.keys("keydown", "f")
    wait_for("a movement", lambda: session.status()["steps"] > 3)
    session.process.send_signal(signal.SIGINT)
    assert "stopped with 1 episode in" in session.output() and session.process.returncode == 130
    session.keys("keyup", "f")
    assert out.read_bytes() == kept

    session = Session(display, tmp_path, episodes=2)
    session.insert()
    printed = session.output()
    assert session.process.returncode == 0 and "2 episodes, 1 of them new; discarded attempts: 2" in printed
    made = load(out)
    assert made.origin["device"] == "keyboard" and len(set(made.origin["reset_seeds"])) == 2
    from tests.envs.experts.steady_hand import WatchedPeg

    monkeypatch.setenv("WATCHED", str(tmp_path / "replayed.json"))
    env = WatchedPeg()
    for seed, (observations, actions) in zip(made.origin["reset_seeds"], made.trajectories(), strict=True):
        assert actions is not None
        seen = [env.reset(seed=seed)[0]]
        for action in actions:
            observation, *_, info = env.step(action)
            seen.append(observation)
        assert info["is_success"]
        np.testing.assert_array_equal(np.array(seen, np.float32), observations)
