"""The provenance of a result: source code, versions of libraries, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from benchmarks.records.schema import Provenance
from benchmarks.records.sources import ROOT, changed_files, digest, source_files
from benchmarks.records.version import VERSION

__all__ = ["ROOT", "THREADS", "changed_files", "commit", "describe", "digest", "machine", "source_files", "versions"]

THREADS = 1
ENVIRONMENT = {f"{name}_NUM_THREADS": str(THREADS) for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}
ENVIRONMENT["PYTHONHASHSEED"] = "0"
"""Environment variables of every process that trains: `THREADS` threads, and the same order of hashes everywhere."""
LIBRARIES = ("numpy", "torch", "mujoco", "gymnasium", "stable-baselines3", "sb3-contrib", "imitation", "nflows")


def describe(code_digest: str) -> Provenance:
    """The provenance of a trial that starts now on this machine."""
    return Provenance(
        code_digest=code_digest,
        versions=versions(),
        machine=machine(),
        threads=THREADS,
        commit=commit(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        suite=VERSION,
    )


@cache
def versions() -> dict[str, str]:
    """Python and the installed libraries that can change a number."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str]:
    """Processor, number of cores, system."""
    return {"processor": _processor(), "cores": str(os.cpu_count()), "system": platform.platform()}


@cache
def commit() -> str:
    """The checkout's commit, with "+" where its source differs from it; empty outside a checkout."""
    if git("rev-parse", "--show-toplevel") != str(ROOT.resolve()):
        return ""
    changes = git("status", "--porcelain", "--", "benchmarks", "envs", "methods")
    return git("rev-parse", "HEAD") + ("+" if changes else "")


def git(*arguments: str) -> str:
    """What Git prints in this checkout; empty if it fails."""
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
