"""Profiles, which set the budgets of a comparison. Each is a TOML file in `profiles/` or a user's own file.

    summary = "one line for --list"
    extends = "quick"       # optional: a profile, or its file, that provides all values not given here
    [suite]                 # see `Suite`
    [evaluation]            # see `records.Evaluation`
    [budget.default]        # see `records.BudgetChoice`; [budget.METHOD] and [budget.METHOD.TASK] override it
    [settings.METHOD]       # [settings.METHOD.TASK] overrides it; the rest are the method's own defaults
    [presets.NAME.settings] # for the variants of experiments that ask for this preset; [presets.NAME.settings.TASK] and
    [presets.NAME.budget]   # [presets.NAME.budget.TASK] override them
    [demonstrations.EXPERIMENT] # "VARIANT" = [10, 50]: the numbers of demonstrations of a variant that has fewer
    [seconds]               # METHOD = a rough estimate of a trial's duration, used until there are records

EXPERIMENT is a name of `--list` and VARIANT the key of one of its variants (see `benchmarks.paper.Variant`). METHOD is
the `name` of the method's class; TASK is a short name of `envs.TASKS`, a Gymnasium id or module:Id.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import gymnasium
from pydantic import BaseModel, Field, ValidationError, model_validator

import envs
from benchmarks.errors import InputError, unknown
from benchmarks.records.schema import BudgetChoice, Count, Evaluation, Positive, StrictModel

FOLDER = Path(__file__).parent / "profiles"
DEFAULT = "quick"

TABLES = {
    "budget": "budget.METHOD] or [budget.default",
    "settings": "settings.METHOD",
    "presets": "presets.NAME.settings",
    "demonstrations": "demonstrations.EXPERIMENT",
}
"""Tables in which a profile has further tables."""
MOST_SEEDS = 100_000
"""Planning more would take forever."""

Table = dict[str, Any]
M = TypeVar("M", bound=BaseModel)


class Suite(StrictModel):
    """The seeds and demonstrations of a comparison, unless it says otherwise.

    Attributes:
        seeds: how many.
        figure_seeds: experiments that stand for a figure of the paper have as many as that instead.
        demonstrations: numbers of demonstrated episodes.
        first_seed: seeds count from here.
        pool: [start, stop]: each seed draws its own demonstrations from the episodes of a file from `start` to before
            `stop`, the same for every method. Without it all seeds learn from the first episodes of the file.
    """

    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)]
    demonstrations: Annotated[list[Positive], Field(min_length=1)]
    figure_seeds: bool = False
    first_seed: Count = 0
    pool: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _check_pool(self) -> Suite:
        if self.pool and self.pool[0] >= self.pool[1]:
            raise ValueError(f"pool = {self.pool}: the first number must be below the second")
        return self

    def pool_of(self, episodes: int) -> range:
        """The episodes of a file with so many that may be used."""
        start, stop = self.pool or (0, episodes)
        return range(start, max(start, min(stop, episodes)))


class Preset(StrictModel):
    """Settings and budget for variants that ask for them by name, above those of their method."""

    settings: Table = Field(default_factory=dict)
    budget: Table = Field(default_factory=dict)


class Profile(StrictModel):
    """Budgets and settings; the layout is described above."""

    name: str
    summary: str
    suite: Suite
    evaluation: Evaluation
    budget: dict[str, Table]
    settings: dict[str, Table] = Field(default_factory=dict)
    presets: dict[str, Preset] = Field(default_factory=dict)
    demonstrations: dict[str, dict[str, Annotated[list[Positive], Field(min_length=1)]]] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)

    def budget_of(self, method: str, task: str, overrides: Mapping[str, Any], preset: str = "") -> BudgetChoice:
        """What a method may spend on a task (short name, id or module:Id).

        Raises:
            InputError: a key is unknown, missing or negative.
        """
        layers = [self.budget.get("default", {}), self.budget.get(method, {}), self._preset(preset).budget]
        values = {key: value for layer in layers for key, value in _for_task(layer, task).items()}
        return _validated(BudgetChoice, values | dict(overrides), f"budget of {method} on {task} (profile {self.name})")

    def evaluation_with(self, overrides: Mapping[str, Any]) -> Evaluation:
        """How its trials are evaluated; raises InputError for an unknown or impossible override."""
        return _validated(Evaluation, self.evaluation.model_dump() | dict(overrides), "evaluation")

    def settings_of(self, method: str, task: str, preset: str = "") -> Table:
        """The settings this profile changes for a method on a task, or for variants of it with a preset."""
        return _for_task(self.settings.get(method, {}), task) | _for_task(self._preset(preset).settings, task)

    def _preset(self, name: str) -> Preset:
        return self.presets.get(name, Preset())

    def unknown_tables(self, methods: Collection[str], tasks: Collection[str]) -> list[str]:
        """Tables, as budget.METHOD.TASK, for methods that are none of `methods`, and for tasks that are neither one of
        `tasks` nor known here. A profile may have them for other runs, so only what can be no name is refused.

        Raises:
            InputError: a method's name is misspelt or a place, or a task's is no id and no short name.
        """
        found = []
        known = {*envs.TASKS, *envs.TASKS.values(), *tasks}
        for kind, tables in (("budget", self.budget), ("settings", self.settings), ("seconds", self.seconds)):
            for method, table in tables.items():
                if method not in methods and (kind, method) != ("budget", "default"):
                    near = get_close_matches(method, methods, n=1)
                    if near and near[0] not in method:  # "gail-2" is a name of its own
                        raise unknown(f"method in {kind} of profile {self.name}", method, methods)
                    if ":" in method:
                        raise InputError(f"profile {self.name}: {kind}.{method!r}: give the `name` that its class has")
                    found.append(f"{kind}.{method}")
                for task in _tables(table) if isinstance(table, dict) else ():
                    if task in known or task in gymnasium.registry:
                        continue
                    if not re.search(r":|-v\d+$", task):
                        raise unknown(f"task in {kind}.{method} of profile {self.name}", task, known)
                    found.append(f"{kind}.{method}.{task}")
        return found


def names() -> list[str]:
    """The profiles in the suite's folder: those that ship with it, smallest first, and whatever was added."""
    order = ["smoke", "quick", "tuning", "standard", "field", "paper"]
    stems = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return sorted(stems, key=lambda name: order.index(name) if name in order else len(order))


def load(name: str) -> Profile:
    """Read a shipped profile by its name, or a user's by the path of its TOML file.

    Raises:
        InputError: there is no such profile, the file is not one, or it extends itself.
    """
    path = _path(name)
    return _validated(Profile, _extended(name) | {"name": path.stem}, f"profile {path}")


def _path(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"


def _read(name: str) -> Table:
    if not name.endswith(".toml") and name not in names():
        raise unknown("profile", name, names())
    try:
        return tomllib.loads(_path(name).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"profile {_path(name)}: cannot be read ({error})") from None


def _extended(name: str, above: tuple[str, ...] = ()) -> Table:
    """The values of a profile with those of the profiles it extends; `above`: what extends it."""
    chain = (*above, name)
    if name in above:
        raise InputError(f"profile {name} extends itself ({' -> '.join(chain)}); take out one `extends`")
    values = _read(name)
    if "extends" not in values:
        return values
    return _merged(_extended(str(values.pop("extends")), chain), values)


def _merged(below: Table, above: Table) -> Table:
    """`below` with the values of `above`, table by table."""
    tables = _tables(below)
    return below | above | {key: _merged(tables.get(key, {}), value) for key, value in _tables(above).items()}


def _for_task(table: Table, task: str) -> Table:
    """`table` with the values of its table for a task, by whichever of the task's names it has."""
    tables = _tables(table)
    values = {key: value for key, value in table.items() if key not in tables}
    identity = envs.TASKS.get(task, task.rpartition(":")[2])
    short = (name for name, known in envs.TASKS.items() if known == identity)
    for name in dict.fromkeys((*short, identity, task)):
        values |= tables.get(name, {})
    return values


def _tables(table: Table) -> dict[str, Table]:
    """The tables in a table."""
    return {name: values for name, values in table.items() if isinstance(values, dict)}


def _validated(model: type[M], values: Table, what: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a typo explains what is missing
        *parents, key = (str(part) for part in first["loc"])
        place = ".".join([*parents, key])
        if first["type"] == "extra_forbidden":
            known = (".".join([*parents, name]) for name in _fields(model, parents))
            raise unknown(f"key in the {what}", place, known) from None
        if first["type"] == "missing":
            raise InputError(f"{what}: {place} is missing") from None
        if first["type"] in ("dict_type", "model_type"):
            needed = TABLES.get(str(first["loc"][0]), place)
            raise InputError(f"{what}: {place} = {first['input']!r}: a table [{needed}] is needed here") from None
        raise InputError(f"{what}: {place} = {first['input']!r}: {first['msg']}") from None


def _fields(model: type[BaseModel], parents: list[str]) -> list[str]:
    for parent in parents:
        model = cast(type[BaseModel], model.model_fields[parent].annotation)
    return list(model.model_fields)
