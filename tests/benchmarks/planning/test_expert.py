"""What the demonstrator achieved, as the results folder says it."""

from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from analysis.load import load as load_results
from benchmarks.planning.expert import FILE, Expert, main, write
from benchmarks.records.schema import DemonstrationChoice, Trial
from envs.demonstrations import Demonstrations, load_task, save
from tests import tiny
from tests.analysis.synthetic import Folder, make_record

PEG = "PegInsertion-v0"


def trial(demonstrations: Demonstrations, source: str = "shipped") -> Trial:
    choice = DemonstrationChoice(source=source, digest=demonstrations.digest, episodes=3)
    return make_record("bc", demonstrations.task).trial.model_copy(update={"demonstrations": choice})


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / FILE).open() as file:
        return list(csv.DictReader(file))


def test_counts_what_was_left_out() -> None:
    shipped = load_task(PEG)
    made = Expert.of(shipped)
    assert (made.episodes, made.failed, made.success) == (100, shipped.origin["failed_attempts"], 1.0)
    assert made.median == pytest.approx(float(np.median(shipped.lengths))) and made.q1 <= made.median <= made.q3
    assert Expert.of(replace(shipped, origin={})).success is None
    assert Expert.of(replace(shipped, origin={"failed_attempts": 25})).success == 0.8


def test_adds_to_what_is_there_and_names_what_it_cannot_read(tmp_path: Path) -> None:
    shipped, own = load_task(PEG), load_task("ClipInsertion-v0").subset(4)
    save(own, tmp_path / "own.npz")
    assert write(tmp_path, [trial(shipped), trial(shipped)]) == []
    assert write(tmp_path, [trial(own, str(tmp_path / "own.npz"))]) == []
    assert [(row["task"], row["episodes"]) for row in rows(tmp_path)] == [("ClipInsertion-v0", "4"), (PEG, "100")]
    before = (tmp_path / FILE).read_bytes()
    (problem,) = write(tmp_path, [trial(load_task(PEG).subset(2), str(tmp_path / "gone.npz")), trial(shipped)])
    assert "gone.npz" in problem and (tmp_path / FILE).read_bytes() == before


def test_other_demonstrations_under_the_same_name_are_left_out(tmp_path: Path) -> None:
    changed = trial(load_task(PEG))
    choice = changed.demonstrations.model_copy(update={"digest": "0" * 64})
    (problem,) = write(tmp_path, [changed.model_copy(update={"demonstrations": choice})])
    assert "are not those that the records learnt from" in problem and not (tmp_path / FILE).exists()


def test_the_command_and_what_the_analysis_reads(tmp_path: Path) -> None:
    shipped = load_task(PEG)
    folder, record = Folder(), make_record("bc", PEG)
    folder.add("BC", record.model_copy(update={"trial": trial(shipped)}))
    folder.write(tmp_path)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 0 and result.stdout == f"{tmp_path / FILE}\n"
    (row,) = load_results(tmp_path).expert.to_dict(orient="records")
    assert row["task"] == PEG and row["success"] == 1.0 and row["median"] == Expert.of(shipped).median

    (tmp_path / FILE).write_text("task,digest\nx,y\n")
    results = load_results(tmp_path)
    assert results.expert.empty and any(f"not used: {tmp_path / FILE}" in notice for notice in results.notices)


def test_a_task_of_a_module_is_called_as_in_its_records(tmp_path: Path) -> None:
    own = tiny.demonstrate(episodes=3, seed=0)
    save(own, tmp_path / "own.npz")
    learnt = trial(own, str(tmp_path / "own.npz")).model_copy(update={"task": f"tests.tiny:{tiny.ID}"})
    for _ in range(2):
        assert write(tmp_path, [learnt]) == []
        assert [row["task"] for row in rows(tmp_path)] == [learnt.task]
    folder = Folder()
    folder.add("BC", make_record("bc", PEG).model_copy(update={"trial": learnt}))
    assert list(load_results(folder.write(tmp_path)).expert["task"]) == [learnt.task]


def test_a_folder_that_cannot_be_written_exits_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, record = Folder(), make_record("bc", PEG)
    folder.add("BC", record.model_copy(update={"trial": trial(load_task(PEG))}))
    folder.write(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuse)
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2 and f"Error: cannot write {tmp_path / FILE}: Permission denied" in result.stderr


def test_a_folder_without_records_exits_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2 and "holds no record" in result.stderr
