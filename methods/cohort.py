"""Trainings that differ in their seeds alone: each runs as it would alone, and what all ask for is done at once.

Every training has a thread of its own, but they take turns: one runs until it asks for something, then the next. When
none can go on without an answer, whoever serves them sees all that is asked and answers some of it. So a training need
not know of the others, nothing depends on timing, and trainings whose ways part (one stops early, another fails) find
together again by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from methods.interface import FitContext, Policy

if TYPE_CHECKING:
    from envs.demonstrations import Demonstrations

Ask = Callable[[Any], Any]
"""Ask for something and wait for the answer."""
Result = TypeVar("Result")


class Cohort(Protocol):
    """A method's way to train several seeds at once; `Method.cohort` names it."""

    def __init__(self, settings: Any) -> None:
        """Settings of the method, the same for all seeds."""

    def fit(self, demonstrations: Demonstrations, context: FitContext, ask: Ask) -> Policy:
        """What `Method.fit` does, for one seed; runs in a thread, and asks where something is done for all at once."""

    def serve(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        """Do what some of the trainings ask for.

        Args:
            asked: by each training that has not ended, by its number.

        Returns:
            answers, at least one, by number. An exception is raised where the training asked.
        """


def take_turns(
    runs: Sequence[Callable[[Ask], Result]], serve: Callable[[Mapping[int, Any]], Mapping[int, Any]]
) -> list[Result]:
    """Run all to their ends and return what they return.

    Where `serve` raises, each of those that ask raises the same. Where a run raises, that is raised here once all have
    ended.
    """
    lanes = [_Lane(run) for run in runs]
    for lane in lanes:
        lane.go_on()
    while asked := {number: lane.asks for number, lane in enumerate(lanes) if not lane.ended}:
        try:
            answers = serve(asked)
        except Exception as problem:
            answers = dict.fromkeys(asked, problem)
        for number, answer in answers.items():
            lanes[number].go_on(answer)
    return [lane.result() for lane in lanes]


class _Lane:
    """A run in a thread, which moves only while its owner waits."""

    def __init__(self, run: Callable[[Ask], Any]) -> None:
        self.asks: Any = None
        self.ended = False
        self._run = run
        self._answer: Any = None
        self._problem: BaseException | None = None
        self._turn, self._back = Semaphore(0), Semaphore(0)
        Thread(target=self._live, daemon=True).start()

    def go_on(self, answer: Any = None) -> None:
        """Hand over an answer, and wait until the run asks again or ends."""
        self._answer = answer
        self._turn.release()
        self._back.acquire()

    def result(self) -> Any:
        if self._problem:
            raise self._problem
        return self._result

    def _live(self) -> None:
        self._turn.acquire()
        try:
            self._result = self._run(self._ask)
        except BaseException as problem:
            self._problem = problem
        self.ended = True
        self._back.release()

    def _ask(self, what: Any) -> Any:
        self.asks = what
        self._back.release()
        self._turn.acquire()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer
