from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report import write_report
from tests.analysis.synthetic import comparison, make_record


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported results folder: three methods, two tasks, three seeds; one trial failed and one is missing."""
    folder = comparison(seeds=3)
    folder.add("BC", make_record("bc", seed=7, status="failed", error="ValueError: 50 % of a_b & <c>\nsecond line"))
    folder.add("GPRIL", make_record("gpril", seed=8), missing=True)
    directory = folder.write(tmp_path_factory.mktemp("results"))
    write_report(directory)
    return directory
