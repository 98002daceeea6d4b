"""The file of a search: found again, locked while in use, and never mixed with another search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.errors import InputError, cannot_read, cannot_write
from benchmarks.records.schema import RecordError
from benchmarks.records.studies import FOLDER, Choice, Study, load_study, write_study


@dataclass
class StudyFile:
    """The study of a search and its file.

    Attributes:
        root: the results folder.
        name: of the file, without extension.
        title: what is searched, for messages.
        new: the study as it begins, of this code and this question.
        study: with the choices tried so far.
    """

    root: Path
    name: str
    title: str
    new: Study

    def __post_init__(self) -> None:
        self.study = self.new

    @property
    def path(self) -> Path:
        return self.root / FOLDER / f"{self.name}.json"

    def resume(self) -> None:
        """Continue the study of the file, if there is one.

        Raises:
            InputError: the file is damaged, or about something else.
        """
        try:
            known = load_study(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise cannot_read(self.path, error) from None
        except RecordError as error:
            raise InputError(
                f"{error}; delete it: the same settings are proposed again, and their records are reused"
            ) from None
        old, new = known.question, self.new.question
        if differing := [key for key in {**old, **new} if old.get(key) != new.get(key)]:
            key = differing[0]
            raise InputError(
                f"{self.path} is a search with other settings: {key} was {old.get(key)}, now {new.get(key)}"
                + (f" (and {len(differing) - 1} more)" if len(differing) > 1 else "")
                + "; choose another folder with --results"
            )
        self.study = known

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While this lasts, no other process works on the study, which is read from its file.

        Raises:
            InputError: another process does, or as `resume` does.
            RunError: a file cannot be written.
        """
        lock = FileLock(self.root / "locks" / f"study-{self.name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"another search of {self.title} is running in {self.root}") from None
        try:
            self.resume()
            yield
        except OSError as error:
            raise cannot_write(self.path, error) from None
        finally:
            lock.release()

    def require_same_code(self) -> None:
        """Raises InputError where the study was made by other code, so that nothing may be added to it."""
        if self.study.code != self.new.code:
            raise InputError(
                f"{self.path} was made by other code, so it cannot be continued; start afresh with --results NEW_FOLDER"
            )

    def add(self, choice: Choice) -> None:
        """Add a choice and write the file."""
        self.study = self.study.model_copy(update={"choices": [*self.study.choices, choice]})
        write_study(self.path, self.study)
