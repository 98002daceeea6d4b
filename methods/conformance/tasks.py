"""Checks of a task: whether its environment behaves as the suite and the methods expect."""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any, TypeVar

import numpy as np
from gymnasium.spaces import Box

from envs import tasks
from envs.commands import import_hint
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task
from envs.loading import reason
from methods.conformance.results import Check, ContractViolation, Result, require, run_checks
from methods.env_group import Env
from methods.interface import MethodError
from methods.task_boundary import ActionBounds, inspect_task, time_limit

T = TypeVar("T")
SEED = 7
STEPS = 6
"""Of the episodes that are compared."""
PATIENCE = 10.0
"""Seconds that an episode of random actions may take; a longer one is cut."""
CLOSING_SECONDS = 2.0
"""Seconds that processes and threads have to end after close()."""


class TaskChecks:
    """The checks of one task.

    Args:
        name: a short name, a Gymnasium id, "module:Id" or "path/to/file.py:Id".
        demonstrations: to hold against it; None checks none.
        gentle: take nothing but the middle action (in which a robot must not move) and few seconds.
    """

    def __init__(self, name: str, demonstrations: Demonstrations | None = None, *, gentle: bool = False) -> None:
        self.name, self.demonstrations, self.gentle = name, demonstrations, gentle
        self.patience = 1.0 if gentle else PATIENCE
        self._environment: Env | None = None

    def run(self) -> Iterator[Result]:
        """The results in order, each as soon as it is known."""
        checks = [
            *self.before_demonstrations,
            Check("reset takes a seed, and returns an observation and a dictionary", self.check_reset, essential=True),
            Check("step returns five values", self.check_step, essential=True),
            Check("an episode ends, and reports is_success", self.check_end),
            Check("it can be closed", self.check_closing, essential=True),
        ]
        if self.demonstrations is not None:
            checks.append(Check("the demonstrations fit", self.check_demonstrations))
        if not self.gentle:
            checks += [
                Check("equal seeds give equal episodes", self.check_seed),
                Check("environments do not disturb each other", self.check_independence),
                Check("a returned observation is not changed later, and neither is an action", self.check_aliases),
                Check("the state can be saved and restored", self.check_state),
                Check("close ends what was opened", self.check_close),
            ]
            if self.name not in {*tasks.TASKS, *tasks.TASKS.values()}:  # their demonstrators are not part of them
                checks.append(Check("the demonstrator, if it has one, acts within the bounds", self.check_expert))
        yield from self.results(checks)

    def results(self, checks: Iterable[Check]) -> Iterator[Result]:
        """Those of some of the checks, after which the environment is closed."""
        try:
            yield from run_checks(checks)
        finally:
            if self._environment is not None:
                with suppress(Exception):  # see check_closing
                    self._environment.close()

    @property
    def before_demonstrations(self) -> list[Check]:
        """What must hold before it is worth demonstrating the task."""
        return [
            Check("its environment can be made", self.check_made, essential=True),
            Check(
                "observations and actions are one-dimensional boxes, actions with finite bounds",
                self.check_spaces,
                True,
            ),
            Check("it has a time limit", self.check_time_limit, essential=True),
        ]

    @property
    def environment(self) -> Env:
        """An environment that most checks share."""
        if self._environment is None:
            self._environment = tasks.make(self.name)
        return self._environment

    def check_made(self) -> None:
        try:
            _ = self.environment
        except tasks.TaskError as error:
            raise ContractViolation(str(error)) from error

    def check_spaces(self) -> str:
        observations = self.environment.observation_space
        flat = isinstance(observations, Box) and len(observations.shape) == 1 and observations.shape[0] > 0
        require(flat, f"its observation space is {observations}; flatten it (gymnasium.wrappers.FlattenObservation)")
        actions = self.environment.action_space
        _ours(lambda: ActionBounds.of(self.name, actions))
        require(actions.shape != (0,), f"its action space is {actions}; give it at least one number")
        if observations.dtype != np.float32:
            return f"observations are {observations.dtype}; methods see them as float32"
        return ""

    def check_time_limit(self) -> None:
        _ours(lambda: time_limit(self.name, self.environment))
        if hasattr(self.environment.unwrapped, "dt"):
            dt: Any = self.environment.unwrapped.dt
            good = dt is None or (isinstance(dt, Real) and 0.0 < float(dt) < math.inf)
            require(good, f"its attribute dt is {dt!r}; it must be the positive number of seconds per step")

    def check_reset(self) -> None:
        for options in (None, dict[str, Any]()):
            try:
                found: Any = self.environment.reset(seed=SEED, options=options)
            except TypeError as error:
                raise ContractViolation(
                    f"reset(seed={SEED}, options={options}) failed ({error}); "
                    "declare def reset(self, *, seed=None, options=None)"
                ) from error
            require(
                isinstance(found, tuple) and len(found) == 2,
                f"reset returned a {type(found).__name__}; return (observation, info)",
            )
            self._require_observation("reset", found[0])
            require(isinstance(found[1], dict), f"reset returned the info {found[1]!r}; return a dictionary")

    def check_step(self) -> None:
        self.environment.reset(seed=SEED)
        five = "return (observation, reward, terminated, truncated, info)"
        try:
            found: Any = self.environment.step(self._action(np.random.default_rng(0)))
        except (TypeError, ValueError) as error:
            require("unpack" not in str(error), f"step did not return five values ({error}); {five}")  # of a wrapper
            raise
        require(isinstance(found, tuple) and len(found) == 5, f"step did not return five values; {five}")
        observation, reward, terminated, truncated, info = found
        self._require_observation("step", observation)
        require(
            isinstance(reward, Real | np.number) and math.isfinite(float(reward)),
            f"step returned the reward {reward!r}; return a finite number",
        )
        for name, value in (("terminated", terminated), ("truncated", truncated)):
            require(isinstance(value, bool | np.bool_), f"step returned {name} = {value!r}; return True or False")
        require(isinstance(info, dict), f"step returned the info {info!r}; return a dictionary")

    def check_end(self) -> str:
        """One episode to its end, or as far as patience lasts."""
        rng, begun = np.random.default_rng(1), perf_counter()
        limit = time_limit(self.name, self.environment)
        self.environment.reset(seed=SEED)
        for step in range(1, limit + 1):
            observation, _, terminated, truncated, info = self.environment.step(self._action(rng))
            if not np.isfinite(observation).all():
                raise ContractViolation(f"step {step} returned an observation that is not finite; raise an error there")
            ended = terminated or truncated or step == limit
            if ended:
                require(
                    "is_success" in info,
                    f"info has no is_success where an episode ended (after {step} steps); set info['is_success'] to "
                    "True or False in every step, since nothing else counts as success",
                )
                success = info["is_success"]
                good = isinstance(success, bool | int | float | np.bool_ | np.number) and success in (0, 1)
                require(good, f"info['is_success'] is {success!r}; make it True or False")
                return ""
            if perf_counter() - begun > self.patience:
                hint = (
                    "" if "is_success" in info else "; set info['is_success'] in every step, so that this can be seen"
                )
                return f"no episode ended within {step} steps and {self.patience:.0f} s{hint}"
        return ""

    def check_closing(self) -> None:
        environment, self._environment = self.environment, None  # later checks make another
        try:
            environment.close()
        except Exception as error:
            raise ContractViolation(
                f"close() failed ({reason(error)}); it is called once, in the middle of an episode or after it"
            ) from error

    def check_demonstrations(self) -> str:
        assert self.demonstrations is not None
        demonstrated, name = self.demonstrations.task, self.name.rpartition(":")[2]
        names = {name, tasks.find(self.name).id, tasks.short_name(self.name)}
        require(demonstrated.rpartition(":")[2] in names, f"they are of the task {demonstrated!r}, not of {name!r}")
        inspection = _ours(lambda: inspect_task(self.name, self.demonstrations))  # type: ignore[arg-type]
        remarks = list(inspection.warnings)
        longest, limit = int(self.demonstrations.time_step.max()), inspection.task.horizon
        if longest > limit:
            remarks.append(f"the longest demonstration has {longest} steps, but an episode ends after {limit}")
        return "; ".join(remarks)

    def check_seed(self) -> None:
        first, again = self._episode(self.environment), self._episode(self.environment)
        require(
            np.array_equal(first, again),
            "two episodes with the same seed and actions differ; call super().reset(seed=seed), draw from "
            "self.np_random only, and reset everything that an episode changes",
        )
        require(
            np.array_equal(first, self._episode(self.environment, global_seed=1)),
            "an episode depends on the global generators of NumPy or Python; draw only from self.np_random",
        )
        with _another(self.name) as other:
            require(
                np.array_equal(first, self._episode(other)),
                "a new environment starts another episode with the same seed; let reset depend on nothing but the seed",
            )

    def check_independence(self) -> None:
        alone = self._episode(self.environment)
        with _another(self.name) as other:
            other.reset(seed=SEED + 1)
            rng = np.random.default_rng(5)

            def disturb() -> None:
                if any(other.step(self._action(rng))[2:4]):
                    other.reset()

            disturbed = self._episode(self.environment, between=disturb)
        require(
            np.array_equal(alone, disturbed),
            "an episode changes when another environment of this task is stepped meanwhile; keep all state in self",
        )

    def check_aliases(self) -> None:
        rng = np.random.default_rng(2)
        kept = [(observation := self.environment.reset(seed=SEED)[0], np.array(observation))]
        for _ in range(STEPS):
            action = self._action(rng)
            before = action.copy()
            found = self.environment.step(action)
            require(np.array_equal(action, before), "step changed the action it was given; work on a copy")
            kept.append((found[0], np.array(found[0])))
            if found[2] or found[3]:
                break
        require(
            all(np.array_equal(observation, copy) for observation, copy in kept),
            "an observation changed after it had been returned; return a copy (self._state.copy())",
        )

    def check_state(self) -> str:
        from methods.checkpointing import can_be_captured, environment_state, pack, set_environment_state, unpack

        inside = type(self.environment.unwrapped)
        gets, sets = (callable(getattr(inside, name, None)) for name in ("get_state", "set_state"))
        require(sets or not gets, "it has only get_state; get_state and set_state belong together")
        if not can_be_captured(self.environment):  # Gymnasium's MuJoCo environments have a set_state(qpos, qvel) alone
            return "it has no get_state and set_state, so interrupted trials that interact with it start over"
        rng = np.random.default_rng(3)
        actions = [self._action(rng) for _ in range(2 * STEPS)]
        self.environment.reset(seed=SEED)
        for action in actions[:STEPS]:
            if any(self.environment.step(action)[2:4]):
                self.environment.reset()
        state = pack(environment_state(self.environment))
        with _another(self.name) as other:
            other.reset(seed=SEED + 1)
            set_environment_state(other, unpack(*state))
            ours, theirs = (_follow(environment, actions[STEPS:]) for environment in (self.environment, other))
        require(
            np.array_equal(ours, theirs),
            "an environment whose state was restored behaves differently; get_state must return everything that "
            "changes, including the state of self.np_random",
        )
        return ""

    def check_expert(self) -> str:
        make: Any = getattr(self.environment.unwrapped, "make_expert", None)
        if make is None:
            return "it has none (no make_expert(rng)), so methods that query a demonstrator cannot be used"
        bounds = ActionBounds.of(self.name, self.environment.action_space)
        expert = make(np.random.default_rng(4))
        missing = [name for name in ("reset", "act") if not callable(getattr(expert, name, None))]
        require(not missing, f"what make_expert(rng) returned has no {' and no '.join(missing)}()")
        self.environment.reset(seed=SEED)
        expert.reset()
        begun, info, seen = perf_counter(), dict[str, Any](), False
        for _ in range(time_limit(self.name, self.environment)):
            action = np.asarray(expert.act())
            require(
                action.shape == (len(bounds.low),),
                f"act() returned an action of shape {action.shape}, not {(len(bounds.low),)}",
            )
            inside = np.isfinite(action).all() and (action >= bounds.low).all() and (action <= bounds.high).all()
            require(bool(inside), f"act() returned {action}, which leaves the bounds; clip it to the action space")
            _, _, terminated, truncated, info = self.environment.step(action.astype(bounds.dtype))
            seen = seen or bool(info.get("is_success"))
            if terminated or truncated or perf_counter() - begun > self.patience:
                break
        if info.get("is_success"):
            return ""
        hint = f"; info['is_success'] was true earlier, but {tasks.LAST_COUNTS}" if seen else ""
        return f"the demonstrator did not succeed in the one episode that was tried{hint}"

    def check_close(self) -> None:
        """A second environment, since the first may open what all share."""
        _play(self.name, self._action)
        before = _opened()
        _play(self.name, self._action)
        until = monotonic() + CLOSING_SECONDS
        while (left := {key: what for key, what in _opened().items() if key not in before}) and monotonic() < until:
            sleep(0.05)
        shown = list(dict.fromkeys(left.values()))[:3]
        require(not left, f"after close() these still exist: {', '.join(shown)}; end them in close()")

    def _action(self, rng: np.random.Generator) -> np.ndarray:
        space = self.environment.action_space
        bounds = ActionBounds.of(self.name, space)
        fractions = np.zeros(len(bounds.low), np.float32)
        if not self.gentle:
            fractions = rng.uniform(-1.0, 1.0, len(bounds.low)).astype(np.float32)
        return np.array(bounds.to_task(fractions), space.dtype)

    def _require_observation(self, where: str, observation: Any) -> None:
        wanted = self.environment.observation_space.shape
        require(
            isinstance(observation, np.ndarray) and observation.shape == wanted,
            f"{where} returned an observation {_shape(observation)}, but its space says {wanted}; return a NumPy array",
        )
        require(
            observation.dtype.kind in "fiub",
            f"{where} returned an observation of type {observation.dtype}; return numbers, such as float32",
        )
        require(bool(np.isfinite(observation).all()), f"{where} returned an observation that is not finite")

    def _episode(
        self, environment: Env, global_seed: int = 0, between: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Observations of an episode's beginning, [at most STEPS + 1, O], with global generators seeded differently."""
        python, numpy = random.getstate(), np.random.get_state()
        random.seed(global_seed)
        np.random.seed(global_seed)
        try:
            found = [np.array(environment.reset(seed=SEED)[0])]
            rng = np.random.default_rng(2)
            for _ in range(STEPS):
                between()
                observation, _, terminated, truncated, _ = environment.step(self._action(rng))
                found.append(np.array(observation))
                if terminated or truncated:
                    break
            return np.array(found)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _another(name: str) -> Iterator[Env]:
    """Another environment of the task, closed at the end."""
    environment = tasks.make(name)
    try:
        yield environment
    finally:
        environment.close()


def _ours(call: Callable[[], T]) -> T:
    """What a call returns; the suite's own refusal of a task becomes a violation."""
    try:
        return call()
    except (MethodError, tasks.TaskError) as error:
        raise ContractViolation(str(error)) from error


def _shape(observation: Any) -> str:
    return f"of shape {observation.shape}" if isinstance(observation, np.ndarray) else f"{observation!r:.60}"


def _follow(environment: Env, actions: list[np.ndarray]) -> np.ndarray:
    """The observations after each of these actions; a new episode begins where one ends."""
    found = []
    for action in actions:
        observation, _, terminated, truncated, _ = environment.step(action)
        found.append(environment.reset()[0] if terminated or truncated else observation)
    return np.array(found)


def _play(name: str, action: Callable[[np.random.Generator], np.ndarray]) -> None:
    """Make, reset, step and close an environment."""
    with _another(name) as environment:
        environment.reset(seed=SEED)
        environment.step(action(np.random.default_rng(0)))


def _opened() -> dict[tuple[str, Any], str]:
    """Processes below this one, threads and open files, with words for each; where the system says so."""
    found: dict[tuple[str, Any], str] = {}
    for thread in threading.enumerate():
        found["thread", thread.ident] = f"the thread {thread.name!r}"
    for pid, command in _descendants().items():
        found["process", pid] = f"the process {command!r}"
    for link in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("/proc/"):  # the folder that is being listed
            continue
        found["file", (link.name, target)] = f"the open file {target}"
    return found


def _descendants() -> Mapping[int, str]:
    """Running processes below this one, with their commands."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        state, parent = rest.split()[:2]
        if state != "Z":
            parents[int(folder.name)] = int(parent), name
    found: dict[int, str] = {}
    waiting = [os.getpid()]
    while waiting:
        above = waiting.pop()
        below = {pid: name for pid, (parent, name) in parents.items() if parent == above and pid not in found}
        found |= below
        waiting += below
    return found


def check_task(name: str, demonstrations: str | os.PathLike[str] | None = None) -> Iterator[Result]:
    """Check a task, and a file of demonstrations if there is one; the shipped ones for a shipped task.

    Raises:
        MethodError: there is no such task, or the file of demonstrations cannot be read.
    """
    try:
        tasks.find(name)
        given = load(demonstrations) if demonstrations is not None else _shipped(name)
    except tasks.TaskError as error:
        raise MethodError(str(error)) from error
    except DemonstrationError as error:
        raise MethodError(f"{error}{import_hint(demonstrations) if demonstrations is not None else ''}") from error
    return TaskChecks(name, given).run()


def _shipped(name: str) -> Demonstrations | None:
    try:
        return load_task(name)
    except DemonstrationError:
        return None


def require_task(name: str, demonstrations: Demonstrations | None = None) -> list[str]:
    """The checks that need no motion and few seconds, for a runner before it trains; returns remarks.

    Raises:
        MethodError: what is wrong with the task, and how to fix it.
    """
    return _remarks(name, TaskChecks(name, demonstrations, gentle=True).run())


def require_supported(name: str) -> None:
    """Raises MethodError where a task is none of which demonstrations could be made; nothing moves."""
    checks = TaskChecks(name)
    _remarks(name, checks.results(checks.before_demonstrations))


def _remarks(name: str, results: Iterable[Result]) -> list[str]:
    remarks = []
    for result in results:
        if result.problem:
            raise MethodError(f"task {name}: {result.problem.removeprefix(f'{name}: ')}")
        remarks += [f"task {name}: {result.remark}"] if result.remark else []
    return remarks
