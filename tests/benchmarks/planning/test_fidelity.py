"""docs/fidelity.md tells the values that the profile `paper` and the tasks have."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.planning import profiles
from envs.insertion.clip import ClipParameters
from envs.insertion.peg import PegParameters
from envs.insertion.physical import PhysicalParameters
from methods import registry
from methods.interface import make_settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/fidelity.md").read_text()
VALUES = re.findall(r"`(gpril|gail|bc|clip|peg|physical)\.(\w+) = ([^`]+)`", PAGE)
PARAMETERS: dict[str, Any] = {"clip": ClipParameters(), "peg": PegParameters(), "physical": PhysicalParameters()}


def actual(owner: str) -> dict[str, Any]:
    """A task's parameters, or a method's settings in `paper` on the clip."""
    if owner in PARAMETERS:
        return asdict(PARAMETERS[owner])
    return asdict(make_settings(registry.resolve(owner), profiles.load("paper").settings_of(owner, "clip")))


@pytest.mark.parametrize(("owner", "name", "text"), VALUES, ids=lambda part: part)
def test_the_page_tells_the_value_that_is_used(owner: str, name: str, text: str) -> None:
    value = tomllib.loads(f"value = {text}")["value"]
    found = actual(owner)[name]
    assert (list(found) if isinstance(found, tuple) else found) == value


def test_there_is_something_to_compare() -> None:
    assert len(VALUES) > 50 and {"gpril", "gail", "bc", *PARAMETERS} == {owner for owner, _, _ in VALUES}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
