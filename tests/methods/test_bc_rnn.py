"""The recurrent policy: what an actor does step by step is what was trained, and memory is of use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from envs.demonstrations import Demonstrations
from methods.bc_rnn import BcRnn, RecurrentNetwork, RecurrentPolicy, Settings, Shape
from methods.supervised import Scaling
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

SMALL = {"hidden": 32, "layers": 1, "batch_size": 32, "learning_rate": 1e-2, "components": 2}


def test_an_actor_gives_what_the_network_gives_on_whole_windows() -> None:
    """And it forgets after `horizon` steps; rows that begin later, or rest, change nothing for the others."""
    torch.manual_seed(0)
    network = RecurrentNetwork(Shape(3, 2, Settings(horizon=4, hidden=8)), Scaling.unknown(3))
    observations = torch.randn(2, 8, 3)
    with torch.no_grad():
        halves = [network(part)[0] for part in (observations[:, :4], observations[:, 4:])]
    expected = np.concatenate([(half.logits.softmax(-1)[..., None] * half.means).sum(-2)[0] for half in halves])
    actor = RecurrentPolicy(network).actor(3)
    actor.start([2])
    rng = np.random.default_rng(0)
    found = []
    for step in range(8):
        if step == 2:
            actor.start([0, 1])
        rows = [0, 2] if step >= 2 and step % 2 else [2]
        batch = torch.stack([observations[1 if row == 0 else 0, step] for row in rows])
        found.append(actor.act(batch.numpy(), rows, True, rng)[-1])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_remembers_what_it_saw(tmp_path: Path) -> None:
    """The first observation says where to go, later ones say nothing."""
    rng = np.random.default_rng(0)
    episodes, length = 60, 6
    time_step = np.tile(np.arange(length, dtype=np.int32), episodes)
    sides = np.repeat(rng.choice([-1.0, 1.0], episodes), length)
    observations = np.column_stack([np.where(time_step == 0, sides, 0.0), np.zeros((len(sides), 2))])
    terminal = time_step == length - 1
    actions = np.column_stack([0.5 * sides, np.zeros(len(sides))])
    actions[terminal] = 0.0
    data = Demonstrations(
        observations.astype(np.float32),
        actions.astype(np.float32),
        np.repeat(np.arange(episodes, dtype=np.int32), length),
        time_step,
        terminal,
        dt=0.1,
        task="recall",
        origin={},
    )
    # Windows begin anywhere, so only memory from the first step on can know the side at the last ones.
    policy = BcRnn(Settings(**SMALL)).fit(data, tiny_context(tmp_path, updates=400))
    actor = policy.actor(2)
    actor.start([0, 1])
    for step in range(5):
        seen = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], np.float32) * (step == 0)
        actions = actor.act(seen, [0, 1], True, rng)[:, 0]
        np.testing.assert_allclose(actions, [0.5, -0.5], atol=0.1)


def test_it_learns_from_ten_demonstrations(tmp_path: Path) -> None:
    def learn(episodes: int) -> float:
        context = tiny_context(tmp_path, updates=400)
        return success(BcRnn(Settings(**SMALL)).fit(demonstrate(episodes, seed=1), context))

    assert learn(1) < 0.3 and learn(10) > 0.8
