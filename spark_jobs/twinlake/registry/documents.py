"""Numbered JSON documents in a folder: created once, never changed, safe for two writers.

A document is written beside its place and then linked into it, which fails if the place is taken.
So the second of two writers learns that it was second, and a reader never sees half a document.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinlake.crash_points import reached
from twinlake.errors import EnvironmentFailure, StateError

_NUMBERED = re.compile(r"(\d{20})\.json")


class AlreadyWritten(StateError):
    """Another writer came first and nothing was written; read again and decide anew."""


class Documents:
    """The numbered documents of one folder.

    Args:
        folder: Where they lie; created with the first document.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def numbers(self) -> list[int]:
        """Give the numbers of all documents, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_NUMBERED.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def read(self, number: int) -> dict[str, Any]:
        """Read one document.

        Raises:
            StateError: It is not there, or it is no JSON object.
        """
        path = self._path(number)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StateError(f"{path} is missing") from None
        except ValueError as error:
            raise StateError(
                f"{path} is damaged: {error}", hint="restore the file from a backup of the state"
            ) from error
        if not isinstance(document, dict):
            raise StateError(f"{path} holds a {type(document).__name__}, expected an object")
        return document

    def all(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield every document with its number, ascending."""
        for number in self.numbers():
            yield number, self.read(number)

    def still_there(self) -> list[dict[str, Any]]:
        """Give every document, ascending, while another process may take some away.

        One is only taken away once another one tells the same and more.
        """
        while True:
            numbers = self.numbers()
            try:
                return [self.read(number) for number in numbers]
            except StateError:
                if numbers == self.numbers():
                    raise

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Give the document with the greatest number, or None where there is none."""
        numbers = self.numbers()
        return (numbers[-1], self.read(numbers[-1])) if numbers else None

    def create(self, number: int, document: Mapping[str, Any]) -> None:
        """Write a document that must not be there yet.

        Raises:
            AlreadyWritten: The number is taken.
            EnvironmentFailure: The folder cannot be written to.
        """
        path = self._path(number)
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.folder, prefix=".", suffix=".part"
            ) as part:
                part.write(text)
                part.flush()
                os.fsync(part.fileno())
                reached("documents.written_aside")
                os.link(part.name, path)
        except OSError as error:
            if isinstance(error, FileExistsError) and self.folder.is_dir():
                raise AlreadyWritten(
                    f"{path} was written by another process meanwhile", hint="run the command again"
                ) from None
            raise EnvironmentFailure(
                f"cannot write {path}: {error.strerror}",
                hint="free some space, or name a writable folder with --state",
            ) from error

    def delete(self, number: int) -> None:
        """Take a document away, because what it tells of was taken away; none is no error."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:020d}.json"
