"""Early stopping: in each phase both predecessor models keep the weights that explain held-out rollouts best."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from methods.gpril.likelihood import LikelihoodTrainer
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import FutureStateBatch
from methods.interface import State

CHECK_EVERY = 16
"""Updates between two checks on the held-out rollouts."""
HELD_OUT_ROWS = 512
"""Rows of a check. It takes forward passes only, so 16 updates of 256 rows cost over ten times as much."""


class EarlyStopping:
    """Stops each model once `patience` checks in a row have not found the held-out batch more likely.

    A model that has stopped is not frozen: the next phase continues from the weights kept, with new rollouts to train
    on and to check on.
    """

    def __init__(self, models: PredecessorModels, held_out: FutureStateBatch[np.ndarray], patience: int) -> None:
        """Begin a training phase.

        Args:
            models: trained by others in place between two checks.
            held_out: rows of rollouts that are not trained on, as the models see them.
            patience: at least 1.
        """
        self._models = models
        self._held_out = held_out
        self._watches = [_Watch(trainer, patience) for trainer in models.trainers]

    def check(self, updates: int) -> tuple[bool, bool]:
        """Evaluate both models after so many updates; returns which of B^s and B^a continue to learn."""
        for watch, log_probs in zip(self._watches, self._models.log_probs(self._held_out), strict=True):
            watch.check(float(log_probs.mean()), updates)
        states, actions = (not watch.stopped for watch in self._watches)
        return states, actions

    def restore(self) -> tuple[int, int]:
        """Put the best weights back; returns after how many updates those of B^s and of B^a were reached."""
        states, actions = (watch.restore() for watch in self._watches)
        return states, actions

    def get_state(self) -> State:
        """Everything that changes, as plain data."""
        return {"held_out": vars(self._held_out), "watches": [watch.get_state() for watch in self._watches]}

    @classmethod
    def resumed(cls, models: PredecessorModels, patience: int, state: State) -> EarlyStopping:
        """The phase whose `get_state` returned `state`, with models that have been restored already."""
        phase = cls(models, FutureStateBatch(**state["held_out"]), patience)
        for watch, kept in zip(phase._watches, state["watches"], strict=True):
            watch.set_state(kept)
        return phase


class _Watch:
    """The best weights of one model so far."""

    def __init__(self, trainer: LikelihoodTrainer, patience: int) -> None:
        self._trainer, self._patience = trainer, patience
        self._best, self._best_update, self._worse = -math.inf, 0, 0
        self._keep()

    @property
    def stopped(self) -> bool:
        return self._worse >= self._patience

    def check(self, log_likelihood: float, update: int) -> None:
        if self.stopped:
            return
        if log_likelihood > self._best:
            self._best, self._best_update, self._worse = log_likelihood, update, 0
            self._keep()
        else:
            self._worse += 1

    def restore(self) -> int:
        self._trainer.flow.load_state_dict(self._weights)
        self._trainer.load_state_dict(self._moments)
        return self._best_update

    def get_state(self) -> dict[str, Any]:
        return {
            "best": self._best,
            "best_update": self._best_update,
            "worse": self._worse,
            "weights": self._weights,
            "moments": self._moments,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self._best, self._best_update, self._worse = state["best"], state["best_update"], state["worse"]
        self._weights, self._moments = state["weights"], state["moments"]

    def _keep(self) -> None:
        self._weights = {name: tensor.clone() for name, tensor in self._trainer.flow.state_dict().items()}
        self._moments = {
            name: [tensor.clone() for tensor in tensors] for name, tensors in self._trainer.state_dict().items()
        }
