"""Errors meant for people: one line that names the value, what is allowed and how to fix it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

LONGEST = 1000
"""Longest line of an error, in characters."""


class InputError(ValueError):
    """The user asked for something that cannot be done. The command line prints it and exits with 2."""


class RunError(RuntimeError):
    """The run cannot continue (the disk is full, source files changed). The command line prints it and exits with 1."""


class RunStopped(Exception):
    """The run was stopped by a signal; the message says what is kept. The command line prints it and exits with 130."""


class WorkerDied(RuntimeError):
    """A trial's process ended without a result: how, in a line, then its last words. The scheduler tries again."""


def cannot_write(path: Path, error: OSError) -> RunError:
    """An error for a file or folder that the system refused to write, with the space that is left."""
    folder = next((place for place in (path, *path.absolute().parents) if place.is_dir()), path)
    try:
        free = f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB free"
    except OSError:
        free = "free space unknown"
    return RunError(f"cannot write {path}: {error.strerror} ({free}); the records already written are whole")


def cannot_read(path: Path, error: OSError) -> InputError:
    """An error for a file that is there but cannot be read."""
    return InputError(f"cannot read {path} ({error.strerror}); choose another folder with --results")


def one_line(message: str) -> str:
    """A message as a line of a terminal, whatever the file or value it quotes may hold."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not among the known ones, with the nearest of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names) or 'none'}")
