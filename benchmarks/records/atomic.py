"""Writes files atomically: they appear complete or not at all, even if the process or the system dies while writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write(path: Path, content: bytes | Callable[[BinaryIO], None], token: str = "") -> None:
    """Write a file under a temporary name in its folder, flush it to the disk and rename it.

    Args:
        path: the file; one that is there is replaced.
        content: its bytes, or what writes them into the open file.
        token: part of the temporary name `.NAME.TOKEN.tmp`, by which the writer can be told; "" for the process id.

    Raises:
        OSError: it could not be written; an earlier file is unchanged, and nothing temporary is left.
    """
    temporary = path.with_name(f".{path.name}.{token or os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def flush(path: Path) -> None:
    """Make sure that the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
