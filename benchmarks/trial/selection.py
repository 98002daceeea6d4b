"""Selects which of a file's demonstrations a trial learns from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.records.schema import DemonstrationChoice
from envs.demonstrations import Demonstrations

STREAM = 20_190_506
"""Keeps the random numbers that draw demonstrations apart from all others of the same seed."""


def select(demonstrations: Demonstrations, choice: DemonstrationChoice) -> Demonstrations:
    """The subset of a whole set that a trial learns from; raises DemonstrationError if it is too small."""
    shown = (choice.every, choice.final_only, choice.states_alone, choice.offset)
    if choice.draw_seed is None:
        chosen = demonstrations.subset(choice.episodes, choice.start, *shown)
    else:
        chosen = demonstrations.subset(drawn(choice, demonstrations.episodes), 0, *shown)
    return replace(chosen, recorded=None) if choice.statistics == "shown" else chosen


def drawn(choice: DemonstrationChoice, available: int) -> list[int]:
    """The numbers of the drawn episodes, of a set of `available` ones.

    Draws are nested: with the same seed, fewer episodes are the first ones of more episodes.
    """
    pool = range(choice.start, available if choice.stop is None else min(choice.stop, available))
    order = np.random.default_rng([choice.draw_seed or 0, STREAM]).permutation(len(pool))
    return [pool[i] for i in order[: choice.episodes]]
