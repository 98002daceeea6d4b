"""The off-policy learner and the methods on it: targets by hand, IQ-Learn on an enumerable problem, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from benchmarks.planning.profiles import load as load_profile
from envs.demonstrations import Demonstrations
from methods.conformance.context import PlainContext
from methods.conformance.point_task import TASK
from methods.interface import Budget, Method, MethodError, make_settings
from methods.off_policy import dac, iq_learn, sqil
from methods.off_policy.iq_learn import bounded_targets, implicit_loss
from methods.off_policy.networks import TwinCritics
from methods.off_policy.replay import Replay
from methods.registry import resolve

GOAL = 0.5
FAST: dict[str, Any] = {
    "processes": 4,
    "episode_steps": 0,
    "first_steps": 400,
    "updates_per_step": 0.4,
    "batch_size": 64,
    "gamma": 0.9,
    "critic_hidden": (32, 32),
    "critic_learning_rate": 2e-3,
    "target_rate": 0.02,
    "actor_delay": 100,
    "actor_learning_rate": 1e-3,
    "exploration": 0.3,
    "action_scale": 1.0,
}
"""Settings with which a training on the line takes seconds."""


class Line(gymnasium.Env[np.ndarray, np.ndarray]):
    """A point on a line must come within .05 of a goal; observation and action are numbers, 30 steps are allowed."""

    observation_space = Box(-np.inf, np.inf, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place, self.steps = self.np_random.uniform(-1.0, 1.0), 0
        return np.array([self.place], np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place += 0.1 * float(np.clip(action, -1.0, 1.0)[0])
        self.steps += 1
        reached = abs(self.place - GOAL) < 0.05
        late = not reached and self.steps >= 30
        return np.array([self.place], np.float32), 0.0, reached, late, {"is_success": reached}


LINE = replace(
    TASK,
    id="line",
    observation_size=1,
    action_size=1,
    action_low=np.full(1, -1.0, np.float32),
    action_high=np.full(1, 1.0, np.float32),
    horizon=30,
)


def demonstrate(episodes: int = 5) -> Demonstrations:
    shown = []
    for seed in range(episodes):
        line = Line()
        state, _ = line.reset(seed=1000 + seed)
        states, actions, reached = [state], [], False
        while not reached:
            actions.append(np.clip((GOAL - state) / 0.1, -1.0, 1.0))
            state, _, reached, _, _ = line.step(actions[-1])
            states.append(state)
        shown.append((np.array(states), np.array(actions)))
    return Demonstrations.from_trajectories(shown, "line", 0.1)


def success_after(
    folder: Path, method: type[Method], steps: int, shown: Demonstrations, settings: dict[str, Any]
) -> float:
    """Success rate of the deterministic actions on 50 episodes, after a training of so many environment steps."""
    torch.set_num_threads(1)
    context = PlainContext(Budget(steps, 200), 0, folder, LINE, Line)
    policy = method(make_settings(method, settings)).fit(shown, context)
    assert context.environment_steps == steps
    rng, solved = np.random.default_rng(0), 0
    for seed in range(50):
        line = Line()
        state, _ = line.reset(seed=seed)
        ended = False
        while not ended:
            state, _, reached, late, _ = line.step(policy.act(state[None], True, rng)[0])
            ended = reached or late
        solved += reached
    return solved / 50


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dac", {"warm_start": 0, "cloning": 0.0, "discriminator_first": 100}),
        ("sqil", {}),
        ("iq-learn", {}),
        ("iq-learn", {"targets": "bounded"}),
    ],
)
def test_it_learns_from_nothing_on_a_line(tmp_path: Path, name: str, values: dict[str, Any]) -> None:
    method = resolve(name)
    assert success_after(tmp_path, method, 3_000, demonstrate(), FAST | values) > 0.5
    # The same without the time to learn, so that the task is no foregone conclusion.
    assert success_after(tmp_path, method, 100, demonstrate(), FAST | values) < 0.2


def test_dac_needs_no_actions_without_warm_start_and_cloning(tmp_path: Path) -> None:
    alone = replace(demonstrate(), actions=None)
    values = {"use_actions": False, "warm_start": 0, "cloning": 0.0, "discriminator_first": 100}
    assert not dac.Dac.requires_actions(make_settings(dac.Dac, values))
    success_after(tmp_path, dac.Dac, 800, alone, FAST | values)
    for name, value in (("use_actions", True), ("warm_start", 10), ("cloning", 0.1)):
        with pytest.raises(MethodError, match="action"):
            success_after(tmp_path, dac.Dac, 800, alone, FAST | values | {name: value})


def small_replay() -> Replay:
    """Features are observations times ten; an episode 0, 1, 2, 3 that ended and one 10, 11 that was cut off."""
    replay = Replay(10, 1, 1, "cpu", lambda states: 10.0 * states)
    replay.add(np.arange(4.0)[:, None], np.arange(3.0)[:, None], ended=True)
    replay.add(np.arange(10.0, 12.0)[:, None], np.array([[10.0]]), ended=False)
    return replay


def test_a_batch_holds_the_rest_of_an_episode_and_its_end() -> None:
    batch = small_replay().sample(np.random.default_rng(0), 64, 0, steps=2)
    assert not batch.demonstrated.any() and torch.equal(batch.reached_features, 10.0 * batch.reached)
    assert torch.equal(batch.features[:, 0], 10.0 * batch.states) and torch.equal(batch.actions[:, 0], batch.states)
    assert {int(first) for first in batch.states} == {0, 1, 2, 10}  # no step begins in a last state
    for row, first in enumerate(batch.states[:, 0].tolist()):
        length, reached, ended = {0: (2, 2, 0), 1: (2, 3, 1), 2: (1, 3, 1), 10: (1, 11, 0)}[int(first)]
        assert (batch.length[row], batch.reached[row, 0], batch.ended[row]) == (length, reached, ended)
        assert batch.counted[row].tolist() == [1.0, float(length == 2)]
        assert batch.features[row, -1, 0] == 10.0 * reached


def test_the_last_states_of_own_episodes_are_found_also_after_a_resume() -> None:
    replay, resumed = small_replay(), Replay(10, 1, 1, "cpu", lambda states: 10.0 * states)
    resumed.restore(replay.state())
    for each in (replay, resumed):
        assert {*each.own_finals(np.random.default_rng(0), 32)[:, 0].tolist()} == {30.0, 110.0}
        assert each.steps == 4 and each.own_episodes == 2
        batch = each.sample(np.random.default_rng(0), 64, 0, steps=1)
        assert {int(reached) for reached in batch.reached[batch.ended]} == {3}


def test_demonstrations_with_gaps_are_refused(tmp_path: Path) -> None:
    thinned = demonstrate().subset(every=3)
    context = PlainContext(Budget(100, 10), 0, tmp_path, LINE, Line)
    with pytest.raises(MethodError, match="every=1"):
        sqil.Sqil().fit(thinned, context)


def test_sqil_targets_are_those_of_rewards_one_and_zero(tmp_path: Path) -> None:
    context = PlainContext(Budget(100, 10), 0, tmp_path, LINE, Line)
    settings = make_settings(sqil.Sqil, FAST | {"n_steps": 3})
    training = sqil._Training(settings, demonstrate(), context, use_actions=True)
    training.replay.add(np.array([[0.0], [0.1], [0.2]]), np.zeros((2, 1)), ended=True)
    batch = training.replay.sample(np.random.default_rng(0), 32, 32, settings.n_steps)
    # Rewards are averaged by the learner, so divided by 1 - gamma here. Where all critics say q, a target lies a share
    # gamma^m from the label towards q, and an end's is the label.
    label = batch.demonstrated.float() / (1.0 - settings.gamma)
    assert torch.allclose(training.rewards(batch)[:, 0], label)
    q = 0.3
    with torch.no_grad():
        for critics in (training.critics, training.targets):
            critics.weights[-1].zero_()
            critics.biases[-1].fill_(q)
    kept = settings.gamma**batch.length
    target = (1.0 - kept) * label + kept * q
    expected = 2.0 * ((q - target).square() + batch.ended * (q - label).square()).mean()
    assert float(training.critic_loss(batch).detach()) == pytest.approx(float(expected), rel=1e-4)


def test_sqil_values_an_own_success_like_a_demonstrated_one_and_above_leaving(tmp_path: Path) -> None:
    training = prepared(tmp_path, sqil._Training, sqil.Sqil)
    success = np.linspace(0.1, 0.5, 5)[:, None]
    for states, action in ((success, 1.0), (np.linspace(-1.0, -1.5, 6)[:, None], -1.0)):
        for _ in range(4):
            training.replay.add(states, np.full((len(states) - 1, 1), action), ended=True)
    for _ in range(1000):
        training.update()
    features = torch.from_numpy(training.features.encode(np.array([[0.5], [-1.5]], np.float32)))
    with torch.no_grad():
        succeeded, left = training.critics(training.features.of_ends(features)).mean(0).tolist()
        pairs = training.features.of_pairs(
            torch.from_numpy(training.features.encode(np.array([[0.4], [0.4]], np.float32))),
            torch.tensor([[1.0], [-1.0]]),
        )
        last_step, back = training.critics(pairs).mean(0).tolist()
    highest = training.value_bounds[1]
    assert succeeded > 0.3 * highest > 0.2 * highest > left and last_step > back


def test_iq_learn_recovers_the_reward_of_an_enumerable_problem() -> None:
    """With tables, the loss is least where r = 4 alpha (E - P) / (E + P), for E and P the discounted visits of expert
    and policy: the value terms are E's and P's average of (1 - gamma) V(s0), which is P's expected reward."""
    gamma, alpha, states, actions = 0.8, 0.5, 3, 2
    rng = np.random.default_rng(0)
    leads = np.eye(states)[[[1, 2], [2, 0], [0, 1]]]  # [s, a, s'], deterministic
    start = rng.dirichlet(np.ones(states))
    expert, policy = rng.dirichlet(np.ones(actions) * 3, size=(2, states))

    def visits(acting: np.ndarray) -> np.ndarray:
        moves = np.einsum("sa,sat->st", acting, leads)
        return (1 - gamma) * np.linalg.solve(np.eye(states) - gamma * moves.T, start)[:, None] * acting

    shown, own = visits(expert), visits(policy)
    # As the loss takes unweighted samples, every (s, a, s') of each kind is repeated in proportion to its probability.
    count = 40_000
    s, a, t, labels = [], [], [], []
    for weights, label in ((shown, True), (own, False)):
        repeats = np.round(count * weights[:, :, None] * leads).astype(int)
        rows = np.repeat(np.stack(np.unravel_index(np.arange(repeats.size), repeats.shape), 1), repeats.ravel(), axis=0)
        s, a, t = [*s, rows[:, 0]], [*a, rows[:, 1]], [*t, rows[:, 2]]
        labels.append(np.full(len(rows), label))
    state, action, reached, demonstrated = (torch.from_numpy(np.concatenate(part)) for part in (s, a, t, labels))
    table = torch.zeros(states, actions, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        values = (table * torch.from_numpy(policy)).sum(1)
        found = implicit_loss(table[state, action], values[state], values[reached], demonstrated, gamma, alpha, "all")
        found.backward()
        return found

    optimizer.step(loss)
    with torch.no_grad():
        values = (table * torch.from_numpy(policy)).sum(1)
        rewards = table - gamma * torch.from_numpy(leads) @ values
    wanted = 4.0 * alpha * (shown - own) / (shown + own)
    assert np.abs(wanted).max() > 0.1 and np.abs(rewards.numpy() - wanted).max() < 0.005


def test_implicit_loss_by_hand() -> None:
    values, here, there = torch.tensor([2.0, 1.0]), torch.tensor([3.0, 0.5]), torch.tensor([1.0, 2.0])
    shown = torch.tensor([True, False])
    rest = -(2.0 - 0.9) + (1.1**2 + 0.8**2) / 2.0 / 2.0
    for term, paid in (("demonstrated", 0.1 * 3.0), ("all", (2.1 - 1.3) / 2.0)):
        assert float(implicit_loss(values, here, there, shown, 0.9, 0.5, term)) == pytest.approx(rest + paid)


def test_iq_learn_values_demonstrated_steps_above_its_own(tmp_path: Path) -> None:
    training = prepared(tmp_path, iq_learn._Training, iq_learn.IqLearn, action_scale=0.2)
    for _ in range(600):
        training.update()
    means = []
    for own, shown in ((64, 0), (0, 64)):
        batch = training.replay.sample(np.random.default_rng(0), own, shown, 1)
        pairs = training.features.of_pairs(batch.features[:, 0], batch.actions[:, 0])
        means.append(float(training.critics(pairs).detach().mean()))
    limit = 4.0 * training.settings.alpha / (1.0 - training.settings.gamma)  # of rewards that nothing else holds
    assert -limit < means[0] < means[1] < limit


def test_bounded_targets_by_hand() -> None:
    found = bounded_targets(torch.tensor([5.0, 5.0, -10.0, 90.0]), torch.tensor([True, False, False, False]), 0.9, 1.0)
    assert torch.allclose(found, torch.tensor([10.0, 3.5, -10.0, 10.0]))


def test_twin_critics_are_two_independent_networks() -> None:
    torch.manual_seed(0)
    critics, inputs = TwinCritics(3, (8, 8)), torch.randn(5, 3)
    found = critics(inputs)
    for twin in range(2):
        values = inputs
        for i in range(2):
            linear = values @ critics.weights[i][twin] + critics.biases[i][twin]
            values = torch.relu(torch.nn.functional.layer_norm(linear, (8,)))
        last = values @ critics.weights[2][twin] + critics.biases[2][twin]
        assert torch.allclose(found[twin], last[:, 0], atol=1e-5)


def test_rewards_of_dac_come_from_the_present_discriminator(tmp_path: Path) -> None:
    context = PlainContext(Budget(100, 10), 0, tmp_path, LINE, Line)
    training = dac._Training(make_settings(dac.Dac, FAST), demonstrate(), context, use_actions=True)
    batch = training.replay.sample(np.random.default_rng(0), 0, 16, 5)
    with torch.no_grad():
        for value, paid in ((0.7, 0.7), (50.0, 5.0), (-50.0, -5.0)):
            training.discriminator[-1].weight.zero_()
            training.discriminator[-1].bias.fill_(value)
            for found in (training.rewards(batch), training.end_values(batch)):
                assert torch.allclose(found, torch.full_like(found, paid))


def test_noise_of_values_near_zero_does_not_move_the_policy_of_dac_with_a_floor(tmp_path: Path) -> None:
    moved = {}
    for floor in (0.0, 0.2):
        training = prepared(tmp_path, dac._Training, dac.Dac, value_floor=floor, cloning=0.0, anchor=1.0, warm_start=10)
        with torch.no_grad():  # values of about a thousandth of the largest reward
            for parameter in (training.critics.weights[-1], training.critics.biases[-1]):
                parameter.mul_(0.01)
        batch = training.replay.sample(training.rng, 32, 32, 5)
        for _ in range(200):
            training._update_actor(batch)
        with torch.no_grad():
            moved[floor] = float((training.network(batch.states)[0] - training.start(batch.states)[0]).abs().mean())
    assert moved[0.2] < 0.5 * moved[0.0]


def prepared(folder: Path, training: type[Any], method: type[Method], **values: Any) -> Any:
    """A training on the line with an own episode in the replay buffer, before any update."""
    settings = make_settings(method, FAST | {"actor_delay": 0} | values)
    learner = training(settings, demonstrate(), PlainContext(Budget(100, 10), 0, folder, LINE, Line), use_actions=True)
    learner.replay.add(np.linspace(-1.0, -0.5, 9)[:, None], np.full((8, 1), -0.5), ended=False)
    return learner


def test_what_is_returned_is_a_running_average_of_the_policy(tmp_path: Path) -> None:
    training = prepared(tmp_path, sqil._Training, sqil.Sqil)
    before = training.network.mean.weight.clone()
    for _ in range(2):  # the policy is updated with every second update of the critics
        training.update()
    after, rate = training.network.mean.weight, training.settings.target_rate
    assert training.policy.network is training.average and not torch.equal(before, after)
    assert torch.allclose(training.average.mean.weight, torch.lerp(before, after, rate), atol=1e-7)


def test_the_anchor_keeps_the_policy_near_the_cloned_one(tmp_path: Path) -> None:
    moved = {}
    for anchor, start in ((0.0, 10), (10.0, 10), (10.0, 0)):
        training = prepared(tmp_path, sqil._Training, sqil.Sqil, anchor=anchor, warm_start=start)
        for _ in range(100):
            training.update()
        states = torch.linspace(-1.0, 1.0, 21)[:, None]
        with torch.no_grad():
            moved[anchor, start] = float((training.network(states)[0] - training.start(states)[0]).abs().mean())
    assert moved[10.0, 10] < 0.2 * moved[0.0, 10]
    assert moved[10.0, 0] > 0.5 * moved[0.0, 10]  # nothing was cloned, so nothing is held


def test_the_gradient_penalty_bounds_the_slope_of_the_discriminator(tmp_path: Path) -> None:
    slopes = {}
    for penalty in (0.0, 10.0):
        training = prepared(
            tmp_path, dac._Training, dac.Dac, gradient_penalty=penalty, discriminator_learning_rate=5e-3
        )
        for _ in range(300):
            training._update_discriminator()
        shown, own = training._shown_steps(), training._own_steps()
        between = torch.lerp(own, shown, torch.linspace(0.0, 1.0, len(own))[:, None]).requires_grad_(True)
        (slope,) = torch.autograd.grad(training.discriminator(between).sum(), between)
        slopes[penalty] = slope.norm(dim=1)
        assert training._clipped(shown).mean() > 0.0 > training._clipped(own).mean()
    assert (slopes[10.0] - 1.0).abs().mean() < 0.25 < (slopes[0.0] - 1.0).abs().mean()


def test_from_states_the_discriminator_sees_the_state_that_a_step_leads_to(tmp_path: Path) -> None:
    training = prepared(tmp_path, dac._Training, dac.Dac, use_actions=False)
    batch = training.replay.sample(np.random.default_rng(0), 4, 4, 2)
    assert torch.equal(training._seen_of_steps(batch), batch.features[:, 1:])
    assert torch.equal(training._seen_of_finals(batch.reached_features), batch.reached_features)


def test_with_actions_the_discriminator_is_told_which_states_are_last(tmp_path: Path) -> None:
    training = prepared(tmp_path, dac._Training, dac.Dac)
    batch = training.replay.sample(np.random.default_rng(0), 4, 4, 2)
    assert not training._seen_of_steps(batch)[..., 1].any()  # the entry after the state, which has one number here
    assert training._seen_of_finals(batch.reached_features)[:, 1].all()


def test_iq_learn_needs_both_kinds_of_steps(tmp_path: Path) -> None:
    context = PlainContext(Budget(100, 10), 0, tmp_path, LINE, Line)
    with pytest.raises(MethodError, match="demonstrated"):
        iq_learn.IqLearn(make_settings(iq_learn.IqLearn, {"demonstrated": 0.001})).fit(demonstrate(), context)


def test_a_mean_beyond_the_action_bounds_returns(tmp_path: Path) -> None:
    training = prepared(tmp_path, sqil._Training, sqil.Sqil)
    with torch.no_grad():
        training.network.mean.bias.fill_(1.5)
    states = torch.linspace(-1.0, -0.5, 9)[:, None]  # those of the replay buffer
    for _ in range(200):
        training.update()
    with torch.no_grad():
        assert training.network(states)[0].max() < 1.1


@pytest.mark.parametrize(("name", "module"), [("sqil", sqil), ("iq-learn", iq_learn)])
def test_the_search_keeps_to_a_cloned_policy_whose_critics_learn_first(name: str, module: Any) -> None:
    start = load_profile("tuning").settings_of(name, "clip")
    assert start["warm_start"] and start["actor_delay"] and start["cloning"] and start["anchor"]
    assert not {"warm_start", "actor_delay"} & module.SEARCH.keys()
    assert all(start[setting] in module.SEARCH[setting]["choices"] for setting in ("cloning", "anchor"))
    assert module.SEARCH["exploration"]["low"] <= start["exploration"] <= module.SEARCH["exploration"]["high"]


def test_steps_taken_before_the_learner_do_not_shorten_its_first_ones(tmp_path: Path) -> None:
    context = PlainContext(Budget(1_000, 10), 0, tmp_path, LINE, Line)
    group = context.make_env_group(4)
    group.reset([0, 1, 2, 3], range(4))
    for _ in range(100):  # as an inference of actions does
        ends = group.step(np.zeros((4, 1), np.float32), range(4))[1]
        if rows := [row for row, end in enumerate(ends) if end]:
            group.reset(rows, rows)
    group.close()
    assert context.environment_steps == 400
    training = sqil._Training(make_settings(sqil.Sqil, FAST), demonstrate(), context, use_actions=True)
    training.run()
    assert training.replay.own_steps + sum(len(actions) for _, actions in training._running) == 600
    assert training.updates == (600 - 400) * 0.4
