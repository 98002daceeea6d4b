"""Lets Ctrl-C end a command of the suite with a single line while it is still importing, which may take seconds.

The packages run this file by its path before they import anything else (see `envs.shadowing`).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def end_quietly_while_importing() -> None:
    """Where Python runs a module of the suite (`python -m`), replace its own handling of SIGINT until that begins.

    Programs that import the suite are left alone, and so is a signal that is ignored, as in the background.
    """
    # While `python -m package.module` imports the package, sys.argv[0] is "-m".
    if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:
    if not _has_begun(frame):
        with suppress(OSError):
            os.write(2, b"stopped before anything was done\n")
        os._exit(INTERRUPTED)  # an exception might be caught by whatever is being imported
    signal.default_int_handler(number, frame)


def _has_begun(frame: FrameType | None) -> bool:
    """Whether the module that Python runs calls something, other than to import or to define."""
    called = None
    while frame is not None:
        if frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name == "<module>":
            return called is not None and called.f_code.co_name in ("main", "__call__")
        called, frame = frame, frame.f_back
    return False
