"""Pairs of code digests that were shown to give bit-identical results (see `benchmarks.records.replay`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from benchmarks.errors import InputError
from benchmarks.records import atomic
from benchmarks.records.schema import Digest, StrictModel, Trial, TrialId

FILE = Path(__file__).parent / "proofs.json"


class Pair(StrictModel):
    """Two code digests and the kinds of trials (see `kind_of`) for which they give the same results."""

    old: Digest
    new: Digest
    kinds: list[str]


class Proof(StrictModel):
    """Trials that had equal results under two commits.

    Attributes:
        pairs: the code digests of these trials under the old and the new commit.
        old_commit, new_commit: Git commits; the new one ends in "+" if the checkout had changes.
        processor: of the machine that did both.
        versions: of Python and the libraries it had.
        trials: ids of the compared trials.
        date: ISO 8601.
    """

    pairs: list[Pair]
    old_commit: str
    new_commit: str
    processor: str
    versions: dict[str, str]
    trials: list[TrialId]
    date: str


class _Proofs(StrictModel):
    proofs: list[Proof]


def load(path: Path | None = None) -> list[Proof]:
    """The proofs in a file, FILE by default; none if it is not there.

    Raises:
        InputError: it is damaged.
    """
    path = path or FILE
    try:
        return _Proofs.model_validate_json(path.read_bytes()).proofs
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise InputError(f"{path} is damaged: {error.errors()[0]['msg']}; restore it from the repository") from None


def add(proof: Proof, path: Path | None = None) -> None:
    """Append a proof to the file; raises OSError if it cannot be written."""
    proofs = _Proofs(proofs=[*load(path), proof])
    atomic.write(path or FILE, proofs.model_dump_json(indent=1).encode() + b"\n")


def kind_of(trial: Trial) -> str:
    """What a trial learns from and how, in words: code may change the results of one kind and not of another."""
    choice, settings = trial.demonstrations, trial.settings
    words = ["every n-th state"] * (choice.every > 1) + ["final states"] * choice.final_only
    words += ["states only"] * choice.states_alone + ["exploring"] * bool(settings.get("exploration"))
    control = settings.get("control", "none")
    words += [f"{control} control"] * (control != "none")
    return ", ".join(words) or "all states and actions"


@cache
def _representatives() -> dict[tuple[str, str], str]:
    """A digest for each kind and digest in a proof, the same one for all that are proven equal, also through others."""
    found: dict[tuple[str, str], str] = {}
    links = ((kind, pair.old, pair.new) for proof in load() for pair in proof.pairs for kind in pair.kinds)
    for kind, old, new in links:
        kept, replaced = found.setdefault((kind, old), old), found.setdefault((kind, new), new)
        found |= {key: kept for key, digest in found.items() if key[0] == kind and digest == replaced}
    return found


def same_results(one: str, other: str, kind: str) -> bool:
    """Whether two code digests are equal, or proven to give the same results for a kind of trials."""
    found = _representatives()
    return found.get((kind, one), one) == found.get((kind, other), other)


def one_code_gives_all(made_by: Iterable[tuple[str, str]]) -> bool:
    """Whether one of these code digests gives the results of all records, of pairs (kind, digest)."""
    records = set(made_by)
    return any(all(same_results(digest, code, kind) for kind, digest in records) for _, code in records)
