"""The shared policy: a Gaussian whose mean and standard deviation are outputs of a network of the observation.

Paper, section 4.1 and appendix B: hidden layers of 300 and 200 units, sigma in (0.01, 0.1), observations normalised
with the statistics of the recorded demonstrations, even if only some of their states are shown. Means and sigmas are
fractions of the action bounds.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from envs.demonstrations import Demonstrations, Statistics
from envs.npz import read_arrays, read_small
from methods.interface import Diverged, FitContext, MethodError, Policy, Task

HIDDEN = (300, 200)
SigmaBounds = tuple[float, float]
"""Lowest and highest standard deviation of an action, as a fraction of the action bounds."""
SIGMA_BOUNDS: SigmaBounds = (0.01, 0.1)
MOST_UNITS = 4096
MOST_LAYERS = 8
SMALLEST_SCALE = 1e-3
"""Smallest standard deviation by which an observation is divided, in its own unit, so constant entries stay finite."""

_LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class PolicyShape:
    """All properties of the network except its weights.

    Attributes:
        observation_size: O.
        action_size: A.
        action_low: lowest action of each dimension; -1, since actions are fractions of the task's bounds.
        action_high: highest action of each dimension; 1.
        hidden: units of the hidden layers.
        sigma_bounds: lowest and highest standard deviation of an action, as fractions.
    """

    observation_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    hidden: tuple[int, ...] = HIDDEN
    sigma_bounds: SigmaBounds = SIGMA_BOUNDS

    def __post_init__(self) -> None:
        """Raises MethodError for sizes and bounds that no policy has."""
        sizes = (self.observation_size, *self.hidden, self.action_size)
        if min(sizes) < 1 or max(sizes) > MOST_UNITS or len(sizes) > MOST_LAYERS:
            raise MethodError(f"at most {MOST_LAYERS} layers of 1 to {MOST_UNITS} units are allowed, not {sizes}")
        low, high, sigma = self.action_low, self.action_high, self.sigma_bounds
        rising = all(a < b for a, b in [*zip(low, high, strict=False), sigma])  # false for NaN
        if not (len(low) == len(high) == self.action_size and rising and sigma[0] > 0.0 and sigma[1] < math.inf):
            raise MethodError(
                f"actions from {low} to {high}, sigma in {sigma}: each low bound must be below its high one"
            )

    @staticmethod
    def of(task: Task, sigma_bounds: SigmaBounds = SIGMA_BOUNDS) -> PolicyShape:
        """The shape that all methods use on `task`."""
        low, high = (tuple(float(x) for x in bound) for bound in (task.action_low, task.action_high))
        return PolicyShape(task.observation_size, task.action_size, low, high, sigma_bounds=sigma_bounds)


def compress(values: Tensor, knee: float) -> Tensor:
    """Values of any shape, compressed logarithmically beyond +-`knee` with a continuous slope; 0 is off."""
    if not knee:
        return values
    size = values.abs()
    return torch.where(size <= knee, values, values.sign() * (knee + torch.log1p((size - knee).clamp(min=0.0))))


class GaussianNetwork(nn.Module):
    """Observations in physical units [n, O] -> mean and sigma of the actions, each [n, A]."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: PolicyShape, normalisation: Statistics | np.ndarray) -> None:
        """An untrained network that normalises observations.

        Args:
            shape: sizes and bounds.
            normalisation: the statistics of the recorded demonstrations, or observations [N, O] to take them from.
        """
        super().__init__()
        self.shape = shape
        if isinstance(normalisation, np.ndarray):
            normalisation = Statistics.of(normalisation)
        scale = np.maximum(normalisation.std, SMALLEST_SCALE)
        self.register_buffer("shift", torch.tensor(normalisation.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        layers: list[nn.Module] = []
        width = shape.observation_size
        for units in shape.hidden:
            layers += [nn.Linear(width, units), nn.Tanh()]
            width = units
        self.body = nn.Sequential(*layers)
        self.mean = nn.Linear(width, shape.action_size)
        self.spread = nn.Linear(width, shape.action_size)
        for head in (self.mean, self.spread):  # start near the middle: mean 0, sigma half-way
            nn.init.orthogonal_(head.weight, gain=0.01)
            nn.init.zeros_(head.bias)

    def normalise(self, observations: Tensor) -> Tensor:
        """Observations [n, O], of any floating-point type, in standard deviations of the demonstrations."""
        return (observations.to(self.shift.dtype) - self.shift) / self.scale

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(self.normalise(observations))
        low, high = self.shape.sigma_bounds
        return self.mean(hidden), low + (high - low) * torch.sigmoid(self.spread(hidden))

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """log pi(action | observation) [n]."""
        mean, sigma = self(observations)
        return gaussian_log_prob(actions, mean, sigma)

    def set_sigma(self, sigma: float) -> None:
        """Reset sigma to the same value everywhere, to restart exploration; the mean is unchanged.

        Raises:
            MethodError: sigma lies outside the bounds.
        """
        low, high = self.shape.sigma_bounds
        if not low < sigma < high:
            raise MethodError(f"sigma {sigma} is outside the policy's bounds ({low}, {high}); choose a value between")
        fraction = (sigma - low) / (high - low)
        with torch.no_grad():
            self.spread.weight.zero_()
            self.spread.bias.fill_(math.log(fraction / (1.0 - fraction)))


def new_network(
    demonstrations: Demonstrations, context: FitContext, sigma_bounds: SigmaBounds = SIGMA_BOUNDS
) -> GaussianNetwork:
    """An untrained policy network, equal for all methods with the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seeds.integer("policy"))
        shape = PolicyShape.of(context.task, sigma_bounds)
        return GaussianNetwork(shape, demonstrations.statistics).to(context.device)


def gaussian_log_prob(value: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian, summed over the last dimension."""
    standardised = (value - mean) / sigma
    return -0.5 * (standardised.square() + _LOG_2PI).sum(-1) - sigma.log().sum(-1)


class GaussianPolicy(Policy):
    """Acts by a `GaussianNetwork`: samples, or the mean, clipped to the action bounds."""

    def __init__(self, network: GaussianNetwork) -> None:
        self.network = network
        self._low = np.array(network.shape.action_low, dtype=np.float32)
        self._high = np.array(network.shape.action_high, dtype=np.float32)

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        device = self.network.shift.device
        with torch.no_grad():
            batch = torch.from_numpy(np.require(observations, np.float32, "W")).to(device)
            mean, sigma = (part.cpu().numpy() for part in self.network(batch))
        actions = mean if deterministic else mean + sigma * rng.standard_normal(mean.shape, dtype=np.float32)
        if not np.isfinite(actions).all():
            raise Diverged("the policy's actions are not finite")
        return np.clip(actions, self._low, self._high)

    def save(self, folder: str | os.PathLike[str]) -> None:
        save_network(self.network, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> GaussianPolicy:
        """See `Policy.load`; no more memory is taken than the largest allowed network needs."""

        def build(shape: PolicyShape) -> GaussianNetwork:
            return GaussianNetwork(shape, Statistics.of(np.zeros((1, shape.observation_size))))

        return cls(load_network(folder, PolicyShape, build))


S = TypeVar("S")
N = TypeVar("N", bound=nn.Module)


def save_network(network: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Write a network and its `shape` (a frozen dataclass): policy.json, and policy.npz with float32 arrays."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
    shape = asdict(cast(Any, network).shape)
    (folder / "policy.json").write_text(json.dumps({"shape": shape, "sha256": _digest(shape, arrays)}, indent=1))
    np.savez(folder / "policy.npz", **arrays)  # type: ignore[arg-type]  # names are ours, never "file"


def load_network(folder: str | os.PathLike[str], shape: type[S], build: Callable[[S], N]) -> N:
    """Read what `save_network` wrote, on the CPU and ready to act.

    Args:
        folder: where it was written.
        shape: the class of the network's `shape`, which bounds what a file may ask for.
        build: makes a network of a shape. Its values do not matter and take no memory.

    Raises:
        MethodError: the files are missing, damaged or changed; the message names the folder.
    """
    folder = Path(folder)
    try:
        stored = json.loads(read_small(folder / "policy.json"))
        with torch.device("meta"):  # the file alone says how much memory is taken
            network = build(TypeAdapter(shape).validate_python(stored["shape"]))
        arrays = read_arrays(folder / "policy.npz", dict.fromkeys(network.state_dict(), "<f4"))
        if _digest(stored["shape"], arrays) != stored["sha256"]:
            raise ValueError("its content does not match its digest: it was damaged or changed")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("it holds numbers that are not finite")
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()}, assign=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:  # RecursionError is a RuntimeError
        raise MethodError(f"{folder}: not a saved policy ({' '.join(str(error).split())[:160]})") from None
    return network.eval()


def _digest(shape: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 over a policy's shape and weights."""
    content = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        content.update(f"{name}{array.shape}".encode())
        content.update(np.ascontiguousarray(array, "<f4").tobytes())
    return content.hexdigest()
