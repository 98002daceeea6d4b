"""Checks and their findings."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass


class ContractViolation(Exception):
    """A promise of the contract is not kept; the message says how, and how to fix it."""


@dataclass(frozen=True)
class Check:
    """One check: what it is about and what to call.

    Attributes:
        promise: what holds if the check passes, in a few words.
        run: raises ContractViolation, or anything else, where the promise is not kept; may return a remark.
        essential: whether the checks after it make no sense where it fails.
    """

    promise: str
    run: Callable[[], str | None]
    essential: bool = False


@dataclass(frozen=True)
class Result:
    """What one check found; `problem` is empty where the promise is kept, `remark` need not be fixed."""

    promise: str
    problem: str = ""
    remark: str = ""


def run_checks(checks: Iterable[Check]) -> Generator[Result, None, bool]:
    """Results in order, each as soon as it is known; returns False where an essential check failed and ended them."""
    for check in checks:
        try:
            remark = check.run()
        except (Exception, SystemExit) as error:
            yield Result(check.promise, problem=explain(error))
            if check.essential:
                return False
        else:
            yield Result(check.promise, remark=remark or "")
    return True


def require(holds: bool, problem: str) -> None:
    """Raises ContractViolation with this message unless it holds."""
    if not holds:
        raise ContractViolation(problem)


def explain(error: BaseException) -> str:
    """An exception in one line; one that is not ours with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ContractViolation) else f"{type(error).__name__}: {text}"
