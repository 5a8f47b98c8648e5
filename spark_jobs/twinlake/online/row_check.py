"""What a row and a key must be so that every store can hold them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from operator import itemgetter
from types import NoneType
from typing import Any

from twinlake.errors import InputError
from twinlake.online.store import Key, OnlineRow, OnlineTable
from twinlake.online.values import (
    INT64_HIGH,
    INT64_LOW,
    MAX_KEY_BYTES,
    MAX_ROW_BYTES,
    ColumnType,
)

_FLOATS = frozenset({float, NoneType})

# What a row weighs beside its state, texts and bytes, rather too much than too little.
_ROW_BYTES, _COLUMN_BYTES, _SYSTEM_COLUMNS = 100, 24, 6
_BYTES_PER_LETTER = 4  # at most, in UTF-8
_MAX_KEY_SHOWN = 200
_MANY = 8  # keys, from which on looking at all of them at once is faster


class RowCheck:
    """Refuses rows and keys that do not fit a table; every store calls it before it writes."""

    def __init__(self, table: OnlineTable) -> None:
        """Sort the columns by how they are checked: doubles together, the others one by one."""
        self._table = table
        self._key_types, self._width = table.key_types, len(table.keys)
        columns = list(enumerate(table.feature_types))
        doubles = [index for index, column in columns if column.kind == "double"]
        self._others = [(index, column) for index, column in columns if column.kind != "double"]
        self._count = len(columns)
        # itemgetter of one index gives a bare value, so one double is checked like the others.
        if len(doubles) == 1:
            self._others, doubles = columns, []
        self._doubles = itemgetter(*doubles) if doubles and self._others else None
        self._all_doubles = bool(doubles) and not self._others
        self._light = _ROW_BYTES + _COLUMN_BYTES * (_SYSTEM_COLUMNS + self._width + len(columns))
        self._heavy = _heavy(table.feature_types)
        self._heavy_keys = _heavy(table.key_types)

    def row(self, row: OnlineRow) -> None:
        """Check one row.

        Raises:
            InputError: A part of it does not fit; names table, column and key, not the value.
        """
        self.key(row.key)
        values, event_us, known_us, write_us = row.values, row.event_us, row.known_us, row.write_us
        until_us = event_us if row.valid_until_us is None else row.valid_until_us
        if len(values) != self._count:
            self._refuse(row.key, f"{len(values)} values for {self._count} features")
        group = values if self._all_doubles else self._doubles(values) if self._doubles else ()
        # One pass over the classes and one sum instead of a call per cell. The sum of infinities
        # of both signs is NaN too, so only the slow look decides.
        if not set(map(type, group)) <= _FLOATS or _sum_is_nan(group):
            self._look(row.key, values)
        for index, column in self._others:
            value = values[index]
            if value is not None and column.problem(value) is not None:
                self._look(row.key, values)
        if not (
            type(event_us) is type(known_us) is type(until_us) is type(write_us) is int
            and type(row.state) is bytes
        ):
            self._refuse(row.key, "times are int and state is bytes")
        if not (
            INT64_LOW <= event_us <= INT64_HIGH
            and INT64_LOW <= known_us <= INT64_HIGH
            and INT64_LOW <= until_us <= INT64_HIGH
            and 0 <= write_us <= INT64_HIGH
        ):
            self._refuse(row.key, "a time outside 64 bits, or write_us below 0")
        letters = 0
        for index in self._heavy:
            letters += len(values[index] or "")
        for index in self._heavy_keys:
            letters += len(row.key[index])
        # Weighing texts exactly takes a copy of each; almost no row comes near the limit.
        if self._light + len(row.state) + _BYTES_PER_LETTER * letters > MAX_ROW_BYTES:
            self._weigh(row)

    def _weigh(self, row: OnlineRow) -> None:
        parts = [("state", len(row.state))]
        parts += [(self._table.features[i][0], _bytes(row.values[i])) for i in self._heavy]
        parts += [(self._table.keys[i][0], _bytes(row.key[i])) for i in self._heavy_keys]
        total = self._light + sum(size for _, size in parts)
        if total > MAX_ROW_BYTES:
            name, size = max(parts, key=itemgetter(1))
            raise InputError(
                f"online table {self._table.name}, key {_shortened(row.key)}: its row takes "
                f"{total:,} bytes, at most {MAX_ROW_BYTES:,} fit; {size:,} of them are its {name}",
                hint="split the view, shorten its windows, widen its hop, or leave long texts out",
            )

    def key(self, key: Key) -> None:
        """Check one key.

        Raises:
            InputError: Wrong number or class of parts, a None, or nothing but empty parts, which
                Cassandra cannot hold.
        """
        if type(key) is not tuple or len(key) != self._width:
            names = ", ".join(name for name, _ in self._table.keys)
            raise InputError(f"a key of online table {self._table.name} is a tuple of ({names})")
        for column, part in zip(self._key_types, key):  # noqa: B905 (of one length, see above)
            if problem := column.problem(part):
                self._refuse(key, f"its {column.name} part: {problem}")
        if key in (("",), (b"",)):
            self._refuse(key, "an empty key")
        if self._heavy_keys and sum([_bytes(key[i]) for i in self._heavy_keys]) > MAX_KEY_BYTES:
            self._refuse(key, f"a key of more than {MAX_KEY_BYTES:,} bytes")

    def keys(self, keys: Sequence[Key]) -> None:
        """Check many keys, of which nearly always each fits, in a few calls for all.

        Raises:
            InputError: One does not fit, see ``key``.
        """
        if len(keys) < _MANY or not self._fit_at_a_glance(keys):
            for key in keys:
                self.key(key)

    def _fit_at_a_glance(self, keys: Sequence[Key]) -> bool:
        """Tell whether all keys fit; False where a closer look has to tell."""
        if set(map(type, keys)) != {tuple} or set(map(len, keys)) != {self._width}:
            return False
        for column, parts in zip(self._key_types, zip(*keys, strict=True), strict=True):
            if set(map(type, parts)) != {column.python}:
                return False
            if column.kind == "string":
                whole = "".join(parts)
                if not whole.isascii() or len(whole) > MAX_KEY_BYTES or "" in parts:
                    return False
            elif column.python is not int or any(map(column.problem, (min(parts), max(parts)))):
                return False
        return True

    def write_us(self, write_us: int) -> None:
        """Check the order of a delete.

        Raises:
            InputError: Not an int between 0 and the greatest of 64 bits.
        """
        if type(write_us) is not int or not 0 <= write_us <= INT64_HIGH:
            raise InputError("write_us is an int, at least 0 and within 64 bits")

    def _look(self, key: Key, values: tuple[Any, ...]) -> None:
        pairs = zip(self._table.features, self._table.feature_types, values, strict=True)
        for (name, _), column, value in pairs:
            if value is not None and (problem := column.problem(value)):
                self._refuse(key, f"feature {name}: {problem}")

    def _refuse(self, key: Key, problem: str) -> None:
        raise InputError(f"online table {self._table.name}, key {_shortened(key)}: {problem}")


def _heavy(types: Sequence[ColumnType]) -> list[int]:
    """Find the columns whose cells have no bounded size."""
    return [i for i, column in enumerate(types) if column.kind in {"string", "binary"}]


def _bytes(cell: str | bytes | None) -> int:
    return len(cell.encode() if isinstance(cell, str) else cell or b"")


def _shortened(key: Key) -> str:
    text = repr(key)
    return text if len(text) <= _MAX_KEY_SHOWN else f"{text[:_MAX_KEY_SHOWN]}..."


def _sum_is_nan(group: tuple[Any, ...]) -> bool:
    try:
        total = sum(group)
    except TypeError:  # a null among them
        total = sum(value for value in group if value is not None)
    return isnan(total)
