"""Time and memory that a trial uses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Seconds of training, excluding evaluation and saving."""

    def __init__(self) -> None:
        self._began = perf_counter()

    @property
    def seconds(self) -> float:
        return perf_counter() - self._began

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the watch within a `with` block."""
        before = perf_counter()
        try:
            yield
        finally:
            self._began += perf_counter() - before


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far; 0 where the system does not report it."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
