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

PATIENCE = 600.0
"""Seconds after which a test gives up. No test waits for so long, however busy the machine is."""


def start(
    bench: Bench, *more: str, largest_file: int = resource.RLIM_INFINITY, hangup: signal.Handlers = signal.SIG_DFL
) -> subprocess.Popen[str]:
    """The runner as from a terminal: a shell in the background or nohup has the tests ignore some signals.

    Args:
        bench, more: the comparison and further arguments.
        largest_file: in bytes: the system lets it and its workers write no more into any file.
        hangup: what SIGHUP does to it at first; SIG_IGN as under nohup.
    """

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, hangup)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "tests.benchmarks.without_report", *bench.command(*more)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare)


def wait_for(condition: Callable[[], object], runner: subprocess.Popen[str] | None = None) -> None:
    """Until it holds. It fails where the runner ends before, and else only once nothing can be expected any more."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never happened"
        assert runner is None or runner.poll() is None, f"the runner ended before: {runner.communicate()}"
        time.sleep(0.05)


def finish(runner: subprocess.Popen[str]) -> str:
    """Wait until the runner has ended; returns what it said."""
    return runner.communicate(timeout=PATIENCE)[1]


def alive(process: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
