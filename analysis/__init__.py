"""What the records mean: statistics, tables, figures and a report, computed from the records alone."""

from pathlib import Path
from runpy import run_path

run_path(str(Path(__file__).parents[1] / "envs" / "shadowing.py"))["require_ours"]("benchmarks", "methods", "envs")
