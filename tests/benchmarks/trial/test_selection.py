"""Which demonstrations a trial learns from."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.records.schema import DemonstrationChoice
from benchmarks.trial.selection import drawn, select
from envs.demonstrations import DemonstrationError
from tests import tiny

SET = tiny.demonstrate(episodes=12, seed=0)


def choose(episodes: int, **more: object) -> DemonstrationChoice:
    return DemonstrationChoice(source="shipped", digest=SET.digest, episodes=episodes, **more)  # type: ignore[arg-type]


def rows(episodes: list[int]) -> np.ndarray:
    return np.concatenate([SET.observations[SET.episode == episode] for episode in episodes])


def test_draws_are_nested_and_stay_within_the_pool() -> None:
    for seed in range(20):
        nine = drawn(choose(9, draw_seed=seed, start=2, stop=11), 12)
        assert sorted(nine) == list(range(2, 11))
        for number in range(1, 9):
            assert drawn(choose(number, draw_seed=seed, start=2, stop=11), 12) == nine[:number]


def test_seeds_draw_different_demonstrations() -> None:
    draws = [tuple(sorted(drawn(choose(5, draw_seed=seed), 12))) for seed in range(40)]
    assert len(set(draws)) > 30
    counts = np.bincount(np.concatenate(draws), minlength=12)
    assert counts.min() > 5, "every episode has its turn"


def test_draws_never_change() -> None:
    """They are part of what a trial is, so these numbers must stay as they are."""
    assert drawn(choose(5, draw_seed=3, stop=50), 100) == [3, 24, 30, 35, 2]


def test_a_trial_learns_from_the_drawn_episodes() -> None:
    choice = choose(4, draw_seed=1)
    chosen = select(SET, choice)
    assert np.array_equal(chosen.observations, rows(drawn(choice, 12))) and chosen.episodes == 4
    assert np.array_equal(select(SET, choose(3, start=2)).observations, rows([2, 3, 4]))


@pytest.mark.parametrize("draw_seed", [None, 5])
def test_statistics_are_those_of_the_chosen_episodes_whatever_is_shown_of_them(draw_seed: int | None) -> None:
    whole = select(SET, choose(4, draw_seed=draw_seed))
    final = select(SET, choose(4, draw_seed=draw_seed, final_only=True))
    thinned = select(SET, choose(4, draw_seed=draw_seed, every=3, states_alone=True))
    assert len(final.observations) == 4 and final.actions is None and thinned.actions is None
    for shown in (whole, final, thinned):
        assert np.allclose(shown.statistics.mean, whole.observations.mean(0), atol=1e-6)
        assert np.array_equal(shown.statistics.std, whole.statistics.std)


def test_the_statistics_of_the_shown_states_are_another_reading() -> None:
    final = select(SET, choose(4, final_only=True, statistics="shown"))
    np.testing.assert_allclose(final.statistics.mean, final.observations.mean(0), atol=1e-6)
    assert not np.allclose(final.statistics.mean, select(SET, choose(4, final_only=True)).statistics.mean, atol=1e-3)


def test_shown_states_may_start_later() -> None:
    shown = select(SET, choose(4, every=5, offset=2, states_alone=True))
    assert {int(step) % 5 for step in shown.time_step[~shown.terminal]} == {2} and shown.terminal.sum() == 4
    assert choose(4).model_dump()["offset"] == 0 and select(SET, choose(4, every=5)).time_step.min() == 0


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(DemonstrationError):
        select(SET, choose(4, start=10))
