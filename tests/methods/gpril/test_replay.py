"""Batches of equation 10: offsets, ends of episodes, and a buffer that wraps around."""

from __future__ import annotations

import numpy as np
import pytest

from methods.gpril.replay import Episode, Replay


def numbered(first: int, steps: int) -> Episode:
    """An episode whose observations and actions say which row of the stream they are."""
    rows = np.arange(first, first + steps + 1, dtype=np.float32)[:, None]
    return Episode(rows, rows[:-1], 2.0 * rows[:-1], np.ones_like(rows[:-1]))


def filled(size: int, lengths: list[int]) -> Replay:
    replay, first = Replay(size, 1, 1), 0
    for steps in lengths:
        replay.add(numbered(first, steps))
        first += steps + 1
    return replay


def test_offsets_are_geometric_and_start_at_one() -> None:
    replay = filled(2000, [1900])
    batch = replay.sample(40_000, gamma=0.8, cross_episodes=True, rng=np.random.default_rng(0))
    offsets = (batch.targets - batch.states)[:, 0].astype(int)
    expected = 0.2 * 0.8 ** np.arange(12)
    counted = np.bincount(offsets, minlength=13)[1:13] / len(offsets)
    assert offsets.min() == 1, "the target of j = 0 is the next state, never the state itself"
    np.testing.assert_allclose(counted, expected, atol=4 * np.sqrt(expected.max() / len(offsets)))


def test_rows_stay_together() -> None:
    batch = filled(300, [50, 70, 90, 40, 60]).sample(5000, 0.9, True, np.random.default_rng(1))
    np.testing.assert_array_equal(batch.actions, batch.states)
    np.testing.assert_array_equal(batch.means, 2.0 * batch.states)


def test_a_terminal_state_is_a_target_and_never_a_source() -> None:
    replay, terminal = filled(100, [4] * 10), set(range(4, 50, 5))
    batch = replay.sample(20_000, 0.5, True, np.random.default_rng(2))
    assert not terminal & set(batch.states[:, 0].astype(int))
    assert terminal <= set(batch.targets[:, 0].astype(int))


@pytest.mark.parametrize("cross", [True, False])
def test_crossing_the_end_of_an_episode_is_a_choice(cross: bool) -> None:
    batch = filled(100, [4] * 10).sample(5000, 0.9, cross, np.random.default_rng(3))
    crossed = (batch.states // 5 != batch.targets // 5).any()
    assert bool(crossed) is cross


def test_without_crossing_the_offset_given_its_target_is_still_geometric() -> None:
    """P(j | target) is proportional to gamma ** j over the steps of the target's own episode (equation 8)."""
    batch = filled(100, [9] * 10).sample(200_000, 0.7, False, np.random.default_rng(4))
    last = batch.targets[:, 0].astype(int) % 10 == 9
    offsets = (batch.targets - batch.states)[last, 0].astype(int)
    expected = 0.7 ** np.arange(9)
    counted = np.bincount(offsets, minlength=10)[1:] / len(offsets)
    np.testing.assert_allclose(counted, expected / expected.sum(), atol=0.01)


def test_the_oldest_rows_go_first_and_nothing_tears() -> None:
    replay = filled(25, [9, 9, 9, 9])  # 40 rows through 25 places
    batch = replay.sample(5000, 0.9, True, np.random.default_rng(5))
    assert len(replay) == 25
    assert batch.states.min() == 15
    assert batch.targets.max() == 39
    np.testing.assert_array_equal(batch.actions, batch.states)


def test_an_episode_longer_than_the_buffer_leaves_its_end() -> None:
    replay = filled(10, [30])
    batch = replay.sample(1000, 0.9, False, np.random.default_rng(6))
    assert (batch.states.min(), batch.targets.max()) == (21, 30)


def test_an_empty_buffer_says_so() -> None:
    with pytest.raises(ValueError, match="holds no step"):
        Replay(100, 1, 1).sample(1, 0.9, True, np.random.default_rng(0))
