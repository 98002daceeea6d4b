"""The runner as a process of its own, and the workers it has."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.conftest import Bench


def start(bench: Bench, *more: str, largest_file: int = resource.RLIM_INFINITY) -> subprocess.Popen[str]:
    """The runner as from a terminal: a shell that starts the tests in the background has them ignore Ctrl-C.

    `largest_file` in bytes: the system lets it and its workers write no more into any file.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "tests.benchmarks.without_report", *bench.arguments, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


def workers_of(folder: Path) -> list[int]:
    """Worker processes that inherited this folder as the variable BENCH."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if b"benchmarks.trial.worker" in command and f"BENCH={folder}\0".encode() in environment:
            found.append(int(process.name))
    return found
