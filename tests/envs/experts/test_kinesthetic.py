"""Who shows the physical tasks: a teacher by hand, slower than an operator and with pauses, who leaves states alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from envs.demonstrations import load_task
from envs.experts.kinesthetic import Teacher, TeacherSettings, demonstrator
from envs.experts.scripted import Expert, ExpertSettings
from envs.insertion.base import make_env
from envs.insertion.physical import PhysicalParameters

both = pytest.mark.parametrize("task", ["physical-fixed", "physical-varying"])


@both
def test_a_teacher_by_hand_and_an_operator_of_the_arm_succeed(task: str) -> None:
    taught = demonstrator(task)
    teacher = partial(taught.expert, taught.environment(), taught.settings)
    operator = partial(Expert, make_env(task), ExpertSettings())
    for expert in (teacher, operator):
        env, ends = expert.args[0], []
        for episode in range(30):
            _, info = env.reset(seed=50_000 + episode)
            acting = expert(np.random.default_rng(episode))
            while not info["end_reason"]:
                *_, info = env.step(acting.act())
            ends.append(info["end_reason"])
        assert ends.count("success") >= 29


def test_a_teacher_is_slower_and_pauses() -> None:
    def moving(settings: TeacherSettings) -> np.ndarray:
        env = make_env("physical-fixed", parameters=PhysicalParameters().ideal())
        _, info = env.reset(seed=1)
        teacher = Teacher(env, settings, np.random.default_rng(1))
        speeds = []
        while not info["end_reason"]:
            before = env.tip_position()
            *_, info = env.step(teacher.act())
            speeds.append(np.linalg.norm(env.tip_position() - before) / env.dt)
        return np.array(speeds)

    steady = moving(TeacherSettings(noise=0.0, pauses=0.0))
    pausing = moving(TeacherSettings(noise=0.0, pauses=1.0, pause_length=1.0))
    assert steady.max() < 0.030
    assert (steady[:-5] > 0.002).all() and (pausing[:-5] < 0.002).sum() >= 4
    assert len(pausing) > len(steady)


def test_impossible_pauses_are_refused() -> None:
    for name in ("pauses", "pause_length"):
        with pytest.raises(ValueError, match=f"{name} -1.0: a finite number"):
            TeacherSettings(**{name: -1.0})


@both
def test_the_shipped_demonstrations_are_states_alone(task: str) -> None:
    shipped = load_task(task)
    assert shipped.actions is None and shipped.origin["taught"] == "by hand, states alone"
    assert np.median(shipped.lengths) > 1.3 * np.median(load_task("peg").lengths)
