"""Names of methods, and where to find them: built in, installed by others (entry points), or in a file of one's own.

Nothing is imported before it is asked for, so listing the names costs no time.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from methods.interface import Method, MethodError

GROUP = "gpril_benchmarks.methods"
"""The entry-point group in which an installed package offers its methods, as `name = module:Attribute`."""

BUILT_IN: Mapping[str, str] = {
    "gpril": "methods.gpril.algorithm:Gpril",
    "gail": "methods.gail.algorithm:Gail",
    "bc": "methods.bc:BehaviouralCloning",
}

_registered: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Class decorator: make `method` known under its `name` in this process.

    Raises:
        MethodError: it is no method, or another one has that name.
    """
    _require_method(method, repr(method))
    place = f"{method.__module__}:{method.__qualname__}"
    known = _registered.get(method.name)
    holder = f"{known.__module__}:{known.__qualname__}" if known else BUILT_IN.get(method.name, place)
    if holder != place:
        raise MethodError(f"the name {method.name!r} of {place} is taken by {holder}; choose another `name`")
    _registered[method.name] = method
    return method


def names() -> tuple[str, ...]:
    """All known names: built in, registered in this process, and offered by installed packages."""
    return tuple(dict.fromkeys([*BUILT_IN, *sorted(_registered), *sorted(entry_points(group=GROUP).names)]))


def resolve(name: str) -> type[Method]:
    """Find a method by its name, as "package.module:Attribute", or as "path/to/file.py:Attribute".

    Raises:
        MethodError: there is none, or what was found is no `Method`.
    """
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        return _load(BUILT_IN[name])
    if ":" in name:
        return _load(name)
    for entry in entry_points(group=GROUP, name=name):
        return _load(entry.value)
    near = get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known methods: {', '.join(names())}"
    raise MethodError(f"there is no method {name!r}; {hint} (a method of your own: file.py:ClassName)")


def _load(place: str) -> type[Method]:
    where, _, attribute = place.rpartition(":")
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except MethodError:
        raise
    except Exception as error:  # whatever somebody's module raises while it is imported
        raise MethodError(f"{place}: cannot import {where!r} ({type(error).__name__}: {error})") from error
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_method(value)]
        raise MethodError(f"{place}: {where!r} has no {attribute!r}; its methods: {', '.join(classes) or 'none'}")
    return _require_method(found, place)


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise MethodError(f"there is no file {str(path)!r}; give the path of a Python file, then :ClassName")
    name = f"local_method_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up while it is being executed
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _is_method(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Method) and found is not Method


def _require_method(found: object, place: str) -> type[Method]:
    if not _is_method(found):
        raise MethodError(f"{place} is not a learning method; it must be a subclass of methods.interface.Method")
    assert isinstance(found, type) and issubclass(found, Method)
    missing = [attribute for attribute in ("name", "Settings") if not hasattr(found, attribute)]
    if missing:
        raise MethodError(f"{place} has no {' and no '.join(missing)}; see methods.interface.Method")
    return found
