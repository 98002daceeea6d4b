"""What is safe on the disk, and whether a folder is on a network file system, where the suite cannot promise it."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/mounts")
NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs"),
    *("pvfs2", "smb3", "smbfs"),
}


def network_warning(folder: Path, mounts: Path | None = None) -> str:
    """A line to print before a run writes to `folder`; empty on a local disk, or where the system does not say.

    Args:
        folder: need not be there yet.
        mounts: what the system has mounted, in Linux's words; None asks it.
    """
    kind = _kind(folder, mounts or MOUNTS)
    if kind not in NETWORK and not kind.startswith("fuse."):
        return ""
    return (
        f"{folder} is on a network file system ({kind}). Not promised there: that two runs at once never do a trial "
        "twice (its locks may not reach other machines, or outlive a dead run), and that a finished record survives a "
        "crash of the server. Run one at a time, or use --results on a local disk"
    )


def flush(path: Path) -> None:
    """Make sure that a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kind(folder: Path, mounts: Path) -> str:
    """The type of the file system that holds a folder; empty where it is not known."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    place, found = folder.resolve(), (0, "")
    for line in lines:
        _, point, kind, *_ = [*line.split(), "", "", ""]
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))  # a space is written \040
        if place.is_relative_to(mounted) and len(mounted.parts) >= found[0]:  # the last one of equals hides the others
            found = len(mounted.parts), kind
    return found[1]
