"""The tables of results on each method's page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.report.method_results import FOLDER, NOT_YET, tables
from benchmarks.records.plans import Plan, PlanRow

CLIP, PEG = "ClipInsertion-v0", "PegInsertion-v0"


def committed(root: Path, rows: list[tuple[str, str, str, str, float, float]]) -> None:
    """Write a plan and its main table, of experiments, tasks, variants, labels and success in both modes."""
    (root / FOLDER / "tables").mkdir(parents=True)
    plan = Plan(
        profile="field",
        rows=[
            PlanRow(experiment=a, label=d, trial=f"{i:016x}", task=b, demonstrations=10, seed=0, variant=c)
            for i, (a, b, c, d, *_) in enumerate(rows)
        ],
    )
    (root / FOLDER / "plan.json").write_text(plan.model_dump_json())
    main = pd.DataFrame(rows, columns=["experiment", "task", "variant", "label", "sampled_mean", "mean_mean"])
    bounds = {
        f"{mode}_mean_{end}": main[f"{mode}_mean"] + step
        for mode in ("sampled", "mean")
        for end, step in (("low", -0.1), ("high", 0.1))
    }
    ends = {"ok": 4, "failed": 1, "diverged": 0, "timed_out": 0, "missing": 0}
    main = main.drop(columns="variant").assign(demonstrations=10, seeds=5, environment_steps=1000.0, **ends, **bounds)
    main.to_csv(root / FOLDER / "tables" / "main.csv", index=False)


def test_a_method_without_records_has_no_table(tmp_path: Path) -> None:
    assert tables("act", tmp_path) == NOT_YET
    committed(tmp_path, [("field", CLIP, "bc", "BC", 0.3, 0.4)])
    assert tables("act", tmp_path) == NOT_YET


def test_its_rows_stand_above_those_of_gpril_and_bc(tmp_path: Path) -> None:
    none = float("nan")
    committed(
        tmp_path,
        [
            ("field", CLIP, "gpril", "GPRIL", 0.8, 0.7),
            ("field", CLIP, "bc", "BC", 0.3, 0.4),
            ("field", CLIP, "bc-gmm", "BC-GMM", 0.5, 0.5),
            ("field", CLIP, "act", "ACT", none, 0.35),
            ("field", PEG, "bc", "BC", 0.6, 0.6),
            ("field-states", CLIP, "gpril/states", "GPRIL, states only", 0.5, 0.2),
            ("field-states", CLIP, "bco/states-alone", "BCO", 0.3, 0.3),
        ],
    )
    cells = [
        line.strip("| ").split(" | ") for line in tables("act", tmp_path).splitlines() if line.startswith("| Clip")
    ]
    assert [row[2:6] for row in cells] == [
        ["ACT", "5 (1 failed)", "–", "35 [25, 45]"],
        ["GPRIL", "5 (1 failed)", "80 [70, 90]", "70 [60, 80]"],
        ["BC", "5 (1 failed)", "30 [20, 40]", "40 [30, 50]"],
    ]
    assert "Peg" not in tables("act", tmp_path)

    for method in ("gpril", "bco"):
        assert "BCO | 5 (1 failed) | 30 [20, 40] | 30 [20, 40] | 1,000 |" in tables(method, tmp_path)
    assert "From states only" not in tables("bc", tmp_path)
