"""The scripted demonstrator succeeds, repeats itself and makes the noise it is told to make."""

import gymnasium
import numpy as np
import pytest

import envs
from envs.experts.scripted import Expert, ExpertSettings

both = pytest.mark.parametrize("task", list(envs.WITH_ACTIONS))
every = pytest.mark.parametrize("task", list(envs.TASKS))


def run(task, episodes, seed=0, **settings):
    """Success and length (s) of each episode, and all actions."""
    env = gymnasium.make(envs.TASKS[task])
    expert = Expert(env.unwrapped, ExpertSettings(**settings), np.random.default_rng(seed))
    successes, lengths, actions = [], [], []
    for episode in range(episodes):
        _, info = env.reset(seed=50_000 + episode)
        expert.reset()
        while not info["end_reason"]:
            actions.append(expert.act())
            *_, info = env.step(actions[-1])
        successes.append(info["is_success"])
        lengths.append(info["time"])
    return np.array(successes), np.array(lengths), np.array(actions)


@every
def test_it_succeeds_in_nearly_all_of_20_episodes(task):
    successes, _, actions = run(task, 20)
    assert successes.mean() >= 0.9
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1


@pytest.mark.science
@every
def test_it_succeeds_in_nearly_all_of_100_episodes(task):
    successes, lengths, actions = run(task, 100)
    assert successes.mean() >= (0.95 if task.endswith("hard") else 0.97)
    longest = 7 if task in envs.WITH_ACTIONS else 20 if task.endswith("hard") else 9
    assert 3 < np.median(lengths) < longest
    assert actions.dtype == np.float32 and np.abs(actions).max() <= 1


@both
def test_noise_makes_episodes_longer_but_second_attempts_save_them(task):
    _, calm, _ = run(task, 20, noise=0.0)
    successes, noisy, _ = run(task, 20, noise=2.0)
    assert successes.mean() >= 0.9 and np.median(noisy) > np.median(calm)


def test_the_same_generator_gives_the_same_actions():
    assert np.array_equal(run("peg", 2)[2], run("peg", 2)[2])
    assert not np.array_equal(run("peg", 1)[2], run("peg", 1, seed=1)[2])


def test_noise_has_the_time_constant_asked_for():
    def correlation(time_constant):
        _, _, actions = run("peg", 10, time_constant=time_constant, lag=0.0, linear_noise=0.01)
        steps = np.diff(actions, axis=0)  # leaves the noise: the intended velocity changes slowly
        return np.mean([np.corrcoef(steps[:-1, joint], steps[1:, joint])[0, 1] for joint in range(7)])

    assert correlation(0.0) < -0.3 < correlation(0.25)


@pytest.mark.parametrize("name", ["noise", "lag", "time_constant"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} .*at least 0"):
        ExpertSettings(**{name: value})
