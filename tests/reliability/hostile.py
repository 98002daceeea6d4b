"""Damaged and hostile variants of a file: cut, flipped, overwritten, spliced, and archives whose members lie."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.mark), "w")


def damaged(content: bytes, rng: Rng, count: int) -> Iterator[bytes]:
    """`count` damaged copies of any file: what a disk, a network or a careless editor does."""
    kinds = (_cut, _flip, _overwrite, _remove, _repeat, _splice)
    for i in range(count):
        changed = kinds[i % len(kinds)](content, rng)
        if changed != content:
            yield changed


def cut_everywhere(content: bytes, most: int) -> Iterator[bytes]:
    """The file cut at every byte, or at `most` places spread evenly."""
    for size in np.unique(np.linspace(0, len(content) - 1, min(most, len(content)), dtype=int)):
        yield content[:size]


def hostile_archives(content: bytes, rng: Rng, count: int, mark: Path) -> Iterator[bytes]:
    """`count` copies of an .npz file with one member replaced by something meant to harm: see `_members`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    for i in range(count):
        name = names[rng.integers(len(names))]
        harm = list(_members(members[name], rng, mark))
        yield _archive({**members, name: harm[i % len(harm)]}, rng)
    for strange in (
        "../../escape.npy",
        "/escape.npy",
        "..\\escape.npy",
        "\x1b[2J.npy",
        "a" * 5000 + ".npy",
        "con.npy",
    ):
        yield _archive({**members, strange: members[names[0]]}, rng)
        yield _archive({strange: members[names[0]]}, rng)


def hostile_json(content: bytes, rng: Rng, count: int) -> Iterator[bytes]:
    """`count` copies of a JSON file with one value, somewhere, replaced by something absurd."""
    for _ in range(count):
        document = json.loads(content)
        holder: Any = document
        while True:
            key = _choose(list(holder) if isinstance(holder, dict) else range(len(holder)), rng)
            if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.3:
                break
            holder = holder[key]
        holder[key] = _choose(ABSURD, rng)
        yield json.dumps(document).encode()
    yield from (
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"",
        b"null",
        b"\xff\xfe",
        b"1" * 100_000,
        b'"' + b"a" * 2**21 + b'"',
    )


ABSURD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        10**30,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "../../etc/passwd",
        "\x1b[2J",
        "\x00",
        "\ud800",
    ),
    *([], {}, [[]], {"a": 1}, "9" * 1000, [1] * 1000, -0.0, 2**63, "__import__('os').system('true')"),
)


def _choose(options: Any, rng: Rng) -> Any:
    return options[int(rng.integers(len(options)))]


def _cut(content: bytes, rng: Rng) -> bytes:
    return content[: rng.integers(len(content))]


def _flip(content: bytes, rng: Rng) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(len(content), size=rng.integers(1, 9)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    size = int(rng.integers(1, 200))
    return content[:start] + rng.bytes(size) + content[start + size :]


def _remove(content: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(content)))
    return content[:start] + content[start + int(rng.integers(1, 200)) :]


def _repeat(content: bytes, rng: Rng) -> bytes:
    start, stop = sorted(int(at) for at in rng.integers(len(content) + 1, size=2))
    return content[:stop] + content[start:]


def _splice(content: bytes, rng: Rng) -> bytes:
    at, other = (int(place) for place in rng.integers(len(content), size=2))
    return content[:at] + content[other:]


def _members(member: bytes, rng: Rng, mark: Path) -> Iterator[bytes]:
    """An array's file as a pickle, as objects, with absurd shapes, types and numbers."""
    array = np.lib.format.read_array(io.BytesIO(member), allow_pickle=False)
    yield pickle.dumps(Payload(mark))
    objects = io.BytesIO()
    np.save(objects, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    yield objects.getvalue()
    for shape in ((2**62,), (2**31, 2**31), (0, 2**62), (-1,), (1,) * 60, (), (10**30,), (*array.shape, 1)):
        yield _described(array, shape=shape)
    for kind in ("|O", "<f8", ">f4", "|S9", "<U9", "<c16", "|V4", "<M8[s]", "<i1", [("a", "<f4")], "x" * 300):
        yield _described(array, descr=kind)
    if array.dtype.kind == "f":
        for number in (np.nan, np.inf, -np.inf, 3e38, 1e12, 57.3):
            changed = np.array(array)
            changed[tuple(rng.integers(0, array.shape))] = number
            yield _described(changed)
    yield from (b"", member[:-1], member + b"\0", b"\x93NUMPY\x09\x00" + member[8:], member[:10] + b"(" * 5000)


def _described(array: np.ndarray, **claims: Any) -> bytes:
    described = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **claims}
    text = repr(described).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text), 65535)) + text + array.tobytes()


def _archive(members: dict[str, bytes], rng: Rng) -> bytes:
    packing = _choose(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA), rng
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    changed = bytearray(buffer.getvalue())
    if rng.random() < 0.2:  # the directory lies about how much a member unpacks to
        at = changed.rindex(b"PK\x01\x02") + 24
        changed[at : at + 4] = struct.pack("<I", _choose((0, 1, 2**31, 2**32 - 2), rng))
    return bytes(changed)
