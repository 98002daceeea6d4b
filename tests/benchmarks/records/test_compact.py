"""Compressed records: everything reads them, and nothing about them changes."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.load import load
from analysis.report.__main__ import check_report, write_report
from benchmarks.records.compact import main
from benchmarks.records.files import compressed, load_record, record_files
from benchmarks.records.schema import RecordError
from benchmarks.records.store import Store
from tests.analysis.synthetic import comparison
from tests.benchmarks import examples


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.open()
    return store


def compact(folder: Path) -> int:
    return CliRunner().invoke(main, [str(folder)]).exit_code


def test_the_report_is_the_same(tmp_path: Path) -> None:
    directory = comparison().write(tmp_path)
    write_report(directory)
    before = load(directory).scores
    plain = sum(path.stat().st_size for path in record_files(directory).values())
    done = CliRunner().invoke(main, [str(directory)])
    assert done.exit_code == 0 and f"{len(record_files(directory))} records compressed" in done.stdout
    assert not list((directory / "records").glob("*.json")) and check_report(directory) == []
    assert load(directory).scores.equals(before)
    assert sum(path.stat().st_size for path in record_files(directory).values()) < plain / 2
    assert "0 records compressed" in CliRunner().invoke(main, [str(directory)]).stdout


def test_equal_records_give_equal_files(tmp_path: Path) -> None:
    first = comparison().write(tmp_path / "1")
    shutil.copytree(first, tmp_path / "2")
    assert compact(first) == compact(tmp_path / "2") == 0
    for name, path in record_files(first).items():
        assert path.read_bytes() == (tmp_path / "2/records" / f"{name}.json.gz").read_bytes()


def test_a_store_finds_and_replaces_it(store: Store) -> None:
    record = examples.record(0)
    trial = record.trial.id
    store.save(record)
    plain = store.state(trial)
    assert compact(store.root) == 0 and store.state(trial) not in ("", plain)
    assert store.read([trial])[0] == {trial: record}
    store.save(record)
    assert [path.name for path in (store.root / "records").iterdir()] == [f"{trial}.json"]
    (attempt,) = (store.root / "attempts").iterdir()
    assert attempt.name.endswith(".json.gz") and gzip.decompress(attempt.read_bytes()) == record.to_bytes()


def test_damage_is_named(store: Store) -> None:
    record = examples.record(0)
    store.save(record)
    assert compact(store.root) == 0
    path = compressed(store.root / "records" / f"{record.trial.id}.json")
    whole = path.read_bytes()
    for content in (whole[:-20], b"", whole + whole, b"x" + whole, gzip.compress(b"{}")):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=rf"{record.trial.id}\.json"):
            load_record(path)
        kept, damaged = store.read([record.trial.id])
        assert not kept and record.trial.id in damaged


def test_a_bomb_is_not_unpacked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.records.files.LARGEST", 1000)
    path = store.root / "records" / "0123456789abcdef.json.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(RecordError, match="gzip"):
        load_record(path)


def test_what_cannot_be_compressed_is_refused_in_one_line(store: Store) -> None:
    nothing = CliRunner().invoke(main, [str(store.root)])
    assert nothing.exit_code == 2 and "holds no records" in nothing.stderr
    (store.root / "records" / "0123456789abcdef.json").write_text("{}")
    damaged = CliRunner().invoke(main, [str(store.root)])
    assert damaged.exit_code == 2 and damaged.stderr.count("\n") == 1 and "not a record" in damaged.stderr


def test_two_different_records_of_one_trial_are_both_left_alone(store: Store) -> None:
    place = store.root / "records" / f"{examples.trial().id}.json"
    store.save(examples.record(seconds=1.0))
    compressed(place).write_bytes(gzip.compress(examples.record(seconds=2.0).to_bytes()))
    before = {path: path.read_bytes() for path in place.parent.iterdir()}
    done = CliRunner().invoke(main, [str(store.root)])
    assert done.exit_code == 2 and "are two records of one trial; remove one of them" in done.output
    assert {path: path.read_bytes() for path in place.parent.iterdir()} == before
