"""The results folder: files are whole or absent, locks die with their owner, leftovers are swept."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.errors import InputError, RunError
from benchmarks.records.files import compressed, load_record
from benchmarks.records.plans import Plan, PlanRow, Work
from benchmarks.records.schema import Record, read_record
from benchmarks.records.store import Store
from tests.benchmarks import examples
from tests.reliability.kills import kill_while_saving


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "results")
    opened.open()
    yield opened
    opened.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_record_comes_back_as_it_was_saved(store: Store) -> None:
    record = examples.record()
    assert store.state(record.trial.id) == ""
    store.save(record)
    assert store.read([record.trial.id, "not there"]) == ({record.trial.id: record}, {})
    assert names(store.root / "records") == [f"{record.trial.id}.json"]


def test_the_record_it_replaces_becomes_an_attempt(store: Store) -> None:
    first, second = examples.record(status="failed", error="no"), examples.record()
    for record in (first, second):
        store.save(record)
    assert store.read([first.trial.id])[0] == {first.trial.id: second}
    assert [read_record(p.read_bytes(), "attempt") for p in (store.root / "attempts").iterdir()] == [first]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_reported_and_leaves_earlier_records_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    earlier, later = examples.record(0), examples.record(1)
    store.save(earlier)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(RunError, match=rf"{later.trial.id}\.json: No space left.*MiB free"):
            store.save(later)
    assert names(store.root / "records") == [f"{earlier.trial.id}.json"]
    assert store.read([earlier.trial.id])[0] == {earlier.trial.id: earlier}


def test_a_crash_between_writing_and_renaming_is_swept_by_the_next_run(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom benchmarks.records.store import Store\n"
        "from tests.benchmarks import examples\n"
        "store = Store(Path(sys.argv[1]))\nstore.open()\nstore.scratch('a trial')\nstore.save(examples.record(0))\n"
        "os.replace = lambda *_: os._exit(9)\nstore.save(examples.record(1))\n"
    )
    crashed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, env=with_source())
    assert crashed.returncode == 9
    assert [path for path in (tmp_path / "records").iterdir() if path.suffix == ".tmp"]
    assert names(tmp_path / "scratch")
    alive = Store(tmp_path)
    alive.open()
    assert names(tmp_path / "records") == [f"{examples.record(0).trial.id}.json"]
    assert names(tmp_path / "scratch") == []
    alive.close()


def with_source() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path.cwd())}


def test_the_temporary_files_of_a_living_run_are_left_alone(store: Store) -> None:
    writing = store.root / "records" / f".x.json.{store._token}.tmp"
    writing.touch()
    folder = store.scratch("a trial")
    other = Store(store.root)
    other.open()
    other.close()
    assert writing.exists() and folder.is_dir()


def test_killed_at_any_moment_of_writing_no_record_is_lost_or_damaged(tmp_path: Path) -> None:
    kill_while_saving(tmp_path, kills=20)


def test_a_lock_is_held_by_one_and_dies_with_its_owner(store: Store) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom benchmarks.records.store import Store\n"
        "lock = Store(Path(sys.argv[1])).claim('a trial')\nprint('locked', flush=True)\ntime.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(store.root)], stdout=subprocess.PIPE, text=True, env=with_source()
    )
    assert owner.stdout is not None and owner.stdout.readline() == "locked\n"
    assert store.claim("a trial") is None
    owner.kill()
    owner.communicate()
    lock = store.claim("a trial")
    assert lock is not None and store.claim("a trial") is None
    lock.release()
    assert store.claim("a trial") is not None


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another trial's"])
def test_a_damaged_record_is_named_and_set_aside(store: Store, damage: str) -> None:
    record = examples.record()
    store.save(record)
    path = store.root / "records" / f"{record.trial.id}.json"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-30],
            "changed": whole.replace(b'"seed":0', b'"seed":3', 1),
            "empty": b"",
            "another trial's": examples.record(5).to_bytes(),
        }[damage]
    )
    records, damaged = store.read([record.trial.id])
    assert not records and str(path) in damaged[record.trial.id]
    content = path.read_bytes()
    store.save(record)
    assert store.read([record.trial.id]) == ({record.trial.id: record}, {})
    assert [place.read_bytes() for place in (store.root / "damaged").iterdir()] == [content]
    assert not names(store.root / "attempts")


def test_plans_are_merged(store: Store) -> None:
    def plan(*seeds: int) -> Plan:
        return Plan(profile="quick", rows=[examples.row(seed) for seed in seeds])

    assert store.plan() is None
    store.merge_plan(plan(0, 1))
    store.save(examples.record(1))
    assert store.merge_plan(plan(0, 2)).rows == plan(0, 1, 2).rows
    assert store.merge_plan(plan(0)).rows == plan(0, 1).rows, "2 was never run"
    assert store.plan() == plan(0, 1)
    assert store.merge_plan(plan(0), dropped=frozenset([examples.row(1)])).rows == plan(0).rows

    other = Store(store.root)
    other.open()
    assert other.merge_plan(plan(7)).rows == plan(0, 7).rows, "another run may be about to do 0"
    other.close()


def test_a_run_for_one_experiment_forgets_nothing_that_another_still_lacks(store: Store) -> None:
    missing, old = examples.row(0), examples.row(1)
    store.merge_plan(Plan(profile="quick", rows=[missing]))
    other = old.model_copy(update={"experiment": "placebo"})
    assert store.merge_plan(Plan(profile="quick", rows=[other])).rows == [missing, other]
    new = examples.row(2)
    assert store.merge_plan(Plan(profile="quick", rows=[new])).rows == [other, new], (
        "planned again, it is wanted no more"
    )


def test_what_was_left_unfinished_stays_missing(store: Store) -> None:
    """As of a run that was killed, after which another setting is tried in the same folder."""
    begun, missing = examples.row(0), examples.row(1)
    store.merge_plan(Plan(profile="quick", rows=[begun, missing]))
    store.save(examples.record(0))
    other = examples.row(2).model_copy(update={"label": "linear (weight=2)"})
    assert store.merge_plan(Plan(profile="quick", rows=[other])).rows == [begun, missing, other]
    assert store.merge_plan(Plan(profile="quick", rows=[begun])).rows == [begun], "fewer seeds are wanted now"


def test_another_block_of_seeds_does_not_hide_what_the_first_lacks(store: Store) -> None:
    def rows(*seeds: int) -> list[PlanRow]:
        return [examples.row(seed) for seed in seeds]

    store.merge_plan(Plan(profile="quick", rows=rows(0, 1, 2)))
    store.save(examples.record(0))
    assert store.merge_plan(Plan(profile="quick", rows=rows(2, 3))).rows == rows(0, 1, 2, 3)
    assert store.merge_plan(Plan(profile="quick", rows=rows(0, 1))).rows == rows(0, 1), "fewer are wanted now"


def test_runs_at_work_know_of_each_other(store: Store) -> None:
    mine, theirs = (Work(profile=name, codes={}, settings={"compare": {"l2": 0.1}}) for name in ("quick", "mine"))
    store.announce(mine, lambda *_: "never asked")
    other = Store(store.root)
    other.open()
    with pytest.raises(InputError, match=r"at work in .* \(quick, mine\); wait until it has ended"):
        other.announce(theirs, lambda one, two: f"({one.profile}, {two.profile})")
    store.announce(mine, lambda *_: "what was refused is not announced")
    other.announce(theirs, lambda *_: "")
    (other.root / "locks" / f"run-{other._token}.json").write_text("{")
    store.announce(mine, lambda *_: "it has said nothing that can be read")
    other.close()
    assert len(list((store.root / "locks").glob("run-*"))) == 2


def test_of_two_files_of_a_trial_none_is_lost(store: Store) -> None:
    """As where folders were copied together: one plain, one compressed."""
    plain = store.root / "records" / f"{examples.trial().id}.json"
    store.save(examples.record(seconds=1.0))
    compressed(plain).write_bytes(gzip.compress(examples.record(seconds=2.0).to_bytes()))
    assert load_record(str(plain)).usage.training_seconds == 1.0
    store.save(examples.record(seconds=3.0))
    attempts = sorted(load_record(path).usage.training_seconds for path in (store.root / "attempts").iterdir())
    assert attempts == [1.0, 2.0] and [path.name for path in plain.parent.iterdir()] == [plain.name]


def test_what_a_report_is_writing_is_not_swept(store: Store) -> None:
    writing, left = store.root / ".report.html.report-0123456789ab.tmp", store.root / ".plan.json.0123456789ab.tmp"
    writing.touch()
    left.touch()
    Store(store.root).open()
    assert writing.exists() and not left.exists()


def test_what_a_killed_run_announced_is_swept(store: Store) -> None:
    left = store.root / "locks" / "run-0123456789ab.lock"
    left.touch()
    left.with_suffix(".json").write_text(Work(profile="night", codes={}, settings={}).model_dump_json())
    store.announce(Work(profile="quick", codes={}, settings={}), lambda *_: "it is dead")
    assert not left.exists() and not left.with_suffix(".json").exists()


def test_a_damaged_plan_is_refused_by_name(store: Store) -> None:
    (store.root / "plan.json").write_text('{"profile": "quick"')
    with pytest.raises(InputError, match=r"plan\.json"):
        store.plan()


def test_the_policy_is_kept_beside_the_record(store: Store) -> None:
    record: Record = examples.record()
    policy = store.scratch(record.trial.id) / "policy"
    policy.mkdir()
    (policy / "weights.json").write_text("[]")
    store.save(record, policy)
    assert (store.root / "policies" / record.trial.id / "weights.json").read_text() == "[]"
