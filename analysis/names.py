"""The names of tasks, actions and costs in tables and figures, and lists of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.paper import Cost
from benchmarks.records.schema import Mode

MODE_NAMES: Mapping[str | Mode, str] = {"sampled": "Sampled actions", "mean": "Deterministic actions"}
COST_NAMES: Mapping[Cost, str] = {
    "episodes": "Environment episodes",
    "environment_steps": "Environment steps",
    "gradient_steps": "Gradient steps (all networks)",
    "training_seconds": "Training time (s)",
}
PRICES: Mapping[str, str] = {
    "environment_steps": "Environment steps",
    "expert_queries": "Expert labels",
    "core_seconds": "Core-seconds of training",
}
"""What methods cost besides demonstrations: column of the scores -> its name."""
TASK_NAMES = {
    "ClipInsertion-v0": "Clip insertion",
    "PegInsertion-v0": "Peg insertion",
    "PhysicalPegInsertionFixed-v0": "Physical peg (socket fixed)",
    "PhysicalPegInsertionVarying-v0": "Physical peg (socket varying)",
    "ClipInsertionHard-v0": "Hard clip insertion",
    "PegInsertionHard-v0": "Hard peg insertion",
    "PhysicalPegInsertionHard-v0": "Hard physical peg",
}

ACTION_WORDS = {", inferred actions": " with inferred actions", ", states only": " from states only"}
"""The ends of labels that say what methods saw of the demonstrated actions -> the same in a sentence."""


def task_name(task: str) -> str:
    """The name of a task of this suite; the Gymnasium id of any other, without the module or file before it."""
    return TASK_NAMES.get(task, task.rpartition(":")[2])


def short_mode(mode: str) -> str:
    """`Sampled` of `Sampled actions`."""
    return MODE_NAMES[mode].partition(" ")[0]


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def numbers_of_demonstrations(numbers: Sequence[int]) -> str:
    """`10 and 25 demonstrations`."""
    return f"{listed([str(number) for number in numbers])} demonstration{'s' * (list(numbers) != [1])}"
