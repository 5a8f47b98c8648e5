"""The events of the last while, held by a stream's publisher so that no batch reads the lake.

Held are accepted events that take part in features, as the workers of batch jobs take them, back to
a moment before which no event of a batch in time can look. What looks further back is computed from
the events table, as batch jobs do it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinlake.definitions.times import MIN_US
from twinlake.lake import arrays

IntArray = npt.NDArray[np.int64]
_PIECES = 32


class RecentEvents:
    """Events after a moment, and those of chosen keys among them.

    Args:
        since_us: Events up to here are not held.
    """

    def __init__(self, since_us: int) -> None:
        self.since_us = since_us
        self._pieces: list[pa.Table] = []

    def __len__(self) -> int:
        return sum(piece.num_rows for piece in self._pieces)

    def add(self, events: pa.Table) -> None:
        """Hold further events; they have ``event_us`` and the keys among their columns."""
        held = events.filter(pc.greater(events.column("event_us"), self.since_us))
        if held.num_rows:
            self._pieces.append(held.combine_chunks())
        if len(self._pieces) > _PIECES:
            self._pieces = [pa.concat_tables(self._pieces).combine_chunks()]

    def forget_through(self, until_us: int) -> None:
        """Let go of events up to a moment."""
        self.since_us = max(self.since_us, until_us)
        held = [
            piece.filter(pc.greater(piece.column("event_us"), self.since_us))
            for piece in self._pieces
        ]
        held = [piece for piece in held if piece.num_rows]
        self._pieces = [pa.concat_tables(held).combine_chunks()] if held else []

    @property
    def is_cut(self) -> bool:
        """Whether there may be events before those held."""
        return self.since_us != MIN_US

    def after_version(self, version: int) -> pa.Table | None:
        """Give the events held that were landed after an ingest version."""
        if not self._pieces:
            return None
        found = [p.filter(pc.greater(p.column("version"), version)) for p in self._pieces]
        return pa.concat_tables(found).combine_chunks()

    def some_keys(
        self, names: Sequence[str], count: int, chance: random.Random
    ) -> list[tuple[Any, ...]]:
        """Give the keys of events held that are chosen at random, some perhaps twice."""
        held = len(self)
        found = []
        for place in [chance.randrange(held) for _ in range(count)] if held else []:
            for piece in self._pieces:
                if place < piece.num_rows:
                    found.append(tuple(piece.column(name)[place].as_py() for name in names))
                    break
                place -= piece.num_rows  # noqa: PLW2901
        return found

    def of_keys(self, keys: pa.Table) -> pa.Table | None:
        """Give the events of keys; None where nothing is held.

        Args:
            keys: Distinct keys; its columns are the join keys.
        """
        if not self._pieces:
            return None
        names = keys.column_names
        found = [piece.filter(_among(piece, keys, names)) for piece in self._pieces]
        return pa.concat_tables(found).combine_chunks()


def distinct_keys(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Give the distinct keys of rows; a row without one of its parts has none."""
    listed = table.select(list(keys))
    for key in keys:
        listed = listed.filter(pc.is_valid(listed.column(key)))
    return listed.group_by(list(keys)).aggregate([])


def _among(piece: pa.Table, keys: pa.Table, names: Sequence[str]) -> pa.Array:
    if len(names) == 1:
        wanted = arrays.chunk(keys, names[0])
        return pc.is_in(piece.column(names[0]), value_set=wanted)
    both = pa.concat_tables([keys.select(list(names)), piece.select(list(names))])
    codes, _ = arrays.key_codes(both.combine_chunks(), names)
    wanted = np.unique(codes[: keys.num_rows])
    return pa.array(np.isin(codes[keys.num_rows :], wanted))
