"""`python -m tests.benchmarks.without_report`: the runner's command line without the analysis at its end."""

from __future__ import annotations

import sys
from types import ModuleType

from benchmarks.run import main

if __name__ == "__main__":
    report = ModuleType("analysis.report.__main__")
    report.ResultsError = ValueError  # type: ignore[attr-defined]
    report.write_report = lambda folder: f"report of {folder.name}"  # type: ignore[attr-defined]
    sys.modules["analysis.report.__main__"] = report
    reference = ModuleType("analysis.reference")
    reference.against_reference = lambda folder: ""  # type: ignore[attr-defined]
    sys.modules["analysis.reference"] = reference
    sys.exit(main())
