"""Early stopping: in each iteration both predecessor models keep the weights that explain held-out roll-outs best."""

from __future__ import annotations

import math
from collections.abc import Callable

from methods.gpril.likelihood import LikelihoodAscent
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Triples

LOOK_EVERY = 16
"""Updates between two looks at the held-out roll-outs."""
HELD_OUT_TRIPLES = 512
"""Triples of a look. It takes forward passes alone, so 16 updates of 256 triples cost over ten times as much."""


def train(
    models: PredecessorModels,
    update: Callable[[int, tuple[bool, bool]], None],
    updates: int,
    held_out: Triples,
    patience: int,
) -> tuple[int, int]:
    """Update each model until `patience` looks in a row have not found `held_out` likelier, then keep the best weights.

    A model that has stopped is not frozen: the next iteration goes on from the weights kept, with new roll-outs to
    train and to judge on.

    Args:
        models: trained in place.
        update: does so many updates of those of both models that are learning.
        updates: most updates of each model.
        held_out: triples of roll-outs that are not trained on.
        patience: at least 1.

    Returns:
        after how many updates the weights kept of B^s and of B^a came.
    """
    held_out = models.controlled(held_out)
    watches = [_Watch(ascent, patience) for ascent in models.ascents]

    def look(done: int) -> tuple[bool, bool]:
        for watch, log_probs in zip(watches, models.log_probs(held_out), strict=True):
            watch.look(float(log_probs.mean()), done)
        states, actions = (watch.worse < patience for watch in watches)
        return states, actions

    for done in range(0, updates, LOOK_EVERY):
        learning = look(done)
        if not any(learning):
            break
        update(min(LOOK_EVERY, updates - done), learning)
    else:
        look(updates)
    states, actions = (watch.restore() for watch in watches)
    return states, actions


class _Watch:
    """The best weights of one model so far."""

    def __init__(self, ascent: LikelihoodAscent, patience: int) -> None:
        self.ascent, self.patience = ascent, patience
        self.best, self.best_update, self.worse = -math.inf, 0, 0
        self.keep()

    def keep(self) -> None:
        self.kept = (
            {name: tensor.clone() for name, tensor in self.ascent.flow.state_dict().items()},
            {name: [tensor.clone() for tensor in tensors] for name, tensors in self.ascent.state_dict().items()},
        )

    def look(self, log_likelihood: float, update: int) -> None:
        if self.worse >= self.patience:
            return
        if log_likelihood > self.best:
            self.best, self.best_update, self.worse = log_likelihood, update, 0
            self.keep()
        else:
            self.worse += 1

    def restore(self) -> int:
        weights, moments = self.kept
        self.ascent.flow.load_state_dict(weights)
        self.ascent.load_state_dict(moments)
        return self.best_update
