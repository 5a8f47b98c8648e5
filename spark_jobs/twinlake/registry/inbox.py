"""What others ask of the lander of a source while it runs: requests in a folder, and answers.

There is one lander per source. Who wants rows landed while a stream is that lander writes a request
and waits; the stream carries it out between two batches. The folder is STATE/inbox/SOURCE:

    NAME.json           a request
    NAME.parquet        the rows that it brings, if it does
    answers/NAME.json   what came of it; taken away by who asked
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlake.errors import EnvironmentFailure, StateError
from twinlake.registry import notes


@dataclass(frozen=True)
class Request:
    """Something asked of a lander.

    Attributes:
        name: Its name; those asked earlier come first in order of names.
        kind: What is asked.
        told: With which arguments.
        rows: The file of the rows that it brings; it need not exist.
    """

    name: str
    kind: str
    told: Mapping[str, Any]
    rows: Path


class Inbox:
    """The requests to the lander of a source."""

    def __init__(self, state: Path, source: str) -> None:
        self._folder = state / "inbox" / source
        self._answers = self._folder / "answers"

    def new(self, kind: str, told: Mapping[str, Any], now_us: int) -> Request:
        """Prepare a request; rows may be written to its file before it is posted.

        Raises:
            EnvironmentFailure: The folder cannot be written to.
        """
        name = f"{now_us:020d}-{uuid.uuid4().hex[:12]}"
        try:
            self._answers.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write to {self._folder}: {error.strerror}",
                hint="free some space, or name a writable folder with --state",
            ) from error
        return Request(name, kind, told, self._folder / f"{name}.parquet")

    def post(self, request: Request) -> None:
        """Let the lander see a request, whole."""
        document = {"kind": request.kind, "told": dict(request.told)}
        notes.write(self._folder / f"{request.name}.json", json.dumps(document))

    def pending(self) -> list[Request]:
        """Give the requests that wait, the oldest first."""
        found = []
        for file in sorted(self._folder.glob("*.json")):
            document = json.loads(file.read_text(encoding="utf-8"))
            rows = file.with_suffix(".parquet")
            found.append(Request(file.stem, document["kind"], document["told"], rows))
        return found

    def answer(self, request: Request, document: Mapping[str, Any]) -> None:
        """Answer a request; it waits no longer."""
        notes.write(self._answers / f"{request.name}.json", json.dumps(document))
        self.drop(request)

    def drop(self, request: Request) -> None:
        """Take a request away."""
        (self._folder / f"{request.name}.json").unlink(missing_ok=True)
        request.rows.unlink(missing_ok=True)

    def take_answer(self, request: Request) -> dict[str, Any] | None:
        """Give what came of a request and forget it; None while it waits."""
        file = self._answers / f"{request.name}.json"
        if not file.exists():
            return None
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
        if "error" in document:
            raise StateError(str(document["error"]), hint=document.get("hint"))
        return document
