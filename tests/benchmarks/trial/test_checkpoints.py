"""A trial whose process died goes on from its snapshot, with the record of a trial that was never interrupted."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from benchmarks.records import provenance
from benchmarks.records.schema import BudgetChoice, DemonstrationChoice, Evaluation, Record, Rollout, Trial
from benchmarks.trial import worker
from benchmarks.trial.checkpoints import STATE, Snapshots
from benchmarks.trial.context import TrialContext
from benchmarks.trial.evaluation import Evaluator
from benchmarks.trial.protocol import Event, TrialRequest
from envs.demonstrations import load, load_task
from methods import registry
from methods.interface import EnvGroup, MethodError, Stopped
from tests import tiny
from tests.benchmarks import examples
from tests.benchmarks.fakes import METHOD, TASK, Linear
from tests.benchmarks.trial.test_checkpoint_files import new_snapshots

SETTINGS: dict[str, dict[str, Any]] = {
    "gpril": {
        "initial_episodes": 3,
        "episodes_per_iteration": 2,
        "model_updates": 4,
        "policy_updates": 6,
        "burn_in": 8,
        "model_hidden": [8],
        "batch_size": 16,
        "warm_start": 6,
    },
    "gail": {"processes": 2, "batch_size": 50, "discriminator_batch": 32, "critic_batch": 50, "warm_start": 100},
    "bc": {"l2_grid": [1e-3, 1e-1], "batch_size": 16},
    "sqil": {"processes": 3, "first_steps": 100, "batch_size": 16, "warm_start": 0},
}


class Killed(BaseException):
    """As sudden as a signal: nothing in the worker catches it."""


def order(folder: Path, demonstrations: Path, method: str, name: str = "trial", task: str = TASK) -> TrialRequest:
    """To do a trial in `folder`, with a snapshot at every chance; demonstrations of insertion tasks are shipped."""
    shown = load(demonstrations) if task == TASK else load_task(task)
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    (folder / "scratch").mkdir(parents=True)
    trial = Trial(
        method=method,
        settings=SETTINGS.get(method, {}),
        task=task,
        demonstrations=DemonstrationChoice(
            source=str(demonstrations) if task == TASK else "shipped", digest=shown.digest, episodes=4
        ),
        seed=3,
        budget=BudgetChoice(environment_steps=600, policy_updates=100 if method == "bc" else 24),
        evaluation=Evaluation(rollouts=1, curve_points=3, curve_rollouts=1),
    )
    files = provenance.source_files(registry.resolve(method), task)
    return TrialRequest(
        trial=trial,
        code_digest=provenance.digest(files),
        scratch=folder / "scratch",
        snapshots=folder / name,
        save_every=0.0,
    )


def outcome(record: Record, scratch: Path) -> dict[str, Any]:
    """All of a record but times and how it came about, and the policy."""
    found = record.model_dump(exclude={"provenance": True, "usage": {"training_seconds", "evaluation_seconds"}})
    del found["usage"]["peak_memory_mib"]
    for point in found["curve"]:
        del point["training_seconds"]
    files = sorted(path for path in (scratch / "policy").rglob("*") if path.suffix == ".npz")
    weights = {path.name: dict(np.load(path)) for path in files}
    found["policy"] = {(f, n): array.tobytes() for f, arrays in weights.items() for n, array in arrays.items()}
    return found


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the process die at its n-th snapshot, which is kept; 0 lets it live."""
    save = Snapshots.save

    def arrange(moment: int) -> None:
        count = 0

        def dying(self: Snapshots, state: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            save(self, state)
            if count == moment:
                raise Killed

        monkeypatch.setattr(Snapshots, "save", dying)

    return arrange


@pytest.mark.parametrize(
    ("method", "task"),
    [
        *((method, TASK) for method in SETTINGS),
        pytest.param("gail", "ClipInsertion-v0", marks=pytest.mark.science),
    ],
)
def test_a_trial_that_died_ends_as_if_it_had_not(
    tmp_path: Path,
    demonstration_file: Path,
    killed_at: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    task: str,
) -> None:
    """GAIL's iterations end in the middle of episodes, on the clip in the middle of a simulation."""
    monkeypatch.setattr("methods.bc.CHECKPOINT_EVERY", 25)

    def done(name: str, events: list[Event]) -> tuple[Record, dict[str, Any]]:
        asked = order(tmp_path, demonstration_file, method, name, task)
        record = worker.perform(asked, events.append)
        return record, outcome(record, asked.scratch)

    record, whole = done("straight", [])
    assert record.status == "ok", record.error
    assert record.curve and whole["policy"] and record.diagnostics.series
    assert (record.provenance.starts, record.provenance.resumed, record.provenance.unsaved) == (1, 0, "")
    for attempt, moments in enumerate(np.random.default_rng(0).integers(1, 3, (2, 2)).tolist()):
        for moment in moments:
            killed_at(moment)
            with pytest.raises(Killed):
                done(f"{attempt}", [])
        killed_at(0)
        events: list[Event] = []
        record, again = done(f"{attempt}", events)
        assert again == whole
        assert (record.provenance.starts, record.provenance.resumed) == (3, 2)
        assert [event for event in events if not hasattr(event, "usage")] == record.curve, "the runner hears all of it"


@pytest.mark.parametrize("method", [*SETTINGS, METHOD])
def test_a_trial_stopped_in_an_evaluation_makes_up_for_it_later(
    tmp_path: Path, demonstration_file: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """In each of them in turn, those of the learning curve and the final ones; a stop takes effect at the next step."""
    monkeypatch.setattr("methods.bc.CHECKPOINT_EVERY", 25)
    evaluate, stop, evaluations, moment = Evaluator.evaluate, threading.Event(), 0, 0

    def stopped(self: Evaluator, *arguments: Any) -> list[Rollout]:
        nonlocal evaluations
        evaluations += 1
        if evaluations == moment:
            stop.set()
        return evaluate(self, *arguments)

    def done(name: str) -> tuple[Record, dict[str, Any]]:
        nonlocal evaluations
        evaluations = 0
        asked = order(tmp_path, demonstration_file, method, name)
        record = worker.perform(asked, [].append, stop)
        return record, outcome(record, asked.scratch)

    monkeypatch.setattr(Evaluator, "evaluate", stopped)
    straight, whole = done("straight")
    assert straight.status == "ok" and evaluations == 2 * len(straight.curve) >= 2, straight.error
    for moment in range(1, evaluations + 1):
        with pytest.raises(Stopped) as reason:
            done(f"{moment}")
        stop.clear()
        last, moment = moment, 0
        record, again = done(f"{last}")
        assert again == whole
        final = last > 2 * (len(straight.curve) - 1)
        saved = method != METHOD or final
        assert str(reason.value) == ("" if saved else "the method offers no snapshot")
        assert (record.provenance.starts, record.provenance.resumed) == (2, int(saved))
        assert record.provenance.unsaved == straight.provenance.unsaved


def new_context(folder: Path, snapshots: Snapshots) -> TrialContext:
    return TrialContext(examples.trial(), tiny.demonstrate(episodes=2, seed=1), folder, [].append, snapshots)


def test_seconds_are_summed_over_attempts_and_stand_still_while_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [50.0]
    monkeypatch.setattr("benchmarks.trial.clock.perf_counter", lambda: now[0])
    save = Snapshots.save

    def slow(self: Snapshots, state: dict[str, Any]) -> None:
        save(self, state)
        now[0] += 1000.0

    monkeypatch.setattr(Snapshots, "save", slow)
    context = new_context(tmp_path, new_snapshots(tmp_path))
    now[0] += 3.0
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.usage().training_seconds == 3.0
    now[0] += 5.0  # lost with the process

    context = new_context(tmp_path, new_snapshots(tmp_path))
    now[0] += 7.0  # to build everything again
    assert context.resume() == {}
    assert context.unsaved() == ""  # even where the trial now ends before it would offer the next one
    now[0] += 2.0
    assert context.usage().training_seconds == 3.0 + 2.0


def test_a_record_says_why_nothing_could_be_kept(tmp_path: Path, demonstration_file: Path) -> None:
    asked = order(tmp_path, demonstration_file, METHOD)
    assert worker.perform(asked, [].append).provenance.unsaved == "the method offers no snapshot"
    asked = order(tmp_path, demonstration_file, METHOD).model_copy(update={"snapshots": None})
    assert worker.perform(asked, [].append).provenance.unsaved == "snapshots are off"
    asked = order(tmp_path, demonstration_file, METHOD).model_copy(update={"snapshots": tmp_path / "not" / "here"})
    assert worker.perform(asked, [].append).provenance.unsaved.startswith("the results folder cannot be seen")
    assert not (tmp_path / "not").exists()

    gymnasium.register("Forgetful-v0", entry_point=Forgetful)
    trial = examples.trial().model_copy(update={"task": "Forgetful-v0"})
    try:
        snapshots = new_snapshots(tmp_path)
        context = TrialContext(trial, tiny.demonstrate(episodes=2, seed=1), tmp_path, [].append, snapshots)
        context.make_env()
    finally:
        del gymnasium.registry["Forgetful-v0"]
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.unsaved() == "Forgetful-v0 has no get_state and set_state"
    assert not (tmp_path / STATE).exists()


class Forgetful(gymnasium.Env[np.ndarray, np.ndarray]):
    """A task of someone who did not think of saving its state."""

    observation_space = tiny.TinySlot().observation_space
    action_space = tiny.TinySlot().action_space
    horizon = 5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        return np.zeros(3, np.float32), {}


def test_what_cannot_be_saved_is_said_after_it_was_closed(tmp_path: Path) -> None:
    """As methods close their environments before a record is made."""
    gymnasium.register("Forgetful-v0", entry_point=Forgetful)
    trial = examples.trial().model_copy(update={"task": "Forgetful-v0"})
    try:
        shown = tiny.demonstrate(episodes=2, seed=1)
        context = TrialContext(trial, shown, tmp_path, [].append, new_snapshots(tmp_path))
        context.make_vector_env(2).close()
    finally:
        del gymnasium.registry["Forgetful-v0"]
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    assert context.unsaved() == "Forgetful-v0 has no get_state and set_state"


def test_a_process_counts_once_it_works_on_the_trial(tmp_path: Path, demonstration_file: Path) -> None:
    """One that was stopped, or died, while it imported the method or its libraries has done nothing yet."""
    stop, asked = threading.Event(), order(tmp_path, demonstration_file, "bc")
    stop.set()
    with pytest.raises(Stopped):
        worker.perform(asked, [].append, stop)
    assert asked.snapshots is not None and not asked.snapshots.exists()
    new_context(tmp_path, new_snapshots(asked.snapshots))  # the process ended in the imports of `fit`
    assert worker.perform(order(tmp_path, demonstration_file, "bc"), [].append).provenance.starts == 1
    new_context(tmp_path, new_snapshots(asked.snapshots)).make_env()
    assert worker.perform(order(tmp_path, demonstration_file, "bc"), [].append).provenance.starts == 2 + 1


def test_episodes_of_a_group_are_part_of_a_snapshot(tmp_path: Path) -> None:
    """Row 0 of the second group is in the middle of one; row 1 has ended, and begins with a seed."""

    def made() -> tuple[TrialContext, EnvGroup]:
        context = new_context(tmp_path, new_snapshots(tmp_path))
        context.make_env_group(1)
        return context, context.make_env_group(2)

    context, group = made()
    group.reset([4, 5], [0, 1])
    for _ in range(3):
        group.step(np.ones((1, 2)), [0])
    while not group.step(np.ones((1, 2)), [1])[1][0]:
        pass
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)

    def rest(group: EnvGroup) -> list[np.ndarray]:
        return [group.step(-np.ones((1, 2)), [0])[0], group.reset([7], [1]), group.step(np.ones((2, 2)), [0, 1])[0]]

    again, resumed = made()
    assert again.resume() == {}
    np.testing.assert_equal(rest(resumed), rest(group))
    with pytest.raises(MethodError, match="make them all before"):
        new_context(tmp_path, new_snapshots(tmp_path)).resume()


def test_a_group_without_state_is_said_to_be_unsaved_only_within_an_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tiny.TinySlot, "get_state")
    context = new_context(tmp_path, new_snapshots(tmp_path))
    group = context.make_env_group(1)
    context.checkpoint(Linear(np.zeros((4, 2))), 0.3, 1, dict)
    assert context.unsaved() == "" and (tmp_path / STATE).exists()
    group.reset([0], [0])
    context.checkpoint(Linear(np.zeros((4, 2))), 0.6, 2, dict)
    assert "has no get_state and set_state" in context.unsaved()


def test_what_was_closed_and_idle_groups_are_no_part_of_a_snapshot(tmp_path: Path) -> None:
    """A resumed method need not make them again."""
    context = new_context(tmp_path, new_snapshots(tmp_path))
    for _ in range(3):
        closed = context.make_env()
        closed.reset()
        closed.close()
    context.make_env_group(2)
    single, several = context.make_env(), context.make_vector_env(2)
    single.reset(seed=5), several.reset()
    single.step(np.ones(2)), several.step(np.ones((2, 2)))
    context.checkpoint(Linear(np.zeros((4, 2))), 0.5, 1, dict)
    straight = [single.step(np.ones(2))[0], *several.step(np.ones((2, 2)))[0], context.make_env().reset()[0]]

    again = new_context(tmp_path, new_snapshots(tmp_path))
    single, several = again.make_env(), again.make_vector_env(2)
    assert again.resume() == {}
    resumed = [single.step(np.ones(2))[0], *several.step(np.ones((2, 2)))[0], again.make_env().reset()[0]]
    np.testing.assert_array_equal(resumed, straight)
