"""The output of tuning: the plan before it runs, and the results."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.execution.console import show
from benchmarks.planning.estimate import duration
from benchmarks.planning.listing import table_of
from benchmarks.records.studies import Choice
from benchmarks.tune.proposals import Values
from envs.commands import plural

if TYPE_CHECKING:
    from benchmarks.tune.search import Search

ROWS = 5
"""Of the table of the best settings."""


def show_plan(searches: Sequence[Search], settings: int) -> None:
    """Print what would be trained, method by method, and how long it may take.

    Raises:
        InputError: a study's file is damaged, or about something else.
    """
    table = table_of("study", "settings", "done", "trials", "each setting", "core-hours", words=1)
    total = 0.0
    for search in searches:
        search.file.resume()
        done = len(search.file.study.choices)
        left = max(0, settings - done)
        total += left * search.seconds
        numbers = (str(settings), str(done), str(left * len(search.planning.trials)), duration(search.seconds))
        table.add_row(search.file.name, *numbers, f"{left * search.seconds / 3600:.1f}")
    console = _console()
    console.print(table)
    console.print(
        f"at most {total / 3600:.1f} core-hours, less whatever is stopped early (a rough estimate from the profile)"
    )


def show_best(search: Search, settings: int) -> None:
    """Print the best of the first so many settings, and what to put into a profile."""
    study = search.file.study.model_copy(update={"choices": search.file.study.choices[:settings]})
    own, best = study.choices[0], study.best
    numbers = search.demonstrations
    table = Table("Success", "95 %", *(plural(number, "demo") for number in numbers), "Settings", box=SIMPLE)
    for column in table.columns[:-1]:
        column.justify, column.no_wrap = "right", True
    whole = [choice for choice in study.choices[1:] if choice.state == "complete"]
    ranked = sorted(whole, key=lambda choice: -choice.score)[:ROWS]
    for choice, words in [*((one, listed(one.values)) for one in ranked), (own, "those of the profile")]:
        each = (f"{100 * choice.mean(number):.0f}" for number in numbers)
        table.add_row(f"{100 * choice.score:.1f}", _interval(choice), *each, words)
    console = _console()
    console.print(f"\nThe best of {plural(len(study.choices), 'choice')} of settings of {search.file.title}")
    console.print(table)
    show(
        "Success in % of rollouts, mean of sampled and deterministic actions; intervals over seeds.\n"
        "The best of many is partly lucky: measure it on demonstrations and seeds that were not used to choose it."
    )
    if failed := sum(choice.failed for choice in study.choices):
        show(f"{plural(failed, 'trial')} failed or timed out, counted as 0.")
    for state, words in (("stopped", "stopped early"), ("refused", "refused by the method")):
        if count := sum(choice.state == state for choice in study.choices):
            show(f"{plural(count, 'choice')} {words}.")
    if best == own:
        show("\nNone of them is better than the settings of the profile, so keep those.")
        return
    place = f"settings.{_key(search.method.name)}"
    if len(study.tasks) == 1:
        place += f".{_key(study.tasks[0])}"
    lines = [f"{name} = {json.dumps(value)}" for name, value in best.values.items()]
    show("\n".join(["\nFor a profile:\n", f"[{place}]", *lines]))


def listed(values: Values) -> str:
    """Settings in one line."""
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def _interval(choice: Choice) -> str:
    """The 95 % interval of the mean over seeds, in %; empty where there is one seed."""
    from analysis.statistics import rate_interval  # here, because SciPy takes a while to import

    seeds = sorted({score.seed for score in choice.scores})
    if len(seeds) < 2:
        return ""
    means = [float(np.mean([one.success for one in choice.scores if one.seed == seed])) for seed in seeds]
    _, low, high = rate_interval(means, sum(score.rollouts for score in choice.scores))
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


def _key(name: str) -> str:
    """A key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
