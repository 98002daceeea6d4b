"""Plain arrays in an .npz file, which anybody can write with `numpy.savez`.

observations [sum of (T + 1), O], actions [sum of T, A] (left out for states only), lengths [episodes]: the number T of
actions of each episode. `gpril_benchmarks`, JSON as bytes, is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.demonstrations import Demonstrations
from envs.formats.common import LIMIT, MOST_EPISODES, OWN, Contents, FormatError, described, whole_episodes
from envs.npz import ArrayFileError, read_arrays


def read(path: Path, keys: Sequence[str] = ()) -> Contents:
    """See `envs.formats`."""
    try:
        arrays = read_arrays(path, None, LIMIT)
    except ArrayFileError as error:
        raise FormatError(str(error)) from error
    for name in ("observations", "lengths"):
        if name not in arrays:
            raise FormatError(f"it has no array {name!r}; it has {', '.join(arrays) or 'none'}")
    lengths, actions = arrays["lengths"], arrays.get("actions")
    if (
        lengths.ndim != 1
        or lengths.dtype.kind not in "iu"
        or not 0 < len(lengths) <= MOST_EPISODES
        or lengths.min() < 0
    ):
        raise FormatError("lengths must hold the number of actions of each episode, whole numbers of at least 0")
    states, total = arrays["observations"], sum(map(int, lengths))
    for name, array, rows in (
        ("observations", states, total + len(lengths)),
        ("actions", actions, total),
    ):
        if array is not None and (array.ndim != 2 or len(array) != rows):
            raise FormatError(
                f"{name} is {list(array.shape)}, but lengths ask for {rows} rows: each counts an episode's actions, T, "
                "and there are T + 1 observations, the last one after the last action"
            )
    trajectories, at = [], 0
    for number, length in enumerate(map(int, lengths)):
        taken = None if actions is None else actions[at : at + length]
        trajectories.append((states[at + number : at + number + length + 1], taken))
        at += length
    own = arrays[OWN].tobytes().decode(errors="replace") if OWN in arrays else None
    return Contents(trajectories, own=own)


def write(demonstrations: Demonstrations, path: Path) -> list[str]:
    """See `envs.formats`."""
    trajectories = whole_episodes(demonstrations, "this layout", actions=False)
    arrays = {
        "observations": demonstrations.observations,
        "lengths": np.array([len(states) - 1 for states, _ in trajectories], np.int64),
        OWN: np.frombuffer(described(demonstrations).encode(), np.uint8),
    }
    if demonstrations.actions is not None:
        arrays["actions"] = demonstrations.actions[~demonstrations.terminal]
    with open(path, "xb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    return []
