"""Each effect of the physical tasks does what it says, alone; without any, they are the peg task to the last bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import InsertionEnv, make_env
from envs.insertion.peg import PegInsertionEnv, PegParameters
from envs.insertion.physical import PhysicalParameters, PhysicalPegInsertionFixedEnv
from envs.insertion.vector import InsertionVector
from methods.checkpointing import pack, unpack

both = pytest.mark.parametrize("task", ["physical-fixed", "physical-varying"])
IDEAL = PhysicalParameters().ideal()
MOVE = np.array([0.2, -0.1, 0.2, 0.1, -0.2, 0.1, 0.4])


def physical(**effects: float) -> PhysicalPegInsertionFixedEnv:
    """The task with these effects alone, in its first episode."""
    env = PhysicalPegInsertionFixedEnv(replace(IDEAL, **effects))
    env.reset(seed=0)
    return env


def expert_episode(env: InsertionEnv, seed: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Observations and infos."""
    observation, info = env.reset(seed=seed)
    expert = Expert(env, ExpertSettings(), np.random.default_rng(seed))
    observations, infos = [observation], [info]
    while not infos[-1]["end_reason"]:
        observation, _, _, _, info = env.step(expert.act())
        observations.append(observation)
        infos.append(info)
    return np.array(observations), infos


def in_contact(push: float = 0.3, wear: float = 0.0, **effects: float) -> PhysicalPegInsertionFixedEnv:
    """The task with these effects alone, the part in the hole and pushed aside until it touches."""
    env = physical(**effects)
    env._set_wear(wear)
    expert = Expert(env, ExpertSettings(noise=0.0), np.random.default_rng(0))
    while env.info()["depth"] < 0.02:
        env.step(expert.act())
    while not env.data.ncon:
        env.step(np.array([push, 0, 0, 0, 0, 0, 0]))
    return env


def angles(observation: np.ndarray) -> np.ndarray:
    """Pan and tilt (rad) that an observation tells [2]."""
    w, _, y, z = observation[-4:].astype(float)
    return 2 * np.array([np.arctan2(z, w), np.arctan2(y, w)])


@pytest.mark.parametrize(("pan", "tilt"), [(0.0, 0.0), (0.1, 0.02)])
def test_without_effects_it_is_the_peg_task(pan: float, tilt: float) -> None:
    env = PhysicalPegInsertionFixedEnv(replace(IDEAL, pan_range=pan, tilt_range=tilt))
    peg = PegInsertionEnv(PegParameters(pan_range=pan, tilt_range=tilt))
    for seed in range(3):
        (seen, infos), (wanted, peg_infos) = expert_episode(env, seed), expert_episode(peg, seed)
        assert np.array_equal(seen, wanted) and infos == peg_infos
        assert np.array_equal(env.get_state()["physics"], peg.get_state()["physics"])
    assert np.array_equal(env.reset()[0], peg.reset()[0]), "and so do episodes that go on with the random numbers"


@both
def test_every_effect_is_on_unless_switched_off(task: str) -> None:
    parameters = make_env(task).parameters
    assert isinstance(parameters, PhysicalParameters)
    off = parameters.ideal()
    changed = {name for name in vars(parameters) if getattr(parameters, name) != getattr(off, name)}
    by_hand = {name for name in changed if getattr(parameters.by_hand(), name) == 0}
    assert by_hand == {"servo_delay", "dry_friction", "payload_error"}
    assert changed - by_hand == {
        *("sensor_latency", "position_noise", "velocity_noise"),
        *("worn_clearance", "worn_friction", "touch_bias", "knock_bias"),
    }
    assert (parameters.pan_range, parameters.tilt_range) == ((0, 0) if task == "physical-fixed" else (0.1, 0.02))


def test_the_socket_stands_still_or_varies() -> None:
    for task, limits in (("physical-fixed", (0.0, 0.0)), ("physical-varying", (0.1, 0.02))):
        env = make_env(task)
        seen = np.abs([angles(env.reset(seed=seed)[0]) for seed in range(40)]).max(axis=0)
        assert (seen <= np.add(limits, 1e-6)).all() and (seen >= 0.8 * np.array(limits)).all()


def test_servo_delay_lets_the_last_action_go_on() -> None:
    late, prompt = physical(servo_delay=0.04), physical()
    prompt._substeps = 15  # the rest of the control period
    for env in (late, prompt):
        env.reset(seed=0)
        env.step(MOVE)
    assert late.data.qpos == pytest.approx(prompt.data.qpos, abs=1e-9), "the arm stood still before"
    late.step(-MOVE)
    assert late.data.ctrl == pytest.approx(-0.5 * MOVE)
    delayed = late.data.qpos.copy()
    late.reset(seed=0)
    late.step(MOVE)
    late.data.ctrl[:] = 0
    late.step(-MOVE)
    assert np.abs(late.data.qpos - delayed).max() > 1e-3, "what was last commanded has moved it"


def test_dry_friction_swallows_small_velocities_and_takes_its_share_of_others() -> None:
    free, dry = physical(), physical(dry_friction=0.02)
    for action, share in ((0.036, 0.0), (0.4, 0.9)):
        for env in (free, dry):
            env.reset(seed=0)
            for _ in range(5):
                env.step(np.full(7, action))
        velocities = dry.data.qvel / free.data.qvel
        assert velocities == pytest.approx(np.full(7, share), abs=0.03)


def test_payload_error_pulls_up_or_down_all_episode_and_is_drawn_for_each() -> None:
    free, loaded = physical(), physical(payload_error=1.0)
    loads, sags = [], []
    for seed in range(8):
        ends = []
        for env in (free, loaded):
            env.reset(seed=seed)
            for _ in range(5):
                env.step(np.zeros(7))
            ends.append(env.tip_position()[2])
        loads.append(-loaded.data.xfrc_applied[loaded._hand, 2])
        sags.append(ends[0] - ends[1])
    assert np.ptp(loads) > 9.81 and np.abs(loads).max() <= 9.81
    assert np.corrcoef(loads, sags)[0, 1] > 0.99 and np.abs(sags).max() > 0.002


def test_sensor_latency_shows_the_arm_as_it_was() -> None:
    late, prompt = physical(sensor_latency=0.04), physical()
    for _ in range(4):
        seen, truth = late.step(MOVE)[0], prompt.step(MOVE)[0]
    assert np.array_equal(late.data.qpos, prompt.data.qpos), "the arm itself is not late"
    way = seen[:7] - truth[:7]
    assert way == pytest.approx(-0.04 * late.data.qvel[:7], rel=0.05, abs=1e-5)
    assert late.kinematic_error(seen[None]) < 1e-6, "joints and tip are of one moment"


def test_noise_of_positions_moves_the_tip_along_and_that_of_velocities_does_not() -> None:
    for effect, spread in (("position_noise", 0.001), ("velocity_noise", 0.03)):
        noisy, free = physical(**{effect: spread}), physical()
        errors = []
        for _ in range(100):
            seen, truth = noisy.step(np.zeros(7))[0], free.step(np.zeros(7))[0]
            errors.append(seen - truth)
            assert noisy.kinematic_error(seen[None]) < 1e-6
        assert np.array_equal(noisy.data.qpos, free.data.qpos)
        noise = np.std(errors, axis=0)
        joints, velocities, tip = noise[:7], noise[7:14], noise[14:17]
        touched, still = (joints, velocities) if effect == "position_noise" else (velocities, joints)
        assert touched == pytest.approx(np.full(7, spread), rel=0.3) and not still.any()
        assert (tip > 1e-4).any() == (effect == "position_noise")


def test_wear_widens_the_hole_and_roughens_it_within_its_range() -> None:
    env = physical(worn_clearance=0.0004, worn_friction=0.2)
    new = physical()
    widths, frictions = [], []
    for seed in range(30):
        env.reset(seed=seed)
        moved = np.abs(env.model.geom_pos[env._sides]) - np.abs(new.model.geom_pos[new._sides])
        away = np.unique(moved.round(12))
        assert len(away) == 2 and away[0] == 0, "sides move by one distance, along one axis; the floor stays"
        widths.append(away[1])
        friction = np.unique(env.model.geom_friction[env._sides, 0])
        assert len(friction) == 1
        frictions.append(friction[0])
    assert 0 <= min(widths) < 0.0001 and 0.0003 < max(widths) <= 0.0004
    assert np.array(frictions) == pytest.approx(0.3 + 0.2 * np.array(widths) / 0.0004)
    assert env.model.geom_friction[:, 0].max() > 0.3 and new.model.geom_friction[:, 0].max() == 0.3


def test_a_worn_hole_is_where_the_collisions_are() -> None:
    """The part goes further aside in a worn hole before it touches the wall."""
    way = [
        abs(env.in_socket_frame(env.tip_position())[1])
        for env in (in_contact(push=0.005, wear=wear, worn_clearance=0.001) for wear in (0.0, 1.0))
    ]
    assert way[1] - way[0] == pytest.approx(0.001, abs=3e-4)


def test_the_pan_tilt_unit_is_right_until_it_is_touched() -> None:
    env = physical(touch_bias=0.03)
    seen, infos = expert_episode(env, 3)
    reported = np.array([angles(observation) for observation in seen])
    wrong = np.abs(reported).max(axis=1) > 1e-6
    first = int(wrong.argmax())
    assert wrong.any() and infos[first]["depth"] > -0.005 and wrong[first:].all()
    assert reported[first:] == pytest.approx(np.tile(env._bias, (len(reported) - first, 1)), abs=1e-5), "for good"
    assert env.socket_rotation() == pytest.approx(np.eye(3), abs=1e-9), "the socket itself has not moved"
    assert np.array_equal(angles(env.reset(seed=4)[0]), [0, 0])


def test_the_bias_at_first_touch_has_the_spread_it_says() -> None:
    env = in_contact(touch_bias=0.03)
    biases = []
    for _ in range(200):
        env._touched = False
        env._disturb_socket()
        biases.append(env._bias)
    assert np.std(biases, axis=0) == pytest.approx([0.03, 0.03], rel=0.15)


def test_hard_contacts_add_to_it_and_soft_ones_do_not() -> None:
    env = in_contact(touch_bias=0.02, knock_bias=0.01)
    before, forces = env._bias, []
    assert before.any()
    while not forces or forces[-1] < env.parameters.hard_contact:
        assert env._bias is before
        env.step(np.array([0.3, 0, 0, 0, 0, 0, 0]))
        forces.append(env.contact_force())
    assert len(forces) > 1 and forces[0] > 0 and not np.array_equal(env._bias, before)


@both
def test_the_same_seed_gives_the_same_episode_whatever_came_before(task: str) -> None:
    fresh, used = make_env(task), make_env(task)
    expert_episode(used, 7)
    wanted, infos = expert_episode(fresh, 5)
    seen, again = expert_episode(used, 5)
    assert np.array_equal(seen, wanted) and infos == again
    assert not np.array_equal(fresh.reset()[0], fresh.reset()[0])


@both
def test_a_state_holds_load_wear_bias_and_random_numbers(task: str) -> None:
    env, other = make_env(task), make_env(task)
    env.reset(seed=1)
    expert = Expert(env, ExpertSettings(), np.random.default_rng(0))
    while not env._touched:
        env.step(expert.act())
    other.reset(seed=2)
    other.set_state(unpack(*pack(env.get_state())))
    for _ in range(30):
        move = np.random.default_rng(0).uniform(-0.1, 0.1, 7)
        assert np.array_equal(env.step(move)[0], other.step(move)[0])
    assert np.array_equal(env.reset()[0], other.reset()[0])
    assert np.array_equal(env.model.geom_pos, other.model.geom_pos)


@both
def test_siblings_have_holes_and_random_numbers_of_their_own(task: str) -> None:
    vector = InsertionVector(make_env(task), 3, threads=2)
    vector.reset([0, 1, 2])
    worn = [environment.model.geom_friction[environment._sides[0], 0] for environment in vector.environments]
    assert len(set(worn)) == 3
    singles = [make_env(task) for _ in range(3)]
    experts = []
    for row, single in enumerate(singles):
        single.reset(seed=row)
        experts.append(Expert(single, ExpertSettings(), np.random.default_rng(row)))
    running = [0, 1, 2]
    while running:
        actions = np.array([experts[row].act() for row in running])
        seen, reasons = vector.step(actions, running)
        for row, action, observation, reason in zip(running, actions, seen, reasons, strict=True):
            wanted, _, _, _, info = singles[row].step(action)
            assert np.array_equal(observation, wanted) and info["end_reason"] == reason
        running = [row for row, reason in zip(running, reasons, strict=True) if not reason]
    vector.close()


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        ({"payload_error": -1.0}, "payload_error -1.0: a finite number of at least 0"),
        ({"touch_bias": float("nan")}, "touch_bias nan: a finite number"),
        ({"servo_delay": 0.06, "sensor_latency": 0.06}, "together at most the control period of 0.1 s"),
    ],
)
def test_impossible_effects_are_refused(effects: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhysicalParameters(**effects)
