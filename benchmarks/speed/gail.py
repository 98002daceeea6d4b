"""GAIL compared with unmodified `imitation` and sb3-contrib, at the paper's sizes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import gymnasium
import numpy as np
from imitation.algorithms.adversarial.gail import GAIL
from imitation.rewards.reward_nets import BasicRewardNet
from sb3_contrib import TRPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv
from torch import nn

from benchmarks.speed.timing import Comparison, compare, torch_threads
from envs import PAPER_TASKS
from envs.demonstrations import Demonstrations, load_task
from envs.insertion.base import make_env
from envs.insertion.vector import InsertionVector
from envs.sb3 import GroupVecEnv
from methods.conformance.context import PlainContext
from methods.gail.algorithm import Gail, Settings
from methods.gail.discriminator import DemonstratedBatches
from methods.interface import Budget
from methods.policy import HIDDEN
from methods.sb3_policy import quiet_logger
from methods.task_boundary import describe_task

STOCK = "imitation and sb3-contrib"
PAPER = Settings()
"""16 environments, 256 steps in each, three iterations of TRPO to an update of the discriminator."""


def measure(settings: Settings = PAPER, rounds: int = 3) -> Iterator[Comparison]:
    """Both tasks: a round of GAIL, from nothing to an updated discriminator, on ten demonstrations.

    The peer has the same environments, demonstrations, batches, numbers of updates and sizes of networks. It differs
    where ours is meant to: it steps single environments, its Fisher products go over all steps, and its sigma does not
    depend on the state. First in one process by the processor time of one core; then by the wall clock with all cores,
    for the networks of both and for the environments of ours, against both ways of the peer to step its own.
    """
    steps = settings.processes * settings.batch_size
    cores = os.cpu_count() or 1
    for name, task in PAPER_TASKS.items():
        demonstrations = load_task(task).subset(episodes=10)
        what = f"GAIL, {settings.actor_steps} iterations of {steps} steps, {name}"
        yield compare(
            what,
            f"{STOCK}, DummyVecEnv",
            partial(_ours, settings, demonstrations, threads=1),
            partial(_stock, settings, demonstrations, DummyVecEnv),
            rounds,
        )
        for vectorise in (DummyVecEnv, SubprocVecEnv):
            with torch_threads(cores):
                found = compare(
                    what,
                    f"{STOCK}, {vectorise.__name__}",
                    partial(_ours, settings, demonstrations, threads=cores),
                    partial(_stock, settings, demonstrations, vectorise),
                    rounds,
                    note=lambda _: f"wall-clock, {cores} cores",
                    clock=perf_counter,
                )
            yield found


def _ours(settings: Settings, demonstrations: Demonstrations, threads: int) -> None:
    task = describe_task(demonstrations.task, demonstrations)
    steps = settings.actor_steps * settings.processes * settings.batch_size
    with TemporaryDirectory() as scratch:
        context = PlainContext(
            Budget(steps, 0),
            0,
            Path(scratch),
            task,
            vector=lambda count: GroupVecEnv(InsertionVector(make_env(task.id), count, threads), range(count)),
        )
        Gail(settings).fit(demonstrations, context)


def _stock(
    settings: Settings, demonstrations: Demonstrations, vectorise: Callable[[list[Callable[[], gymnasium.Env]]], VecEnv]
) -> None:
    s, steps = settings, settings.processes * settings.batch_size
    venv = vectorise([partial(gymnasium.make, demonstrations.task)] * s.processes)
    actions, rng = venv.action_space.shape[0], np.random.default_rng(0)  # type: ignore[index]
    batches: Any = DemonstratedBatches(demonstrations, actions, s.use_actions, s.discriminator_batch, rng)
    generator = TRPO(
        "MlpPolicy",
        venv,
        learning_rate=s.critic_learning_rate,
        n_steps=s.batch_size,
        batch_size=s.critic_batch,
        gamma=s.gamma,
        gae_lambda=s.gae_lambda,
        cg_max_steps=s.cg_steps,
        n_critic_updates=s.critic_passes,
        target_kl=s.kl,
        policy_kwargs={"net_arch": {"pi": [*HIDDEN], "vf": [*s.critic_hidden]}, "activation_fn": nn.Tanh},
        seed=0,
        device="cpu",
    )
    with TemporaryDirectory() as scratch:
        trainer = GAIL(
            demonstrations=batches,
            demo_batch_size=s.discriminator_batch,
            venv=venv,
            gen_algo=generator,
            reward_net=BasicRewardNet(venv.observation_space, venv.action_space, hid_sizes=s.discriminator_hidden),
            disc_opt_kwargs={"lr": s.discriminator_learning_rate},
            log_dir=scratch,
            custom_logger=quiet_logger(Path(scratch)),
            allow_variable_horizon=True,
        )
        for _ in range(s.actor_steps):
            trainer.train_gen(steps)
        trainer.train_disc()
    venv.close()
