"""The table of searches on the page about tuning."""

from __future__ import annotations

from pathlib import Path

from analysis.report.effects import NOT_YET
from analysis.report.searches import FOLDER, table
from benchmarks.records.studies import Choice, Score, Study, write_study


def choice(rate: float, success: float, state: str = "complete", failed: bool = False) -> Choice:
    scores = [
        Score(task="clip", demonstrations=number, seed=100, success=success, rollouts=100, failed=failed)
        for number in (10, 25)
    ]
    return Choice.model_validate({"values": {"rate": rate, "deep": True}, "state": state, "scores": scores})


def test_without_searches_it_says_so(tmp_path: Path) -> None:
    assert table(tmp_path) == f"{NOT_YET}\n"


def test_the_best_choice_stands_beside_the_profile_with_what_differs(tmp_path: Path) -> None:
    searches = {
        "GPRIL": [choice(2.0, 0.5)],
        "BC": [choice(2.0, 0.9, "stopped"), choice(3.0, 0.3, failed=True)],
    }
    for name, later in searches.items():
        study = Study(
            method=name.lower(),
            label=name,
            profile="tuning",
            tasks=["clip"],
            question={},
            code={},
            choices=[choice(1.0, 0.4).model_copy(update={"core_seconds": 3600.0}), *later],
        )
        write_study(tmp_path / FOLDER / "studies" / f"{name}.json", study)
    *_, bc, gpril = [line for line in table(tmp_path).splitlines() if line.startswith("|")]
    assert bc == "| BC | 3 | 1 | 2 | 1.0 | 40 | 40 | nothing |"
    assert gpril == "| GPRIL | 2 | 0 | 0 | 1.0 | 40 | 50 | rate 2.0 |"
