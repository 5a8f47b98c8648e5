"""The log of a Delta table, read as the files that it is, without Spark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

_COMMIT = re.compile(r"(\d{20})\.json")
_SUMMARY = re.compile(r"(\d{20})\.crc")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\..+)?\.parquet")


class DeltaLog:
    """One table's ``_delta_log``.

    Args:
        folder: The folder of that name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder.parent
        self.pointer = folder / "_last_checkpoint"

    def commit_file(self, number: int) -> Path:
        """The file of a commit."""
        return self.folder / f"{number:020d}.json"

    def numbers(self, pattern: re.Pattern[str]) -> list[int]:
        """The numbers of the files that a pattern matches, ascending."""
        matches = (pattern.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted({int(match[1]) for match in matches if match})

    @cached_property
    def commits(self) -> Mapping[int, list[dict[str, Any]] | str]:
        """By number, the actions of each commit, or what is wrong with it."""
        found: dict[int, list[dict[str, Any]] | str] = {}
        numbers = self.numbers(_COMMIT)
        # Each commit leaves a summary beside it; one without its commit tells of a lost one.
        known = [*numbers, *self.numbers(_SUMMARY)]
        for number in range(min(known, default=0), max(known, default=-1) + 1):
            file = self.commit_file(number)
            found[number] = _actions(file) if file.is_file() else "it is missing"
        return found

    def damaged_commits(
        self, differs: Callable[[Path], str | None], broken: Collection[Path]
    ) -> dict[int, str]:
        """What is wrong with commits that are damaged or missing.

        Args:
            differs: Tells whether a file is other than it was written.
            broken: Checkpoint files that cannot be read.
        """
        found = {}
        for number, actions in self.commits.items():
            problem = actions if isinstance(actions, str) else differs(self.commit_file(number))
            if problem is not None:
                found[number] = problem
        if not found and (problem := self._short_of_its_summary(broken)) is not None:
            found[max(self.commits)] = problem
        first = min(self.commits, default=None)
        if first is None:
            found[0] = "it is missing"
        elif first > 0 and not any(n >= first - 1 for n in self.numbers(_CHECKPOINT)):
            found[first - 1] = "it is missing, and no checkpoint stands for it"
        return found

    def _short_of_its_summary(self, broken: Collection[Path]) -> str | None:
        """Compare the newest version with the summary that its writer left beside the commit."""
        number = max(self.commits, default=-1)
        try:
            text = (self.folder / f"{number:020d}.crc").read_text(encoding="utf-8")
            told = int(json.loads(text)["numFiles"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # writers may leave none
        found = len(self.active_files(broken))
        # Without a version to count on from, what is there says nothing of what should be.
        if found == told or self._base({_version(file) for file in broken}) is None:
            return None
        return f"the version has {found} data files, its summary tells of {told}"

    def checkpoint_files(self) -> list[Path]:
        """The files of all checkpoints, oldest first."""
        return sorted(file for file in self.folder.iterdir() if _CHECKPOINT.fullmatch(file.name))

    def is_whole_without(self, broken: Collection[Path]) -> bool:
        """Tell whether the commits say everything once some checkpoint files are gone."""
        start = self._base({_version(file) for file in broken})
        if start is None or not self.commits:
            return False
        after = range(start + 1, max(self.commits) + 1)
        return all(isinstance(self.commits.get(number, ""), list) for number in after)

    def pointer_problem(self) -> str | None:
        """Tell what is wrong with the file that names the newest checkpoint."""
        if not self.pointer.is_file():
            return None
        try:
            version = int(json.loads(self.pointer.read_text(encoding="utf-8"))["version"])
        except (ValueError, KeyError, TypeError):
            return "it names no checkpoint"
        if version not in {_version(file) for file in self.checkpoint_files()}:
            return f"it names the checkpoint of version {version}, which is missing"
        return None

    def active_files(self, broken: Collection[Path]) -> dict[Path, int]:
        """The files that make up the newest version, with their sizes, as far as it is known."""
        start = self._base({_version(file) for file in broken})
        active = {} if start is None or start < 0 else self._summed_up(start)
        for number, actions in self.commits.items():
            if isinstance(actions, list) and (start is None or number > start):
                for action in actions:
                    _carry_out(active, action)
        return {self.table / unquote(name): size for name, size in active.items()}

    def _base(self, unusable: Collection[int]) -> int | None:
        """The version that commits are counted on from: -1 from the beginning, None for none."""
        if min(self.commits, default=1) == 0:
            return -1
        usable = {_version(file) for file in self.checkpoint_files()} - set(unusable)
        return max(usable, default=None)

    def _summed_up(self, version: int) -> dict[str, int]:
        active: dict[str, int] = {}
        for file in self.checkpoint_files():
            if _version(file) == version:
                for cell in pq.read_table(file, columns=["add"]).column("add").to_pylist():
                    if cell is not None:
                        active[cell["path"]] = cell["size"]
        return active


def _version(file: Path) -> int:
    return int(file.name[:20])


def _carry_out(active: dict[str, int], action: Mapping[str, Any]) -> None:
    if "add" in action:
        active[action["add"]["path"]] = int(action["add"]["size"])
    elif "remove" in action:
        active.pop(action["remove"]["path"], None)


def _actions(file: Path) -> list[dict[str, Any]] | str:
    try:
        found = list(_objects(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        return f"it is not one JSON object a line: {error}"
    if not found:
        return "it is empty"
    if "commitInfo" not in found[0]:
        return "it does not begin with what the commit says of itself"
    return found


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        document = json.loads(line)
        if not isinstance(document, dict):
            raise ValueError(f"a line holds a {type(document).__name__}")  # noqa: TRY004 (read as one)
        yield document
