"""Synthetic results folders: records with plausible numbers, made without training anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.records.plans import Plan, PlanRow
from benchmarks.records.schema import (
    BudgetChoice,
    CurvePoint,
    DemonstrationChoice,
    Evaluation,
    Mode,
    Provenance,
    Record,
    Rollout,
    Status,
    Trial,
    Usage,
)

# label: (method, final success with many demonstrations, episodes used, gradient steps, seconds)
LABELS = {
    "GPRIL": ("gpril", 0.85, 460, 20_000, 180.0),
    "GAIL": ("gail", 0.6, 1_600, 3_000, 240.0),
    "BC": ("bc", 0.45, 0, 20_000, 40.0),
}


def make_record(
    method: str = "bc",
    task: str = "PegInsertion-v0",
    demonstrations: int = 10,
    seed: int = 0,
    *,
    success: dict[Mode, float] | None = None,
    status: Status = "ok",
    error: str = "",
    rollouts: int = 20,
    points: int = 6,
    usage: tuple[int, int, float] = (0, 1_000, 10.0),
    code: str = "0" * 64,
    drawn: bool = False,
    gymnasium: str = "1.4.0",
) -> Record:
    """A record whose success is the nearest possible with that many rollouts.

    Args:
        success: final fraction in each mode; the learning curve rises towards it.
        usage: episodes, gradient steps and training seconds at the end of training.
        drawn: whether the seed draws its own demonstrations.
        gymnasium: its version, which tells that of the suite.
    """
    success = success or {"sampled": 0.5, "mean": 0.5}
    episodes, steps, seconds = usage
    trial = Trial(
        method=method,
        settings={},
        task=task,
        demonstrations=DemonstrationChoice(
            source="shipped", digest="d" * 64, episodes=demonstrations, draw_seed=seed if drawn else None
        ),
        seed=seed,
        budget=BudgetChoice(environment_steps=100 * episodes, policy_updates=steps),
        evaluation=Evaluation(rollouts=rollouts, curve_points=points, curve_rollouts=rollouts),
    )
    shares = np.linspace(0, 1, points + 1)[1:] if points else np.array([])
    curve = [
        CurvePoint(
            progress=float(share),
            environment_steps=int(100 * episodes * share),
            episodes=int(episodes * share),
            gradient_steps=int(steps * share),
            training_seconds=float(seconds * share),
            sampled=round(success["sampled"] * float(np.sqrt(share)) * rollouts) / rollouts,
            mean=round(success["mean"] * float(np.sqrt(share)) * rollouts) / rollouts,
        )
        for share in shares
    ]
    final = {mode: _rollouts(share, rollouts) for mode, share in success.items()} if status == "ok" else {}
    return Record(
        trial=trial,
        status=status,
        error=error,
        curve=curve if status == "ok" else curve[: points // 2],
        final=final,
        usage=Usage(
            environment_steps=100 * episodes,
            episodes=episodes,
            gradient_steps=steps,
            training_seconds=seconds,
            evaluation_seconds=seconds / 10,
            peak_memory_mib=500.0,
        ),
        provenance=Provenance(
            code_digest=code,
            versions={"python": "3.11.2", "torch": "2.13.0", "gymnasium": gymnasium},
            machine={"processor": "x86-64", "cores": "2", "system": "Linux"},
            threads=1,
            commit="1234abc",
            started="2026-11-20T10:00:00+00:00",
        ),
    )


def of_first_release(record: Record) -> Record:
    """The record as version 0.1.0 of the suite would have made it."""
    versions = record.provenance.versions | {"gymnasium": "0.29.1"}
    return record.model_copy(update={"provenance": record.provenance.model_copy(update={"versions": versions})})


def _rollouts(share: float, count: int) -> list[Rollout]:
    successes = round(share * count)
    ends = ["success"] * successes + ["workspace", "timeout"] * count
    seconds = {"success": 6.0, "workspace": 12.0, "timeout": 50.0}
    return [
        Rollout(seed=1_000_000 + i, success=end == "success", seconds=seconds[end] + 0.1 * i, end=end)
        for i, end in enumerate(ends[:count])
    ]


@dataclass
class Folder:
    """Collects planned records and writes them as a results folder."""

    profile: str = "quick"
    rows: list[PlanRow] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def add(
        self,
        label: str,
        record: Record,
        experiment: str = "comparison",
        missing: bool = False,
        other_code: bool = False,
        variant: str = "",
        base: str = "",
    ) -> Record:
        row = PlanRow.of(experiment, label, record.trial, variant, base)
        self.rows.append(row.model_copy(update={"other_code": other_code}))
        if not missing:
            self.records.append(record)
        return record

    def write(self, directory: Path) -> Path:
        (directory / "records").mkdir(parents=True, exist_ok=True)
        (directory / "plan.json").write_text(Plan(profile=self.profile, rows=self.rows).model_dump_json())
        for record in self.records:
            record_path(directory, record).write_bytes(record.to_bytes())
        return directory


def record_path(directory: Path, record: Record) -> Path:
    return directory / "records" / f"{record.trial.id}.json"


def comparison(
    tasks: tuple[str, ...] = ("ClipInsertion-v0", "PegInsertion-v0"),
    demonstrations: tuple[int, ...] = (10,),
    seeds: int = 5,
    profile: str = "quick",
    **record: int,
) -> Folder:
    """The default comparison: three methods, whose success grows with demonstrations and varies with the seed."""
    rng = np.random.default_rng(0)
    folder = Folder(profile=profile)
    for task in tasks:
        for count in demonstrations:
            for label, (method, level, *usage) in LABELS.items():
                for seed in range(seeds):
                    sampled = float(np.clip(level * count / (count + 4) + rng.normal(0, 0.08), 0, 1))
                    success: dict[Mode, float] = {"sampled": sampled, "mean": max(0.0, sampled - 0.1)}
                    cost = tuple(type(part)(part * rng.uniform(0.9, 1.1)) for part in usage)
                    made = make_record(method, task, count, seed, success=success, usage=cost, **record)  # type: ignore[arg-type]
                    folder.add(label, made)
    return folder


# label: (method, success with 25 demonstrations on the clip, environment steps, expert labels, seconds)
FIELD = {
    "GPRIL": ("gpril", 0.9, 160_000, 0, 130.0),
    "GAIL": ("gail", 0.55, 160_000, 0, 90.0),
    "BC": ("bc", 0.45, 0, 0, 25.0),
    "Nearest neighbours": ("knn", 0.2, 0, 0, 1.0),
    "BC-GMM": ("bc-gmm", 0.5, 0, 0, 40.0),
    "BC-RNN": ("bc-rnn", 0.6, 0, 0, 130.0),
    "ACT": ("act", 0.7, 0, 0, 150.0),
    "Diffusion policy": ("diffusion", 0.75, 0, 0, 150.0),
    "DAgger": ("dagger", 0.85, 2_000, 2_000, 40.0),
    "DAC": ("dac", 0.7, 60_000, 0, 240.0),
    "SQIL": ("sqil", 0.3, 60_000, 0, 180.0),
    "IQ-Learn": ("iq-learn", 0.25, 60_000, 0, 240.0),
}


def many_methods() -> Folder:
    """Twelve methods on two tasks: one policy only samples, one training failed, and one method lacks a task."""
    rng = np.random.default_rng(0)
    folder = Folder(profile="field")
    for task, ease in (("ClipInsertion-v0", 1.0), ("PegInsertionHard-v0", 0.6)):
        for count in (10, 25):
            for label, (method, level, steps, labels, seconds) in FIELD.items():
                if (label, task) == ("IQ-Learn", "PegInsertionHard-v0"):
                    continue
                for seed in range(5):
                    sampled = float(np.clip(level * ease * count / (count + 4) + rng.normal(0, 0.06), 0, 1))
                    success: dict[Mode, float] = {"sampled": sampled, "mean": float(np.clip(sampled + 0.1, 0, 1))}
                    if label == "Diffusion policy":
                        del success["mean"]
                    failed = (label, task, seed) == ("SQIL", "ClipInsertion-v0", 1)
                    made = make_record(
                        method,
                        task,
                        count,
                        seed,
                        success=success,
                        status="diverged" if failed else "ok",
                        points=0,
                        usage=(steps // 100, 1_000, seconds * rng.uniform(0.8, 1.2)),
                        drawn=True,
                    )
                    usage = made.usage.model_copy(update={"expert_queries": labels})
                    folder.add(label, made.model_copy(update={"usage": usage}), "field", variant=method)
    return folder
