"""Searches the settings of a method with Optuna: `python -m benchmarks.tune --method knn --task clip --trials 20`.

What is tried is what the method declares (see `benchmarks.planning.search`). Each choice of settings is evaluated by
trials of the suite, one for each number of demonstrations and seed, planned, run and recorded as those of a comparison.
A choice scores the mean, over these trials and over sampled and deterministic actions, of the fraction of successful
rollouts; a mode that the policy does not have is left out, and a trial that failed counts as 0. Choices are proposed by
a tree-structured Parzen estimator (Bergstra et al., 2011), whose seed for each of them is fixed, so that a search that
was interrupted proposes what it would have proposed.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from filelock import FileLock, Timeout
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.command_line import cores, count_list, end_well, option
from benchmarks.errors import InputError, cannot_write, one_line, plural
from benchmarks.execution.console import say, show
from benchmarks.execution.local import LocalExecutor
from benchmarks.execution.progress import new_view
from benchmarks.execution.scheduler import Scheduler
from benchmarks.planning import experiments, profiles
from benchmarks.planning.estimate import Estimator
from benchmarks.planning.preflight import preflight
from benchmarks.planning.reuse import compare, fixed_part, refuse_mixture, refuse_other_code
from benchmarks.planning.search import Choices, Space, space_of
from benchmarks.planning.trials import Planning, Request, parse_changes, plan
from benchmarks.records import atomic
from benchmarks.records.schema import MODES, Plan, Record, Trial
from benchmarks.records.store import Store
from envs.tasks import short_name
from methods.interface import Method, MethodError, make_settings

if TYPE_CHECKING:
    import optuna

RUNS = Path("results") / "runs"
PROFILE = "tuning"
SEEDS = 2
DEMONSTRATIONS = (10, 25)
QUESTION = "question"
"""Attribute of a study: what it is about."""
SHOWN = 5
"""Rows of the table of the best settings."""
SAVE_EVERY = 300.0
"""Seconds between two checkpoints of a trial."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What some settings achieved.

    Attributes:
        values: the settings that were tried.
        scores: success in [0, 1] of each trial, mean of its modes, by (demonstrations, seed); empty for settings that
            the method refuses.
        rollouts: of all trials and modes.
        failed: trials that did not end well.
    """

    values: Values
    scores: Mapping[tuple[int, int], float]
    rollouts: int = 0
    failed: int = 0

    @property
    def score(self) -> float:
        return float(np.mean(list(self.scores.values()))) if self.scores else 0.0

    def of_demonstrations(self, number: int) -> float:
        """Mean success of the trials with so many demonstrations."""
        return float(np.mean([score for (episodes, _), score in self.scores.items() if episodes == number]))

    @property
    def interval(self) -> str:
        """The 95 % interval of the mean over seeds, in %; empty where there is one seed."""
        from analysis.statistics import rate_interval  # here, because SciPy takes a while to import

        seeds = sorted({seed for _, seed in self.scores})
        means = [float(np.mean([x for (_, s), x in self.scores.items() if s == seed])) for seed in seeds]
        if len(seeds) < 2:
            return ""
        _, low, high = rate_interval(means, self.rollouts)
        return f"[{100 * low:.0f}, {100 * high:.0f}]"


@click.command(help="Search a method's settings. Stopped and started again, it resumes.")
@option("--method", required=True, help="A name, module:Class or file.py:Class that declares what may be searched.")
@option("--task", required=True, help="A short name or any Gymnasium id.")
@option("--trials", type=click.IntRange(min=1), required=True, help="How many settings to try, equal for all methods.")
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
@option("--set", "changes", multiple=True, metavar="METHOD.SETTING=VALUE", help="Keep a setting fixed; also budget.*.")
@option("--results", type=click.Path(path_type=Path), help="Records and study.  [default: results/runs/tune-PROFILE]")
@option("--jobs", type=click.IntRange(min=1), help="Trials at once.  [default: one per core]")
def command(**options: Any) -> int:
    optuna = _optuna()
    request = Request(
        profile=profiles.load(options["profile"]),
        experiments=tuple(experiments.find(experiments.DEFAULT)),
        methods=(options["method"],),
        tasks=(options["task"],),
        seeds=options["seeds"],
        demonstrations=options["demos"],
        file=options["demonstrations"],
        changes=parse_changes(options["changes"]),
    )
    planning = plan(request)
    method = planning.trials[0].method
    fixed = request.changes.get(method.name, {})
    space = {name: dimension for name, dimension in space_of(method).items() if name not in fixed}
    if not space:
        raise InputError(f"--set fixes all that may be searched of {method.name}; leave some of it out")
    for notice in planning.notices:
        say(f"note: {one_line(notice)}")
    store = Store(options["results"] or RUNS / f"tune-{request.profile.name}")
    store.open()
    try:
        tuner = Tuner(request, method, space, store, options["jobs"] or cores())
        with _study(optuna, store, method, options["task"], _question(planning, space)) as study:
            before, outcomes = tuner.search(optuna, study, options["trials"])
    finally:
        store.close()
    _report(method, planning.trials[0].trial.task, before, outcomes, request.demonstrations)
    return 0


class Tuner:
    """Proposes settings and evaluates them."""

    def __init__(self, request: Request, method: type[Method], space: Space, store: Store, jobs: int) -> None:
        """Make a tuner.

        Args:
            request: the trials of the profile's own settings.
            method: what is tuned.
            space: what is tried.
            store: where records go; open.
            jobs: trials at once.
        """
        self._request, self._method, self._space = request, method, space
        self._store, self._jobs = store, jobs
        self._estimator = Estimator(request.profile, [])

    def search(self, optuna: Any, study: optuna.Study, trials: int) -> tuple[Outcome, list[Outcome]]:
        """Evaluate the profile's own settings, then as many proposals as there are not yet.

        Returns:
            the outcome of the profile's settings, and those of the first `trials` proposals.
        """
        states, distributions = optuna.trial.TrialState, self._distributions(optuna)
        before = self.evaluate({}, f"settings of profile {self._request.profile.name}")
        outcomes: list[Outcome] = []
        for done in study.get_trials(deepcopy=False, states=(states.COMPLETE,))[:trials]:
            outcomes.append(self.evaluate(self._values(done.params), f"settings {len(outcomes) + 1} of {trials}"))
        for interrupted in study.get_trials(states=(states.RUNNING,)):
            study.tell(interrupted.number, state=states.FAIL)  # the same settings will be proposed again
        while len(outcomes) < trials:
            study.sampler = optuna.samplers.TPESampler(seed=len(outcomes))
            trial = study.ask(distributions)
            outcome = self.evaluate(self._values(trial.params), f"settings {len(outcomes) + 1} of {trials}")
            study.tell(trial, outcome.score)
            outcomes.append(outcome)
        return before, outcomes

    def evaluate(self, values: Values, title: str) -> Outcome:
        """The outcome of some settings: their trials are run, unless they have records already.

        Raises:
            InputError: the folder holds records of other code or other settings.
            RunStopped: a signal came.
        """
        described = f"{title} ({_listed(values)})" if values else title
        try:
            known = self._request.profile.settings_of(self._method.name, short_name(self._task))
            make_settings(self._method, {**known, **self._fixed, **values})
        except MethodError as error:
            say(f"{described}: refused by the method, counted as 0 % ({one_line(str(error))})")
            return Outcome(values, {})
        changes = {**self._request.changes, self._method.name: {**self._fixed, **values}}
        planning = plan(replace(self._request, changes=changes if values else self._request.changes))
        records = self._run(planning, described)
        scores = {}
        for record in records:
            modes = [success for mode in MODES if not math.isnan(success := record.success(mode))]
            scores[record.trial.demonstrations.episodes, record.trial.seed] = float(np.mean(modes))
        rollouts = sum(len(found) for record in records for found in record.final.values())
        outcome = Outcome(values, scores, rollouts, sum(record.status != "ok" for record in records))
        say(f"{described}: success {100 * outcome.score:.1f} %" + f", {outcome.failed} failed" * bool(outcome.failed))
        return outcome

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
            names = {trial.id: self._name(trial) for trial in found.to_do}
            logs = {trial.id: str(self._store.log(trial.id)) for trial in found.to_do}
            longest_first = sorted(found.to_do, key=self._estimator.seconds, reverse=True)
            with new_view(names, longest_first, self._estimator, self._jobs, logs) as view:
                view.note(f"{title}: {plural(len(found.to_do), 'trial')} to run, {view.time_left()}")
                scheduler = Scheduler(self._store, view, LocalExecutor(self._jobs), None, SAVE_EVERY)
                scheduler.run(longest_first, found.codes, found.states)
        records, damage = self._store.read(item.row.trial for item in planning.trials)
        if damage:
            raise InputError(f"{next(iter(damage.values()))}; run the same command again")
        return list(records.values())

    def _name(self, trial: Trial) -> str:
        demos = plural(trial.demonstrations.episodes, "demo")
        return f"{self._method.name}, {short_name(trial.task)}, {demos}, seed {trial.seed}"

    @property
    def _task(self) -> str:
        return self._request.tasks[0]

    @property
    def _fixed(self) -> Values:
        return self._request.changes.get(self._method.name, {})

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


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError(f"tuning needs Optuna ({error}): pip install 'gpril-benchmarks[tune]', or optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _question(planning: Planning, space: Space) -> dict[str, str]:
    """What a study is about: studies of different questions are not continued as one."""
    trials = [item.trial for item in planning.trials]
    about = {
        "--demos": sorted({trial.demonstrations.episodes for trial in trials}),
        "--seeds": sorted({trial.seed for trial in trials}),
        "what may be searched": {name: repr(dimension) for name, dimension in space.items()},
        **fixed_part(trials[0]),
    }
    return {key: json.dumps(value, sort_keys=True) for key, value in about.items()}


@contextmanager
def _study(
    optuna: Any, store: Store, method: type[Method], task: str, question: Mapping[str, str]
) -> Iterator[optuna.Study]:
    """The study of a folder about a method and a task, made where there is none.

    Raises:
        InputError: another process works on it, it is damaged, or about something else.
        RunError: it cannot be written.
    """
    name = re.sub(r"[^\w.=+-]+", "-", f"{method.name}-{short_name(task)}", flags=re.ASCII).strip("-.")
    path = store.root / "studies" / f"{name}.journal"
    lock = FileLock(store.root / "locks" / f"study-{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(f"another search of {method.name} on {task} is at work in {store.root}") from None
    try:
        yield _opened(optuna, path, f"{method.name} on {task}", question)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        lock.release()


def _opened(optuna: Any, path: Path, name: str, question: Mapping[str, str]) -> optuna.Study:
    journal = optuna.storages.journal
    path.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{path}.lock").unlink(missing_ok=True)  # Optuna's, of a process that was killed: the caller holds ours
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):  # the last line was cut
        atomic.write(path, content[: content.rfind(b"\n") + 1], "cut")
    try:
        storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(path)))
        study: optuna.Study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True
        )
        known = study.user_attrs.get(QUESTION)
        study.get_trials(deepcopy=False)
    except OSError:
        raise
    except Exception as error:  # Optuna has no exception of its own for what a file may hold
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {one_line(str(error))}); delete it: the same settings are "
            "proposed again, and their records are reused"
        ) from None
    if known is None:
        study.set_user_attr(QUESTION, dict(question))
    elif known != question:
        differing = [key for key in {**known, **question} if known.get(key) != question.get(key)]
        key = differing[0]
        raise InputError(
            f"{path} is a search with other settings: {key} was {known.get(key)}, now {question.get(key)}"
            + (f" (and {len(differing) - 1} more)" if len(differing) > 1 else "")
            + "; choose another folder with --results"
        )
    return study


def _listed(values: Values) -> str:
    return ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())


def _report(
    method: type[Method], task: str, before: Outcome, outcomes: Sequence[Outcome], demonstrations: Sequence[int]
) -> None:
    """Print the best settings, and what to put into a profile."""
    best = sorted(outcomes, key=lambda outcome: -outcome.score)
    table = Table("Success", "95 %", *(plural(number, "demo") for number in demonstrations), "Settings", box=SIMPLE)
    for column in table.columns[:-1]:
        column.justify, column.no_wrap = "right", True
    rows = [(outcome, _listed(outcome.values)) for outcome in best[:SHOWN] if outcome.scores]
    for outcome, settings in [*rows, (before, "those of the profile")]:
        each = (f"{100 * outcome.of_demonstrations(number):.0f}" for number in demonstrations)
        table.add_row(f"{100 * outcome.score:.1f}", outcome.interval, *each, settings)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"\nThe best of {len(outcomes)} settings of {method.name} on {short_name(task)}")
    console.print(table)
    show(
        "Success in % of rollouts, mean of sampled and deterministic actions; intervals over seeds.\n"
        "The best of many is flattered by chance: compare it on demonstrations and seeds it was not chosen by."
    )
    if failed := sum(outcome.failed for outcome in outcomes):
        show(f"{plural(failed, 'trial')} did not end well, counted as 0.")
    if not rows or best[0].score <= before.score:
        show("\nNone of them did better than the settings of the profile: keep those.")
        return
    place = f"settings.{_key(method.name)}.{_key(short_name(task).rpartition(':')[2])}"
    lines = [f"{name} = {json.dumps(value)}" for name, value in best[0].values.items()]
    show("\n".join(["\nFor a profile:\n", f"[{place}]", *lines]))


def _key(name: str) -> str:
    """A key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, 1 where something went wrong, 2 for bad input, 130 after Ctrl-C or SIGTERM."""
    return end_well(command, "benchmarks.tune", arguments)


if __name__ == "__main__":
    sys.exit(main())
