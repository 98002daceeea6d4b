"""A disk of a megabyte that fills up while trials run, and one that is read-only. Needs the right to mount."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Bench

pytestmark = pytest.mark.reliability

SEEDS = "--seeds=60"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk in memory, or change its options, and return its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if folder.is_mount() else ["-o", options, "-t", "tmpfs"]
        done = subprocess.run(["mount", *again, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no right to mount: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up(
    bench: Bench, inline: None, disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    results = disk("size=400k,nr_inodes=1000k") / "results"
    full = bench.run(SEEDS, f"--results={results}")
    assert full.code == 1 and "Traceback" not in full.err
    last = full.err.splitlines()[-1]
    assert re.fullmatch(rf"error: cannot write {results}/.*: No space left on device \(\d+ MiB free\); .* whole", last)
    kept = {path: path.read_bytes() for path in (results / "records").iterdir()}
    assert len(kept) > 5 and len(bench.records("disk/results")) == len(kept), "each of them whole"
    with capsys.disabled():
        print(f"\n{last.replace(str(results), 'RESULTS')}\n{len(kept)} records whole")

    disk("size=8m")
    assert bench.run(SEEDS, f"--results={results}").code == 0
    assert len(bench.records("disk/results")) == 60
    assert {path: path.read_bytes() for path in kept} == kept and not list((results / "damaged").iterdir())


def test_a_read_only_disk(bench: Bench, inline: None, disk: Callable[[str], Path]) -> None:
    results = disk("size=8m") / "results"
    bench.run("--seeds=2", f"--results={results}")
    before = bench.records("disk/results")
    disk("ro")
    refused = bench.run(f"--results={results}", "--seeds=3")
    assert refused.code == 2 and "Traceback" not in refused.err
    assert f"cannot write {results}" in refused.err and "Read-only file system" in refused.err
    assert "MiB free" in refused.err and bench.records("disk/results") == before
    assert bench.run(f"--results={results}", "--seeds=3", "--dry-run").code == 0, "looking is allowed"
    disk("rw")
    assert bench.run(f"--results={results}", "--seeds=3").code == 0
