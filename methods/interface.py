"""The contract between a learning method and the suite.

A method is a class with a `name`, a frozen `Settings` dataclass and one function, `fit`, which turns demonstrations
into a `Policy`. Everything it needs from the world (environments, seeds, budget, clock) comes through a `FitContext`,
so that the suite can count what each method uses and evaluate all methods in the same way.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    import gymnasium
    from pydantic import ValidationError
    from stable_baselines3.common.vec_env import VecEnv

    from envs.demonstrations import Demonstrations


State = dict[str, Any]
"""Plain data: nested dictionaries and lists of tensors, arrays, numbers, strings and None."""


class MethodError(ValueError):
    """A method was asked for something it cannot do; the message names the value, what is allowed and how to fix it."""


class SettingsError(MethodError):
    """A setting is unknown, of the wrong type, or out of range."""


class BudgetExceeded(MethodError):
    """A method stepped an environment more often than its budget allows."""


class Diverged(RuntimeError):
    """Training produced a non-finite loss, weight or action. The suite records the trial as diverged."""


class Stopped(Exception):
    """The suite asked the method to stop; raised by `FitContext.checkpoint`."""


@dataclass(frozen=True)
class Task:
    """What a method may know about a task.

    Attributes:
        id: Gymnasium id.
        observation_size: O, the length of an observation.
        action_size: A, the length of an action.
        action_low: lowest action, [A] float32: -1, because inside a method actions are fractions of the environment's
            bounds, in demonstrations, environments and policies alike.
        action_high: highest action, [A] float32: 1, whatever the environment's units.
        horizon: longest episode, in control steps.
        dt: seconds between two control steps.
        kinematic_error: forward-kinematics inconsistency [n] (m) of observations [n, O]: the distance between the
            observed tip and the tip implied by the observed joints; None if the task defines none. A diagnostic.
    """

    id: str
    observation_size: int
    action_size: int
    action_low: np.ndarray
    action_high: np.ndarray
    horizon: int
    dt: float
    kinematic_error: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Budget:
    """The budget of a trial.

    Attributes:
        environment_steps: largest number of control steps of interaction, summed over all environments.
        policy_updates: gradient updates of the policy for methods that train it by maximum likelihood (BC, GPRIL).
        expert_queries: largest number of queries to the task's demonstrator.
    """

    environment_steps: int
    policy_updates: int
    expert_queries: int = 0


@dataclass(frozen=True)
class SeedStreams:
    """Independent random streams of one trial, identified by name, so that adding one does not change the others."""

    seed: int

    def integer(self, name: str) -> int:
        """A seed in [0, 2**31) for libraries that take an integer."""
        return int(self.generator(name).integers(2**31))

    def generator(self, name: str) -> np.random.Generator:
        """A NumPy generator that depends on the trial's seed and on `name` alone."""
        words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype=np.uint32)
        return np.random.default_rng([self.seed, *words.tolist()])


Mode = Literal["sampled", "mean"]
"""How a policy acts: by sampling, or deterministically (for a Gaussian policy with its mean action)."""


class Actor(ABC):
    """Acts with a policy in several episodes in parallel, and holds the memory of each episode, one row per episode."""

    @abstractmethod
    def start(self, rows: Sequence[int]) -> None:
        """Reset the memory of these rows, in each of which an episode begins. Called before their first `act`."""

    @abstractmethod
    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        """Choose one action for each of `rows`, and advance their memory by one step.

        Args:
            observations: [k, O] float32, one per row, in the environment's units; must not be changed.
            rows: k different rows, each started before. What happens in one row must not depend on the others.
            deterministic: act without sampling (mode "mean") instead of by sampling (mode "sampled").
            rng: the only source of randomness that may be used.

        Returns:
            actions [k, A] float32, fractions of the task's bounds: -1 is the lowest action, 1 the highest.
        """


class Policy(ABC):
    """A trained policy.

    A policy without memory implements `act`; one with memory (action chunks, recurrent networks, histories) implements
    `actor` instead. Several actors of one policy may be active at once, so neither may store anything in the policy.

    Class attributes:
        modes: which of "sampled" and "mean" the policy has. Tables show a dash for a missing mode.
    """

    modes: ClassVar[tuple[Mode, ...]] = ("sampled", "mean")

    def act(self, observations: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        """Choose actions [n, A] float32 for n unrelated observations [n, O]; see `Actor.act`."""
        raise TypeError(f"{type(self).__name__} remembers the episode, so ask an actor: policy.actor(count)")

    def actor(self, count: int) -> Actor:
        """An actor for `count` parallel episodes, rows 0 to `count - 1`."""
        if type(self).act is Policy.act:
            raise TypeError(f"{type(self).__name__} implements neither act (no memory) nor actor (memory)")
        return _MemorylessActor(self)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the policy into `folder` (created if needed): arrays and JSON only, nothing that can execute."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Policy:
        """Read what `save` wrote; raises MethodError naming the file if it is damaged."""


class _MemorylessActor(Actor):
    """The actor of a policy that implements `act`."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def start(self, rows: Sequence[int]) -> None:
        pass

    def act(
        self, observations: np.ndarray, rows: Sequence[int], deterministic: bool, rng: np.random.Generator
    ) -> np.ndarray:
        return self._policy.act(observations, deterministic, rng)


class Expert(Protocol):
    """The demonstrator of a task, which an interactive method may query."""

    def action(self, environment: gymnasium.Env[np.ndarray, np.ndarray]) -> np.ndarray:
        """The action [A] float32, as a fraction of the bounds, that the demonstrator would take now.

        Args:
            environment: made by this context's `make_env`, its episode running. It is not stepped.

        Raises:
            BudgetExceeded: `Budget.expert_queries` have been made already.
        """


class EnvGroup(Protocol):
    """Parallel environments, each in its own episode, without automatic resets.

    A policy can act in many episodes at once, and all episodes are complete, which a `VecEnv` does not guarantee.
    """

    def reset(self, seeds: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        """Start an episode in each of `rows`, with a seed each; returns first observations [k, O] float32."""

    def step(self, actions: np.ndarray, rows: Sequence[int]) -> tuple[np.ndarray, list[str]]:
        """Take an action [k, A] in each of `rows`, whose episodes must be running.

        Returns:
            observations [k, O] float32, and how each episode ended with this step: "success", "workspace", "timeout",
            the task's own word for another end, or "" while it is running.

        Raises:
            BudgetExceeded: these are more steps than are left.
            Diverged: a simulation became unstable, or an action is not finite.
        """

    def close(self) -> None:
        """Close the environments."""


class FitContext(ABC):
    """The suite's side of a trial, as the method sees it.

    Attributes:
        task: the task's sizes, bounds and clock.
        budget: what may be spent; environments made here raise `BudgetExceeded` beyond it.
        seeds: named random streams; the only randomness a method may use.
        device: torch device, "cpu" or "cuda".
        scratch: an empty folder for this trial, removed afterwards.
        expert: the task's demonstrator; None if it has none or the budget has no queries.
    """

    task: Task
    budget: Budget
    seeds: SeedStreams
    device: str
    scratch: Path
    expert: Expert | None = None

    @property
    @abstractmethod
    def environment_steps(self) -> int:
        """Control steps used so far, over all environments made here."""

    @property
    @abstractmethod
    def episodes(self) -> int:
        """Episodes ended so far, over all environments made here."""

    @property
    def expert_queries(self) -> int:
        """Queries to the demonstrator so far."""
        return 0

    @abstractmethod
    def make_env(self) -> gymnasium.Env[np.ndarray, np.ndarray]:
        """A counted environment, to be stepped in this process only.

        Its reward is the task's success signal; methods must not learn from it.
        """

    @abstractmethod
    def make_vector_env(self, count: int) -> VecEnv:
        """`count` counted environments behind stable-baselines3's `VecEnv` interface."""

    @abstractmethod
    def make_env_group(self, count: int) -> EnvGroup:
        """`count` counted environments for whole episodes in parallel."""

    @abstractmethod
    def report(self, step: int, **scalars: float) -> None:
        """Record diagnostics (losses, likelihoods, ...) at gradient step `step`."""

    @abstractmethod
    def checkpoint(
        self,
        policy: Policy,
        progress: float,
        gradient_steps: int,
        snapshot: Callable[[], State] | None = None,
    ) -> None:
        """Tell the suite how far training has come; cheap, so call it often.

        The suite decides whether to evaluate `policy` now, and whether to save a snapshot. The time and environment
        steps for this are not charged.

        Args:
            policy: the current policy.
            progress: fraction of the training done, in [0, 1].
            gradient_steps: optimiser steps taken so far, summed over all networks of the method.
            snapshot: returns everything that changes during training (weights, optimisers, replay buffers, generators,
                counters), for `resume` in a later process; called only if a snapshot is saved. Without it, a trial
                starts over after an interruption.

        Raises:
            Stopped: the suite wants the method to end here (for example after Ctrl-C); do not catch it.
            Diverged: the policy's actions are not finite.
        """

    @abstractmethod
    def resume(self) -> State | None:
        """The state in the last snapshot if this trial was interrupted; None on a fresh start.

        Call it after everything has been created. It restores all environments created by then, even in the middle of
        an episode, so do not reset them, and the global generators of Python, NumPy and PyTorch.
        """


class Method(ABC):
    """A learning method. Subclass it, decorate it with `methods.registry.register`, and it can be compared.

    A mapping `SEARCH` in its module gives the search space of `benchmarks.tune`, by setting: {"choices": [8, 16]} or
    {"low": 1e-4, "high": 1e-2, "log": True}.

    Class attributes:
        name: its name on the command line and in records.
        display_name: its name in tables and figures, as in papers; empty means `name`.
        Settings: a frozen dataclass; every field has a default and a documented meaning.
        needs_actions: whether it needs demonstrated actions.
        needs_environment: whether it interacts with the task during training.
        needs_expert: whether it queries the task's demonstrator during training.
        policy: the class of what `fit` returns, so that films, `benchmarks.play` and robots can load what was saved;
            None means the shared `methods.policy.GaussianPolicy`.
        summary: one line for `--list`.
        small: settings with which training takes seconds, for `methods.check`; empty if the defaults do.
    """

    name: ClassVar[str]
    display_name: ClassVar[str] = ""
    Settings: ClassVar[type]
    needs_actions: ClassVar[bool] = True
    needs_environment: ClassVar[bool] = True
    needs_expert: ClassVar[bool] = False
    policy: ClassVar[type[Policy] | None] = None
    summary: ClassVar[str] = ""
    small: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **more: Any) -> None:
        """A method derived from another one has a name of its own, and so does not take over its `display_name`."""
        super().__init_subclass__(**more)
        if "name" in vars(cls) and "display_name" not in vars(cls):
            cls.display_name = ""

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings

    @classmethod
    def requires_actions(cls, settings: Any) -> bool:
        """Whether these settings need demonstrated actions; override it if that depends on the settings."""
        return cls.needs_actions

    @abstractmethod
    def fit(self, demonstrations: Demonstrations, context: FitContext) -> Policy:
        """Learn a policy.

        Args:
            demonstrations: what the expert showed.
            context: environments, seeds, budget and clock of this trial.

        Raises:
            MethodError: demonstrations or settings do not suit the method.
            Diverged: training produced something that is not finite.
        """


def make_settings(method: type[Method], values: Mapping[str, Any]) -> Any:
    """Build a method's settings from plain values, refusing unknown names and wrong types.

    Raises:
        SettingsError: naming the setting, what is allowed, and the nearest known name.
    """
    from difflib import get_close_matches

    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    known = [field.name for field in fields(method.Settings)]
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(known) or 'none'}"
            raise SettingsError(f"{method.name} has no setting {key!r}; {hint}")
    try:
        return TypeAdapter(method.Settings).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        # Besides names and positions it holds Pydantic's names of the alternatives of a union, which mean nothing.
        name, *inside = first["loc"] or ("settings",)
        place = ".".join([str(name), *(str(part) for part in inside if isinstance(part, int))])
        raise SettingsError(f"{method.name}.{place} = {first['input']!r}: {reasons(error)}") from None
    except PydanticUserError as error:
        raise SettingsError(
            f"the annotations of {method.name}'s Settings cannot be checked ({str(error).splitlines()[0]}); annotate "
            "fields as numbers, strings, booleans, Literal, or tuples of them"
        ) from None


def reasons(error: ValidationError) -> str:
    """What would be allowed, in words: of the value that is named first, by each alternative of a union."""
    first, *others = error.errors()
    same = [one["msg"] for one in others if one["loc"][:1] == first["loc"][:1] and one["input"] is first["input"]]
    return ", or ".join(dict.fromkeys([first["msg"], *(message.removeprefix("Input ") for message in same)]))
