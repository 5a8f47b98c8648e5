"""Compare what is stored and served with what plain Python makes of the events, cell by cell.

Runs inside Spark's workers on Arrow batches. The batches of a part hold three kinds of rows, told
apart by ``side``, and all rows of a key are in one part:

    events   key, event_us, known_us, hash_a, hash_b, version, row, c_COLUMN...
    offline  key, event_us, known_us, version, row (of the event), f_FEATURE...
    online   key, event_us, known_us, version (V), as_of_us, f_FEATURE (served), s_FEATURE (stored),
             t_FEATURE (served status), is_valid (whether what is stored is served as of as_of_us),
             problem (why there is nothing to compare)
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from twinlake.assurance.recompute import (
    MISSING,
    NOT_YET_KNOWN,
    NULL,
    OVERFLOW,
    PRESENT,
    EventRow,
    Overflow,
    Shape,
    Vector,
    recompute,
)

EVENTS, OFFLINE, ONLINE = 0, 1, 2
# Enough differences from each part to see a pattern; all of them are counted.
MAX_EXAMPLES = 20

REPORT_SCHEMA = (
    "check string, key string, feature string, at_us bigint, expected string, found string, "
    "rows bigint, cells bigint, nulls bigint, mismatches bigint"
)
_ARROW_REPORT = pa.schema(
    [(name, pa.string()) for name in ("check", "key", "feature")]
    + [("at_us", pa.int64())]
    + [(name, pa.string()) for name in ("expected", "found")]
    + [(name, pa.int64()) for name in ("rows", "cells", "nulls", "mismatches")]
)


@dataclass(frozen=True)
class Comparison:
    """What to compare, for one view.

    Attributes:
        keys: Names of the key columns.
        shape: What to compute.
        version: Ingest version that the offline table reflects.
        covered: Intervals ``(start_us, end_us]`` of event times that must have offline rows.
    """

    keys: Sequence[str]
    shape: Shape
    version: int
    covered: tuple[tuple[int, int], ...]


@dataclass
class _Tally:
    rows: int = 0
    cells: int = 0
    nulls: int = 0
    mismatches: int = 0
    examples: list[tuple[str, str, int | None, str, str]] = field(default_factory=list)

    def cell(self, place: tuple[str, str, int | None], expected: Any, found: Any) -> None:  # noqa: ANN401
        """Count one cell, and keep it if it differs."""
        self.cells += 1
        if expected is None and found is None:
            self.nulls += 1
        if not same(expected, found):
            self.mismatches += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append((*place, _text(expected), _text(found)))


def compare(batches: Iterable[pa.RecordBatch], comparison: Comparison) -> Iterator[pa.RecordBatch]:
    """Compare one part and yield its report: totals of each check, then differences."""
    tallies = {"offline": _Tally(), "stored": _Tally(), "served": _Tally()}
    tables = [pa.Table.from_batches([batch]) for batch in batches if batch.num_rows]
    if tables:
        columns = pa.concat_tables(tables).to_pydict()
        for key, positions in _by_key(columns, comparison.keys).items():
            _compare_key(key, positions, columns, comparison, tallies)
    rows: list[tuple[Any, ...]] = []
    for check, tally in tallies.items():
        totals = (tally.rows, tally.cells, tally.nulls, tally.mismatches)
        rows.append((check, None, None, None, None, None, *totals))
        rows += [(check, *example, 0, 0, 0, 0) for example in tally.examples]
    arrays = [
        pa.array(column, kind)
        for column, kind in zip(zip(*rows, strict=True), _ARROW_REPORT.types, strict=True)
    ]
    yield pa.RecordBatch.from_arrays(arrays, schema=_ARROW_REPORT)


def same(expected: Any, found: Any) -> bool:  # noqa: ANN401 (cells of any type)
    """Tell whether two cells are equal; doubles bit for bit."""
    if isinstance(expected, float) and isinstance(found, float):
        return struct.pack("<d", expected) == struct.pack("<d", found)
    return type(expected) is type(found) and bool(expected == found)


def _text(value: Any) -> str:  # noqa: ANN401 (a cell of any type)
    return "null" if value is None else repr(value)


def _by_key(columns: dict[str, list[Any]], keys: Sequence[str]) -> dict[tuple[Any, ...], list[int]]:
    positions: dict[tuple[Any, ...], list[int]] = {}
    for position, key in enumerate(zip(*(columns[name] for name in keys), strict=True)):
        positions.setdefault(key, []).append(position)
    return positions


def _compare_key(
    key: tuple[Any, ...],
    positions: list[int],
    columns: dict[str, list[Any]],
    comparison: Comparison,
    tallies: dict[str, _Tally],
) -> None:
    side = columns["side"]
    named = json.dumps(dict(zip(comparison.keys, key, strict=True)), default=str)
    events = {
        (columns["version"][p], columns["row"][p]): _event(p, columns, comparison.shape)
        for p in positions
        if side[p] == EVENTS
    }
    stored = {
        (columns["version"][p], columns["row"][p]): p for p in positions if side[p] == OFFLINE
    }
    _compare_offline(named, events, stored, columns, comparison, tallies["offline"])
    online = [position for position in positions if side[position] == ONLINE]
    for position in online:
        _compare_online(named, events, position, columns, comparison, tallies)
    visible = any(version <= comparison.version for version, _ in events)
    if not online and visible and "as_of_us" in columns:
        tallies["stored"].rows += 1
        tallies["stored"].cell((named, "(row)", None), "a row", "no row")


def _event(position: int, columns: dict[str, list[Any]], shape: Shape) -> EventRow:
    needed = {feature.column for feature in shape.features if feature.column}
    return EventRow(
        columns["event_us"][position],
        columns["known_us"][position],
        (columns["hash_a"][position], columns["hash_b"][position]),
        {name: columns[f"c_{name}"][position] for name in needed},
    )


def _compare_offline(
    named: str,
    events: dict[tuple[int, int], EventRow],
    stored: dict[tuple[int, int], int],
    columns: dict[str, list[Any]],
    comparison: Comparison,
    tally: _Tally,
) -> None:
    known = {at: row for at, row in events.items() if at[0] <= comparison.version}
    wanted = {
        at: row
        for at, row in known.items()
        if any(start_us < row.event_us <= end_us for start_us, end_us in comparison.covered)
    }
    vectors = recompute(
        list(known.values()),
        [(row.event_us, row.known_us) for row in wanted.values()],
        comparison.shape,
    )
    for (at, row), vector in zip(wanted.items(), vectors, strict=True):
        tally.rows += 1
        position = stored.get(at)
        if position is None:
            tally.cell((named, "(row)", row.event_us), "a row", "no row")
            continue
        tally.cell(
            (named, "event_timestamp", row.event_us), row.event_us, columns["event_us"][position]
        )
        for feature, value in zip(comparison.shape.features, vector.values, strict=True):
            found = columns[f"f_{feature.name}"][position]
            tally.cell((named, feature.name, row.event_us), _cell(value), found)
    for at, position in stored.items():
        if at not in wanted:
            tally.rows += 1
            place = (named, "(row)", columns["event_us"][position])
            tally.cell(place, "no row", "a row")


def _compare_online(
    named: str,
    events: dict[tuple[int, int], EventRow],
    position: int,
    columns: dict[str, list[Any]],
    comparison: Comparison,
    tallies: dict[str, _Tally],
) -> None:
    """Compare a row at its own version: stored columns as of its newest event, and as served."""
    version, as_of_us = columns["version"][position], columns["as_of_us"][position]
    stored, served = tallies["stored"], tallies["served"]
    problem = columns["problem"][position]
    if problem is not None:
        stored.rows += 1
        stored.cell((named, "(row)", as_of_us), "a readable row", problem)
        return
    rows = [row for (landed, _), row in events.items() if landed <= version]
    newest = max(rows, key=lambda row: row.order, default=None)
    at_newest_us = newest.event_us if newest else as_of_us
    known_us = max((row.known_us for row in rows), default=as_of_us)
    at_newest, at_as_of = recompute(
        rows, [(at_newest_us, known_us), (as_of_us, as_of_us)], comparison.shape
    )
    # What was published must be in the row: one put back from earlier is right in itself.
    published = max((landed for landed, _ in events if landed <= comparison.version), default=0)
    if version < published:
        stored.cell((named, "(version)", as_of_us), published, version)
    stored.rows += 1
    served.rows += 1
    found_us = columns["event_us"][position]
    stored.cell((named, "event_timestamp", at_newest_us), at_newest.event_us, found_us)
    for index, feature in enumerate(comparison.shape.features):
        place = (named, feature.name, at_newest_us)
        stored.cell(place, _cell(at_newest.values[index]), columns[f"s_{feature.name}"][position])
        place = (named, feature.name, as_of_us)
        expected_status, expected = _served(at_as_of, index)
        found = columns[f"f_{feature.name}"][position]
        if columns["is_valid"][position] and same(expected, found):
            found = columns[f"s_{feature.name}"][position]  # then this is what is served
        served.cell(place, expected, found)
        status = columns[f"t_{feature.name}"][position]
        if status != expected_status:
            # The value was counted as a cell already; its status belongs to it.
            served.cells -= 1
            served.cell(place, expected_status, status)


def _cell(value: Any) -> Any:  # noqa: ANN401 (a cell of any type)
    """Give what a table holds of a value: what cannot be given is empty there."""
    return None if isinstance(value, Overflow) else value


def _served(vector: Vector, index: int) -> tuple[str, Any]:
    if vector.status == NOT_YET_KNOWN:
        return MISSING, None  # who serves knows of nothing that is not known yet
    if vector.status != PRESENT:
        return vector.status, None
    value = vector.values[index]
    if isinstance(value, Overflow):
        return repr(OVERFLOW), None
    return (NULL if value is None else PRESENT), value
