"""The source code a trial depends on, found by following imports without executing anything, and its digest.

A trial depends on `benchmarks/trial/`, on the modules of its method and its task, and on every module these import that
is neither part of Python nor an installed package, which are recorded by their versions instead. Python files are
compared by their syntax trees, so comments, docstrings and layout do not matter, and neither do search spaces.
"""

from __future__ import annotations

import ast
import hashlib
import site
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.records.schema import canonical
from envs import tasks
from envs.loading import imported_names, load_module, syntax_tree
from methods.interface import Method

ROOT = Path(__file__).parent.parent.parent
RUNNER = ("benchmarks.trial",)
"""Packages of the suite on which every trial depends, with all their modules."""
EXPERTS = "envs.experts"
"""Demonstrators, and commands that record them; followed only from a method or from each other."""
DEMONSTRATORS = f"{EXPERTS}.kinesthetic"
"""Those of the suite's tasks: a trial depends on them if its method queries the demonstrator."""
NOT_FOLLOWED = (
    "envs.loading",
    "envs.tasks",
    "methods.registry",
    "methods.conformance",
    "benchmarks.errors",
    "benchmarks.records",
)
"""Modules and packages that only find, check or store something, so that they cannot change an outcome."""
NAMED = (
    *(".xml", ".mjcf", ".urdf", ".xacro", ".stl", ".obj", ".msh"),  # models
    *(".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".py"),  # settings and scripts
    *(".npy", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".onnx", ".safetensors"),  # arrays and weights
)
"""A trial depends on files of these types if a string in its code names them, relative to the module's folder. Tables,
texts and pictures are not among them, because a method may write them there while it trains."""
LONGEST_NAME = 200
"""Strings that are longer name no file."""


def source_files(method: type[Method], task: str) -> dict[str, str]:
    """What a trial of this method on this task depends on.

    Besides Python modules these are all files in a folder `assets` next to a module (or at the top of its package), and
    files (models, settings, weights) that a string in a module names, relative to the module's folder.

    Returns:
        digest of each file, by its path below the folder from which its top-level package is imported.

    Raises:
        TaskError: there is no such task.
    """
    roots = _roots(method, task)
    if method.needs_expert:
        roots.add(DEMONSTRATORS)
    files: dict[str, Path] = {}
    for module, path in _closure(roots).items():
        top = _import_folder(module, path)
        for file in (path, *_assets(path, top)):
            files[file.relative_to(top).as_posix()] = file
    return {label: _file_digest(path, *_stamp(path)) for label, path in sorted(files.items())}


def digest(files: Mapping[str, str]) -> str:
    """sha256 of the names and digests of source files."""
    return hashlib.sha256(canonical(dict(files))).hexdigest()


def changed_files(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The files that differ or are in only one of the two; none if the old ones are not known."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)] if old else []


def own_packages(method: type[Method], task: str) -> set[str]:
    """Top-level packages and modules, other than installed ones, from which a trial imports."""
    return {name.partition(".")[0] for name in _closure(_roots(method, task))}


def _roots(method: type[Method], task: str) -> set[str]:
    """The modules of a method, of a task's environment and of what registers it, and of the runner."""
    entry = tasks.find(task).entry_point
    environment = entry.split(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
    place = task.rpartition(":")[0]
    registering = load_module(place).__name__ if place else ""
    return {method.__module__, environment, registering, *_runner_modules()} - {""}


def tree_digest(source: bytes) -> str:
    """sha256 of a Python file's syntax tree without docstrings; of its bytes if it cannot be parsed."""
    tree = syntax_tree(source)
    content = source if tree is None else "".join(_tokens(tree)).encode()
    return hashlib.sha256(content).hexdigest()


def _closure(roots: Iterable[str]) -> dict[str, Path]:
    """The files of these modules and of all they import, directly or not, except installed ones."""
    roots = set(roots)
    _file_of.cache_clear()  # modules may have appeared, and folders on the path
    _folders_of.cache_clear()
    followed = {name.partition(".")[0] for name in roots}  # also if installed, as a method from another package
    found: dict[str, Path] = {}
    waiting = [(name, "") for name in roots]
    while waiting:
        name, importer = waiting.pop()
        if name in found or (name not in roots and _is_ignored(name, importer)):
            continue
        path = _file_of(name)
        top = name.partition(".")[0]
        if path is None or (top not in followed and _is_installed(top, _import_folder(name, path))):
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        parents = [package.rpartition(".")[0], package] if package else []  # importing a.b executes a/__init__.py
        waiting += [
            (imported, name) for imported in (*parents, *imported_names(path.read_bytes(), package)) if imported
        ]
    return found


def _is_ignored(module: str, importer: str) -> bool:
    ignored: tuple[str, ...] = NOT_FOLLOWED
    if importer.partition(".")[0] in ("benchmarks", "envs") and not importer.startswith(f"{EXPERTS}."):
        ignored += (EXPERTS, "envs.formats")
    return module == "envs" or any(module == name or module.startswith(f"{name}.") for name in ignored)


def _import_folder(module: str, path: Path) -> Path:
    """The folder from which a module's top-level package is imported."""
    return path.parents[module.count(".") + (path.name == "__init__.py")]


@cache
def _file_of(module: str) -> Path | None:
    """The Python file of a module, found without importing its package; None for what has none."""
    parent, _, _ = module.rpartition(".")
    try:
        if not parent:
            spec = find_spec(module)
        else:
            folders = _folders_of(parent)
            spec = PathFinder.find_spec(module, folders) if folders else None
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _folders_of(package: str) -> list[str]:
    """Where the modules of a package are; empty if it is none."""
    parent, _, _ = package.rpartition(".")
    try:
        spec = find_spec(package) if not parent else PathFinder.find_spec(package, _folders_of(parent))
    except (ImportError, ValueError, AttributeError):
        return []
    return list(spec.submodule_search_locations or []) if spec else []


def _modules_of(package: str) -> set[str]:
    """A package and all modules in it."""
    return {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
        for folder in map(Path, _folders_of(package))
        for path in folder.rglob("*.py")
    }


@cache
def _runner_modules() -> frozenset[str]:
    return frozenset().union(*(_modules_of(package) for package in RUNNER))


@cache
def _is_installed(top: str, folder: Path) -> bool:
    """Whether a top-level module imported from a folder is part of Python or of an installed distribution."""
    places = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    if folder.resolve() in {Path(place).resolve() for place in places if place}:
        return True
    return any(folder.glob("*.dist-info")) and top in metadata.packages_distributions()  # pip install --target


def _assets(module: Path, top: Path) -> Iterator[Path]:
    folders = dict.fromkeys([module.parent, *(parent for parent in module.parents if parent.parent == top)])
    for folder in folders:
        yield from (path for path in (folder / "assets").rglob("*") if path.is_file() and path.suffix != ".pyc")
    for name in _file_names(module.read_bytes()):
        path = module.parent / name
        if path.is_file() and path.resolve().is_relative_to(top.resolve()):
            yield path


@cache
def _file_names(source: bytes) -> tuple[str, ...]:
    """Strings in a file's code that may name another file, such as "scene.xml" and "settings/small.json"."""
    tree = syntax_tree(source)
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)) if tree else ()
    texts = {text for text in strings if isinstance(text, str) and len(text) <= LONGEST_NAME and text.isprintable()}
    return tuple(text for text in texts if Path(text).suffix.lower() in NAMED)


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@cache
def _file_digest(path: Path, modified: int, size: int) -> str:
    """The digest of a file; `modified` and `size` tell whether the cached one still holds."""
    content = path.read_bytes()
    return tree_digest(content) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


def _tokens(node: Any) -> Iterator[str]:
    """A syntax tree in words that are the same for all versions of Python: fields that are empty are left out, as are
    strings that are statements of their own (docstrings)."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                value = [item for item in value if not _is_docstring(item)]
                if isinstance(node, ast.Module):
                    value = [item for item in value if not _is_search_space(item)]
            if value is not None and value != [] and name != "kind":
                yield f" {name}="
                yield from _tokens(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _tokens(item)
            yield ","
        yield "]"
    else:
        yield repr(node)


def _is_search_space(node: Any) -> bool:
    """Whether this declares what tuning may try, which no trial reads (see `benchmarks.planning.search`)."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign) and [getattr(t, "id", "") for t in targets] == ["SEARCH"]


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
