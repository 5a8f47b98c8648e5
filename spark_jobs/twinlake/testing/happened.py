"""Rows of a test read as those of a source: each typed, with the verdict that it would get."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeAlias

from twinlake.definitions.resolution import all_columns, needed_columns
from twinlake.definitions.sources import KNOWN_AT_ARRIVAL, KNOWN_AT_EVENT, Source
from twinlake.definitions.times import to_us
from twinlake.definitions.typed_values import exact_value, typed_value
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES
from twinlake.definitions.views import FeatureView
from twinlake.errors import InputError
from twinlake.testing.row_gate import problems

ACCEPTED, DUPLICATE, QUARANTINED = "accepted", "duplicate", "quarantined"
# When a row became known, where its source says "arrival": the name that it has in events tables.
ARRIVED = "_known_timestamp"

Rows: TypeAlias = str | Sequence[Mapping[str, Any]]
"""Rows as a test gives them: dictionaries, or a table as text."""
Condition: TypeAlias = Callable[[Mapping[str, Any]], bool]

_FLOAT = struct.Struct("f")


@dataclass(frozen=True, slots=True)
class Happened:
    """One row of a test.

    Attributes:
        number: Its place among the rows, from 1.
        cells: Its columns, each of its type; None for null.
        event_us: When it happened; None where the row does not say.
        known_us: When it became known, likewise.
        verdict: accepted, duplicate or quarantined.
        reason: Why it is not accepted; empty where it is.
        is_wanted: Whether it fulfils the source's ``where``.
    """

    number: int
    cells: Mapping[str, Any]
    event_us: int | None
    known_us: int | None
    verdict: str = ACCEPTED
    reason: str = ""
    is_wanted: bool = True

    @property
    def takes_part(self) -> bool:
        """Whether features see it."""
        return self.verdict == ACCEPTED and self.is_wanted


def read_rows(
    source: Source, rows: Rows, views: Sequence[FeatureView], where: Condition | None
) -> list[Happened]:
    """Read the rows of a test as rows of a source.

    Args:
        source: The source.
        rows: Dictionaries, or a table as text; a column that is not there is null.
        views: The views on the source; a row without their join keys is of no use.
        where: Says of a row whether it fulfils the source's ``where``.

    Raises:
        InputError: A row has a column that the source has not, or a value of another type, or
            lacks what only Spark could compute.
    """
    told = table_rows(rows) if isinstance(rows, str) else [dict(row) for row in rows]
    if source.where is not None and where is None and told:
        raise InputError(
            f"source {source.name} takes rows only where {source.where}, which Spark evaluates",
            hint="say it in Python beside the rows, such as where=lambda row: row['amount'] > 0",
        )
    _refuse_unknown(source, told)
    _refuse_underived(source, told, views)
    told = _identified(source, told)
    keys = list(dict.fromkeys(key for view in views for key in view.stored.entity.join_keys))
    found = [_judged(source, keys, number, row) for number, row in enumerate(told, 1)]
    found = list(_claimed(source, found))
    if source.where is None or where is None:
        return found
    return [replace(row, is_wanted=bool(where(row.cells))) for row in found]


def table_rows(text: str) -> list[dict[str, Any]]:
    """Read a table: a line of names, then a line a row; ``-`` stands for null.

    Cells stand two spaces or more apart, or between bars.

    Raises:
        InputError: A line has another number of cells than the first.

    Examples:
        >>> table_rows('''
        ...     tid  amount
        ...     a    5.00
        ...     b    -
        ... ''')
        [{'tid': 'a', 'amount': '5.00'}, {'tid': 'b', 'amount': None}]
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line.strip("-=+| ")]
    if not lines:
        return []
    has_bars = "|" in lines[0]
    heads, *rows = (_cells(line, has_bars=has_bars) for line in lines)
    for number, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise InputError(
                f"row {number} of the table has {len(row)} cells under {len(heads)} names: "
                f"{lines[number]!r}",
                hint="keep cells two spaces apart, or put bars between them; write - for null",
            )
    return [
        {name: None if cell == "-" else cell for name, cell in zip(heads, row, strict=True)}
        for row in rows
    ]


def _cells(line: str, *, has_bars: bool) -> list[str]:
    parts = line.strip("|").split("|") if has_bars else re.split(r"\t+| {2,}", line)
    return [part.strip() for part in parts]


def _refuse_unknown(source: Source, rows: Sequence[Mapping[str, Any]]) -> None:
    allowed = [*all_columns(source)]
    if source.known == KNOWN_AT_ARRIVAL:
        allowed.append(ARRIVED)
    for row in rows:
        for name in row:
            if name == ARRIVED and name not in allowed:
                raise InputError(
                    f"rows of source {source.name} are known at {source.known!r}, so {ARRIVED} "
                    "says nothing",
                    hint=f"leave it out, or give the column {source.known}"
                    if source.known != KNOWN_AT_EVENT
                    else "leave it out, or declare known= at the source",
                )
            if name not in allowed:
                raise InputError.unknown(f"column of source {source.name}", name, allowed)


def _refuse_underived(
    source: Source, rows: Sequence[Mapping[str, Any]], views: Sequence[FeatureView]
) -> None:
    """Refuse rows without a derived column that is needed: its expression is Spark's."""
    needed = {source.event_timestamp, source.known, *source.event_id_columns}
    needed.update(
        name for view in views for name in (*needed_columns(view), *view.stored.entity.join_keys)
    )
    needed.update(name for item in source.row_expectations for name in item.columns)
    for name, derived in source.with_columns.items():
        without = [number for number, row in enumerate(rows, 1) if name not in row]
        if name in needed and without:
            raise InputError(
                f"row {without[0]} has no {name}, which source {source.name} derives by Spark's "
                f"SQL: {derived.sql}",
                hint=f"give {name} in the rows, beside or instead of what it is derived from",
            )


def _identified(source: Source, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give rows an identity of their own where none of them has one."""
    if len(source.event_id_columns) != 1 or not rows:
        return list(rows)
    (name,) = source.event_id_columns
    kind = all_columns(source)[name]
    if any(name in row for row in rows) or kind not in {"string", *INTEGER_TYPES}:
        return list(rows)
    return (
        [{**row, name: number} for number, row in enumerate(rows, 1)]
        if kind != "string"
        else [{**row, name: f"row {number}"} for number, row in enumerate(rows, 1)]
    )


def _judged(source: Source, keys: Sequence[str], number: int, row: Mapping[str, Any]) -> Happened:
    """Type a row and let the gate judge it."""
    cells = {
        name: _cell(f"row {number}, {name}", row.get(name), kind)
        for name, kind in all_columns(source).items()
    }
    event_us = _instant_us(cells[source.event_timestamp])
    if source.known == KNOWN_AT_EVENT:
        known_us = event_us
    elif source.known == KNOWN_AT_ARRIVAL:
        # As of loaded history: its arrival says nothing about it.
        arrived = _cell(f"row {number}, {ARRIVED}", row.get(ARRIVED), "timestamp")
        known_us = event_us if arrived is None else _instant_us(arrived)
    else:
        known_us = _instant_us(cells[source.known])
    broken = "; ".join(problems(source, cells, event_us, known_us, keys))
    verdict = QUARANTINED if broken else ACCEPTED
    return Happened(number, cells, event_us, known_us, verdict, broken)


def _instant_us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _cell(place: str, value: Any, kind: str) -> Any:  # noqa: ANN401 (a cell of any type)
    """Read a cell as its column's type; what is no finite number stays, for the gate to judge."""
    if value is None or (kind == "binary" and isinstance(value, bytes)):
        return value
    value = typed_value(place, value, kind)
    if kind in FLOAT_TYPES and isinstance(value, float) and not isfinite(value):
        return value
    read = exact_value(place, value, kind)
    if kind == "timestamp":
        return read.astimezone(UTC)
    # What a column of 32 bits would hold; what is beyond it is infinite there, too.
    return _FLOAT.unpack(_FLOAT.pack(read))[0] if kind == "float" else read


def _claimed(source: Source, rows: Sequence[Happened]) -> Iterator[Happened]:
    """Give each accepted row its identity: who claims one that is taken is a duplicate.

    Raises:
        InputError: Two rows of other content claim one identity.
    """
    taken: dict[tuple[Any, ...], Happened] = {}
    for row in rows:
        if row.verdict != ACCEPTED:
            yield row
            continue
        identity = tuple(row.cells[name] for name in source.event_id_columns or row.cells)
        first = taken.setdefault(identity, row)
        if first.cells != row.cells:
            named = ", ".join(f"{name}={row.cells[name]}" for name in source.event_id_columns)
            raise InputError(
                f"rows {first.number} and {row.number} of source {source.name} have the identity "
                f"{named} and other content: one of them is quarantined, by a hash",
                hint=f"give each its own {', '.join(source.event_id_columns)}",
            )
        if first is row:
            yield row
        else:
            yield replace(row, verdict=DUPLICATE, reason=f"the same as row {first.number}")
