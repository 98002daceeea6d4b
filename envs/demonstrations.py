"""Demonstrations: the data set every method learns from, its subsets and its file format."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from envs import TASKS
from envs.npz import ArrayFileError, read_arrays

_FORMAT = 1
_LARGEST_NUMBER = 1e9  # no physical quantity in units people use is beyond it, and its square is still a float32
_LONGEST_NAME = 200
_DTYPES = {"observations": "<f4", "actions": "<f4", "episode": "<i4", "time_step": "<i4", "terminal": "|b1"}


class DemonstrationError(ValueError):
    """A data set, a subset of one or a file of one is not what it should be."""


@dataclass(frozen=True)
class Demonstrations:
    """N states of one or more complete episodes; an episode of T actions has T + 1 rows, the last without an action.

    observations: [N, O] float32, physical units
    actions:      [N, A] float32 in the environment's action space, or None where only states are known. Rows with
                  `terminal` hold zeros and must not be learnt from.
    episode:      [N] int32, the row's episode: 0, 1, ...
    time_step:    [N] int32, the row's step within its episode: 0 ... T
    terminal:     [N] bool, True on the last row of each episode
    dt:           seconds between two steps
    task:         Gymnasium id
    origin:       how the data was made, in JSON's types

    Raises DemonstrationError where shapes, types or order differ from this, or a number is not finite or absurd.
    """

    observations: np.ndarray
    actions: np.ndarray | None
    episode: np.ndarray
    time_step: np.ndarray
    terminal: np.ndarray
    dt: float
    task: str
    origin: dict[str, Any]

    def __post_init__(self) -> None:
        rows = len(self.observations)
        for name, array in self._arrays().items():
            wanted = (rows, None) if name in ("observations", "actions") else (rows,)
            _check(
                array.ndim == len(wanted) and len(array) == rows and array.dtype == np.dtype(_DTYPES[name]),
                f"{name} is {array.dtype}{list(array.shape)}: {np.dtype(_DTYPES[name])} with {rows} rows is needed",
            )
            _check(bool(np.isfinite(array).all()), f"{name} holds numbers that are not finite")
            largest = np.abs(array).max(initial=0)
            _check(largest <= _LARGEST_NUMBER, f"{name} reaches {largest:.3g}: SI units and radians are expected")
        _check(self.observations.size > 0, "the data set is empty: at least one episode is needed")
        _check(
            isinstance(self.dt, int | float) and 0 < self.dt <= _LARGEST_NUMBER,
            f"dt is {self.dt!r:.40}: a positive number of seconds is needed",
        )
        _check(
            isinstance(self.task, str) and self.task.isprintable() and len(self.task) <= _LONGEST_NAME,
            f"task is {str(self.task)[:40]!r}: a Gymnasium id is needed",
        )
        _check(
            isinstance(self.origin, dict) and isinstance(self.origin.get("subsets", []), list),
            "origin is no table that tells how the data was made",
        )
        steps = np.diff(self.episode)
        ends = np.append(steps == 1, True)
        _check(
            self.episode[0] == 0 and bool(np.isin(steps, (0, 1)).all()),
            "episode must start at 0 and stay or rise by one from row to row",
        )
        _check(
            bool((self.terminal == ends).all()), "terminal must be True on the last row of each episode and only there"
        )
        rising = np.diff(self.time_step)[steps == 0] > 0
        _check(
            self.time_step.min() >= 0 and bool(rising.all()), "time_step must rise within each episode, from 0 or more"
        )
        if self.actions is not None:
            _check(not self.actions[self.terminal].any(), "actions of terminal rows must be zero: none was taken there")

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in _DTYPES}
        return {name: array for name, array in arrays.items() if array is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything the data set holds, independent of how a file compresses it."""
        content = hashlib.sha256(json.dumps([_FORMAT, self.task, self.dt, self.origin], sort_keys=True).encode())
        for name, array in self._arrays().items():
            content.update(f"{name}{array.shape}".encode())
            content.update(np.ascontiguousarray(array, _DTYPES[name]).tobytes())
        return content.hexdigest()

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode[-1]) + 1

    @property
    def lengths(self) -> np.ndarray:
        """Duration of each episode [episodes] in seconds."""
        return np.asarray(self.time_step[self.terminal] * self.dt)

    def subset(
        self,
        episodes: int | None = None,
        start: int = 0,
        every: int = 1,
        final_only: bool = False,
        states_alone: bool = False,
    ) -> Demonstrations:
        """A part of the data set, with its episodes numbered from 0 again.

        episodes:     how many episodes, from episode `start` on; None takes all that follow
        every:        keeps the rows whose `time_step` is a multiple of this, and each episode's last row
        final_only:   keeps each episode's last row alone, and so no actions
        states_alone: drops the actions

        `origin["subsets"]` records it. Raises DemonstrationError.
        """
        _check(every >= 1, f"every is {every}: a whole number of at least 1 is needed")
        _check(
            0 <= start < self.episodes,
            f"start is {start}: the data set has {self.episodes} episodes, so 0 to {self.episodes - 1} is allowed",
        )
        available = self.episodes - start
        count = available if episodes is None else episodes
        _check(
            1 <= count <= available,
            f"{count} episodes from episode {start} on: 1 to {available} are there; record more or ask for fewer",
        )
        chosen = (self.episode >= start) & (self.episode < start + count)
        chosen &= self.terminal if final_only else (self.time_step % every == 0) | self.terminal
        made = {
            "episodes": count,
            "start": start,
            "every": every,
            "final_only": final_only,
            "states_alone": states_alone,
        }
        return replace(
            self,
            observations=self.observations[chosen],
            actions=None if self.actions is None or final_only or states_alone else self.actions[chosen],
            episode=self.episode[chosen] - np.int32(start),
            time_step=self.time_step[chosen],
            terminal=self.terminal[chosen],
            origin={**self.origin, "subsets": [*self.origin.get("subsets", []), made]},
        )

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Observations [M, O] and the actions [M, A] taken there. Raises DemonstrationError for states alone."""
        if self.actions is None:
            raise DemonstrationError(
                "these demonstrations are states alone: actions are needed, so keep them in the subset"
            )
        return self.observations[~self.terminal], self.actions[~self.terminal]


def save(demonstrations: Demonstrations, path: str | os.PathLike[str]) -> None:
    """Writes the data set; equal sets give equal bytes (with the same NumPy and zlib). Raises DemonstrationError."""
    header = {
        "format": _FORMAT,
        "task": demonstrations.task,
        "dt": demonstrations.dt,
        "origin": demonstrations.origin,
        "digest": demonstrations.digest,
    }
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    try:
        with open(path, "wb") as file:  # a path without .npz would be renamed by NumPy
            np.savez_compressed(file, allow_pickle=False, header=text, **demonstrations._arrays())
    except OSError as error:
        raise DemonstrationError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def load(path: str | os.PathLike[str]) -> Demonstrations:
    """Reads and verifies a data set without executing anything in it. Raises DemonstrationError naming the file."""
    try:
        arrays = read_arrays(path, {"header": "|u1", **_DTYPES})
        header = json.loads(arrays.pop("header").tobytes())
        _check(header["format"] == _FORMAT, f"it has format {header['format']!r:.40}, this version reads {_FORMAT}")
        fields: dict[str, Any] = {"actions": None, **arrays}
        demonstrations = Demonstrations(dt=header["dt"], task=header["task"], origin=header["origin"], **fields)
        _check(
            demonstrations.digest == header["digest"],
            "its content does not match its digest: it was damaged or changed",
        )
    except FileNotFoundError as error:
        raise DemonstrationError(f"{path}: no such file") from error
    except OSError as error:
        raise DemonstrationError(f"{path}: cannot be read ({error.strerror})") from error
    except (ArrayFileError, DemonstrationError) as error:
        raise DemonstrationError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DemonstrationError(
            f"{path}: not a demonstration file, or a damaged one ({type(error).__name__})"
        ) from error
    return demonstrations


def load_task(task: str) -> Demonstrations:
    """The demonstrations that ship with a task, named as in `envs.TASKS` or by its Gymnasium id."""
    folder = resources.files("envs") / "data"
    shipped = {name: folder / f"{name}.npz" for name in TASKS if (folder / f"{name}.npz").is_file()}
    shipped |= {TASKS[name]: file for name, file in shipped.items()}
    if task not in shipped:
        raise DemonstrationError(f"no demonstrations ship with task {task!r}: there are some for {', '.join(shipped)}")
    with resources.as_file(shipped[task]) as path:
        return load(Path(path))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise DemonstrationError(message)
