"""What a method's class declares (its name, settings and needs), checked without training it; imports no torch."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from methods.interface import Method, Policy, SettingsError, make_settings

RESERVED = ("budget", "default", "evaluation", "all", "offline", "interactive", "states")
"""Words of profiles, of --set and of --methods that no method can be called."""
_NAME = re.compile(r"[^\W_]([\w .+()-]{0,58}[\w.+)])?")
_FLAGS = ("needs_actions", "needs_environment", "needs_expert")


def declaration_problem(method: type[Method]) -> str:
    """What is wrong with the declarations of a method's class, in one line with the fix; empty if nothing is."""
    return (
        _name_problem(method)
        or _settings_problem(method)
        or _flag_problem(method)
        or _text_problem(method)
        or _policy_problem(method)
        or _abstract_problem(method)
    )


def plain_settings(method: str, settings: Any) -> dict[str, Any]:
    """Settings as JSON's types, as a trial's record stores them.

    Raises:
        SettingsError: naming the field whose value JSON does not have, and the fix.
    """
    return {name: _plain(f"{method}.{name}", value) for name, value in asdict(settings).items()}


def _plain(place: str, value: Any) -> Any:
    try:
        json.dumps(value, ensure_ascii=False).encode()
        return json.loads(json.dumps(value, allow_nan=False))
    except UnicodeEncodeError:
        raise SettingsError(f"{place} is {value!r}, which is not UTF-8 text, so no record can hold it") from None
    except ValueError:
        raise SettingsError(f"{place} is {value!r}, which is not a finite number; give one, or None") from None
    except TypeError:
        inner, wrong = _first_foreign(place, value)
        raise SettingsError(f"{inner} is a {type(wrong).__name__}; {_advice(wrong)}") from None


def _first_foreign(place: str, value: Any) -> tuple[str, Any]:
    """The first part of a value that JSON does not have."""
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str | int | float | bool | None):
                return f"a key of {place}", key
        parts = [(f"{place}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{place}[{i}]", part) for i, part in enumerate(value)]
    else:
        return place, value
    for inner, part in parts:
        try:
            json.dumps(part)
        except TypeError:
            return _first_foreign(inner, part)
    return place, value


def _advice(value: Any) -> str:
    if isinstance(value, PurePath):
        return "settings are stored as JSON, so declare it as str and make the Path in fit"
    if isinstance(value, Enum):
        return "settings are stored as JSON, so declare it as Literal[...] of strings"
    if isinstance(value, np.ndarray):
        return "settings are stored as JSON, so declare it as a tuple of numbers and make the array in fit"
    if isinstance(value, np.generic):
        return f"settings are stored as JSON, so write the plain number {value.item()!r}"
    return "settings are stored as JSON, so use numbers, strings, booleans, None, lists, tuples or dictionaries of them"


def _name_problem(method: type[Method]) -> str:
    if not hasattr(method, "name"):
        return 'it has no name; add a class attribute name = "my-method"'
    name = method.name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"its name is {name!r}; a name begins with a letter or digit and has at most 60 letters, digits, spaces "
            "and . _ + - ( )"
        )
    if name in RESERVED:
        return f"its name {name!r} has another meaning on the command line or in profiles; choose another"
    return ""


def _settings_problem(method: type[Method]) -> str:
    if not hasattr(method, "Settings"):
        return "it has no Settings; add a frozen dataclass, empty if there is nothing to set"
    settings: Any = method.Settings
    if not isinstance(settings, type) or not is_dataclass(settings):
        return f"its Settings, {settings!r}, is not a dataclass; decorate the class with @dataclass(frozen=True)"
    if not settings.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "its Settings can be changed; decorate the class with @dataclass(frozen=True)"
    try:
        defaults = settings()
    except TypeError as error:
        return f"its Settings cannot be made without arguments ({error}); give every field a default"
    except Exception as error:
        return f"its Settings refuses its own defaults ({type(error).__name__}: {error})"
    try:
        make_settings(method, plain_settings(method.name, defaults))  # as a trial makes them from its record
    except SettingsError as error:
        return str(error)
    return ""


def _text_problem(method: type[Method]) -> str:
    for name in ("display_name", "summary"):
        text = getattr(method, name)
        if not isinstance(text, str) or not text.isprintable():
            return f"its {name} is {text!r}; write one line of text"
    return ""


def _flag_problem(method: type[Method]) -> str:
    for flag in _FLAGS:
        if not isinstance(value := getattr(method, flag), bool):
            return f"{flag} is {value!r}; write True or False"
    return ""


def _policy_problem(method: type[Method]) -> str:
    declared: Any = method.policy
    if declared is not None and not (isinstance(declared, type) and issubclass(declared, Policy)):
        return f"its policy is {declared!r}; it must be the class of what fit returns, or None for GaussianPolicy"
    if not isinstance(method.small, Mapping):
        return f"small is {method.small!r}; it must be a dictionary of settings"
    try:
        make_settings(method, method.small)
    except SettingsError as error:
        return f"small is wrong: {error}"
    return ""


def _abstract_problem(method: type[Method]) -> str:
    if inspect.isabstract(method):
        return f"it does not implement {' and '.join(sorted(method.__abstractmethods__))}"
    return "" if callable(method.fit) else f"fit is {method.fit!r}; it must be a function"
