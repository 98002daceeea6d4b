from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report.__main__ import write_report
from tests.analysis.synthetic import comparison, make_record


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reported results folder: three methods, two tasks, three seeds; one trial failed and one is missing.

    The one that failed was interrupted twice.
    """
    folder = comparison(seeds=3)
    failed = make_record("bc", seed=7, status="failed", error="ValueError: 50 % of a_b & <c>\nsecond line")
    made_by = failed.provenance.model_copy(update={"starts": 3, "resumed": 1, "unsaved": "it forgets"})
    folder.add("BC", failed.model_copy(update={"provenance": made_by}))
    folder.add("GPRIL", make_record("gpril", seed=8), missing=True)
    directory = folder.write(tmp_path_factory.mktemp("results"))
    write_report(directory)
    return directory
