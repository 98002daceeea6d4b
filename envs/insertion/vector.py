"""Many insertion environments stepped at once, on one or more threads, with the results of single ones.

MuJoCo frees the interpreter while it simulates, so the threads of one process share that work; observations and
outcomes are a few array operations for all environments together. (`mujoco.rollout` is no faster here, and loses the
solver's warm start from one control step to the next, so its results would differ.)
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space

from envs import TASKS
from envs.insertion.base import InsertionEnv, conclude, make_env
from envs.insertion.errors import ActionError
from envs.insertion.outcome import TERMINAL
from envs.insertion.parameters import JOINTS

AutoresetMode = getattr(gymnasium.vector, "AutoresetMode", None)  # Gymnasium 0.29 has no name for its mode


class InsertionVector:
    """Environments of one task side by side, each in an episode of its own; none is reset by itself.

    Row i does what a single environment does with the same seeds and actions, to the last bit, whatever the other rows
    do and however many threads there are.

    Attributes:
        environments: the single environments; between two calls they may be looked at, stepped and reset as such.
    """

    def __init__(self, first: InsertionEnv, count: int, threads: int = 1) -> None:
        """`first` and its siblings, `count` environments together; raises ValueError for none, or for no thread."""
        for name, number in (("environments", count), ("threads", threads)):
            if number < 1:
                raise ValueError(f"{number} {name}: at least one is needed")
        self.environments: list[InsertionEnv] = [first, *(first.sibling() for _ in range(count - 1))]
        self._helpers = min(threads, count) - 1
        self._pool = ThreadPoolExecutor(self._helpers) if self._helpers else None

    def reset(
        self, seeds: Sequence[int | None], rows: Sequence[int] | None = None, options: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Start episodes in `rows`, in all if None; returns their first observations [k, O] float32.

        seeds: one per row; None continues the row's random numbers. options: see `InsertionEnv.reset`.
        """
        chosen = zip(self._chosen(rows), seeds, strict=True)
        return np.array([environment.reset(seed=seed, options=options)[0] for environment, seed in chosen])

    def step(self, actions: np.ndarray, rows: Sequence[int] | None = None) -> tuple[np.ndarray, list[str]]:
        """Hold an action [k, 7] in each of `rows`, in all if None, for one control period.

        Returns:
            observations [k, O] float32, and why the episodes end now, names of END_REASONS, "" if they do not. Unlike
            a single environment nothing is raised where one is "unstable", for the sake of the others.

        Raises:
            ActionError: the actions are not [k, 7] finite numbers, or an episode has ended; then nothing was done.
        """
        environments = self._chosen(rows)
        for environment in environments:
            environment.check_running()
        actions = np.asarray(actions, dtype=np.float64)
        if actions.shape != (len(environments), JOINTS) or not np.isfinite(actions).all():
            raise ActionError(
                f"actions {actions}: [{len(environments)}, {JOINTS}] finite numbers in [-1, 1] are needed"
            )
        self._advance(environments, np.clip(actions, -1.0, 1.0))
        return conclude(environments)

    def get_state(self) -> list[dict[str, Any]]:
        """The states of all rows, see `InsertionEnv.get_state`."""
        return [environment.get_state() for environment in self.environments]

    def set_state(self, state: list[dict[str, Any]]) -> None:
        """Continue from what `get_state` gave."""
        for environment, own in zip(self.environments, state, strict=True):
            environment.set_state(own)

    def close(self) -> None:
        """End the threads, and close the environments."""
        if self._pool:
            self._pool.shutdown()
        for environment in self.environments:
            environment.close()

    def _chosen(self, rows: Sequence[int] | None) -> list[InsertionEnv]:
        return self.environments if rows is None else [self.environments[row] for row in rows]

    def _advance(self, environments: list[InsertionEnv], actions: np.ndarray) -> None:
        """Every thread takes the next environment until none is left, so that none waits for a slow one."""
        work = iter(list(zip(environments, actions, strict=True)))  # a list's iterator can be shared by threads

        def run() -> None:
            for environment, action in work:
                environment.advance(action)

        helpers = [self._pool.submit(run) for _ in range(self._helpers)] if self._pool else []
        run()
        for helper in helpers:
            helper.result()


class InsertionVectorEnv(gymnasium.vector.VectorEnv):
    """Gymnasium's vector environment over an `InsertionVector`; an episode that ends is followed by the next at once.

    `gymnasium.make_vec("envs:PegInsertion-v0", num_envs=8)` makes one, as does this class itself; both take `threads`
    and the single environment's options. Observations, rewards, ends and infos are those of
    `gymnasium.vector.SyncVectorEnv(..., autoreset_mode=AutoresetMode.SAME_STEP)` over single environments:
    `infos["final_obs"]` and `infos["final_info"]` hold the last observation and info of the episodes that ended.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP} if AutoresetMode else {}
    task: str  # of a subclass

    def __init__(self, num_envs: int, threads: int = 1, max_episode_steps: None = None, **options: Any) -> None:
        """Make `num_envs` environments, stepped by `threads` threads.

        Args:
            num_envs: number of environments.
            threads: number of threads that step them.
            max_episode_steps: None; accepted because `make_vec` may pass it. These environments have their own time
                limit.
            options: those of the single environment, such as `parameters`.

        Raises:
            ValueError: fewer than one environment or thread.
        """
        first = make_env(self.task, **options)
        self.vector = InsertionVector(first, num_envs, threads)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self.closed = False
        self.viewer = None  # where Gymnasium 0.29 closes an environment, it looks for one

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in each environment.

        Args:
            seed: seeds `seed`, `seed + 1`, ... if a number, one per environment if a sequence; None continues each
                environment's random numbers.
            options: see `InsertionEnv.reset`.

        Returns:
            observations [num_envs, O] float32 and the infos as arrays.
        """
        seeds = range(seed, seed + self.num_envs) if isinstance(seed, int) else seed or [None] * self.num_envs
        return self.vector.reset(seeds, options=options), self._stacked(self._infos())

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Hold an action [num_envs, 7] for one control period, and start the next episode where one ends.

        Returns:
            observations [num_envs, O] float32, rewards [num_envs], terminated [num_envs], truncated [num_envs], infos.

        Raises:
            ActionError: the actions are not finite or have another shape.
            SimulationUnstable: a simulation diverged.
        """
        environments = self.vector.environments
        observations, reasons = self.vector.step(actions)
        ended = [row for row, reason in enumerate(reasons) if reason]
        infos: dict[str, Any] = {}
        if ended:
            for row in ended:
                environments[row].check_stable()
            final_obs = np.full(self.num_envs, None, object)
            for row in ended:
                final_obs[row] = observations[row].copy()
            mask = np.isin(np.arange(self.num_envs), ended)
            final_info = self._stacked({row: environments[row].info() for row in ended})
            infos = {"final_obs": final_obs, "_final_obs": mask, "final_info": final_info, "_final_info": mask.copy()}
            observations[ended] = self.vector.reset([None] * len(ended), ended)
        infos |= self._stacked(self._infos())
        rewards = np.array([float(reason == "success") for reason in reasons])
        terminated = np.array([reason in TERMINAL for reason in reasons])
        return observations, rewards, terminated, np.array([reason == "timeout" for reason in reasons]), infos

    def close_extras(self, **_: Any) -> None:
        """End the threads, and close the environments."""
        self.vector.close()

    def _infos(self) -> dict[int, dict[str, Any]]:
        return {row: environment.info() for row, environment in enumerate(self.vector.environments)}

    def _stacked(self, infos: dict[int, dict[str, Any]]) -> dict[str, Any]:
        """Infos of some rows as arrays [num_envs], each with Gymnasium's mask `_name` of the rows that have one."""
        stacked: dict[str, Any] = {}
        for row, info in infos.items():
            for name, value in info.items():
                if name not in stacked:
                    text = isinstance(value, str)
                    stacked[name] = np.full(self.num_envs, None if text else 0, object if text else type(value))
                    stacked[f"_{name}"] = np.zeros(self.num_envs, bool)
                stacked[name][row], stacked[f"_{name}"][row] = value, True
        return stacked


class ClipInsertionVectorEnv(InsertionVectorEnv):
    """Many of ClipInsertion-v0."""

    task = TASKS["clip"]


class PegInsertionVectorEnv(InsertionVectorEnv):
    """Many of PegInsertion-v0."""

    task = TASKS["peg"]
