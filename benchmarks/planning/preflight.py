"""What is refused before anything is trained: methods that break the contract in a way no trial survives."""

from __future__ import annotations

import json
from collections.abc import Iterable

from benchmarks.errors import InputError
from benchmarks.records.schema import Trial
from methods import registry
from methods.conformance.preflight import find_problem


def preflight(trials: Iterable[Trial]) -> None:
    """Look at each method with its settings once; ours are covered by the suite's tests.

    Raises:
        InputError: naming the method, what is wrong and how to mend it.
    """
    for trial in {(trial.method, json.dumps(trial.settings, sort_keys=True)): trial for trial in trials}.values():
        method = registry.resolve(trial.method)
        if method.__module__.startswith("methods."):
            continue
        if problem := find_problem(method, trial.settings):
            raise InputError(f"{trial.method}: {problem} (python -m methods.check {trial.method} checks everything)")
