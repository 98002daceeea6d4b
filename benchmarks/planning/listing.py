"""The output of `--list` and `--dry-run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

import envs
from benchmarks.planning import profiles
from benchmarks.planning.estimate import Estimator, duration, together
from benchmarks.planning.experiments import EXPERIMENTS
from benchmarks.planning.reuse import ExistingResults
from benchmarks.planning.trials import PlannedTrial
from envs.commands import plural
from envs.tasks import brief_name, find, short_name
from methods import registry
from methods.interface import MethodError

WIDTH = 140
"""Columns of what is printed into a file or another program."""


def listing() -> str:
    """All methods, tasks, experiments and profiles, one line each."""
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "methods": ((name, _summary(name)) for name in registry.names()),
        "tasks": ((name, f"{task} ({find(task).entry_point})") for name, task in envs.TASKS.items()),
        "experiments": ((name, experiment.summary) for name, experiment in EXPERIMENTS.items()),
        "profiles": ((name, profiles.load(name).summary) for name in profiles.names()),
    }
    lines: list[str] = []
    for section, entries in sections.items():
        rows = list(entries)
        width = max(len(name) for name, _ in rows)
        lines += [section, *(f"  {name:<{width}}  {summary}" for name, summary in rows), ""]
    return "\n".join(lines)


def _summary(method: str) -> str:
    try:
        about = registry.outline(method)
        return f"{about.summary} (needs {about.needs})"
    except MethodError as error:
        return str(error)


def show_plan(existing: ExistingResults, estimator: Estimator, jobs: int, console: Console) -> None:
    """Print what would be done: one row per experiment, task, variant and number of demonstrations."""
    table = table_of("experiment", "task", "variant", "demos", "trials", "done", "failed", "to do", "each", words=3)
    groups: dict[tuple[str, str, str, str], list[PlannedTrial]] = {}
    names = _task_names(item.trial.task for item in existing.planned)
    for item in existing.planned:
        episodes = str(item.trial.demonstrations.episodes)
        place = (item.row.experiment, names[item.trial.task], item.row.label, episodes)
        groups.setdefault(place, []).append(item)
    for place, items in groups.items():
        ids = [item.row.trial for item in items]
        statuses = [existing.records[i].status for i in ids if i in existing.records]
        done, waiting = statuses.count("ok"), sum(i in existing.states for i in ids)
        counts = (len(ids), done, len(statuses) - done, waiting)
        table.add_row(*place, *map(str, counts), f"{duration(estimator.seconds(items[0].trial))}")
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
    seconds = {trial.id: estimator.seconds(trial) for trial in existing.to_do}
    console.print(_slices(existing, seconds))
    total, takes = sum(seconds.values()), together(seconds.values(), jobs)
    source = "a rough estimate from the profile" if estimator.guessing else "from the records here"
    console.print(
        f"{plural(len(seconds), 'trial')} to do, {total / 3600:.1f} core-hours, about {duration(takes)} with "
        f"{plural(jobs, 'job')} ({source})"
    )
    for message in existing.damage:
        console.print(f"damaged, so it is done again: {message}")


def _slices(existing: ExistingResults, seconds: Mapping[str, float]) -> Table:
    """What each experiment and task will cost; a trial that several experiments share counts in the first one.

    Args:
        seconds: what each trial to do will take, by its id.
    """
    table = table_of("experiment", "task", "to do", "core-hours", words=2)
    slices: dict[tuple[str, str], list[float]] = {}
    names = _task_names(item.row.task for item in existing.planned)
    for trial, row in {item.row.trial: item.row for item in reversed(existing.planned)}.items():
        costs = slices.setdefault((row.experiment, names[row.task]), [])
        costs += [seconds[trial]] if trial in seconds else []
    for place in dict.fromkeys((item.row.experiment, names[item.row.task]) for item in existing.planned):
        costs = slices.get(place, [])
        table.add_row(*place, str(len(costs)), f"{sum(costs) / 3600:.1f}")
    return table


def _task_names(tasks: Iterable[str]) -> dict[str, str]:
    """What to call each task: without the module or file before its id, unless that would be the name of another."""
    names = {task: brief_name(task) for task in tasks}
    counts = Counter(names.values())
    return {task: name if counts[name] == 1 else short_name(task) for task, name in names.items()}


def table_of(*heads: str, words: int) -> Table:
    """An empty table whose first columns hold words, the others numbers."""
    table = Table(*heads, box=SIMPLE)
    for column in table.columns[words:]:
        column.justify = "right"
    return table
