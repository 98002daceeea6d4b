"""Memory of the runner and of its workers over two hundred trials."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.records.files import load_record
from tests.reliability.test_smoke import start

pytestmark = pytest.mark.reliability

TRIALS = 200
WARM_UP = 10
"""Trials after which everything has been loaded once."""
MOST = 0.05
"""MiB a trial: 500 MiB in ten thousand."""


def test_memory_stays_flat_over_200_trials(tmp_path: Path) -> None:
    runner = start(tmp_path, "--methods=bc", "--tasks=peg", f"--seeds={TRIALS}", "--jobs=2")
    own: list[float] = []
    while runner.poll() is None:
        done = len(list(tmp_path.glob("records/*.json")))
        if done > len(own) and (resident := _resident_mib(runner.pid)):
            own += [resident] * (done - len(own))
        time.sleep(0.05)
    assert runner.communicate()[1] is not None and runner.returncode == 0
    paths = sorted(tmp_path.glob("records/*.json"), key=lambda path: path.stat().st_mtime_ns)
    workers = [load_record(path).usage.peak_memory_mib for path in paths]
    assert len(workers) == TRIALS and len(own) >= TRIALS - 2
    print()
    for name, series in {"runner": own, "workers": workers}.items():
        low, slope, high = slope_with_interval(np.array(series[WARM_UP:]))
        print(
            f"{name}: {slope:+.4f} MiB a trial, 95 % interval [{low:+.4f}, {high:+.4f}], "
            f"median {np.median(series):.0f} MiB, over {len(series)} trials"
        )
        assert slope < MOST, f"the memory of the {name} grows"


def slope_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Least-squares slope of values [n] over their index, between the bounds of its 95 % interval."""
    fit = stats.linregress(np.arange(len(values)), values)
    half = stats.t.ppf(0.975, len(values) - 2) * fit.stderr
    return fit.slope - half, fit.slope, fit.slope + half


def _resident_mib(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
