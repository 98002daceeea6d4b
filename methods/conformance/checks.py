"""All checks of a method against `methods.interface`, by training it a few times on a small task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np

from envs.demonstrations import DemonstrationError
from methods.conformance.context import PlainContext
from methods.conformance.declaration import declaration_problem, plain_settings
from methods.conformance.point_task import TASK, demonstrate
from methods.conformance.policies import PolicyChecks
from methods.conformance.results import Check, ContractViolation, Result, explain, require, run_checks
from methods.counting import ELSEWHERE, Counter
from methods.interface import Budget, BudgetExceeded, Method, MethodError, Policy, SettingsError, Stopped, make_settings
from methods.registry import policy_class

BUDGET = Budget(environment_steps=3_000, policy_updates=100, expert_queries=300)
"""Of each training: enough for an iteration of most methods, and no multiple of one."""
EPISODES = 5
UNKNOWN = "no_such_setting"
LONGEST_SILENCE = 10.0
"""Seconds of processor time that may pass without a checkpoint, since a stop takes effect at the next one."""
SHORT = 3.0
"""Seconds of processor time of a training that needs no checkpoint in its middle."""
ENOUGH = 3.0
"""Seconds of processor time for looking at the policies of checkpoints."""
SLOW = 15.0
"""Seconds of a training beyond which the check recommends `Method.small`."""


@dataclass(frozen=True)
class _Training:
    """A training that ended: with what `fit` returned, or None where it was stopped."""

    policy: Any
    context: PlainContext


class ConformanceChecks:
    """The checks of one method, in the order in which they are made; trainings are shared between them."""

    def __init__(self, method: type[Method], values: Mapping[str, Any], budget: Budget, folder: Path) -> None:
        self.method, self.values, self.folder = method, values, folder
        # As in a run, only a method that declares its need has an expert.
        self.budget = budget if getattr(method, "needs_expert", False) else replace(budget, expert_queries=0)
        self.demonstrations = demonstrate(EPISODES, seed=0)
        self._watcher = _Watcher()
        self._counters: list[Counter] = []

    def run(self) -> Iterator[Result]:
        """The results in order; a method that cannot be set up or trained is examined no further."""
        trained = yield from run_checks(
            [
                Check("name, settings and needs are declared", self.check_declaration, essential=True),
                Check("an unknown setting is refused by name", self.check_unknown_setting),
                Check("demonstrations with states only are refused or learned from", self.check_states_alone),
                Check("it trains and returns a policy", self.check_fit, essential=True),
                Check("Method.policy is the class of that policy", self.check_policy_class),
                Check("demonstrations are not changed", self.check_demonstrations),
                Check("environment steps and expert queries are declared and within the budget", self.check_budget),
                Check("context.checkpoint reports progress often enough", self.check_checkpoints),
            ]
        )
        if not trained:
            return
        if (yield from run_checks(PolicyChecks(self.first.policy, TASK).checks())):
            yield from run_checks(
                [
                    Check("the same seed gives the same policy", self.check_determinism),
                    Check("a stop ends the training", self.check_stop),
                    Check("a stopped training resumes where it was", self.check_resumption),
                    Check("a saved policy acts the same when loaded", self.check_round_trip),
                ]
            )
        yield from run_checks([Check("saved files are arrays and JSON only", self.check_files)])

    @cached_property
    def first(self) -> _Training:
        """The training that most checks look at; the policies of its checkpoints act, as in a run."""
        return self._fit(watch=self._watcher)

    @cached_property
    def stopped(self) -> _Training:
        """A training stopped in the middle of the checkpoints that offer a snapshot, or of all."""
        straight = self.first.context
        moments = straight.offers or list(range(1, len(straight.checkpoints) + 1))
        context = self._context(stop_at=moments[len(moments) // 2] if moments else 0)
        try:
            return _Training(self._method().fit(self.demonstrations, context), context)
        except Stopped:
            return _Training(None, context)

    def _fit(self, watch: Callable[[Policy], None] = lambda policy: None, **changes: Any) -> _Training:
        context = self._context(watch=watch)
        return _Training(self._method().fit(replace(self.demonstrations, **changes), context), context)

    def _context(self, **more: Any) -> PlainContext:
        scratch = self.folder / f"training-{len(self._counters) + 1}"
        scratch.mkdir()
        context = PlainContext(self.budget, 1, scratch, **more)
        self._counters.append(context.counter)
        return context

    def _method(self) -> Method:
        return self.method(make_settings(self.method, self.values))

    def check_declaration(self) -> None:
        if problem := declaration_problem(self.method):
            raise ContractViolation(problem)
        require(
            self.method().settings == self.method.Settings(),
            "the method made without settings does not have the defaults; call super().__init__(settings)",
        )
        settings = make_settings(self.method, self.values)
        again = make_settings(self.method, plain_settings(self.method.name, settings))
        require(
            again == settings,
            f"{settings} becomes {again} when it is stored as JSON and read again; use numbers, strings, booleans, "
            "tuples of them and their types as annotations",
        )

    def check_unknown_setting(self) -> None:
        try:
            make_settings(self.method, {UNKNOWN: 1})
        except SettingsError as error:
            require(UNKNOWN in str(error), f"the message does not name it: {error}")
        else:
            raise ContractViolation(f"{UNKNOWN!r} was accepted; do not let Settings take any keyword")

    def check_states_alone(self) -> None:
        needed = self.method.requires_actions(make_settings(self.method, self.values))
        try:
            policy = self._fit(actions=None).policy
        except (MethodError, DemonstrationError) as error:
            require(
                needed,
                f"needs_actions is False, but without actions it says: {explain(error)}; set needs_actions = True",
            )
            require("action" in str(error), f"the message does not mention actions: {error}")
        except Exception as error:
            require(not self._used_elsewhere(), ELSEWHERE)
            fix = (
                "raise MethodError there, as demonstrations.pairs() does"
                if needed
                else "set needs_actions = True, or learn from observations only"
            )
            raise ContractViolation(f"demonstrations with states only end in {explain(error)}; {fix}") from error
        else:
            require(
                not needed,
                "demonstrations with states only were accepted; raise MethodError, or set needs_actions = False",
            )
            require(isinstance(policy, Policy), f"from states only, fit returned a {type(policy).__name__}")

    def check_fit(self) -> str:
        begun = perf_counter()
        try:
            policy = self.first.policy
        except (Exception, SystemExit) as error:
            require(not self._used_elsewhere(), ELSEWHERE)
            raise ContractViolation(f"fit ended in {explain(error)}{self._advice(error)}") from error
        seconds = perf_counter() - begun
        require(
            isinstance(policy, Policy),
            f"fit returned a {type(policy).__name__}; return a subclass of methods.interface.Policy",
        )
        if seconds > SLOW:
            return f"training took {seconds:.0f} s; give the class `small` settings with which it takes seconds"
        return ""

    def _used_elsewhere(self) -> bool:
        return any(counter.left_process for counter in self._counters)

    def _advice(self, error: BaseException) -> str:
        if isinstance(error, BudgetExceeded):
            return "; stop when context.environment_steps or context.expert_queries reaches the budget"
        if isinstance(error, AttributeError) and "NoneType" in str(error) and not self.method.needs_expert:
            return "; context.expert is None unless the class says needs_expert = True"
        if isinstance(error, ValueError) and "read-only" in str(error):
            return "; copy what was given before you change it"
        if isinstance(error, Stopped):
            return "; only context.checkpoint raises Stopped"
        if type(error).__name__ in ("NameNotFound", "NamespaceNotFound"):
            return "; environments come from context.make_env(), which counts their steps"
        return ""

    def check_policy_class(self) -> None:
        declared, found = policy_class(self.method), type(self.first.policy)
        require(
            issubclass(found, declared),
            f"fit returned a {found.__name__}, but the class of the method says {declared.__name__}; "
            f"set policy = {found.__name__}, so that what was saved can be loaded",
        )

    def check_demonstrations(self) -> None:
        _ = self.first
        fresh = demonstrate(EPISODES, seed=0)
        for field in fields(fresh):
            old, new = getattr(fresh, field.name), getattr(self.demonstrations, field.name)
            require(
                np.array_equal(old, new),
                f"fit changed demonstrations.{field.name}; work on a copy (x - mean, not x -= mean)",
            )

    def check_budget(self) -> str:
        context = self.first.context
        require(not self._used_elsewhere(), ELSEWHERE)
        steps, queries = context.environment_steps, context.expert_queries
        require(
            self.method.needs_environment or steps == 0,
            f"needs_environment is False, but {steps} environment steps were used; set needs_environment = True",
        )
        if self.method.needs_expert and not queries:
            return "needs_expert is True, but training did not query the expert"
        return ""

    def check_checkpoints(self) -> str:
        points = self.first.context.checkpoints
        require(
            bool(points),
            "context.checkpoint was never called, so there is no learning curve and no way to stop it; call "
            "context.checkpoint(policy, done / total, gradient_steps) in the loop",
        )
        progress, steps = (np.array(column) for column in zip(*points, strict=True))
        require(
            progress.min() >= 0.0 and progress.max() <= 1.0,
            f"progress is {progress.min():.3g} to {progress.max():.3g}; it is the fraction done, from 0 to 1",
        )
        require(bool((np.diff(progress) >= 0.0).all()), "progress decreased; it is the fraction of the whole training")
        require(bool((np.diff(steps) >= 0).all()), "gradient_steps decreased; count all steps since the beginning")
        require(not self._watcher.problem, f"the policy of a checkpoint cannot act: {self._watcher.problem}")
        silence = self._watcher.longest
        often = "call it in the loop every few seconds, even in long phases, so that Ctrl-C loses nothing"
        require(silence <= LONGEST_SILENCE, f"{silence:.0f} s passed without a checkpoint; {often}")
        if progress.min() == 1.0 and steps.max() > 1:
            require(silence <= SHORT, f"context.checkpoint was called only at the end, after {silence:.0f} s; {often}")
            return f"context.checkpoint was called only at the end; if training takes longer, {often}"
        return ""

    def check_determinism(self) -> None:
        """Once more, without acting at the checkpoints: evaluating must not influence a training."""
        again = self._fit().policy
        if not self._differ(again):
            return
        watched = self._fit(watch=_Watcher()).policy
        require(
            self._differ(watched) > 0.0,
            "training depends on whether its policy acts at checkpoints; act must leave everything unchanged "
            "(training and evaluation mode of a network, global generators, memory)",
        )
        raise ContractViolation(
            f"actions of two training runs with the same seed differ by {self._differ(again):.2g}; draw all randomness "
            "from context.seeds"
        )

    def check_stop(self) -> None:
        if not self.first.context.checkpoints:
            return
        require(
            self.stopped.policy is None and not self.stopped.context.ignored_stop,
            "training continued after context.checkpoint raised Stopped; let it pass (`except Exception` catches it)",
        )

    def check_resumption(self) -> str:
        straight = self.first.context
        if not straight.offers:
            return "it offers no snapshot, so interrupted training starts over; see FitContext.checkpoint"
        context = self._context(after=self.stopped.context)
        again = self._method().fit(self.demonstrations, context)
        difference = self._differ(again)
        require(
            difference == 0.0,
            f"actions differ by {difference:.2g} from those of uninterrupted training; the snapshot must "
            "hold all that changes (weights, optimisers, buffers, generators, counters), and fit must restore it",
        )
        for name in ("counts", "checkpoints", "reports"):
            require(
                getattr(straight, name) == getattr(context, name),
                f"{name} differ from those of uninterrupted training; continue to count from the snapshot",
            )
        return ""

    def _differ(self, policy: Any) -> float:
        """The largest difference of a policy's actions from the first training's."""
        return float(np.nanmax(np.abs(PolicyChecks(policy, TASK).actions() - self._actions)))

    @cached_property
    def _actions(self) -> np.ndarray:
        return PolicyChecks(self.first.policy, TASK).actions()

    @cached_property
    def saved(self) -> Path:
        folder = self.folder / "saved" / "policy"
        self.first.policy.save(folder)
        return folder

    def check_round_trip(self) -> None:
        declared, found = policy_class(self.method), type(self.first.policy)
        kind = declared if issubclass(found, declared) else found
        loaded = kind.load(self.saved)
        require(isinstance(loaded, Policy), f"{kind.__name__}.load returned a {type(loaded).__name__}, not a policy")
        difference = self._differ(loaded)
        require(
            difference == 0.0,
            f"actions differ by {difference:.2g} after {kind.__name__}.load; save everything that acting depends on, "
            "and call network.eval() in load",
        )
        nothing = self.folder / "nothing"
        try:
            kind.load(nothing)
        except MethodError as error:
            require("nothing" in str(error), f"the message does not name the missing file: {error}")
        except Exception as error:
            raise ContractViolation(
                f"loading from an empty folder ends in {type(error).__name__}; raise MethodError naming the file there"
            ) from error
        else:
            raise ContractViolation("loading from an empty folder gave a policy; raise MethodError naming the file")

    def check_files(self) -> None:
        files = [path for path in self.saved.rglob("*") if path.is_file()]
        require(bool(files), "save wrote nothing into the folder it was given")
        for path in files:
            try:
                _require_plain(path)
            except (ValueError, OSError) as error:
                raise ContractViolation(
                    f"{path.name}: {error}; write numbers with numpy.savez, the rest as JSON"
                ) from None


class _Watcher:
    """Lets the policy of every checkpoint act, as a run does, and measures how far checkpoints are apart.

    Attributes:
        problem: why the first policy that could not act could not.
        longest: processor seconds between two checkpoints.
    """

    def __init__(self) -> None:
        self.problem = ""
        self.longest = self._spent = 0.0
        self._last = process_time()

    def __call__(self, policy: Policy) -> None:
        before = process_time()
        self.longest = max(self.longest, before - self._last)
        if not self.problem and self._spent < ENOUGH:
            try:
                require(isinstance(policy, Policy), f"it is a {type(policy).__name__}, not a methods.interface.Policy")
                checks = PolicyChecks(policy, TASK, steps=2)
                checks.check_modes()
                checks.actions()
            except Exception as error:
                self.problem = explain(error)
        self._spent += process_time() - before
        self._last = process_time()


def _require_plain(path: Path) -> None:
    """Raises ValueError where a file could execute something when it is read."""
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix in (".npy", ".npz"):
        array = np.load(path, allow_pickle=False)
        for name in getattr(array, "files", ()):
            array[name]  # read, because pickled entries are refused only then
    else:
        raise ValueError("neither .json nor .npy nor .npz")


def check_method(
    method: type[Method], values: Mapping[str, Any] | None = None, budget: Budget = BUDGET
) -> Iterator[Result]:
    """Check a method with its `small` settings, changed by `values`; each result as soon as it is known."""
    small = method.small if isinstance(getattr(method, "small", None), Mapping) else {}
    with TemporaryDirectory() as folder:
        yield from ConformanceChecks(method, {**small, **(values or {})}, budget, Path(folder)).run()
