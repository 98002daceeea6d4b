"""Saved policies of any class are loaded to act in their task's units, and no file decides which code is run."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from benchmarks.records.schema import Trial
from benchmarks.trial import saved_policy
from envs.demonstrations import Demonstrations
from methods.interface import FitContext, Method, MethodError, Policy
from methods.policy import GaussianNetwork, GaussianPolicy, PolicyShape
from methods.task_boundary import ActionBounds, describe_task
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import Linear

SHOWN = tiny.demonstrate(episodes=2, seed=0)
TASK = describe_task(tiny.ID, SHOWN)
BOUNDS = ActionBounds((4.0, -0.01), (6.0, 0.01))


@dataclass(frozen=True)
class NoSettings:
    pass


class Own(Method):
    name: ClassVar[str] = "own"
    Settings: ClassVar[type] = NoSettings
    policy: ClassVar[type[Policy] | None] = Linear

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Policy:
        raise NotImplementedError


OWN = f"{__name__}:Own"


def keep(folder: Path | str, policy: Policy, method: str = OWN, bounds: ActionBounds = BOUNDS) -> Trial:
    trial = examples.trial().model_copy(update={"method": method})
    saved_policy.save(policy, folder, trial, TASK, bounds)
    return trial


def test_a_policy_of_any_class_acts_in_the_units_of_its_task(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(0.0, 0.2, (4, 2))
    trial = keep(tmp_path, Linear(weights))
    saved = saved_policy.load(tmp_path, [OWN])
    assert type(saved.policy) is Linear
    assert (saved.description.trial, saved.description.task, saved.description.dt) == (trial.id, trial.task, 0.1)
    actor, seen = saved.actor(5), SHOWN.observations[:5].copy()
    actor.start(range(5))
    actions = actor.act(seen, range(5), True, np.random.default_rng(0))
    fractions = Linear(weights).act(SHOWN.observations[:5], True, np.random.default_rng(0))
    np.testing.assert_allclose(actions, fractions * [1.0, 0.01] + [5.0, 0.0], atol=1e-6)
    assert actions.dtype == np.float32


def test_the_shared_policy_is_loaded_by_the_name_of_a_built_in_method(tmp_path: Path) -> None:
    policy = GaussianPolicy(GaussianNetwork(PolicyShape.of(TASK), SHOWN.observations))
    keep(tmp_path, policy, "gpril")
    saved = saved_policy.load(tmp_path)
    for deterministic in (True, False):
        one, two = (p.act(SHOWN.observations, deterministic, np.random.default_rng(0)) for p in (saved.policy, policy))
        np.testing.assert_array_equal(one, two)


def test_a_folder_may_be_given_as_text(tmp_path: Path) -> None:
    policy, folder = GaussianPolicy(GaussianNetwork(PolicyShape.of(TASK), SHOWN.observations)), str(tmp_path / "ä b")
    keep(folder, policy, "gpril")
    assert saved_policy.describe(folder) == saved_policy.load(folder).description
    assert isinstance(GaussianPolicy.load(folder), GaussianPolicy)
    with pytest.raises(MethodError, match="no saved policy"):
        saved_policy.load("nowhere")
    with pytest.raises(MethodError, match="not a saved policy"):
        GaussianPolicy.load("nowhere")


@pytest.mark.parametrize("method", ["json.tool:main", "/elsewhere/mine.py:Mine", OWN])
def test_code_that_a_file_names_is_not_run(tmp_path: Path, method: str) -> None:
    sys.modules.pop("json.tool", None)
    keep(tmp_path, Linear(np.zeros((4, 2))), method)
    for named in ((), ("bc",), ("other.py:Mine",)):
        with pytest.raises(MethodError, match="whose code is run only if you name it: --method"):
            saved_policy.load(tmp_path, named)
    assert "json.tool" not in sys.modules


def test_a_file_of_ones_own_may_have_moved(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"from {__name__} import Own as Mine\n")
    keep(tmp_path / "policy", Linear(np.zeros((4, 2))), "/on/another/machine/mine.py:Mine")
    assert type(saved_policy.load(tmp_path / "policy", ["x:Y", f"{tmp_path}/mine.py:Mine"]).policy) is Linear


@pytest.mark.parametrize(
    "changes",
    [
        {"action_low": [6.0, -0.01]},
        {"action_low": [4.0]},
        {"action_low": [], "action_high": []},
        {"action_high": [float("nan"), 1.0]},
        {"dt": 0.0},
        {"dt": "0.1"},
        {"horizon": 0},
        {"format": 2},
        {"action_dtype": "object"},
        {"observation_size": -1},
        {"trial": "../../etc"},
        {"method": None},
    ],
    ids=str,
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    keep(tmp_path, Linear(np.zeros((4, 2))))
    path = tmp_path / saved_policy.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(MethodError, match=r"trial\.json: it does not describe a policy"):
        saved_policy.load(tmp_path, [OWN])


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"no saved policy, or one of an earlier version: there is no trial\.json"):
        saved_policy.load(tmp_path)
    keep(tmp_path, Linear(np.zeros((4, 2))))
    (tmp_path / "weights.json").unlink()
    with pytest.raises(MethodError, match=f"{tmp_path}: Linear cannot be loaded from it .*weights.json"):
        saved_policy.load(tmp_path, [OWN])
    for content in (b"\xff\xfe", b"[" * 10_000, b"", b"null"):
        (tmp_path / saved_policy.FILE).write_bytes(content)
        with pytest.raises(MethodError, match="does not describe a policy"):
            saved_policy.load(tmp_path, [OWN])


class Other(tiny.TinySlot):
    def __init__(self, observations: int, low: float) -> None:
        super().__init__()
        self.observation_space = Box(-9, 9, (observations,), np.float32)
        self.action_space = Box(np.array([low, -0.01], np.float32), np.array([6.0, 0.01], np.float32))


def test_an_environment_that_is_another_is_refused(tmp_path: Path) -> None:
    bounds = ActionBounds.of("own", Other(3, 4.0).action_space)
    keep(tmp_path, Linear(np.zeros((4, 2))), bounds=bounds)
    saved = saved_policy.load(tmp_path, [OWN])
    saved.require_fits(Other(3, 4.0))
    for other in (Other(4, 4.0), Other(3, 3.0), gymnasium.Wrapper(Other(3, 5.0))):
        with pytest.raises(MethodError, match="the policy was trained for 3 observations"):
            saved.require_fits(other)
