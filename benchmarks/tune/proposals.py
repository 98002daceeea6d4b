"""Proposes the next settings: Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).

The seed of each proposal is fixed, so that a resumed search proposes the same settings as an uninterrupted one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from benchmarks.errors import InputError
from benchmarks.planning.search import Choices, Space
from benchmarks.records.studies import Choice

ATTEMPTS = 100
"""Proposals of settings that were tried already, after which one is tried again."""

Values: TypeAlias = Mapping[str, Any]


def require_optuna() -> Any:
    """Optuna, imported when it is needed; raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"tuning needs Optuna ({error}): pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def propose(space: Space, choices: Sequence[Choice]) -> dict[str, Any]:
    """The next settings to try: always the same ones after the same earlier choices."""
    optuna, tried = require_optuna(), [choice.values for choice in choices]
    distributions = _distributions(optuna, space)
    known = [found for choice in choices if (found := _known(optuna, space, choice, distributions)) is not None]
    values: dict[str, Any] = {}
    for attempt in range(ATTEMPTS):
        sampler = optuna.samplers.TPESampler(seed=len(tried) + 100_000 * attempt)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(known)
        proposed = study.ask(distributions).params
        values = {
            name: json.loads(proposed[name]) if isinstance(one, Choices) else one.rounded(proposed[name])
            for name, one in space.items()
        }
        if values not in tried:
            break
    return values


def _distributions(optuna: Any, space: Space) -> dict[str, Any]:
    kinds = optuna.distributions
    found: dict[str, Any] = {}
    for name, one in space.items():
        if isinstance(one, Choices):
            found[name] = kinds.CategoricalDistribution(one.values)
        else:
            kind = kinds.IntDistribution if one.whole else kinds.FloatDistribution
            found[name] = kind(one.low, one.high, log=one.log)
    return found


def _known(optuna: Any, space: Space, choice: Choice, distributions: Values) -> Any:
    """A choice as Optuna's trial; None for one outside of what may be searched, as the profile's settings can be."""
    params = {
        name: json.dumps(choice.values[name]) if isinstance(one, Choices) else choice.values[name]
        for name, one in space.items()
    }
    states = optuna.trial.TrialState
    outcome: dict[str, Any] = {"state": states.COMPLETE, "value": choice.score}
    if choice.state == "stopped":
        outcome = {"state": states.PRUNED, "intermediate_values": {len(choice.scores): choice.score}}
    try:
        return optuna.trial.create_trial(params=params, distributions=distributions, **outcome)
    except ValueError:
        return None
