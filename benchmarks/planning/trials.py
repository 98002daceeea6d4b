"""From what the user asked for to the list of trials, each with every setting spelled out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import envs
from benchmarks.errors import InputError, unknown
from benchmarks.paper import Experiment, Variant
from benchmarks.planning.experiments import EXPERIMENTS
from benchmarks.planning.profiles import Profile
from benchmarks.records.schema import DemonstrationChoice, PlanRow, Trial
from envs import tasks
from envs.demonstrations import DemonstrationError, Demonstrations, load, load_task
from envs.tasks import TaskError, short_name
from methods import registry
from methods.interface import Method, MethodError, make_settings
from methods.task_boundary import describe_task

METHODS = ("gpril", "gail", "bc")
SHIPPED = "shipped"
TABLES = ("budget", "evaluation")
"""What `--set` can change besides the settings of a method."""


@dataclass(frozen=True)
class Request:
    """What the command line asked for.

    Attributes:
        profile: budgets and settings.
        experiments: the grids to run.
        methods: names, module:Attribute or file.py:Attribute; empty means the experiment's.
        tasks: short names or Gymnasium ids; empty means the experiment's.
        seeds: how many, counted from the profile's first; None means the experiment's or the profile's.
        demonstrations: numbers of demonstrated episodes; empty means the experiment's or the profile's.
        file: demonstrations of one's own; None means the shipped ones.
        changes: values of --set by table ("gpril", "budget", ...) and key.
        device: torch device of the trials.
    """

    profile: Profile
    experiments: tuple[Experiment, ...]
    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: int | None = None
    demonstrations: tuple[int, ...] = ()
    file: Path | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True)
class Planned:
    """A trial and its place in an experiment."""

    row: PlanRow
    trial: Trial


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
            value = text.strip()
        changes.setdefault(table, {})[key] = value
    return changes


def plan(request: Request) -> list[Planned]:
    """All trials of a request, in the order of its experiments, tasks, variants, demonstrations and seeds.

    Raises:
        InputError: a name is unknown, a value impossible, or there are too few demonstrations.
    """
    _strangers(request)
    planned = [row for experiment in request.experiments for row in _grid(request, experiment)]
    _check_changes(request, planned)
    _check_labels(planned)
    return planned


def notices(request: Request, planned: Iterable[Planned]) -> list[str]:
    """Lines about what may not be what the user meant: tables of the profile that are not for what is known here, and
    labels of one experiment that turn out to be the same trials."""
    lines = []
    if strangers := _strangers(request):
        lines.append(f"not known here, so left alone in profile {request.profile.name}: {', '.join(strangers)}")
    labels: dict[tuple[str, str, str], dict[str, None]] = {}
    for row in (item.row for item in planned):
        labels.setdefault((row.experiment, short_name(row.task), row.trial), {})[row.label] = None
    same = (
        f"{experiment}, {task}: {' and '.join(map(repr, shared))} are the same trials"
        for (experiment, task, _), shared in labels.items()
        if len(shared) > 1
    )
    return [*lines, *dict.fromkeys(same)]


def resolve_task(name: str) -> str:
    """The Gymnasium id of a task given by its short name or id; raises InputError where there is none."""
    task = envs.TASKS.get(name, name)
    try:
        tasks.find(task)
    except TaskError as error:
        raise InputError(str(error)) from None
    return task


def _strangers(request: Request) -> list[str]:
    methods = {*registry.names(), *(_resolve(name).name for name in request.methods)}
    tasks = {form for name in request.tasks for form in (name, name.rpartition(":")[2])}
    presets = {variant.preset for experiment in EXPERIMENTS.values() for variant in experiment.variants} - {""}
    for name in request.profile.presets:
        if name not in presets:
            raise unknown(f"preset of profile {request.profile.name}", name, presets)
    return request.profile.strangers(methods, tasks)


def _grid(request: Request, experiment: Experiment) -> Iterator[Planned]:
    numbers = request.demonstrations or experiment.demonstrations or tuple(request.profile.suite.demonstrations)
    suite = request.profile.suite
    own_seeds = experiment.seeds if suite.figure_seeds else None
    seeds = range(suite.first_seed, suite.first_seed + (request.seeds or own_seeds or suite.seeds))
    variants = _variants(request, experiment)
    for task in _tasks(request, experiment):
        demonstrations = _demonstrations(task, request.file)
        pool = suite.pool_of(demonstrations.episodes)
        if too_many := [number for number in numbers if number > len(pool)]:
            raise InputError(
                f"--demos {too_many[0]}: profile {request.profile.name} may use {len(pool)} of the "
                f"{demonstrations.episodes} demonstrations of {task}; ask for at most as many, or widen `pool` in a "
                "profile of your own"
            )
        for variant in variants:
            first = _first_trial(request, variant, task, demonstrations, pool)
            row = _row(experiment, variant, request.changes)
            for number in numbers:
                for seed in seeds:
                    drawn = {"draw_seed": seed} if suite.pool else {}
                    choice = first.demonstrations.model_copy(update={"episodes": number, **drawn})
                    trial = first.model_copy(update={"demonstrations": choice, "seed": seed})
                    yield Planned(row(trial), trial)


def _first_trial(request: Request, variant: Variant, task: str, demonstrations: Demonstrations, pool: range) -> Trial:
    """The trial of a variant with one demonstration and the first seed; the others differ only in these.

    Args:
        pool: the episodes that may be used.
    """
    method = _resolve(variant.method)
    profile, changes = request.profile, request.changes
    short = short_name(task)
    values = profile.settings_of(method.name, short, variant.preset) | {
        **variant.settings,
        **changes.get(method.name, {}),
    }
    try:
        settings = make_settings(method, values)
    except MethodError as error:
        raise InputError(str(error)) from None
    plain = {name: _plain(f"{method.name}.{name}", value) for name, value in _stated(settings).items()}
    if method.requires_actions(settings):
        if variant.states_alone or variant.final_only:
            raise InputError(f"{variant.label}: {method.name} with these settings needs the demonstrated actions")
        if demonstrations.actions is None:
            raise InputError(
                f"{short}: its demonstrations are states alone, and {method.name} with these settings needs actions; "
                "leave it out with --methods, or change its settings with --set (see the experiment fig2f)"
            )
    return Trial(
        method=variant.method,
        settings=plain,
        task=task,
        demonstrations=DemonstrationChoice(
            source=str(request.file) if request.file else SHIPPED,
            digest=demonstrations.digest,
            episodes=1,
            start=pool.start,
            stop=pool.stop if profile.suite.pool else None,
            every=variant.every,
            final_only=variant.final_only,
            states_alone=variant.states_alone,
        ),
        seed=profile.suite.first_seed,
        budget=profile.budget_of(method.name, short, {**variant.budget, **changes.get("budget", {})}, variant.preset),
        evaluation=profile.evaluation_with(changes.get("evaluation", {})),
        device=request.device,
    )


def _stated(settings: Any) -> dict[str, Any]:
    """Settings as they are stored with a trial: fields declared neutral are left out where they have their default, so
    that adding one to a method keeps the ids of its earlier trials."""
    neutral = {field.name: field.default for field in fields(settings) if field.metadata.get("neutral")}
    return {name: value for name, value in asdict(settings).items() if name not in neutral or value != neutral[name]}


def _plain(name: str, value: Any) -> Any:
    """A setting in JSON's types."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except ValueError:
        raise InputError(f"{name} is {value!r}, which is not a finite number") from None
    except TypeError:
        raise InputError(
            f"{name} is {value!r:.80} of type {type(value).__name__}; settings must be numbers, strings, booleans, "
            "None, or lists and dictionaries of these"
        ) from None


def _variants(request: Request, experiment: Experiment) -> list[Variant]:
    methods = {name: _resolve(name) for name in request.methods or METHODS}
    if not experiment.variants:
        return [Variant(method.name, method.display_name or method.name, name) for name, method in methods.items()]
    variants = [v for v in experiment.variants if not request.methods or v.method in request.methods]
    if not variants:
        compared = ", ".join(dict.fromkeys(variant.method for variant in experiment.variants))
        raise InputError(f"experiment {experiment.name!r} compares {compared}; --methods leaves none of them")
    return variants


def _tasks(request: Request, experiment: Experiment) -> list[str]:
    own = [resolve_task(name) for name in experiment.tasks]
    chosen = [resolve_task(name) for name in request.tasks] or own
    if experiment.variants and not set(chosen) <= set(own):
        raise InputError(f"experiment {experiment.name!r} is about {', '.join(own)}; --tasks asks for others")
    return list(dict.fromkeys(chosen))


def _resolve(name: str) -> type[Method]:
    try:
        return registry.resolve(name)
    except MethodError as error:
        raise InputError(str(error)) from None


def _demonstrations(task: str, file: Path | None) -> Demonstrations:
    if file is None and task not in envs.TASKS.values():
        raise InputError(f"task {task} has no shipped demonstrations; give some with --demonstrations FILE.npz")
    try:
        demonstrations = load(file) if file else load_task(task)
    except (DemonstrationError, OSError) as error:
        raise InputError(str(error)) from None
    if demonstrations.task != task.rpartition(":")[2]:
        raise InputError(f"{file}: these are demonstrations of {demonstrations.task}, not of {task}")
    if file:
        try:
            describe_task(task, demonstrations)
        except TaskError as error:
            raise InputError(str(error)) from None
        except MethodError as error:
            raise InputError(f"{file}: {error}") from None
    return demonstrations


def _row(
    experiment: Experiment, variant: Variant, changes: Mapping[str, Mapping[str, Any]]
) -> Callable[[Trial], PlanRow]:
    """Gives the trials of a variant their place in the plan.

    Settings changed by `--set` are part of its key and label, so that its results never mix with the unchanged ones.
    """
    method = _resolve(variant.method).name
    words = [f"{key}={json.dumps(value)}" for key, value in sorted(changes.get(method, {}).items())]
    for table in TABLES:
        words += [f"{table}.{key}={json.dumps(value)}" for key, value in sorted(changes.get(table, {}).items())]
    suffix = f" ({', '.join(words)})" if words else ""
    base = variant.base + suffix if variant.base else (variant.key if suffix else "")
    return partial(PlanRow.of, experiment.name, variant.label + suffix, variant=variant.key + suffix, base=base)


def _check_changes(request: Request, planned: list[Planned]) -> None:
    running = {_resolve(item.trial.method).name for item in planned}
    for table in request.changes:
        if table not in running and table not in TABLES:
            raise unknown("method in --set", table, [*running, *TABLES])


def _check_labels(planned: list[Planned]) -> None:
    """One label, task, number of demonstrations and seed must mean one trial."""
    seen: dict[tuple[str, str, str, int, int], Planned] = {}
    for item in planned:
        trial = item.trial
        place = (item.row.experiment, item.row.label, trial.task, trial.demonstrations.episodes, trial.seed)
        other = seen.setdefault(place, item)
        if other.row != item.row:
            raise InputError(
                f"two methods are called {item.row.label!r}: {other.trial.method} and {trial.method}; rename one"
            )
