"""Records episodes of any actor into one file: they are saved one by one, and a later session adds to them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import packages_distributions, version
from inspect import signature
from math import inf, isclose
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from envs.demonstrations import DemonstrationError, Demonstrations, load, save
from envs.insertion.errors import SimulationUnstable
from envs.loading import reason
from envs.tasks import LAST_COUNTS

MADE_BY = "envs.record"
_MODULES = ("gymnasium", "mujoco", "numpy")
_OURS = {"gpril-benchmarks"}
Env = gymnasium.Env[np.ndarray, np.ndarray]


class Actor(Protocol):
    """Who acts: a scripted demonstrator, or anything else that chooses actions.

    Attributes:
        act: gives the next action [A] in the task's own units, of the observation [O] or, if it takes no argument, by
            looking at the environment.
    """

    @property
    def act(self) -> Callable[..., np.ndarray]: ...

    def reset(self) -> None:
        """Forget the last episode; called once the environment has begun another."""


class Recording:
    """Recorded episodes of one task and their file.

    Attributes:
        path: the file, written after each kept episode.
        episodes: number of kept episodes, those of earlier sessions included.
        discarded: number of discarded attempts.
        start_seed: seed of the environment's reset for the present attempt.
    """

    def __init__(self, path: Path, env: Env, task: str, dt: float, seed: int, device: str) -> None:
        """Begin a recording, or continue the one in the file.

        Args:
            path: the .npz file.
            env: an environment of the task.
            task: its Gymnasium id.
            dt: seconds of a control step.
            seed: decides the starts; a continued recording keeps the seed it began with.
            device: who or what acts, as "keyboard"; stored.

        Raises:
            DemonstrationError: the task cannot be recorded, or the file holds something else.
        """
        self.path, self.task, self.dt = path, task, dt
        self._versions = versions(env)
        self._require_flat(env)
        self._trajectories: list[tuple[np.ndarray, np.ndarray | None]] = []
        self._seeds: list[int] = []
        self.discarded = 0
        self._origin: dict[str, Any] = {"made_by": MADE_BY, "device": device, "seed": seed}
        if path.exists():
            self._continue(load(path))
        elif not path.parent.is_dir():
            raise DemonstrationError(f"{path}: there is no folder {path.parent}; create it or choose another place")
        self._attempts = self.episodes + self.discarded
        self.start_seed = 0
        self.next_start()

    def _require_flat(self, env: Env) -> None:
        for name in ("observation", "action"):
            space = getattr(env, f"{name}_space", None)  # a task may forget it
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise DemonstrationError(
                    f"the {name}s of {self.task} are {space}: one-dimensional boxes are needed; wrap the task in "
                    "gymnasium.wrappers.FlattenObservation, say"
                )

    def _continue(self, before: Demonstrations) -> None:
        if before.origin.get("made_by") != MADE_BY or "subsets" in before.origin:
            raise DemonstrationError(f"{self.path}: not a recording made by {MADE_BY}; choose a new file")
        if before.task != self.task or before.dt != self.dt:
            raise DemonstrationError(
                f"{self.path}: holds {before.task} at {before.dt:g} s a step, not {self.task} at {self.dt:g} s; "
                "choose a new file"
            )
        self._trajectories = before.trajectories()
        self._seeds = list(before.origin["reset_seeds"])
        self.discarded = before.origin["failed_attempts"]
        devices = before.origin["device"].split(", ")
        if self._origin["device"] not in devices:
            devices.append(self._origin["device"])
        self._origin |= {"seed": before.origin["seed"], "device": ", ".join(devices)}

    @property
    def episodes(self) -> int:
        return len(self._trajectories)

    def next_start(self) -> None:
        """Choose the start of the next attempt."""
        self.start_seed = int(np.random.default_rng([self._origin["seed"], self._attempts]).integers(2**31))
        self._attempts += 1

    def keep(self, observations: list[np.ndarray], actions: list[np.ndarray]) -> None:
        """Add an episode of T + 1 observations and T actions, write the file, and choose the next start."""
        self._trajectories.append((np.array(observations, np.float32), np.array(actions, np.float32)))
        self._seeds.append(self.start_seed)
        try:
            save(self.demonstrations(), self.path)
        except BaseException:  # so that nobody is told that the file has it
            del self._trajectories[-1], self._seeds[-1]
            raise
        self.next_start()

    def discard(self, same_start: bool = False) -> None:
        """Count a failed attempt; the next one has another start, or the same one."""
        self.discarded += 1
        if not same_start:
            self.next_start()

    def demonstrations(self) -> Demonstrations:
        """All kept episodes. Raises DemonstrationError where there is none."""
        origin = self._origin | {
            "failed_attempts": self.discarded,
            "reset_seeds": self._seeds,
            "versions": self._versions,
            "platform": f"{platform.system()} {platform.machine()}",
        }
        return Demonstrations.from_trajectories(self._trajectories, self.task, self.dt, origin)


def versions(env: Env) -> dict[str, str]:
    """Versions of the libraries that decide what an environment does, those that its class comes from included."""
    modules = {kind.__module__.partition(".")[0] for kind in type(env.unwrapped).__mro__}
    found = packages_distributions()
    return {
        name: version(name)
        for name in sorted({name for module in {*modules, *_MODULES} for name in found.get(module, [])} - _OURS)
    }


@contextmanager
def blamed(what: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What somebody else's code raises becomes a DemonstrationError that names the code, except what is in `but`."""
    try:
        yield
    except but:
        raise
    except Exception as error:
        raise DemonstrationError(f"{what} failed ({reason(error)})") from error


def begin(env: Env, recording: Recording) -> tuple[np.ndarray, dict[str, Any]]:
    """Reset the environment to the start of the next attempt: the observation and the info.

    Raises:
        DemonstrationError: it fails, or gives no such pair.
    """
    with blamed(f"reset() of {recording.task}"):
        observation, info = env.reset(seed=recording.start_seed)
        return _observed(env, observation), dict(info)


def advance(env: Env, action: np.ndarray, recording: Recording) -> tuple[np.ndarray, bool, dict[str, Any]]:
    """Take a step: the observation, whether the episode is over, and the info.

    Raises:
        DemonstrationError: it fails, or does not give what Gymnasium asks for.
        SimulationUnstable: from the insertion tasks.
    """
    with blamed(f"step() of {recording.task}", but=(SimulationUnstable,)):
        observation, _, terminated, truncated, info = env.step(action)
        success = {"is_success": bool(info["is_success"])} if "is_success" in info else {}
        return _observed(env, observation), bool(terminated or truncated), {**info, **success}


def _observed(env: Env, observation: Any) -> np.ndarray:
    """An observation as an array of its own; raises ValueError where it is none of the space's finite numbers."""
    found, shape = np.array(observation), env.observation_space.shape
    if found.shape != shape or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise ValueError(f"{shape[0] if shape else 0} finite numbers are needed as an observation, not {observation}")
    return found


def dt_of(env: Env, task: str, given: float | None = None) -> float:
    """Seconds of a control step: the task's own `dt`, or what was given, or the task's pictures per second.

    Raises:
        DemonstrationError: there is none of these, or one that makes no sense, or one was given that is not the task's.
    """
    own, fps = getattr(env.unwrapped, "dt", None), env.metadata.get("render_fps")
    for name, value, meaning in (("dt", own, "seconds of a control step"), ("render_fps", fps, "pictures per second")):
        if value is not None and not (isinstance(value, Real) and 0 < float(value) < inf):
            raise DemonstrationError(f"{task}: {name} is {value!r}, but it is the {meaning}, a positive number")
    if own is not None and given is not None and not isclose(own, given, rel_tol=1e-6):
        raise DemonstrationError(f"--dt {given:g}: {task} has its own dt, {own} s; leave --dt out, or change the task")
    dt: Any = own or given or (1 / fps if fps else None)
    if dt is None:
        raise DemonstrationError(f"{task} has neither dt (s) nor metadata['render_fps']: give --dt, the control period")
    return float(str(dt)) if isinstance(dt, np.floating) else dt  # 0.1 in single precision means 0.1


def succeeded(info: Mapping[str, Any], task: str) -> bool:
    """Whether an episode that ended succeeded. Raises DemonstrationError where the task does not tell."""
    if "is_success" not in info:
        raise DemonstrationError(
            f"{task} does not set info['is_success'] where an episode ends, so nothing counts as success"
        )
    return bool(info["is_success"])


def record(
    env: Env,
    actor: Actor,
    recording: Recording,
    episodes: int,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Record successful episodes until there are `episodes` of them; failures are discarded and counted.

    Raises:
        DemonstrationError: the actor fails more often than it succeeds, gives impossible actions, or it or the task
            raises something, or the task does not tell whether it succeeded. Episodes kept before are in the file.
    """
    space = env.action_space
    assert isinstance(space, gymnasium.spaces.Box)
    attempts = kept = early = 0
    with blamed("looking at the policy's act()"):
        takes_observation = bool(signature(actor.act).parameters)
    while recording.episodes < episodes:
        if attempts > 20 + 2 * kept:
            raise DemonstrationError(
                f"the policy succeeded in {kept} of {attempts} attempts: too few to record"
                + (f"; in {early} others info['is_success'] was true earlier, but {LAST_COUNTS}" if early else "")
            )
        observation, info = begin(env, recording)
        with blamed("the policy's reset()"):
            actor.reset()
        states, taken, over, seen = [observation], list[np.ndarray](), False, False
        while not over:
            with blamed("the policy's act()"):
                action = np.asarray(actor.act(observation) if takes_observation else actor.act(), np.float32)
            if action.shape != space.shape or not np.isfinite(action).all():
                raise DemonstrationError(f"the policy's action {action}: {space.shape[0]} finite numbers are needed")
            taken.append(np.clip(action, space.low, space.high))
            try:
                observation, over, info = advance(env, taken[-1], recording)
            except SimulationUnstable as error:
                info = error.info
                break
            states.append(observation)
            seen = seen or bool(info.get("is_success"))
        attempts += 1
        if succeeded(info, recording.task):
            recording.keep(states, taken)
            kept += 1
            progress(1)
        else:
            recording.discard()
            early += seen
