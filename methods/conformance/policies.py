"""Checks of a policy: its actions, its randomness, and its memory, row by row."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from methods.conformance.fingerprint import fingerprint, first_difference
from methods.conformance.results import Check, ContractViolation, require
from methods.interface import Actor, Mode, Policy, Task

ROWS = 5
STEPS = 18
"""Longer than most chunks of actions, so that a second one begins."""
ROUNDING = 1e-3
"""Actions may differ so much (of a range of 2) where batches have other sizes or orders: matrix products round
differently then, and memory accumulates it."""
SAME_SHAPES = 1e-5
"""Actions may differ so much where only numbers that must not matter are different."""
MODES: tuple[Mode, ...] = get_args(Mode)
NO_BATCH_STATISTICS = (
    "keep the memory of each row apart (indexed by `rows`, not by the place in the batch) and use no statistics of the "
    "batch (call network.eval())"
)


@dataclass(frozen=True)
class Episode:
    """One episode of a scripted rollout: which observations, in which row, from when, and for how many steps."""

    sequence: int
    row: int
    begin: int = 0
    length: int = STEPS


class PolicyChecks:
    """The checks of one policy on scripted observations, so that no environment is needed."""

    def __init__(self, policy: Policy, task: Task, steps: int = STEPS) -> None:
        self.policy, self.task, self.steps = policy, task, steps
        rng = np.random.default_rng(0)
        begin = rng.uniform(-1.0, 1.0, (2 * ROWS, 1, task.observation_size))
        moves = rng.normal(0.0, 0.05, (2 * ROWS, steps, task.observation_size))
        self.sequences = (begin + moves.cumsum(axis=1)).astype(np.float32)
        self.together = [Episode(row, row, length=steps) for row in range(ROWS)]

    def checks(self) -> list[Check]:
        """All of them, in order."""
        return [
            Check("the policy names its modes", self.check_modes, essential=True),
            Check("actions are float32 fractions of the bounds, one per row", self.check_actions, essential=True),
            Check("acting changes neither its arguments nor the policy", self.check_side_effects),
            Check("actions depend on the observations and the given generator alone", self.check_randomness, True),
            Check("start forgets what happened in a row", self.check_start),
            Check("what happens in a row does not depend on other rows", self.check_rows),
            Check("several actors of a policy do not disturb each other", self.check_actors),
        ]

    def check_modes(self) -> None:
        modes: Any = self.policy.modes
        if isinstance(modes, str):
            raise ContractViolation(f"modes is the string {modes!r}; write a tuple, modes = ({modes!r},)")
        known = isinstance(modes, tuple | list) and len(modes) > 0 and all(mode in MODES for mode in modes)
        require(known, f"modes is {modes!r}; name one or both of {', '.join(map(repr, MODES))} in a tuple")

    def check_actions(self) -> None:
        for deterministic in self._deterministic():
            for count in (1, ROWS):
                self.roll_out(deterministic, self.together[:count], count)

    def check_side_effects(self) -> None:
        """The same rollout twice: what is made once, or overwritten by each call, is no memory."""
        for deterministic in self._deterministic():
            generators = _global_generators()
            self._act_on_copies(deterministic)
            policy = fingerprint(self.policy)
            self._act_on_copies(deterministic)
            if where := first_difference(policy, fingerprint(self.policy)):
                raise ContractViolation(
                    f"acting changed the policy ({where}); keep the memory of an episode in an Actor, see Policy.actor"
                )
            later = _global_generators()
            if changed := [name for name, state in generators.items() if later.get(name) != state]:
                raise ContractViolation(
                    f"acting used or seeded the global random generator of {' and '.join(changed)}; draw from `rng` "
                    "(in PyTorch: torch.Generator().manual_seed(int(rng.integers(2**63)))), and turn dropout off "
                    "(network.eval())"
                )

    def _act_on_copies(self, deterministic: bool) -> None:
        """A few steps of a new actor, whose arguments must stay as they were."""
        actor, everyone = self._actor(ROWS), list(range(ROWS))
        actor.start(everyone)
        for step in range(5):
            given, rows = self.sequences[:ROWS, min(step, self.steps - 1)].copy(), list(everyone)
            before = given.copy()
            actor.act(given, rows, deterministic, np.random.default_rng(step))
            require(
                np.array_equal(given, before) and rows == everyone,
                "act changed the observations it was given; work on a copy (x = x - mean, not x -= mean)",
            )

    def check_randomness(self) -> None:
        for deterministic in self._deterministic():
            first, again = (self.roll_out(deterministic, self.together) for _ in range(2))
            if not np.array_equal(first, again, equal_nan=True):
                raise ContractViolation(self._why_different(deterministic))
        if "mean" in self.policy.modes:
            first, other = (self.roll_out(True, self.together, seed=seed) for seed in (3, 4))
            difference = _largest(first, other)
            require(
                difference == 0.0,
                f"deterministic actions depend on `rng` (they differ by {difference:.2g}); sample only where "
                'deterministic is false, or leave "mean" out of modes',
            )

    def check_start(self) -> None:
        """An actor that has seen other episodes acts like a new one once its rows were started."""
        for deterministic in self._deterministic():
            used = self._actor(ROWS)
            for _ in self._steps(used, deterministic, [Episode(ROWS + i, i, length=5) for i in range(ROWS)]):
                pass
            found = self._collect(used, deterministic, self.together)
            difference = _largest(found, self.roll_out(deterministic, self.together))
            require(
                difference <= SAME_SHAPES,
                f"after start(rows) actions differ by {difference:.2g} from a new actor's; start must forget all that "
                "an actor remembers of these rows",
            )

    def check_rows(self) -> None:
        deterministic = "mean" in self.policy.modes
        apart = self.roll_out(deterministic, self.together)
        odd = [Episode(ROWS + e.sequence if e.row % 2 else e.sequence, e.row, 0, self.steps) for e in self.together]
        self._compare(
            apart, self.roll_out(deterministic, odd), [0, 2, 4], SAME_SHAPES, "other observations in the odd rows"
        )
        if not deterministic:  # the noise of a row depends on how many rows there are
            return
        alone = np.concatenate(
            [self.roll_out(True, [Episode(i, 0, length=self.steps)], 1)[i : i + 1] for i in range(ROWS)]
        )
        everyone = list(range(ROWS))
        self._compare(apart, alone, everyone, ROUNDING, "acting alone")
        shuffled = [Episode(i, (3 * i + 2) % ROWS, length=self.steps) for i in (3, 0, 4, 1, 2)]
        self._compare(apart, self.roll_out(True, shuffled), everyone, ROUNDING, "another order of the rows")
        late = [Episode(i, i, begin=2 * i, length=self.steps) for i in range(ROWS)]
        self._compare(apart, self.roll_out(True, late), everyone, ROUNDING, "other rows that start and end earlier")
        # Row 0 is started again in the middle of its episode, and later a third time; the others are undisturbed.
        again = [Episode(ROWS, 0, length=3), Episode(0, 0, begin=3, length=self.steps), *self.together[1:]]
        again += [Episode(ROWS + 1, 0, begin=3 + self.steps, length=1)]
        self._compare(apart, self.roll_out(True, again), everyone, ROUNDING, "row 0 starting again while others run")

    def check_actors(self) -> None:
        """Two actors that act in turn, each on episodes of its own, act as each does by itself."""
        other = [Episode(ROWS + i, i, length=self.steps) for i in range(ROWS)]
        for deterministic in self._deterministic():
            pairs = [(self._actor(ROWS), episodes) for episodes in (self.together, other)]
            turns = [self._steps(actor, deterministic, episodes) for actor, episodes in pairs]
            found = np.full((2 * ROWS, self.steps, self.task.action_size), np.nan, np.float32)
            for both in zip(*turns, strict=True):
                for part in both:
                    for sequence, step, action in part:
                        found[sequence, step] = action
            for episodes in (self.together, other):
                chosen = [episode.sequence for episode in episodes]
                difference = _largest(found[chosen], self.roll_out(deterministic, episodes)[chosen])
                require(
                    difference <= SAME_SHAPES,
                    f"two actors of the policy that act in turn differ by {difference:.2g} from each acting alone; "
                    "keep the memory of an episode in the Actor, and nothing in the policy",
                )

    def actions(self) -> np.ndarray:
        """Actions [modes, sequences, steps, A] of a fixed rollout, to compare policies with."""
        return np.array([self.roll_out(deterministic, self.together) for deterministic in self._deterministic()])

    def roll_out(
        self, deterministic: bool, episodes: Sequence[Episode], count: int = ROWS, seed: int = 0
    ) -> np.ndarray:
        """Actions [sequences, steps, A] of a new actor of `count` rows; NaN for sequences without an episode."""
        return self._collect(self._actor(count), deterministic, episodes, seed)

    def _collect(self, actor: Actor, deterministic: bool, episodes: Sequence[Episode], seed: int = 0) -> np.ndarray:
        found = np.full((2 * ROWS, self.steps, self.task.action_size), np.nan, np.float32)
        for part in self._steps(actor, deterministic, episodes, seed):
            for sequence, step, action in part:
                found[sequence, step] = action
        return found

    def _steps(
        self, actor: Actor, deterministic: bool, episodes: Sequence[Episode], seed: int = 0
    ) -> Iterator[list[tuple[int, int, np.ndarray]]]:
        """Act step by step; yields (sequence, step of its episode, action [A]) of all running episodes."""
        rng = np.random.default_rng(seed)
        for now in range(max(episode.begin + episode.length for episode in episodes)):
            if started := [episode.row for episode in episodes if episode.begin == now]:
                actor.start(started)
            running = [e for e in episodes if e.begin <= now < e.begin + e.length]
            if not running:
                continue
            given = np.stack([self.sequences[e.sequence, now - e.begin] for e in running])
            actions = self._checked(actor.act(given, [e.row for e in running], deterministic, rng), len(running))
            yield [(e.sequence, now - e.begin, action) for e, action in zip(running, actions, strict=True)]

    def _checked(self, actions: Any, rows: int) -> np.ndarray:
        require(
            isinstance(actions, np.ndarray),
            f"act returned a {type(actions).__name__}; return a NumPy array [rows, A] (tensor.cpu().numpy())",
        )
        wanted = (rows, self.task.action_size)
        require(actions.shape == wanted, f"{rows} observations gave actions of shape {actions.shape}, not {wanted}")
        require(actions.dtype == np.float32, f"actions are {actions.dtype}; return actions.astype(np.float32)")
        require(
            bool(np.isfinite(actions).all()),
            "actions are not finite; look for a division by a standard deviation of 0, a logarithm of 0 or a diverged "
            "training (raise Diverged there)",
        )
        low, high = float(actions.min()), float(actions.max())
        require(
            low >= -1.0 and high <= 1.0,
            f"actions reach from {low:.3g} to {high:.3g}; they are fractions of the task's bounds, so clip them to "
            "-1 ... 1 (np.clip) and leave the task's units to the suite",
        )
        return actions

    def _actor(self, count: int) -> Actor:
        actor: Any = self.policy.actor(count)
        if not isinstance(actor, Actor):
            kind = type(actor).__name__
            raise ContractViolation(f"actor({count}) gave a {kind}; return a subclass of methods.interface.Actor")
        return actor

    def _deterministic(self) -> list[bool]:
        """The modes that the policy has, as `act` is told them; a missing one is never asked for."""
        return [mode == "mean" for mode in MODES if mode in self.policy.modes]

    def _compare(self, one: np.ndarray, other: np.ndarray, rows: list[int], tolerance: float, change: str) -> None:
        difference = _largest(one[rows], other[rows])
        require(
            difference <= tolerance,
            f"actions of a row change by {difference:.2g} with {change}; {NO_BATCH_STATISTICS}",
        )

    def _why_different(self, deterministic: bool) -> str:
        """Two new actors, fed the same, act differently: memory in the policy, or a generator that is not `rng`."""
        seeded = []
        for _ in range(2):
            with _seeded_globals():
                seeded.append(self.roll_out(deterministic, self.together))
        if np.array_equal(seeded[0], seeded[1], equal_nan=True):
            return "actions depend on a global random generator; draw everything from the given `rng`"
        return (
            "two new actors with the same observations and equal generators act differently; draw everything from the "
            "given `rng`, and if the policy remembers earlier calls, implement actor(count) and keep the memory in the "
            "Actor, row by row"
        )


@contextmanager
def _seeded_globals() -> Iterator[None]:
    """Seeds the global generators, and puts them back at the end."""
    torch = sys.modules.get("torch")
    python, numpy, theirs = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    random.seed(0)
    np.random.seed(0)
    if torch:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch:
            torch.set_rng_state(theirs)


def _global_generators() -> dict[str, Any]:
    """The states of the global random generators, to compare."""
    torch = sys.modules.get("torch")
    states: dict[str, Any] = {"Python": random.getstate(), "NumPy": np.random.get_state(legacy=False)}
    if torch:
        states["PyTorch"] = torch.get_rng_state()
    return {name: fingerprint(state) for name, state in states.items()}


def _largest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two arrays that are NaN in the same places."""
    difference = np.abs(one - other)
    return float(np.nanmax(difference)) if np.isfinite(difference).any() else 0.0
