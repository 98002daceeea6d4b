"""The environments keep Gymnasium's contract and the paper's, repeat themselves exactly, and never hide a failure."""

import warnings
from types import SimpleNamespace

import gymnasium
import mujoco.viewer  # noqa: F401  (patched below)
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import envs
from envs.insertion.clip import ClipParameters
from envs.insertion.errors import ActionError, SimulationUnstable
from envs.insertion.outcome import END_REASONS, misses_and_retries
from envs.insertion.peg import PegInsertionEnv, PegParameters

both = pytest.mark.parametrize("task", list(envs.WITH_ACTIONS))
every = pytest.mark.parametrize("task", list(envs.TASKS))
RANGES = {"clip": (0.8, 0.2), "peg": (0.4, 0.1), "clip-hard": (1.4, 0.4), "peg-hard": (0.75, 0.4)}


def make(task, **options):
    return gymnasium.make(envs.TASKS[task], **options).unwrapped


def rollout(env, seed, steps=40):
    """Observations of an episode that presses the tool down with seeded noise, as one array."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    observations = [observation]
    while not info["end_reason"] and len(observations) <= steps:
        action = np.clip([0, 0.7, 0, 0.1, 0, -0.6, 0] + 0.3 * rng.standard_normal(7), -1, 1)
        observation, *_, info = env.step(action)
        observations.append(observation)
    return np.array(observations)


def test_registering_twice_is_harmless():
    envs.register_tasks()
    assert set(envs.TASKS.values()) <= set(gymnasium.registry)


@every
def test_gymnasium_checks_pass(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*infinity.*")  # velocities and forces have no bound worth stating
        warnings.filterwarnings("ignore", ".*not within the observation space.*dtype.*")
        check_env(make(task), skip_render_check=True)


@both
def test_observations_are_what_the_paper_lists(task):
    env = make(task)
    observation, info = env.reset(seed=3)
    assert observation.shape == ((28,) if task.startswith("clip") else (21,)) and observation.dtype == np.float32
    assert np.array_equal(observation[:7], env.data.qpos[:7].astype(np.float32))
    assert np.array_equal(observation[-7:-4], env.tip_position().astype(np.float32))
    assert observation[-4] >= 0 and np.linalg.norm(observation[-4:]) == pytest.approx(1)
    assert info == {"is_success": False, "end_reason": "", "time": 0.0, "depth": info["depth"]}
    assert (env.horizon, env.dt, env.parameters.substeps) == (500, 0.1, 25)


@both
def test_start_and_socket_vary_within_the_paper_s_ranges(task):
    env = make(task)
    p = env.parameters
    assert (p.pan_range, p.tilt_range) == RANGES[task]
    tips, angles = [], []
    for seed in range(60):
        observation, _ = env.reset(seed=seed)
        w, x, y, z = observation[-4:].astype(float)
        assert x * w + y * z == pytest.approx(0, abs=1e-6)  # a pan followed by a tilt, no roll
        angles.append([2 * np.arctan2(z, w), 2 * np.arctan2(y, w)])
        tips.append(env.tip_position() - [0.62, 0, 0.12 + p.start_height])
    for extent, limit in ((np.abs(angles).max(0), (p.pan_range, p.tilt_range)), (np.abs(tips).max(0), p.start_offset)):
        assert (extent <= np.array(limit) + 2e-4).all() and (extent > 0.8 * np.array(limit)).all()


def test_reset_can_fix_the_socket():
    env = make("peg")
    observation, _ = env.reset(seed=0, options={"pan": 0.3, "tilt": 0.0})
    assert observation[-4:] == pytest.approx([np.cos(0.15), 0, 0, np.sin(0.15)], abs=1e-6)
    for name, angle in (("height", 1.0), ("pan", float("nan"))):
        with pytest.raises(ValueError, match=f"reset option '{name}'"):
            env.reset(options={name: angle})


def test_the_arm_has_sawyer_s_limits_and_mass():
    model = make("peg").model
    assert model.actuator_forcerange[:, 1].tolist() == [80, 80, 40, 40, 9, 9, 9]
    assert model.jnt_range[:, 1].tolist() == [3.0503, 2.2736, 3.0426, 3.0439, 2.9761, 2.9761, 4.7124]
    links = [model.body(f"right_l{link}").mass[0] for link in range(7)]
    assert links == [5.3213, 4.505, 1.745, 2.5097, 1.1136, 1.5625, 0.3292]
    assert model.body("hand").mass == 0.65


@both
def test_the_arm_follows_the_commanded_velocities(task):
    env = make(task)
    env.reset(seed=0)
    action = np.array([0.2, -0.1, 0.2, 0.1, -0.2, 0.1, 0.4])
    for _ in range(5):
        observation, *_ = env.step(action)
    assert observation[7:14] == pytest.approx(0.5 * action, abs=0.01)


@every
def test_same_seed_and_actions_give_the_same_bits_also_after_other_episodes(task):
    fresh, used = make(task), make(task)
    expected = rollout(fresh, seed=5)
    for seed in (1, 2, 5):
        rollout(used, seed, steps=60)
        used.data.qpos[7:] = 0.2  # bent prongs, say
        used.data.qacc_warmstart[:] = 100.0
    assert np.array_equal(expected, rollout(used, seed=5))
    assert not np.array_equal(expected[0], rollout(used, seed=6)[0])


@every
@pytest.mark.parametrize("action", [np.full(7, np.nan), [np.inf] * 7, np.zeros(6), np.zeros((1, 7))])
def test_bad_actions_are_refused_and_change_nothing(task, action):
    env = make(task)
    env.reset(seed=0)
    before = env.data.time
    with pytest.raises(ActionError, match="7 finite numbers"):
        env.step(action)
    assert env.data.time == before


def test_actions_beyond_the_bounds_count_as_the_bounds():
    inside, outside = make("peg"), make("peg")
    inside.reset(seed=0), outside.reset(seed=0)
    assert np.array_equal(inside.step(np.ones(7))[0], outside.step(np.full(7, 5.0))[0])


def test_steps_outside_an_episode_are_refused():
    env = make("peg")
    with pytest.raises(ActionError, match="has not begun"):
        env.step(np.zeros(7))
    env.reset(seed=0)
    while not env.step(np.full(7, -1.0))[2]:
        pass
    with pytest.raises(ActionError, match=r"has ended \(workspace\)"):
        env.step(np.zeros(7))


@every
def test_an_idle_arm_times_out_by_truncation(task):
    env = make(task)
    env.reset(seed=0)
    for step in range(1, 501):
        _, reward, terminated, truncated, info = env.step(np.zeros(7))
        assert not terminated and reward == 0 and truncated == (step == 500)
    assert info["end_reason"] == "timeout" and info["time"] == pytest.approx(50) and not info["is_success"]


@every
def test_leaving_the_workspace_terminates(task):
    env = make(task)
    env.reset(seed=0)
    info = {"end_reason": ""}
    while not info["end_reason"]:
        _, reward, terminated, truncated, info = env.step([1, 0, 0, 0, 0, 0, 0])
    assert (reward, terminated, truncated, info["end_reason"]) == (0.0, True, False, "workspace")


@every
@pytest.mark.parametrize("poison", ["nan", "huge"])
def test_an_unstable_simulation_is_raised_and_forgotten_by_reset(task, poison, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo logs its warnings into the working folder
    env = make(task)
    expected = rollout(env, seed=4)
    env.reset(seed=0)
    env.data.qvel[3] = np.nan if poison == "nan" else 1e12
    with pytest.raises(SimulationUnstable, match=r"unstable 0\.1 s into the episode") as caught:
        env.step(np.zeros(7))
    assert caught.value.info["end_reason"] == "unstable" and env.warnings()
    with pytest.raises(ActionError, match="unstable"):
        env.step(np.zeros(7))
    assert np.array_equal(expected, rollout(env, seed=4)) and not env.warnings()


@every
def test_random_episodes_end_without_warnings_or_numbers_that_are_not_finite(task):
    env = make(task)
    rng = np.random.default_rng(7)
    reasons = set()
    for episode in range(100):
        observation, info = env.reset(seed=episode)
        drift = rng.uniform(-0.5, 0.5, 7) * (episode % 2)
        while not info["end_reason"]:
            if round(info["time"] / env.dt) % 5 == 0:
                action = np.clip(drift + rng.uniform(-1, 1, 7), -1, 1)
            observation, *_, info = env.step(action)
            assert np.isfinite(observation).all()
        assert not env.warnings()
        reasons.add(info["end_reason"])
    assert reasons <= set(END_REASONS) - {"", "unstable"}


def test_parameters_are_frozen_and_unknown_render_modes_refused():
    for parameters in (ClipParameters(), PegParameters()):
        with pytest.raises(AttributeError):
            parameters.friction = 1.0
    with pytest.raises(ValueError, match="render_mode 'ansi'"):
        PegInsertionEnv(render_mode="ansi")


def test_a_window_is_opened_once_follows_every_step_and_is_closed(monkeypatch):
    calls = []
    window = SimpleNamespace(sync=lambda: calls.append("sync"), close=lambda: calls.append("close"))
    monkeypatch.setattr("mujoco.viewer.launch_passive", lambda *_, **__: calls.append("open") or window)
    monkeypatch.setattr("envs.insertion.viewer.sleep", lambda seconds: None)
    env = make("peg", render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros(7))
    env.close()
    env.close()
    assert calls == ["open", "sync", "sync", "close"]


@both
def test_what_can_only_be_seen_changes_no_bit_of_the_physics(task):
    env, whole = make(task), make(task)
    whole.model = whole._compile(visual=True)
    whole._new_simulation()
    assert env.model.ngeom < whole.model.ngeom and env.model.nmat < whole.model.nmat
    for seed in range(5):
        assert np.array_equal(rollout(env, seed), rollout(whole, seed))
        assert np.array_equal(env.get_state()["physics"], whole.get_state()["physics"])


@every
def test_what_is_shown_is_the_simulation_as_it_is_now(task):
    env, unseen = make(task), make(task)
    rollout(env, 3, steps=8), rollout(unseen, 3, steps=8)
    shown = env._shown()
    assert np.array_equal(shown._data.site_xpos, env.data.site_xpos)
    assert np.array_equal(shown._data.mocap_quat, env.data.mocap_quat)
    assert shown._model.cam("closeup").id >= 0 and shown._model.ngeom > env.model.ngeom
    assert np.array_equal(env.get_state()["physics"], unseen.get_state()["physics"]), "looking changes nothing"
    env.step(np.ones(7))
    assert not np.array_equal(shown._data.qpos, env.data.qpos)
    env.close()


@both
def test_kinematic_error_is_the_distance_between_joints_and_tip(task):
    env, twin = make(task), make(task)
    observations = rollout(env, seed=1)
    assert env.kinematic_error(observations).max() < 1e-6
    moved = observations.copy()
    moved[:, -7:-4] += [0.003, 0, -0.004]
    assert env.kinematic_error(moved) == pytest.approx(np.full(len(moved), 0.005), abs=1e-6)
    moved = observations.copy()
    moved[:, 1] += 0.01  # rad, about half a metre from the tip
    assert (env.kinematic_error(moved) > 2e-3).all()

    env.reset(seed=2)
    twin.reset(seed=2)
    env.kinematic_error(observations)
    env.misses_and_retries(observations)
    for _ in range(3):
        assert np.array_equal(env.step(np.ones(7))[0], twin.step(np.ones(7))[0]), "it disturbs no episode"


@pytest.mark.parametrize(
    ("millimetres", "expected"),
    [
        ([], (0, 0)),
        ([90, 30, 11, 15, 11], (0, 0)),
        ([90, 30, 9, 19, 8, 19, 0], (0, 0)),
        ([90, 9, 21], (1, 0)),
        ([90, 9, 21, 11, 9, 3], (1, 1)),
        ([9, 21, 9, 21], (2, 1)),
        ([5, 25, 5, 25, 5], (2, 2)),
    ],
)
def test_a_part_misses_where_it_leaves_the_mouth_and_retries_where_it_comes_back(millimetres, expected):
    assert misses_and_retries(np.array(millimetres) / 1000, near=0.010) == expected


@every
def test_misses_are_seen_in_observations(task):
    """The tip is put 5 mm above the mouth, into the socket, 25 mm beside it, 25 mm above it, and back."""
    env = make(task)
    env.reset(seed=3)
    for _ in range(3):
        observation, *_ = env.step(np.zeros(7))
    places = np.array([[0, 0, 80], [0, 0, 5], [0, 0, -30], [25, 0, 0], [3, -3, 3], [0, 0, 25], [0, 6, -6]]) / 1000
    observations = np.repeat(observation[None], len(places), axis=0)
    observations[:, -7:-4] = env.data.site_xpos[env._mouth] + places @ env.socket_rotation().T
    counts = [env.misses_and_retries(observations[:n]) for n in range(1, len(places) + 1)]
    assert counts == [(0, 0), (0, 0), (0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]


@both
def test_demonstrations_miss_nothing(task):
    env, demonstrations = make(task), envs.demonstrations.load_task(task)
    assert {env.misses_and_retries(seen) for seen, _ in demonstrations.trajectories()} == {(0, 0)}
