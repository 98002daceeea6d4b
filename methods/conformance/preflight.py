"""The checks of a method that a runner makes before training, in a separate process and within seconds.

Only certain errors are reported: a training run that fails on the small task may succeed on another.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, process_time
from typing import Any

from methods.conformance.context import PlainContext
from methods.conformance.point_task import TASK, demonstrate
from methods.conformance.policies import PolicyChecks
from methods.conformance.results import explain, run_checks
from methods.counting import ELSEWHERE
from methods.interface import Budget, Method, Policy, Stopped, make_settings

BUDGET = Budget(environment_steps=1_000, policy_updates=20, expert_queries=50)
SEED = 2**31 - 1
STEPS = 10
"""Of the episodes in which a policy is checked."""
ENOUGH = 1.0
"""Seconds of processor time from the first checkpoint to the one that ends the training."""
PATIENCE = 5.0
"""The same by the clock, for methods that wait for something."""
LIMIT = 30
"""Seconds after which the check gives up and finds no problem."""


def find_problem(method: type[Method], settings: Mapping[str, Any]) -> str:
    """What a method with these settings does that no trial can use, with the fix; empty if nothing was found.

    The method is trained for a moment on the check's small task, with its `small` settings where it has some, and the
    policies of its checkpoints act. Equal questions are answered at once.
    """
    if not hasattr(os, "fork"):
        return ""
    return _find(method, json.dumps(dict(settings), sort_keys=True))


@cache
def _find(method: type[Method], settings: str) -> str:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking, where other threads run
        process = multiprocessing.get_context("fork").Process(target=_apart, args=(method, settings, theirs))
        process.start()
    theirs.close()
    try:
        return str(ours.recv()) if ours.poll(LIMIT) else ""
    except EOFError:  # the process died
        return ""
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)  # with what it left behind
        process.kill()
        process.join()
        ours.close()


def _apart(method: type[Method], settings: str, answer: Connection) -> None:
    """The process: silent, in a group of its own, and short-lived whatever happens to its parent."""
    os.setsid()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(2 * LIMIT)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        answer.send(_try(method, json.loads(settings), Path(folder)))


def _try(method: type[Method], values: Mapping[str, Any], folder: Path) -> str:
    watcher = _Watcher()
    (scratch := folder / "training").mkdir()
    context = PlainContext(BUDGET, SEED, scratch, watch=watcher)
    settings = make_settings(method, {**values, **method.small})
    try:
        learner = method(settings)
    except Exception as error:
        return f"{explain(error)}; its class must be called with nothing but its settings"
    try:
        policy: Any = learner.fit(demonstrate(3, seed=0), context)
    except (Exception, SystemExit):
        return watcher.problem or (ELSEWHERE if context.counter.left_process else "")
    if context.counter.left_process:
        return ELSEWHERE
    if isinstance(policy, Policy) and not context.checkpoints:
        return (
            "it never calls context.checkpoint, so there is no learning curve and no way to stop it; call "
            "context.checkpoint(policy, done / total, gradient_steps) in the loop"
        )
    return watcher.problem or _problem_of(policy)


class _Watcher:
    """Checks policies of checkpoints, and ends the training where one is wrong or it takes too long."""

    def __init__(self) -> None:
        self.problem = ""
        self._begun: tuple[float, float] | None = None

    def __call__(self, policy: Policy) -> None:
        worked, now = process_time(), monotonic()
        self._begun = self._begun or (worked, now)
        late = worked - self._begun[0] > ENOUGH or now - self._begun[1] > PATIENCE
        self.problem = _problem_of(policy, thorough=late)
        if late or self.problem:
            raise Stopped("enough was seen")


def _problem_of(policy: Any, thorough: bool = True) -> str:
    if not isinstance(policy, Policy):
        return f"its policy is a {type(policy).__name__}; it must be a subclass of methods.interface.Policy"
    checks = PolicyChecks(policy, TASK, steps=STEPS).checks()
    results = run_checks(checks if thorough else checks[:2])
    return next((result.problem for result in results if result.problem), "")
