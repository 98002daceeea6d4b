"""Methods in files of their own, as users write them: those that pass the check run, the others are refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envs.demonstrations import save
from methods import registry
from methods.conformance.point_task import demonstrate
from tests.benchmarks import fakes
from tests.benchmarks.conftest import Bench
from tests.methods import point_world

HERE = Path(__file__).parents[1] / "methods"
TASK = f"tests.methods.point_world:{point_world.ID}"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    yield


@pytest.fixture
def point(bench: Bench) -> tuple[str, ...]:
    """The options that choose the point task."""
    file = bench.folder / "point.npz"
    save(replace(demonstrate(4, seed=0), task=point_world.ID), file)
    return (f"--tasks={TASK}", f"--demonstrations={file}", "--seeds=1")


@pytest.mark.parametrize(
    ("place", "modes", "queries"),
    [
        ("knn_specimen.py:Knn", {"sampled", "mean"}, 0),
        ("chunk_specimen.py:ChunkedCloning", {"sampled", "mean"}, 0),
        ("../../docs/examples/gru.py:Gru", {"mean"}, 0),
        ("dagger_specimen.py:Dagger", {"sampled", "mean"}, 40),
    ],
)
def test_a_method_that_passes_the_check_runs(
    bench: Bench, point: tuple[str, ...], inline: None, place: str, modes: set[str], queries: int
) -> None:
    outcome = bench.run(*point, f"--methods={HERE / place}", f"--set=budget.expert_queries={queries}")
    assert outcome.code == 0, outcome.err
    (record,) = bench.records()
    assert record.status == "ok" and set(record.final) == modes
    assert 0 < record.usage.expert_queries <= queries if queries else record.usage.expert_queries == 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("leaking_specimen.py:LeakingCloning", "keep the memory of each row apart"),
        ("naive_specimen.py:NaiveCloning", "keep the memory of an episode in an Actor"),
    ],
)
def test_a_method_whose_memory_leaks_is_refused_before_anything_is_trained(
    bench: Bench, point: tuple[str, ...], place: str, words: str
) -> None:
    outcome = bench.run(*point, f"--methods={HERE / place}")
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    assert outcome.err.startswith("error: ") and words in outcome.err and "python -m methods.check" in outcome.err
    assert not bench.results.exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "its budget has no expert_queries; allow some"),
        (("--set=budget.expert_queries=9", f"--tasks={fakes.TASK}"), "has none; leave one of them out, or give"),
        (("--dry-run",), "its budget has no expert_queries; allow some"),
    ],
)
def test_a_method_without_an_expert_to_query_is_refused(bench: Bench, more: tuple[str, ...], words: str) -> None:
    outcome = bench.run(f"--methods={HERE / 'dagger_specimen.py'}:Dagger", *more)
    assert outcome.code == 2 and words in outcome.err and outcome.err.count("\n") == 1
    assert not bench.results.exists()
