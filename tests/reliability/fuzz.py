"""Reading thousands of damaged and hostile files: each is refused by name in one line, or means what it meant."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records.files import load_plan, load_record
from benchmarks.records.plans import Plan
from benchmarks.records.schema import RecordError
from benchmarks.trial.checkpoints import DAMAGED, STARTS, Snapshots
from benchmarks.trial.protocol import Event, Notice
from envs.demonstrations import DemonstrationError, load, save
from methods.interface import MethodError
from methods.policy import GaussianNetwork, GaussianPolicy, PolicyShape
from tests import tiny
from tests.benchmarks import examples
from tests.reliability import hostile


class Aside(Exception):
    """A snapshot was put aside; the message is the note that says so."""


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        name: what to call it.
        place: the file that is damaged, in a folder that holds what else is read with it.
        read: gives something to compare, or raises `refusal`.
        variants: the bytes of damaged copies, and whether they might be taken for good ones with another content: those
            whose digest an attacker has made right, and those of files without a digest.
    """

    name: str
    place: Path
    read: Callable[[], Any]
    refusal: type[Exception]
    variants: Callable[[bytes, hostile.Rng, int], Iterator[tuple[bytes, bool]]]


def fuzz(folder: Path, count: int) -> dict[str, Counter[str]]:
    """Damage every kind of file in about `count` ways of each sort; returns how many ended how, by kind of file.

    A file of fewer than 10 * `count` bytes is cut at every one of them, a larger one at as many places.
    """
    mark = folder / "canary"
    bystanders = folder / "bystanders"
    bystanders.mkdir()
    (bystanders / "precious").write_text("untouched")
    ends: dict[str, Counter[str]] = {}
    for target in targets(folder, mark):
        rng, good, expected = np.random.default_rng(0), target.place.read_bytes(), target.read()
        around = _listing(folder)
        tally = ends[target.name] = Counter()
        for content, signed in target.variants(good, rng, count):
            target.place.write_bytes(content)
            tally[_outcome(target, expected, signed)] += 1
        target.place.write_bytes(good)
        assert _listing(folder) == around and not mark.exists(), f"{target.name}: something was written or executed"
    return ends


def _outcome(target: Target, expected: Any, signed: bool) -> str:
    try:
        found = target.read()
    except target.refusal as refused:
        said = str(refused)
        assert said.isprintable(), f"{target.name}: {said!r} is more than a line"
        assert str(target.place) in said or str(target.place.parent) in said, f"{target.name}: {said!r} names no file"
        return "refused"
    assert signed or found == expected, f"{target.name}: a damaged file was taken for a good one"
    return "another content, well signed" if found != expected else "the same content"


def _listing(folder: Path) -> dict[Path, bytes]:
    expected = {DAMAGED, STARTS}
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in expected}


def targets(folder: Path, mark: Path) -> Iterator[Target]:
    """Every kind of file that the suite reads and others may have written."""

    def archive(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
        yield from _plain(content, rng, count)
        for variant in hostile.hostile_archives(content, rng, count, mark):
            yield variant, False

    demonstrations = folder / "demonstrations.npz"
    save(tiny.demonstrate(episodes=2, seed=0), demonstrations)
    yield Target("demonstrations", demonstrations, lambda: load(demonstrations).digest, DemonstrationError, archive)
    header = folder / "header.npz"
    save(tiny.demonstrate(episodes=2, seed=0), header)
    yield Target("demonstrations' header", header, lambda: load(header).digest, DemonstrationError, _headers)

    policy = folder / "policy"
    shape = PolicyShape(3, 2, (-1.0, -1.0), (1.0, 1.0), hidden=(8, 4))
    GaussianPolicy(GaussianNetwork(shape, tiny.demonstrate(episodes=1, seed=0).statistics)).save(policy)

    def acts() -> list[Any]:
        loaded, zeros = GaussianPolicy.load(policy), np.zeros((1, 3), np.float32)
        return [loaded.network.shape, loaded.act(zeros, True, np.random.default_rng(0)).tolist()]

    yield Target("policies' weights", policy / "policy.npz", acts, MethodError, archive)
    yield Target("policies' shape", policy / "policy.json", acts, MethodError, _json)

    record = folder / "record.json"
    record.write_bytes(examples.record().to_bytes())
    yield Target("records", record, lambda: load_record(record), RecordError, _records)
    plan = folder / "plan.json"
    plan.write_text(Plan(profile="quick", rows=[examples.row(seed) for seed in range(3)]).model_dump_json(indent=1))
    yield Target("plans", plan, lambda: load_plan(plan), RecordError, _plans)

    notes: list[Event] = []
    (folder / "snapshots").mkdir()
    snapshots = Snapshots(folder / "snapshots" / "trial", 0.0, examples.trial(), "0" * 64, notes.append)

    def rewritten(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
        """A snapshot's checksums tell damage, not somebody who rewrites an archive."""
        yield from _plain(content, rng, count)
        for variant in hostile.hostile_archives(content, rng, count, mark):
            yield variant, True

    yield from _snapshots(snapshots, notes, rewritten)


def _snapshots(
    snapshots: Snapshots, notes: list[Event], variants: Callable[..., Iterator[tuple[bytes, bool]]]
) -> Iterator[Target]:
    assert snapshots.folder is not None
    snapshots.save({"step": 3, "weights": np.arange(6.0).reshape(2, 3), "words": ["a", None, {"b": True}]})
    place = snapshots.folder / "state.npz"

    def read() -> str:
        state = snapshots.load()
        if state is None:
            note = notes.pop()
            assert isinstance(note, Notice)
            place.with_name(DAMAGED).rename(place)
            raise Aside(note.text)
        return repr(state)

    yield Target("snapshots", place, read, Aside, variants)


def _plain(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
    for variant in (*hostile.cut_everywhere(content, 10 * count), *hostile.damaged(content, rng, count)):
        yield variant, False


def _json(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
    yield from _plain(content, rng, count)
    for variant in hostile.hostile_json(content, rng, count):
        yield variant, False


def _plans(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
    """A plan has no digest: it says nothing about results, and every run rewrites its part."""
    for variant, _ in _json(content, rng, count):
        yield variant, True


def _records(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
    """Also absurd content under a digest that is right."""
    yield from _plain(content, rng, count)
    for variant in hostile.hostile_json(json.dumps(json.loads(content)["record"]).encode(), rng, count):
        digest = hashlib.sha256(variant).hexdigest().encode()
        yield b'{"record":%b,"sha256":"%b"}\n' % (variant, digest), True


def _headers(content: bytes, rng: hostile.Rng, count: int) -> Iterator[tuple[bytes, bool]]:
    """Demonstrations with an absurd header, whose digest is right wherever there can be a right one."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    arrays = {name.removesuffix(".npy"): np.load(io.BytesIO(member)) for name, member in members.items()}
    document = json.loads(arrays.pop("header").tobytes())
    for variant in hostile.hostile_json(json.dumps(document).encode(), rng, count):
        text = variant
        try:
            changed = json.loads(variant)
            text = json.dumps({**changed, "digest": _signature(changed, arrays)}).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            pass  # it cannot be signed
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, header=np.frombuffer(text, np.uint8), **arrays)
        yield buffer.getvalue(), True


def _signature(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """The digest of a data set as its format defines it."""
    content = hashlib.sha256(json.dumps([1, header["task"], header["dt"], header["origin"]], sort_keys=True).encode())
    for name in ("observations", "actions", "episode", "time_step", "terminal"):
        content.update(f"{name}{arrays[name].shape}".encode() + arrays[name].tobytes())
    return content.hexdigest()
