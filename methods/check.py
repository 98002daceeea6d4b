"""Proves that a method keeps the contract of `methods.interface`: `python -m methods.check NAME`.

NAME is what `methods.registry.resolve` takes, so a method of one's own is `file.py:ClassName`. The method is trained
twice on a point that must reach a goal, with small budgets; nothing is said about how well it learns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch

from envs.demonstrations import DemonstrationError
from methods.conformance.task import TASK, CheckContext, Interrupted, demonstrate
from methods.interface import Budget, Method, MethodError, Policy, SettingsError, make_settings
from methods.registry import resolve

BUDGET = Budget(environment_steps=13_000, policy_updates=200)
"""Enough for one iteration of every built-in method with its default settings, and no multiple of one."""

EPISODES = 5
UNKNOWN = "no_such_setting"


class Broken(Exception):
    """A promise of the contract is not kept; the message says which and how."""


@dataclass(frozen=True)
class Finding:
    """What one check found; `problem` is empty where the promise is kept."""

    promise: str
    problem: str = ""


class Examination:
    """All checks of one method."""

    def __init__(self, method: type[Method], values: Mapping[str, Any], budget: Budget, folder: Path) -> None:
        self.method, self.values, self.budget, self.folder = method, values, budget, folder
        self.demonstrations = demonstrate(EPISODES, seed=0)
        rng = np.random.default_rng(0)
        self.observations = rng.uniform(-1.0, 1.0, (17, TASK.observation_size)).astype(np.float32)

    def run(self) -> Iterator[Finding]:
        """The findings in order; a method that cannot be set up or trained is examined no further."""
        checks: list[tuple[str, Callable[[], None], bool]] = [
            ("settings are a frozen dataclass with defaults", self.check_settings, True),
            ("an unknown setting is refused by name", self.check_unknown_setting, False),
            ("missing actions are refused", self.check_missing_actions, False),
            ("it learns and returns a policy", self.check_fit, True),
            ("demonstrations are left as they were", self.check_demonstrations, False),
            ("the budget is respected", self.check_budget, False),
            ("progress is told by checkpoints", self.check_checkpoints, False),
            ("actions have shape, type and bounds", self.check_actions, False),
            ("sampled actions come from the given generator", self.check_sampling, False),
            ("the same seed gives the same policy", self.check_determinism, False),
            ("an interrupted training goes on from its snapshot", self.check_resumption, False),
            ("a saved policy acts the same when loaded", self.check_round_trip, False),
            ("saved files are arrays and JSON only", self.check_files, False),
        ]
        for promise, check, essential in checks:
            try:
                check()
            except Exception as error:
                yield Finding(promise, str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}")
                if essential:
                    return
            else:
                yield Finding(promise)

    @cached_property
    def first(self) -> tuple[Policy, CheckContext]:
        return self._fit("first")

    def _fit(self, name: str, **changes: Any) -> tuple[Policy, CheckContext]:
        context = self._context(name)
        return self._method().fit(replace(self.demonstrations, **changes), context), context

    def _context(self, name: str, **more: Any) -> CheckContext:
        scratch = self.folder / name
        scratch.mkdir()
        return CheckContext(self.budget, seed=1, scratch=scratch, **more)

    def _method(self) -> Method:
        return self.method(make_settings(self.method, self.values))

    def _act(self, policy: Policy, deterministic: bool = True, seed: int = 0, rows: int = 17) -> np.ndarray:
        return policy.act(self.observations[:rows].copy(), deterministic, np.random.default_rng(seed))

    def check_settings(self) -> None:
        settings: Any = self.method.Settings
        _require(is_dataclass(settings), f"{settings!r} is not a dataclass")
        _require(settings.__dataclass_params__.frozen, "write @dataclass(frozen=True)")
        _require(self.method().settings == settings(), "the method made without settings does not have the defaults")
        make_settings(self.method, self.values)

    def check_unknown_setting(self) -> None:
        try:
            make_settings(self.method, {UNKNOWN: 1})
        except SettingsError as error:
            _require(UNKNOWN in str(error), f"the message does not name it: {error}")
        else:
            raise Broken(f"{UNKNOWN!r} was accepted")

    def check_missing_actions(self) -> None:
        if not self.method.requires_actions(make_settings(self.method, self.values)):
            return
        try:
            self._fit("states alone", actions=None)
        except (MethodError, DemonstrationError) as error:
            _require("action" in str(error), f"the message does not speak of actions: {error}")
        else:
            raise Broken(
                "demonstrations of states alone were accepted; raise MethodError, or say needs_actions = False"
            )

    def check_fit(self) -> None:
        policy, _ = self.first
        _require(isinstance(policy, Policy), f"fit returned {type(policy).__name__}, not a methods.interface.Policy")

    def check_demonstrations(self) -> None:
        _ = self.first
        fresh = demonstrate(EPISODES, seed=0)
        for field in fields(fresh):
            old, new = getattr(fresh, field.name), getattr(self.demonstrations, field.name)
            _require(np.array_equal(old, new), f"{field.name} was changed during the training")

    def check_budget(self) -> None:
        _, context = self.first
        used, allowed = context.environment_steps, self.budget.environment_steps
        _require(used <= allowed, f"{used} environment steps were used, {allowed} were allowed")
        _require(
            self.method.needs_environment or used == 0,
            f"needs_environment is False, but {used} environment steps were used",
        )

    def check_checkpoints(self) -> None:
        points = self.first[1].checkpoints
        _require(
            bool(points), "context.checkpoint was never called, so there is no learning curve and no way to stop it"
        )
        progress, steps = (np.array(column) for column in zip(*points, strict=True))
        _require(
            progress.min() >= 0.0 and progress.max() <= 1.0,
            f"progress left [0, 1]: {progress.min()} to {progress.max()}",
        )
        _require(bool((np.diff(progress) >= 0.0).all()), "progress went back")
        _require(bool((np.diff(steps) >= 0).all()), "gradient_steps went back")

    def check_actions(self) -> None:
        policy, _ = self.first
        for rows in (1, len(self.observations)):
            for deterministic in (True, False):
                actions = self._act(policy, deterministic, rows=rows)
                wanted = (rows, TASK.action_size)
                _require(
                    actions.shape == wanted, f"{rows} observations gave actions of shape {actions.shape}, not {wanted}"
                )
                _require(actions.dtype == np.float32, f"actions are {actions.dtype}, not float32")
                _require(bool(np.isfinite(actions).all()), "actions are not finite")
                inside = (actions >= TASK.action_low) & (actions <= TASK.action_high)
                _require(bool(inside.all()), f"actions leave the task's bounds: {actions.min()} to {actions.max()}")

    def check_sampling(self) -> None:
        policy, _ = self.first
        for deterministic in (True, False):
            same = np.array_equal(self._act(policy, deterministic, 3), self._act(policy, deterministic, 3))
            _require(same, f"equal generators gave different actions (deterministic={deterministic}); use `rng` alone")
        _require(np.array_equal(self._act(policy, True, 3), self._act(policy, True, 4)), "mean actions depend on `rng`")

    def check_determinism(self) -> None:
        again, _ = self._fit("second")
        difference = np.abs(self._act(self.first[0]) - self._act(again)).max()
        _require(difference == 0.0, f"mean actions differ by {difference:.2g}; draw all randomness from context.seeds")

    def check_resumption(self) -> None:
        """In the middle of its snapshots; a method that offers none keeps the promise, since it begins anew."""
        policy, straight = self.first
        if not straight.snapshots:
            return
        interrupted = self._context("interrupted", interrupt=1 + straight.snapshots // 2)
        with suppress(Interrupted):
            self._method().fit(self.demonstrations, interrupted)
        context = self._context("resumed", after=interrupted)
        again = self._method().fit(self.demonstrations, context)
        _require(np.array_equal(self._act(policy), self._act(again)), "the policy differs from an uninterrupted one's")
        for name in ("counts", "checkpoints", "reports"):
            _require(getattr(straight, name) == getattr(context, name), f"{name} differ from an uninterrupted one's")

    @cached_property
    def saved(self) -> Path:
        folder = self.folder / "saved" / "policy"
        self.first[0].save(folder)
        return folder

    def check_round_trip(self) -> None:
        policy, _ = self.first
        loaded = type(policy).load(self.saved)
        for deterministic in (True, False):
            _require(
                np.array_equal(self._act(policy, deterministic), self._act(loaded, deterministic)), "actions differ"
            )
        try:
            type(policy).load(self.folder / "nothing")
        except MethodError as error:
            _require("nothing" in str(error), f"a missing file is not named: {error}")
        else:
            raise Broken("loading from an empty place gave a policy; raise MethodError")

    def check_files(self) -> None:
        files = [path for path in self.saved.rglob("*") if path.is_file()]
        _require(bool(files), "nothing was saved")
        for path in files:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".npy", ".npz"):
                array = np.load(path, allow_pickle=False)
                for name in getattr(array, "files", ()):
                    array[name]  # read, because pickled entries are refused only then
            else:
                raise Broken(f"{path.name} is neither .json nor .npy nor .npz")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise Broken(problem)


def examine(
    method: type[Method], values: Mapping[str, Any] | None = None, budget: Budget = BUDGET
) -> Iterator[Finding]:
    """Check a method with its `small` settings, changed by `values`; findings in order, each as soon as it is known."""
    with TemporaryDirectory() as folder:
        yield from Examination(method, {**method.small, **(values or {})}, budget, Path(folder)).run()


def parse_values(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings from "KEY=VALUE" strings; values are JSON, anything else is text.

    Raises:
        SettingsError: one of them has another form.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not (key and equals):
            raise SettingsError(f"--set {assignment!r}: write it as SETTING=VALUE, for example gamma=0.95")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values


@click.command()
@click.argument("name")
@click.option(
    "--set", "assignments", multiple=True, metavar="SETTING=VALUE", help="A setting to check it with; repeatable."
)
@click.option(
    "--environment-steps", default=BUDGET.environment_steps, show_default=True, help="Budget of each training."
)
@click.option("--policy-updates", default=BUDGET.policy_updates, show_default=True, help="Budget of each training.")
def main(name: str, assignments: tuple[str, ...], environment_steps: int, policy_updates: int) -> None:
    """Check that the method NAME (a name, module:Class or file.py:Class) keeps the suite's contract."""
    try:
        method, values = resolve(name), parse_values(assignments)
    except MethodError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
    torch.set_num_threads(1)  # as in a trial; with more, sums are not the same every time
    broken = False
    for finding in examine(method, values, Budget(environment_steps, policy_updates)):
        broken |= bool(finding.problem)
        click.echo(f"FAIL  {finding.promise}: {finding.problem}" if finding.problem else f"ok    {finding.promise}")
    raise SystemExit(broken)


if __name__ == "__main__":
    main()
