"""Statistics, tables, figures and a report, computed from the records alone."""

from pathlib import Path
from runpy import run_path

_ENVS = Path(__file__).parents[1] / "envs"
run_path(str(_ENVS / "interrupts.py"))["end_quietly_while_importing"]()
run_path(str(_ENVS / "shadowing.py"))["require_ours"]("benchmarks", "methods", "envs")
