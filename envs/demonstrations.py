"""Demonstrations: the dataset that every method learns from, its subsets and its file format."""

from __future__ import annotations

import hashlib
import json
import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import date, time
from enum import Enum
from functools import cached_property
from importlib import resources
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from envs import TASKS
from envs.npz import ArrayFileError, read_arrays

_FORMAT = 1
_LARGEST_NUMBER = 1e9  # no physical quantity in units people use is beyond it, and its square is still a float32
_LONGEST_NAME = 200
_LONGEST_INTEGER = 1024  # bits; Python refuses to read numbers of some thousand digits
_DEEPEST = 50  # levels of lists and tables in `origin`
_DTYPES = {"observations": "<f4", "actions": "<f4", "episode": "<i4", "time_step": "<i4", "terminal": "|b1"}


class DemonstrationError(ValueError):
    """A dataset, a subset of one or a file is invalid."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each observed quantity, [O] float64 each."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, observations: np.ndarray) -> Statistics:
        """Those of observations [N, O]."""
        exact = observations.astype(np.float64)
        return cls(exact.mean(axis=0), exact.std(axis=0))


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """N states of one or more complete episodes; an episode of T actions has T + 1 rows, the last without an action.

    Attributes:
        observations: [N, O] float32, physical units.
        actions: [N, A] float32 in the environment's action space, or None if only states are known. Terminal rows
            contain zeros, whatever the action space, as no action was taken there; `pairs` leaves them out.
        episode: [N] int32, the row's episode: 0, 1, ...
        time_step: [N] int32, the row's step within its episode: 0 ... T.
        terminal: [N] bool, True on the last row of each episode.
        dt: seconds between two steps.
        task: Gymnasium id.
        origin: how the data was made, stored as JSON. NumPy's numbers and arrays, paths, dates, enumerations and
            dataclasses are converted, and keys become text.
        recorded: statistics of these episodes as they were recorded; None if no row of them was left out.

    The arrays are read-only. Raises DemonstrationError if shapes, types or order differ from this, if a number is not
    finite or absurdly large, or if JSON cannot hold `origin`.
    """

    observations: np.ndarray
    actions: np.ndarray | None
    episode: np.ndarray
    time_step: np.ndarray
    terminal: np.ndarray
    dt: float
    task: str
    origin: dict[str, Any]
    recorded: Statistics | None = None

    def __post_init__(self) -> None:
        for name in _DTYPES:
            array = getattr(self, name)
            _check(
                (name == "actions" and array is None)
                or (isinstance(array, np.ndarray) and not isinstance(array, np.matrix | np.ma.MaskedArray)),
                f"{name} is of type {type(array).__name__}: a NumPy array is needed (from_trajectories makes them)",
            )
        rows = len(self.observations) if self.observations.ndim else 0
        for name, array in self._arrays().items():
            wanted = (rows, None) if name in ("observations", "actions") else (rows,)
            _check(
                array.ndim == len(wanted) and len(array) == rows and array.dtype == np.dtype(_DTYPES[name]),
                f"{name} is {array.dtype}{list(array.shape)}: {np.dtype(_DTYPES[name])} with {rows} rows is needed",
            )
            _check(bool(np.isfinite(array).all()), f"{name} holds numbers that are not finite")
            largest = np.abs(array).max(initial=0)
            _check(largest <= _LARGEST_NUMBER, f"{name} reaches {largest:.3g}: SI units and radians are expected")
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)
        _check(self.observations.size > 0, "the data set is empty: at least one episode is needed")
        dt = self.dt[()] if isinstance(self.dt, np.ndarray) and self.dt.ndim == 0 else self.dt
        if isinstance(dt, np.floating):
            dt = float(str(dt))  # 0.1 in single precision means 0.1
        _check(
            isinstance(dt, Real) and not isinstance(dt, bool) and 0 < dt <= _LARGEST_NUMBER,
            f"dt is {self.dt!r:.40}: a positive number of seconds is needed",
        )
        object.__setattr__(self, "dt", int(dt) if isinstance(dt, Integral) else float(dt))
        _check(
            isinstance(self.task, str)
            and self.task.isprintable()
            and 0 < len(self.task) <= _LONGEST_NAME
            and self.task == self.task.strip(),
            f"task is {str(self.task)[:40]!r}: a Gymnasium id is needed",
        )
        object.__setattr__(self, "task", str(self.task))
        _check(isinstance(self.origin, Mapping), f"origin is {type(self.origin).__name__}: a dictionary is needed")
        object.__setattr__(self, "origin", json.loads(json.dumps(_plain(self.origin, "origin"))))
        _check(isinstance(self.origin.get("subsets", []), list), "origin['subsets'] is no list")
        if self.recorded is not None:
            self._check_recorded(self.recorded)
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

    def _check_recorded(self, recorded: Statistics) -> None:
        _check(isinstance(recorded, Statistics), f"recorded is {type(recorded).__name__}: Statistics are needed")
        size = self.observations.shape[1]
        for name, array in (("mean", recorded.mean), ("std", recorded.std)):
            _check(
                array.shape == (size,) and array.dtype == np.float64 and bool(np.isfinite(array).all()),
                f"recorded.{name} is {array.dtype}{list(array.shape)}: {size} finite numbers are needed",
            )
        _check(bool((recorded.std >= 0).all()), "recorded.std holds negative numbers")

    @classmethod
    def from_trajectories(
        cls,
        trajectories: Iterable[tuple[Any, Any]],
        task: str,
        dt: float,
        origin: Mapping[str, Any] | None = None,
    ) -> Demonstrations:
        """Demonstrations from arrays in memory.

        Args:
            trajectories: one pair per episode: observations [T + 1, O] and the actions [T, A] taken in all but the
                last of them, or None where only states are known. Numbers of any type, in the environment's units.
            task: Gymnasium id.
            dt: seconds between two steps.
            origin: how the data was made.

        Raises:
            DemonstrationError: there is no trajectory, one is no pair, has the wrong shape or holds something but
                numbers, or `task`, `dt` or `origin` is invalid.
        """
        states: list[np.ndarray] = []
        taken: list[np.ndarray] = []
        alone = 0
        for number, (observed, acted) in enumerate(_pairs(trajectories)):
            place = f"trajectory {number}"
            states.append(_numbers(observed, f"the observations of {place}"))
            _check(states[-1].size > 0, f"{place} has no observation")
            if acted is None:
                alone += 1
                continue
            rows, size = states[-1].shape[0], np.shape(acted)[-1] if np.size(acted) else 0
            actions = _numbers(acted, f"the actions of {place}") if size else np.zeros((0, 0), np.float32)
            _check(
                len(actions) == rows - 1,
                f"{place} has {rows} observations and {len(actions)} actions: one observation more than actions is "
                "needed, the state after the last action",
            )
            taken.append(actions)
        _check(bool(states), "there is no trajectory: at least one is needed")
        _check(
            alone in (0, len(states)), f"{alone} of {len(states)} trajectories have no actions: all or none must have"
        )
        for name, arrays in (("observations", states), ("actions", [each for each in taken if len(each)])):
            sizes = sorted({each.shape[1] for each in arrays})
            _check(len(sizes) <= 1, f"the trajectories have {name} of {' and '.join(map(str, sizes))} numbers")
        together: np.ndarray | None = None
        if not alone:
            size = max(each.shape[1] for each in taken)
            _check(size > 0, "no trajectory holds an action; pass None for states alone")
            rest = np.zeros((1, size), np.float32)
            together = np.concatenate([part for each in taken for part in (each.reshape(-1, size), rest)])
        lengths = [len(each) for each in states]
        time_step = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        return cls(
            observations=np.concatenate(states),
            actions=together,
            episode=np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
            time_step=time_step,
            terminal=np.append(time_step[1:] == 0, True),
            dt=dt,
            task=task,
            origin={} if origin is None else origin,  # type: ignore[arg-type]  # becomes a dictionary, or is refused
        )

    def trajectories(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Observations [T + 1, O] and actions [T, A] (None for states alone) of each episode."""
        bounds = np.flatnonzero(self.terminal) + 1
        actions = self.actions
        return [
            (self.observations[low:high], None if actions is None else actions[low : high - 1])
            for low, high in zip([0, *bounds[:-1]], bounds, strict=True)
        ]

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of these episodes as they were recorded, including states that this subset leaves out.

        Episodes that are left out do not count: a method that is shown ten demonstrations knows these ten.
        """
        return self.recorded or Statistics.of(self.observations)

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in _DTYPES}
        return {name: array for name, array in arrays.items() if array is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything the data set holds, independent of how a file compresses it."""
        told = [_FORMAT, self.task, self.dt, self.origin, *([] if self.recorded is None else [self._recorded()])]
        content = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name, array in self._arrays().items():
            content.update(f"{name}{array.shape}".encode())
            content.update(np.ascontiguousarray(array, _DTYPES[name]).tobytes())
        return content.hexdigest()

    def _recorded(self) -> dict[str, list[float]]:
        statistics = self.statistics
        return {"mean": statistics.mean.tolist(), "std": statistics.std.tolist()}

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
        episodes: int | Sequence[int] | None = None,
        start: int = 0,
        every: int = 1,
        final_only: bool = False,
        states_alone: bool = False,
        offset: int = 0,
    ) -> Demonstrations:
        """A part of the dataset, with its episodes numbered from 0.

        Args:
            episodes: how many episodes, from episode `start` on; or which ones, in this order; None takes all from
                `start` on.
            start: first episode, where `episodes` is no list.
            every: keep the rows whose `time_step` is `offset` plus a multiple of this, and each episode's last row.
            final_only: keep only each episode's last row, and therefore no actions.
            states_alone: drop the actions.
            offset: less than `every`; 0 keeps initial states.

        Returns:
            the subset, described in `origin["subsets"]`, with the `statistics` of the chosen episodes.
            Where this is a subset with some of the states only, those of all of its episodes remain.

        Raises:
            DemonstrationError: there are no such episodes, or a number is no whole number.
        """
        start, every, offset = _whole("start", start), _whole("every", every), _whole("offset", offset)
        _check(1 <= every < 2**31, f"every is {every}: a whole number from 1 to {2**31 - 1} is needed")
        _check(0 <= offset < every, f"offset is {offset}: with every = {every}, 0 to {every - 1} is allowed")
        chosen, told = self._chosen(episodes, start)
        made = {
            "episodes": told,
            "start": start,
            "every": every,
            "final_only": bool(final_only),
            "states_alone": bool(states_alone),
        }
        if offset:
            made["offset"] = offset
        bounds = np.append(0, np.flatnonzero(self.terminal) + 1)
        rows = np.concatenate([np.arange(bounds[number], bounds[number + 1]) for number in chosen])
        kept = self.terminal[rows] if final_only else (self.time_step[rows] % every == offset) | self.terminal[rows]
        recorded = self.recorded or (None if kept.all() else Statistics.of(self.observations[rows]))
        rows = rows[kept]
        terminal = self.terminal[rows]
        return replace(
            self,
            observations=self.observations[rows],
            actions=None if self.actions is None or final_only or states_alone else self.actions[rows],
            episode=(np.cumsum(terminal) - terminal).astype(np.int32),
            time_step=self.time_step[rows],
            terminal=terminal,
            origin={**self.origin, "subsets": [*self.origin.get("subsets", []), made]},
            recorded=recorded,
        )

    def _chosen(self, episodes: int | Sequence[int] | None, start: int) -> tuple[list[int], int | list[int]]:
        """The episodes that `subset` takes, and how its origin tells of them."""
        last = self.episodes - 1
        if isinstance(episodes, Sequence | np.ndarray) and np.ndim(episodes) == 1:
            chosen = [_whole("an episode", number) for number in episodes]
            _check(start == 0, f"start is {start} beside a list of episodes: give one of the two")
            _check(bool(chosen), "the list of episodes is empty: at least one is needed")
            for number in chosen:
                _check(0 <= number <= last, f"episode {number} is not there: 0 to {last} are")
            double = next((number for number in chosen if chosen.count(number) > 1), None)
            _check(double is None, f"episode {double} is listed twice")
            return chosen, chosen
        _check(0 <= start <= last, f"start is {start}: the data set has episodes 0 to {last}")
        available = last + 1 - start
        count = available if episodes is None else _whole("episodes", episodes)
        _check(
            1 <= count <= available,
            f"episodes = {count} from episode {start} on: 1 to {available} are there; record more or ask for fewer",
        )
        return list(range(start, start + count)), count

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Observations [M, O] and the actions [M, A] taken there. Raises DemonstrationError without actions."""
        if self.actions is None:
            raise DemonstrationError(
                "these demonstrations are states alone: actions are needed, so keep them in the subset"
            )
        return self.observations[~self.terminal], self.actions[~self.terminal]


def save(demonstrations: Demonstrations, path: str | os.PathLike[str]) -> None:
    """Write the dataset, and read it back before it replaces an older file.

    Equal datasets give equal bytes (with the same NumPy and zlib). Raises DemonstrationError.
    """
    header = {
        "format": _FORMAT,
        "task": demonstrations.task,
        "dt": demonstrations.dt,
        "origin": demonstrations.origin,
        "digest": demonstrations.digest,
    }
    if demonstrations.recorded is not None:
        header["recorded"] = demonstrations._recorded()
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8)
    place = Path(os.path.realpath(path))
    partial = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(partial, "wb") as file:  # a path without .npz would be renamed by NumPy
                np.savez_compressed(file, allow_pickle=False, header=text, **demonstrations._arrays())
            load(partial)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise DemonstrationError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def load(path: str | os.PathLike[str]) -> Demonstrations:
    """Read and verify a dataset without executing anything in it. Raises DemonstrationError naming the file."""
    try:
        arrays = read_arrays(path, {"header": "|u1", **_DTYPES})
        header = json.loads(arrays.pop("header").tobytes())
        _check(header["format"] == _FORMAT, f"it has format {header['format']!r:.40}, this version reads {_FORMAT}")
        fields: dict[str, Any] = {"actions": None, **arrays}
        if "recorded" in header:
            mean, std = (np.array(header["recorded"][name], np.float64) for name in ("mean", "std"))
            fields["recorded"] = Statistics(mean, std)
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


def _whole(name: str, number: Any) -> int:
    try:
        if isinstance(number, bool | np.bool_):
            raise TypeError
        return operator.index(number)
    except TypeError:
        raise DemonstrationError(f"{name} is {number!r:.40}: a whole number is needed") from None


def _pairs(trajectories: Any) -> Iterator[tuple[Any, Any]]:
    """Observations and actions of each trajectory."""
    needed = "one pair (observations, actions) per episode is needed"
    try:
        episodes = iter(trajectories)
    except TypeError:
        raise DemonstrationError(f"trajectories is {type(trajectories).__name__}: {needed}") from None
    for number, pair in enumerate(episodes):
        try:
            observed, acted = pair
        except (TypeError, ValueError):
            length = operator.length_hint(pair, -1)
            kind = type(pair).__name__ + (f" of length {length}" if length >= 0 else "")
            raise DemonstrationError(f"trajectory {number} is {kind}: {needed}") from None
        yield observed, acted


def _numbers(values: Any, name: str) -> np.ndarray:
    """Values as a float32 matrix."""
    try:
        _check(not np.ma.is_masked(values), f"{name} hold masked values: numbers are needed")
        array = np.asarray(values)
        _check(array.ndim == 2, f"{name} have the shape {list(array.shape)}: one row per step is needed")
        _check(array.dtype.kind in "fiu", f"{name} are of type {array.dtype}: numbers are needed")
        with np.errstate(over="ignore"):  # an infinite number is refused where the data set is made
            return array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, DemonstrationError):
            raise
        raise DemonstrationError(f"{name} are no array of numbers ({error})") from error


def _plain(value: Any, place: str, depth: int = 0) -> Any:
    """A value in JSON's types; raises DemonstrationError naming its place where there is none."""
    _check(depth < _DEEPEST, f"{place[:_LONGEST_NAME]} is nested more than {_DEEPEST} levels deep, or holds itself")
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        plain: dict[str, Any] = {}
        for key, each in value.items():
            name = _plain(key, f"a key of {place}")
            _check(not isinstance(name, list | dict), f"{place} has the key {key!r:.40}: text or a number is needed")
            name = name if isinstance(name, str) else json.dumps(name)  # as JSON itself does: 2 becomes "2"
            _check(name not in plain, f"{place} has two keys that read {name[:40]!r}")
            plain[name] = _plain(each, f"{place}[{key!r:.40}]", depth + 1)
        return plain
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, PurePath | date | time):  # a datetime is a date
        return value.as_posix() if isinstance(value, PurePath) else value.isoformat()
    if value is None or isinstance(value, str | bool):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, Integral):
        _check(int(value).bit_length() <= _LONGEST_INTEGER, f"{place} is a number of more than {_LONGEST_INTEGER} bits")
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)  # JSON has no infinity
    if isinstance(value, set | frozenset):
        return sorted((_plain(each, place, depth + 1) for each in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_plain(each, f"{place}[{number}]", depth + 1) for number, each in enumerate(value)]
    raise DemonstrationError(
        f"{place[:_LONGEST_NAME]} is of type {type(value).__name__}: text, numbers, lists and dictionaries of these "
        "are possible"
    )
