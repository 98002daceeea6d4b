"""Minari's datasets with HDF5: FOLDER/data/main_data.hdf5 and FOLDER/data/metadata.json (Minari 0.5)."""

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
    new_folder,
    numbered,
    open_hdf5,
    read_json,
    whole_episodes,
)

VERSION = "0.5.4"


def read(path: Path, keys: Sequence[str] = ()) -> Contents:
    """See `envs.formats`; `path` is the data set's folder."""
    folder = path / "data" if (path / "data").is_dir() else path
    metadata = read_json(folder / "metadata.json")
    if not isinstance(metadata, dict) or metadata.get("data_format", "hdf5") != "hdf5":
        raise FormatError("only Minari's data format 'hdf5' is read; convert it with Minari first")
    budget, trajectories = Budget(), list[tuple[np.ndarray, np.ndarray | None]]()
    with open_hdf5(folder / "main_data.hdf5") as file:
        for episode in numbered(file, "episode"):
            member(episode, "observations")
            trajectories.append((keyed(episode, "observations", keys, budget), matrix(episode, "actions", budget)))
    own = metadata.get(OWN)
    return Contents(trajectories, task=_task(metadata), own=own if isinstance(own, str) else None)


def _task(metadata: dict[str, Any]) -> str | None:
    try:
        task = json.loads(metadata["env_spec"])["id"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return task if isinstance(task, str) else None


def write(demonstrations: Demonstrations, path: Path) -> list[str]:
    """See `envs.formats`; `path` is a new folder."""
    import h5py

    trajectories = whole_episodes(demonstrations, "Minari")
    folder = new_folder(path) / "data"
    folder.mkdir()
    steps = 0
    with h5py.File(folder / "main_data.hdf5", "x") as file:
        for number, (states, actions) in enumerate(trajectories):
            assert actions is not None
            length = len(actions)
            group = file.create_group(f"episode_{number}")
            group.attrs.update({"id": number, "total_steps": length})
            group.create_dataset("observations", data=states)
            group.create_dataset("actions", data=actions)
            group.create_dataset("rewards", data=np.zeros(length))
            group.create_dataset("terminations", data=np.arange(length) == length - 1)
            group.create_dataset("truncations", data=np.zeros(length, bool))
            steps += length
    metadata = {
        "dataset_id": f"{demonstrations.task.lower()}/demonstrations-v0",
        "data_format": "hdf5",
        "minari_version": VERSION,
        "total_episodes": len(trajectories),
        "total_steps": steps,
        "observation_space": _box(demonstrations.observations),
        "action_space": _box(demonstrations.pairs()[1]),
        OWN: described(demonstrations),
    }
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=1))
    return ["rewards were not recorded and are written as 0", "every episode is marked as terminated in its last step"]


def _box(array: np.ndarray) -> str:
    """A space around the data, as Minari writes one; the task's own bounds are not in a demonstration file."""
    low, high = array.min(axis=0).tolist(), array.max(axis=0).tolist()
    return json.dumps({"type": "Box", "dtype": "float32", "shape": [array.shape[1]], "low": low, "high": high})
