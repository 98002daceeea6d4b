"""Overlapping rollouts: collected in a thread while models and policy train, and reproducible bit for bit."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from methods.conformance.context import PlainContext
from methods.gpril import algorithm
from methods.gpril.algorithm import Gpril
from methods.gpril.models import PredecessorModels
from methods.gpril.settings import Settings
from methods.interface import Budget, Policy
from tests.methods.worlds import TINY
from tests.tiny import TinySlot, demonstrate

OVERLAP = Settings(
    gamma=0.8,
    model_updates=3,
    policy_updates=4,
    burn_in=3,
    model_hidden=(8, 8),
    model_learning_rate=1e-3,
    policy_learning_rate=1e-3,
    initial_episodes=3,
    episodes_per_iteration=2,
    held_out_every=3,
    overlap=True,
)
ITERATIONS = 4


class Context(PlainContext):
    """Remembers at each point of the learning curve what training has used and how the policy stood.

    Between two of them, where the progress stays the same, a rollout in the thread may or may not be finished.
    """

    def __init__(self, folder: Path, environment: type[TinySlot] = TinySlot) -> None:
        super().__init__(Budget(5000, ITERATIONS * OVERLAP.policy_updates), 0, folder, TINY, environment)
        self.reported: list[float] = []
        self.used: list[tuple[int, int]] = []
        self.weights: list[float] = []

    def checkpoint(self, policy: Policy, progress: float, gradient_steps: int, *more: Any, **others: Any) -> None:
        super().checkpoint(policy, progress, gradient_steps, *more, **others)
        if progress not in self.reported:
            self.reported.append(progress)
            self.used.append((self.environment_steps, self.episodes))
            self.weights.append(fingerprint(policy.network))  # type: ignore[attr-defined]


def fingerprint(network: Any) -> float:
    return sum(float(parameter.detach().double().abs().sum()) for parameter in network.parameters())


def outcome(folder: Path, settings: Settings = OVERLAP) -> tuple[object, ...]:
    context = Context(folder)
    policy = Gpril(settings).fit(demonstrate(2, 0), context)
    weights = {name: tensor.numpy().tobytes() for name, tensor in policy.network.state_dict().items()}
    return weights, context.reports, context.checkpoints, context.used


def delayed(function: Any, seconds: float) -> Any:
    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments, **options)

    return slow


def test_the_outcome_does_not_depend_on_the_timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = outcome(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(algorithm, "collect_rollouts", delayed(algorithm.collect_rollouts, 0.05))
        slow_actor = outcome(tmp_path)
    monkeypatch.setattr(PredecessorModels, "update", delayed(PredecessorModels.update, 0.02))
    slow_training = outcome(tmp_path)
    assert plain == slow_actor == slow_training
    assert plain != outcome(tmp_path, replace(OVERLAP, overlap=False)), "it is another schedule"


def test_rollouts_and_training_overlap_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout in the thread waits for an update of the models, and the policy for a rollout to have begun."""
    updated, begun = threading.Event(), threading.Event()
    update, collect_rollouts, train_policy = (
        PredecessorModels.update,
        algorithm.collect_rollouts,
        algorithm.Training.update_policy,
    )

    def telling(*arguments: Any) -> None:
        update(*arguments)
        updated.set()

    def waiting(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert updated.wait(60.0), "no model is updated while rollouts are collected"
            updated.clear()
        return collect_rollouts(*arguments)

    def patient(*arguments: Any) -> None:
        assert begun.wait(60.0), "no rollout is collected while the iteration trains"
        train_policy(*arguments)

    monkeypatch.setattr(PredecessorModels, "update", telling)
    monkeypatch.setattr(algorithm, "collect_rollouts", waiting)
    monkeypatch.setattr(algorithm.Training, "update_policy", patient)
    outcome(tmp_path, replace(OVERLAP, episodes_per_iteration=1))


def test_rollouts_are_of_the_policy_at_the_start_of_the_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_rollouts, acting = algorithm.collect_rollouts, []

    def noting(group: Any, network: Any, seeds: Any, *more: Any) -> Any:
        acting.extend([fingerprint(network)] * len(seeds))
        return collect_rollouts(group, network, seeds, *more)

    monkeypatch.setattr(algorithm, "collect_rollouts", noting)
    context = Context(tmp_path)
    Gpril(OVERLAP).fit(demonstrate(2, 0), context)
    untrained, checked = acting[0], context.weights[1:]  # without that of the burn-in
    expected = [untrained] * (3 + 2) + [checked[0]] * 2 + [checked[1]] * 2
    assert acting == expected and len(set(checked)) == ITERATIONS
    assert context.episodes == len(expected), "none for an iteration that never comes"


def test_an_error_of_the_thread_surfaces(tmp_path: Path) -> None:
    closed = []

    class Breaking(TinySlot):
        episodes = 0

        def reset(self, **options: Any) -> Any:
            Breaking.episodes += 1
            if Breaking.episodes > 7:
                raise RuntimeError("the arm fell off")
            return super().reset(**options)

        def close(self) -> None:
            closed.append(threading.current_thread())

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="the arm fell off"):
        Gpril(OVERLAP).fit(demonstrate(2, 0), Context(tmp_path, Breaking))
    assert closed == [threading.main_thread()] * 3 and threading.active_count() == before
