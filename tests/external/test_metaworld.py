"""Meta-World's peg insertion from its scripted expert to a comparison, as docs/examples/metaworld_peg.py describes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.records.schema import Record, load_record
from envs import tasks
from envs.demonstrations import load

pytestmark = pytest.mark.external
pytest.importorskip("metaworld", reason="Meta-World is not installed: pip install --no-deps metaworld==3.1.1")

ROOT = Path(__file__).parents[2]
EXAMPLE = "docs/examples/metaworld_peg.py"
TASK = f"{EXAMPLE}:MetaWorldPeg-v0"
EPISODES = 8


def run(*arguments: str, code: int = 0) -> str:
    """Run a module's command line in the repository, where it must end with `code`; returns all it printed."""
    environment = os.environ | {"CI": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def recorded(path: Path, policy: str = f"{EXAMPLE}:Scripted", code: int = 0) -> str:
    return run(
        "envs.record", f"--task={TASK}", f"--policy={policy}", f"--episodes={EPISODES}", f"--out={path}", code=code
    )


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("external") / "metaworld.npz"
    recorded(path)
    return path


def test_its_scripted_expert_is_recorded(demonstrations: Path, tmp_path: Path) -> None:
    """The expert succeeds mostly; an actor that does nothing is refused; recording twice gives equal episodes."""
    found = load(demonstrations)
    assert found.episodes == EPISODES and found.actions is not None
    assert found.origin["failed_attempts"] <= EPISODES
    holes = found.observations[:, -3:]
    assert len(np.unique(holes, axis=0)) == EPISODES, "every episode has a hole of its own, seen in the observation"
    again = tmp_path / "again.npz"
    recorded(again)
    np.testing.assert_array_equal(load(again).observations, found.observations)
    idle = tmp_path / "idle.py"
    idle.write_text(
        "import numpy as np\n"
        "class Idle:\n"
        "    def __init__(self, environment, rng): pass\n"
        "    def reset(self): pass\n"
        "    def act(self, observation): return np.zeros(4)\n"
    )
    assert "0 of 21 attempts" in recorded(tmp_path / "none.npz", f"{idle}:Idle", code=2)


def test_recorded_actions_lead_to_recorded_observations(demonstrations: Path) -> None:
    """A file holds what the environment needs to reproduce it: the reset's seed and the actions."""
    found = load(demonstrations)
    environment = tasks.make(str(ROOT / EXAMPLE) + ":MetaWorldPeg-v0")
    observations, actions = found.trajectories()[0]
    assert actions is not None
    seen = [environment.reset(seed=found.origin["reset_seeds"][0])[0]]
    for action in actions:
        observation, _, terminated, _, info = environment.step(action)
        seen.append(observation)
    environment.close()
    assert terminated and info["is_success"]
    np.testing.assert_array_equal(np.array(seen, np.float32), observations)


def test_it_keeps_the_contract_of_tasks(demonstrations: Path) -> None:
    assert " 0 broken" in run("methods.check", f"--task={TASK}", f"--demonstrations={demonstrations}")


def test_methods_are_compared_on_it(demonstrations: Path, tmp_path: Path) -> None:
    table = run(
        "benchmarks.run",
        *(f"--tasks={TASK}", f"--demonstrations={demonstrations}", "--methods=bc,knn", "--profile=smoke"),
        *("--seeds=1", "--jobs=1", f"--results={tmp_path}"),
    )
    assert "MetaWorldPeg-v0" in table and "knn" in table and "BC" in table
    records = [load_record(path) for path in (tmp_path / "records").glob("*.json")]
    assert {record.trial.method for record in records} == {"bc", "knn"}
    assert all(record.status == "ok" and ended(record) for record in records)


def ended(record: Record) -> bool:
    """Whether all rollouts ended as episodes of this task do, and took time."""
    rollouts = [rollout for mode in record.final.values() for rollout in mode]
    return bool(rollouts) and all(one.seconds > 0 and one.end in ("success", "timeout") for one in rollouts)
