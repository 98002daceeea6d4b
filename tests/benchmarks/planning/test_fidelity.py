"""docs/fidelity.md tells the values that the profile `paper` and the tasks have, all of them, and names real claims."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.paper import FIGURES
from benchmarks.planning import profiles
from envs.experts.kinesthetic import TeacherSettings
from envs.experts.scripted import ExpertSettings
from envs.insertion.base import make_env
from envs.insertion.clip import ClipParameters
from envs.insertion.parameters import InsertionParameters
from envs.insertion.peg import PegParameters
from envs.insertion.physical import PhysicalParameters
from methods import registry
from methods.interface import make_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/fidelity.md").read_text()
PARAMETERS: dict[str, Any] = {
    "clip": ClipParameters(),
    "peg": PegParameters(),
    "physical": PhysicalParameters(),
    "varying": make_env("physical-varying").parameters,
    "expert": ExpertSettings(),
    "teacher": TeacherSettings(),
}
VALUES = re.findall(rf"`(gpril|gail|bc|{'|'.join(PARAMETERS)})\.(\w+) = ([^`]+)`", PAGE)
PLACE = re.compile(r"(\d(\.\d)?|\d[a-f]|app\. [A-C]|eq\. \d+|alg\. 1|lines? \d+|\d+|figures|, )+")


def actual(owner: str) -> dict[str, Any]:
    """A task's parameters, a demonstrator's settings, or a method's settings in `paper` on the clip."""
    if owner in PARAMETERS:
        return asdict(PARAMETERS[owner])
    return asdict(make_settings(registry.resolve(owner), profiles.load("paper").settings_of(owner, "clip")))


def own(kind: type) -> set[str]:
    """The fields that a class declares, or gives another default, itself."""
    return set(vars(kind).get("__annotations__", {}))


def rows(columns: int) -> list[list[str]]:
    """The cells of all tables of the page with so many columns, but for headings and those that are generated."""
    written = re.sub(r"<!-- readings -->.*?<!-- end -->", "", PAGE, flags=re.DOTALL)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in written.splitlines() if line[:2] == "| "]
    return [row for row in cells if len(row) == columns and not {"place", "ours"} & set(row)]


@pytest.mark.parametrize(("owner", "name", "text"), VALUES, ids=lambda part: part)
def test_the_page_tells_the_value_that_is_used(owner: str, name: str, text: str) -> None:
    value = tomllib.loads(f"value = {text}")["value"]
    found = actual(owner)[name]
    assert (list(found) if isinstance(found, tuple) else found) == value


def test_there_is_something_to_compare() -> None:
    assert len(VALUES) > 120 and {"gpril", "gail", "bc", *PARAMETERS} == {owner for owner, _, _ in VALUES}


@pytest.mark.parametrize(
    ("kind", "owners"),
    [
        (InsertionParameters, {"clip", "peg"}),
        (ClipParameters, {"clip"}),
        (PegParameters, {"peg"}),
        (PhysicalParameters, {"physical"}),
        (ExpertSettings, {"expert"}),
        (TeacherSettings, {"teacher"}),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_every_number_of_a_task_and_its_demonstrator_is_told(kind: type, owners: set[str]) -> None:
    assert own(kind) and own(kind) - {name for owner, name, _ in VALUES if owner in owners} == set()


def test_rows_say_where_what_and_whether_it_is_the_same() -> None:
    found = rows(5)
    assert len(found) > 60
    for place, says, does, verdict, effect in found:
        assert PLACE.fullmatch(place) and says and does and verdict in ("same", "differs", "silent"), (place, says)
        unsaid = says.startswith("(")
        assert verdict != "same" or not unsaid, f"{place}, {says}: the paper does not say it"
        assert effect or verdict == "same" or not re.search(r"`(gpril|gail|bc)\.", does), (
            f"{place}, {says}: its effect?"
        )


def test_every_section_that_tells_what_was_done_has_rows() -> None:
    places = {part for row in rows(5) for part in row[0].split(", ")}
    sections = {"2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "alg. 1", "4.1", "4.2", "4.3", "app. B"}
    assert sections | {figure.name.removeprefix("fig") for figure in FIGURES} <= places


def test_settings_of_gpril_are_all_told_that_the_paper_gives() -> None:
    """Those of appendix B, and those that its table leaves open."""
    told = {name for owner, name, _ in VALUES if owner == "gpril"}
    table = tomllib.loads((ROOT / "docs/appendix-b.toml").read_text())["gpril"]["clip"]
    assert set(table) - {"total_iterations", "lost"} <= told


def test_claims_are_those_that_are_decided() -> None:
    """In both directions; "the same" of tuned baselines is not the paper's."""
    asked = {claim.text for figure in FIGURES for claim in figure.claims if not claim.text.startswith("The same,")}
    assert {text for row in rows(3) for text in row[2].split("; ")} == asked
