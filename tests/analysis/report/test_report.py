"""The report as a whole: what it writes, that it is reproducible, what `--check` finds, and how it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analysis.report.__main__ import check_report, main, write_report
from tests.analysis.synthetic import Folder, comparison, record_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(reported: Path, tmp_path: Path) -> Path:
    """A copy of the reported folder, to spoil."""
    return Path(shutil.copytree(reported, tmp_path / "results"))


@pytest.fixture
def small(tmp_path: Path) -> Folder:
    """Three records that are quickly reported, in `tmp_path`: one task, one seed, no learning curves."""
    folder = comparison(tasks=("PegInsertion-v0",), seeds=1, points=0)
    folder.write(tmp_path)
    return folder


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_writes_every_form(reported: Path) -> None:
    names = contents(reported)
    for table in ("main", "winners", "overall", "improvement", "endings", "costs", "trials"):
        assert {f"tables/{table}.{end}" for end in ("csv", "md", "tex")} <= set(names)
    for figure in ("success", "curves-episodes", "curves-gradient-steps", "curves-training-seconds"):
        assert {f"figures/comparison-{figure}.{end}" for end in ("csv", "png", "pdf")} <= set(names)


def test_prints_the_main_table_and_gives_the_same_bytes_again(folder: Path) -> None:
    before = contents(folder)
    result = run(folder)
    assert result.exit_code == 0
    assert contents(folder) == before
    for words in ("Clip insertion", "Peg insertion", "GPRIL", "GAIL", "4 (1 failed)", "3 (1 missing)"):
        assert words in result.stdout
    *table, place = result.stdout.splitlines()
    assert max(map(len, table)) <= 80 and str(folder / "report.html") in place


def test_check_accepts_what_was_written(folder: Path) -> None:
    before = contents(folder)
    result = run(folder, "--check")
    assert result.exit_code == 0 and "match the records" in result.stdout
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["tables/main.csv", "tables/improvement.tex", "figures/comparison-success.csv"])
def test_check_names_what_differs(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"GPRIL", b"GPR1L", 1))
    result = run(folder, "--check")
    assert result.exit_code == 1
    assert result.stdout == f"{path} does not match the records\n"


def test_check_names_what_is_missing_or_left_over(small: Folder, tmp_path: Path) -> None:
    write_report(tmp_path)
    (tmp_path / "tables/main.md").unlink()
    (tmp_path / "tables/old.csv").write_text("x\n")
    (tmp_path / "figures/comparison-success.png").write_bytes(b"not compared")
    assert check_report(tmp_path) == [
        f"{tmp_path / 'tables/main.md'} is missing",
        f"{tmp_path / 'tables/old.csv'} does not come from the records",
    ]
    write_report(tmp_path)
    assert check_report(tmp_path) == []


def test_check_notices_a_lost_record(folder: Path) -> None:
    next((folder / "records").glob("*.json")).unlink()
    result = run(folder, "--check")
    assert result.exit_code == 1 and "tables/main.csv does not match" in result.stdout


def test_damaged_records_are_named_on_stderr(small: Folder, tmp_path: Path) -> None:
    path = record_path(tmp_path, small.records[0])
    path.write_bytes(path.read_bytes()[:99])
    result = run(tmp_path)
    assert result.exit_code == 0
    assert str(path) in result.stderr and "Traceback" not in result.output
    assert "(1 missing)" in result.stdout


def test_nothing_to_report_exits_2_in_one_line(tmp_path: Path) -> None:
    for directory in (tmp_path / "nowhere", tmp_path):
        for arguments in ([directory], [directory, "--check"]):
            result = run(*arguments)
            assert result.exit_code == 2
            assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and not result.stdout


def test_an_unwritable_folder_exits_2(folder: Path) -> None:
    shutil.rmtree(folder / "tables")
    (folder / "tables").write_text("a file where the folder should be")
    result = run(folder)
    assert result.exit_code == 2 and f"cannot write {folder / 'tables'}" in result.stderr
