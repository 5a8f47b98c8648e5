"""What Spark notes of how far a stream is, looked at before Spark goes on by it.

Batches are numbered. ``offsets/N`` says where batch N ends and is written before it, ``commits/N``
after it; ``sources/0`` holds what a source notes itself. Each is text: ``v1``, then JSON by line.
A batch that was landed is skipped by its number, so a checkpoint that is older than the events
would have other rows skipped: it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinlake.errors import StateError

# Metadata, and the offsets of one source.
_LINES_OF_OFFSETS = 2


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of a stream.

    Attributes:
        folder: Where it lies.
        hint: What to do where it is of no use.
    """

    folder: Path
    hint: str

    @property
    def is_new(self) -> bool:
        """Whether the stream has yet to begin."""
        return not (self.folder / "offsets").is_dir()

    def refuse_unusable(self, landed_through: int) -> None:
        """Refuse one by which rows would be left out, or which Spark cannot read.

        Args:
            landed_through: The newest batch of this stream that was landed; -1 for none.

        Raises:
            StateError: A file is damaged, or the checkpoint is older than the events.
        """
        begun, done = self._newest("offsets"), self._newest("commits")
        if begun is not None:
            self._lines(begun, _LINES_OF_OFFSETS)
        if done is not None:
            self._lines(done, 1)
        for source in self.folder.glob("sources/*"):
            if (noted := _newest_in(source)) is not None:
                self._lines(noted, 0)
        known = max(landed_through, -1 if done is None else _number(done))
        ends = -1 if begun is None else _number(begun)
        if ends < known:
            raise StateError(
                f"{self.folder} ends at batch {ends}, but batch {known} of this stream was landed: "
                "files of it are lost, or it is an older copy",
                hint=self.hint,
            )

    def positions(self, topic: str, landed_through: int) -> dict[int, int]:
        """Give per partition of a topic the offset to go on from; none where that is not noted."""
        begun, done = self._newest("offsets"), self._newest("commits")
        if begun is None:
            return {}
        number = _number(begun)
        if number > max(landed_through, -1 if done is None else _number(done)):
            begun = begun.with_name(str(number - 1))
        if not begun.is_file():
            return {}
        told: Mapping[str, Any] = self._lines(begun, _LINES_OF_OFFSETS)[-1]
        return {int(partition): int(offset) for partition, offset in told.get(topic, {}).items()}

    def _newest(self, part: str) -> Path | None:
        return _newest_in(self.folder / part)

    def _lines(self, file: Path, count: int) -> list[Any]:
        """Read a file's lines after the first: those with at least so many lines are whole."""
        try:
            # Some begin with a zero byte, for versions of Spark that are long gone.
            version, *lines = file.read_text("utf-8").lstrip("\0").splitlines()
            read = [json.loads(line) for line in ([*lines[:1], *lines[-1:]]) if line != "-"]
            if version.startswith("v") and len(lines) >= count:
                return read
        except ValueError:
            pass
        raise StateError(
            f"{file} is damaged: it says no more how far the stream is", hint=self.hint
        )


def _newest_in(folder: Path) -> Path | None:
    there = folder.iterdir() if folder.is_dir() else ()
    return max((file for file in there if file.name[:1].isdigit()), key=_number, default=None)


def _number(file: Path) -> int:
    return int(file.name.partition(".")[0])  # 9 or 9.compact
