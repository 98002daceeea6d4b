"""Results folders of several machines become one, and nothing is mixed or lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.records.compact import main as compact
from benchmarks.records.files import load_plan, load_record, record_files
from benchmarks.records.merge import main
from benchmarks.records.plans import Plan, Work
from benchmarks.records.schema import Record
from benchmarks.records.store import Store
from tests.benchmarks import examples


def folder(place: Path, *records: Record, planned: int = 0, profile: str = "quick") -> Path:
    """A results folder with these records, each with a policy, and further trials that are planned only."""
    store = Store(place)
    store.open()
    seeds = [*(record.trial.seed for record in records), *range(100, 100 + planned)]
    store.merge_plan(Plan(profile=profile, rows=[examples.row(seed) for seed in seeds]))
    for record in records:
        policy = store.scratch(record.trial.id) / "policy"
        policy.mkdir()
        (policy / "weights").write_text(place.name)
        store.save(record, policy)
    store.save_code(str(len(records)) * 64, {"a.py": "1"})
    store.close()
    return place


def merged(target: Path, *sources: Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, (target, *sources))))
    return result.exit_code, result.output


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_seeds_of_several_machines_come_together(tmp_path: Path) -> None:
    target = tmp_path / "all"
    one = folder(tmp_path / "one", examples.record(0), examples.record(1))
    two = folder(tmp_path / "two", examples.record(2), planned=1)
    code, output = merged(target, one, two)
    assert code == 0 and output.startswith(f"{target}: 4 trials, 1 of them not finished; ")
    assert {load_record(path).trial.seed for path in record_files(target).values()} == {0, 1, 2}
    assert [row.seed for row in load_plan(target / "plan.json").rows] == [0, 1, 2, 100]
    policies = {path.parent.name: path.read_text() for path in target.glob("policies/*/weights")}
    assert policies[examples.trial(2).id] == "two" and len(policies) == 3
    assert len(list((target / "code").iterdir())) == 2 and not list((target / "attempts").iterdir())
    before = contents(target)
    assert merged(target, target, one, two)[0] == 0 and contents(target) == before, "again, it changes nothing"
    three = folder(tmp_path / "three", examples.record(3))
    assert CliRunner().invoke(compact, [str(three)]).exit_code == 0
    assert merged(target, three)[0] == 0 and len(record_files(target)) == 4


def test_of_a_failed_and_a_good_record_the_good_one_is_kept(tmp_path: Path) -> None:
    failed = folder(tmp_path / "failed", examples.record(0, status="failed", error="killed"))
    good = folder(tmp_path / "good", examples.record(0))
    target = tmp_path / "all"
    assert merged(target, failed, good)[0] == 0
    assert load_record(target / "records" / f"{examples.trial(0).id}.json").status == "ok"
    assert (target / "policies" / examples.trial(0).id / "weights").read_text() == "good"
    (attempt,) = (target / "attempts").iterdir()
    assert load_record(attempt).status == "failed"


@pytest.mark.parametrize("case", ["results", "code", "settings", "profile", "damaged", "no plan"])
def test_what_cannot_be_merged_is_refused_before_anything_is_written(tmp_path: Path, case: str) -> None:
    record, other = examples.record(0), examples.record(1)
    profile, says = "quick", ""
    if case == "results":
        rollouts = [rollout.model_copy(update={"success": False}) for rollout in record.final["mean"]]
        other, says = (
            record.model_copy(update={"final": record.final | {"mean": rollouts}}),
            "are different results of the same trial",
        )
    elif case == "code":
        made_by = other.provenance.model_copy(update={"code_digest": "1" * 64})
        other, says = other.model_copy(update={"provenance": made_by}), "(other code)"
    elif case == "settings":
        trial = other.trial.model_copy(update={"settings": {"l2": 0.5}})
        other, says = other.model_copy(update={"trial": trial}), "settings.l2 is None and 0.5"
    elif case == "profile":
        profile, says = "night", "different profiles, 'quick'"
    one, two = folder(tmp_path / "one", record), folder(tmp_path / "two", other, profile=profile)
    if case == "settings":
        plan = load_plan(two / "plan.json")
        rows = [row.model_copy(update={"trial": other.trial.id}) for row in plan.rows]
        (two / "plan.json").write_text(plan.model_copy(update={"rows": rows}).model_dump_json())
    elif case == "damaged":
        path, says = next((two / "records").iterdir()), "changed"
        path.write_bytes(path.read_bytes().replace(b"success", b"succeed", 1))
    elif case == "no plan":
        (two / "plan.json").unlink()
        says = "name results folders"
    code, output = merged(tmp_path / "all", one, two)
    assert code == 2 and output.startswith("error: ") and says in output and output.count("\n") == 1
    assert not (tmp_path / "all").exists()


def test_a_folder_with_records_is_not_overwritten_by_a_refused_merge(tmp_path: Path) -> None:
    target = folder(tmp_path / "all", examples.record(0))
    two = folder(tmp_path / "two", examples.record(1), profile="night")
    before = contents(target)
    assert merged(target, two)[0] == 2 and contents(target) == before
    shutil.rmtree(two)
    assert merged(target, two)[0] == 2


def test_a_target_with_records_needs_its_plan_and_no_run_at_work(tmp_path: Path) -> None:
    target, two = folder(tmp_path / "all", examples.record(0)), folder(tmp_path / "two", examples.record(1))
    plan = (target / "plan.json").read_bytes()
    (target / "plan.json").unlink()
    code, output = merged(target, two)
    assert code == 2 and "plan.json" in output and len(record_files(target)) == 1
    (target / "plan.json").write_bytes(plan)
    run = Store(target)
    run.open()
    run.announce(Work(profile="quick", codes={}, settings={}), lambda *_: "")
    code, output = merged(target, two)
    assert code == 2 and "another run is at work in" in output and len(record_files(target)) == 1
    run.close()
    assert merged(target, two)[0] == 0 and len(record_files(target)) == 2
    code, output = merged(target, target)
    assert code == 2 and "is the only folder" in output


def test_a_record_of_other_code_keeps_its_mark(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one", examples.record(0)), folder(tmp_path / "two", examples.record(1))
    marked = examples.row(0).model_copy(update={"other_code": True})
    (one / "plan.json").write_text(Plan(profile="quick", rows=[marked]).model_dump_json())
    (two / "plan.json").write_text(Plan(profile="quick", rows=[examples.row(0), examples.row(1)]).model_dump_json())
    target = tmp_path / "all"
    assert merged(target, one, two)[0] == 0
    assert load_plan(target / "plan.json").rows == [marked, examples.row(1)]
