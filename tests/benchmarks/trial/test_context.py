"""What a method gets from the suite: counted environments, a budget that holds, a curve at even points."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from benchmarks.records.schema import Evaluation
from benchmarks.trial.checkpoints import Snapshots
from benchmarks.trial.clock import Stopwatch
from benchmarks.trial.context import SERIES_LENGTH, TrialContext
from benchmarks.trial.protocol import Event, Progress
from envs.demonstrations import load_task
from envs.insertion.vector import InsertionVector
from envs.sb3 import GroupVecEnv
from methods.interface import BudgetExceeded, Diverged, MethodError
from methods.task_boundary import describe_task
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import TASK, Linear

DEMONSTRATIONS = tiny.demonstrate(episodes=2, seed=1)


class Still(Linear):
    """Never moves, and counts how often it was asked."""

    def __init__(self) -> None:
        super().__init__(np.zeros((4, 2)))


def new_context(folder: Path, events: list[Event] | None = None, points: int = 0, steps: int = 100) -> TrialContext:
    trial = examples.trial(3, Evaluation(rollouts=3, curve_points=points, curve_rollouts=2), steps)
    emit = (events if events is not None else []).append
    return TrialContext(trial, DEMONSTRATIONS, folder, emit, Snapshots(None, 0.0, trial, "", emit))


def test_the_task_is_described_by_its_environment(tmp_path: Path) -> None:
    task = new_context(tmp_path).task
    assert (task.id, task.observation_size, task.action_size, task.horizon, task.dt) == (TASK, 3, 2, 60, 0.1)
    assert task.action_low.tolist() == [-1.0, -1.0]
    assert task.kinematic_error is None


def test_a_task_that_can_judge_observations_says_how_coherent_they_are() -> None:
    """The environment that described the task is closed by then."""
    shown = load_task("PegInsertion-v0")
    error = describe_task("PegInsertion-v0", shown).kinematic_error
    assert error is not None and error(shown.observations[:50]).max() < 1e-5


def test_steps_and_episodes_are_counted_over_all_environments(tmp_path: Path) -> None:
    context = new_context(tmp_path, steps=200)
    single, many = context.make_env(), context.make_vector_env(2)
    single.reset()
    many.reset()
    for _ in range(60):
        single.step(np.zeros(2))
    assert (context.environment_steps, context.episodes) == (60, 1)
    for _ in range(60):
        many.step(np.zeros((2, 2)))
    assert (context.environment_steps, context.episodes) == (180, 3)
    usage = context.usage()
    assert (usage.environment_steps, usage.episodes) == (180, 3)


def test_insertion_environments_are_stepped_together_and_counted(tmp_path: Path) -> None:
    """With the seeds they would have one by one, so that a trial does not depend on how they are stepped."""
    trial = examples.trial(3, environment_steps=81).model_copy(update={"task": "PegInsertion-v0"})

    def context() -> TrialContext:
        nothing = Snapshots(None, 0.0, trial, "", [].append)
        return TrialContext(trial, load_task("PegInsertion-v0"), tmp_path, [].append, nothing)

    together, alone = context(), context()
    venv = together.make_vector_env(2)
    assert isinstance(venv, GroupVecEnv) and isinstance(venv.group._group, InsertionVector)
    np.testing.assert_array_equal(venv.reset(), [alone.make_env().reset()[0] for _ in range(2)])
    ended = 0
    for step in range(40):
        assert together.environment_steps == 2 * step
        *_, dones, _ = venv.step(np.tile([1.0, 0, 0, 0, 0, 0, 0], (2, 1)))
        ended += int(dones.sum())
    assert (together.environment_steps, together.episodes) == (80, ended) and ended > 1
    with pytest.raises(BudgetExceeded, match="81 environment steps"):
        venv.step(np.zeros((2, 7)))
    assert together.environment_steps == 80


def test_the_budget_holds(tmp_path: Path) -> None:
    context = new_context(tmp_path, steps=5)
    environment = context.make_env()
    environment.reset()
    for _ in range(5):
        environment.step(np.zeros(2))
    with pytest.raises(BudgetExceeded, match="5 environment steps"):
        environment.step(np.zeros(2))
    assert context.environment_steps == 5


def test_environments_are_seeded_even_where_the_method_forgets(tmp_path: Path) -> None:
    def first_observations() -> list[list[float]]:
        context = new_context(tmp_path)
        return [context.make_env().reset()[0].tolist() for _ in range(2)]

    one, two = first_observations(), first_observations()
    assert one == two and one[0] != one[1]


def test_the_curve_has_even_points_and_ends_with_the_final_evaluation(tmp_path: Path) -> None:
    events: list[Event] = []
    context = new_context(tmp_path, events, points=4)
    policy = Still()
    for step in range(1, 101):
        context.checkpoint(policy, step / 100, step)
    final = context.finish(policy)
    assert [point.progress for point in context.curve] == [0.25, 0.5, 0.75, 1.0]
    assert [point.gradient_steps for point in context.curve] == [25, 50, 75, 100]
    assert {mode: len(rollouts) for mode, rollouts in final.items()} == {"sampled": 3, "mean": 3}
    assert [event for event in events if not isinstance(event, Progress)] == context.curve
    assert context.environment_steps == 0, "evaluation is not charged"


def test_points_that_were_jumped_over_are_evaluated_once(tmp_path: Path) -> None:
    context = new_context(tmp_path, points=4)
    for progress in (0.6, 0.61, 0.62):
        context.checkpoint(Still(), progress, 1)
    assert [point.progress for point in context.curve] == [0.6]


def test_the_clock_stands_still_while_evaluating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    for module in ("trial.context", "trial.clock"):
        monkeypatch.setattr(f"benchmarks.{module}.perf_counter", lambda: now[0])
    context = new_context(tmp_path, points=2)

    class Slow(Still):
        def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
            now[0] += 1.0
            return super().act(observations, deterministic, rng)

    now[0] = 10.0
    context.checkpoint(Slow(), 0.5, 1)
    usage = context.usage()
    assert usage.training_seconds == context.curve[0].training_seconds == 11.0, "ten, and one for the probe"
    assert usage.evaluation_seconds == 2 * 60.0, "a second for each step, sampled and mean"


def test_what_trains_at_once_is_not_charged_for_the_evaluations_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.trial.clock.perf_counter", lambda: now[0])
    clock = Stopwatch()
    now[0] = 5.0
    with clock.stopped():
        now[0] = 105.0
    now[0] = 107.0
    assert clock.seconds == 7.0


def test_a_policy_or_a_loss_that_is_not_finite_is_found_at_once(tmp_path: Path) -> None:
    context = new_context(tmp_path)
    with pytest.raises(Diverged, match="not finite"):
        context.checkpoint(Linear(np.full((4, 2), np.nan)), 0.1, 1)
    with pytest.raises(Diverged, match="loss is inf at gradient step 4"):
        context.report(4, loss=float("inf"))


def test_a_policy_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"shape \(8, 3\), not \(8, 2\)"):
        new_context(tmp_path).checkpoint(Linear(np.zeros((4, 3))), 0.1, 1)


@pytest.mark.parametrize("count", [10, SERIES_LENGTH, 10 * SERIES_LENGTH + 3])
def test_long_series_are_thinned_evenly(tmp_path: Path, count: int) -> None:
    context = new_context(tmp_path)
    for step in range(count):
        context.report(step, loss=2.0 * step)
    steps = [step for step, _ in context.diagnostics().series["loss"]]
    assert len(steps) == min(count, len(steps)) <= SERIES_LENGTH
    assert len(steps) > min(count, SERIES_LENGTH) // 2 - 1
    assert steps[0] == 0 and len(set(np.diff(steps))) == 1
    assert all(value == 2.0 * step for step, value in context.diagnostics().series["loss"])


@pytest.mark.parametrize(
    ("column", "factor", "said"),
    [
        (
            0,
            180 / np.pi,
            r"observations\[\d\] of the demonstrations is .* is possible in PegInsertion-v0; are its units",
        ),
        (7, 180 / np.pi, r"observations\[\d+\] of the demonstrations is .* -10 to 10 is possible"),
        (14, 1000.0, r"observations\[14\] .* 0\.3 to 0\.94 is possible"),
        (17, 2.0, r"observations\[17\] .* -1\.01 to 1\.01 is possible"),
    ],
)
def test_demonstrations_in_other_units_are_refused(column: int, factor: float, said: str) -> None:
    """Degrees, degrees a second, millimetres, a quaternion that is none."""
    peg = load_task("peg")
    width = {0: 7, 7: 7, 14: 3, 17: 4}[column]
    changed = peg.observations.copy()
    changed[:, column : column + width] *= factor
    with pytest.raises(MethodError, match=said):
        describe_task("PegInsertion-v0", dataclasses.replace(peg, observations=changed))


def test_actions_and_clock_in_other_units_are_refused() -> None:
    peg = load_task("peg")
    assert peg.actions is not None
    with pytest.raises(MethodError, match=r"actions\[\d\] of the demonstrations .* -1 to 1 is possible"):
        describe_task("PegInsertion-v0", dataclasses.replace(peg, actions=10 * peg.actions))
    with pytest.raises(MethodError, match=r"a step of 0.1 s, but the demonstrations of 100 s"):
        describe_task("PegInsertion-v0", dataclasses.replace(peg, dt=100.0))


def test_tasks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MethodError, match="one-dimensional Box"):
        describe_task("CartPole-v1", DEMONSTRATIONS)
    with pytest.raises(MethodError, match="has 2 observations, but the demonstrations have 3"):
        describe_task("MountainCarContinuous-v0", DEMONSTRATIONS)
    gymnasium.register("Endless-v0", entry_point="gymnasium.envs.classic_control:PendulumEnv")
    with pytest.raises(MethodError, match="no time limit"):
        describe_task("Endless-v0", DEMONSTRATIONS)
    del gymnasium.registry["Endless-v0"]
