"""The signals that stop a run."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def interrupt_once() -> None:
    """Have the first of these signals raise KeyboardInterrupt and others do nothing, for the rest of this process.

    Impatience cannot hinder tidying up then. Signals that were ignored, as by nohup or in the background, still are.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        ignore()
        raise KeyboardInterrupt

    _install(interrupt)


def ignore() -> None:
    """Ignore these signals from now on."""
    _install(signal.SIG_IGN)


def _install(handler: object) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            with suppress(ValueError):  # not the main thread
                signal.signal(number, handler)  # type: ignore[arg-type]
