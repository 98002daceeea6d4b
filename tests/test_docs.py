"""The documentation: its links, commands, options, tables and example methods exist and work."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from analysis.load import load
from analysis.report import docs_tables
from analysis.report.__main__ import plain_text
from analysis.tables.build import main_table
from methods.registry import BUILT_IN

ROOT = Path(__file__).parent.parent
FILES = ["README.md", "CONTRIBUTING.md", "results/README.md", "methods/gpril/README.md"]
PAGES = sorted(FILES + [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
ROLE = re.compile(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`")
COMMAND = re.compile(r"python -m ((?:analysis|benchmarks|envs|methods|tests)[\w.]*)(.*)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: str, text: str) -> list[str]:
    """Links to files or headings that do not exist."""
    folder, broken = (ROOT / page).parent, list[str]()
    for link in LINK.findall(text):
        place, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        target = folder / place if place else ROOT / page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            broken.append(link)
    return broken + [name for name in ROLE.findall(text) if not (folder / f"{name}.md").exists()]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each module of ours that is run, with its arguments."""
    text = text.replace("\\\n", " ")
    return [(module, re.split(r"`|  #", rest)[0].split()) for module, rest in COMMAND.findall(text)]


def options(module: str, arguments: list[str]) -> set[str]:
    """Options that a command has."""
    spec = find_spec(module)
    assert spec
    name = f"{module}.__main__" if spec.submodule_search_locations else module
    declared = [value for value in vars(import_module(name)).values() if isinstance(value, click.Command)]
    found = next((command for command in declared if isinstance(command, click.Group)), declared[0])
    if isinstance(found, click.Group):
        found = found.commands[arguments[0]]
    return {option for parameter in found.params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert broken_links(page, text_of(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_with_these_options(page: str) -> None:
    for module, arguments in commands(text_of(page)):
        assert find_spec(module), f"{page}: python -m {module}"
        asked = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        if asked and not module.startswith("tests."):
            assert asked <= options(module, arguments), f"{page}: python -m {shlex.join([module, *arguments])}"


def test_the_rules_above_find_what_is_wrong() -> None:
    assert broken_links("README.md", "[a](nowhere.md) [b](docs/faq.md#nothing) [c](docs/faq.md)") == [
        "nowhere.md",
        "docs/faq.md#nothing",
    ]
    assert broken_links("docs/faq.md", "{doc}`nowhere` {doc}`there <running>`") == ["nowhere"]
    found = commands("`python -m benchmarks.run --seeds 1 \\\n  --wrong=2`, or more")
    assert found == [("benchmarks.run", ["--seeds", "1", "--wrong=2"])]
    assert "--seeds" in options(*found[0]) and "--wrong" not in options(*found[0])
    assert sum(len(commands(text_of(page))) for page in PAGES) > 50


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    """At most 120 characters, but for tables, pictures and what is generated."""
    text = re.sub(r"<!-- .*?<!-- end -->", "", text_of(page), flags=re.DOTALL)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))] == []


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


def test_each_method_has_a_page() -> None:
    shown = {path.stem for path in (ROOT / "docs/methods").glob("*.md")} - {"index"}
    assert shown == set(BUILT_IN)
    for name in BUILT_IN:
        assert f"({name}.md)" in text_of("docs/methods/index.md") and f"\n{name}\n" in text_of("docs/methods/index.md")


RATES = re.compile(r"\b\d{1,3} / \d{1,3}\b|\b\d+ points (?:more|less|on)\b")
WITHOUT_RECORDS = re.compile(r"\bno records were kept|\brecords were not kept", re.IGNORECASE)


def rates_by_hand(text: str) -> list[str]:
    """Success rates and differences in prose, but in sections which say that no records were kept."""
    text = re.sub(r"<!-- .*?<!-- end -->|```.*?```", "", text, flags=re.DOTALL)
    sections = re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
    return [rate for section in sections if not WITHOUT_RECORDS.search(section) for rate in RATES.findall(section)]


@pytest.mark.parametrize("page", PAGES)
def test_success_rates_are_generated(page: str) -> None:
    assert rates_by_hand(text_of(page)) == [], "show a generated table, or link to one: the records will change"


def test_success_rates_by_hand_are_found() -> None:
    text = (
        "# A\nWith 80 / 60 it is 9 points more.\n## B\nNo records were kept: 1 / 2.\n<!-- t -->\n3 / 4\n<!-- end -->\n"
    )
    assert rates_by_hand(text) == ["80 / 60", "9 points more"]


@pytest.mark.parametrize("page", docs_tables.PAGES)
def test_pages_show_the_committed_tables(page: str) -> None:
    text = text_of(page)
    there = [table for table in docs_tables.PAGES[page] if table in docs_tables.BLOCKS or (ROOT / table).exists()]
    assert docs_tables.shown(text) == there, f"{page} has no place for a table; docs_tables.py says how one is marked"
    assert docs_tables.updated(text, ROOT) == text, "python -m analysis.report.docs_tables writes tables into the pages"


def test_the_readme_prints_what_the_records_give() -> None:
    results = load(ROOT / "results/quick")
    printed = plain_text(main_table(results), Path("results/quick")).splitlines()
    shown = re.search(
        r"\$ python -m benchmarks\.run --methods gpril,gail,bc\n(.*?)```", text_of("README.md"), re.DOTALL
    )
    assert shown
    lines = [line for line in shown[1].splitlines() if line != "..."]
    assert len(lines) > 5 and [line for line in lines if line not in printed] == []


def examples() -> dict[str, str]:
    """The methods that the pages show: the README's, the one from scratch, and the latter with its resuming loop."""
    shown = r"```python\n(# mine\.py.*?)```"
    short, long = (re.search(shown, text_of(page), re.DOTALL) for page in ("README.md", "docs/extending.md"))
    loop = re.search(r"```python\n(        done = 0\n.*?)```", text_of("docs/extending.md"), re.DOTALL)
    assert short and long and loop, "the README and docs/extending.md show a method, and the latter how it resumes"
    before, _, rest = long[1].partition("        for update")
    after = rest.partition("context.checkpoint(policy, update / updates, update)\n")[2]
    return {"short": short[1], "from scratch": long[1], "resuming": before + loop[1] + after}


@pytest.mark.parametrize("name", ["short", "from scratch", "resuming"])
def test_the_methods_shown_keep_the_contract(tmp_path: Path, name: str) -> None:
    source = examples()[name]
    assert len(source.splitlines()) <= {"short": 15, "from scratch": 40, "resuming": 50}[name]
    (tmp_path / "mine.py").write_text(source)
    check = [sys.executable, "-m", "methods.check", f"{tmp_path / 'mine.py'}:Mine"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rollout_shown_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"```python\n(.*?)```", text_of("docs/quickstart.md"), re.DOTALL)[-1]
    policy = min((ROOT / "results/quick/policies").iterdir())
    monkeypatch.chdir(ROOT)
    exec(shown.replace("results/runs/quick/policies/TRIAL", str(policy)), {})
    assert capsys.readouterr().out in ("True\n", "False\n")


def test_the_recurrent_example_keeps_the_contract() -> None:
    check = [sys.executable, "-m", "methods.check", "docs/examples/gru.py:Gru"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_task_shown_is_recorded_exported_imported_and_compared(tmp_path: Path) -> None:
    shown = re.search(r"```python\n(# my_task\.py.*?)```", text_of("docs/extending.md"), re.DOTALL)
    assert shown and len(shown[1].splitlines()) <= 40
    (tmp_path / "my_task.py").write_text(shown[1])
    task, slot = f"{tmp_path / 'my_task.py'}:Slot-v0", tmp_path / "slot.npz"
    pytest.importorskip("h5py")
    for command in (
        ["envs.record", "--task", task, "--policy", "expert", "--out", slot],
        ["envs.formats", "export", slot, "robomimic", tmp_path / "low_dim.hdf5"],
        ["envs.formats", "import", "robomimic", tmp_path / "low_dim.hdf5", "--task", task, "--out", tmp_path / "2.npz"],
        ["methods.check", "--task", task, "--demonstrations", tmp_path / "2.npz"],
        [
            *("benchmarks.run", "--tasks", task, "--demonstrations", tmp_path / "2.npz", "--methods", "knn,dagger"),
            *("--profile", "smoke", "--seeds", "1", "--jobs", "1", "--results", tmp_path / "results"),
        ],
    ):
        done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Slot-v0" in done.stdout and str(tmp_path / "my_task.py") not in done.stdout
