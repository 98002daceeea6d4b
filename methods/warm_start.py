"""A warm start by behavioural cloning, for methods that then learn from interaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from envs.demonstrations import Demonstrations
from methods.bc import CHECKPOINT_EVERY, Pairs, clone
from methods.interface import FitContext, State
from methods.policy import GaussianPolicy

BATCH = 256
"""Demonstrated pairs per update, as in BC."""


class Settings(Protocol):
    """The settings of a warm start, part of those of a method; all but `warm_start` as in `methods.bc.Settings`.

    Attributes:
        warm_start: updates, at most the budget's policy updates.
        warm_start_learning_rate: of Adam.
        warm_start_l2: weight of half the sum of squared parameters.
        warm_start_decay: decrease the learning rate linearly to zero.
    """

    @property
    def warm_start(self) -> int: ...
    @property
    def warm_start_learning_rate(self) -> float: ...
    @property
    def warm_start_l2(self) -> float: ...
    @property
    def warm_start_decay(self) -> bool: ...


def warm_start(
    policy: GaussianPolicy,
    demonstrations: Demonstrations,
    context: FitContext,
    settings: Settings,
    resumed: State | None = None,
) -> int:
    """Clone the demonstrations, with checkpoints whose snapshots hold {"warm_start": state to resume from}.

    Args:
        policy: trained in place.
        demonstrations: what the expert showed.
        context: the trial's.
        settings: of the method; nothing happens where `warm_start` is 0.
        resumed: the state of an interrupted warm start.

    Returns:
        The number of updates, those before an interruption included.

    Raises:
        MethodError: the demonstrations have no actions.
    """
    if not settings.warm_start:
        return 0
    updates = min(settings.warm_start, context.budget.policy_updates)

    def after_update(update: int, snapshot: Callable[[], State]) -> None:
        if update % CHECKPOINT_EVERY == 0:
            context.checkpoint(policy, 0.0, update, lambda: {"warm_start": snapshot()})

    clone(
        policy.network,
        Pairs.of(demonstrations, context.device),
        updates,
        learning_rate=settings.warm_start_learning_rate,
        l2=settings.warm_start_l2,
        batch_size=BATCH,
        rng=context.seeds.generator("demonstrated pairs"),
        scratch=context.scratch,
        decay=settings.warm_start_decay,
        after_update=after_update,
        resumed=resumed,
    )
    return updates
