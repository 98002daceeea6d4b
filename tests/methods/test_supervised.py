"""What the cloning methods share: windows within episodes, scaling, schedules, averaging, resuming."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from envs.demonstrations import Demonstrations
from methods import registry, supervised
from methods.conformance.context import PlainContext
from methods.interface import Diverged, MethodError, Policy, Stopped, make_settings
from methods.supervised import Optimisation, Scaling, Steps, average_decay, train
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

TRAINED = {
    "bc-gmm": {"hidden": [16], "batch_size": 16},
    "bc-rnn": {"hidden": 8, "batch_size": 8, "horizon": 5},
    "act": {"hidden": 16, "feedforward": 16, "encoder_layers": 1, "decoder_layers": 1, "batch_size": 8},
    "diffusion": {"hidden": 16, "blocks": 1, "batch_size": 8, "warmup": 5},
}


def test_windows_stay_within_their_episode() -> None:
    demonstrations = demonstrate(3, seed=0)
    steps = Steps.of(demonstrations, "cpu", consecutive=True)
    lengths = np.bincount(demonstrations.episode) - 1
    assert len(steps) == lengths.sum()
    second = int(lengths[0])  # the first row of the second episode
    rows, inside = steps.windows(np.array([0, second - 1, second]), before=2, after=3)
    assert rows.tolist() == [
        [0, 0, 0, 1, 2],
        [second - 3, second - 2, second - 1, second - 1, second - 1],
        [second, second, second, second + 1, second + 2],
    ]
    assert inside.tolist() == [
        [False, False, True, True, True],
        [True, True, True, False, False],
        [False, False, True, True, True],
    ]


@pytest.mark.parametrize("name", ["bc-rnn", "act", "diffusion"])
def test_sequences_with_steps_left_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MethodError, match="every=1"):
        registry.resolve(name)().fit(demonstrate(2, seed=0).subset(every=2), tiny_context(tmp_path))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("subset", [{"states_alone": True}, {"final_only": True}])
def test_demonstrations_without_actions_are_refused(tmp_path: Path, name: str, subset: dict[str, bool]) -> None:
    with pytest.raises(MethodError, match="needs demonstrated actions"):
        registry.resolve(name)().fit(demonstrate(2, seed=0).subset(**subset), tiny_context(tmp_path))


ALIGNED: dict[str, dict[str, Any]] = {
    "knn": {"neighbours": 1},
    "bc-gmm": {"hidden": [32], "batch_size": 64, "learning_rate": 1e-2},
    "bc-rnn": {"hidden": 32, "layers": 1, "batch_size": 32, "horizon": 4, "learning_rate": 1e-2},
    "act": TRAINED["act"] | {"batch_size": 32, "chunk": 2, "ensembling": -10.0, "learning_rate": 5e-3},
    "diffusion": {"hidden": 64, "blocks": 1, "chunk": 2, "execute": 1, "warmup": 5, "learning_rate": 5e-3},
}


@pytest.mark.parametrize("name", ALIGNED)
def test_an_action_is_learned_from_the_observation_of_its_own_step(tmp_path: Path, name: str) -> None:
    """Observations are unrelated to each other, so the one before or after says nothing about an action."""
    rng = np.random.default_rng(0)
    episodes = [rng.uniform(-1.0, 1.0, (7, 3)).astype(np.float32) for _ in range(100)]
    data = Demonstrations.from_trajectories([(seen, 0.8 * seen[:-1, :2]) for seen in episodes], task="echo", dt=0.1)
    method = registry.resolve(name)
    actor = method(make_settings(method, ALIGNED[name])).fit(data, tiny_context(tmp_path, updates=300)).actor(100)
    actor.start(range(100))
    for step in range(4):
        seen = rng.uniform(-1.0, 1.0, (100, 3)).astype(np.float32)
        error = actor.act(seen, range(100), name == "act", rng) - 0.8 * seen[:, :2]
        assert np.sqrt(np.mean(error**2)) < 0.25, f"step {step}"  # 0.46 if the observation is not used


def test_scaling_and_its_inverse() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, (100, 4)).astype(np.float32)
    values[:, 3] = 7.0  # a constant entry
    for scaling in (Scaling.limits(values), Scaling.standard(values)):
        scaled = scaling(torch.from_numpy(values))
        torch.testing.assert_close(scaling.inverse(scaled), torch.from_numpy(values))
        assert not scaled[:, 3].any()
    torch.testing.assert_close(scaled[:, :3].std(0, correction=0), torch.ones(3))
    limited = Scaling.limits(values)(torch.from_numpy(values))[:, :3]
    torch.testing.assert_close(limited.aminmax(dim=0), (-torch.ones(3), torch.ones(3)))


def test_the_learning_rate_rises_and_falls() -> None:
    how = Optimisation(2.0, 0.0, warmup=4)
    rates = [how.rate(done, 12) for done in range(12)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0) and rates[4:] == sorted(rates[4:], reverse=True)
    assert how.rate(11, 12) == pytest.approx(1.0 + math.cos(math.pi * 7 / 8))


class _Fixed(Policy):
    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((len(observations), 2), np.float32)

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> _Fixed:
        raise NotImplementedError


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    """Of weights w_0, w_1, ... it is d w + (1 - d) w_n after each update, with d from 0 to .9999."""
    network = nn.Linear(1, 1, bias=False)
    seen = []

    def loss(rng: np.random.Generator) -> Tensor:
        seen.append(network.weight.item())
        return network.weight.sum()

    policy = train(network, loss, _Fixed, Optimisation(0.1, 0.0, averaged=True), tiny_context(tmp_path, updates=10))
    average = seen[0]
    for done, weight in enumerate([*seen[1:], network.weight.item()]):
        decay = 1.0 - (1.0 + done) ** -0.75
        assert average_decay(done) == pytest.approx(decay)
        average = decay * average + (1.0 - decay) * weight
    assert policy.network.weight.item() == pytest.approx(average, rel=1e-5)
    assert average_decay(10**9) == 0.9999


def test_a_loss_that_is_not_finite_is_divergence(tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    with pytest.raises(Diverged, match="lower the learning rate"):
        train(
            network,
            lambda rng: network.weight.sum() * math.nan,
            _Fixed,
            Optimisation(0.1, 0.0),
            tiny_context(tmp_path, updates=5),
        )


def fit(folder: Path, name: str, stop_at: int = 0, after: PlainContext | None = None) -> tuple[Any, PlainContext]:
    method = registry.resolve(name)
    context = tiny_context(folder, updates=30, stop_at=stop_at, after=after)
    try:
        return method(make_settings(method, TRAINED[name])).fit(demonstrate(3, seed=0), context), context
    except Stopped:
        return None, context


@pytest.mark.parametrize("name", TRAINED)
def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "CHECKPOINT_EVERY", 10)
    whole, straight = fit(tmp_path, name)
    torch.rand(3)  # the global generator is somewhere else by now
    for moment in (1, 2, 3):
        _, interrupted = fit(tmp_path, name, stop_at=moment)
        again, context = fit(tmp_path, name, after=interrupted)
        assert context.reports == straight.reports and context.checkpoints == straight.checkpoints
        state = again.network.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in whole.network.state_dict().items())


@pytest.mark.parametrize("name", ["knn", *TRAINED])
def test_saved_policies_come_back_and_damaged_ones_do_not(tmp_path: Path, name: str) -> None:
    policy = registry.resolve(name)().fit(demonstrate(2, seed=0), tiny_context(tmp_path, updates=1))
    policy.save(tmp_path / "policy")
    again = type(policy).load(tmp_path / "policy")
    observations = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    for mode in policy.modes:
        actions = []
        for one in (policy, again):
            actor, rng = one.actor(4), np.random.default_rng(1)
            actor.start(range(4))
            actions.append([actor.act(observations, range(4), mode == "mean", rng) for _ in range(12)])
        np.testing.assert_array_equal(*actions)
    text = (tmp_path / "policy" / "policy.json").read_text()
    (tmp_path / "policy" / "policy.json").write_text(text.replace('"observation_size": 3', '"observation_size": 4'))
    with pytest.raises(MethodError, match="policy: not a saved policy"):
        type(policy).load(tmp_path / "policy")
