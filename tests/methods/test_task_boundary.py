"""A task as methods see it: fractions, one time limit, copies, and what is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from envs.demonstrations import Demonstrations, load_task
from methods.checkpointing import can_be_captured, environment_state, set_environment_state
from methods.interface import MethodError
from methods.task_boundary import ActionBounds, describe_task, inspect_task, method_view, with_fractions
from tests.tiny import TinySlot, demonstrate

SHOWN = demonstrate(episodes=2, seed=0)


class Scaled(TinySlot):
    """The tiny task with actions from `low` to `high`, which keeps the action it was given last."""

    low, high, dtype = -1.0, 1.0, np.float32
    observed: type = np.float32
    last: np.ndarray

    def __init__(self) -> None:
        super().__init__()
        self.action_space = Box(self.low, self.high, (2,), self.dtype)
        self.observation_space = Box(-np.inf, np.inf, (3,), self.observed)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.last = action
        return super().step((2.0 * action - self.low - self.high) / (self.high - self.low))

    def _observe(self) -> np.ndarray:
        return self._state.astype(self.observed)

    def _info(self, reason: str) -> dict[str, Any]:
        return {"is_success": reason == "success"}


@pytest.fixture
def register() -> Iterator[Any]:
    """Registers an environment class as Own-v0, with attributes of the class set."""

    def do(kind: type[gymnasium.Env] = Scaled, steps: int | None = None, **attributes: Any) -> str:
        made = type("Own", (kind,), attributes)
        gymnasium.register("Own-v0", entry_point=made, max_episode_steps=steps, disable_env_checker=True)
        return "Own-v0"

    yield do
    gymnasium.registry.pop("Own-v0", None)


def shown_with(low: float, high: float) -> Demonstrations:
    """The tiny demonstrations with their actions in other units."""
    assert SHOWN.actions is not None
    actions = low + (SHOWN.actions + 1.0) / 2.0 * (high - low)
    actions[SHOWN.terminal] = 0.0
    return replace(SHOWN, actions=actions.astype(np.float32))


@pytest.mark.parametrize(("low", "high"), [(-0.001, 0.001), (-100.0, 100.0), (4.0, 6.0), (0.0, 0.02), (-2.0, 1.0)])
def test_a_task_in_any_units_is_the_same_to_a_method(register: Any, low: float, high: float) -> None:
    name = register(low=low, high=high)
    shown = shown_with(low, high)
    found = inspect_task(name, shown)
    assert (found.task.action_low.tolist(), found.task.action_high.tolist()) == ([-1.0, -1.0], [1.0, 1.0])
    np.testing.assert_allclose(with_fractions(shown, found.bounds).actions, SHOWN.actions, atol=2e-6)
    view, plain = method_view(gymnasium.make(name), name, 60), TinySlot()
    assert view.action_space == Box(-1.0, 1.0, (2,), np.float32)
    np.testing.assert_array_equal(view.reset(seed=3)[0], plain.reset(seed=3)[0])
    rng = np.random.default_rng(0)
    for _ in range(30):
        action = rng.uniform(-1.0, 1.0, 2).astype(np.float32)
        np.testing.assert_allclose(view.step(action)[0], plain.step(action)[0], atol=1e-5)
        inside: Any = view.unwrapped
        assert inside.last.dtype == np.float32 and view.env.action_space.contains(inside.last)


@pytest.mark.parametrize(("low", "high"), [(-0.003, 0.001), (4.0, 6.0), (1e-8, 3e-8), (-1e9, 1e9)])
def test_the_ends_of_the_bounds_are_reached_and_never_passed(low: float, high: float) -> None:
    bounds = ActionBounds.of("own", Box(low, high, (1,), np.float32))
    ends = np.array([[-1.0], [1.0]], np.float32)
    np.testing.assert_array_equal(bounds.to_task(ends)[:, 0], np.array([low, high], np.float32))
    fractions = np.linspace(-1, 1, 1001, dtype=np.float32)[:, None]
    actions = bounds.to_task(fractions)
    assert actions.min() == np.float32(low) and actions.max() == np.float32(high)
    np.testing.assert_allclose(bounds.to_fractions(actions), fractions, atol=1e-6)


def test_where_bounds_are_fractions_no_bit_changes() -> None:
    bounds = ActionBounds.of("own", TinySlot().action_space)
    values = np.array([[-0.0, 1.0 + 1e-7], [3.0, np.float32(0.1)]], np.float32)
    assert bounds.to_task(values).tobytes() == bounds.to_fractions(values).tobytes() == values.tobytes()
    given = with_fractions(SHOWN, bounds)
    assert given.actions is not None and SHOWN.actions is not None
    assert given.actions.tobytes() == SHOWN.actions.tobytes() and given.digest == SHOWN.digest


def test_what_a_method_gets_is_a_copy_that_it_cannot_write() -> None:
    given = with_fractions(SHOWN, ActionBounds.of("own", TinySlot().action_space))
    for name in ("observations", "actions", "episode", "time_step", "terminal"):
        array = getattr(given, name)
        assert not np.shares_memory(array, getattr(SHOWN, name))
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    assert with_fractions(replace(SHOWN, actions=None), ActionBounds((-2.0,), (2.0,))).actions is None


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (Box(-np.inf, np.inf, (2,)), r"actions\[0\] is bounded by -inf and inf"),
        (Box(np.array([-1, 1], np.float32), np.array([1, 1], np.float32)), r"actions\[1\] is bounded by 1 and 1"),
        (Box(-3.4e38, 3.4e38, (1,)), "must be finite"),
        (Box(-5, 5, (2,), np.int64), "real numbers"),
        (Box(-1, 1, (2, 2)), "one-dimensional Box"),
        (Discrete(3), "one-dimensional Box"),
    ],
)
def test_action_spaces_without_fractions_are_refused(space: gymnasium.Space, said: str) -> None:
    with pytest.raises(MethodError, match=f"Own-v0: .*{said}"):
        ActionBounds.of("Own-v0", space)


def test_reversed_bounds_are_refused() -> None:
    space = Box(-1.0, 1.0, (2,))
    space.low, space.high = space.high, space.low
    with pytest.raises(MethodError, match=r"actions\[0\] is bounded by 1 and -1"):
        ActionBounds.of("Own-v0", space)


def test_terminal_rows_hold_no_action_and_are_not_compared_with_the_bounds(register: Any) -> None:
    assert describe_task(register(low=4.0, high=6.0), shown_with(4.0, 6.0)).action_size == 2
    with pytest.raises(MethodError, match=r"actions\[0\] of the demonstrations is .* but 4 to 6 is possible"):
        describe_task("Own-v0", SHOWN)


def test_small_units_are_compared_in_small_units(register: Any) -> None:
    """1e-5 is a rounding error of a number near one, and 1 % of a millimetre."""
    name = register(low=-0.001, high=0.001)
    with pytest.raises(MethodError, match="possible in Own-v0"):
        describe_task(name, shown_with(-0.001008, 0.001008))


@pytest.mark.parametrize(
    ("horizon", "steps", "limit"), [(40, None, 40), (None, 25, 25), (40, 25, 25), (25, 40, 25), (np.int64(30), 40, 30)]
)
def test_the_shorter_of_two_time_limits_holds(register: Any, horizon: Any, steps: int | None, limit: int) -> None:
    class Endless(Scaled):
        """Never ends by itself."""

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            return self._observe(), 0.0, False, False, self._info("")

    name = register(Endless, steps, horizon=horizon)
    task = describe_task(name, SHOWN)
    assert task.horizon == limit and type(task.horizon) is int
    view = method_view(gymnasium.make(name), name, task.horizon)
    for _ in range(2):
        view.reset(seed=0)
        ends = [view.step(np.zeros(2))[2:4] for _ in range(limit)]
        assert ends == [(False, False)] * (limit - 1) + [(False, True)]


@pytest.mark.parametrize("horizon", [0, -3, 2.5, float("inf"), float("nan"), "long"])
def test_a_time_limit_that_is_none_is_refused(register: Any, horizon: Any) -> None:
    with pytest.raises(MethodError, match=r"Own-v0: its time limit is .* positive whole number"):
        describe_task(register(horizon=horizon), SHOWN)


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), "0.1"])
def test_a_step_without_a_length_is_refused(register: Any, dt: Any) -> None:
    with pytest.raises(MethodError, match="Own-v0: dt is"):
        describe_task(register(dt=dt), SHOWN)


def test_a_step_of_unknown_length_has_that_of_the_demonstrations(register: Any) -> None:
    assert describe_task(register(dt=None), SHOWN).dt == SHOWN.dt


def test_observations_of_any_precision_are_single_ones_and_share_no_memory(register: Any) -> None:
    class Reusing(Scaled):
        """Returns the array it computes with."""

        observed = np.float64

        def _observe(self) -> np.ndarray:
            return self._state

    name = register(Reusing)
    view, plain = method_view(gymnasium.make(name), name, 60), TinySlot()
    assert view.observation_space.dtype == np.float32
    for observation, wanted in ((view.reset(seed=1)[0], plain.reset(seed=1)[0]),):
        np.testing.assert_array_equal(observation, wanted)
    for _ in range(5):
        action = np.full(2, 0.3, np.float32)
        observation, *_ = view.step(action)
        np.testing.assert_array_equal(observation, plain.step(action)[0])
        assert observation.dtype == np.float32
        observation -= 17.0  # as a method that normalises in place
        inside: Any = view.unwrapped
        inside.last[:] = 9.0  # as a task that rescales in place
        assert action.tolist() == [np.float32(0.3)] * 2


def test_a_task_that_ignores_its_seed_is_named(register: Any) -> None:
    class Unseeded(Scaled):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
            return super().reset()

    (warning,) = inspect_task(register(Unseeded), SHOWN).warnings
    assert "the seed of reset() is not obeyed" in warning
    assert inspect_task("TinySlot-v0", SHOWN).warnings == ()


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_actions_that_hardly_vary_within_their_bounds_are_named(register: Any, share: float) -> None:
    """As where the actions are metres and the bounds are millimetres; a constant action is no such case."""
    assert SHOWN.actions is not None
    name = register()
    (warning,) = inspect_task(name, replace(SHOWN, actions=np.float32(share) * SHOWN.actions)).warnings
    assert warning.startswith("all demonstrated actions vary by less than 1/20 of the bounds")
    for factors, said in (([1.0, share], "actions[1] of the demonstrations vary"), ([1.0, 0.0], ""), ([1.0, 0.2], "")):
        found = inspect_task(name, replace(SHOWN, actions=np.float32(factors) * SHOWN.actions)).warnings
        assert [warning.startswith(said) for warning in found] == [True] * bool(said)
    assert inspect_task(name, replace(SHOWN, actions=None)).warnings == ()
    for task in ("clip", "peg", "clip-hard", "peg-hard"):
        assert inspect_task(task, load_task(task)).warnings == ()


def test_resets_that_do_not_work_are_refused(register: Any) -> None:
    class Old(Scaled):
        def reset(self) -> np.ndarray:  # type: ignore[override]
            return np.zeros(3)

    with pytest.raises(MethodError, match=r"Own-v0: reset\(seed=..., options=...\) must be possible"):
        describe_task(register(Old), SHOWN)


@pytest.mark.parametrize("bad", ["closed at the end", "refused"])
def test_the_environment_that_was_looked_at_is_closed(register: Any, bad: str) -> None:
    closed = []

    class Closing(Scaled):
        def close(self) -> None:
            closed.append(1)

    name = register(Closing, **({"horizon": 0} if bad == "refused" else {}))
    if bad == "refused":
        with pytest.raises(MethodError):
            describe_task(name, SHOWN)
    else:
        describe_task(name, SHOWN)
    assert closed == [1]


def test_the_view_of_a_running_episode_can_be_saved_and_restored(register: Any) -> None:
    name = register(low=-2.0, high=2.0, steps=20)
    one, two = (method_view(gymnasium.make(name), name, 10) for _ in range(2))
    one.reset(seed=0)
    for _ in range(4):
        one.step(np.full(2, 0.2))
    assert can_be_captured(one)
    set_environment_state(two, environment_state(one))
    for _ in range(6):
        (a, *ends), (b, *others) = one.step(np.full(2, 0.1)), two.step(np.full(2, 0.1))
        np.testing.assert_array_equal(a, b)
        assert ends[1:3] == others[1:3]
    assert ends[2], "the time limit has counted the steps before, too"


def test_what_lies_under_an_unknown_wrapper_cannot_be_saved(register: Any) -> None:
    name = register()
    assert not can_be_captured(method_view(gymnasium.Wrapper(gymnasium.make(name)), name, 10))
