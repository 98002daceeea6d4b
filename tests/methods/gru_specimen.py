"""Recurrent behavioural cloning: a GRU reads the episode so far and gives the mean of the action."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from methods.interface import Actor, Method, MethodError, Policy
from methods.registry import register


@dataclass(frozen=True)
class Settings:
    """Settings of recurrent cloning.

    Attributes:
        units: of the GRU.
        learning_rate: Adam's.
    """

    units: int = 32
    learning_rate: float = 3e-3


class Network(nn.Module):
    def __init__(self, inputs, outputs, units):
        super().__init__()
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.gru = nn.GRU(inputs, units, batch_first=True)
        self.head = nn.Linear(units, outputs)

    def forward(self, observations, memory=None):
        hidden, memory = self.gru((observations - self.shift) / self.scale, memory)
        return torch.tanh(self.head(hidden)), memory


class GruPolicy(Policy):
    """It only acts deterministically: the head gives a mean and no spread."""

    modes = ("mean",)

    def __init__(self, network):
        self.network = network

    def actor(self, count):
        return GruActor(self.network, count)

    def save(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "gru.npz", **{name: part.numpy() for name, part in self.network.state_dict().items()})
        shape = [self.network.gru.input_size, self.network.head.out_features, self.network.gru.hidden_size]
        (folder / "gru.json").write_text(json.dumps(shape))

    @classmethod
    def load(cls, folder: Path):
        try:
            network = Network(*json.loads((folder / "gru.json").read_text()))
            with np.load(folder / "gru.npz", allow_pickle=False) as file:
                network.load_state_dict({name: torch.from_numpy(file[name]) for name in file.files})
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise MethodError(f"{folder}: not a saved policy ({error})") from None
        return cls(network)


class GruActor(Actor):
    """The hidden state [1, count, units] of `count` episodes."""

    def __init__(self, network, count):
        self.network = network
        self.memory = torch.zeros(1, count, network.gru.hidden_size)

    def start(self, rows):
        self.memory[:, list(rows)] = 0.0

    def act(self, observations, rows, deterministic, rng):
        rows = list(rows)
        with torch.no_grad():
            actions, memory = self.network(torch.from_numpy(observations)[:, None], self.memory[:, rows])
        self.memory[:, rows] = memory
        return actions[:, 0].numpy()


@register
class RecurrentCloning(Method):
    name = "specimen-gru"
    Settings = Settings
    policy = GruPolicy
    needs_environment = False
    summary = "recurrent cloning"

    def fit(self, demonstrations, context):
        observations, actions = demonstrations.pairs()
        episode = demonstrations.episode[~demonstrations.terminal]
        parts = [np.flatnonzero(episode == i) for i in range(demonstrations.episodes)]
        inputs = nn.utils.rnn.pad_sequence([torch.from_numpy(observations[part]) for part in parts], True)
        targets = nn.utils.rnn.pad_sequence([torch.from_numpy(actions[part]) for part in parts], True)
        real = nn.utils.rnn.pad_sequence([torch.ones(len(part)) for part in parts], True)[..., None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seeds.integer("network"))
            network = Network(context.task.observation_size, context.task.action_size, self.settings.units)
        network.shift += torch.from_numpy(observations.mean(axis=0))
        network.scale += torch.from_numpy(observations.std(axis=0) - 1.0).clamp(min=1e-3 - 1.0)
        optimizer = torch.optim.Adam(network.parameters(), lr=self.settings.learning_rate)
        policy, updates = GruPolicy(network), context.budget.policy_updates
        for update in range(1, updates + 1):
            predicted, _ = network(inputs)
            optimizer.zero_grad()
            ((predicted - targets).square() * real).sum().div(real.sum()).backward()
            optimizer.step()
            context.checkpoint(policy, update / updates, update)
        return policy
