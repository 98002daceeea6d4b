"""Where a results folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.records.store import network_warning
from tests.benchmarks.conftest import Bench

MOUNTS = r"""
/dev/sda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
/dev/sdb1 /home/me/scratch xfs rw 0 0
//server/share /mnt/my\040share cifs rw 0 0
me@host:/data /mnt/far fuse.sshfs rw,nosuid 0 0
/dev/sdc1 /mnt/covered ext4 rw 0 0
cluster /mnt/covered lustre rw 0 0
cut-line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/results", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/results", ""),
        ("/home/me/scratch/results", ""),
        ("/mnt/my share/results", "cifs"),
        ("/mnt/far", "fuse.sshfs"),
        ("/mnt/covered/results", "lustre"),
        ("/srv/results", ""),
    ],
)
def test_network_file_systems_are_known_by_their_mounts(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    said = network_warning(Path(folder), mounts)
    assert bool(said) == bool(kind) and "\n" not in said
    assert not kind or said.startswith(f"{folder} is on a network file system ({kind}). Not promised there: ")


def test_nothing_is_said_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert network_warning(tmp_path, tmp_path / "no such file") == ""


def test_a_run_warns_and_goes_on(bench: Bench, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = bench.folder / "mounts"
    mounts.write_text(f"server:/x {bench.folder} nfs rw 0 0\n")
    monkeypatch.setattr("benchmarks.records.store.MOUNTS", mounts)
    outcome = bench.run("--seeds=1")
    assert outcome.code == 0 and f"note: {bench.results} is on a network file system (nfs)" in outcome.err
    mounts.write_text(f"/dev/sda1 {bench.folder} ext4 rw 0 0\n")
    assert "network" not in bench.run("--seeds=1").err
