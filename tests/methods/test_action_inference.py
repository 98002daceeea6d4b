"""The inverse model, and demonstrations with inferred actions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from methods import registry
from methods.action_inference import fit_inverse_model, infer_actions
from methods.bco import Bco, Settings
from methods.conformance.checks import BUDGET
from methods.conformance.context import PlainContext
from methods.conformance.point_task import demonstrate
from methods.interface import Budget, MethodError, make_settings
from tests.methods.worlds import TINY, TinySlot


def test_a_linear_system_is_inverted_exactly() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.normal(size=(400, 3)), rng.uniform(-1.0, 1.0, (400, 2))
    dynamics, control = rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    successors = states @ dynamics + actions @ control
    model = fit_inverse_model(states[:300], actions[:300], successors[:300])
    assert np.abs(model(states[300:], successors[300:]) - actions[300:]).max() < 1e-4
    assert model.r2 > 0.9999 and model.rmse < 1e-4


def test_constant_observations_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (200, 1))
    states = np.column_stack([rng.normal(size=200), np.full(200, 7.0)])
    model = fit_inverse_model(states, actions, states + np.column_stack([0.1 * actions, np.zeros(200)]))
    assert model.r2 > 0.9999


def test_demonstrated_actions_are_found_from_states_and_counted_steps(tmp_path: Path) -> None:
    shown = demonstrate(5, seed=0)
    context = PlainContext(Budget(1_000, 1), 0, tmp_path)
    found = infer_actions(replace(shown, actions=None), context, 800)
    assert shown.actions is not None and found.actions is not None
    assert np.abs(found.actions - shown.actions).max() < 0.02, "velocities of a point are exact but for rounding"
    assert not found.actions[found.terminal].any()
    assert context.environment_steps == 800
    assert context.reports[0][1]["inferred_action_r2"] > 0.99
    again = infer_actions(shown, PlainContext(Budget(1_000, 1), 0, tmp_path), 800)
    assert np.array_equal(again.actions, found.actions), "demonstrated actions are not looked at"


def test_no_more_steps_than_the_budget_leaves(tmp_path: Path) -> None:
    context = PlainContext(Budget(200, 1), 0, tmp_path)
    infer_actions(demonstrate(2, seed=0), context, 4_000)
    assert context.environment_steps == 200
    with pytest.raises(MethodError, match="at least 16 environment steps"):
        infer_actions(demonstrate(2, seed=0), context, 4_000)


@pytest.mark.parametrize("shown", [{"every": 2}, {"final_only": True}])
def test_demonstrations_that_leave_states_out_are_refused(shown: dict, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="every state"):
        infer_actions(demonstrate(2, seed=0).subset(**shown), PlainContext(Budget(1_000, 1), 0, tmp_path))


class Unmoved(TinySlot):
    """A world in which actions do nothing that is observed."""

    def step(self, action: np.ndarray) -> tuple:
        return super().step(np.zeros(2))


def test_actions_that_leave_no_trace_are_refused(tmp_path: Path) -> None:
    context = PlainContext(Budget(1_000, 1), 0, tmp_path, TINY, Unmoved)
    observations = np.zeros((5, 3), np.float32)
    from envs.demonstrations import Demonstrations

    shown = Demonstrations.from_trajectories([(observations, None)], task=TINY.id, dt=TINY.dt)
    with pytest.raises(MethodError, match="cannot be inferred"):
        infer_actions(shown, context, 800)


def test_bco_counts_its_own_steps(tmp_path: Path) -> None:
    context = PlainContext(Budget(1_000, 20), 0, tmp_path)
    Bco(Settings(l2=1e-4, inference_steps=400)).fit(replace(demonstrate(3, seed=0), actions=None), context)
    assert context.environment_steps == 400
    assert context.checkpoints[-1] == (1.0, 20)


@pytest.mark.parametrize(
    "name", [name for name in registry.BUILT_IN if (found := registry.outline(name)).needs_environment]
)
def test_methods_keep_to_the_steps_that_inference_has_left(name: str, tmp_path: Path) -> None:
    method = registry.resolve(name)
    context = PlainContext(BUDGET, 1, tmp_path)
    shown = infer_actions(replace(demonstrate(3, seed=0), actions=None), context, 800)
    if name == "gaifo":
        shown = replace(shown, actions=None)
    method(make_settings(method, method.small)).fit(shown, context)
    assert 800 < context.environment_steps <= BUDGET.environment_steps
    assert context.checkpoints[-1][0] == 1.0
