"""The table of diagnostics on GPRIL's page."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from analysis.load import plan_of
from analysis.report.effects import NOT_YET
from analysis.report.training import FOLDER, METHOD, table
from benchmarks.records.files import load_record, record_files

ROOT = Path(__file__).parents[3]


def test_without_records_it_says_so(tmp_path: Path) -> None:
    assert table(tmp_path) == f"{NOT_YET}\n"


def test_the_last_tenth_of_one_trial_is_its_median(tmp_path: Path) -> None:
    row = next(row for row in plan_of(ROOT / FOLDER).rows if row.variant == METHOD)
    path = record_files(ROOT / FOLDER)[row.trial]
    (tmp_path / FOLDER / "records").mkdir(parents=True)
    shutil.copy(ROOT / FOLDER / "plan.json", tmp_path / FOLDER)
    shutil.copy(path, tmp_path / FOLDER / "records")
    points = load_record(path).diagnostics.series["policy_sigma"]
    last = np.median([value for _, value in points[round(0.9 * len(points)) :]])
    text = table(tmp_path)
    assert next(line for line in text.splitlines() if "policy" in line).endswith(f"| {last:.2f} |")
    assert "over 1 seed, 10 demonstrations" in text
