"""DAgger on the conformance check's point task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from methods import dagger
from methods.conformance.context import PlainContext
from methods.conformance.point_task import PointTask, demonstrate
from methods.dagger import Dagger, Settings
from methods.interface import Budget, MethodError, Policy, Stopped
from methods.policy import GaussianPolicy


def train(folder: Path, queries: int, settings: Settings, seed: int = 0) -> tuple[Policy, PlainContext]:
    folder.mkdir()
    context = PlainContext(Budget(queries, 600, queries), seed, folder)
    return Dagger(settings).fit(demonstrate(3, seed=seed), context), context


def success(policy: Policy, episodes: int = 100) -> float:
    rng, actor, solved = np.random.default_rng(0), policy.actor(1), 0
    for episode in range(episodes):
        world = PointTask()
        state, _ = world.reset(seed=episode)
        actor.start([0])
        ended = False
        while not ended:
            state, _, reached, late, _ = world.step(actor.act(state[None], [0], True, rng)[0])
            ended = reached or late
        solved += reached
    return solved / episodes


def test_labels_of_visited_states_help_where_few_demonstrations_do_not(tmp_path: Path) -> None:
    cloned, _ = train(tmp_path / "cloned", 300, Settings(rounds=1))
    labelled, _ = train(tmp_path / "labelled", 300, Settings(rounds=4))
    assert success(cloned) < 0.3 and success(labelled) > 0.5


@pytest.mark.parametrize("rounds", [2, 5])
def test_the_whole_budget_of_queries_is_spent_one_per_step(tmp_path: Path, rounds: int) -> None:
    _, context = train(tmp_path / "run", 203, Settings(rounds=rounds))
    assert context.expert_queries == context.environment_steps == 203
    assert context.checkpoints[-1] == (1.0, 600)
    assert context.reports[-1][1]["labelled_states"] == 203


def test_steps_that_were_taken_before_leave_fewer_to_label(tmp_path: Path) -> None:
    context = PlainContext(Budget(120, 60, 120), 0, tmp_path)
    context.counter.steps = 50
    Dagger(Settings(rounds=3)).fit(demonstrate(1, seed=0), context)
    assert (context.expert_queries, context.environment_steps) == (70, 120)


class Watched(PointTask):
    """The task with the lengths of its episodes, the one under way last."""

    lengths: ClassVar[list[int]] = []

    def reset(self, **options: Any) -> Any:
        self.lengths.append(0)
        return super().reset(**options)

    def step(self, action: np.ndarray) -> Any:
        self.lengths[-1] += 1
        return super().step(action)


@pytest.mark.parametrize("longest", [0, 5])
def test_own_episodes_are_cut_off(tmp_path: Path, longest: int) -> None:
    Watched.lengths.clear()
    context = PlainContext(Budget(120, 60, 120), 0, tmp_path, environment=Watched)
    Dagger(Settings(rounds=4, episode_steps=longest)).fit(demonstrate(1, seed=0), context)
    assert sum(Watched.lengths) == context.expert_queries == 120
    assert max(Watched.lengths) == 5 if longest else max(Watched.lengths) > 20


@pytest.mark.parametrize(("fraction", "kinds"), [(0.0, {False}), (0.5, {False, True}), (1.0, {True})])
def test_an_own_episode_has_one_kind_of_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fraction: float, kinds: set[bool]
) -> None:
    acted: list[tuple[int, bool]] = []  # the number of the episode, and whether the action is deterministic
    act = GaussianPolicy.act

    def spy(self: GaussianPolicy, observations: Any, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        acted.append((len(Watched.lengths), deterministic))
        return act(self, observations, deterministic, rng)

    monkeypatch.setattr(GaussianPolicy, "act", spy)
    Watched.lengths.clear()
    context = PlainContext(Budget(120, 60, 120), 0, tmp_path, environment=Watched)
    Dagger(Settings(rounds=4, episode_steps=5, deterministic=fraction)).fit(demonstrate(1, seed=0), context)
    assert {kind for _, kind in acted} == kinds and len(acted) == 120
    assert len(set(acted)) == len({episode for episode, _ in acted}) > 20


def test_an_episode_resumes_with_its_kind_of_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped at every third checkpoint, most of which lie within an episode."""
    monkeypatch.setattr(dagger, "CHECKPOINT_EVERY", 7)
    shown, settings = demonstrate(1, seed=0), Settings(rounds=4, episode_steps=20, deterministic=0.5)

    def train_on(stop_at: int = 0, after: PlainContext | None = None) -> tuple[Policy | None, PlainContext]:
        context = PlainContext(Budget(120, 60, 120), 0, tmp_path, stop_at=stop_at, after=after)
        try:
            return Dagger(settings).fit(shown, context), context
        except Stopped:
            return None, context

    whole, straight = train_on()
    policy, context = train_on(stop_at=3)
    stops = 1
    while policy is None:
        policy, context = train_on(stop_at=3, after=context)
        stops += 1
    assert whole is not None and stops > 5
    assert context.reports == straight.reports and context.counts == straight.counts
    ours, theirs = (one.act(shown.observations, True, np.random.default_rng(0)) for one in (policy, whole))
    np.testing.assert_array_equal(ours, theirs)


def test_one_round_asks_nobody(tmp_path: Path) -> None:
    _, context = train(tmp_path / "run", 100, Settings(rounds=1))
    assert (context.expert_queries, context.environment_steps) == (0, 0)


def test_states_alone_and_a_missing_expert_are_refused(tmp_path: Path) -> None:
    shown = demonstrate(1, seed=0)
    with pytest.raises(MethodError, match="actions"):
        Dagger().fit(replace(shown, actions=None), PlainContext(Budget(10, 10, 10), 0, tmp_path))
    with pytest.raises(MethodError, match=r"budget\.expert_queries"):
        Dagger().fit(shown, PlainContext(Budget(10, 10, 0), 0, tmp_path))
