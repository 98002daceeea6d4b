"""AIRL: logits against the library's, what episodes are paid, what the discriminator converges to, and learning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from imitation.algorithms.adversarial.airl import AIRL
from imitation.rewards.reward_nets import BasicShapedRewardNet
from torch import nn

from envs.demonstrations import Statistics
from methods.gail import airl
from methods.gail.airl import Airl, AirlTraining, DemonstratedSteps, RegularisedAirl, Settings, ShapedReward, Steps
from methods.gail.discriminator import Regularisation
from methods.gail.trpo import SubsampledTRPO
from methods.interface import MethodError
from methods.policy import GaussianNetwork, PolicyShape
from methods.sb3_policy import SharedPolicy, quiet_logger
from tests.methods.off_policy.test_off_policy import demonstrate as demonstrate_line
from tests.methods.off_policy.test_off_policy import success_after
from tests.methods.worlds import tiny_context
from tests.tiny import demonstrate

SHAPE = PolicyShape(3, 2, (-1.0,) * 2, (1.0,) * 2)
SMALL = Settings(
    processes=4, batch_size=64, actor_steps=1, discriminator_batch=128, critic_batch=128, gamma=0.9, entropy=0.0
)
LEARNING: dict[str, Any] = {
    "processes": 8,
    "batch_size": 64,
    "actor_steps": 1,
    "gamma": 0.95,
    "kl": 0.03,
    "discriminator_steps": 20,
    "discriminator_batch": 256,
    "discriminator_learning_rate": 1e-3,
    "gradient_penalty": 1.0,
    "entropy": 0.0,
    "critic_passes": 10,
    "critic_batch": 256,
    "critic_learning_rate": 1e-3,
    "sigma_bounds": (0.05, 0.3),
    "fisher_every": 1,
}


@pytest.fixture
def network() -> GaussianNetwork:
    """A policy with sigmas and means that differ from state to state."""
    torch.manual_seed(0)
    made = GaussianNetwork(SHAPE, Statistics(np.array([0.5, -0.2, 0.0]), np.array([0.5, 2.0, 1.0])))
    for head in (made.mean, made.spread):
        nn.init.normal_(head.weight, std=0.05)
    return made


def random_steps(count: int = 200, ends: int = 20, seed: int = 0) -> Steps:
    rng = np.random.default_rng(seed)
    states, reached = (rng.normal(size=(count, 3)).astype(np.float32) for _ in range(2))
    actions = rng.uniform(-0.3, 0.3, (count, 2)).astype(np.float32)
    return Steps(states, actions, reached, np.arange(count) < ends)


def trainer_of(folder: Path, network: GaussianNetwork, settings: Settings, shown: Steps) -> RegularisedAirl:
    """AIRL on the tiny task, with random steps for demonstrations."""
    venv = tiny_context(folder).make_vector_env(1)
    options = {"network": network, "critic_hidden": (4,)}
    trpo = SubsampledTRPO(SharedPolicy, venv, n_steps=4, batch_size=4, fisher_every=1, policy_kwargs=options, seed=0)
    rng = np.random.default_rng(0)
    return RegularisedAirl(
        network=network,
        settings=settings,
        rng=rng,
        regularisation=Regularisation(settings.entropy, settings.gradient_penalty),
        demonstrations=DemonstratedSteps(shown, settings, rng),
        demo_batch_size=settings.discriminator_batch,
        venv=venv,
        gen_algo=trpo,
        reward_net=ShapedReward(venv.action_space, network, settings),
        disc_opt_kwargs={"lr": settings.discriminator_learning_rate},
        log_dir=folder,
        custom_logger=quiet_logger(folder),
        allow_variable_horizon=True,
    )


def columns(steps: Steps, settings: Settings, after: bool = False) -> dict[str, torch.Tensor]:
    everything = np.arange(len(steps.states))
    found = steps.inputs(settings.terminal, everything, np.full(len(everything), after))
    return dict(zip(("state", "action", "next_state", "done"), map(torch.from_numpy, found.values()), strict=True))


@pytest.mark.parametrize("use_actions", [True, False])
def test_logits_and_gradients_are_the_librarys(tmp_path: Path, network: GaussianNetwork, use_actions: bool) -> None:
    """Of `imitation`'s AIRL on normalised observations and actions, with its treatment of ends."""
    settings = replace(SMALL, terminal="terminal", use_actions=use_actions)
    steps = random_steps()
    mine = trainer_of(tmp_path, network, settings, steps)
    ours = mine._reward_net.shaped
    plain = BasicShapedRewardNet(
        Box(-np.inf, np.inf, (3,)),
        Box(-np.inf, np.inf, (2,)),
        reward_hid_sizes=settings.discriminator_hidden,
        potential_hid_sizes=settings.potential_hidden,
        use_action=use_actions,
        discount_factor=settings.gamma,
        activation=nn.Tanh,
    )
    flag = {"_base.mlp.dense0.weight": 3, "potential._potential_net.dense0.weight": 3}
    drop = {
        name: np.delete(value.numpy(), flag[name], 1) if name in flag else value.numpy()
        for name, value in ours.state_dict().items()
    }
    plain.load_state_dict({name: torch.from_numpy(value) for name, value in drop.items()})
    batch = columns(steps, settings)
    states = (torch.from_numpy(steps.states) - network.shift) / network.scale
    reached = (torch.from_numpy(steps.reached) - network.shift) / network.scale
    unit = sum(SHAPE.sigma_bounds) / 2.0
    actions = torch.from_numpy(steps.actions) / unit

    class Library(AIRL):
        def __init__(self) -> None:
            self._reward_net = plain

    with torch.no_grad():
        mean, sigma = network(torch.from_numpy(steps.states))
    entropy = 2 * (0.5 + 0.5 * math.log(2.0 * math.pi))  # of a Gaussian with sigma 1 in those units
    log_prob = torch.distributions.Normal(mean / unit, sigma / unit).log_prob(actions).sum(1) + entropy
    ends = torch.from_numpy(steps.ended)
    wanted = Library().logits_expert_is_high(states, actions, reached, ends, log_prob)
    log_prob = mine._get_log_policy_act_prob(batch["state"], batch["action"]).detach()
    found = mine.logits_expert_is_high(*batch.values(), log_prob)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    labels = (torch.arange(len(wanted)) % 2).float()
    for logits in (found, wanted):
        nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
    for name, parameter in ours.named_parameters():
        theirs = dict(plain.named_parameters())[name].grad
        kept = np.delete(parameter.grad, flag[name], 1) if name in flag else parameter.grad
        torch.testing.assert_close(torch.as_tensor(kept), theirs, rtol=1e-3, atol=1e-6)


def test_an_update_is_the_librarys_without_regularisation(tmp_path: Path, network: GaussianNetwork) -> None:
    steps = random_steps()
    mine, library = (trainer_of(tmp_path, network, SMALL, steps) for _ in range(2))
    library._reward_net.load_state_dict(mine._reward_net.state_dict())
    rng = np.random.default_rng(1)
    shown, own = (random_steps(seed=s).sample("absorbing", 0.9, 128, rng) for s in (1, 2))
    mine._own = steps
    mine.train_disc(expert_samples=shown, gen_samples=own)
    AIRL.train_disc(library, expert_samples=shown, gen_samples=own)
    for one, other in zip(mine._reward_net.parameters(), library._reward_net.parameters(), strict=True):
        torch.testing.assert_close(one.grad, 2.0 * other.grad, rtol=1e-4, atol=1e-6)


def test_an_absorbing_state_pays_the_sum_of_its_steps(tmp_path: Path, network: GaussianNetwork) -> None:
    """So the potential changes what episodes are paid by that of their first state alone, however they end."""
    settings, gamma = replace(SMALL, policy_entropy=0.0), SMALL.gamma
    mine = trainer_of(tmp_path, network, settings, random_steps())
    path = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)
    episode = Steps(path[:-1], np.full((5, 2), 0.1, np.float32), path[1:], np.arange(5) == 4)
    rewards = mine.rewards(episode.states, episode.actions, episode.reached, episode.ended)
    net, steps, stays = mine._reward_net, columns(episode, settings), columns(episode, settings, after=True)
    with torch.no_grad():
        one_by_one = net(*steps.values()).tolist() + [float(net(*stays.values())[-1])] * 2000
        base = lambda rows: net.shaped.base(  # noqa: E731
            (rows["state"] - net.shift) / net.scale, rows["action"] / net.unit, None, None
        )
        unshaped = base(steps).tolist() + [float(base(stays)[-1])] * 2000
        potential = float(net.shaped.potential((steps["state"][:1] - net.shift) / net.scale))
    value = lambda rewards: sum(gamma**i * reward for i, reward in enumerate(rewards))  # noqa: E731
    assert value(rewards.tolist()) == pytest.approx(value(one_by_one), rel=1e-4)
    assert value(rewards.tolist()) == pytest.approx(value(unshaped) - potential, rel=1e-4)


@pytest.mark.parametrize("terminal", ["always", "chain", "terminal"])
def test_without_absorbing_states_an_end_pays_its_step_alone(
    tmp_path: Path, network: GaussianNetwork, terminal: Any
) -> None:
    settings = replace(SMALL, terminal=terminal, policy_entropy=0.0)
    steps = random_steps()
    mine = trainer_of(tmp_path, network, settings, steps)
    rewards = mine.rewards(steps.states, steps.actions, steps.reached, steps.ended)
    still = replace(steps, ended=np.zeros_like(steps.ended))
    alike = rewards == mine.rewards(still.states, still.actions, still.reached, still.ended)
    assert alike[~steps.ended].all() and alike[steps.ended].all() == (terminal != "terminal")
    drawn = steps.sample(terminal, 0.9, 500, np.random.default_rng(0))
    assert not drawn["obs"][:, -1].any() and not drawn["next_obs"][:, -1].any()
    assert drawn["dones"].any() == (terminal == "terminal")


def test_the_policy_is_paid_the_logit_as_in_the_paper(tmp_path: Path, network: GaussianNetwork) -> None:
    steps = replace(random_steps(), ended=np.zeros(200, bool))
    mine = trainer_of(tmp_path, network, SMALL, steps)
    batch = columns(steps, SMALL)
    with torch.no_grad():
        log_prob = mine._get_log_policy_act_prob(batch["state"], batch["action"])
        logits = mine.logits_expert_is_high(*batch.values(), log_prob).numpy()
    given = (steps.states, steps.actions, steps.reached, steps.ended)
    np.testing.assert_allclose(mine.rewards(*given), logits, rtol=1e-4, atol=1e-4)
    mine.settings = replace(SMALL, policy_entropy=0.0)
    np.testing.assert_allclose(mine.rewards(*given), logits + log_prob.numpy(), rtol=1e-4, atol=1e-4)


def test_an_end_counts_as_the_steps_that_discounting_leaves() -> None:
    steps = random_steps(count=100, ends=10)
    drawn = steps.sample("absorbing", 0.9, 20_000, np.random.default_rng(0))
    absorbing = drawn["obs"][:, -1] == 1.0
    assert absorbing.mean() == pytest.approx(90 / 190, abs=0.01)  # ten ends of nine steps each
    np.testing.assert_array_equal(drawn["obs"][absorbing], drawn["next_obs"][absorbing])
    assert not drawn["acts"][absorbing].any()
    known = {tuple(row) for row in steps.reached[:10]}
    assert {tuple(row[:-1]) for row in drawn["obs"][absorbing]} == known
    into = drawn["next_obs"][~absorbing]
    assert (into[:, -1] == [tuple(row[:-1]) in known for row in into]).all()


def test_half_of_the_own_samples_come_from_earlier_iterations(tmp_path: Path, network: GaussianNetwork) -> None:
    settings = replace(SMALL, earlier_iterations=2, discriminator_batch=1000)
    mine, resumed = (trainer_of(tmp_path, network, settings, random_steps()) for _ in range(2))

    def shares(trainer: RegularisedAirl) -> list[float]:
        marks = trainer._own_batch()["next_obs"][:, 0].round()
        return [float((marks == iteration).mean()) for iteration in range(4)]

    def collect(trainer: RegularisedAirl, iteration: int) -> None:
        marked = replace(random_steps(), reached=np.full((200, 3), iteration, np.float32))
        trainer.rewards(marked.states, marked.actions, marked.reached, marked.ended)

    for iteration in range(3):
        collect(mine, iteration)
        if iteration == 0:
            assert shares(mine) == [1.0, 0.0, 0.0, 0.0]
    trpo = mine.gen_algo
    trpo._last_obs, trpo._last_episode_starts = np.zeros((1, 3), np.float32), np.ones(1, bool)
    resumed.set_state(mine.get_state())
    for trainer in (mine, resumed):
        assert shares(trainer) == pytest.approx([0.25, 0.25, 0.5, 0.0], abs=0.05)
        collect(trainer, 3)
        assert shares(trainer) == pytest.approx([0.0, 0.25, 0.25, 0.5], abs=0.05)
    alone = trainer_of(tmp_path, network, SMALL, random_steps())
    for iteration in range(3):
        collect(alone, iteration)
    assert shares(alone) == [0.0, 0.0, 1.0, 0.0] and not alone._earlier


def test_the_discriminator_converges_to_the_ratio_of_densities(tmp_path: Path, network: GaussianNetwork) -> None:
    """Demonstrated actions are Gaussian about .1 with sigma .08, and demonstrations end three times as often."""
    nn.init.zeros_(network.mean.weight)
    network.set_sigma(0.05)
    settings = replace(SMALL, discriminator_learning_rate=3e-3, discriminator_batch=1024)
    rng = np.random.default_rng(0)

    def steps(mean: float, sigma: float, ends: int) -> Steps:
        states, reached = (rng.normal(0.0, 0.1, (4000, 3)).astype(np.float32) for _ in range(2))
        actions = (mean + sigma * rng.standard_normal((4000, 2))).astype(np.float32)
        return Steps(states, actions, reached, np.arange(4000) < ends)

    shown, own = steps(0.1, 0.08, 300), steps(0.0, 0.05, 100)
    mine = trainer_of(tmp_path, network, settings, shown)
    mine._own = own
    for _ in range(800):
        mine.train_disc()
    after = {
        name: steps.sample("absorbing", settings.gamma, 100_000, rng)["obs"][:, -1].mean()
        for name, steps in (("shown", shown), ("own", own))
    }
    with torch.no_grad():
        stays = columns(own, settings, after=True)
        assert float(mine._reward_net(*stays.values()).mean()) == pytest.approx(
            math.log(after["shown"] / after["own"]), abs=0.35
        )
        batch = columns(own, settings)
        logits = mine.logits_expert_is_high(
            *batch.values(), mine._get_log_policy_act_prob(batch["state"], batch["action"])
        )
        normal = torch.distributions.Normal
        actions = batch["action"]
        ratio = (normal(0.1, 0.08).log_prob(actions) - normal(0.0, 0.05).log_prob(actions)).sum(1)
        ratio += math.log((1.0 - after["shown"]) / (1.0 - after["own"]))
    there = ~own.ended
    assert np.corrcoef(logits[there], ratio[there])[0, 1] > 0.95
    assert float((logits - ratio)[there].abs().mean()) < 0.5


def test_the_gradient_penalty_measures_the_slope_of_f(
    tmp_path: Path, network: GaussianNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    for use_actions in (True, False):
        settings = replace(SMALL, use_actions=use_actions)
        mine = trainer_of(tmp_path, network, settings, random_steps())
        net = mine._reward_net
        shown, own = (columns(random_steps(8, 0, seed), settings) for seed in (1, 2))
        batch = {name: torch.cat([shown[name], own[name]]) for name in shown}
        monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 0.25))
        found = mine.slopes(batch)
        monkeypatch.undo()
        for row in range(8):
            at = {name: (0.75 * shown[name][row : row + 1].double() + 0.25 * own[name][row]) for name in shown}
            net.double(), network.double()

            def f(
                state: torch.Tensor, action: torch.Tensor, reached: torch.Tensor, at: Any = at, net: Any = net
            ) -> torch.Tensor:
                return net(state * net.scale, action * net.unit, reached * net.scale, at["done"]).sum()

            inputs = (at["state"] / net.scale, at["action"] / net.unit, at["next_state"] / net.scale)
            gradients = torch.autograd.functional.jacobian(f, inputs)
            wanted = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            net.float(), network.float()
            assert float(found[row]) == pytest.approx(float(wanted), rel=1e-2)
        assert found.requires_grad and all(parameter.grad is None for parameter in network.parameters())


def test_the_gradient_penalty_does_not_keep_the_discriminator_from_learning(tmp_path: Path) -> None:
    """Demonstrated states differ from the policy's; both took actions near a narrow policy's steep mean."""
    torch.manual_seed(0)
    network = GaussianNetwork(SHAPE, Statistics(np.zeros(3), np.ones(3)))
    nn.init.normal_(network.mean.weight, std=0.05)
    network.set_sigma(0.02)
    rng = np.random.default_rng(0)

    def steps(place: float) -> Steps:
        states, reached = (rng.normal(place, 1.0, (2000, 3)).astype(np.float32) for _ in range(2))
        with torch.no_grad():
            mean, sigma = (part.numpy() for part in network(torch.from_numpy(states)))
        actions = mean + sigma * rng.standard_normal(mean.shape).astype(np.float32)
        return Steps(states, actions, reached, np.zeros(2000, bool))

    settings = replace(SMALL, gradient_penalty=1.0, discriminator_learning_rate=1e-3)
    mine = trainer_of(tmp_path, network, settings, steps(0.7))
    mine._own = steps(-0.7)
    found = [mine.train_disc() for _ in range(200)][-50:]
    assert np.mean([scalars["accuracy_demonstrations"] for scalars in found]) > 0.85
    assert np.mean([scalars["accuracy_policy"] for scalars in found]) > 0.85


def test_settings_reach_the_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RegularisedAirl] = []

    class Watched(RegularisedAirl):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr(airl, "RegularisedAirl", Watched)
    settings = replace(SMALL, discriminator_hidden=(7, 5), potential_hidden=(6,), compress=2.0, scale_rewards=True)
    settings = replace(settings, gradient_penalty=0.7, entropy=0.3, discriminator_learning_rate=0.004, gamma=0.8)
    context = tiny_context(tmp_path, steps=600)
    Airl(settings).fit(demonstrate(3, seed=1), context)
    (trainer,) = made
    net = trainer._reward_net
    assert context.environment_steps == 512 and trainer.regularisation == Regularisation(0.3, 0.7)
    assert trainer._disc_opt.param_groups[0]["lr"] == 0.004
    assert (net.knee, net.shaped.discount_factor) == (2.0, 0.8)

    def layers(part: nn.Module) -> list[int]:
        return [layer.out_features for layer in part.modules() if isinstance(layer, nn.Linear)]

    assert (layers(net.shaped.base), layers(net.shaped.potential)) == ([7, 5, 1], [6, 1])
    rewards = trainer.gen_algo.get_env()
    assert (rewards.terminal, rewards.scale) == ("terminal", pytest.approx(0.2))  # nothing follows what was summed up
    names = {name for _, scalars in context.reports for name in scalars}
    assert {"discriminator_loss", "discriminator_reward_steps", "policy_sigma"} <= names


def test_demonstrated_actions_and_every_state_are_needed(tmp_path: Path) -> None:
    demonstrations = demonstrate(3, seed=1)
    for shown, message in (
        (demonstrations.subset(states_alone=True), "states only"),
        (demonstrations.subset(every=4), "every=1"),
    ):
        with pytest.raises(MethodError, match=message):
            Airl(replace(SMALL, use_actions=False)).fit(shown, tiny_context(tmp_path, steps=600))
    with pytest.raises(MethodError, match=r"lower airl\.processes"):
        AirlTraining("airl", SMALL, demonstrations, tiny_context(tmp_path, steps=255))


def test_demonstrated_steps_are_those_of_the_episodes() -> None:
    demonstrations = demonstrate(3, seed=1)
    steps = Steps.of(demonstrations)

    def rows() -> Iterator[tuple[float, ...]]:
        for states, actions in demonstrations.trajectories():
            assert actions is not None
            for i, action in enumerate(actions):
                yield (*states[i], *action, *states[i + 1], i == len(actions) - 1)

    found = np.column_stack([steps.states, steps.actions, steps.reached, steps.ended])
    np.testing.assert_array_equal(found, np.array(list(rows()), np.float32))


@pytest.mark.science
def test_it_learns_from_nothing_on_a_line(tmp_path: Path) -> None:
    assert success_after(tmp_path, Airl, 24_576, demonstrate_line(), LEARNING | {"terminal": "absorbing"}) > 0.5
    assert success_after(tmp_path, Airl, 512, demonstrate_line(), LEARNING) < 0.3
