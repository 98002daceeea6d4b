"""Pairs of code digests that were shown to give the same results, bit by bit (see `benchmarks.records.replay`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.records import atomic
from benchmarks.records.schema import Digest, TrialId

FILE = Path(__file__).parent / "proofs.json"


class Proof(BaseModel):
    """Trials that had equal results under two commits.

    Attributes:
        pairs: the code digests of these trials under the old and the new commit, each pair once.
        old_commit, new_commit: Git commits; the new one ends in "+" if the checkout had changes.
        processor: of the machine that did both.
        versions: of Python and the libraries it had.
        trials: ids of the compared trials.
        date: ISO 8601.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: list[tuple[Digest, Digest]]
    old_commit: str
    new_commit: str
    processor: str
    versions: dict[str, str]
    trials: list[TrialId]
    date: str


class _Proofs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    proofs: list[Proof]


def load(path: Path | None = None) -> list[Proof]:
    """The proofs in a file, FILE by default; none if it is not there.

    Raises:
        ValueError: it is damaged.
    """
    path = path or FILE
    try:
        return _Proofs.model_validate_json(path.read_bytes()).proofs
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise ValueError(f"{path} is damaged: {error.errors()[0]['msg']}; restore it from the repository") from None


def add(proof: Proof, path: Path | None = None) -> None:
    """Append a proof to the file; raises OSError if it cannot be written."""
    proofs = _Proofs(proofs=[*load(path), proof])
    atomic.write(path or FILE, proofs.model_dump_json(indent=1).encode() + b"\n")


@cache
def _representatives() -> dict[str, str]:
    """A digest for each digest in a proof, the same one for all that are proven equal, directly or through others."""
    found: dict[str, str] = {}
    for old, new in (pair for proof in load() for pair in proof.pairs):
        kept, replaced = found.setdefault(old, old), found.setdefault(new, new)
        found |= {digest: kept for digest, representative in found.items() if representative == replaced}
    return found


def same_results(one: str, other: str) -> bool:
    """Whether two code digests are equal or proven to give the same results."""
    found = _representatives()
    return found.get(one, one) == found.get(other, other)


def count_different(digests: Iterable[str]) -> int:
    """How many of these code digests may give different results."""
    found = _representatives()
    return len({found.get(digest, digest) for digest in digests})
