"""Behavioural cloning of action chunks: predict the next H actions at once, execute them, predict again."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from methods.interface import Actor, Diverged, Method, MethodError, Policy
from methods.registry import register


@dataclass(frozen=True)
class Settings:
    """Settings of chunked cloning.

    Attributes:
        horizon: H, actions in a chunk.
        hidden: units of the hidden layer.
        learning_rate: Adam's.
    """

    horizon: int = 8
    hidden: int = 64
    learning_rate: float = 1e-3


class ChunkPolicy(Policy):
    """A network of the observation that gives H actions; sampling adds noise to each of them."""

    def __init__(self, network, mean, std, horizon, sigma=0.05):
        self.network, self.mean, self.std, self.horizon, self.sigma = network, mean, std, horizon, sigma

    def actor(self, count):
        return ChunkActor(self, count)

    def plan(self, observations):
        """Chunks [n, H, A] for observations [n, O]."""
        with torch.no_grad():
            flat = self.network(torch.from_numpy(((observations - self.mean) / self.std).astype(np.float32)))
        return flat.numpy().reshape(len(observations), self.horizon, -1)

    def save(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        np.savez(folder / "weights.npz", mean=self.mean, std=self.std, **weights)
        (folder / "chunk.json").write_text(json.dumps({"horizon": self.horizon}))

    @classmethod
    def load(cls, folder: Path):
        try:
            horizon = json.loads((folder / "chunk.json").read_text())["horizon"]
            with np.load(folder / "weights.npz", allow_pickle=False) as file:
                arrays = dict(file)
            mean, std = arrays.pop("mean"), arrays.pop("std")
            network = make_network(len(mean), len(arrays["2.bias"]), len(arrays["0.bias"]))
            network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise MethodError(f"{folder}: not a saved policy ({error})") from None
        return cls(network, mean, std, horizon)


class ChunkActor(Actor):
    """Executes chunks; each row has a chunk of its own, and its own place in it."""

    def __init__(self, policy, count):
        self.policy = policy
        self.chunks = [None] * count
        self.used = np.zeros(count, int)

    def start(self, rows):
        for row in rows:
            self.chunks[row] = None

    def act(self, observations, rows, deterministic, rng):
        for row, observation in zip(rows, observations, strict=True):
            if self.chunks[row] is None or self.used[row] == self.policy.horizon:
                self.chunks[row] = self.policy.plan(observation[None])[0]
                self.used[row] = 0
        actions = np.stack([self.chunks[row][self.used[row]] for row in rows])
        self.used[list(rows)] += 1
        if not deterministic:
            actions = actions + self.policy.sigma * rng.standard_normal(actions.shape, dtype=np.float32)
        return np.clip(actions, -1.0, 1.0)


def make_network(inputs, outputs, hidden):
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


@register
class ChunkedCloning(Method):
    name = "specimen-chunks"
    Settings = Settings
    policy = ChunkPolicy
    needs_environment = False
    summary = "cloning of action chunks"

    def fit(self, demonstrations, context):
        s, task = self.settings, context.task
        observations, actions = demonstrations.pairs()
        episode = demonstrations.episode[~demonstrations.terminal]
        last = np.searchsorted(episode, episode, side="right") - 1
        ahead = np.minimum(np.arange(len(actions))[:, None] + np.arange(s.horizon), last[:, None])
        mean, std = observations.mean(axis=0), observations.std(axis=0) + 1e-3
        inputs = torch.from_numpy((observations - mean) / std)
        targets = torch.from_numpy(actions[ahead].reshape(len(actions), -1))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seeds.integer("network"))
            network = make_network(task.observation_size, s.horizon * task.action_size, s.hidden)
        policy, rng = ChunkPolicy(network, mean, std, s.horizon), context.seeds.generator("batches")
        optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate)
        updates, done = context.budget.policy_updates, 0
        if state := context.resume():
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            rng.bit_generator.state, done = state["rng"], state["done"]
        for update in range(done + 1, updates + 1):
            rows = torch.from_numpy(rng.integers(len(targets), size=64))
            loss = (network(inputs[rows]) - targets[rows]).square().mean()
            if not torch.isfinite(loss):
                raise Diverged(f"the loss is {loss.item()} after {update} updates")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"rng": rng.bit_generator.state, "done": update}
            context.checkpoint(policy, update / updates, update, lambda state=state: state)
        return policy
