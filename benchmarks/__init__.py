"""The benchmark: its command line, and the planning, running and recording of trials."""

from pathlib import Path
from runpy import run_path

run_path(str(Path(__file__).parents[1] / "envs" / "shadowing.py"))["require_ours"]("envs", "methods", "analysis")
