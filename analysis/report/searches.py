"""What tuning found for each method, as a table of the committed searches."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from analysis.formatting import percent
from analysis.report.effects import NOT_YET
from analysis.tables.render import markdown
from benchmarks.records.studies import Study, load_study, study_files

FOLDER = Path("results/tune")
NOTE = (
    "Success in % of rollouts over all trainings of a choice of settings, mean of sampled and deterministic actions. "
    "The profile's own settings are the first choice. A choice was stopped after its first seed if it could no "
    "longer become the best, or was worse than the median. The best of several choices is partly lucky, so its success "
    "here is too high an estimate."
)


def table(root: Path) -> str:
    """The table in Markdown, from the searches that are committed below `root`; `NOT_YET` if there are none."""
    rows = [_row(load_study(path)) for path in study_files(root / FOLDER)]
    if not rows:
        return f"{NOT_YET}\n"
    return markdown("The search of each method", pd.DataFrame(rows).sort_values("Method"), NOTE)


def _row(study: Study) -> dict[str, str]:
    own, best = study.choices[0], study.best
    changed = [f"{name} {json.dumps(value)}" for name, value in best.values.items() if value != own.values[name]]
    return {
        "Method": study.label,
        "Choices": str(len(study.choices)),
        "Stopped": str(sum(choice.state == "stopped" for choice in study.choices)),
        "Failed trials": str(sum(choice.failed for choice in study.choices)),
        "Core-hours": f"{sum(choice.core_seconds for choice in study.choices) / 3600:.1f}",
        "Profile": percent(own.score),
        "Best choice": percent(best.score),
        "Changed": ", ".join(changed) or "nothing",
    }
