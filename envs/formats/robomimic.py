"""robomimic's HDF5 files: data/demo_i with actions [T, A], obs/KEY [T, ...] and next_obs/KEY [T, ...]."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.demonstrations import Demonstrations
from envs.formats.common import (
    OWN,
    Budget,
    Contents,
    FormatError,
    described,
    keyed,
    matrix,
    member,
    numbered,
    open_hdf5,
    whole_episodes,
)

KEY = "state"
"""Name of the one observation that is written."""


def read(path: Path, keys: Sequence[str] = ()) -> Contents:
    """See `envs.formats`."""
    budget, trajectories, short = Budget(), list[tuple[np.ndarray, np.ndarray | None]](), 0
    with open_hdf5(path) as file:
        data = member(file, "data")
        arguments = _arguments(data.attrs.get("env_args", "{}"))
        own = matrix(file, OWN, budget).tobytes().decode(errors="replace") if OWN in file else None
        for episode in numbered(data, "demo"):
            states, actions = keyed(episode, "obs", keys, budget), matrix(episode, "actions", budget)
            if "next_obs" in episode:
                after = keyed(episode, "next_obs", keys, budget)
                if len(after) != len(states) or not len(after):
                    raise FormatError(f"{episode.name}: next_obs has {len(after)} rows and obs {len(states)}")
                states = np.concatenate([states, after[-1:]])
            else:
                short, actions = short + 1, actions[:-1]
            trajectories.append((states, actions))
    notes = [f"no next_obs in {short} of the episodes, so their last action, whose result is unknown, is left out"]
    kwargs, name = arguments.get("env_kwargs"), arguments.get("env_name")
    frequency = kwargs.get("control_freq") if isinstance(kwargs, dict) else None
    return Contents(
        trajectories,
        dt=1 / frequency if isinstance(frequency, int | float) and frequency > 0 else None,
        task=name if isinstance(name, str) and arguments.get("type") == 2 else None,
        own=own,
        notes=notes if short else [],
    )


def _arguments(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write(demonstrations: Demonstrations, path: Path) -> list[str]:
    """See `envs.formats`; the observation is called "state"."""
    import h5py

    trajectories = whole_episodes(demonstrations, "robomimic")
    with h5py.File(path, "x") as file:
        data = file.create_group("data")
        kwargs = {"control_freq": 1 / demonstrations.dt}
        data.attrs["env_args"] = json.dumps({"env_name": demonstrations.task, "type": 2, "env_kwargs": kwargs})
        file.create_dataset(OWN, data=np.frombuffer(described(demonstrations).encode(), np.uint8))
        data.attrs["total"] = sum(len(states) - 1 for states, _ in trajectories)
        for number, (states, actions) in enumerate(trajectories):
            assert actions is not None
            length = len(actions)
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = length
            group.create_dataset("actions", data=actions)
            group.create_dataset(f"obs/{KEY}", data=states[:-1])
            group.create_dataset(f"next_obs/{KEY}", data=states[1:])
            group.create_dataset("rewards", data=np.zeros(length))
            group.create_dataset("dones", data=(np.arange(length) == length - 1).astype(np.int64))
            group.create_dataset("states", data=states[:-1])
    return [
        "rewards were not recorded and are written as 0",
        "the simulator's states are not known: observations are written in their place",
    ]
