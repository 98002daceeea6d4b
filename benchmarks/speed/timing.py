"""Times comparisons: alternately, in several rounds; medians and quartiles of the ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import process_time

import numpy as np
import torch


@dataclass(frozen=True)
class Comparison:
    """What one comparison found.

    Attributes:
        name: what was done.
        peer: what ours was compared with.
        ours_ms: median time of ours, in milliseconds: processor time, unless the note says "wall-clock".
        peer_ms: that of the peer.
        ratio: median of peer / ours over the rounds; above 1 ours is faster.
        low, high: its quartiles.
        note: the same in another unit, or how it was measured if not by processor time.
    """

    name: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float
    low: float
    high: float
    note: str = ""


def compare(
    name: str,
    peer: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 9,
    calls: int = 1,
    note: Callable[[float], str] = lambda seconds: "",
    clock: Callable[[], float] = process_time,
) -> Comparison:
    """Run both in turn, `calls` times each, one uncounted round first; `note` is told the median seconds of ours."""
    times = np.array([[_seconds(run, calls, clock) for run in (ours, theirs)] for _ in range(rounds + 1)][1:])
    low, ratio, high = np.quantile(times[:, 1] / times[:, 0], [0.25, 0.5, 0.75])
    ours_ms, peer_ms = 1e3 * np.median(times, axis=0)
    return Comparison(name, peer, ours_ms, peer_ms, ratio, low, high, note(ours_ms / 1e3))


def gemm_rate(size: int = 1024, rounds: int = 9) -> float:
    """Floating-point operations a second of a dense single-precision product, the machine's measured peak."""
    a, b, out = (torch.rand(size, size) for _ in range(3))
    return 2.0 * size**3 / min(_seconds(lambda: torch.mm(a, b, out=out)) for _ in range(rounds + 1))


def chosen(found: Iterator[Comparison]) -> Iterator[Comparison]:
    """Pin one thread while comparisons are made: trials run with one, and ratios are then those of a core."""
    with torch_threads(1):
        yield from found


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """As many threads in PyTorch's products as that, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(run: Callable[[], object], calls: int = 1, clock: Callable[[], float] = process_time) -> float:
    begun = clock()
    for _ in range(calls):
        run()
    return (clock() - begun) / calls
