"""Searches the settings of methods with Optuna: `python -m benchmarks.tune --methods all --tasks clip,peg --trials 12`.

The same care for every method: the same number of settings, the first of which are the profile's own; the same tasks,
numbers of demonstrations and seeds for each of them, on a split that no comparison uses; the same rule to stop early.
What is tried is what the method declares (see `benchmarks.planning.search`).

Settings are evaluated by trials of the suite, planned, run and recorded as those of a comparison. Their score is the
mean, over these trials and over sampled and deterministic actions, of the fraction of successful rollouts; a mode that
the policy does not have is left out, and a trial that failed counts as 0. Once a seed is done and others are left, a
choice is stopped if its score is below the median of what earlier ones had in the same cells, four or more of them
(the rule of Golovin et al., "Google Vizier", KDD 2017). The profile's own settings are never stopped.

Choices are proposed by a tree-structured Parzen estimator (Bergstra et al., 2011), whose seed for each of them is
fixed, so that a search that was interrupted proposes what it would have proposed. A method's search is one small JSON
file (see `benchmarks.records.studies`), from which it is resumed, also where its records are not at hand.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from filelock import FileLock, Timeout
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.command_line import cores, count_list, end_well, method_list, name_list, option
from benchmarks.errors import InputError, cannot_read, cannot_write, one_line, plural, unknown
from benchmarks.execution.console import say, show
from benchmarks.execution.local import LocalExecutor
from benchmarks.execution.progress import new_view
from benchmarks.execution.scheduler import Scheduler
from benchmarks.planning import experiments, profiles
from benchmarks.planning.estimate import Estimator, duration
from benchmarks.planning.preflight import preflight
from benchmarks.planning.reuse import compare, fixed_part, refuse_mixture, refuse_other_code
from benchmarks.planning.search import Choices, Space, space_of
from benchmarks.planning.trials import TABLES, Actions, Planning, Request, parse_changes, plan, resolve_method
from benchmarks.records.schema import MODES, Plan, Record, RecordError, Trial
from benchmarks.records.store import Store
from benchmarks.records.studies import FOLDER, Choice, Score, Study, load_study, write_study
from envs.tasks import short_name
from methods.conformance.declaration import plain_settings
from methods.interface import Method, MethodError, make_settings

RUNS = Path("results") / "runs"
PROFILE = "tuning"
SEEDS = 2
DEMONSTRATIONS = (10, 25)
MINUTES = 10.0
ROWS = 5
"""Of the table of the best settings."""
SHOWN: Mapping[Actions, str] = {"demonstrated": "", "inferred": ", inferred actions", "none": ", states only"}
"""What a method's name in tables ends with."""
SAVE_EVERY = 300.0
"""Seconds between two checkpoints of a trial."""
FEWEST = 4
"""Choices that must be known before others are stopped early."""
ATTEMPTS = 100
"""Proposals of settings that were tried already, after which one is tried again."""

Values = Mapping[str, Any]


@click.command(help="Search methods' settings, one method after the other. Stopped and started again, it resumes.")
@option(
    "--methods",
    "--method",
    "methods",
    required=True,
    callback=method_list,
    help="Names, module:Class, file.py:Class that declare what may be searched; groups: all, offline, ...",
)
@option("--tasks", "--task", "tasks", required=True, callback=name_list, help="Short names or Gymnasium ids, together.")
@option(
    "--trials", type=click.IntRange(min=1), required=True, help="Settings tried of each method, the profile's first."
)
@option("--profile", default=PROFILE, show_default=True, help="Budgets, demonstrations and seeds to tune on.")
@option(
    "--demos",
    callback=count_list,
    default=",".join(map(str, DEMONSTRATIONS)),
    show_default=True,
    help="Demonstrated episodes.",
)
@option("--seeds", type=click.IntRange(min=1), default=SEEDS, show_default=True, help="Seeds of each setting.")
@option("--demonstrations", type=click.Path(path_type=Path), help="A demonstration file of your own.")
@option(
    "--actions",
    type=click.Choice(get_args(Actions)),
    default="demonstrated",
    show_default=True,
    help="What methods see of the demonstrated actions.",
)
@option("--set", "changes", multiple=True, metavar="METHOD.SETTING=VALUE", help="Keep a setting fixed; also budget.*.")
@option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=MINUTES,
    show_default=True,
    help="Longest trial, in minutes of its core; one that takes longer is ended and counts as 0.",
)
@option("--prune/--no-prune", default=True, show_default=True, help="Stop settings early that are worse than most.")
@option("--results", type=click.Path(path_type=Path), help="Records and studies.  [default: results/runs/tune-PROFILE]")
@option("--jobs", type=click.IntRange(min=1), help="Trials at once.  [default: one per core]")
@option("--dry-run", is_flag=True, help="Show what would be done and how long it may take, and change nothing.")
def command(**options: Any) -> int:
    optuna = _optuna()
    profile = profiles.load(options["profile"])
    changes = parse_changes(options["changes"])
    store = Store(options["results"] or RUNS / f"tune-{profile.name}")
    methods = {name: resolve_method(name) for name in options["methods"]}
    own = {method.name for method in methods.values()}
    if stray := [table for table in changes if table not in own | set(TABLES)]:
        raise unknown("method in --set", stray[0], [*own, *TABLES])
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
        searches.append(Search(request, method, store, options))
    if options["dry_run"]:
        _show_plan(searches, options["trials"])
        return 0
    for notice in dict.fromkeys(notice for search in searches for notice in search.planning.notices):
        say(f"note: {one_line(notice)}")
    store.open()
    try:
        for search in searches:
            with search.locked():
                search.run(optuna, options["trials"])
    finally:
        store.close()
    for search in searches:
        search.report(options["trials"])
    return 0


class Search:
    """The search of one method's settings."""

    def __init__(self, request: Request, method: type[Method], store: Store, options: Mapping[str, Any]) -> None:
        """Plan the trials of the profile's own settings.

        Args:
            request: for these trials.
            method: whose settings are searched.
            store: where records and the study go; may be closed until `run`.
            options: of the command line: `jobs`, `minutes` and `prune` are used here.

        Raises:
            InputError: the request cannot be planned, or nothing may be searched.
        """
        self._request, self._method, self._store, self._options = request, method, store, options
        self._fixed = request.changes.get(method.name, {})
        self._space: Space = {name: one for name, one in space_of(method).items() if name not in self._fixed}
        if not self._space:
            raise InputError(f"--set fixes all that may be searched of {method.name}; leave some of it out")
        self.planning = plan(request)
        self._tasks = list(dict.fromkeys(_task(item.trial) for item in self.planning.trials))
        shown = "" if request.actions == "demonstrated" else f"-{request.actions}"
        name = f"{method.name}{shown}-{'+'.join(self._tasks)}"
        self._name = re.sub(r"[^\w.=+-]+", "-", name, flags=re.ASCII).strip("-.")
        self._estimator = Estimator(request.profile, [])
        self.study = self._new_study

    @property
    def path(self) -> Path:
        """The study's file."""
        return self._store.root / FOLDER / f"{self._name}.json"

    @property
    def seconds(self) -> float:
        """What one choice of settings takes, at a guess."""
        return sum(self._estimator.seconds(item.trial) for item in self.planning.trials)

    @property
    def _title(self) -> str:
        return f"{self._method.name} on {' and '.join(self._tasks)}"

    @cached_property
    def _new_study(self) -> Study:
        first = self.planning.trials[0]
        found = compare(self._store, self.planning.trials, retry_failed=False).asked.values()
        return Study(
            method=first.trial.identity()["method"],
            label=(self._method.display_name or self._method.name) + SHOWN[self._request.actions],
            profile=self._request.profile.name,
            tasks=self._tasks,
            question=self._question(),
            code={_task(status.trial): status.code for status in found},
        )

    def _question(self) -> dict[str, str]:
        """What the study is about: studies of different questions are not continued as one."""
        trials = [item.trial for item in self.planning.trials]
        about: dict[str, Any] = {
            "--demos": sorted({trial.demonstrations.episodes for trial in trials}),
            "--seeds": sorted({trial.seed for trial in trials}),
            "--minutes": self._options["minutes"],
            "--prune": self._options["prune"],
            "what may be searched": {name: repr(dimension) for name, dimension in self._space.items()},
        }
        for task, trial in {_task(trial): trial for trial in trials}.items():
            suffix = f" ({task})" if len(self._tasks) > 1 else ""
            about |= {f"{key}{suffix}": value for key, value in fixed_part(trial).items()}
        return {key: json.dumps(value, sort_keys=True) for key, value in about.items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this lasts, no other process works on the study, which is read from its file.

        Raises:
            InputError: another process does, or the file is damaged, or about something else.
            RunError: a file cannot be written.
        """
        lock = FileLock(self._store.root / "locks" / f"study-{self._name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"another search of {self._title} is at work in {self._store.root}") from None
        try:
            self.resume()
            yield
        except OSError as error:
            raise cannot_write(self.path, error) from None
        finally:
            lock.release()

    def resume(self) -> None:
        """Take over the study of the file, if there is one; raises InputError as `locked` does."""
        try:
            known = load_study(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_read(self.path, error) from None
        except RecordError as error:
            raise InputError(
                f"{error}; delete it: the same settings are proposed again, and their records are reused"
            ) from None
        new = self._new_study.question
        if differing := [key for key in {**known.question, **new} if known.question.get(key) != new.get(key)]:
            key = differing[0]
            raise InputError(
                f"{self.path} is a search with other settings: {key} was {known.question.get(key)}, now {new.get(key)}"
                + (f" (and {len(differing) - 1} more)" if len(differing) > 1 else "")
                + "; choose another folder with --results"
            )
        self.study = known

    def run(self, optuna: Any, settings: int) -> None:
        """Try so many settings in all, the first of which are the profile's.

        Raises:
            InputError: the study or the records were made by other code, or the folder holds others.
            RunStopped: a signal came.
        """
        if len(self.study.choices) < settings and self.study.code != self._new_study.code:
            raise InputError(
                f"{self.path} was made by other code, so it cannot be continued; start afresh with --results NEW_FOLDER"
            )
        while (done := len(self.study.choices)) < settings:
            title = f"{self._method.name}, settings {done + 1} of {settings}"
            choice = self.evaluate(self._proposal(optuna), title) if done else self.evaluate(None, title)
            self.study = self.study.model_copy(update={"choices": [*self.study.choices, choice]})
            write_study(self.path, self.study)

    def evaluate(self, proposed: Values | None, title: str) -> Choice:
        """Train with some settings, or with the profile's own (None); trials that have records are not run again.

        Raises:
            InputError: the folder holds records of other code or other settings.
            RunStopped: a signal came.
        """
        values = self._own_values() if proposed is None else dict(proposed)
        title = f"{title} ({'the profile' if proposed is None else _listed(values)})"
        changes = dict(self._request.changes)
        if proposed is not None:
            changes[self._method.name] = {**self._fixed, **values}
            try:
                self._settings(values)
            except MethodError as error:
                say(f"{title}: refused by the method, counted as 0 % ({one_line(str(error))})")
                return Choice(values=values, state="refused")
        planning = plan(replace(self._request, changes=changes))
        seeds = sorted({item.trial.seed for item in planning.trials})
        stages = [seeds] if proposed is None or not self._options["prune"] else [[seed] for seed in seeds]
        found = Choice(values=values, state="complete")
        for stage in stages:
            part = replace(planning, trials=[item for item in planning.trials if item.trial.seed in stage])
            records = self._run(part, title)
            seconds = sum(one.usage.training_seconds + one.usage.evaluation_seconds for one in records)
            scores = [*found.scores, *map(_score, records)]
            found = found.model_copy(update={"scores": scores, "core_seconds": found.core_seconds + seconds})
            if stage != stages[-1] and self._is_hopeless(found):
                found = found.model_copy(update={"state": "stopped"})
                break
        failed = f", {found.failed} failed" * bool(found.failed)
        say(f"{title}: success {100 * found.score:.1f} %{failed}{', stopped early' * (found.state == 'stopped')}")
        return found

    def _is_hopeless(self, choice: Choice) -> bool:
        """Whether it is worse so far than the median of the earlier choices in the same cells."""
        cells = {score.cell for score in choice.scores}
        earlier = [{score.cell: score.success for score in one.scores} for one in self.study.choices]
        means = [float(np.mean([scores[cell] for cell in cells])) for scores in earlier if cells <= set(scores)]
        return len(means) >= FEWEST and choice.score < float(np.median(means))

    def _run(self, planning: Planning, title: str) -> list[Record]:
        """The records of all its trials."""
        found = compare(self._store, planning.trials, retry_failed=False)
        dropped = refuse_mixture(self._store, self._request.profile, found, accept=False)
        refuse_other_code(self._store, found)
        for record in found.records.values():
            self._estimator.learn(record)
        if found.to_do:
            preflight(found.to_do)
            for problem in found.damage:
                say(f"damaged, so it is run again: {problem}")
            rows = Plan(profile=self._request.profile.name, rows=found.rows, demonstrators=planning.demonstrators)
            self._store.merge_plan(rows, dropped)
            for digest, files in found.files.items():
                self._store.save_code(digest, files)
            names = {trial.id: self._described(trial) for trial in found.to_do}
            logs = {trial.id: str(self._store.log(trial.id)) for trial in found.to_do}
            longest_first = sorted(found.to_do, key=self._estimator.seconds, reverse=True)
            jobs = self._options["jobs"] or cores()
            with new_view(names, longest_first, self._estimator, jobs, logs) as view:
                view.note(f"{title}: {plural(len(found.to_do), 'trial')} to run, {view.time_left()}")
                limit = 60.0 * self._options["minutes"]
                scheduler = Scheduler(self._store, view, LocalExecutor(jobs), limit, SAVE_EVERY)
                scheduler.run(longest_first, found.codes, found.states)
        records, damage = self._store.read(item.row.trial for item in planning.trials)
        if damage:
            raise InputError(f"{next(iter(damage.values()))}; run the same command again")
        return list(records.values())

    def _described(self, trial: Trial) -> str:
        demos = plural(trial.demonstrations.episodes, "demo")
        return f"{self._method.name}, {_task(trial)}, {demos}, seed {trial.seed}"

    def _settings(self, values: Values) -> Any:
        """The method's settings with some values; raises MethodError where it refuses them."""
        profile = self._request.profile.settings_of(self._method.name, short_name(self._request.tasks[0]))
        return make_settings(self._method, {**profile, **self._fixed, **values})

    def _own_values(self) -> dict[str, Any]:
        """What the profile has for the settings that are searched, on the first task."""
        plain = plain_settings(self._method.name, self._settings({}))
        return {name: plain[name] for name in self._space}

    def _proposal(self, optuna: Any) -> dict[str, Any]:
        """The next settings to try: the same ones after the same earlier choices."""
        distributions, tried = self._distributions(optuna), [choice.values for choice in self.study.choices]
        values: dict[str, Any] = {}
        for attempt in range(ATTEMPTS):
            study = optuna.create_study(
                direction="maximize", sampler=optuna.samplers.TPESampler(seed=len(tried) + 100_000 * attempt)
            )
            for choice in self.study.choices:
                if known := self._known(optuna, choice, distributions):
                    study.add_trial(known)
            values = self._values(study.ask(distributions).params)
            if values not in tried:
                break
        return values

    def _known(self, optuna: Any, choice: Choice, distributions: Mapping[str, Any]) -> Any:
        """A choice as Optuna's; None for one outside of what may be searched, as the profile's settings can be."""
        params = {
            name: json.dumps(choice.values[name]) if isinstance(one, Choices) else choice.values[name]
            for name, one in self._space.items()
        }
        states = optuna.trial.TrialState
        outcome: dict[str, Any] = {"state": states.COMPLETE, "value": choice.score}
        if choice.state == "stopped":
            outcome = {"state": states.PRUNED, "intermediate_values": {len(choice.scores): choice.score}}
        try:
            return optuna.trial.create_trial(params=params, distributions=distributions, **outcome)
        except ValueError:
            return None

    def _distributions(self, optuna: Any) -> dict[str, Any]:
        kinds = optuna.distributions
        found: dict[str, Any] = {}
        for name, dimension in self._space.items():
            if isinstance(dimension, Choices):
                found[name] = kinds.CategoricalDistribution(dimension.values)
            else:
                kind = kinds.IntDistribution if dimension.whole else kinds.FloatDistribution
                found[name] = kind(dimension.low, dimension.high, log=dimension.log)
        return found

    def _values(self, proposed: Values) -> dict[str, Any]:
        """Settings as methods take them, of Optuna's parameters."""
        found = {}
        for name, dimension in self._space.items():
            value = proposed[name]
            found[name] = json.loads(value) if isinstance(dimension, Choices) else dimension.rounded(value)
        return found

    def report(self, settings: int) -> None:
        """Print the best of the first so many settings, and what to put into a profile."""
        study = self.study.model_copy(update={"choices": self.study.choices[:settings]})
        own, best = study.choices[0], study.best
        numbers = self._request.demonstrations
        table = Table("Success", "95 %", *(plural(number, "demo") for number in numbers), "Settings", box=SIMPLE)
        for column in table.columns[:-1]:
            column.justify, column.no_wrap = "right", True
        whole = [choice for choice in study.choices[1:] if choice.state == "complete"]
        ranked = sorted(whole, key=lambda choice: -choice.score)[:ROWS]
        for choice, words in [*((one, _listed(one.values)) for one in ranked), (own, "those of the profile")]:
            each = (f"{100 * choice.mean(number):.0f}" for number in numbers)
            table.add_row(f"{100 * choice.score:.1f}", _interval(choice), *each, words)
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(f"\nThe best of {plural(len(study.choices), 'choice')} of settings of {self._title}")
        console.print(table)
        show(
            "Success in % of rollouts, mean of sampled and deterministic actions; intervals over seeds.\n"
            "The best of many is flattered by chance: compare it on demonstrations and seeds it was not chosen by."
        )
        if failed := sum(choice.failed for choice in study.choices):
            show(f"{plural(failed, 'trial')} did not end well, counted as 0.")
        for state, words in (("stopped", "stopped early, below the median"), ("refused", "refused by the method")):
            if count := sum(choice.state == state for choice in study.choices):
                show(f"{plural(count, 'choice')} {words}.")
        if best == own:
            show("\nNone of them did better than the settings of the profile: keep those.")
            return
        place = f"settings.{_key(self._method.name)}"
        if len(self._tasks) == 1:
            place += f".{_key(self._tasks[0])}"
        lines = [f"{name} = {json.dumps(value)}" for name, value in best.values.items()]
        show("\n".join(["\nFor a profile:\n", f"[{place}]", *lines]))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"tuning needs Optuna ({error}): pip install 'gpril-benchmarks[tune]', or optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _task(trial: Trial) -> str:
    """Its task's short name or Gymnasium id, without the folder or module that registers it."""
    return short_name(trial.task).rpartition(":")[2]


def _score(record: Record) -> Score:
    modes = [success for mode in MODES if not math.isnan(success := record.success(mode))]
    return Score(
        task=_task(record.trial),
        demonstrations=record.trial.demonstrations.episodes,
        seed=record.trial.seed,
        success=float(np.mean(modes)),
        rollouts=sum(map(len, record.final.values())),
        failed=record.status != "ok",
    )


def _interval(choice: Choice) -> str:
    """The 95 % interval of the mean over seeds, in %; empty where there is one seed."""
    from analysis.statistics import rate_interval  # here, because SciPy takes a while to import

    seeds = sorted({score.seed for score in choice.scores})
    if len(seeds) < 2:
        return ""
    means = [float(np.mean([one.success for one in choice.scores if one.seed == seed])) for seed in seeds]
    _, low, high = rate_interval(means, sum(score.rollouts for score in choice.scores))
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


def _show_plan(searches: Sequence[Search], settings: int) -> None:
    """Print what would be trained, method by method."""
    table = Table("study", "settings", "done", "trials", "each setting", "core-hours", box=SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    total = 0.0
    for search in searches:
        search.resume()
        done = len(search.study.choices)
        left = max(0, settings - done)
        total += left * search.seconds
        numbers = (str(settings), str(done), str(left * len(search.planning.trials)), duration(search.seconds))
        table.add_row(search.path.stem, *numbers, f"{left * search.seconds / 3600:.1f}")
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    console.print(f"at most {total / 3600:.1f} core-hours, less what is stopped early (a rough guess of the profile)")


def _listed(values: Values) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def _key(name: str) -> str:
    """A key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, 1 where something went wrong, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    return end_well(command, "benchmarks.tune", arguments)


if __name__ == "__main__":
    sys.exit(main())
