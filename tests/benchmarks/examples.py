"""Trials and records made by hand."""

from __future__ import annotations

from benchmarks.records import provenance
from benchmarks.records.plans import PlanRow
from benchmarks.records.schema import (
    BudgetChoice,
    DemonstrationChoice,
    Evaluation,
    Record,
    Rollout,
    Status,
    Trial,
)
from benchmarks.trial.protocol import NOTHING
from tests.benchmarks.fakes import METHOD, TASK


def trial(seed: int = 0, evaluation: Evaluation | None = None, environment_steps: int = 1000) -> Trial:
    """A trial of the linear method on the tiny task."""
    return Trial(
        method=METHOD,
        settings={},
        task=TASK,
        demonstrations=DemonstrationChoice(source="shipped", digest="0" * 64, episodes=4),
        seed=seed,
        budget=BudgetChoice(environment_steps=environment_steps, policy_updates=10),
        evaluation=evaluation or Evaluation(rollouts=2),
    )


def record(seed: int = 0, status: Status = "ok", error: str = "", seconds: float = 0.0) -> Record:
    """Its record, successful in one of two roll-outs where it is ok."""
    rollouts = [Rollout(seed=i, success=i == 0, seconds=1.0, end="success" if i == 0 else "timeout") for i in (0, 1)]
    return Record(
        trial=trial(seed),
        status=status,
        error=error,
        final={"sampled": rollouts, "mean": rollouts} if status == "ok" else {},
        usage=NOTHING.model_copy(update={"training_seconds": seconds}),
        provenance=provenance.describe("0" * 64),
    )


def row(seed: int) -> PlanRow:
    """Its place in an experiment."""
    return PlanRow.of("compare", "linear", trial(seed))
