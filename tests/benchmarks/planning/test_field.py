"""The profile `field` has the settings that the committed searches found, the same number of them for every method."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper import TUNED, Variant
from benchmarks.planning import profiles
from benchmarks.records.studies import load_study, study_files
from methods import registry
from methods.conformance.declaration import plain_settings
from methods.interface import make_settings

STUDIES = study_files(Path(__file__).parents[3] / "results" / "tune")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_best_choice_of_a_search_is_in_the_profile(path: Path) -> None:
    study, field = load_study(path), profiles.load("field")
    method = registry.resolve(study.method)
    for task in study.tasks:
        settings = plain_settings(method.name, make_settings(method, field.settings_of(method.name, task)))
        assert {name: settings[name] for name in study.best.values} == study.best.values


@pytest.mark.parametrize("variant", TUNED, ids=lambda variant: variant.key)
def test_figures_show_the_same_choices(variant: Variant) -> None:
    field, standard = profiles.load("field"), profiles.load("standard")
    tuned = standard.settings[variant.method] | standard.presets[variant.preset].settings
    assert tuned == field.settings[variant.method]


def test_all_methods_were_searched_alike() -> None:
    studies = list(map(load_study, STUDIES))
    asked = {
        (len(one.choices), *(one.question[f"--{key}"] for key in ("demos", "seeds", "minutes", "prune")))
        for one in studies
    }
    assert len(asked) == 1 and all(one.tasks == ["clip", "peg"] for one in studies)
