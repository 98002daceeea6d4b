"""The benchmark: its command line, and the planning, running and recording of trials."""

from pathlib import Path
from runpy import run_path

_ENVS = Path(__file__).parents[1] / "envs"
run_path(str(_ENVS / "interrupts.py"))["end_quietly_while_importing"]()
run_path(str(_ENVS / "shadowing.py"))["require_ours"]("envs", "methods", "analysis")
