"""What the user sees while trials run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.execution.progress import LiveView, PlainView, new_view, outcome
from benchmarks.planning import profiles
from benchmarks.planning.estimate import START_SECONDS, Estimator, duration, together
from benchmarks.records.schema import CurvePoint
from benchmarks.trial.protocol import NOTHING
from tests.benchmarks import examples

PROFILE = profiles.load("smoke").model_copy(update={"seconds": {"linear": 50.0}})
"""It knows methods by their names, also those that trials name by their place."""
TRIALS = [examples.trial(seed) for seed in range(4)]
NAMES = {trial.id: f"trial {trial.seed}" for trial in TRIALS}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations_are_in_peoples_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_estimates_come_from_records_where_there_are_any() -> None:
    estimator = Estimator(PROFILE, [])
    assert estimator.guessing and estimator.seconds(TRIALS[0]) == 50.0
    for record in (examples.record(0, seconds=10.0), examples.record(1, seconds=20.0)):
        estimator.learn(record)
    estimator.learn(examples.record(2, status="failed", seconds=1000.0))
    assert not estimator.guessing and estimator.seconds(TRIALS[3]) == 15.0 + START_SECONDS
    assert estimator.seconds(TRIALS[3].model_copy(update={"task": "another"})) == 50.0


def test_estimates_mind_the_budget() -> None:
    """A trial of ten times the environment steps trains ten times as long where steps are what ended the others, and
    otherwise one of ten times the updates."""
    idle = examples.record(0, seconds=96.0)
    steps = idle.trial.budget.environment_steps
    busy = idle.model_copy(update={"usage": idle.usage.model_copy(update={"environment_steps": steps})})
    trial = examples.trial(environment_steps=10 * steps)
    usual = PROFILE.budget_of("linear", trial.task, {})
    for name, times, seconds in (
        ("environment_steps", 3, 150.0),
        ("policy_updates", 30, 1500.0),
        ("policy_updates", 0.1, 50.0),
    ):
        budget = usual.model_copy(update={name: int(times * getattr(usual, name))})
        changed = trial.model_copy(update={"budget": budget})
        assert Estimator(PROFILE, []).seconds(changed) == seconds, "the guess, longer"
    nothing = PROFILE.model_copy(update={"budget": {"default": {"environment_steps": 0, "policy_updates": 0}}})
    assert Estimator(nothing, []).seconds(trial) == 50.0, "nothing to compare with"
    assert Estimator(PROFILE, [idle]).seconds(trial) == 96.0 + START_SECONDS
    assert Estimator(PROFILE, [busy]).seconds(trial) == pytest.approx(10 * 96.0 + START_SECONDS)
    more = trial.budget.model_copy(update={"policy_updates": 10 * trial.budget.policy_updates})
    updating = trial.model_copy(update={"budget": more})
    assert Estimator(PROFILE, [idle]).seconds(updating) == pytest.approx(10 * 96.0 + START_SECONDS)
    quicker = examples.record(seconds=11.0).model_copy(update={"trial": trial})
    assert Estimator(PROFILE, [busy, quicker]).seconds(trial) == 11.0 + START_SECONDS, "of its own budget"


def test_no_number_of_jobs_makes_one_trial_quicker() -> None:
    assert together([10.0] * 4, 2) == 20.0 and together([30.0, 10.0], 2) == together([30.0], 2) == 30.0
    assert together([], 2) == 0.0


def test_a_running_trial_tells_by_its_own_speed_how_long_it_takes() -> None:
    view = PlainView(NAMES, TRIALS[:1], Estimator(PROFILE, []), jobs=2)
    view.started(TRIALS[0])
    for share, trained, evaluated, left in (
        (0.0, 10.0, 0.0, "50 s"),
        (0.1, 20.0, 0.0, "2 min"),  # 0.9 of half 50 and half 200 s
        (0.5, 80.0, 20.0, "2 min"),
        (0.75, 100.0, 20.0, "40 s"),
        (1.0, 160.0, 20.0, "0 s"),
    ):
        usage = NOTHING.model_copy(update={"training_seconds": trained, "evaluation_seconds": evaluated})
        view.progressed(TRIALS[0], share, usage)
        assert view.time_left() == f"about {left} left"


def test_outcomes_say_what_matters() -> None:
    assert outcome(examples.record(seconds=12.0)) == "success 50 % sampled, 50 % deterministic, in 12 s"
    failed = examples.record(status="failed", error="it broke\nTraceback", seconds=3.0)
    assert outcome(failed) == "failed after 3 s: it broke"


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_view_follows_a_run(kind: type[PlainView]) -> None:
    view = kind(NAMES, TRIALS, Estimator(PROFILE, []), jobs=2)
    view.console.file = io.StringIO()
    with view:
        assert view.time_left() == "about 2 min left", "4 trials of 50 s, 2 at once"
        view.started(TRIALS[0])
        view.progressed(TRIALS[0], 0.5, NOTHING.model_copy(update={"training_seconds": 25.0}))
        assert view.time_left() == "about 88 s left"
        view.started(TRIALS[0])
        assert view.time_left() == "about 2 min left", "started again"
        view.finished(examples.record(0, seconds=10.0))
        view.finished(examples.record(1, seconds=10.0))
        assert view.time_left() == "about 14 s left", "learnt from the records"
        view.note("[a note]")
    text = view.console.file.getvalue()
    assert "[1/4] trial 0: success 50 % sampled" in text and "[2/4] trial 1" in text and "[a note]" in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_view_moves_while_the_fraction_stands_still(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase of the paper's size takes minutes, in which the fraction of the training that is done stays the same."""
    monkeypatch.setenv("COLUMNS", str(width))
    view = LiveView(dict.fromkeys(NAMES, "GPRIL, clip, 10 demos, seed 0"), TRIALS, Estimator(PROFILE, []), jobs=2)
    view.started(TRIALS[0])
    counts = {"environment_steps": 0, "episodes": 0, "gradient_steps": 0, "training_seconds": 0.0}
    view.evaluated(TRIALS[0], CurvePoint(progress=0.01, sampled=1.0, mean=1.0, **counts))
    for changes, steps in (
        ({}, ""),
        ({"environment_steps": 4096}, "4,096 steps"),
        ({"environment_steps": 4096, "gradient_steps": 12_345}, "12,345 updates"),
        ({"gradient_steps": 1_234_567}, "1,234,567 updates"),
    ):
        view.progressed(TRIALS[0], 0.01, NOTHING.model_copy(update=changes))
        view.console.file = io.StringIO()
        view.console.print(view._running)
        line = view.console.file.getvalue()
        assert all(part in line for part in ("GPRIL, clip, 10 demos, seed 0", "1 %", steps, "success")), line
    assert view._state(TRIALS[0].id).startswith("1 %, 1,234,567 updates (success ")


@pytest.mark.parametrize("kind", [PlainView, LiveView])
def test_a_view_shows_names_as_they_are(kind: type[PlainView]) -> None:
    """Brackets are no markup, and colons no emoji."""
    names = {trial.id: f"bc [red] :smile: {trial.seed}" for trial in TRIALS}
    view = kind(names, TRIALS, Estimator(PROFILE, []), jobs=2)
    view.console.file = io.StringIO()
    view.console._force_terminal = True
    with view:
        view.started(TRIALS[0])
        if kind is LiveView:
            view.console.print(view._running)
        else:
            view.finished(examples.record(0))
    assert "bc [red] :smile: 0" in view.console.file.getvalue()


def test_bars_are_for_terminals_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen() -> type[PlainView]:
        return type(new_view(NAMES, TRIALS, Estimator(PROFILE, []), jobs=1))

    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(Console, "is_terminal", property(lambda console: True))
    assert chosen() is LiveView
    monkeypatch.setenv("CI", "true")
    assert chosen() is PlainView
    monkeypatch.delenv("CI")
    monkeypatch.setattr(Console, "is_terminal", property(lambda console: False))
    assert chosen() is PlainView
