"""LeRobotDataset v3.0 without videos: a folder with meta/ and data/, one row per step, in Parquet.

The format has no place for the state after the last action, which GPRIL learns from. Exported datasets have it as an
extra frame with an action of zeros and `next.done`, and say so in meta/info.json. From other people's datasets the last
action is left out, because its result is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from envs.demonstrations import Demonstrations
from envs.formats.common import (
    OWN,
    Budget,
    Contents,
    FormatError,
    described,
    joined,
    new_folder,
    read_json,
    require_file,
    whole_episodes,
)
from envs.formats.imitation import rows_of

STATE, ACTION = "observation.state", "action"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_ROWS = 20_000
"""Rows of a Parquet file that are unpacked at once."""


def read(path: Path, keys: Sequence[str] = ()) -> Contents:
    """See `envs.formats`; `keys` are the features that make up the observation."""
    import pyarrow as pa

    info = read_json(path / "meta" / "info.json")
    if not isinstance(info, dict) or not str(info.get("codebase_version", "")).startswith("v3"):
        raise FormatError("only LeRobotDataset v3 is read; LeRobot itself converts older datasets")
    files = sorted((path / "data").glob("chunk-*/file-*.parquet"))
    if not files:
        raise FormatError("it has no data/chunk-*/file-*.parquet")
    wanted = [*(keys or [STATE]), ACTION]
    budget, columns = Budget(), {name: list[np.ndarray]() for name in [*wanted, "episode_index", "frame_index"]}
    for file in files:
        try:
            _read_file(file, columns, budget)
        except (pa.ArrowException, OSError, MemoryError) as error:
            raise FormatError(f"{file.name} is damaged, or not a Parquet file ({type(error).__name__})") from error
    states = joined([np.concatenate(columns[name]) for name in wanted[:-1]], STATE)
    actions, episode, frame = (np.concatenate(columns[name]) for name in (ACTION, "episode_index", "frame_index"))
    order = np.lexsort((frame[:, 0], episode[:, 0]))
    states, actions, episode = states[order], actions[order], episode[order, 0]
    bounds = [0, *(np.flatnonzero(np.diff(episode)) + 1), len(episode)]
    parts = [slice(low, high) for low, high in pairwise(bounds)]
    own, fps = info.get(OWN), info.get("fps")
    lost = f"the last action of each episode ({len(parts)} in all), whose result is unknown, is left out"
    return Contents(
        [(states[part], actions[part][:-1]) for part in parts],
        dt=1 / fps if isinstance(fps, int | float) and fps > 0 else None,
        own=own if isinstance(own, str) else None,
        notes=[] if own else [lost],
    )


def _read_file(path: Path, columns: dict[str, list[np.ndarray]], budget: Budget) -> None:
    import pyarrow.parquet as pq

    require_file(path)
    with pq.ParquetFile(path) as file:
        if missing := set(columns) - set(file.schema_arrow.names):
            known = ", ".join(file.schema_arrow.names)
            raise FormatError(f"{path.name} has no {', '.join(sorted(missing))}; it has {known}")
        Budget().take(sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)))
        for batch in file.iter_batches(_ROWS, columns=list(columns)):
            batch.validate(full=True)
            budget.take(batch.nbytes)
            if not len(batch):
                continue
            for name, parts in columns.items():
                parts.append(rows_of(batch.column(name)))
    if not columns[ACTION]:
        raise FormatError(f"{path.name} has no rows")


def write(demonstrations: Demonstrations, path: Path) -> list[str]:
    """See `envs.formats`; `path` is a new folder."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    trajectories = whole_episodes(demonstrations, "LeRobotDataset")
    assert demonstrations.actions is not None
    new_folder(path)
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (path / folder).mkdir(parents=True)
    rows, fps = len(demonstrations.observations), 1 / demonstrations.dt
    fps = round(fps) if np.isclose(fps, round(fps)) else fps
    step, episode = demonstrations.time_step.astype(np.int64), demonstrations.episode.astype(np.int64)
    columns: dict[str, np.ndarray] = {
        STATE: demonstrations.observations,
        ACTION: demonstrations.actions,
        "timestamp": (step / fps).astype(np.float32),
        "frame_index": step,
        "episode_index": episode,
        "index": np.arange(rows, dtype=np.int64),
        "task_index": np.zeros(rows, np.int64),
        "next.done": demonstrations.terminal,
    }
    arrays = [
        pa.array(array.tolist(), pa.list_(pa.float32(), array.shape[1])) if array.ndim == 2 else pa.array(array)
        for array in columns.values()
    ]
    pq.write_table(pa.table(arrays, names=list(columns)), path / DATA.format(chunk_index=0, file_index=0))
    pd.DataFrame({"task_index": [0]}, index=pd.Index([demonstrations.task], name="task")).to_parquet(
        path / "meta" / "tasks.parquet"
    )
    lengths = np.array([len(states) for states, _ in trajectories])
    ends = np.cumsum(lengths)
    zeros = np.zeros(len(lengths), np.int64)
    pd.DataFrame(
        {
            "episode_index": np.arange(len(lengths)),
            "tasks": [[demonstrations.task]] * len(lengths),
            "length": lengths,
            "data/chunk_index": zeros,
            "data/file_index": zeros,
            "dataset_from_index": ends - lengths,
            "dataset_to_index": ends,
            "meta/episodes/chunk_index": zeros,
            "meta/episodes/file_index": zeros,
        }
    ).to_parquet(path / "meta/episodes/chunk-000/file-000.parquet", index=False)
    stats = {}
    for name, array in columns.items():
        table = array.reshape(rows, -1).astype(np.float64)
        each = {"min": table.min(0), "max": table.max(0), "mean": table.mean(0), "std": table.std(0)}
        stats[name] = {key: value.tolist() for key, value in each.items()} | {"count": [rows]}
    (path / "meta" / "stats.json").write_text(json.dumps(stats, indent=1))
    features = {
        name: {"dtype": str(array.dtype), "shape": [*(array.shape[1:] or (1,))], "names": None}
        for name, array in columns.items()
    }
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(lengths),
        "total_frames": rows,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": DATA,
        "video_path": None,
        "features": features,
        OWN: described(demonstrations),
    }
    (path / "meta" / "info.json").write_text(json.dumps(info, indent=1))
    return ["the state after the last action is written as an extra frame with an action of zeros and next.done"]
