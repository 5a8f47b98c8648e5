"""Send transactions into a folder: files of JSON lines, each there whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from examples.card_fraud import messages


def send_to_folder(pieces: Iterable[pa.Table], folder: Path) -> int:
    """Write each piece as one file; the names continue those that are there.

    A file is written aside, under a name that begins with a dot, which readers pass over, and gets
    its own name when it is whole. What is there is never replaced, also not by two that send at
    once: a reader has remembered it by its name.

    Args:
        pieces: Tables that conform.
        folder: Where the files go.

    Returns:
        How many transactions were sent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, sent = _last_number(folder), 0
    for piece in pieces:
        aside = folder / f".{os.getpid()}.part"
        lines = pc.binary_join_element_wise(messages.values(piece), "\n", "")
        try:
            aside.write_bytes(pc.binary_join(_as_one_list(lines), "")[0].as_py().encode())
            number = _name(aside, folder, number + 1)
        finally:  # a full disk, perhaps
            aside.unlink(missing_ok=True)
        sent += len(piece)
    return sent


def _as_one_list(lines: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)


def _last_number(folder: Path) -> int:
    names = (re.fullmatch(r"transactions-(\d+)\.json", file.name) for file in folder.iterdir())
    return max((int(name[1]) for name in names if name), default=-1)


def _name(aside: Path, folder: Path, number: int) -> int:
    """Give a file the name with the first free number from here on; the number."""
    while True:
        try:
            # Unlike a rename, a link refuses a name that is taken.
            (folder / f"transactions-{number:08d}.json").hardlink_to(aside)
        except FileExistsError:
            number += 1
        else:
            return number
