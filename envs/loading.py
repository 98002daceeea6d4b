"""Imports the Python files that users name on a command line."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from envs.shadowing import PACKAGES


class LoadError(ValueError):
    """A module or file cannot be imported; the message gives the reason in one line."""


def load_module(place: str) -> ModuleType:
    """Import a module given by its dotted name or by the path of its Python file.

    The folder of a file is appended to `sys.path`, so that the file can import its neighbours and processes that it
    spawns can import the file.

    Raises:
        LoadError: there is no such file, or importing it failed, whatever it raised (`sys.exit` included).
    """
    try:
        return _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (LoadError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit, and what test runners and task groups raise
        raise LoadError(f"cannot import {place!r} ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """The type and the first line of an exception's message, as "ValueError: x is negative"."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    if isinstance(error, SyntaxError):
        text = f"{error.msg}, line {error.lineno}"
    return f"{type(error).__name__}: {text}"


@cache
def imported_names(source: bytes, package: str = "") -> tuple[str, ...]:
    """Names that a file of a package imports, also inside functions; empty if it cannot be parsed.

    `from a import b` may mean the module a.b, so that is listed as well.
    """
    names: list[str] = []
    tree = syntax_tree(source)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            except ImportError:  # beyond the top-level package
                continue
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and (name := _imported_by_name(node, package)):
            names.append(name)
    return tuple(names)


def _imported_by_name(call: ast.Call, package: str) -> str:
    """The module that `importlib.import_module("...")` or `__import__("...")` imports; "" for any other call."""
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    name = getattr(call.args[0], "value", None) if call.args else None
    if called not in ("import_module", "__import__") or not isinstance(name, str):
        return ""
    try:
        return resolve_name(name, package)
    except ImportError:
        return ""


@cache
def syntax_tree(source: bytes) -> ast.Module | None:
    """A Python file's syntax tree; None if it cannot be parsed."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LoadError(f"there is no file {str(path)!r}; give the path of a Python file, then a colon and a name")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _require_neighbours(path)
    if _is_importable(path):
        return importlib.import_module(path.stem)
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # its own name belongs to another module
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None, "a .py file has a loader"
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look up their module while it is being executed
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _is_importable(path: Path) -> bool:
    """Whether importing the file's stem gives this file, rather than another module of the same name."""
    if "." in path.stem:
        return False
    try:
        spec = importlib.util.find_spec(path.stem)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == path


def _require_neighbours(path: Path) -> None:
    """Raises LoadError where a file, or a neighbour it imports, would get another module in a neighbour's place.

    Two folders with a `utils.py` each are an example: Python imports one of them, wherever it is asked for.
    """
    waiting, seen = [path], {path}
    while waiting:
        for name in sorted(_others(waiting.pop())):
            neighbour = next((one for one in _candidates(path.parent / name) if one.is_file()), None)
            if neighbour is None or neighbour in seen:
                continue
            seen.add(neighbour)
            found = _origin(name)
            if found != neighbour.resolve():
                raise LoadError(f"{path} imports {name!r}, which is {found} here, and not {neighbour}; rename that one")
            waiting += neighbour.parent.rglob("*.py") if neighbour.name == "__init__.py" else [neighbour]


def _candidates(place: Path) -> tuple[Path, Path]:
    return place / "__init__.py", place.with_name(f"{place.name}.py")


def _others(path: Path) -> set[str]:
    """The top-level modules that a file imports, but those of Python and of the suite."""
    tops = {name.partition(".")[0] for name in imported_names(path.read_bytes())}
    return tops - sys.stdlib_module_names - {*PACKAGES}


def _origin(module: str) -> Path | None:
    """The file of a top-level module as Python finds it now."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None
