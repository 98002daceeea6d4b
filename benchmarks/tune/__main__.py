"""The command line of tuning: `python -m benchmarks.tune --methods all --tasks clip,peg --trials 12`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from benchmarks.command_line import RUNS, count_list, end_well, method_list, name_list, option
from benchmarks.errors import one_line, unknown
from benchmarks.execution.console import say
from benchmarks.planning import experiments, profiles
from benchmarks.planning.preflight import preflight
from benchmarks.planning.trials import TABLES, Actions, Request, parse_changes, resolve_method
from benchmarks.records.store import Store
from benchmarks.tune.proposals import require_optuna
from benchmarks.tune.report import show_best, show_plan
from benchmarks.tune.search import Rules, Search
from envs.commands import StrictCommand

PROFILE = "tuning"
SEEDS = 2
DEMONSTRATIONS = (10, 25)
MINUTES = 10.0


@click.command(
    cls=StrictCommand,
    help="Search the settings of methods, one method after another. After an interruption the same command resumes.",
)
@option(
    "--methods",
    "--method",
    "methods",
    required=True,
    callback=method_list,
    help="Names, module:Class, file.py:Class (which must declare SEARCH) or groups: all, offline, ...",
)
@option(
    "--tasks",
    "--task",
    "tasks",
    required=True,
    callback=name_list,
    help="Short names or Gymnasium ids; settings are scored on all of them.",
)
@option(
    "--trials",
    type=click.IntRange(min=1),
    required=True,
    help="Number of settings to try for each method, the profile's own first.",
)
@option("--profile", default=PROFILE, show_default=True, help="Budgets, demonstrations and seeds for tuning.")
@option(
    "--demos",
    callback=count_list,
    default=",".join(map(str, DEMONSTRATIONS)),
    show_default=True,
    help="Numbers of demonstrations.",
)
@option("--seeds", type=click.IntRange(min=1), default=SEEDS, show_default=True, help="Seeds per setting.")
@option("--demonstrations", type=click.Path(path_type=Path), help="Your own demonstration file.")
@option(
    "--actions",
    type=click.Choice(get_args(Actions)),
    default="demonstrated",
    show_default=True,
    help="Which actions methods see with the demonstrations.",
)
@option("--set", "changes", multiple=True, metavar="METHOD.SETTING=VALUE", help="Keep a setting fixed; also budget.*.")
@option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=MINUTES,
    show_default=True,
    help="Time limit per trial in minutes; a trial that takes longer is stopped and counts as 0.",
)
@option(
    "--prune/--no-prune",
    default=True,
    show_default=True,
    help="Stop settings after a seed if they cannot become the best or are worse than most.",
)
@option("--results", type=click.Path(path_type=Path), help="Results folder.  [default: results/runs/tune-PROFILE]")
@option("--jobs", type=click.IntRange(min=1), help="Parallel trials.  [default: one per core]")
@option("--dry-run", is_flag=True, help="Show the plan and its estimated time, and do nothing.")
def command(**options: Any) -> int:
    require_optuna()
    profile = profiles.load(options["profile"])
    store = Store(options["results"] or RUNS / f"tune-{profile.name}")
    rules = Rules(options["minutes"], options["prune"])
    changes = parse_changes(options["changes"])
    methods = {name: resolve_method(name) for name in options["methods"]}
    tables = [*(method.name for method in methods.values()), *TABLES]
    if stray := [table for table in changes if table not in tables]:
        raise unknown("method in --set", stray[0], tables)
    searches = []
    for name, method in methods.items():
        # An experiment of its own, so that nothing reads the records of other methods.
        experiment = replace(experiments.EXPERIMENTS[experiments.DEFAULT], name=f"tune-{method.name}")
        request = Request(
            profile=profile,
            experiments=(experiment,),
            methods=(name,),
            tasks=options["tasks"],
            seeds=options["seeds"],
            demonstrations=options["demos"],
            file=options["demonstrations"],
            changes={table: values for table, values in changes.items() if table in (method.name, *TABLES)},
            actions=options["actions"],
        )
        searches.append(Search(request, method, store, rules, options["jobs"]))
    preflight(item.trial for search in searches for item in search.planning.trials)
    if options["dry_run"]:
        show_plan(searches, options["trials"])
        return 0
    for notice in dict.fromkeys(notice for search in searches for notice in search.planning.notices):
        say(f"note: {one_line(notice)}")
    store.open()
    try:
        for search in searches:
            search.run(options["trials"])
    finally:
        store.close()
    for search in searches:
        show_best(search, options["trials"])
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, 1 where something went wrong, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    return end_well(command, "benchmarks.tune", arguments)


if __name__ == "__main__":
    sys.exit(main())
