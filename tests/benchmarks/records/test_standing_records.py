"""What a run makes of the records that stand already: damaged, of other code, of other settings, of another machine."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from benchmarks import run as command_line
from benchmarks.execution.executor import Listener, Started
from benchmarks.execution.local import LocalExecutor
from benchmarks.records import provenance
from benchmarks.records.files import load_plan, load_record, record_files
from benchmarks.records.plans import Plan, PlanRow, Work
from benchmarks.records.sources import ROOT
from benchmarks.records.store import Store
from benchmarks.trial import worker
from benchmarks.trial.protocol import TrialRequest
from tests.benchmarks.conftest import Bench


def test_a_damaged_record_is_set_aside_and_done_again(bench: Bench, inline: None) -> None:
    bench.run()
    path = sorted((bench.results / "records").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    outcome = bench.run()
    assert outcome.code == 0 and f"damaged, so it is run again: {path}" in outcome.err
    assert [file.read_bytes() for file in (bench.results / "damaged").iterdir()] == [whole[:-20]]
    assert len(bench.records()) == 2


def test_records_of_other_code_are_refused_or_accepted(bench: Bench, inline: None) -> None:
    own = bench.folder / "own.py"
    own.write_text("from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n")
    method = f"--methods={own}:Mine"
    assert bench.run(method, "--seeds=1").code == 0
    own.write_text(own.read_text() + "CHANGED = True\n")
    refused = bench.run(method)
    assert refused.code == 2 and "made by other code" in refused.err and "own.py" in refused.err
    assert len(bench.records()) == 1
    accepted = bench.run(method, "--accept-drift")
    assert accepted.code == 0
    digests = {record.provenance.code_digest for record in bench.records()}
    assert len(bench.records()) == 2 and len(digests) == 2
    plan = bench.results / "plan.json"
    assert [row.other_code for row in load_plan(plan).rows] == [True, False], "tables and figures label them"

    assert bench.run("--seeds=1", "--accept-drift").code == 0
    rows = {row.label: row.other_code for row in load_plan(plan).rows if row.seed == 0}
    assert rows == {"mine": True, "linear": False}, "another method's record is still of other code"


def test_what_a_record_names_is_never_imported(bench: Bench, inline: None) -> None:
    """A method's name in a record may be the path of a file; only what the command line asks for is run."""
    bench.run("--seeds=1")
    evil, canary = bench.folder / "evil.py", bench.folder / "canary"
    evil.write_text(f"from pathlib import Path\nPath({str(canary)!r}).touch()\n")
    (record,) = bench.records()
    trial = record.trial.model_copy(update={"method": f"{evil}:Evil", "seed": 7})
    planted = record.model_copy(update={"trial": trial})
    (bench.results / "records" / f"{trial.id}.json").write_bytes(planted.to_bytes())
    plan = bench.results / "plan.json"
    rows = [*load_plan(plan).rows, PlanRow.of("compare", "linear", trial)]
    plan.write_text(Plan(profile="tests", rows=rows).model_dump_json())
    assert bench.run("--seeds=2", "--accept-drift").code == 0
    assert not canary.exists()


def test_records_of_other_versions_and_machines_are_pointed_out(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "note:" not in bench.run("--seeds=1").err
    newer = provenance.versions() | {"torch": "99.0"}
    monkeypatch.setattr("benchmarks.records.provenance.versions", lambda: newer)
    monkeypatch.setattr("benchmarks.records.provenance.machine", lambda: {"processor": "abacus"})
    outcome = bench.run("--seeds=2")
    assert outcome.code == 0
    assert "now '99.0'" in outcome.err and "made on another machine" in outcome.err


def test_other_settings_never_mix_under_one_label(bench: Bench, inline: None) -> None:
    profile = bench.folder / "tests.toml"
    assert bench.run("--seeds=1").code == 0
    profile.write_text(profile.read_text().replace("rollouts = 5", "rollouts = 3"))
    refused = bench.run()
    assert refused.code == 2 and "evaluation.rollouts was 5, now 3" in refused.err
    assert bench.run("--accept-drift").code == 0
    plan = load_plan(bench.results / "plan.json")
    kept = {record.trial.id: len(record.final["mean"]) for record in bench.records()}
    assert sorted(kept.values()) == [3, 3, 5]
    assert [kept[row.trial] for row in plan.rows] == [3, 3]
    assert bench.run("--set=evaluation.rollouts=4", "--seeds=1").code == 0, "a changed setting has its own label"
    profile.rename(profile.with_name("other.toml"))
    other = bench.run(f"--profile={profile.with_name('other.toml')}")
    assert other.code == 2 and "profile 'tests', not 'other'" in other.err


def test_a_run_does_not_mix_with_one_at_work_that_has_no_records_yet(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Work] = []
    announce = Store.announce
    monkeypatch.setattr(Store, "announce", lambda store, work, _: said.append(work) or announce(store, work, _))
    assert bench.run("--dry-run").code == 0 and not said
    elsewhere = bench.folder / "elsewhere"
    assert bench.run(f"--results={elsewhere}", "--seeds=1").code == 0
    (theirs,) = said
    (kind,), (place,) = theirs.codes, theirs.settings
    settings = {place: theirs.settings[place] | {"evaluation.rollouts": 3}}
    for change, says in (
        ({"profile": "night"}, "with profile 'night', not 'tests'"),
        ({"codes": {kind: "0" * 64}}, f"with other code ({kind})"),
        ({"settings": settings}, "(evaluation.rollouts was 3, now 5)"),
    ):
        other = Store(bench.results)
        other.open()
        other.announce(theirs.model_copy(update=change), lambda *_: "")
        refused = bench.run("--accept-drift")
        assert refused.code == 2 and "another run is at work in" in refused.err and says in refused.err
        assert not bench.records()
        other.close()
    other.open()
    other.announce(theirs, lambda *_: "")
    assert bench.run("--seeds=1").code == 0, "the same work is shared"
    other.close()
    assert not list((bench.results / "locks").glob("run-*"))


def test_a_run_that_came_and_went_while_this_one_began_is_noticed(
    bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = bench.folder / "tests.toml"
    with monkeypatch.context() as patch:

        def meanwhile(_: object) -> None:
            patch.undo()
            text = profile.read_text()
            profile.write_text(text.replace("rollouts = 5", "rollouts = 3"))
            assert bench.run("--seeds=1").code == 0
            profile.write_text(text)

        patch.setattr(command_line, "preflight", meanwhile)
        refused = bench.run()
    assert refused.code == 2 and "evaluation.rollouts was 3, now 5" in refused.err
    assert len(bench.records()) == 1


def test_trials_never_run_leave_the_plan(bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.execution.scheduler.Scheduler.run", interrupted)
        outcome = bench.run("--seeds=9")
    assert outcome.code == 130 and "To resume: python -m benchmarks.run" in outcome.err
    plan = bench.results / "plan.json"
    assert len(load_plan(plan).rows) == 9
    bench.run("--seeds=1")
    assert len(load_plan(plan).rows) == 1


def test_records_of_other_libraries_and_machines_are_noted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once when they are made, as on a cluster, and once when others are added."""

    async def elsewhere(executor: LocalExecutor, request: TrialRequest, listener: Listener) -> None:
        listener(Started())
        made = worker.perform(request, listener)
        there = {"versions": made.provenance.versions | {"numpy": "0.1"}, "machine": {"processor": "abacus"}}
        listener(made.model_copy(update={"provenance": made.provenance.model_copy(update=there)}))

    monkeypatch.setattr(LocalExecutor, "execute", elsewhere)
    for seeds in ("--seeds=1", "--seeds=2"):
        said = bench.run(seeds).err
        assert "numpy was '0.1', now" in said and "another machine: compare success, not seconds" in said
    assert said.count("note: ") == 4


def test_trials_of_committed_records_keep_their_ids() -> None:
    """Schema changes must be neutral: fields that are added have a default with which old trials are the same."""
    for name in ("quick", "states"):
        files = list(record_files(ROOT / "results" / name).items())[::9]
        assert files and all(load_record(path).trial.id == trial for trial, path in files)


def test_where_a_file_lies_is_no_part_of_what_a_trial_is(bench: Bench, inline: None) -> None:
    own = bench.folder / "own.py"
    own.write_text("from tests.benchmarks.fakes import LeastSquares\nclass Mine(LeastSquares):\n    name = 'mine'\n")
    copies = bench.folder / "copies"
    copies.mkdir()
    assert bench.run(f"--methods={own}:Mine", "--seeds=1").code == 0
    (given,) = (argument for argument in bench.arguments if argument.startswith("--demonstrations="))
    shutil.copy(given.removeprefix("--demonstrations="), copies / "other.npz")
    shutil.copy(own, copies / "own.py")
    moved = bench.run(f"--methods={copies / 'own.py'}:Mine", "--seeds=1", f"--demonstrations={copies / 'other.npz'}")
    assert moved.code == 0 and "nothing to do: 1 trial done already in" in moved.err, moved.err
    assert len(bench.records()) == 1
