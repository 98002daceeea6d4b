"""Trajectories as `imitation` saves them: a folder of Hugging Face `datasets` with one row per episode, in Arrow.

obs [T + 1, O], acts [T, A], infos [T] (text that can contain code: never read), terminal, rews [T]. `imitation`'s older
.npz and pickle files can execute code when they are read, so they are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.demonstrations import Demonstrations
from envs.formats.common import (
    MOST_EPISODES,
    OWN,
    Budget,
    Contents,
    FormatError,
    described,
    new_folder,
    read_json,
    require_file,
    whole_episodes,
)

FILE = "data-00000-of-00001.arrow"


def read(path: Path, keys: Sequence[str] = ()) -> Contents:
    """See `envs.formats`; `path` is the folder."""
    import pyarrow as pa

    state = read_json(path / "state.json")
    files = state.get("_data_files") if isinstance(state, dict) else None
    names = [str(each.get("filename")) for each in files or [] if isinstance(each, dict)]
    if not names or any(Path(name).name != name for name in names):
        raise FormatError("state.json names no data files in the folder itself")
    budget, trajectories, own = Budget(), list[tuple[np.ndarray, np.ndarray | None]](), None
    for name in names:
        require_file(path / name)
        try:
            with pa.OSFile(str(path / name)) as source, pa.ipc.open_stream(source) as stream:
                own = (stream.schema.metadata or {}).get(OWN.encode(), own)
                for missing in {"obs", "acts"} - set(stream.schema.names):
                    raise FormatError(f"{name} has no column {missing!r}; it has {', '.join(stream.schema.names)}")
                for batch in stream:
                    batch.validate(full=True)  # before anything else: even the size of a damaged batch is a wild read
                    budget.take(batch.nbytes)
                    columns = ([getattr(cell, "values", None) for cell in batch.column(key)] for key in ("obs", "acts"))
                    trajectories += zip(*(map(rows_of, column) for column in columns), strict=True)
                    if len(trajectories) > MOST_EPISODES:
                        raise FormatError(f"it holds more than {MOST_EPISODES:,} episodes")
        except (pa.ArrowException, OSError, MemoryError) as error:
            raise FormatError(f"{name} is damaged, or not an Arrow file ({type(error).__name__})") from error
    return Contents(trajectories, own=own.decode(errors="replace") if own else None)


def rows_of(rows: Any) -> np.ndarray:
    """One episode's array of numbers, or of lists of them, as a matrix [T, size]. Raises FormatError for another.

    Args:
        rows: an array of pyarrow; None for an episode that is missing, or is not a list.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if rows is None:
        raise FormatError("an episode is missing, or is not a list")
    if len(rows) == 0:
        return np.zeros((0, 0), np.float32)
    nested = pa.types.is_list(rows.type) or pa.types.is_large_list(rows.type) or pa.types.is_fixed_size_list(rows.type)
    numbers = rows.flatten() if nested else rows
    if not (pa.types.is_floating(numbers.type) or pa.types.is_integer(numbers.type)) or numbers.null_count:
        raise FormatError(f"an episode holds {numbers.type}, or gaps: lists of numbers are needed")
    lengths = set(pc.list_value_length(rows).to_pylist()) if nested else {1}
    if len(lengths) > 1 or None in lengths:
        raise FormatError("the rows of an episode differ in length")
    return numbers.to_numpy(zero_copy_only=False).reshape(len(rows), -1)


def write(demonstrations: Demonstrations, path: Path) -> list[str]:
    """See `envs.formats`; `path` is a new folder."""
    import pyarrow as pa

    trajectories = whole_episodes(demonstrations, "imitation")
    new_folder(path)
    rows = pa.list_(pa.list_(pa.float32()))
    types = {"obs": rows, "acts": rows, "infos": pa.list_(pa.string()), "terminal": pa.bool_()}
    types["rews"] = pa.list_(pa.float64())

    def listed(kind: str) -> dict[str, Any]:
        return {"feature": {"dtype": kind, "_type": "Value"}, "_type": "List"}

    features = {
        "obs": {"feature": listed("float32"), "_type": "List"},
        "acts": {"feature": listed("float32"), "_type": "List"},
        "infos": listed("string"),
        "terminal": {"dtype": "bool", "_type": "Value"},
        "rews": listed("float64"),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}}), OWN: described(demonstrations)}
    schema = pa.schema(list(types.items()), metadata=metadata)
    columns: dict[str, list[Any]] = {name: [] for name in types}
    for states, actions in trajectories:
        assert actions is not None
        row = (states.tolist(), actions.tolist(), ["{}"] * len(actions), True, [0.0] * len(actions))
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    with pa.OSFile(str(path / FILE), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        stream.write_table(pa.table(columns, schema=schema), max_chunksize=1000)
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (path / "dataset_info.json").write_text(json.dumps(info, indent=1))
    nothing = ("_format_columns", "_format_type", "_split")
    state = {"_data_files": [{"filename": FILE}], "_fingerprint": demonstrations.digest[:16], "_format_kwargs": {}}
    (path / "state.json").write_text(json.dumps(state | dict.fromkeys(nothing) | {"_output_all_columns": False}))
    return ["rewards and infos were not recorded and are written as 0 and {}", "every episode is marked as terminal"]
