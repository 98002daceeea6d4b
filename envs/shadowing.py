"""Refuses, in one sentence, to run if another package of the same name hides one of this suite's.

The names `envs`, `methods`, `benchmarks` and `analysis` are common: a repository with its own folder `envs` hides ours
from every program started in it. The packages run this file by its path, because `envs` may be the hidden one.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("analysis", "benchmarks", "envs", "methods")


def require_ours(*names: str) -> None:
    """Check that each of these packages is the one beside this file.

    Raises:
        ImportError: another one would be imported in its place.
        SystemExit: the same, where one of the suite's own commands was started with `python -m`; the sentence is
            printed and the exit code is 2.
    """
    for name in names:
        ours = ROOT / name / "__init__.py"
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):  # ValueError: a module without a specification, as `__main__` may be
            spec = None
        places = [spec.origin, *(spec.submodule_search_locations or [])] if spec else []
        found = next((Path(place).resolve() for place in places if place), None)
        if found is None:
            _refuse(f"this suite's package {name!r} is missing from {ROOT}; install the suite again")
        if found != ours:
            other = found.parent if found.name == "__init__.py" else found
            fix = "remove it from PYTHONPATH or uninstall it"
            if other.parent == Path.cwd():
                fix = "set PYTHONSAFEPATH=1, so that Python does not import from the current folder, or use another one"
            _refuse(f"{other} hides this suite's package {name!r} ({ours.parent}); {fix}")
        if name == "envs" and "register_tasks" not in ours.read_text():
            _refuse(
                f"{ours} was overwritten by another package named 'envs'; uninstall that one (pip uninstall envs), and "
                "install this suite again"
            )


def _refuse(message: str) -> NoReturn:
    # While `python -m package.module` imports the package, sys.argv[0] is "-m".
    commands = [argument.removeprefix("-m").split(".")[0] for argument in sys.orig_argv[1:]]
    if sys.argv[:1] == ["-m"] and any(command in PACKAGES for command in commands):
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(message)
