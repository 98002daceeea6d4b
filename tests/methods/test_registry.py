"""Methods are found by name, in modules and in files; what is not found is named."""

from __future__ import annotations

import re
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

RULE = """    @classmethod
    def requires_actions(cls, settings):
        return True

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
    both = EntryPoints([*entries, EntryPoint("theirs", "methods.knn:Knn", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", both.select)
    with pytest.raises(
        MethodError, match=r"several packages offer .* one of methods\.bc:\w+, methods\.knn:Knn instead"
    ):
        registry.resolve("theirs")


def test_a_name_cannot_be_taken_twice(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"'bc' of .* is taken by methods.bc:BehaviouralCloning"):
        registry.resolve(f"{write(tmp_path, name='bc')}:Own")


@pytest.mark.parametrize("base", ["methods.bc:BehaviouralCloning", "methods.gail.algorithm:Gail"])
def test_a_derived_class_that_states_no_name_of_its_own_is_refused(tmp_path: Path, base: str) -> None:
    """Tables would call it by the name of the method it is derived from."""
    module, _, name = base.partition(":")
    text = f"from {module} import {name}\nclass Mine({name}):\n    pass\n"
    with pytest.raises(MethodError, match=rf"of own_method\w*:Mine is taken by {base}; give it another `name`"):
        registry.resolve(f"{write(tmp_path, text=text)}:Mine")


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit", "GeneratorExit"])
def test_whatever_a_module_raises_is_one_sentence(tmp_path: Path, error: str) -> None:
    with pytest.raises(MethodError, match=r"cannot import .*own_method.py' \(\w+: no licence\)"):
        registry.resolve(f"{write(tmp_path, text=f'raise {error}({chr(34)}no licence{chr(34)})')}:Own")


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


def test_a_file_without_a_class_lists_those_it_has(tmp_path: Path) -> None:
    path = write(tmp_path, text=OWN.replace("@register\n", "") + "class Second(Own):\n    name = 'second'\n")
    for given in (str(path), f"{path}:"):
        with pytest.raises(MethodError, match=f"write {path}:Own or {path}:Second$"):
            registry.resolve(given)
    (tmp_path / "no_methods_here.py").write_text("from methods.bc import Pairs\n")
    with pytest.raises(MethodError, match="its methods: none"):
        registry.resolve(str(tmp_path / "no_methods_here.py"))


@pytest.mark.parametrize(
    "name", ["", "budget", "default", "evaluation", "all", "states", "a,b", "a:b", "a=b", " x", "x" * 61]
)
def test_a_name_that_means_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MethodError, match=r"own_method.py:Own|its name"):
        registry.resolve(f"{write(tmp_path, name=name)}:Own")


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="its name is None"):
        registry.resolve(f"{write(tmp_path, text=OWN.replace(repr('{name}').replace(chr(39), chr(34)), 'None'))}:Own")


@pytest.mark.parametrize("folder", ["a,b", "a:b", "a b", "ü", "=", "a,b.py:X,c"])
def test_odd_characters_in_a_path_survive(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    place = f"{write(tmp_path / folder)}:Own"
    assert registry.split(f"gpril, {place},bc") == ("gpril", place, "bc")
    assert registry.split(f"{place},{place}") == (place,)
    assert registry.resolve(place).name == "own"


def test_a_name_that_no_record_can_hold_is_refused() -> None:
    with pytest.raises(MethodError, match=r"not UTF-8"):
        registry.resolve("bad\udcff.py:Own")


@pytest.mark.parametrize("text", ["", " ", ",", "bc,", "bc,,gail"])
def test_a_list_with_nothing_in_it_is_refused(text: str) -> None:
    with pytest.raises(MethodError, match="name methods, separated by commas"):
        registry.split(text)


def test_a_sibling_is_imported_and_a_spawned_process_finds_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_helper.py").write_text("def twice(x):\n    return 2 * x\n")
    text = "import multiprocessing\nfrom my_helper import twice\ndef work(x):\n    return twice(x)\n" + OWN
    path = write(tmp_path, text=text)
    code = (
        "from methods import registry; import sys, multiprocessing\n"
        "if __name__ == '__main__':\n"
        f"    module = sys.modules[registry.resolve({str(path)!r} + ':Own').__module__]\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(module.work, [21]))\n"
    )
    (tmp_path / "main.py").write_text(code)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py"],
        cwd=tmp_path.parent,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[42]\n", done.stderr


@pytest.mark.parametrize("deep", [False, True])
def test_two_folders_may_not_have_different_neighbours_of_one_name(tmp_path: Path, deep: bool) -> None:
    """The second method would silently use the first one's."""
    places = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"common_{deep}.py").write_text(f"WHOSE = {folder!r}\n")
        (tmp_path / folder / f"between_{folder}_{deep}.py").write_text(f"import common_{deep}\n")
        imported = f"between_{folder}_{deep}" if deep else f"common_{deep}"
        path = tmp_path / folder / f"{folder}_method_{deep}.py"
        path.write_text(f"import {imported}\n" + OWN.format(name=folder + str(deep).lower()))
        places.append(f"{path}:Own")
    registry.resolve(places[0])
    with pytest.raises(MethodError, match=rf"'common_{deep}', which is .*first/common.* not .*second/.*; rename"):
        registry.resolve(places[1])


def test_folders_named_like_packages_of_ours_or_pythons_hinder_nothing(tmp_path: Path) -> None:
    for name in ("envs", "json", "numpy"):
        (tmp_path / name).mkdir()
    for name in ("envs", "json"):
        (tmp_path / name / "__init__.py").touch()
    text = "import json, numpy\nfrom envs.demonstrations import load\n" + OWN
    assert registry.resolve(f"{write(tmp_path, name='own2', text=text)}:Own").name == "own2"


def test_groups_are_given_by_what_methods_need(tmp_path: Path) -> None:
    assert registry.expand(["all"]) == registry.names()
    offline = registry.expand(["offline"])
    assert "bc" in offline and not {"gpril", "gail"} & set(offline)
    assert registry.expand(["gpril", "offline", "bc", "gpril"])[0] == "gpril"
    assert registry.expand(["file.py:Mine"]) == ("file.py:Mine",)
    asks = OWN.replace(
        "    Settings = Settings\n", "    Settings = Settings\n    needs_expert = True\n    needs_actions = False\n"
    )
    registry.resolve(f"{write(tmp_path, text=asks)}:Own")
    assert "own" in registry.expand(["interactive"]) and "own" in registry.expand(["states"])


def test_outlines_agree_with_the_classes() -> None:
    for name in registry.BUILT_IN:
        method = registry.resolve(name)
        declared = registry.outline(name)
        assert (declared.name, declared.summary) == (method.name, method.summary) and declared.summary
        for attribute in ("display_name", "needs_actions", "needs_environment", "needs_expert"):
            assert getattr(declared, attribute) == getattr(method, attribute), (name, attribute)
        own = method.requires_actions.__qualname__ != Method.requires_actions.__qualname__
        assert declared.settings_decide == own, name


@pytest.mark.parametrize(("rule", "needs"), [("", "actions, environment"), (RULE, "actions by default, environment")])
def test_a_rule_for_actions_is_told_from_a_plain_need(tmp_path: Path, rule: str, needs: str) -> None:
    path = write(tmp_path, text=OWN.replace("    def fit(", f"{rule}    def fit("))
    assert registry.outline(f"{path}:Own").needs == needs
    assert registry.outline("gpril" if rule else "airl").needs == needs, "and of ours, read without an import"


def test_groups_and_outlines_import_no_torch() -> None:
    code = "import sys; from methods import registry; registry.expand(['offline']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_setting_of_ours_is_described(name: str) -> None:
    lines = registry.describe(name).splitlines()
    assert lines[0].startswith(f"{name}: ") and "; needs " in lines[1]
    shown = [i for i, line in enumerate(lines) if line.startswith("  ") and not line.startswith("   ")]
    settings = registry.resolve(name)().settings
    assert [lines[i].split(" = ")[0].strip() for i in shown] == list(vars(settings))
    for i in shown:
        assert lines[i + 1].startswith("      ") and lines[i + 1].strip(), lines[i]
    meanings = re.findall(r"^  \w+ = .*\n((?:      .*\n?)+)", "\n".join(lines), re.MULTILINE)
    assert len(set(meanings)) == len(shown), "each setting has a description of its own"


def test_a_method_without_a_name_is_refused() -> None:
    with pytest.raises(MethodError, match="it has no name"):
        registry.register(type("Nameless", (Method,), {}))


def test_a_method_derived_from_another_has_a_name_of_its_own_in_tables() -> None:
    assert BehaviouralCloning.display_name == "BC"
    assert type("Mine", (BehaviouralCloning,), {"name": "mine"}).display_name == ""
    assert type("Mine", (BehaviouralCloning,), {"name": "mine", "display_name": "My BC"}).display_name == "My BC"
