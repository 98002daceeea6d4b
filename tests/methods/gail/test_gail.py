"""GAIL: inputs, loss and rewards of the discriminator, the cost of a step, and learning."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imitation.algorithms.adversarial.gail import GAIL
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from envs.demonstrations import Statistics, load_task
from envs.insertion.base import make_env
from envs.insertion.vector import InsertionVector
from envs.sb3 import GroupVecEnv
from methods.conformance.context import PlainContext
from methods.gail import algorithm, gaifo, training
from methods.gail.algorithm import Gail, Settings
from methods.gail.discriminator import (
    DeferredRewards,
    DemonstratedBatches,
    Discriminator,
    Regularisation,
    RegularisedGail,
)
from methods.gail.trpo import SubsampledTRPO
from methods.interface import Budget, MethodError
from methods.policy import GaussianNetwork, PolicyShape, new_network
from methods.sb3_policy import SharedPolicy, quiet_logger
from methods.task_boundary import describe_task
from tests.methods.worlds import success, tiny_context
from tests.tiny import demonstrate

SMALL = Settings(
    processes=4,
    batch_size=64,
    actor_steps=1,
    discriminator_batch=128,
    critic_batch=128,
    warm_start=100,
    warm_start_sigma=0.05,
)
"""One iteration of 256 steps."""


def trainer_of(entropy: float = 0.0, gradient_penalty: float = 0.0, use_actions: bool = True) -> RegularisedGail:
    """GAIL on the tiny task, with 64 rows of each kind per step of the discriminator and a high learning rate."""
    demonstrations = demonstrate(3, seed=1)
    scratch = Path(tempfile.mkdtemp())
    context = tiny_context(scratch)
    network, venv = new_network(demonstrations, context), context.make_vector_env(1)
    options = {"network": network, "critic_hidden": (4,)}
    trpo = SubsampledTRPO(SharedPolicy, venv, n_steps=4, batch_size=4, fisher_every=1, policy_kwargs=options, seed=0)
    return RegularisedGail(
        demonstrations=DemonstratedBatches(demonstrations, 2, use_actions, 64, np.random.default_rng(0)),
        demo_batch_size=64,
        venv=venv,
        gen_algo=trpo,
        reward_net=Discriminator(venv.observation_space, venv.action_space, network, (32, 32), use_actions),
        regularisation=Regularisation(entropy, gradient_penalty),
        disc_opt_kwargs={"lr": 3e-3},
        log_dir=scratch,
        custom_logger=quiet_logger(scratch),
        allow_variable_horizon=True,
    )


def samples(seed: int, shift: float) -> dict[str, np.ndarray]:
    """64 transitions around a place of the tiny task, with noisy actions."""
    rng = np.random.default_rng(seed)
    states = (rng.normal(0.0, 0.2, (64, 3)) + shift).astype(np.float32)
    actions = rng.normal(0.0, 0.2, (64, 2)).astype(np.float32)
    return {"obs": states, "acts": actions, "next_obs": states + 0.01, "dones": np.zeros(64, bool)}


def train(trainer: RegularisedGail, steps: int = 300, apart: float = 3.0) -> dict[str, float]:
    for i in range(steps):
        found = trainer.train_disc(expert_samples=samples(2 * i, apart), gen_samples=samples(2 * i + 1, -apart))
    return dict(found)


def logits(trainer: RegularisedGail, batch: dict[str, np.ndarray]) -> np.ndarray:
    return trainer._reward_net.predict(*(batch[name] for name in ("obs", "acts", "next_obs", "dones")))


def test_the_discriminator_learns_and_rewards_demonstrated_behaviour_more() -> None:
    trainer = trainer_of()
    found = train(trainer)
    assert found["accuracy_demonstrations"] == found["accuracy_policy"] == 1.0 and found["loss"] < 0.02
    columns = [samples(1, sign * 3.0) for sign in (1, -1)]
    like, unlike = (
        trainer.reward_train.predict(*(c[name] for name in ("obs", "acts", "next_obs", "dones"))) for c in columns
    )
    assert like.min() > unlike.max() and unlike.min() > 0.0
    np.testing.assert_allclose(like, np.log1p(np.exp(logits(trainer, columns[0]))), rtol=1e-4)  # -log(1 - D)


def test_extreme_values_are_compressed_for_the_discriminator_alone() -> None:
    venv = trainer_of().venv
    shape = PolicyShape(3, 2, (-1.0,) * 2, (1.0,) * 2)
    network = GaussianNetwork(shape, Statistics(np.zeros(3), np.ones(3)))
    plain, compressed = (
        Discriminator(venv.observation_space, venv.action_space, network, (4,), False, knee) for knee in (0.0, 2.0)
    )
    states = torch.tensor([[0.5, -2.0, 100.0]])
    assert plain.features(states, torch.zeros(1, 2), states).tolist() == states.tolist()
    seen = compressed.features(states, torch.zeros(1, 2), states)[0]
    np.testing.assert_allclose(seen, [0.5, -2.0, 2.0 + np.log1p(98.0)], rtol=1e-6)


def test_without_regularisation_the_gradient_is_twice_the_librarys() -> None:
    mine, library = trainer_of(), trainer_of()
    library._reward_net.load_state_dict(mine._reward_net.state_dict())
    batches = {"expert_samples": samples(0, 1.0), "gen_samples": samples(1, -1.0)}
    mine.train_disc(**batches)
    GAIL.train_disc(library, **batches)
    for one, other in zip(mine._reward_net.parameters(), library._reward_net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, 2.0 * other.grad, rtol=1e-4, atol=1e-7)


def test_entropy_bounds_the_logits_of_separable_classes() -> None:
    """With weight e the best logit l of separable classes solves l * sigmoid(l) = 2 / e."""
    free, bound = trainer_of(), trainer_of(entropy=1.0)
    train(free), train(bound)
    place = samples(0, 3.0)
    assert logits(free, place).mean() > 4.0
    best = logits(bound, place).mean()
    assert best / (1.0 + np.exp(-best)) == pytest.approx(2.0, abs=0.1)


def test_the_gradient_penalty_keeps_the_slope_between_the_classes_near_one() -> None:
    def slope(trainer: RegularisedGail) -> float:
        net = trainer._reward_net
        batch = [torch.from_numpy(samples(5, 0.0)[name]) for name in ("obs", "acts", "next_obs")]
        features = net.features(*batch).requires_grad_(True)
        (gradient,) = torch.autograd.grad(net.mlp(features).sum(), features)
        return float(gradient.norm(dim=1).mean())

    free, held = trainer_of(), trainer_of(gradient_penalty=10.0)
    train(free, apart=0.5), train(held, apart=0.5)
    assert slope(free) > 2.0 and slope(held) == pytest.approx(1.0, abs=0.4)


def test_without_actions_the_discriminator_sees_the_next_state_only() -> None:
    trainer = trainer_of(use_actions=False)
    batch = samples(0, 0.0)
    found = logits(trainer, batch)
    np.testing.assert_array_equal(logits(trainer, {**batch, "obs": batch["obs"] + 9, "acts": batch["acts"] + 9}), found)
    assert (logits(trainer, {**batch, "next_obs": batch["next_obs"] + 1}) != found).all()


def test_gaifo_judges_states_before_and_after_a_step(tmp_path: Path) -> None:
    demonstrations = demonstrate(3, seed=1)
    alone = demonstrations.subset(states_alone=True)
    batch = next(iter(DemonstratedBatches(alone, 2, False, 2000, np.random.default_rng(0), transitions=True)))
    steps = {(*before, *after) for states, _ in alone.trajectories() for before, after in pairwise(states.tolist())}
    assert {(*row,) for row in np.concatenate([batch["obs"], batch["next_obs"]], 1).tolist()} == steps
    context = tiny_context(tmp_path, steps=1)
    network, environment = new_network(alone, context), context.make_env()
    judge = Discriminator(
        environment.observation_space, environment.action_space, network, (8,), False, transitions=True
    )
    rows = samples(0, 0.0)
    found, wrong = judge.predict(*rows.values()), rows | {"acts": rows["acts"] + 9}
    np.testing.assert_array_equal(judge.predict(*wrong.values()), found)
    for name in ("obs", "next_obs"):
        assert (judge.predict(*(rows | {name: rows[name] + 1}).values()) != found).all()


def test_gaifo_refuses_actions_and_gaps(tmp_path: Path) -> None:
    demonstrations = demonstrate(3, seed=1)
    small = {"processes": 4, "batch_size": 64, "critic_batch": 128}
    for values, shown, message in (
        ({"use_actions": True}, demonstrations, "exclude each other"),
        ({}, demonstrations.subset(every=4), "every=1"),
    ):
        with pytest.raises(MethodError, match=message):
            gaifo.Gaifo(gaifo.Settings(**small, **values)).fit(shown, tiny_context(tmp_path, steps=600))


@pytest.mark.parametrize(
    ("subset", "rows"), [({}, "led to"), ({"every": 4}, "led to"), ({"final_only": True}, "final")]
)
def test_demonstrated_states_are_those_a_step_led_to(subset: dict[str, Any], rows: str) -> None:
    demonstrations = demonstrate(3, seed=1).subset(**{"states_alone": True, **subset})
    batch = next(iter(DemonstratedBatches(demonstrations, 2, False, 500, np.random.default_rng(0))))
    known = demonstrations.observations[demonstrations.terminal if rows == "final" else demonstrations.time_step > 0]
    assert {tuple(row) for row in batch["next_obs"]} == {tuple(row) for row in known}
    assert len(batch["obs"]) == len(batch["acts"]) == 500


@pytest.mark.parametrize("subset", [{"states_alone": True}, {"final_only": True}])
def test_states_alone_are_learnt_from_or_refused_according_to_the_settings(
    subset: dict[str, bool], tmp_path: Path
) -> None:
    demonstrations = demonstrate(3, seed=1).subset(**subset)
    settings = replace(SMALL, use_actions=False, warm_start=0)
    assert not Gail.requires_actions(settings)
    context = tiny_context(tmp_path, steps=600)
    Gail(settings).fit(demonstrations, context)
    assert context.environment_steps == 512
    for needing in (replace(settings, use_actions=True), replace(settings, warm_start=5)):
        assert Gail.requires_actions(needing)
        with pytest.raises(MethodError, match="states"):
            Gail(needing).fit(demonstrations, tiny_context(tmp_path, steps=600))


def test_the_budget_is_rounded_down_to_whole_iterations(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, updates=50, steps=1000)
    Gail(SMALL).fit(demonstrate(2, seed=1), context)
    assert context.environment_steps == 768
    after_warm_start = [point for point in context.checkpoints if point[0] > 0.0]
    critic = 5 * 2  # passes times batches
    assert after_warm_start == [(i / 3, 50 + i * (1 + critic + 1)) for i in (1, 2, 3)]
    with pytest.raises(MethodError, match="less than one iteration of 4 x 64"):
        Gail(SMALL).fit(demonstrate(2, seed=1), tiny_context(tmp_path, steps=255))


def test_the_discriminator_is_updated_after_every_so_many_iterations(tmp_path: Path) -> None:
    settings = replace(SMALL, warm_start=0, actor_steps=2, discriminator_steps=3, critic_passes=1, critic_batch=256)
    context = tiny_context(tmp_path, steps=4 * 256)
    Gail(settings).fit(demonstrate(2, seed=1), context)
    assert [steps for _, steps in context.checkpoints] == [2, 4 + 3, 6 + 3, 8 + 6]
    losses = [step for step, scalars in context.reports if "discriminator_loss" in scalars]
    assert losses == [7, 14]


def watch(monkeypatch: pytest.MonkeyPatch, kind: type) -> list[Any]:
    """The objects of this class that a training makes."""
    made: list[Any] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        made.append(kind(*arguments, **options))
        return made[-1]

    module = algorithm if kind is RegularisedGail else training
    monkeypatch.setattr(module, kind.__name__, watched)
    return made


def test_settings_reach_discriminator_and_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (SubsampledTRPO, RegularisedGail, DeferredRewards)
    trpos, trainers, rewards = (watch(monkeypatch, kind) for kind in kinds)
    steps: list[int] = []
    train_disc = RegularisedGail.train_disc
    monkeypatch.setattr(RegularisedGail, "train_disc", lambda self: (steps.append(1), train_disc(self))[1])
    settings = replace(SMALL, warm_start=0, gamma=0.9, terminal="chain", scale_rewards=True, compress=2.0)
    settings = replace(settings, entropy=0.3, gradient_penalty=0.7, discriminator_learning_rate=0.004)
    settings = replace(settings, discriminator_steps=3, discriminator_hidden=(7, 5))
    Gail(settings).fit(demonstrate(2, seed=1), tiny_context(tmp_path, steps=256))
    assert len(steps) == 3
    (trpo,), (trainer,), (paid,) = trpos, trainers, rewards
    assert trpo.rollout_buffer.chained and (paid.terminal, paid.gamma) == ("chain", 0.9)
    assert paid.scale == pytest.approx(0.1)
    assert trainer.regularisation == Regularisation(0.3, 0.7)
    assert trainer._disc_opt.param_groups[0]["lr"] == 0.004
    assert trainer._reward_net.knee == 2.0
    layers = [layer.out_features for layer in trainer._reward_net.mlp if isinstance(layer, torch.nn.Linear)]
    assert layers == [7, 5, 1]
    Gail(replace(settings, terminal="always", scale_rewards=False)).fit(
        demonstrate(2, seed=1), tiny_context(tmp_path, steps=256)
    )
    assert not trpos[1].rollout_buffer.chained and rewards[1].scale == 1.0


def test_settings_reach_the_policy_and_its_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = watch(monkeypatch, SubsampledTRPO)
    settings = replace(SMALL, warm_start=0, gamma=0.9, gae_lambda=0.8, kl=0.03, cg_steps=4, fisher_every=2)
    settings = replace(settings, critic_passes=3, critic_learning_rate=0.002, sigma_bounds=(0.02, 0.2))
    policy = Gail(settings).fit(demonstrate(2, seed=1), tiny_context(tmp_path, steps=256))
    (trpo,) = made
    assert (trpo.gamma, trpo.gae_lambda, trpo.target_kl, trpo.cg_max_steps) == (0.9, 0.8, 0.03, 4)
    assert (trpo.rollout_buffer.gamma, trpo.rollout_buffer.gae_lambda) == (0.9, 0.8)
    assert (trpo.fisher_every, trpo.n_critic_updates, trpo.n_steps, trpo.n_envs) == (2, 3, 64, 4)
    assert trpo.policy.optimizer.param_groups[0]["lr"] == 0.002
    assert policy.network.shape.sigma_bounds == (0.02, 0.2)


def test_a_warm_start_is_kept_and_sigma_is_set(tmp_path: Path) -> None:
    """On this task GAIL keeps the success of its warm start, unless terminations pay nothing more."""
    settings = replace(
        SMALL, processes=8, batch_size=128, kl=0.02, discriminator_steps=5, entropy=0.0, gradient_penalty=1.0
    )
    settings = replace(settings, terminal="absorbing", discriminator_learning_rate=3e-4)
    context = tiny_context(tmp_path, updates=100, steps=15_360, seed=1)
    policy = Gail(settings).fit(demonstrate(5, seed=1, noise=0.05), context)
    assert success(policy) > 0.9
    reports = [scalars for _, scalars in context.reports]
    assert next(r["policy_sigma"] for r in reports if "policy_sigma" in r) == pytest.approx(0.05, abs=0.005)
    losses = [r for r in reports if "discriminator_loss" in r]
    assert losses[-1]["discriminator_loss"] < losses[0]["discriminator_loss"]


def test_a_training_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, temporary = tmp_path / "scratch", tmp_path / "temporary"
    for folder in (scratch, temporary):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(temporary)
    Gail(SMALL).fit(demonstrate(2, seed=1), tiny_context(scratch, updates=20, steps=512))
    assert not list(temporary.iterdir())


def test_environments_stepped_together_train_the_same_policy(tmp_path: Path) -> None:
    """To the last bit, with the stock `DummyVecEnv` of single environments beside ours."""
    demonstrations = load_task("PegInsertion-v0").subset(episodes=3)
    task = describe_task(demonstrations.task, demonstrations)

    class Together(PlainContext):
        def make_vector_env(self, count: int) -> VecEnv:
            return GroupVecEnv(InsertionVector(make_env("peg"), count), [None] * count)

    class Apart(PlainContext):
        def make_vector_env(self, count: int) -> VecEnv:
            return DummyVecEnv([lambda: make_env("peg")] * count)

    weights = []
    for kind in (Together, Apart):
        policy = Gail(replace(SMALL, batch_size=32)).fit(demonstrations, kind(Budget(256, 20), 0, tmp_path, task))
        weights.append({name: tensor.numpy().tobytes() for name, tensor in policy.network.state_dict().items()})
    assert weights[0] == weights[1]


def fingerprint(seed: int, folder: Path) -> str:
    policy = Gail(SMALL).fit(demonstrate(2, seed=1), tiny_context(folder, updates=20, steps=512, seed=seed))
    return hashlib.sha256(policy.network.mean.weight.detach().numpy().tobytes()).hexdigest()


def test_a_seed_gives_the_same_policy_in_this_process_and_in_another(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    here = fingerprint(0, tmp_path)
    np.random.rand(), torch.rand(1)  # somebody else used the global generators
    assert fingerprint(0, tmp_path) == here != fingerprint(1, tmp_path)
    code = (
        "import sys, torch, pathlib; torch.set_num_threads(1); from tests.methods.gail.test_gail import fingerprint; "
    )
    code += f"print(fingerprint(0, pathlib.Path({str(tmp_path)!r})))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == here and not run.stderr
