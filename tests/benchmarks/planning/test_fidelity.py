"""docs/fidelity.md tells the values that the profile `paper` and the tasks have, all of them, and names real claims."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.paper import FIGURES
from benchmarks.planning import profiles
from benchmarks.speed.loop import MODEL_UPDATES, POLICY_UPDATES
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
    listed = {name for owner, name, _ in VALUES if owner == "gpril"}
    table = tomllib.loads((ROOT / "docs/appendix-b.toml").read_text())["gpril"]["clip"]
    assert set(table) - {"total_iterations", "lost"} <= listed


DEPENDENT = {
    "exploration_share": "exploration",
    "exploration_steps": "exploration",
    "warm_start_learning_rate": "warm_start",
    "warm_start_l2": "warm_start",
    "warm_start_decay": "warm_start",
    "l2_grid": "l2",
    "held_out": "l2",
}
"""Settings that do nothing with the value of another one in `paper`."""


@pytest.mark.parametrize("method", ["gpril", "gail", "bc"])
def test_every_setting_is_told(method: str) -> None:
    """No number hangs on an unnamed choice: a setting has its value on the page, or does nothing in `paper`."""
    listed = {name for owner, name, _ in VALUES if owner == method}
    assert {name for name in actual(method) if name not in listed and DEPENDENT.get(name) not in listed} == set()
    assert not actual(method).get("exploration") and not actual(method).get("warm_start")


def test_costs_of_the_paper_s_budget_follow_from_measured_times() -> None:
    speed = json.loads((ROOT / "results/speed/speed.json").read_text())
    parts = [one for part in ("flows", "loop", "gail") for one in speed[part]["comparisons"]]
    took = {one["name"]: one["ours_ms"] for one in reversed(parts)}  # the first of a name is of one core
    models = sum(took[f"step, {model}, 500-500, 256 rows"] for model in ("B^s 32", "B^a 7"))
    paper, expected = profiles.load("paper"), {}
    for task in ("clip", "peg"):
        settings, updates = paper.settings_of("gpril", task), paper.budget_of("gpril", task, {}).policy_updates
        policy = (took[f"GPRIL's loop, {task}, 500-500"] - MODEL_UPDATES * models) / POLICY_UPDATES
        iterations = math.ceil(updates / settings["policy_updates"])
        expected[f"GPRIL, {task}"] = (settings["burn_in"] + iterations * settings["model_updates"]) * models
        expected[f"GPRIL, {task}"] += updates * policy
        steps = paper.budget_of("gail", task, {}).environment_steps
        expected[f"GAIL, {task}"] = steps / (3 * 4096) * took[f"GAIL, 3 iterations of 4096 steps, {task}"]
    listed = {row[0]: float(row[3]) for row in rows(4) if row[0] in expected}
    assert listed == {name: round(milliseconds / 3.6e6, 1) for name, milliseconds in expected.items()}


def test_the_arithmetic_of_what_is_undecided() -> None:
    formulas = [part for row in rows(3) for part in re.findall(r"([\d(][\d.×+() ]*) = ([\d.]+)", row[2])]
    assert len(formulas) > 10
    for formula, result in formulas:
        rounding = 0.5001 * 10.0 ** -len(result.partition(".")[2])
        assert abs(eval(formula.replace("×", "*")) - float(result)) <= rounding, formula


def test_claims_are_those_that_are_decided() -> None:
    """In both directions; comparisons of tuned methods are ours."""
    decided = [row for row in rows(3) if PLACE.fullmatch(row[0])]
    asked = {claim.text for figure in FIGURES for claim in figure.claims if "tuned" not in claim.text}
    assert {text for row in decided for text in row[2].split("; ")} == asked
