"""GPRIL on the tiny task: it gains from knowing the target, and respects its settings and budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.bc import BehaviouralCloning
from methods.bc import Settings as BcSettings
from methods.gpril import algorithm
from methods.gpril.algorithm import Gpril
from methods.gpril.models import PredecessorModels
from methods.gpril.replay import Episode, FutureStateBatch, Replay
from methods.gpril.rollout import collect_rollouts
from methods.gpril.settings import Settings
from methods.interface import Diverged, MethodError, SeedStreams
from methods.policy import GaussianNetwork, PolicyShape, new_network
from tests.methods.worlds import TINY, success, tiny_context
from tests.tiny import demonstrate

SMALL = Settings(
    gamma=0.8,
    replay_size=20_000,
    model_updates=60,
    policy_updates=40,
    burn_in=400,
    model_hidden=(32, 32),
    model_learning_rate=2e-3,
    model_l2=1e-3,
    policy_learning_rate=1e-3,
    initial_episodes=30,
    episodes_per_iteration=5,
    warm_start=400,
    scale_actions=True,
    displacement=True,
    cross_episodes=False,
    clip_samples=True,
)


def learnt(settings: Settings, scratch: Path) -> float:
    context = tiny_context(scratch, 1200, 30_000, 0)
    policy = Gpril(settings).fit(demonstrate(2, seed=0, noise=0.3), context)
    assert context.environment_steps <= 30_000
    return success(policy)


@pytest.mark.science
def test_gpril_gains_over_cloning_and_the_placebo_destroys_the_gain(tmp_path: Path) -> None:
    """Shuffled targets leave everything in place but what the models know about the future."""
    cloned = learnt(replace(SMALL, beta_d=0.0), tmp_path)
    gpril = learnt(SMALL, tmp_path)
    placebo = learnt(replace(SMALL, control="shuffled"), tmp_path)
    assert gpril >= cloned + 0.15, f"gpril {gpril}, cloning {cloned}"
    assert placebo <= gpril - 0.3, f"gpril {gpril}, placebo {placebo}"


def stream(steps: int = 400, seed: int = 0) -> Replay:
    """Random walks in the tiny task's observation space."""
    rng, replay = np.random.default_rng(seed), Replay(5000, 3, 2)
    for _ in range(5):
        walk = rng.standard_normal((steps + 1, 3)).cumsum(axis=0).astype(np.float32) * 0.1
        means = 0.1 * rng.standard_normal((steps, 2)).astype(np.float32)
        sigmas = np.full((steps, 2), 0.05, np.float32)
        replay.add(Episode(walk, means + sigmas * rng.standard_normal((steps, 2), dtype=np.float32), means, sigmas))
    return replay


def models(seed: int = 0, **changes: Any) -> tuple[PredecessorModels, Replay]:
    replay = stream()
    torch.manual_seed(0)
    network = GaussianNetwork(PolicyShape.of(TINY), demonstrate(2, 0).statistics)
    built = PredecessorModels(replace(SMALL, **changes), network, SeedStreams(seed), "cpu")
    rng = SeedStreams(seed).generator("units")
    built.measure(replay.sample(4096, built.settings.gamma, built.settings.cross_episodes, rng))
    return built, replay


@pytest.mark.parametrize("changes", [{}, {"displacement": False, "scale_actions": False}, {"compress": 1.0}])
def test_model_space_is_invertible(changes: dict[str, Any]) -> None:
    built, replay = models(**changes)
    states = torch.from_numpy(replay.sample(500, 0.8, True, np.random.default_rng(0)).states)
    torch.testing.assert_close(built.space.decode(built.space.encode(states)), states, rtol=1e-4, atol=1e-4)


def test_compression_bounds_what_lies_far_out() -> None:
    built, _ = models(compress=2.0)
    far = built.space.decode(torch.full((1, 3), 2.0)) + 1000.0 * built.policy.scale
    assert float(built.space.encode(far).abs().max()) < 10.0


def test_samples_keep_to_the_replay_buffer_and_the_action_bounds() -> None:
    built, replay = models()
    low, high = replay.range()
    targets = 100.0 * np.ones((64, 3), np.float32)
    states, actions = built.sample_predecessors(targets, low, high)
    assert (states.numpy() >= low - 1e-4).all() and (states.numpy() <= high + 1e-4).all()
    assert actions.abs().max() <= 1.0
    free, _ = models(clip_samples=False)
    assert (free.sample_predecessors(targets, low, high)[0].numpy() > high).any(), (
        "without the setting they follow the target"
    )


def test_self_imitation_takes_its_actions_from_the_policy() -> None:
    """With sigma at its floor, self-imitated actions are the policy's mean; those of B^a are not."""
    deviations = {}
    for control in ("none", "self"):
        built, replay = models(control=control)
        built.policy.set_sigma(0.011)
        low, high = replay.range()
        states, actions = built.sample_predecessors(
            replay.sample(256, 0.8, True, np.random.default_rng(0)).targets, low, high
        )
        with torch.no_grad():
            deviations[control] = float((actions - built.policy(states)[0]).abs().mean())
    assert deviations["self"] < 0.02 < deviations["none"]


def test_gradient_clip_binds() -> None:
    """Adam's first moment after one step is a tenth of the gradient that it was given."""
    for clip in (1e9, 0.5):
        built, replay = models(gradient_clip=clip)
        built.update(replay.sample(256, 0.8, True, np.random.default_rng(0)))
        norms = built.take_gradient_norms()
        assert min(*norms["states"], *norms["actions"]) > 0.5
        for (norm,), trainer in zip(norms.values(), built.trainers, strict=True):
            (mean,) = trainer.state_dict()["means"]
            assert float(10.0 * mean.norm()) == pytest.approx(min(norm, clip), rel=1e-4)
    assert built.take_gradient_norms() == {"states": [], "actions": []}


def test_each_batch_of_a_larger_draw_is_one_update() -> None:
    together, replay = models(batch_size=64)
    apart, _ = models(batch_size=64)
    batch = replay.sample(160, 0.8, True, np.random.default_rng(0))
    together.update(batch)
    for part in batch.split(64):
        apart.update(part)
    assert together.gradient_steps == apart.gradient_steps == 6
    assert together.take_gradient_norms() == apart.take_gradient_norms()


def test_a_gradient_that_is_not_finite_raises_diverged() -> None:
    built, replay = models()
    batch = replay.sample(256, 0.8, True, np.random.default_rng(0))
    batch.states[7, 1] = np.nan
    with pytest.raises(Diverged, match="predecessor model"):
        built.update(batch)


def test_regularisation_shrinks_the_models() -> None:
    sizes = []
    for l2 in (0.0, 1.0):
        built, replay = models(model_l2=l2)
        rng = np.random.default_rng(0)
        for _ in range(50):
            built.update(replay.sample(256, 0.8, True, rng))
        sizes.append(sum(float(weights.detach().square().sum()) for weights in built.states.parameters()))
    assert sizes[1] < 0.7 * sizes[0]


def test_information_of_a_model_of_the_policy_itself_is_zero() -> None:
    """The residual model starts as the identity, so B^a is the policy that acted and knows nothing more."""
    built, replay = models(residual_actions=True)
    found = built.likelihoods(replay.sample(1000, 0.8, True, np.random.default_rng(0)))
    assert found.information == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("changes", [{"residual_actions": True}, {}, {"scale_actions": False}])
def test_density_of_actions_integrates_to_one_in_the_environments_units(changes: dict[str, bool]) -> None:
    """Whatever the flow models the action in; the residual's units differ from step to step."""
    built, replay = models(**changes)
    rng = np.random.default_rng(0)
    for _ in range(100):  # away from the identity
        built.update(replay.sample(256, 0.8, True, rng))
    axis = np.linspace(-2.0, 2.0, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
    for row in range(3):
        batch = replay.sample(1, 0.8, True, rng)
        sigmas = np.array([[0.05, 0.2]], np.float32) * (1 + row)
        fixed = replace(batch, sigmas=sigmas)
        spread = {name: np.repeat(part, len(grid), axis=0) for name, part in vars(fixed).items()}
        _, log_actions = built.log_probs(FutureStateBatch(**{**spread, "actions": grid}))
        assert float(log_actions.exp().sum()) * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=0.01)


def test_residual_actions_move_with_the_policy() -> None:
    """As long as B^a has learnt nothing its samples are the policy's, also after the policy has changed."""
    built, replay = models(residual_actions=True, exploration=0.12)
    built.policy.set_sigma(0.05)
    with torch.no_grad():
        built.policy.mean.bias.copy_(torch.tensor([0.4, -0.3]))
    states, actions = built.sample_predecessors(
        replay.sample(4000, 0.8, True, np.random.default_rng(0)).targets, *replay.range()
    )
    deviation = actions - built.policy(states)[0].detach()
    torch.testing.assert_close(deviation.mean(0), torch.zeros(2), atol=0.01, rtol=0.0)
    torch.testing.assert_close(deviation.std(0), torch.full((2,), 0.13), rtol=0.05, atol=0.0)
    assert float((actions.mean(0) - torch.tensor([0.4, -0.3])).abs().max()) < 0.1


@pytest.mark.parametrize("decay", [False, True])
def test_without_predecessors_it_is_cloning_update_for_update(decay: bool, tmp_path: Path) -> None:
    """With beta_d = 0 the weights are those of the suite's BC, but for rounding; no environment is needed."""
    demonstrations = demonstrate(3, 0)
    pairs = len(demonstrations.pairs()[0])

    class OneBatchOn(SeedStreams):
        """`imitation` looks at a first batch of pairs to learn its type before it learns from the second."""

        def generator(self, name: str) -> np.random.Generator:
            rng = super().generator(name)
            if name == "demonstrated pairs":
                rng.integers(pairs, size=256)
            return rng

    ours, theirs = (tiny_context(tmp_path, updates=200) for _ in range(2))
    ours.seeds = OneBatchOn(0)
    gpril = Gpril(Settings(beta_d=0.0, policy_learning_rate=1e-3, policy_decay=decay)).fit(demonstrations, ours)
    cloning = BehaviouralCloning(BcSettings(learning_rate=1e-3, l2=0.0, decay=decay)).fit(demonstrations, theirs)
    assert ours.environment_steps == 0
    for mine, expected in zip(gpril.network.parameters(), cloning.network.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0.0, atol=1e-5)
    untrained = new_network(demonstrations, theirs)
    assert (gpril.network.mean.weight - untrained.mean.weight).abs().max() > 0.01


def test_the_models_train_alone_before_the_first_policy_update(tmp_path: Path) -> None:
    """Gradient steps at the end: the policy's, and for each update of the models two."""
    steps = []
    for burn_in in (0, 30):
        settings = replace(SMALL, burn_in=burn_in, model_updates=5, warm_start=0, initial_episodes=5)
        context = tiny_context(tmp_path, 40, 2000)
        Gpril(settings).fit(demonstrate(2, 0), context)
        steps.append(context.checkpoints[-1][1])
    assert steps == [40 + 2 * 5, 40 + 2 * (5 + 30)]


def test_sigma_keeps_its_bounds_however_far_the_actions_lie(tmp_path: Path) -> None:
    """Maximum likelihood of actions that are all the same asks for no spread, of wild ones for a large one."""
    shown = demonstrate(2, 0)
    assert shown.actions is not None
    for actions, bound in ((np.zeros_like(shown.actions), 0.01), (np.where(shown.actions > 0, 9, -9), 0.1)):
        demonstrations = replace(shown, actions=actions.astype(np.float32) * ~shown.terminal[:, None])
        settings = Settings(beta_d=0.0, policy_learning_rate=3e-3)
        network = Gpril(settings).fit(demonstrations, tiny_context(tmp_path, 150)).network
        with torch.no_grad():
            sigma = network(torch.tensor(demonstrations.observations))[1]
        assert sigma.min() >= 0.01 and sigma.max() <= 0.1
        assert float(sigma.median()) == pytest.approx(bound, abs=0.01)


def test_a_fraction_of_the_rollouts_explores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def watched(*arguments: Any) -> list[Episode]:
        episodes = collect_rollouts(*arguments)
        found.extend(bool(episode.sigmas.min() > 0.3) for episode in episodes)
        return episodes

    monkeypatch.setattr(algorithm, "collect_rollouts", watched)
    short = replace(SMALL, warm_start=0, burn_in=0, model_updates=1, initial_episodes=40)
    for share, expected in ((1.0, {True}), (0.5, {True, False})):
        found.clear()
        settings = replace(short, exploration=0.3, exploration_share=share)
        Gpril(settings).fit(demonstrate(2, 0), tiny_context(tmp_path, 1, 5000))
        assert set(found) == expected
        assert np.mean(found) == pytest.approx(share, abs=0.25)


def test_the_actor_stops_at_the_budget(tmp_path: Path) -> None:
    context = tiny_context(tmp_path, updates=450, steps=100)
    Gpril(replace(SMALL, initial_episodes=50, burn_in=5, model_updates=5)).fit(demonstrate(2, 0), context)
    assert 0 < context.environment_steps <= 100


@pytest.mark.parametrize("only", [{"states_alone": True}, {"final_only": True}])
def test_states_alone_are_learnt_from_where_the_settings_allow_it(tmp_path: Path, only: dict[str, bool]) -> None:
    shown = demonstrate(2, 0).subset(**only)
    with pytest.raises(MethodError, match="beta_pi"):
        Gpril(SMALL).fit(shown, tiny_context(tmp_path, 40, 2000))
    alone = replace(SMALL, beta_pi=0.0, warm_start=0, burn_in=50, model_updates=10)
    policy = Gpril(alone).fit(shown, tiny_context(tmp_path, 40, 2000))
    assert np.isfinite(policy.act(shown.observations, True, np.random.default_rng(0))).all()


def test_a_budget_below_one_episode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="less than one episode"):
        Gpril(SMALL).fit(demonstrate(2, 0), tiny_context(tmp_path, 40, 10))
