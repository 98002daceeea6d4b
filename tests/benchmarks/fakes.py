"""A method that learns in milliseconds, and misbehaves on request."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np

from envs.demonstrations import Demonstrations
from methods.conformance.point_task import TASK as POINT
from methods.interface import FitContext, Method, MethodError, Policy, Stopped
from tests import tiny

METHOD = "tests.benchmarks.fakes:LeastSquares"
PATIENT = "tests.benchmarks.fakes:Patient"
TASK = f"tests.tiny:{tiny.ID}"


class Linear(Policy):
    """Actions are an affine function of observations, with a little noise where they are sampled."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        features = np.column_stack([observations, np.ones(len(observations))])
        actions = features @ self.weights
        if not deterministic:
            actions = actions + 0.1 * rng.standard_normal(actions.shape)
        return np.clip(actions, -1.0, 1.0).astype(np.float32)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.json").write_text(json.dumps(self.weights.tolist()))

    @classmethod
    def load(cls, folder: Path) -> Linear:
        return cls(np.array(json.loads((folder / "weights.json").read_text())))


def _daemon() -> int:
    """A forked child that leaves the session and keeps all pipes of its parent."""
    if child := os.fork():
        return child
    os.setsid()
    time.sleep(600.0)
    os._exit(0)


def _thread() -> int:
    """A thread that keeps the process from ending."""
    threading.Thread(target=time.sleep, args=(600.0,)).start()
    return 0


LEFT_BEHIND: dict[str, Callable[[], int]] = {
    "child": lambda: subprocess.Popen(["sleep", "600"]).pid,
    "escaped child": lambda: subprocess.Popen(["sleep", "600"], start_new_session=True).pid,
    "escaped child of a dead process": lambda: subprocess.Popen(["sleep", "600"], start_new_session=True).pid,
    "daemon": _daemon,
    "thread": _thread,
}
"""What a method may leave behind: each starts it, and returns a process or 0."""


@dataclass(frozen=True)
class Settings:
    """`trouble` is what goes wrong, on the seed `unlucky`; `log` is a file that gets a line for each fit."""

    trouble: str = ""
    unlucky: int = 0
    log: str = ""
    episodes: int = 3
    pause: float = 0.0


class LeastSquares(Method):
    """Least squares on the demonstrated pairs, and a few roll-outs with random actions that teach it nothing."""

    name: ClassVar[str] = "linear"
    policy: ClassVar[type[Policy]] = Linear
    Settings: ClassVar[type] = Settings
    summary: ClassVar[str] = "least squares"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Linear:
        print("the chatter of a library")
        seed = context.seeds.seed
        starts = _count_start(self.settings.log, context)
        observations, actions = demonstrations.pairs()
        features = np.column_stack([observations, np.ones(len(observations))])
        policy = Linear(np.linalg.lstsq(features, actions, rcond=None)[0])
        if seed == self.settings.unlucky:
            self._misbehave(policy, context, starts)
        environment = context.make_env()
        rng = context.seeds.generator("roll-outs")
        for episode in range(1, self.settings.episodes + 1):
            time.sleep(self.settings.pause)
            environment.reset()
            ended = False
            while not ended:
                _, _, terminated, truncated, _ = environment.step(rng.uniform(-1.0, 1.0, context.task.action_size))
                ended = terminated or truncated
            context.report(episode, steps=float(context.environment_steps))
            context.checkpoint(policy, episode / self.settings.episodes, episode)
        policy.weights += 1e-3 * rng.standard_normal(policy.weights.shape)
        return policy

    def _misbehave(self, policy: Linear, context: FitContext, starts: int) -> None:
        trouble = self.settings.trouble
        if trouble == "raise":
            raise RuntimeError("something broke inside the method")
        if trouble == "refuse":
            raise MethodError("these demonstrations are too short; record longer ones")
        if trouble == "action":
            policy.weights[:] = np.nan
        if trouble == "loss":
            context.report(7, loss=float("nan"))
        if trouble in ("training action", "observation", "simulation"):
            self._disturb(context.make_env(), trouble)
        if trouble == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (2**35, 2**35))
            np.ones(2**32)
        if trouble == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if trouble == "exit":
            os._exit(3)
        if trouble == "kill" or (trouble == "kill once" and starts == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "hang":
            context.checkpoint(policy, 0.5, 1)
            time.sleep(600.0)
        if trouble in LEFT_BEHIND:
            child = LEFT_BEHIND[trouble]()
            if child:
                with Path(f"{self.settings.log}.children").open("a") as file:
                    file.write(f"{child}\n")
        if trouble == "escaped child of a dead process":
            os._exit(3)
        if trouble == "overspend":
            environment = context.make_env()
            environment.reset()
            while True:
                if any(environment.step(np.zeros(2))[2:4]):
                    environment.reset()

    def _disturb(self, environment: gymnasium.Env[np.ndarray, np.ndarray], trouble: str) -> None:
        """Something that is not finite, on its way into the environment, out of it, or in its physics."""
        environment.reset()
        assert environment.action_space.shape
        action = np.zeros(environment.action_space.shape)
        inside: Any = environment.unwrapped
        if trouble == "training action":
            action[0] = np.nan
        elif trouble == "observation":
            inside._state[0] = np.nan
        else:
            inside.data.qvel[0] = np.nan
        environment.step(action)


@dataclass(frozen=True)
class PatientSettings:
    """How it can be interrupted.

    Attributes:
        steps, pause: it has so many steps, and waits so many seconds in each.
        log: a file that gets a line for each fit.
        killed_after: in the first start its process is killed after this step; 0 is never.
        gate: a file without which it does not get beyond its third step; it makes "<gate>.reached" there.
        catches: what it does with `Stopped`: "" nothing, "returns" a policy, "raises" another error, "ignores" it.
        offers: whether it offers snapshots.
    """

    steps: int = 6
    pause: float = 0.0
    log: str = ""
    killed_after: int = 0
    gate: str = ""
    catches: str = ""
    offers: bool = True


class Patient(Method):
    """A walk of random steps, which can be interrupted at any of them and be resumed."""

    name: ClassVar[str] = "patient"
    policy: ClassVar[type[Policy]] = Linear
    Settings: ClassVar[type] = PatientSettings
    summary: ClassVar[str] = "can be interrupted"

    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Linear:
        s = self.settings
        starts = _count_start(s.log, context)
        environment, rng, policy, done = (
            context.make_env(),
            context.seeds.generator("walk"),
            Linear(np.zeros((4, 2))),
            0,
        )
        environment.reset()
        if state := context.resume():
            rng.bit_generator.state, policy.weights, done = state["rng"], state["weights"], state["done"]
        while done < s.steps:
            done += 1
            observation, *_ = environment.step(rng.uniform(-1.0, 1.0, 2))
            policy.weights += rng.standard_normal() * np.append(observation, 1.0)[:, None]
            context.report(done, weight=float(policy.weights[0, 0]))
            progress = {"rng": rng.bit_generator.state, "weights": policy.weights, "done": done}
            snapshot = (lambda: progress) if s.offers else None  # noqa: B023
            context.checkpoint(policy, done / s.steps, done, snapshot)
            while done == 3 and s.gate and context.task.id != POINT.id and not Path(s.gate).exists():
                Path(f"{s.gate}.reached").touch()
                time.sleep(0.02)
                try:
                    context.checkpoint(policy, done / s.steps, done, snapshot)
                except Stopped:
                    if s.catches == "returns":
                        return policy
                    if s.catches == "raises":
                        raise RuntimeError("something else") from None
                    if s.catches != "ignores":
                        raise
            time.sleep(s.pause)
            if starts == 1 and done == s.killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
        return policy


def _count_start(log: str, context: FitContext) -> int:
    """Log a fit of this seed, in one write since other processes log as well; returns how many there have been.

    The moment of training by which the runner looks at a method beforehand does not count.
    """
    if not log or context.task.id == POINT.id:
        return 1
    with Path(log).open("a") as file:
        file.write(f"{context.seeds.seed}\n")
    return Path(log).read_text().split().count(str(context.seeds.seed))
