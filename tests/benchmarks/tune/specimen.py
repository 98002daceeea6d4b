"""A method whose settings can be searched in seconds."""

METHOD = '''
from dataclasses import dataclass
import numpy as np
from methods.interface import MethodError
from tests.benchmarks import fakes

SEARCH = {"shift": {"low": 0.0, "high": 2.0}, "episodes": {"low": 1, "high": 2}, "kind": {"choices": ["plain", "off"]}}

@dataclass(frozen=True)
class Settings(fakes.Settings):
    """Up to a `shift` of 1 it hits the slot; the kind "off" never does."""
    shift: float = 1.5
    kind: str = "plain"
    def __post_init__(self):
        if self.shift > 1.9:
            raise MethodError(f"shift = {self.shift} is too much")

class Aiming(fakes.Linear):
    """Moves over the slot and then down; `weights` is by how much it misses the middle."""
    def act(self, observations, deterministic, rng):
        x, z, slot = observations.astype(float).T[:3]
        offset = slot + self.weights[0] - x
        down = np.where(np.abs(offset) < 0.02, -1.0, -0.2 * (z > 0.2))
        actions = np.column_stack([10.0 * offset, down])
        if not deterministic:
            actions = actions + 0.05 * rng.standard_normal(actions.shape)
        return np.clip(actions, -1.0, 1.0).astype(np.float32)

class Shifted(fakes.LeastSquares):
    name = "shifted"
    policy = Aiming
    Settings = Settings
    def fit(self, demonstrations, context):
        super().fit(demonstrations, context)
        return Aiming(np.array([0.05 * self.settings.shift + (self.settings.kind == "off")]))
'''
PROFILE = """
summary = "for the tests"
[suite]
seeds = 1
demonstrations = [4]
[evaluation]
rollouts = 4
[budget.default]
environment_steps = 1000
policy_updates = 10
"""
