"""How an online table and its rows look in SQLite: statements and cells.

| type | column | content |
|---|---|---|
| tinyint, smallint, int, bigint | INTEGER | the number |
| boolean | INTEGER | 0 or 1 |
| float, double | REAL | the number, every bit of it (SQLite keeps 0.0 for -0.0, as law 5 does) |
| decimal(p,s) | TEXT | the number with s digits behind the point: ``12.50`` |
| string | TEXT | UTF-8, NUL included |
| date | TEXT | ``2014-02-28`` |
| timestamp | INTEGER | microseconds since 1970-01-01 UTC |
| binary | BLOB | the bytes |

``tl_event_us``, ``tl_known_us``, ``tl_valid_until_us`` and ``tl_write_us`` are microseconds since
1970-01-01 UTC; ``tl_deleted`` is 1 in a tombstone, where everything but key and ``tl_write_us`` is
null; ``tl_state`` is what the twinlake reader computes later values from. They start with ``tl_``
so that a feature may be called ``state``. STRICT makes SQLite itself refuse cells of another type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final

from twinlake.errors import InputError
from twinlake.online.store import Key, OnlineRow, OnlineTable
from twinlake.online.values import ColumnType, decimal_text, from_micros, to_micros

_STORAGE: Final = {
    "string": "TEXT",
    "boolean": "INTEGER",
    "tinyint": "INTEGER",
    "smallint": "INTEGER",
    "int": "INTEGER",
    "bigint": "INTEGER",
    "float": "REAL",
    "double": "REAL",
    "decimal": "TEXT",
    "date": "TEXT",
    "timestamp": "INTEGER",
    "binary": "BLOB",
}
# In the order of OnlineRow, so that a row is cut into one at two places.
_SYSTEM: Final = (
    "tl_event_us",
    "tl_known_us",
    "tl_valid_until_us",
    "tl_state",
    "tl_write_us",
    "tl_deleted",
)
STATE_CELL: Final = _SYSTEM.index("tl_state") - len(_SYSTEM)
"""Where the state stands in a row's cells, from their end."""
_COLUMN = re.compile(r'^  "([a-z0-9_]+)" [A-Z ]+, -- (key|feature) (\S+)$', re.MULTILINE)

Cells = tuple[Any, ...]
"""One row as statements take and give it: key, features, times, state, order, tombstone mark."""


def sqlite_ddl(table: OnlineTable) -> str:
    """The CREATE TABLE statement; its comments keep the declared types, see ``parse_ddl``."""
    lines = [
        f'  "{name}" {_STORAGE[column.kind]} NOT NULL, -- key {column.name}'
        for (name, _), column in zip(table.keys, table.key_types, strict=True)
    ]
    # The short fixed columns come before features and state: an upsert that compares tl_write_us
    # and a count that reads tl_deleted need not follow a long row to its overflow pages.
    lines += [
        '  "tl_event_us" INTEGER,',
        '  "tl_known_us" INTEGER,',
        '  "tl_valid_until_us" INTEGER,',
        '  "tl_write_us" INTEGER NOT NULL,',
        '  "tl_deleted" INTEGER NOT NULL,',
    ]
    lines += [
        f'  "{name}" {_STORAGE[column.kind]}, -- feature {column.name}'
        for (name, _), column in zip(table.features, table.feature_types, strict=True)
    ]
    key = ", ".join(f'"{name}"' for name, _ in table.keys)
    lines += ['  "tl_state" BLOB,', f"  PRIMARY KEY ({key})"]
    return f'CREATE TABLE "{table.name}" (\n' + "\n".join(lines) + "\n) STRICT"


def parse_ddl(name: str, statement: str) -> OnlineTable | None:
    """The table that ``sqlite_ddl`` wrote this statement for; None if it did not write it."""
    columns = [(match[2], match[1], match[3]) for match in _COLUMN.finditer(statement)]
    try:
        table = OnlineTable(
            name,
            keys=tuple((column, kind) for role, column, kind in columns if role == "key"),
            features=tuple((column, kind) for role, column, kind in columns if role == "feature"),
        )
    except InputError:
        return None
    return table if sqlite_ddl(table) == statement else None


def differences(table: OnlineTable, stored: str) -> str:
    """Name what is stored differently from what was asked."""
    return column_differences(table, parse_ddl(table.name, stored))


def column_differences(table: OnlineTable, there: OnlineTable | None) -> str:
    """Name how a table that is there, if it is one of ours, differs from what was asked."""
    if there is None:
        return f"{table.name} exists already and was not created as an online table"
    found = []
    for role, old, new in (
        ("key", there.keys, table.keys),
        ("feature", there.features, table.features),
    ):
        before, after = dict(old), dict(new)
        found += [f"{role} {name} is not stored" for name in after.keys() - before.keys()]
        found += [f"{role} {name} is only stored" for name in before.keys() - after.keys()]
        found += [
            f"{role} {name} is stored as {before[name]}, not {after[name]}"
            for name in before.keys() & after.keys()
            if before[name] != after[name]
        ]
    listed = "; ".join(sorted(found)) or "the columns are in another order"
    return f"online table {table.name} exists with other columns: {listed}"


class Statements:
    """The SQL of one table. Columns are qualified: SQLite reads a bare "unknown" as a string."""

    def __init__(self, table: OnlineTable) -> None:
        """Build what does not depend on the number of keys."""
        self._keys = [f'"{name}"' for name, _ in table.keys]
        features = [f'"{name}"' for name, _ in table.features]
        rest = [*features, *(f'"{name}"' for name in _SYSTEM)]
        names = [*self._keys, *rest]
        marks = ", ".join("?" * len(names))
        self._from = f'FROM "{table.name}" AS o'
        self._columns = ", ".join(f"o.{name}" for name in names)
        self._by_count: dict[int, str] = {}
        self.select_one = self._select(1)
        self.upsert = (
            f'INSERT INTO "{table.name}" AS o ({", ".join(names)}) VALUES ({marks}) '
            f"ON CONFLICT ({', '.join(self._keys)}) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in rest)
            + ' WHERE excluded."tl_write_us" > o."tl_write_us"'
        )
        same = " AND ".join(f"{name} = ?" for name in self._keys)
        self.purge = f'DELETE FROM "{table.name}" WHERE {same}'
        self.count = f'SELECT count(*) {self._from} WHERE o."tl_deleted" = 0'
        order = ", ".join(f"o.{name}" for name in self._keys)
        live = f'SELECT {self._columns} {self._from} WHERE o."tl_deleted" = 0'
        self.first_page = f"{live} ORDER BY {order} LIMIT ?"
        after = ", ".join("?" * len(self._keys))
        self.next_page = f"{live} AND ({order}) > ({after}) ORDER BY {order} LIMIT ?"

    def select(self, count: int) -> str:
        """Rows and tombstones of ``count`` keys; a key of nulls matches nothing."""
        known = self._by_count.get(count)
        if known is None:
            known = self._by_count[count] = self._select(count)
        return known

    def _select(self, count: int) -> str:
        if count == 1:
            same = " AND ".join(f"o.{name} = ?" for name in self._keys)
            return f"SELECT {self._columns} {self._from} WHERE {same}"
        if len(self._keys) == 1:
            marks = ", ".join("?" * count)
            return f"SELECT {self._columns} {self._from} WHERE o.{self._keys[0]} IN ({marks})"
        # (a, b) IN (VALUES ...) scans the whole table; a join from the wanted keys searches.
        marks = ", ".join([f"({', '.join('?' * len(self._keys))})"] * count)
        same = " AND ".join(f"o.{name} = wanted.{name}" for name in self._keys)
        return (
            f"WITH wanted({', '.join(self._keys)}) AS (VALUES {marks}) SELECT {self._columns} "
            f"FROM wanted CROSS JOIN {self._from.removeprefix('FROM ')} ON {same}"
        )


class CellCodec:
    """Turns rows of one table into cells and back."""

    def __init__(self, table: OnlineTable) -> None:
        """Note which columns SQLite holds in another form than Python."""
        self.key_width = len(table.keys)
        end = self.key_width + len(table.features)
        self._key, self._features = slice(self.key_width), slice(self.key_width, end)
        self._rest = slice(end, end + len(_SYSTEM) - 1)
        self.write_us = end + _SYSTEM.index("tl_write_us")
        self.deleted = end + _SYSTEM.index("tl_deleted")
        self._no_features = (None,) * len(table.features)
        self._encode_key = _encoders(0, table.key_types)
        self._encode = _encoders(0, table.feature_types)
        self._decode = _decoders(0, table.key_types)
        self._decode += _decoders(self.key_width, table.feature_types)

    def key(self, key: Key) -> Key:
        """The cells of a key."""
        return _convert(key, self._encode_key) if self._encode_key else key

    def keys(self, keys: Sequence[Key]) -> list[Key]:
        """The cells of some keys."""
        return list(map(self.key, keys)) if self._encode_key else list(keys)

    def row(self, row: OnlineRow) -> Cells:
        """The cells of a row."""
        values = _convert(row.values, self._encode) if self._encode else row.values
        key = self.key(row.key)
        return (*key, *values, *row[2:], 0)

    def tombstone(self, key: Key, write_us: int) -> Cells:
        """The cells that say that a key has no row."""
        return (*self.key(key), *self._no_features, None, None, None, None, write_us, 1)

    def online_row(self, cells: Cells) -> OnlineRow:
        """The row of these cells, which are not a tombstone's."""
        if self._decode:
            cells = _convert(cells, self._decode)
        # What the class itself would do, in half the time.
        row = cells[self._key], cells[self._features], *cells[self._rest]
        return tuple.__new__(OnlineRow, row)


_Conversions = list[tuple[int, Callable[[Any], Any]]]


def _convert(values: Cells, conversions: _Conversions) -> Cells:
    converted = list(values)
    for index, convert in conversions:
        if converted[index] is not None:
            converted[index] = convert(converted[index])
    return tuple(converted)


def _encoders(start: int, columns: tuple[ColumnType, ...]) -> _Conversions:
    return [
        (index, encoder)
        for index, column in enumerate(columns, start)
        if (encoder := _encoder(column)) is not None
    ]


def _encoder(column: ColumnType) -> Callable[[Any], Any] | None:
    by_kind: dict[str, Callable[[Any], Any]] = {
        "boolean": int,
        "date": date.isoformat,
        "decimal": partial(decimal_text, column),
        "timestamp": to_micros,
    }
    return by_kind.get(column.kind)


def _decoders(start: int, columns: tuple[ColumnType, ...]) -> _Conversions:
    by_kind: dict[str, Callable[[Any], Any]] = {
        "boolean": bool,
        "date": date.fromisoformat,
        "decimal": Decimal,
        "timestamp": from_micros,
    }
    return [
        (index, by_kind[column.kind])
        for index, column in enumerate(columns, start)
        if column.kind in by_kind
    ]
