"""Searches one method's settings: each choice is trained in every cell, unless a seed shows that it is no good."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.command_line import cores
from benchmarks.errors import InputError, one_line
from benchmarks.execution.console import say
from benchmarks.execution.local import LocalExecutor
from benchmarks.execution.progress import new_view
from benchmarks.execution.scheduler import Scheduler
from benchmarks.planning.estimate import Estimator
from benchmarks.planning.preflight import preflight
from benchmarks.planning.reuse import announce, compare, fixed_part, refuse_mixture, refuse_other_code
from benchmarks.planning.search import Space, space_of
from benchmarks.planning.trials import LABEL_ENDS, Planning, Request, plan
from benchmarks.records.plans import Plan
from benchmarks.records.schema import MODES, Record, Trial
from benchmarks.records.store import Store
from benchmarks.records.studies import Choice, Score, Study
from benchmarks.tune.proposals import Values, propose
from benchmarks.tune.report import listed
from benchmarks.tune.study import StudyFile
from envs.commands import plural
from envs.tasks import brief_name, short_name
from methods.conformance.declaration import plain_settings
from methods.interface import Method, MethodError, make_settings

SAVE_EVERY = 300.0
"""Seconds between two checkpoints of a trial."""
FEWEST = 4
"""Choices that must be known before others are stopped early."""


@dataclass(frozen=True)
class Rules:
    """What is equal for all methods.

    Attributes:
        minutes: the longest trial; one that takes longer is ended and counts as 0.
        prune: whether choices are stopped after a seed if they cannot become the best, or are worse than most.
    """

    minutes: float
    prune: bool


class Search:
    """The search of one method's settings.

    Attributes:
        planning: the trials of the profile's own settings, one for each cell.
        file: the study and where it is stored.
        demonstrations: the numbers of demonstrations of the cells.
    """

    def __init__(
        self, request: Request, method: type[Method], store: Store, rules: Rules, jobs: int | None = None
    ) -> None:
        """Plan the trials of the profile's own settings.

        Args:
            request: for these trials.
            method: whose settings are searched.
            store: where records and the study go; may be closed until `run`.
            rules: equal for all methods.
            jobs: trials at once; None is one for each core.

        Raises:
            InputError: the request cannot be planned, or nothing may be searched.
        """
        self._request, self._store, self._rules, self._jobs = request, store, rules, jobs or cores()
        self.method, self.demonstrations = method, request.demonstrations
        self._fixed = request.changes.get(method.name, {})
        self._space: Space = {name: one for name, one in space_of(method).items() if name not in self._fixed}
        if not self._space:
            raise InputError(f"--set fixes all that may be searched of {method.name}; leave some of it out")
        self.planning = plan(request)
        self._estimator = Estimator(request.profile, [])
        study = self._new_study()
        actions = "" if request.actions == "demonstrated" else f"-{request.actions}"
        name = re.sub(r"[^\w.=+-]+", "-", f"{method.name}{actions}-{'+'.join(study.tasks)}", flags=re.ASCII)
        title = f"{method.name} on {' and '.join(study.tasks)}"
        self.file = StudyFile(store.root, name.strip("-."), title, study)

    @property
    def seconds(self) -> float:
        """What one choice of settings takes, by the profile's guess until there are records."""
        return sum(self._estimator.seconds(item.trial) for item in self.planning.trials)

    def run(self, settings: int) -> None:
        """Try so many settings in all, the first of which are the profile's own; the study is locked meanwhile.

        Raises:
            InputError: the study or the records were made by other code, or the folder holds others; or see
                `StudyFile.locked`.
            RunError: a file cannot be written.
            RunStopped: a signal came.
        """
        with self.file.locked():
            if len(self.file.study.choices) < settings:
                self.file.require_same_code()
            while (done := len(self.file.study.choices)) < settings:
                proposed = propose(self._space, self.file.study) if done else None
                self.file.add(self._evaluate(proposed, f"{self.method.name}, settings {done + 1} of {settings}"))

    def _evaluate(self, proposed: Values | None, title: str) -> Choice:
        """Train with some settings, or with the profile's own (None); trials that have records are not run again."""
        values = self._own_values() if proposed is None else dict(proposed)
        title = f"{title} ({'the profile' if proposed is None else listed(values)})"
        changes = dict(self._request.changes)
        if proposed is not None:
            changes[self.method.name] = {**self._fixed, **values}
            try:
                self._settings(values)
            except MethodError as error:
                say(f"{title}: refused by the method, counted as 0 % ({one_line(str(error))})")
                return Choice(values=values, state="refused")
        planning = plan(replace(self._request, changes=changes))
        seeds = sorted({item.trial.seed for item in planning.trials})
        stages = [seeds] if proposed is None or not self._rules.prune else [[seed] for seed in seeds]
        choice = Choice(values=values, state="complete")
        for stage in stages:
            part = replace(planning, trials=[item for item in planning.trials if item.trial.seed in stage])
            records = self._records(part, title)
            seconds = sum(one.usage.training_seconds + one.usage.evaluation_seconds for one in records)
            scores = [*choice.scores, *map(_score, records)]
            choice = choice.model_copy(update={"scores": scores, "core_seconds": choice.core_seconds + seconds})
            if stage != stages[-1] and self._is_hopeless(choice, len(planning.trials)):
                choice = choice.model_copy(update={"state": "stopped"})
                break
        failed = f", {choice.failed} failed" * bool(choice.failed)
        say(f"{title}: success {100 * choice.score:.1f} %{failed}{', stopped early' * (choice.state == 'stopped')}")
        return choice

    def _is_hopeless(self, choice: Choice, cells_in_all: int) -> bool:
        """Whether it can no longer become the best one, or is worse than the median of the earlier ones so far."""
        reachable = (sum(score.success for score in choice.scores) + cells_in_all - len(choice.scores)) / cells_in_all
        if reachable < self.file.study.best.score:
            return True
        cells = {score.cell for score in choice.scores}
        earlier = [{score.cell: score.success for score in one.scores} for one in self.file.study.choices]
        means = [float(np.mean([scores[cell] for cell in cells])) for scores in earlier if cells <= set(scores)]
        return len(means) >= FEWEST and choice.score < float(np.median(means))

    def _records(self, planning: Planning, title: str) -> list[Record]:
        """The records of all its trials; those that have none are run."""
        existing = compare(self._store, planning.trials, retry_failed=False)
        dropped = refuse_mixture(self._store, self._request.profile, existing, accept=False)
        refuse_other_code(self._store, existing)
        for record in existing.records.values():
            self._estimator.learn(record)
        if existing.to_do:
            announce(self._store, self._request.profile, existing)
            preflight(existing.to_do)
            for problem in existing.damage:
                say(f"damaged, so it is run again: {problem}")
            rows = Plan(profile=self._request.profile.name, rows=existing.rows, demonstrators=planning.demonstrators)
            self._store.merge_plan(rows, dropped)
            for digest, files in existing.files.items():
                self._store.save_code(digest, files)
            names = {trial.id: self._described(trial) for trial in existing.to_do}
            logs = {trial.id: str(self._store.log(trial.id)) for trial in existing.to_do}
            longest_first = sorted(existing.to_do, key=self._estimator.seconds, reverse=True)
            with new_view(names, longest_first, self._estimator, self._jobs, logs) as view:
                view.note(f"{title}: {plural(len(existing.to_do), 'trial')} to run, {view.time_left()}")
                executor, limit = LocalExecutor(self._jobs), 60.0 * self._rules.minutes
                scheduler = Scheduler(self._store, view, executor, limit, SAVE_EVERY)
                scheduler.run(longest_first, existing.codes, existing.states)
        records, damage = self._store.read(item.row.trial for item in planning.trials)
        if damage:
            raise InputError(f"{next(iter(damage.values()))}; run the same command again")
        return list(records.values())

    def _described(self, trial: Trial) -> str:
        demos = plural(trial.demonstrations.episodes, "demo")
        return f"{self.method.name}, {_task(trial)}, {demos}, seed {trial.seed}"

    def _settings(self, values: Values) -> object:
        """The method's settings with some values; raises MethodError where it refuses them."""
        profile = self._request.profile.settings_of(self.method.name, short_name(self._request.tasks[0]))
        return make_settings(self.method, {**profile, **self._fixed, **values})

    def _own_values(self) -> dict[str, Any]:
        """What the profile has for the settings that are searched, on the first task."""
        plain = plain_settings(self.method.name, self._settings({}))
        return {name: plain[name] for name in self._space}

    def _new_study(self) -> Study:
        """The study before anything was tried: its question is all that must be equal where it is continued."""
        planned = self.planning.trials
        trials = {_task(item.trial): item.trial for item in planned}
        question: dict[str, object] = {
            "--demos": sorted({item.trial.demonstrations.episodes for item in planned}),
            "--seeds": sorted({item.trial.seed for item in planned}),
            "--minutes": self._rules.minutes,
            "--prune": self._rules.prune,
            "what may be searched": {name: repr(dimension) for name, dimension in self._space.items()},
        }
        for task, trial in trials.items():
            suffix = f" ({task})" if len(trials) > 1 else ""
            question |= {f"{key}{suffix}": value for key, value in fixed_part(trial).items()}
        found = compare(self._store, planned, retry_failed=False).asked.values()
        return Study(
            method=planned[0].trial.identity()["method"],
            label=(self.method.display_name or self.method.name) + LABEL_ENDS[self._request.actions],
            profile=self._request.profile.name,
            tasks=list(trials),
            question={key: json.dumps(value, sort_keys=True) for key, value in question.items()},
            code={_task(status.trial): status.code for status in found},
        )


def _task(trial: Trial) -> str:
    """Its task's short name or Gymnasium id, without the folder or module that registers it."""
    return brief_name(trial.task)


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
