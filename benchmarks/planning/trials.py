"""Plans a run: turns the user's request into a list of trials, each with all settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

import envs
from benchmarks.errors import InputError, unknown
from benchmarks.paper import Experiment, Variant
from benchmarks.planning.experiments import DEFAULT, EXPERIMENTS
from benchmarks.planning.profiles import Profile
from benchmarks.records.plans import Demonstrator, PlanRow
from benchmarks.records.schema import DemonstrationChoice, Trial
from envs import tasks
from envs.commands import import_hint, plural
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task
from envs.loading import reason
from envs.tasks import TaskError, brief_name, short_name
from methods import registry
from methods.action_inference import STEPS
from methods.conformance.declaration import plain_settings
from methods.conformance.tasks import require_supported, require_task
from methods.interface import Method, MethodError, make_settings
from methods.task_boundary import inspect_task

METHODS = ("gpril", "gail", "bc")
"""Compared by default."""
SHIPPED = "shipped"
TABLES = ("budget", "evaluation")
"""What `--set` can change besides the settings of a method."""
Actions = Literal["demonstrated", "inferred", "none"]
"""What methods see of the demonstrated actions."""
LABEL_ENDS: Mapping[Actions, str] = {"demonstrated": "", "inferred": ", inferred actions", "none": ", states only"}
"""What the label of a method ends with that sees them so."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for.

    Attributes:
        profile: budgets and settings.
        experiments: the grids to run.
        methods: names, module:Attribute or file.py:Attribute; empty means the experiment's.
        tasks: short names, Gymnasium ids, module:Id or file.py:Id; empty means the experiment's.
        seeds: how many; None means the experiment's or the profile's.
        first_seed: from which they count; None means the profile's.
        demonstrations: numbers of demonstrated episodes; empty means the experiment's or the profile's.
        file: a demonstration file; None means the shipped ones.
        changes: values of --set by table ("gpril", "budget", ...) and key.
        device: torch device of the trials.
        actions: what methods see of the demonstrated actions where the experiment has no variants of its own: the
            demonstrated ones, ones inferred from own steps, or none.
    """

    profile: Profile
    experiments: tuple[Experiment, ...]
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: int | None = None
    first_seed: int | None = None
    demonstrations: tuple[int, ...] = ()
    file: Path | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "cpu"
    actions: Actions = "demonstrated"


@dataclass(frozen=True)
class PlannedTrial:
    """A trial as the runner sees it before there is a record: with its place in an experiment, which the plan stores,
    and its method's class, which cannot be stored."""

    row: PlanRow
    trial: Trial
    method: type[Method]

    @property
    def description(self) -> str:
        """For progress displays: variant, task, demonstrations and seed."""
        trial = self.trial
        task, demos = brief_name(trial.task), plural(trial.demonstrations.episodes, "demo")
        return f"{self.row.label}, {task}, {demos}, seed {trial.seed}"


@dataclass(frozen=True)
class Planning:
    """What a request comes to.

    Attributes:
        trials: in the order of experiments, tasks, variants, demonstrations and seeds.
        demonstrators: one per set of demonstrations.
        notices: lines about what may not be what the user meant.
    """

    trials: list[PlannedTrial]
    demonstrators: list[Demonstrator]
    notices: list[str]


def parse_changes(assignments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read "TABLE.KEY=VALUE" strings; values are JSON (0.95, true, [64, 64]), anything else is text.

    Raises:
        InputError: one of them does not have that form.
    """
    changes: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        place, equals, text = assignment.partition("=")
        table, dot, key = place.strip().rpartition(".")
        if not (table and dot and key and equals):
            raise InputError(f"--set {assignment!r}: write it as METHOD.SETTING=VALUE, for example gpril.gamma=0.95")
        try:
            value = json.loads(text)
        except ValueError:
            if re.search(r"[,\s][\w-]+\.[\w-]+=", text):
                raise InputError(f"--set {assignment!r}: it changes one setting; repeat --set for each") from None
            value = text.strip()
        keys = changes.setdefault(table, {})
        if key in keys:
            raise InputError(
                f"--set {place.strip()} is given twice; a run has one value of a setting, so run once for each"
            )
        keys[key] = value
    return changes


def plan(request: Request) -> Planning:
    """All trials of a request, every name resolved and every file read once.

    Raises:
        InputError: a name is unknown, a value impossible, a task unsuitable, or there are too few demonstrations.
    """
    return _Planner(request).plan()


def resolve_task(name: str) -> str:
    """The Gymnasium id (or module:Id, file.py:Id) of a task; raises InputError if there is none."""
    try:
        tasks.find(name)
    except TaskError as error:
        raise InputError(str(error)) from None
    return envs.TASKS.get(name, name)


def resolve_method(name: str) -> type[Method]:
    """The class of a method; raises InputError if there is none."""
    try:
        return registry.resolve(name)
    except MethodError as error:
        raise InputError(str(error)) from None


def _supported(task: str) -> None:
    """Raises InputError where no method could learn a task, whatever its demonstrations."""
    try:
        require_supported(task)
    except MethodError as error:
        raise InputError(str(error)) from None


class _Planner:
    """Keeps what was resolved and read while a request is planned."""

    def __init__(self, request: Request) -> None:
        self.request, self.profile, self.changes = request, request.profile, request.changes
        self.notices: list[str] = []
        self._methods: dict[str, type[Method]] = {}
        self._demonstrations: dict[str, Demonstrations] = {}

    def plan(self) -> Planning:
        if ignored := self._ignored_tables():
            self.notices.append(f"ignored unknown tables in profile {self.profile.name}: {', '.join(ignored)}")
        planned = []
        for experiment in self.request.experiments:
            if not (trials := list(self._grid(experiment))):
                chosen = ", ".join(map(short_name, self._tasks(experiment)))
                raise InputError(f"experiment {experiment.name!r} has none of the chosen methods on {chosen}")
            planned += trials
        self._check_changes(planned)
        _check_labels(planned)
        self.notices += _equal_trials(planned)
        makers = [Demonstrator.of(task, whole) for task, whole in self._demonstrations.items()]
        return Planning(planned, makers, self.notices)

    def _ignored_tables(self) -> list[str]:
        """The profile's tables for other runs; raises InputError where it names something that does not exist."""
        names = {*registry.names(), *(self._method(name).name for name in self.request.methods)}
        own_tasks = {form for name in self.request.tasks for form in (name, name.rpartition(":")[2])}
        presets = {variant.preset for experiment in EXPERIMENTS.values() for variant in experiment.variants} - {""}
        for name in self.profile.presets:
            if name not in presets:
                raise unknown(f"preset of profile {self.profile.name}", name, presets)
        for name, numbers in self.profile.demonstrations.items():
            table = f"demonstrations of profile {self.profile.name}"
            if name not in EXPERIMENTS:
                raise unknown(f"experiment in {table}", name, EXPERIMENTS)
            keys = [variant.key for variant in EXPERIMENTS[name].variants]
            for key in numbers:
                if key not in keys:
                    raise unknown(f"variant of {name} in {table}", key, keys)
        return self.profile.unknown_tables(names, own_tasks)

    def _method(self, name: str) -> type[Method]:
        if name not in self._methods:
            self._methods[name] = resolve_method(name)
        return self._methods[name]

    def _grid(self, experiment: Experiment) -> Iterator[PlannedTrial]:
        suite, variants = self.profile.suite, self._variants(experiment)
        numbers = {number for variant in variants for number in self._numbers(experiment, variant)}
        own_seeds = experiment.seeds if suite.figure_seeds else None
        first_seed = suite.first_seed if self.request.first_seed is None else self.request.first_seed
        seeds = range(first_seed, first_seed + (self.request.seeds or own_seeds or suite.seeds))
        for task in self._tasks(experiment):
            demonstrations = self._read(task)
            pool = suite.pool_of(demonstrations.episodes)
            if too_many := [number for number in numbers if number > len(pool)]:
                there = f"{task} has {plural(demonstrations.episodes, 'demonstration')}"
                if len(pool) < demonstrations.episodes:
                    there += f", of which profile {self.profile.name} uses {len(pool)} (its `pool`)"
                raise InputError(f"--demos {max(too_many)}: {there}; ask for at most as many")
            for variant in variants:
                if short_name(task) not in experiment.fewer_tasks.get(variant.key, (short_name(task),)):
                    continue
                method = self._method(variant.method)
                first = self._first_trial(variant, method, task, pool)
                names = self._names(variant, method)
                for number in self._numbers(experiment, variant):
                    for seed in seeds:
                        drawn = {"draw_seed": seed} if suite.pool else {}
                        choice = first.demonstrations.model_copy(update={"episodes": number, **drawn})
                        trial = first.model_copy(update={"demonstrations": choice, "seed": seed})
                        yield PlannedTrial(PlanRow.of(experiment.name, trial=trial, **names), trial, method)

    def _first_trial(self, variant: Variant, method: type[Method], task: str, pool: range) -> Trial:
        """The trial of a variant with one demonstration and the first seed; the others differ only in these.

        Args:
            pool: the episodes that may be used.
        """
        short, profile, changes = short_name(task), self.profile, self.changes
        values = profile.settings_of(method.name, short, variant.preset)
        values |= {**variant.settings, **changes.get(method.name, {})}
        try:
            settings = make_settings(method, values)
            plain = plain_settings(method.name, settings)
            needs_actions = method.requires_actions(settings)
        except MethodError as error:
            raise InputError(str(error)) from None
        except Exception as error:
            raise InputError(f"{variant.method}: requires_actions failed ({reason(error)}); correct it") from error
        if needs_actions and not variant.inference_steps:
            named = method.name + " with these settings" * registry.outline(variant.method).settings_decide
            fix = self._without_actions(variant, method, task)
            if variant.states_alone or variant.final_only:
                raise InputError(f"{variant.label}: {named} needs the demonstrated actions; {fix}")
            if self._read(task).actions is None:
                raise InputError(f"{short}: its demonstrations hold no actions, and {named} needs them; {fix}")
        budget = profile.budget_of(method.name, short, {**variant.budget, **changes.get("budget", {})}, variant.preset)
        return Trial(
            method=variant.method,
            settings={name: plain[name] for name in _stated(settings)},
            task=task,
            demonstrations=DemonstrationChoice(
                source=str(self.request.file) if self.request.file else SHIPPED,
                digest=self._read(task).digest,
                episodes=1,
                start=pool.start,
                stop=pool.stop if profile.suite.pool else None,
                every=variant.every,
                offset=variant.offset,
                final_only=variant.final_only,
                states_alone=variant.states_alone,
                statistics=variant.statistics,
                # Half of a small budget is left to the method.
                inference_steps=min(variant.inference_steps, budget.environment_steps // 2),
            ),
            seed=profile.suite.first_seed,
            budget=budget,
            evaluation=profile.evaluation_with(changes.get("evaluation", {})),
            device=self.request.device,
        )

    def _without_actions(self, variant: Variant, method: type[Method], task: str) -> str:
        """What lets a method learn that needs actions where none are shown, in words."""
        ways = ["leave it out with --methods"]
        if registry.outline(variant.method).settings_decide:
            ways.insert(0, "change its settings with --set (docs/faq.md says which of ours)")
        if _shows_every_state(self._read(task)) and not method.needs_expert:
            plain = all(not experiment.variants for experiment in self.request.experiments)
            ways.insert(0, f"infer actions with {'' if plain else f'--experiment {DEFAULT} '}--actions inferred")
        return ", or ".join(ways)

    def _numbers(self, experiment: Experiment, variant: Variant) -> tuple[int, ...]:
        """The numbers of demonstrations of a variant: those asked for, its own, the experiment's or the profile's."""
        own = self.profile.demonstrations.get(experiment.name, {}).get(variant.key, ())
        return self.request.demonstrations or tuple(
            own or experiment.demonstrations or self.profile.suite.demonstrations
        )

    def _variants(self, experiment: Experiment) -> list[Variant]:
        methods = {name: self._method(name) for name in self.request.methods or METHODS}
        if not experiment.variants:
            return [self._plain_variant(name, method) for name, method in methods.items()]
        if self.request.actions != "demonstrated":
            raise InputError(
                f"--actions {self.request.actions}: experiment {experiment.name!r} says itself what its variants see; "
                f"use --experiment {DEFAULT}"
            )
        variants = [v for v in experiment.variants if not self.request.methods or v.method in self.request.methods]
        if not variants:
            compared = ", ".join(dict.fromkeys(variant.method for variant in experiment.variants))
            raise InputError(f"experiment {experiment.name!r} compares {compared}; --methods leaves none of them")
        return variants

    def _plain_variant(self, name: str, method: type[Method]) -> Variant:
        actions = self.request.actions
        label = (method.display_name or method.name) + LABEL_ENDS[actions]
        if actions == "demonstrated":
            return Variant(method.name, label, name)
        shown, steps = ("inferred", STEPS) if actions == "inferred" else ("states", 0)
        return Variant(f"{method.name}/{shown}", label, name, states_alone=True, inference_steps=steps)

    def _tasks(self, experiment: Experiment) -> list[str]:
        own = [resolve_task(name) for name in experiment.tasks]
        chosen = [resolve_task(name) for name in self.request.tasks] or own
        if experiment.variants and not set(chosen) <= set(own):
            raise InputError(f"experiment {experiment.name!r} is about {', '.join(own)}; --tasks asks for others")
        return list(dict.fromkeys(chosen))

    def _read(self, task: str) -> Demonstrations:
        """The demonstrations of a task, which is examined beside them unless it is a shipped one with its own."""
        if task not in self._demonstrations:
            file = self.request.file
            if file is None and task not in envs.TASKS.values():
                _supported(task)
                raise InputError(f"task {task} has no shipped demonstrations; give some with --demonstrations FILE.npz")
            try:
                found = load(file) if file else load_task(task)
            except (DemonstrationError, OSError) as error:
                raise InputError(f"{error}{import_hint(file) if file else ''}") from None
            if found.task.rpartition(":")[2] != task.rpartition(":")[2]:
                raise InputError(f"{file}: these are demonstrations of {found.task}, not of {task}")
            if file:
                try:
                    own = task not in envs.TASKS.values()
                    warnings = [] if own else [f"task {task}: {text}" for text in inspect_task(task, found).warnings]
                    self.notices += require_task(task, found) if own else warnings
                except MethodError as error:
                    raise InputError(f"{error} (demonstrations: {file})") from None
            self._demonstrations[task] = found
        return self._demonstrations[task]

    def _names(self, variant: Variant, method: type[Method]) -> dict[str, str]:
        """Key, label and base of a variant in the plan.

        Settings changed by `--set` are part of its key and label, so that its results never mix with unchanged ones.
        """
        words = []
        for table in (method.name, *TABLES):
            prefix = "" if table == method.name else f"{table}."
            words += [
                f"{prefix}{key}={json.dumps(value)}" for key, value in sorted(self.changes.get(table, {}).items())
            ]
        suffix = f" ({', '.join(words)})" if words else ""
        base = variant.base + suffix if variant.base else (variant.key if suffix else "")
        return {"variant": variant.key + suffix, "label": variant.label + suffix, "base": base}

    def _check_changes(self, planned: list[PlannedTrial]) -> None:
        running = {item.method.name for item in planned}
        for table in self.changes:
            if table not in running and table not in TABLES:
                raise unknown("method in --set", table, [*running, *TABLES])


def _shows_every_state(demonstrations: Demonstrations) -> bool:
    """Whether no state of an episode is missing between others; see `methods.action_inference`."""
    inside = demonstrations.episode[1:] == demonstrations.episode[:-1]
    return bool(inside.any() and (np.diff(demonstrations.time_step)[inside] == 1).all())


def _equal_trials(planned: Iterable[PlannedTrial]) -> Iterator[str]:
    """Lines about labels of one experiment that turn out to be the same trials."""
    labels: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in (item.row for item in planned):
        labels.setdefault((row.experiment, short_name(row.task), row.trial), {})[row.label] = None
    lines = (
        f"{experiment}, {task}: {' and '.join(map(repr, shared))} are the same trials"
        for (experiment, task, _), shared in labels.items()
        if len(shared) > 1
    )
    yield from dict.fromkeys(lines)


def _check_labels(planned: Iterable[PlannedTrial]) -> None:
    """One label, task, number of demonstrations and seed must mean one trial, and one trial one method."""
    seen: dict[tuple[str, str, str, int, int], PlannedTrial] = {}
    methods: dict[str, PlannedTrial] = {}
    for item in planned:
        trial = item.trial
        place = (item.row.experiment, item.row.label, trial.task, trial.demonstrations.episodes, trial.seed)
        for other in (seen.setdefault(place, item), methods.setdefault(item.row.trial, item)):
            same_label = other.row.label == item.row.label and other.row != item.row and other.row.place[0] == place[0]
            if same_label or other.method is not item.method:
                raise InputError(
                    f"two methods are called {item.row.label!r}: {other.trial.method} and {trial.method}; rename one"
                )


def _stated(settings: Any) -> list[str]:
    """The settings that are stored with a trial: fields declared neutral are left out where they have their default,
    so that adding one to a method keeps the ids of its earlier trials."""
    neutral = {field.name: field.default for field in fields(settings) if field.metadata.get("neutral")}
    values = asdict(settings)
    return [name for name in values if name not in neutral or values[name] != neutral[name]]
