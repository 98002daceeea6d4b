"""Reads untrusted files: nothing in them is executed, and no more memory is used than the caller allows."""

from __future__ import annotations

import math
import os
import re
import stat
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.lib import format as npy

LARGEST = 2**31
"""Most bytes that the arrays of one file may hold together."""
LARGEST_TEXT = 2**20
"""Most bytes of a small file, such as a description in JSON."""
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the other packings are unpacked whole, however large that is
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_HEADER_BYTES = 256
"""Room for the description of one array."""
_NAME = re.compile(r"[\w.]{1,100}", re.ASCII)


class ArrayFileError(ValueError):
    """A file does not hold the arrays it should; the message says what is wrong with it, in one line."""


def read_small(path: str | os.PathLike[str], limit: int = LARGEST_TEXT) -> bytes:
    """The content of a file of at most `limit` bytes. Raises ArrayFileError for a larger one, and OSError."""
    _require_file(path)
    with open(path, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ArrayFileError(f"it is larger than {limit / 2**20:,.0f} MiB")
    return content


def read_arrays(
    path: str | os.PathLike[str], types: Mapping[str, str] | None = None, limit: int = LARGEST
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by their names.

    path:  the file
    types: the names it may hold, some of which may be missing, and the type of each, such as "<f4"; None is any name,
           and any type but Python objects
    limit: most bytes the arrays may hold together; memory is taken for that much alone, whatever the file claims

    Raises ArrayFileError where the file is damaged or holds anything else, and OSError where it cannot be read.
    """
    _require_file(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read(archive, types, limit)
        except ArrayFileError:
            raise
        except Exception as error:  # damaged bytes make zipfile, zlib and NumPy fail in many ways
            raise ArrayFileError(f"it is damaged, or no .npz file ({type(error).__name__})") from None


def _require_file(path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
        raise ArrayFileError("it is not a file")


def _read(archive: zipfile.ZipFile, types: Mapping[str, str] | None, limit: int) -> dict[str, np.ndarray]:
    entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    for name in entries:
        if name not in types if types is not None else not _NAME.fullmatch(name):
            known = f"; arrays that belong here: {', '.join(types)}" if types else ""
            raise ArrayFileError(f"it holds {name[:40]!r}{known}")
    if len(entries) < len(archive.infolist()):
        raise ArrayFileError("it holds two arrays of one name")
    size = sum(entry.file_size for entry in entries.values())
    if size > limit:
        raise ArrayFileError(f"it unpacks to {size / 2**20:,.0f} MiB; at most {limit / 2**20:,.0f} are read")
    wanted = types or {}
    return {name: _array(archive, entry, name, wanted.get(name)) for name, entry in entries.items()}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, wanted: str | None) -> np.ndarray:
    if entry.compress_type not in _PLAIN:
        raise ArrayFileError(f"{name} is packed in an unusual way; save it with numpy.savez_compressed")
    with archive.open(entry) as stream:
        shape, by_columns, found = _HEADERS[npy.read_magic(stream)](stream, max_header_size=_HEADER_BYTES)
        if found.hasobject or (wanted and found != np.dtype(wanted)):
            raise ArrayFileError(f"{name} is {found}{list(shape)}: {np.dtype(wanted or float)} is needed")
        size = math.prod(shape) * found.itemsize
        if not 0 <= size <= entry.file_size:
            raise ArrayFileError(f"{name} claims the shape {list(shape)}, but holds {entry.file_size} bytes")
        content = stream.read(entry.file_size)  # to the end, where the checksum is verified
    if len(content) != size:
        raise ArrayFileError(f"{name} claims the shape {list(shape)}, but holds {len(content)} bytes")
    return np.frombuffer(bytearray(content), found).reshape(shape, order="F" if by_columns else "C")
