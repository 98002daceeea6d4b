"""Methods are found by name, in modules and in files; what is not found is named."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from methods import registry
from methods.bc import BehaviouralCloning
from methods.interface import Method, MethodError

OWN = """
from dataclasses import dataclass
from methods.interface import Method
from methods.registry import register

@dataclass(frozen=True)
class Settings:
    depth: int = 1

@register
class Own(Method):
    name = "{name}"
    Settings = Settings
    def fit(self, demonstrations, context):
        raise RuntimeError
"""


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def write(folder: Path, name: str = "own", text: str = OWN) -> Path:
    path = folder / "own_method.py"
    path.write_text(text.format(name=name))
    return path


def test_built_in_methods_are_found_by_name_and_by_place() -> None:
    assert {"gpril", "gail", "bc"} <= set(registry.names())
    assert registry.resolve("bc") is registry.resolve("methods.bc:BehaviouralCloning") is BehaviouralCloning


def test_listing_names_does_not_import_torch() -> None:
    code = "import sys; from methods import registry; registry.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_a_method_in_a_file_is_found_registered_and_loaded_once(tmp_path: Path) -> None:
    place = f"{write(tmp_path)}:Own"
    method = registry.resolve(place)
    assert issubclass(method, Method) and method().settings.depth == 1
    assert registry.resolve(place) is method is registry.resolve("own")
    assert "own" in registry.names()


def test_an_installed_package_offers_methods_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = EntryPoints([EntryPoint("theirs", "methods.bc:BehaviouralCloning", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", entries.select)
    assert "theirs" in registry.names()
    assert registry.resolve("theirs") is BehaviouralCloning


def test_a_name_cannot_be_taken_twice(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"'bc' of .* is taken by methods.bc:BehaviouralCloning"):
        registry.resolve(f"{write(tmp_path, name='bc')}:Own")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gial", "did you mean 'gail'"),
        ("zzz", "known methods: .*bc"),
        ("methods.bc:Nothing", "'methods.bc' has no 'Nothing'; its methods: BehaviouralCloning"),
        ("methods.bc:Pairs", "methods.bc:Pairs is not a learning method"),
        ("no.such.module:X", "cannot import 'no.such.module'"),
        (":X", "cannot import ''"),
        ("missing.py:X", "no file 'missing.py'"),
    ],
)
def test_what_cannot_be_found_is_named(name: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        registry.resolve(name)


def test_a_file_that_does_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"own_method.py.*NameError"):
        registry.resolve(f"{write(tmp_path, text='undefined_name')}:Own")


def test_a_method_without_a_name_is_refused() -> None:
    with pytest.raises(MethodError, match="has no name and no Settings"):
        registry.register(type("Nameless", (Method,), {}))
