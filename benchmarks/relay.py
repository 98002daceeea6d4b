"""A trial at a node of a cluster: done by a local process, whose words are passed on.

Nothing here knows the cluster's library, so that the node's side of a trial is the local one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from benchmarks.local import LocalWorkplace
from benchmarks.messages import Order, is_record

Folder = dict[str, bytes]
"""The files of a folder, by their relative paths."""
WAKE_SECONDS = 0.5


def relay(order: Order) -> Iterator[bytes | Folder]:
    """Do a trial on this machine, in a folder of its own instead of the order's scratch folder.

    Yields:
        what a workplace yields, and just before the record the final policy's folder.

    Raises:
        WorkerDied: as a workplace does.
    """
    with tempfile.TemporaryDirectory(prefix="gpril-benchmarks-") as folder, asyncio.Runner() as runner:
        lines = LocalWorkplace(jobs=1).work(order.model_copy(update={"scratch": Path(folder)}))
        while (line := runner.run(_next(lines))) is not None:
            if is_record(line):
                yield read_folder(Path(folder) / "policy")
            yield line


def read_folder(folder: Path) -> Folder:
    """The files of a folder; none where there is no such folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_folder(content: Folder, folder: Path) -> None:
    """Write files below a folder, which is made where there are any."""
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next line; None at the end. Wakes now and then, since a cancelled task is told between two Python steps."""
    waiting = asyncio.ensure_future(anext(lines, None))
    while not waiting.done():
        await asyncio.wait([waiting], timeout=WAKE_SECONDS)
    return waiting.result()
