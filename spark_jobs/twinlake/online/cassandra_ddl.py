"""How an online table and its rows look in Cassandra: statements and cells.

| type | CQL | content |
|---|---|---|
| tinyint, smallint, int, bigint, boolean, float, double, date | the same | the value |
| decimal(p,s) | decimal | the number with s digits behind the point |
| string | text | UTF-8, NUL included |
| timestamp | bigint | microseconds since 1970-01-01 UTC: a CQL timestamp has milliseconds only |
| binary | blob | the bytes |

All join keys together are the partition key, so that a row is a partition. ``tl_event_us``,
``tl_known_us``, ``tl_valid_until_us`` and ``tl_write_us`` are microseconds since 1970-01-01 UTC;
``tl_write_us`` is the write timestamp of every cell, too. ``tl_state`` is what the twinlake reader
computes later values from. They start with ``tl_`` so that a feature may be called ``state``. The
table's comment keeps the declared types, for CQL has no name for some of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

from twinlake.errors import InputError
from twinlake.online.store import Key, OnlineRow, OnlineTable
from twinlake.online.values import ColumnType, decimal_text, from_micros, to_micros

# For as long as a tombstone is kept, a delayed older write does not get past it. It must outlast
# the longest delay of a write and the time between two repairs of a cluster: ten days.
GC_GRACE_SECONDS: Final = 864_000

_CQL: Final = {
    "string": "text",
    "timestamp": "bigint",
    "binary": "blob",
}
SYSTEM: Final = ("tl_event_us", "tl_known_us", "tl_valid_until_us", "tl_write_us")
STATE: Final = "tl_state"
_MARK: Final = "twinlake online table 1"
_COLUMN = re.compile(r"; (key|feature) ([a-z0-9_]+) ([a-z]+(?:\(\d+,\d+\))?)")

Cells = list[bytes | None]
"""One row as it is sent: key, times, features, state."""


def table_options(table: OnlineTable) -> dict[str, str]:
    """What a table is created WITH, as CQL; here alone, for not every server knows every option."""
    return {
        "comment": f"'{comment(table)}'",
        "gc_grace_seconds": str(GC_GRACE_SECONDS),
    }


def cassandra_ddl(table: OnlineTable, keyspace: str = "") -> str:
    """The CREATE TABLE statement, in a keyspace or, without one, wherever USE leads."""
    lines = [
        f'  "{name}" {_cql_type(column)}, -- key {column.name}'
        for (name, _), column in zip(table.keys, table.key_types, strict=True)
    ]
    lines += [f'  "{name}" bigint,' for name in SYSTEM]
    lines += [
        f'  "{name}" {_cql_type(column)}, -- feature {column.name}'
        for (name, _), column in zip(table.features, table.feature_types, strict=True)
    ]
    key = ", ".join(f'"{name}"' for name, _ in table.keys)
    lines += [f'  "{STATE}" blob,', f"  PRIMARY KEY (({key}))"]
    options = "\n  AND ".join(f"{name} = {value}" for name, value in table_options(table).items())
    return (
        f"CREATE TABLE IF NOT EXISTS {qualified(table.name, keyspace)} (\n"
        + "\n".join(lines)
        + f"\n) WITH {options}"
    )


def keyspace_ddl(keyspace: str, datacenter: str, replication: int) -> str:
    """The CREATE KEYSPACE statement."""
    name = datacenter.replace("'", "''")
    return (
        f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = '
        f"{{'class': 'NetworkTopologyStrategy', '{name}': {replication}}}"
    )


def qualified(name: str, keyspace: str = "") -> str:
    """A table's name as it stands in statements."""
    return f'"{keyspace}"."{name}"' if keyspace else f'"{name}"'


def comment(table: OnlineTable) -> str:
    """What the table's comment says: whose it is, and the columns with their declared types."""
    columns = [f"; key {name} {kind}" for name, kind in table.keys]
    columns += [f"; feature {name} {kind}" for name, kind in table.features]
    return _MARK + "".join(columns)


def parse_comment(name: str, text: str) -> OnlineTable | None:
    """The table that ``comment`` described; None if it did not write this."""
    columns = _COLUMN.findall(text)
    try:
        table = OnlineTable(
            name,
            keys=tuple((column, kind) for role, column, kind in columns if role == "key"),
            features=tuple((column, kind) for role, column, kind in columns if role == "feature"),
        )
    except InputError:
        return None
    return table if comment(table) == text else None


def stored_columns(table: OnlineTable) -> dict[str, tuple[str, str]]:
    """Per column its CQL type and kind, as ``system_schema.columns`` must tell them."""
    keys = zip(table.keys, table.key_types, strict=True)
    features = zip(table.features, table.feature_types, strict=True)
    return {
        **{name: (_cql_type(column), "partition_key") for (name, _), column in keys},
        **dict.fromkeys(SYSTEM, ("bigint", "regular")),
        **{name: (_cql_type(column), "regular") for (name, _), column in features},
        STATE: ("blob", "regular"),
    }


def _cql_type(column: ColumnType) -> str:
    return _CQL.get(column.kind, column.kind)


class CassandraStatements:
    """The CQL of one table; every value is bound."""

    def __init__(self, table: OnlineTable, keyspace: str) -> None:
        """Write all statements out."""
        place = qualified(table.name, keyspace)
        keys = [f'"{name}"' for name, _ in table.keys]
        features = [f'"{name}"' for name, _ in table.features]
        names = [*keys, *(f'"{name}"' for name in SYSTEM), *features, f'"{STATE}"']
        columns, same = ", ".join(names), " AND ".join(f"{name} = ?" for name in keys)
        marks = ", ".join("?" * len(names))
        self.insert = f"INSERT INTO {place} ({columns}) VALUES ({marks}) USING TIMESTAMP ?"
        self.delete = f"DELETE FROM {place} USING TIMESTAMP ? WHERE {same}"
        self.select = f"SELECT {columns} FROM {place} WHERE {same}"
        self.select_in = f"SELECT {columns} FROM {place} WHERE {keys[0]} IN ?"
        self.scan = f"SELECT {columns} FROM {place}"
        self.count = f'SELECT "tl_write_us" FROM {place}'
        self.order = f'SELECT "tl_write_us" FROM {place} WHERE {same}'


class CassandraCodec:
    """Turns rows of one table into what is sent, and answers into rows."""

    def __init__(self, table: OnlineTable) -> None:
        """Look the conversions of all columns up."""
        self._encode_key = [_encoder(column) for column in table.key_types]
        self._encode = [_encoder(column) for column in table.feature_types]
        self._all_doubles = all(column.kind == "double" for column in table.feature_types)
        self._width = len(table.keys)
        self._first = self._width + len(SYSTEM)
        self._decode = _decoders(0, table.key_types) + _decoders(self._first, table.feature_types)

    def key(self, key: Key) -> Cells:
        """The cells of a key."""
        return [encode(part) for encode, part in zip(self._encode_key, key)]  # noqa: B905 (checked)

    def keys(self, keys: Sequence[Key]) -> bytes:
        """The list that IN takes, of keys that have one part."""
        (encode,) = self._encode_key
        parts = [encode(part) for (part,) in keys]
        sized = [piece for part in parts for piece in (_int(len(part)), part)]
        return b"".join((_int(len(parts)), *sized))

    def row(self, row: OnlineRow) -> Cells:
        """The cells of a row, and the write timestamp that they all get."""
        until_us = row.valid_until_us
        order = _bigint(row.write_us)
        cells: Cells = [encode(part) for encode, part in zip(self._encode_key, row.key)]  # noqa: B905
        cells += (
            _bigint(row.event_us),
            _bigint(row.known_us),
            None if until_us is None else _bigint(until_us),
            order,
        )
        if self._all_doubles:
            cells += [None if value is None else _double(value) for value in row.values]
        else:
            cells += [
                None if value is None else encode(value)
                for encode, value in zip(self._encode, row.values)  # noqa: B905 (checked)
            ]
        cells += (row.state, order)
        return cells

    def tombstone(self, key: Key, write_us: int) -> Cells:
        """What a DELETE of a key binds."""
        return [_bigint(write_us), *self.key(key)]

    def online_row(self, cells: tuple[Any, ...]) -> OnlineRow:
        """The row that an answer holds."""
        if self._decode:
            changed = list(cells)
            for index, decode in self._decode:
                if changed[index] is not None:
                    changed[index] = decode(changed[index])
            cells = tuple(changed)
        width, first = self._width, self._first
        event_us, known_us, until_us, write_us = cells[width:first]
        return OnlineRow(
            cells[:width], cells[first:-1], event_us, known_us, until_us, cells[-1], write_us
        )


_bigint = struct.Struct(">q").pack
_double = struct.Struct(">d").pack
_int = struct.Struct(">i").pack
_DAYS_AT_EPOCH: Final = 1 << 31
_EPOCH_DAY: Final = date(1970, 1, 1)


def _encoder(column: ColumnType) -> Callable[[Any], bytes]:
    by_kind: dict[str, Callable[[Any], bytes]] = {
        "string": str.encode,
        "boolean": struct.Struct(">?").pack,
        "tinyint": struct.Struct(">b").pack,
        "smallint": struct.Struct(">h").pack,
        "int": _int,
        "bigint": _bigint,
        "float": struct.Struct(">f").pack,
        "double": _double,
        "decimal": partial(_decimal, column),
        "date": _date,
        "timestamp": _timestamp,
        "binary": bytes,
    }
    return by_kind[column.kind]


def _decimal(column: ColumnType, value: Any) -> bytes:  # noqa: ANN401 (checked to be a Decimal)
    unscaled = int(decimal_text(column, value).replace(".", ""))
    return _int(column.scale) + unscaled.to_bytes(
        unscaled.bit_length() // 8 + 1, "big", signed=True
    )


def _date(value: date) -> bytes:
    return ((value - _EPOCH_DAY).days + _DAYS_AT_EPOCH).to_bytes(4, "big")


def _timestamp(value: Any) -> bytes:  # noqa: ANN401 (checked to be a datetime)
    return _bigint(to_micros(value))


def _from_driver_date(value: Any) -> date:  # noqa: ANN401 (the driver's own class)
    return _EPOCH_DAY + timedelta(days=value.days_from_epoch)


def _decoders(
    start: int, columns: tuple[ColumnType, ...]
) -> list[tuple[int, Callable[[Any], Any]]]:
    by_kind: dict[str, Callable[[Any], Any]] = {
        "date": _from_driver_date,
        "timestamp": from_micros,
    }
    return [
        (index, by_kind[column.kind])
        for index, column in enumerate(columns, start)
        if column.kind in by_kind
    ]
