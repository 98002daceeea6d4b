"""This machine as a workplace where trials that differ in their seeds alone train as one, in one process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress

from pydantic import TypeAdapter

from benchmarks.local import LocalWorkplace, lines_of
from benchmarks.messages import BEGUN, Order, is_record
from benchmarks.records import Trial
from methods import registry

GATHER_SECONDS = 0.5
"""How long a process that could begin waits for further seeds; the engine hands them over one by one."""


class TogetherWorkplace:
    """See `benchmarks.engine.Workplace`. Trials of methods without a cohort are done one by one."""

    def __init__(self, jobs: int, trials: Iterable[Trial]) -> None:
        """`jobs`: how many processes may be at work at once; `trials`: what is to be done."""
        seeds = Counter(_cell(trial) for trial in trials if registry.resolve(trial.method).cohort)
        self._width = max(seeds.values(), default=1)
        self._jobs = jobs
        self._processes = asyncio.Semaphore(jobs)
        self._alone = LocalWorkplace(jobs)
        self._gathering: dict[str, _Group] = {}

    def room(self) -> int:
        """Trials, not processes: all seeds of the largest cell for each."""
        return self._jobs * self._width

    async def work(self, order: Order) -> AsyncGenerator[bytes, None]:
        if registry.resolve(order.trial.method).cohort:
            group = self._gathering.get(_cell(order.trial)) or self._new_group(_cell(order.trial))
            lines = group.work(order)
        else:
            lines = self._work_alone(order)
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def _work_alone(self, order: Order) -> AsyncGenerator[bytes, None]:
        async with self._processes, aclosing(self._alone.work(order)) as lines:
            async for line in lines:
                yield line

    def _new_group(self, cell: str) -> _Group:
        self._gathering[cell] = group = _Group()
        group.task = asyncio.create_task(self._begin(cell, group))
        return group

    async def _begin(self, cell: str, group: _Group) -> None:
        try:
            async with self._processes:
                await asyncio.sleep(GATHER_SECONDS)
                del self._gathering[cell]
                await group.run()
        finally:
            if self._gathering.get(cell) is group:
                del self._gathering[cell]


class _Group:
    """Trials that share a process, each of which hears its own lines."""

    task: asyncio.Task[None]

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._lines: list[asyncio.Queue[bytes | Exception]] = []
        self._listening = 0

    async def work(self, order: Order) -> AsyncGenerator[bytes, None]:
        lines: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._orders.append(order)
        self._lines.append(lines)
        self._listening += 1
        try:
            ended = False
            while not ended:
                line = await lines.get()
                if isinstance(line, Exception):
                    raise line
                yield line
                ended = is_record(line)
        finally:
            self._listening -= 1
            if not self._listening:
                self.task.cancel()
                with suppress(asyncio.CancelledError):
                    await self.task

    async def run(self) -> None:
        """The process, from its beginning to its end."""
        orders = TypeAdapter(list[Order]).dump_json(self._orders)
        try:
            async with aclosing(lines_of("benchmarks.cohort_worker", orders)) as lines:
                async for line in lines:
                    if line == BEGUN:
                        self._tell_all(BEGUN)
                        continue
                    place, _, words = line.partition(b" ")
                    self._lines[int(place)].put_nowait(words)
        except Exception as problem:
            self._tell_all(problem)

    def _tell_all(self, what: bytes | Exception) -> None:
        for lines in self._lines:
            lines.put_nowait(what)


def _cell(trial: Trial) -> str:
    """Equal for trials that differ in their seeds alone."""
    return trial.model_copy(update={"seed": 0}).id
