"""Names of methods and where to find them: built in, installed by others (entry points), or in a user's file.

Methods are imported only when needed, so listing the names is cheap.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from envs.loading import LoadError, load_module
from methods.conformance.declaration import declaration_problem
from methods.interface import Method, MethodError, Policy

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
    "dagger": "methods.dagger:Dagger",
    "bco": "methods.bco:Bco",
    "dac": "methods.off_policy.dac:Dac",
    "sqil": "methods.off_policy.sqil:Sqil",
    "gaifo": "methods.gail.gaifo:Gaifo",
    "airl": "methods.gail.airl:Airl",
    "iq-learn": "methods.off_policy.iq_learn:IqLearn",
    "sail": "methods.sail:Sail",
}

_registered: dict[str, type[Method]] = {}


@dataclass(frozen=True)
class Outline:
    """What a method's class says about itself: its attributes, and `settings_decide`.

    Attributes:
        settings_decide: whether the class has a rule of its own for which settings need actions; `needs_actions` then
            is about the default ones.
    """

    name: str
    display_name: str = ""
    summary: str = ""
    needs_actions: bool = True
    needs_environment: bool = True
    needs_expert: bool = False
    settings_decide: bool = False

    @property
    def needs(self) -> str:
        """What it needs besides demonstrated states, in words."""
        actions = "actions by default" if self.settings_decide else "actions"
        words = {actions: self.needs_actions, "environment": self.needs_environment, "expert": self.needs_expert}
        return ", ".join(word for word, needed in words.items() if needed) or "nothing"


GROUPS: Mapping[str, tuple[str, Callable[[Outline], bool]]] = {
    "all": ("every known method", lambda method: True),
    "offline": (
        "those that learn from demonstrations alone",
        lambda method: not (method.needs_environment or method.needs_expert),
    ),
    "interactive": ("those that query the demonstrator while they train", lambda method: method.needs_expert),
    "states": ("those that need no demonstrated actions", lambda method: not method.needs_actions),
}
"""Names for several methods: what they stand for, and the rule."""


def register(method: type[Method]) -> type[Method]:
    """Class decorator: make `method` known under its `name` in this process.

    Raises:
        MethodError: it is no method, its declarations are wrong, or another one has that name.
    """
    _require_method(method, repr(method))
    _registered[method.name] = method
    return method


def names() -> tuple[str, ...]:
    """All known names: built in, registered in this process, and offered by installed packages."""
    return tuple(dict.fromkeys([*BUILT_IN, *sorted(_registered), *sorted(entry_points(group=GROUP).names)]))


def split(text: str) -> tuple[str, ...]:
    """The names in a list like "gpril,bc,my/file.py:Mine"; a comma in the path of an existing file separates nothing.

    Raises:
        MethodError: there are none, or one is empty, as where a variable of the shell was not set.
    """
    parts, found = text.split(","), list[str]()
    while parts:
        ends = range(len(parts), 1, -1)
        size = next((end for end in ends if _is_file(",".join(parts[:end]))), 1)
        found.append(",".join(parts[:size]).strip())
        parts = parts[size:]
    if not all(found):
        where = "it is empty" if not any(found) else "one of its names is empty"
        raise MethodError(f"the list of methods is {text!r}: {where}; name methods, separated by commas")
    return tuple(dict.fromkeys(found))


def expand(chosen: Iterable[str]) -> tuple[str, ...]:
    """Names with the groups among them (see `GROUPS`) replaced by their methods, each name once.

    Raises:
        MethodError: no known method belongs to a group.
    """
    found: list[str] = []
    for name in chosen:
        members = [name]
        if name in GROUPS:
            meaning, belongs = GROUPS[name]
            members = [known for known in names() if belongs(outline(known))]
            if not members:
                raise MethodError(f"no known method belongs to {name!r}, {meaning}; known: {', '.join(names())}")
        found += members
    return tuple(dict.fromkeys(found))


def resolve(name: str) -> type[Method]:
    """Find a method by its name, as "package.module:Attribute", or as "path/to/file.py:Attribute".

    Raises:
        MethodError: there is none, or what was found is no `Method`.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode(errors="backslashreplace").decode()
        raise MethodError(f"the name {shown!r} is not UTF-8, so no record can hold it; rename the file") from None
    if name in _registered:
        return _registered[name]
    if name in BUILT_IN:
        return _load(BUILT_IN[name])
    if name.endswith(".py"):
        return _load(f"{name}:")
    if ":" in name:
        return _load(name)
    offered = sorted({entry.value for entry in entry_points(group=GROUP, name=name)})
    if len(offered) > 1:
        raise MethodError(f"several packages offer a method {name!r}; name one of {', '.join(offered)} instead")
    for place in offered:
        return _load(place)
    near = get_close_matches(name, [*names(), *GROUPS], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known methods: {', '.join(names())}"
    raise MethodError(f"there is no method {name!r}; {hint} (a method of your own: file.py:ClassName)")


def outline(name: str) -> Outline:
    """What a method's class says about itself; for most of ours it is read from the source without an import.

    Raises:
        MethodError: see `resolve`.
    """
    declared = None if name in _registered else _read(BUILT_IN.get(name, ""))
    if declared is None:
        method = resolve(name)
        declared = {key: getattr(method, key) for key in Outline.__dataclass_fields__ if hasattr(method, key)}
        own = method.__mro__[: method.__mro__.index(Method)]
        declared["settings_decide"] = any("requires_actions" in vars(kind) for kind in own)
    return Outline(**declared)


def policy_class(method: type[Method]) -> type[Policy]:
    """The class of what a method's `fit` returns."""
    if method.policy is not None:
        return method.policy
    from methods.policy import GaussianPolicy  # here, because it imports torch

    return GaussianPolicy


def describe(name: str) -> str:
    """A method for `--list NAME`: its summary, what it needs, and every setting with its default and meaning.

    Raises:
        MethodError: see `resolve`.
    """
    method, about = resolve(name), outline(name)
    lines = [
        f"{method.name}: {method.summary or 'no summary'}",
        f"class {method.__module__}:{method.__qualname__}; needs {about.needs}",
    ]
    defaults = asdict(method.Settings())
    documented = _documented(method.Settings, defaults)
    lines.append(f"settings, changed by --set {method.name}.NAME=VALUE:" if defaults else "it has no settings")
    for key, value in defaults.items():
        lines.append(f"  {key} = {json.dumps(value)}")
        lines += textwrap.wrap(documented.get(key, ""), 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def _documented(settings: type, fields: Iterable[str]) -> dict[str, str]:
    """The meaning of each field, from lines "name: meaning" or "name, name: meaning" in its classes' docstrings."""
    known, found = set(fields), dict[str, str]()
    for kind in reversed(settings.__mro__):
        described: list[str] = []
        for line in inspect.cleandoc(kind.__doc__ or "").splitlines():
            names_, colon, meaning = line.strip().partition(": ")
            if colon and set(names_.split(", ")) <= known:
                described = names_.split(", ")
                found |= dict.fromkeys(described, meaning)
            elif not line.strip():
                described = []
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in described}
    return found


def _read(place: str) -> dict[str, Any] | None:
    """The literal class attributes of a method of ours, from its source; None where an import must tell."""
    module, _, name = place.partition(":")
    path = Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")
    if not module.startswith("methods.") or not path.is_file():
        return None
    classes = {node.name: node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)}
    node, found = classes.get(name), dict[str, Any]()
    while node is not None:
        found = dict(_literals(node)) | found
        base = node.bases[0].id if len(node.bases) == 1 and isinstance(node.bases[0], ast.Name) else ""
        if base == "Method":
            known = {key: value for key, value in found.items() if key in Outline.__dataclass_fields__}
            return known if "name" in known else None
        node = classes.get(base)
    return None


def _literals(node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
    for line in node.body:
        if isinstance(line, ast.FunctionDef) and line.name == "requires_actions":
            yield "settings_decide", True
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        value = getattr(line, "value", None)
        if len(targets) == 1 and isinstance(targets[0], ast.Name) and isinstance(value, ast.Constant):
            yield targets[0].id, value.value


def _is_file(name: str) -> bool:
    """Whether this is an existing file.py or file.py:Class."""
    where, _, attribute = name.strip().rpartition(".py")
    return (attribute == "" or attribute[1:].isidentifier()) and Path(f"{where}.py").is_file()


def _load(place: str) -> type[Method]:
    where, _, attribute = place.rpartition(":")
    try:
        module = load_module(where)
    except LoadError as error:
        raise MethodError(f"{place}: {error}") from error
    found = getattr(module, attribute, None) if attribute else None
    if found is None:
        classes = {key: value for key, value in vars(module).items() if _is_method(value)}
        classes = {key: kind for key, kind in classes.items() if kind.__module__ == module.__name__} or classes
        if not attribute and classes:
            choices = " or ".join(f"{where}:{name}" for name in classes)
            raise MethodError(f"{where} names no class; write {choices}")
        if not attribute:
            raise MethodError(
                f"{where} names no class; its methods: none; write {where}:ClassName of a class derived from Method"
            )
        raise MethodError(f"{place}: {where!r} has no {attribute!r}; its methods: {', '.join(classes) or 'none'}")
    return _require_method(found, place)


def _is_method(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Method) and not inspect.isabstract(found)


def _require_method(found: object, place: str) -> type[Method]:
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise MethodError(f"{place} is not a learning method; it must be a subclass of methods.interface.Method")
    if problem := declaration_problem(found):
        raise MethodError(f"{place}: {problem}")
    own, known = _place_of(found), _registered.get(found.name)
    holder = _place_of(known) if known else BUILT_IN.get(found.name, own)
    if holder != own:  # as where a derived class states no name
        raise MethodError(f"the name {found.name!r} of {own} is taken by {holder}; give it another `name`")
    return found


def _place_of(method: type[Method]) -> str:
    return f"{method.__module__}:{method.__qualname__}"
