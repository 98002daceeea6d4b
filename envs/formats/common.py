"""Parts that the formats share: what was read, limits, and reading files that may be damaged or hostile."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs.demonstrations import DemonstrationError, Demonstrations, Statistics
from envs.npz import read_small

LIMIT = 2**31
"""Most bytes of arrays that are read from one data set."""
MOST_EPISODES = 1_000_000
OWN = "gpril_benchmarks"
"""Name under which a file of ours keeps what the format has no place for."""
TRAJECTORY = tuple[np.ndarray, np.ndarray | None]


class FormatError(DemonstrationError):
    """A data set of another project cannot be read or written; the message says why in one line."""


@dataclass
class Budget:
    """Bytes that may still be read."""

    left: int = LIMIT

    def take(self, size: int) -> None:
        """Raises FormatError where that is too much."""
        self.left -= size
        if self.left < 0:
            raise FormatError(f"it holds more than {LIMIT / 2**20:,.0f} MiB of numbers, the most that is read")


@contextmanager
def limited_memory(most: int = 4 * LIMIT) -> Iterator[None]:
    """Let this process grow by at most so many bytes, because compressed files can unpack to any size (Linux only)."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + most
    limits = [limit for limit in before if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *limits]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass
class Contents:
    """What a data set of another project holds.

    Attributes:
        trajectories: observations [T + 1, O] and actions [T, A] of each episode.
        dt: seconds of a control step, where the format tells.
        task: Gymnasium id, where the format tells.
        own: what `described` wrote, if the file is ours.
        notes: what was lost or had to be assumed, for people.
    """

    trajectories: list[TRAJECTORY]
    dt: float | None = None
    task: str | None = None
    own: str | None = None
    notes: list[str] = field(default_factory=list)

    def demonstrations(self, task: str | None, dt: float | None, origin: dict[str, Any]) -> Demonstrations:
        """The data set; `task` and `dt` given by the user come before those in the file."""
        description = _parsed(self.own) if self.own else {}
        task, dt = task or description.get("task") or self.task, dt or description.get("dt") or self.dt
        if task is None:
            raise FormatError("it does not name its task: give --task, a Gymnasium id")
        if dt is None:
            raise FormatError("it does not say how long a control step takes: give --dt, in seconds")
        if not self.trajectories:
            raise FormatError("it contains no episode")
        for number, (states, actions) in enumerate(self.trajectories):
            _require_finite("observations", number, states)
            _require_finite("actions", number, actions)
        made = Demonstrations.from_trajectories(self.trajectories, task, dt, description.get("origin", origin))
        if "recorded" not in description:
            return made
        mean, std = (np.array(description["recorded"][name], np.float64) for name in ("mean", "std"))
        return replace(made, recorded=Statistics(mean, std))


def _require_finite(what: str, episode: int, array: np.ndarray | None) -> None:
    if array is not None and array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise FormatError(
            f"{what}{list(place)} of episode {episode} is not finite ({array[place]}): correct it, or leave it out"
        )


def described(demonstrations: Demonstrations) -> str:
    """What formats have no place for, as JSON: task, control period, origin, and statistics of the recording."""
    entries: dict[str, Any] = {"task": demonstrations.task, "dt": demonstrations.dt, "origin": demonstrations.origin}
    if (recorded := demonstrations.recorded) is not None:
        entries["recorded"] = {"mean": recorded.mean.tolist(), "std": recorded.std.tolist()}
    return json.dumps(entries, sort_keys=True)


def _parsed(text: str) -> dict[str, Any]:
    description = json.loads(text)
    if not isinstance(description, dict) or not isinstance(description.get("origin", {}), dict):
        raise FormatError(f"its note {OWN!r} is damaged")
    return description


def whole_episodes(demonstrations: Demonstrations, format: str, actions: bool = True) -> list[TRAJECTORY]:
    """The episodes, for a format that numbers no steps and, if `actions`, has no data sets without actions."""
    trajectories = demonstrations.trajectories()
    whole = np.concatenate([np.arange(len(states)) for states, _ in trajectories])
    if not np.array_equal(demonstrations.time_step, whole):
        raise FormatError(f"{format} can hold only whole episodes, and this is a subset of their states")
    if actions and demonstrations.actions is None:
        raise FormatError(f"{format} cannot hold demonstrations without actions; export these as plain arrays")
    return trajectories


def read_json(path: Path) -> Any:
    """A small JSON file; raises FormatError."""
    try:
        return json.loads(read_small(path))
    except FileNotFoundError:
        raise FormatError(f"it has no {path.name}: it is damaged, or of another format") from None
    except NotADirectoryError:
        raise FormatError("it is a file, and this format is a folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path.name} is damaged ({type(error).__name__})") from error


def require_file(path: Path) -> None:
    """Refuse anything but a regular file of a size that is read."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise FormatError(f"{path.name}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"{path.name} is not a file")
    if found.st_size > LIMIT:
        raise FormatError(f"{path.name} is larger than {LIMIT / 2**20:,.0f} MiB, the most that is read")


def new_folder(path: Path) -> Path:
    """Make the folder of a data set; raises FormatError where something is there already."""
    try:
        path.mkdir()
    except FileExistsError:
        raise FormatError(f"{path}: it exists already; choose a new folder") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return path


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file to read; what is wrong with it becomes a FormatError."""
    import h5py

    require_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path.name} is damaged, or not such an HDF5 file ({type(error).__name__})") from error


def member(group: Any, name: str) -> Any:
    """A group or data set inside a group; links that lead elsewhere are refused."""
    import h5py

    link = group.get(name, getlink=True)
    if link is None:
        raise FormatError(f"{group.name} has no {name!r}; it has {', '.join(list(group)[:20]) or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise FormatError(f"{group.name}/{name} is a link to another place, which is not followed")
    return group[name]


def numbered(group: Any, prefix: str) -> list[Any]:
    """The members `prefix_0`, `prefix_1`, ... of a group, in the order of their numbers."""
    if len(group) > MOST_EPISODES:
        raise FormatError(f"{group.name} has more than {MOST_EPISODES:,} members")
    found = [(int(match[1]), name) for name in group if (match := re.fullmatch(rf"{prefix}_(\d{{1,9}})", name))]
    return [member(group, name) for _, name in sorted(found)]


def matrix(group: Any, name: str, budget: Budget) -> np.ndarray:
    """A numerical data set [T, ...] as a matrix [T, size]; a group of such is joined in the order of its names."""
    import h5py

    found = member(group, name)
    if isinstance(found, h5py.Group):
        return joined([matrix(found, each, budget) for each in sorted(found)], f"{group.name}/{name}")
    place = f"{group.name}/{name}"
    if found.dtype.kind not in "fiub" or not 1 <= found.ndim <= 2:
        raise FormatError(f"{place} is {found.dtype}{list(found.shape)}: numbers, one row per step, are needed")
    if found.is_virtual or found.external:
        raise FormatError(f"{place} lies in another file, which is not read")
    largest_chunk = int(np.prod(found.chunks, dtype=object)) if found.chunks else 0
    budget.take(max(int(np.prod(found.shape, dtype=object)), largest_chunk) * found.dtype.itemsize)
    return np.asarray(found[()]).reshape(found.shape[0], -1)


def joined(parts: Sequence[np.ndarray], place: str) -> np.ndarray:
    """Matrices [T, ...] side by side; raises FormatError where they differ in length."""
    if not parts:
        raise FormatError(f"{place} holds nothing")
    if len({len(part) for part in parts}) > 1:
        raise FormatError(f"{place}: its parts have {', '.join(str(len(part)) for part in parts)} rows")
    return np.concatenate(parts, axis=1)


def keyed(group: Any, name: str, keys: Sequence[str], budget: Budget) -> np.ndarray:
    """Observations [T, O]: a data set, or those of a group that `keys` names, in that order; all if empty."""
    return (
        joined([matrix(member(group, name), key, budget) for key in keys], name)
        if keys
        else matrix(group, name, budget)
    )
