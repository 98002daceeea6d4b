"""The command line: `python -m benchmarks.run --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource
from rich.console import Console

from benchmarks.command_line import RUNS, cores, count_list, end_well, method_list, name_list, option
from benchmarks.errors import InputError, RunError, cannot_write, one_line
from benchmarks.execution.console import say, show
from benchmarks.execution.executor import Executor
from benchmarks.execution.local import LocalExecutor
from benchmarks.execution.progress import new_view
from benchmarks.execution.scheduler import Scheduler
from benchmarks.planning import experiments, profiles
from benchmarks.planning.estimate import Estimator
from benchmarks.planning.listing import listing, show_plan
from benchmarks.planning.preflight import preflight
from benchmarks.planning.reuse import (
    ExistingResults,
    announce,
    compare,
    refuse_mixture,
    refuse_other_code,
    unchanged,
    version_warnings,
)
from benchmarks.planning.trials import Actions, Planning, Request, parse_changes, plan
from benchmarks.records.plans import Plan, PlanRow
from benchmarks.records.schema import Summary, Trial
from benchmarks.records.store import Store, network_warning
from benchmarks.trial.checkpoints import STATE
from envs.commands import StrictCommand, plural
from methods import registry
from methods.interface import MethodError

EVERYTHING = "*"
"""What `--list` alone lists."""


@click.command(
    cls=StrictCommand, help="Compare imitation-learning methods. After an interruption the same command resumes."
)
@option(
    "--methods",
    callback=method_list,
    help="Names, module:Class, file.py:Class or a group: all, offline, interactive, states.  [default: gpril,gail,bc]",
)
@option("--tasks", callback=name_list, help="Names from --list, or any Gymnasium ids.  [default: clip,peg]")
@option("--profile", default=profiles.DEFAULT, show_default=True, help="A name from --list, or a TOML file.")
@option("--experiment", default=experiments.DEFAULT, show_default=True, help="Names from --list, or all.")
@option(
    "--seeds",
    type=click.IntRange(1, profiles.MOST_SEEDS),
    help="Number of seeds.  [default: the experiment's or the profile's]",
)
@option(
    "--first-seed",
    type=click.IntRange(0, profiles.MOST_SEEDS),
    help="Number of the first seed, to divide seeds among machines.  [default: the profile's]",
)
@option("--demos", callback=count_list, help="Numbers of demonstrations, such as 5,10,25.  [default: the profile's]")
@option("--demonstrations", type=click.Path(path_type=Path), help="Your own demonstration file.")
@option(
    "--actions",
    type=click.Choice(get_args(Actions)),
    default="demonstrated",
    show_default=True,
    help="Which actions methods see with the demonstrations; inferring them takes steps, which are counted.",
)
@option(
    "--set",
    "changes",
    multiple=True,
    metavar="METHOD.SETTING=VALUE",
    help="Change a setting; also budget.* and evaluation.*.",
)
@option("--results", type=click.Path(path_type=Path), help="Results folder.  [default: results/runs/PROFILE]")
@option(
    "--jobs",
    type=click.IntRange(min=0),
    help="Parallel trials; 0 runs them one by one in this process, for debuggers.  [default: one per core]",
)
@option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@option("--ray-address", envvar="RAY_ADDRESS", help="HOST:PORT or auto.  [default: start a cluster on this machine]")
@option("--cpus-per-trial", type=click.FloatRange(min=0, min_open=True), default=1, help="On Ray.  [default: 1]")
@option("--gpus-per-trial", type=click.FloatRange(min=0), help="On Ray.  [default: 1 with --device cuda, else 0]")
@option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), help="Time limit per trial in seconds.  [default: none]"
)
@option(
    "--save-every",
    type=click.FloatRange(min=0),
    default=300,
    show_default=True,
    help="Seconds between checkpoints, from which a killed trial resumes; 0 saves none.",
)
@option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@option("--retry-failed", is_flag=True, help="Repeat trials that failed, diverged or timed out.")
@option(
    "--accept-drift",
    is_flag=True,
    help="Keep records made by other code under a separate label; leave out those with other settings.",
)
@option("--dry-run", is_flag=True, help="Show the plan and its estimated time, and do nothing.")
@option(
    "--list",
    "listed",
    is_flag=False,
    flag_value=EVERYTHING,
    metavar="[METHOD]",
    help="List methods, tasks, experiments and profiles, or the settings of METHOD.",
)
@click.pass_context
def command(context: click.Context, **options: Any) -> int:
    if options["listed"] is not None:
        click.echo(listing() if options["listed"] == EVERYTHING else _describe(options["listed"]))
        return 0
    _refuse_options_without_effect(context)
    request = _request(options)
    store = Store(options["results"] or RUNS / request.profile.name)
    planning = plan(request)
    existing, dropped = _compare(store, request, planning, options)
    for notice in planning.notices:
        say(f"note: {one_line(notice)}")
    preflight(existing.to_do)
    estimator = Estimator(request.profile, existing.records.values())
    if options["dry_run"]:
        console = Console(highlight=False, markup=False, emoji=False)  # labels are shown as they are
        show_plan(existing, estimator, _jobs(options), console)
        return 0
    with _executor(options, existing.to_do) as executor:
        store.open()
        try:
            announce(store, request.profile, existing)
            if not unchanged(store, existing):  # by a run that has come and gone since
                existing, dropped = _compare(store, request, planning, options)
            for problem in existing.damage:
                say(f"damaged, so it is run again: {problem}")
            merged = Plan(profile=request.profile.name, rows=existing.rows, demonstrators=planning.demonstrators)
            store.merge_plan(merged, dropped)
            _run(store, existing, estimator, executor, options)
        finally:
            store.close()
    return _report(store, existing)


def _compare(
    store: Store, request: Request, planning: Planning, options: Mapping[str, Any]
) -> tuple[ExistingResults, frozenset[PlanRow]]:
    """What the folder holds of the planned trials, and rows that leave its plan; raises InputError for a mixture."""
    existing = compare(store, planning.trials, options["retry_failed"])
    dropped = refuse_mixture(store, request.profile, existing, options["accept_drift"])
    if not options["accept_drift"]:
        refuse_other_code(store, existing)
    return existing, dropped


def _describe(method: str) -> str:
    try:
        return registry.describe(method)
    except MethodError as error:
        raise InputError(f"--list: {error}") from None


def _request(options: dict[str, Any]) -> Request:
    try:
        os.getcwd().encode()
    except UnicodeEncodeError:
        raise InputError("the path of the current folder is not UTF-8 text; rename it, or use another folder") from None
    if options["device"] == "cuda" and options["engine"] == "local":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    return Request(
        profile=profiles.load(options["profile"]),
        experiments=tuple(experiments.find(options["experiment"])),
        methods=options["methods"],
        tasks=options["tasks"],
        seeds=options["seeds"],
        first_seed=options["first_seed"],
        demonstrations=options["demos"],
        file=options["demonstrations"],
        changes=parse_changes(options["changes"]),
        device=options["device"],
        actions=options["actions"],
    )


def _refuse_options_without_effect(context: click.Context) -> None:
    """Nothing on the command line is silently ignored; RAY_ADDRESS may be set for other programs."""
    for name in ("ray_address", "cpus_per_trial", "gpus_per_trial"):
        if context.params["engine"] != "ray" and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise InputError(f"--{name.replace('_', '-')} has no effect with local processes; add --engine ray")
    if context.params["jobs"] == 0 and context.params["engine"] == "ray":
        raise InputError("--jobs 0 runs trials in this process, --engine ray on a cluster; leave one of them out")
    if context.params["jobs"] == 0 and context.params["timeout"] is not None:
        raise InputError("--timeout cannot end a trial in this process; leave it out, or use --jobs 1")


@contextmanager
def _executor(options: dict[str, Any], to_do: list[Trial]) -> Iterator[Executor]:
    """Where trials run. No cluster is asked for where there are none to run."""
    if options["jobs"] == 0 and to_do:
        from benchmarks.execution.in_process import InProcessExecutor  # here, because PyTorch takes a while to import

        yield InProcessExecutor()
        return
    if options["engine"] == "local" or not to_do:
        yield LocalExecutor(_jobs(options))
        return
    from benchmarks.execution import ray_cluster  # here, because Ray is an extra

    gpus = float(options["device"] == "cuda") if options["gpus_per_trial"] is None else options["gpus_per_trial"]
    share = ray_cluster.Share(options["cpus_per_trial"], gpus)
    with ray_cluster.connect(options["ray_address"] or ray_cluster.LOCAL, share, options["jobs"], to_do) as executor:
        yield executor


def _run(
    store: Store, existing: ExistingResults, estimator: Estimator, executor: Executor, options: Mapping[str, Any]
) -> None:
    for digest, files in existing.files.items():
        store.save_code(digest, files)
    if warning := network_warning(store.root):
        say(f"note: {warning}")
    _note_versions(status.kept for status in existing.asked.values() if status.kept)
    done = len(existing.asked) - len(existing.to_do)
    if not existing.to_do:
        say(f"nothing to do: {plural(done, 'trial')} done already in {store.root}; --results NEW_FOLDER repeats them")
        return
    longest_first = sorted(existing.to_do, key=estimator.seconds, reverse=True)  # so that no core is idle at the end
    names = {item.row.trial: item.description for item in existing.planned}
    jobs = executor.slots()
    in_process = options["jobs"] == 0
    logs = {} if in_process else {trial.id: str(store.log(trial.id)) for trial in longest_first}
    with new_view(names, longest_first, estimator, jobs, logs, plain=in_process) as view:
        if done:
            view.note(f"{done} of {plural(len(existing.asked), 'trial')} done already in {store.root}")
        view.note(f"{plural(len(longest_first), 'trial')} to run, {jobs} at once, {view.time_left()}")
        begun = [trial for trial in longest_first if (store.snapshots(trial.id) / STATE).exists()]
        if begun and options["save_every"]:
            view.note(f"{len(begun)} of them {'resume' if len(begun) > 1 else 'resumes'} from a checkpoint")
        scheduler = Scheduler(store, view, executor, options["timeout"], options["save_every"])
        scheduler.run(longest_first, existing.codes, existing.states)


def _note_versions(records: Iterable[Summary]) -> None:
    for warning in version_warnings(record.provenance for record in records):
        say(f"note: {warning}")


def _jobs(options: Mapping[str, Any]) -> int:
    """How many trials run at once on this machine."""
    return cores() if options["jobs"] is None else max(options["jobs"], 1)


def _report(store: Store, existing: ExistingResults) -> int:
    """Print the table, and the reference results of the profile beside it; 1 if a trial did not end well."""
    from analysis.reference import against_reference  # here, because pandas takes a while to import
    from analysis.report.__main__ import ResultsError, write_report

    try:
        show(write_report(store.root))
        if compared := against_reference(store.root):
            show(f"\n{compared}")
    except ResultsError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise cannot_write(store.root, error) from None
    new = store.summaries(existing.states)[0]
    _note_versions(new.values())  # a cluster's nodes may have other libraries
    records = existing.records | new
    bad = sum(record.status != "ok" for record in records.values())
    if bad:
        trials = plural(len(existing.asked), "trial")
        say(f"{bad} of {trials} failed, diverged or timed out; --retry-failed repeats them")
    return 1 if bad else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, 1 where something went wrong, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    return end_well(command, "benchmarks.run", arguments)


if __name__ == "__main__":
    sys.exit(main())
