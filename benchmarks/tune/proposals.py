"""Proposes the next settings: Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).

The estimator draws its first settings uniformly, and in a space of many settings most such draws are bad in one of
them. So until it has enough to learn from, only some values are drawn and the others stay those of the best so far.

The seed of each proposal is fixed, so that a resumed search proposes the same settings as an uninterrupted one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from benchmarks.errors import InputError
from benchmarks.planning.search import Choices, Space
from benchmarks.records.studies import Choice, Study

ATTEMPTS = 100
"""Proposals of settings that were tried already, after which one is tried again."""

UNIFORM_DRAWS = 10
"""Known choices below which the estimator draws uniformly: Optuna's default."""
KEEP = 2 / 3
"""The probability that a setting then keeps its value of the best choice so far; at least one does not."""

Values: TypeAlias = Mapping[str, Any]


def require_optuna() -> Any:
    """Optuna, imported when it is needed; raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"tuning needs Optuna ({error}): pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def propose(space: Space, study: Study) -> dict[str, Any]:
    """The next settings to try: always the same ones after the same earlier choices, of which there is at least one."""
    optuna, tried = require_optuna(), [choice.values for choice in study.choices]
    distributions = _distributions(optuna, space)
    known = [found for choice in study.choices if (found := _known(optuna, space, choice, distributions)) is not None]
    values: dict[str, Any] = {}
    for attempt in range(ATTEMPTS):
        seed = len(tried) + 100_000 * attempt
        sampler = optuna.samplers.TPESampler(n_startup_trials=UNIFORM_DRAWS, seed=seed)
        search = optuna.create_study(direction="maximize", sampler=sampler)
        search.add_trials(known)
        proposed = search.ask(distributions).params
        values = {
            name: json.loads(proposed[name]) if isinstance(one, Choices) else one.rounded(proposed[name])
            for name, one in space.items()
        }
        if len(known) < UNIFORM_DRAWS:
            values |= _kept(space, study.best, np.random.default_rng(seed))
        if values not in tried:
            break
    return values


def _kept(space: Space, best: Choice, rng: np.random.Generator) -> dict[str, Any]:
    """Those of the best choice's values that stay."""
    kept = rng.random(len(space)) < KEEP
    kept[rng.integers(len(space))] = False
    return {name: best.values[name] for name, keep in zip(space, kept, strict=True) if keep}


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
