"""Tables of effects: numbers that follow from the records, and rows that agree with what is planned."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from analysis.load import load
from analysis.report.effects import (
    CLIP,
    DEPARTURES,
    EXTENSIONS,
    NOT_MEASURED,
    NOT_YET,
    PEG,
    READINGS,
    SOURCES,
    TABLES,
    Choice,
    Effect,
    EffectsTable,
    committed,
    effect,
    effects_markdown,
)
from benchmarks.paper import Variant
from benchmarks.planning import profiles
from benchmarks.planning.experiments import EXPERIMENTS
from benchmarks.records.schema import DemonstrationChoice, Mode, Record
from envs import tasks
from envs.tasks import short_name
from methods import registry
from methods.interface import make_settings
from tests.analysis.synthetic import Folder, make_record, of_first_release

SUMS = next(choice for choice in READINGS if choice.variant == "gpril/sums over batches")
CASE = EffectsTable("A title", ("Reading", "Instead of"), (SUMS, Choice(("one", "other"))), "A note.")


def record_of(variant: str, demonstrations: int, seed: int, success: dict[Mode, float], status: str = "ok") -> Record:
    """A trial of a variant whose demonstrations its seed has drawn."""
    made = make_record("gpril", CLIP, demonstrations, seed, success=success, status=status, rollouts=100)  # type: ignore[arg-type]
    drawn = DemonstrationChoice(source="shipped", digest="d" * 64, episodes=demonstrations, draw_seed=seed)
    return made.model_copy(
        update={"trial": made.trial.model_copy(update={"settings": {"v": variant}, "demonstrations": drawn})}
    )


def folder_of(gains: dict[tuple[int, int], float], missing: tuple[tuple[int, int], ...] = ()) -> Folder:
    """GPRIL and its variant with sums: (demonstrations, seed) -> how much more the variant succeeds."""
    folder = Folder("tuning")
    for (demonstrations, seed), gain in gains.items():
        level = 0.4 + 0.01 * demonstrations
        for key, base, more in (("gpril", "", 0.0), (SUMS.variant, "gpril", gain)):
            made = record_of(key, demonstrations, seed, {"sampled": level + more, "mean": level - more})
            gone = bool(base) and (demonstrations, seed) in missing
            folder.add(key, made, "readings", missing=gone, variant=key, base=base)
    return folder


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]


GAINS = {(10, 0): 0.10, (10, 1): 0.12, (10, 2): 0.14, (25, 0): 0.20, (25, 1): 0.22, (25, 2): 0.24}


def effects_of(folder: Folder, directory: Path, **changes: str) -> dict[Mode, Effect]:
    return effect(load(folder.write(directory)).scores, replace(SUMS, **changes), CLIP)


def test_an_effect_is_the_mean_difference_of_the_pairs(tmp_path: Path) -> None:
    found = effects_of(folder_of(GAINS), tmp_path)
    assert found.keys() == {"sampled", "mean"}
    for mode, sign in (("sampled", 1), ("mean", -1)):
        one = found[mode]  # type: ignore[index]
        assert one.pairs == 6 and one.by_demonstrations == pytest.approx({10: sign * 0.12, 25: sign * 0.22})
        assert one.estimate.value == pytest.approx(sign * 0.17)
    # Per seed .15, .17 and .19: t(0.975, 2) * 0.02 / sqrt(3); the rollouts alone give 1.96 * sqrt(0.5 / 600) at most.
    low, high = found["sampled"].estimate[1:]
    assert (low, high) == pytest.approx((0.17 - 0.0528, 0.17 + 0.0528), abs=0.001)


def test_nothing_is_compared_that_is_not_there(tmp_path: Path) -> None:
    scores = load(folder_of(GAINS).write(tmp_path)).scores
    assert effect(scores, SUMS, PEG) == {} and effect(scores, replace(SUMS, experiment="states"), CLIP) == {}
    assert effect(scores, replace(SUMS, variant="gpril/states"), CLIP) == {}


def test_only_pairs_count(tmp_path: Path) -> None:
    """A seed that one variant lacks is left out of the other as well, whatever it achieved."""
    found = effects_of(folder_of(GAINS, missing=((10, 2), (25, 2))), tmp_path)["sampled"]
    assert found.pairs == 4 and found.estimate.value == pytest.approx(0.16)


def test_seeds_count_that_have_every_number_of_demonstrations(tmp_path: Path) -> None:
    found = effects_of(folder_of(GAINS, missing=((25, 1), (25, 2))), tmp_path / "one")["sampled"]
    assert found.pairs == 2 and found.estimate.value == pytest.approx((0.10 + 0.20) / 2)
    assert np.isnan(found.estimate.low), "one seed has no interval"
    found = effects_of(folder_of(GAINS, missing=((10, 0), (10, 1), (25, 2))), tmp_path / "none")["sampled"]
    assert found.pairs == 3 and found.by_demonstrations == pytest.approx({10: 0.14, 25: 0.21})
    assert found.estimate.value == pytest.approx((0.14 + 0.21) / 2) and np.isnan(found.estimate.low)


def test_failures_count_as_no_success(tmp_path: Path) -> None:
    folder = folder_of({(10, 0): 0.1, (10, 1): 0.1})
    for key, base, status in (("gpril", "", "ok"), (SUMS.variant, "gpril", "failed")):
        made = record_of(key, 10, 2, {"sampled": 0.5, "mean": 0.5}, status)
        folder.add(key, made, "readings", variant=key, base=base)
    assert effects_of(folder, tmp_path)["sampled"].estimate.value == pytest.approx((0.1 + 0.1 - 0.5) / 3)


def test_records_of_two_versions_are_not_compared(tmp_path: Path) -> None:
    folder = folder_of(GAINS)
    found = effects_of(folder, tmp_path / "one")
    assert {one.version for one in found.values()} == {"0.2.0"}
    folder.records = [
        of_first_release(record) if record.trial.settings == {"v": "gpril"} else record for record in folder.records
    ]
    assert effects_of(folder, tmp_path / "two") == {}


def test_a_table_says_what_is_measured_and_what_is_not(tmp_path: Path) -> None:
    results = load(folder_of(GAINS, missing=((25, 1), (25, 2))).write(tmp_path))
    text = effects_markdown(CASE, {"readings": results})
    heads, _, clip, peg, other = rows(text)
    assert heads == ["Reading", "Instead of", "Task", "Pairs", "Version", "Sampled actions", "Deterministic actions"]
    assert clip == [*SUMS.cells, "Clip insertion", "2 of 6", "0.2.0", "+15; +10, +20", "-15; -10, -20"]
    assert peg == [*SUMS.cells, "Peg insertion", "0", "–", NOT_YET, NOT_YET]
    assert other == ["one", "other", "", "0", "–", NOT_MEASURED, NOT_MEASURED]
    assert text.startswith("**A title**\n") and text.endswith("\nA note.\n")
    whole = effects_markdown(CASE, {"readings": load(folder_of(GAINS).write(tmp_path / "whole"))})
    assert rows(whole)[2][3] == "6" and rows(whole)[2][5] == "+17 [+12, +22]; +12, +22"


@pytest.mark.parametrize("name", TABLES)
def test_without_records_every_row_is_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results/readings"
    for stage in ("no folder", "a plan alone"):
        _, _, *found = rows(committed(name, tmp_path))
        assert {cell for row in found for cell in row[-2:]} <= {NOT_YET, NOT_MEASURED}, stage
        assert len(found) == sum(len(choice.tasks) for choice in TABLES[name].choices), stage
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps({"schema_version": 1, "profile": "tuning", "rows": []}))


def test_records_that_are_committed_are_read(tmp_path: Path) -> None:
    folder_of(GAINS).write(tmp_path / "results/readings")
    found = {tuple(row[:3]): row[3:] for row in rows(committed("readings", tmp_path))}
    assert found[*SUMS.cells, "Clip insertion"][0] == "6"


def test_another_task_is_compared_with_the_shipped_one(tmp_path: Path) -> None:
    """By seed and number of demonstrations, with records of another folder and experiment."""
    folder_of(GAINS).write(tmp_path / "results/readings")
    fixed = Folder("tuning")
    place = SOURCES["compare"].changed[CLIP]
    for demonstrations, seed in [*GAINS, (10, 7)]:
        made = record_of("gpril", demonstrations, seed, {"sampled": 0.9, "mean": 0.5})
        fixed.add("gpril", made.model_copy(update={"trial": made.trial.model_copy(update={"task": place})}), "compare")
    fixed.write(tmp_path / "results/fixed-start")
    found = {tuple(row[:3]): row[3:] for row in rows(committed("readings", tmp_path))}
    pairs, version, sampled, mean = found["GPRIL: the arm starts in one place", "at random", "Clip insertion"]
    assert (pairs, version) == ("6 of 7", "0.2.0") and sampled.endswith("; +40, +25") and mean.endswith("; +0, -15")
    assert found["GAIL: the arm starts in one place", "at random", "Peg insertion"] == ["0", "–", NOT_YET, NOT_YET]

    older = tmp_path / "older"
    folder_of(GAINS).write(older / "results/readings")
    fixed.records = [of_first_release(record) for record in fixed.records]
    fixed.write(older / "results/fixed-start")
    found = {tuple(row[:3]): row[3:] for row in rows(committed("readings", older))}
    assert found["GPRIL: the arm starts in one place", "at random", "Clip insertion"][1:] == ["–", NOT_YET, NOT_YET]


def variants(experiment: str) -> dict[str, Variant]:
    return {variant.key: variant for variant in EXPERIMENTS[experiment].variants}


@pytest.mark.parametrize(
    "choice", [c for c in READINGS + DEPARTURES + EXTENSIONS if c.experiment], ids=lambda c: c.variant
)
def test_every_comparison_is_planned(choice: Choice) -> None:
    if changed := SOURCES[choice.experiment].changed:
        assert choice.variant == choice.base in variants(choice.base_experiment)
        assert {tasks.find(task).id for task in changed.values()} == {"ClipFixedStart-v0", "PegFixedStart-v0"}
        return
    planned = variants(choice.experiment)
    assert choice.variant in planned and choice.base in planned and choice.variant != choice.base
    assert tuple(map(short_name, SOURCES[choice.experiment].tasks)) == EXPERIMENTS[choice.experiment].tasks or (
        choice.experiment == "states"  # which the committed records have on the peg
    )


@pytest.mark.parametrize("experiment", ["readings", "readings-states"])
def test_every_reading_that_is_run_has_a_row(experiment: str) -> None:
    compared = {key for choice in READINGS if choice.experiment == experiment for key in (choice.variant, choice.base)}
    assert compared == set(variants(experiment))


def settings(profile: str) -> dict[str, object]:
    found = profiles.load(profile).settings_of("gpril", "clip")
    return asdict(make_settings(registry.resolve("gpril"), found))


def spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(list(value) if isinstance(value, tuple) else value)


def test_every_departure_of_quick_has_a_row_with_both_values() -> None:
    quick, paper = settings("quick"), settings("paper")
    differing = {name: (spelled(quick[name]), spelled(paper[name])) for name in quick if quick[name] != paper[name]}
    listed = {choice.cells[0]: choice.cells[1:] for choice in DEPARTURES if choice.cells[0] in quick}
    assert listed == differing


def test_a_departure_is_measured_by_the_paper_s_value_alone() -> None:
    paper, seen = settings("paper"), set()
    for choice in DEPARTURES:
        name = choice.cells[0]
        if choice.experiment and name in paper:
            changed = {key: paper[key] for key in variants(choice.experiment)[choice.variant].settings}
            assert changed == {name: variants(choice.experiment)[choice.variant].settings[name]}
        seen.add(name)
        if choice.variant == "gpril/paper":
            assert seen - {name} == set(profiles.load("quick").presets["gpril-paper"].settings), "all of those above"


def test_extensions_are_off_in_the_paper_s_profile() -> None:
    paper = settings("paper")
    for choice in EXTENSIONS:
        name = choice.cells[0].partition(",")[0]
        assert spelled(paper[name]) in choice.cells[1:]
