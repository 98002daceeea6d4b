"""Profiles: how much is spent on a comparison. Each is a TOML file in `profiles/`, or one of the user's own.

    summary = "one line for --list"
    extends = "quick"       # optional: a profile whose values hold where this one has none of its own
    [suite]                 # see `Suite`
    [evaluation]            # see `records.Evaluation`
    [budget.default]        # see `records.BudgetChoice`; [budget.METHOD] and [budget.METHOD.TASK] override it
    [settings.METHOD]       # [settings.METHOD.TASK] overrides it; the rest are the method's own defaults
    [seconds]               # METHOD = a rough guess of a trial's duration, used until records tell better

TASK is a short name of `envs.TASKS` or a Gymnasium id.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.errors import InputError, unknown
from benchmarks.records import BudgetChoice, Evaluation

FOLDER = Path(__file__).parent / "profiles"
DEFAULT = "quick"

Table = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Suite(_Model):
    """The seeds and demonstrations of a comparison, unless it says otherwise.

    Attributes:
        seeds: how many.
        figure_seeds: experiments that stand for a figure of the paper have as many as that instead.
        demonstrations: numbers of demonstrated episodes.
        first_seed: seeds count from here.
        first_demonstration: episodes are taken from this one on; what comes before is kept from the methods.
    """

    seeds: Positive
    demonstrations: Annotated[list[Positive], Field(min_length=1)]
    figure_seeds: bool = False
    first_seed: Count = 0
    first_demonstration: Count = 0


class Profile(_Model):
    """Budgets and settings; the layout is described above."""

    name: str
    summary: str
    suite: Suite
    evaluation: Evaluation
    budget: dict[str, Table]
    settings: dict[str, Table] = Field(default_factory=dict)
    seconds: dict[str, float] = Field(default_factory=dict)

    def budget_of(self, method: str, task: str, overrides: Mapping[str, Any]) -> BudgetChoice:
        """What a method may spend on a task (short name or id).

        Raises:
            InputError: a key is unknown, missing or negative.
        """
        layers = [self.budget.get("default", {}), self.budget.get(method, {})]
        values = {key: value for layer in layers for key, value in _for_task(layer, task).items()}
        return _validated(BudgetChoice, values | dict(overrides), f"budget of {method} on {task} (profile {self.name})")

    def evaluation_with(self, overrides: Mapping[str, Any]) -> Evaluation:
        """How its trials are evaluated; raises InputError for an unknown or impossible override."""
        return _validated(Evaluation, self.evaluation.model_dump() | dict(overrides), "evaluation")

    def settings_of(self, method: str, task: str) -> Table:
        """The settings this profile changes for a method on a task."""
        return _for_task(self.settings.get(method, {}), task)


def names() -> list[str]:
    """The profiles that ship with the suite, smallest first."""
    order = ["smoke", "quick", "tuning", "standard", "paper"]
    return sorted((path.stem for path in FOLDER.glob("*.toml")), key=order.index)


def load(name: str) -> Profile:
    """Read a shipped profile by its name, or a user's by the path of its TOML file.

    Raises:
        InputError: there is no such profile, or the file is not one.
    """
    values = _read(name)
    if "extends" in values:
        values = _merged(_read(str(values.pop("extends"))), values)
    path = _path(name)
    return _validated(Profile, values | {"name": path.stem}, f"profile {path}")


def _path(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"


def _read(name: str) -> Table:
    if not name.endswith(".toml") and name not in names():
        raise unknown("profile", name, names())
    try:
        return tomllib.loads(_path(name).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"profile {_path(name)}: cannot be read ({error})") from None


def _merged(below: Table, above: Table) -> Table:
    """`below` with the values of `above`, table by table."""
    tables = {key: _merged(below.get(key, {}), value) for key, value in above.items() if isinstance(value, dict)}
    return below | above | tables


def _for_task(table: Table, task: str) -> Table:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    return plain | table.get(task, {})


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
        raise InputError(f"{what}: {place} = {first['input']!r}: {first['msg']}") from None


def _fields(model: type[BaseModel], parents: list[str]) -> list[str]:
    for parent in parents:
        model = cast(type[BaseModel], model.model_fields[parent].annotation)
    return list(model.model_fields)
