"""Reads the records and the plan of a results folder, compressed or not."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from pydantic import ValidationError

from benchmarks.records.plans import Plan
from benchmarks.records.schema import SCHEMA, Record, RecordError, first_problem, read_record
from envs.npz import ArrayFileError, read_small

LARGEST = 2**28
"""Most bytes of a record or a plan, once it is decompressed."""
COMPRESSED = ".gz"
"""What the name of a record's file ends with where it is compressed (see `benchmarks.records.compact`)."""
GZIP = b"\x1f\x8b"
"""What such a file begins with."""


def record_files(results: Path) -> dict[str, Path]:
    """The files of a results folder's records by the trials in their names, in order, compressed or not."""
    found = {path.name.split(".")[0]: path for path in (results / "records").glob(f"*.json{COMPRESSED}")}
    return dict(sorted((found | {path.stem: path for path in (results / "records").glob("*.json")}).items()))


def load_record(path: str | os.PathLike[str]) -> Record:
    """Read a record's file, `NAME.json`, or `NAME.json.gz` where only that is there.

    Raises:
        RecordError: naming the file and what is wrong with it.
        OSError: it cannot be read, or is not there.
    """
    path = Path(path)
    if path.suffix != COMPRESSED and not path.exists() and (other := compressed(path)).exists():
        path = other
    return read_record(_content(path), str(path))


def compressed(path: Path) -> Path:
    """Where the compressed form of a record's file lies."""
    return path.with_name(path.name + COMPRESSED)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan's file; raises RecordError and OSError as `load_record` does."""
    try:
        return Plan.model_validate_json(_content(Path(path)))
    except ValidationError as error:
        raise RecordError(f"{path}: not a plan of schema {SCHEMA} ({first_problem(error)})") from None


def _content(path: Path) -> bytes:
    try:
        content = read_small(path, LARGEST)
        return _decompressed(content) if path.suffix == COMPRESSED else content
    except (ArrayFileError, zlib.error) as error:
        raise RecordError(f"{path}: {error}") from None


def _decompressed(content: bytes) -> bytes:
    """The content of a gzip file; raises zlib.error where it is damaged, cut, or would be larger than `LARGEST`."""
    stream = zlib.decompressobj(wbits=31)
    found = stream.decompress(content, LARGEST)
    if not stream.eof or stream.unused_data:
        raise zlib.error("not one whole gzip file of a record")
    return found
