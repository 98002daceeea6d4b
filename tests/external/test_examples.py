"""Tasks of other projects, from their scripted experts to a comparison, as the files of docs/examples describe."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.records.files import load_record
from benchmarks.records.schema import Record
from envs import tasks
from envs.demonstrations import load
from methods.registry import expand

pytestmark = pytest.mark.external

ROOT = Path(__file__).parents[2]
EPISODES = 8


@dataclass(frozen=True)
class Example:
    """A file of docs/examples.

    Attributes:
        file: its path in the repository.
        task: the Gymnasium id that it registers.
        package: the module that it needs.
        varies: columns of an observation that the start of an episode decides.
    """

    file: str
    task: str
    package: str
    varies: slice

    @property
    def name(self) -> str:
        return f"{self.file}:{self.task}"


EXAMPLES = [
    Example("docs/examples/metaworld_peg.py", "MetaWorldPeg-v0", "metaworld", slice(-3, None)),
    Example("docs/examples/fetch_pick_and_place.py", "FetchPickAndPlaceFlat-v0", "gymnasium_robotics", slice(3, 6)),
]


def run(*arguments: str, code: int = 0) -> str:
    """Run a module's command line in the repository, where it must end with `code`; returns all it printed."""
    environment = os.environ | {"CI": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda example: example.task)
def example(request: pytest.FixtureRequest) -> Example:
    found: Example = request.param
    assert importlib.util.find_spec(found.package), f"{found.package} is not installed: {found.file} says how"
    return found


def recorded(example: Example, path: Path, policy: str = "", code: int = 0) -> str:
    policy = policy or f"{example.file}:Scripted"
    return run(
        *("envs.record", f"--task={example.name}", f"--policy={policy}", f"--episodes={EPISODES}", f"--out={path}"),
        code=code,
    )


@pytest.fixture(scope="module")
def demonstrations(example: Example, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("external") / "recorded.npz"
    recorded(example, path)
    return path


def test_a_scripted_expert_is_recorded(example: Example, demonstrations: Path, tmp_path: Path) -> None:
    """The expert succeeds mostly; an actor that does nothing is refused; recording twice gives equal episodes."""
    found = load(demonstrations)
    assert found.episodes == EPISODES and found.actions is not None
    assert found.origin["failed_attempts"] <= EPISODES
    assert {name.replace("-", "_") for name in found.origin["versions"]} >= {example.package, "mujoco"}
    goals = found.observations[:, example.varies]
    assert len(np.unique(goals, axis=0)) == EPISODES, "every episode has a goal of its own, seen in the observation"
    again = tmp_path / "again.npz"
    recorded(example, again)
    np.testing.assert_array_equal(load(again).observations, found.observations)
    idle = tmp_path / "idle.py"
    idle.write_text(
        "import numpy as np\n"
        "class Idle:\n"
        "    def __init__(self, environment, rng): pass\n"
        "    def reset(self): pass\n"
        "    def act(self, observation): return np.zeros(4)\n"
    )
    assert "too few to record" in recorded(example, tmp_path / "none.npz", f"{idle}:Idle", code=2)


def test_recorded_actions_lead_to_recorded_observations(example: Example, demonstrations: Path) -> None:
    """A file holds what the environment needs to reproduce it: the reset's seed and the actions."""
    found = load(demonstrations)
    environment = tasks.make(f"{ROOT / example.file}:{example.task}")
    observations, actions = found.trajectories()[0]
    assert actions is not None
    seen = [environment.reset(seed=found.origin["reset_seeds"][0])[0]]
    for action in actions:
        observation, _, terminated, truncated, info = environment.step(action)
        seen.append(observation)
    environment.close()
    assert (terminated or truncated) and info["is_success"]
    np.testing.assert_array_equal(np.array(seen, np.float32), observations)


def test_it_keeps_the_contract_of_tasks(example: Example, demonstrations: Path) -> None:
    assert " 0 broken" in run("methods.check", f"--task={example.name}", f"--demonstrations={demonstrations}")


def test_all_offline_methods_are_compared_on_it(example: Example, demonstrations: Path, tmp_path: Path) -> None:
    table = run(
        "benchmarks.run",
        *(f"--tasks={example.name}", f"--demonstrations={demonstrations}", "--methods=offline", "--profile=smoke"),
        *("--seeds=1", "--jobs=1", f"--results={tmp_path}"),
    )
    assert example.task in table
    records = [load_record(path) for path in (tmp_path / "records").glob("*.json")]
    assert {record.trial.method for record in records} == set(expand(["offline"]))
    assert all(record.status == "ok" and ended(record) for record in records)


def ended(record: Record) -> bool:
    """Whether all rollouts ended as episodes of this task do, and took time."""
    rollouts = [rollout for mode in record.final.values() for rollout in mode]
    return bool(rollouts) and all(one.seconds > 0 and one.end in ("success", "timeout") for one in rollouts)
