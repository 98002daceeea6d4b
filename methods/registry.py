"""Names of methods and where to find them: built in, installed by others (entry points), or in a user's file.

Nothing is imported before it is asked for, so listing the names is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points

from envs.loading import LoadError, load_module
from methods.interface import Method, MethodError

GROUP = "gpril_benchmarks.methods"
"""The entry-point group in which an installed package offers its methods, as `name = module:Attribute`."""

BUILT_IN: Mapping[str, str] = {
    "gpril": "methods.gpril.algorithm:Gpril",
    "gail": "methods.gail.algorithm:Gail",
    "bc": "methods.bc:BehaviouralCloning",
    "knn": "methods.knn:Knn",
    "bc-gmm": "methods.bc_gmm:BcGmm",
    "bc-rnn": "methods.bc_rnn:BcRnn",
    "act": "methods.act:ActionChunking",
    "diffusion": "methods.diffusion:Diffusion",
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
        module = load_module(where)
    except LoadError as error:
        raise MethodError(f"{place}: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_method(value)]
        raise MethodError(f"{place}: {where!r} has no {attribute!r}; its methods: {', '.join(classes) or 'none'}")
    return _require_method(found, place)


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
