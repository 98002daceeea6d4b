"""How the paper draws each of its evaluations: the first figure of the experiment of that name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["success", "seconds", "curves", "seeds", "interactions", "profile"]
Cost = Literal["episodes", "environment_steps", "gradient_steps", "training_seconds"]
Centre = Literal["median", "mean"]

SPREAD: dict[Centre, tuple[str, str, str]] = {"median": ("median", "q1", "q3"), "mean": ("mean", "low", "high")}
"""The columns of a centre and its bounds: quartiles over seeds, or the mean with its 95 % interval."""


@dataclass(frozen=True)
class View:
    """What one figure draws.

    Attributes:
        kind: of the figure; see the function of the same name in `analysis.figures.data`.
        title: what it shows, in words.
        cost: the horizontal axis of what is drawn over training.
        centre: how seeds are summed up.
    """

    kind: Kind
    title: str
    cost: Cost | None = None
    centre: Centre = "median"


VIEWS: dict[str, View] = {
    "fig1b": View("success", "clip: final success against the number of demonstrations"),
    "fig1c": View("interactions", "clip: final success against the self-supervised episodes used"),
    "fig1d": View("success", "clip, from states alone: final success against the number of demonstrations"),
    "fig2b": View("curves", "peg: GAIL's success over training", "environment_steps", "mean"),
    "fig2c": View("curves", "peg: GPRIL's success over training", "gradient_steps", "mean"),
    "fig2d": View("success", "peg: final success against the number of demonstrated trajectories", centre="mean"),
    "fig2e": View("seconds", "peg: simulated seconds to insertion of the successful roll-outs"),
    "fig2f": View("seeds", "physical peg: success of every seed against self-supervised episodes", "episodes"),
}
