"""Checks before training: refuses methods that break the contract or lack something they need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from benchmarks.errors import InputError
from benchmarks.records.schema import Trial
from benchmarks.trial.expert import demonstrator_of
from envs import tasks
from methods import registry
from methods.conformance.preflight import find_problem


def preflight(trials: Iterable[Trial]) -> None:
    """Look at each method with its settings once; ours are covered by the suite's tests.

    Raises:
        InputError: naming the method, what is wrong and how to fix it.
    """
    chosen = list(trials)
    for trial in chosen:
        _require_expert(trial.method, trial.task, trial.budget.expert_queries)
    for trial in {(trial.method, json.dumps(trial.settings, sort_keys=True)): trial for trial in chosen}.values():
        method = registry.resolve(trial.method)
        if method.__module__.startswith("methods."):
            continue
        if problem := find_problem(method, trial.settings):
            raise InputError(f"{trial.method}: {problem} (python -m methods.check {trial.method} checks everything)")


@cache
def _require_expert(method: str, task: str, queries: int) -> None:
    """Raises InputError where a method queries the demonstrator of a task, and there is none to be queried."""
    if not registry.resolve(method).needs_expert:
        return
    if not queries:
        raise InputError(
            f"{method} queries the demonstrator, and its budget has no expert_queries; "
            "allow some, for example with --set budget.expert_queries=500"
        )
    environment = tasks.make(task)
    try:
        if demonstrator_of(environment) is None:
            raise InputError(
                f"{method} queries the demonstrator, and {task} has none; leave one of them out, or give the task's "
                "environment a method make_expert(rng)"
            )
    finally:
        environment.close()
