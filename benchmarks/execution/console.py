"""Output for the user; a line that cannot be printed does not end the run."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from rich.console import Console

GONE = (errno.EPIPE, errno.EIO)
"""Of a reader that has ended, and of a terminal that was closed."""


class _Unbreakable(io.TextIOBase):
    """A stream that cannot fail: its reader may be gone, its terminal closed, its disk full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str) -> int:
        with self._guarded():
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        with self._guarded():
            self._stream.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in GONE:  # nobody will ever read it, so that Python need not fail at exit either
                with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), self._stream.fileno())
        except ValueError:  # it is closed
            pass

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except ValueError:
            return False


def new_console() -> Console:
    """Standard error: words are wrapped whole on a terminal, and a line that cannot be printed ends nothing."""
    stream = _Unbreakable(sys.stderr) if sys.stderr is not None else io.StringIO()
    console = Console(file=cast(TextIO, stream), highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def say(message: str) -> None:
    """Print a message on standard error."""
    new_console().print(message)


def show(text: str, stream: TextIO | None = None) -> None:
    """Print text unchanged, on standard output where no other stream is given."""
    if (stream := stream or sys.stdout) is not None:  # it may have been closed before this process began
        unbreakable = _Unbreakable(stream)
        unbreakable.write(f"{text}\n")
        unbreakable.flush()


def show_command(introduction: str, words: Sequence[str]) -> None:
    """Print a command to be copied, on standard error; on a terminal it is continued where a line is full."""
    console = new_console()
    lines = [introduction]
    for word in map(shlex.quote, words):
        if console.is_terminal and len(lines[-1]) + len(word) + 3 > console.width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    show("\n".join(lines), sys.stderr)
