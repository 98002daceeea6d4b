"""What methods declare to be searched."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import InputError
from benchmarks.planning.search import Choices, Range, space_of
from methods import registry
from tests.benchmarks.tune.specimen import METHOD


@pytest.mark.parametrize("name", registry.names())
def test_each_method_of_the_suite_says_what_may_be_searched(name: str) -> None:
    space = space_of(registry.resolve(name))
    assert space and all(isinstance(dimension, Range | Choices) for dimension in space.values())


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ("{}", "must name at least one setting"),
        ("{'shfit': {'choices': [1, 2]}}", "did you mean 'shift'?"),
        ("{'shift': {'low': 1.0}}", "write {"),
        ("{'shift': {'low': 1.0, 'high': 1.0}}", "low must be below high"),
        ("{'shift': {'low': 0, 'high': 1, 'log': True}}", "above 0 on a logarithmic scale"),
        ("{'shift': {'choices': [1]}}", "at least two choices"),
        ("{'episodes': {'low': 1.5, 'high': 2.5}}", "episodes"),
    ],
)
def test_a_declaration_that_cannot_be_searched_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str, sentence: str
) -> None:
    path = tmp_path / "declared.py"
    path.write_text(METHOD + f"\nSEARCH = {space}\n")
    with pytest.raises(InputError) as refused:
        space_of(registry.resolve(f"{path}:Shifted"))
    assert sentence in str(refused.value)
