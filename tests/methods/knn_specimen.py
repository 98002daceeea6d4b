"""k nearest neighbours: the mean action of the k demonstrated states nearest to the observed one."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from methods.interface import Method, MethodError, Policy
from methods.registry import register


@dataclass(frozen=True)
class Settings:
    """Settings of k nearest neighbours.

    Attributes:
        k: how many demonstrated states have a say.
    """

    k: int = 3


class KnnPolicy(Policy):
    """Remembers all demonstrated pairs; it does not sample, so both modes give the same action."""

    def __init__(self, observations, actions, k):
        self.observations, self.actions, self.k = observations, actions, k
        self.mean, self.std = observations.mean(axis=0), observations.std(axis=0) + 1e-3

    def act(self, observations, deterministic, rng):
        ours, theirs = ((x - self.mean) / self.std for x in (self.observations, observations))
        distances = ((theirs[:, None] - ours[None]) ** 2).sum(axis=-1)
        nearest = np.argsort(distances, axis=1)[:, : self.k]
        return self.actions[nearest].mean(axis=1)

    def save(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "pairs.npz", observations=self.observations, actions=self.actions)
        (folder / "knn.json").write_text(json.dumps({"k": self.k}))

    @classmethod
    def load(cls, folder: Path):
        try:
            with np.load(folder / "pairs.npz", allow_pickle=False) as file:
                return cls(file["observations"], file["actions"], json.loads((folder / "knn.json").read_text())["k"])
        except (OSError, ValueError, KeyError) as error:
            raise MethodError(f"{folder}: not a saved policy ({error})") from None


@register
class Knn(Method):
    name = "specimen-knn"
    Settings = Settings
    policy = KnnPolicy
    needs_environment = False
    summary = "k nearest neighbours"

    def fit(self, demonstrations, context):
        observations, actions = demonstrations.pairs()
        policy = KnnPolicy(observations, actions, min(self.settings.k, len(actions)))
        context.checkpoint(policy, 1.0, 0)
        return policy
