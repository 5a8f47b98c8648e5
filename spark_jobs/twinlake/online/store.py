"""The contract of an online store: the newest row per key, ordered by knowledge.

A store holds tables. A table holds, per key, either one row or one tombstone, and every write
carries ``write_us``: how much the row reflects. All that a store promises about order follows from
one rule, law 7: *what has the greatest write_us stays*, whatever the order of arrival.

Where stores differ, the method says "every store" and "some stores". The conformance suite in
``tests/conformance/online_store`` holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isnan
from operator import itemgetter
from types import NoneType, TracebackType
from typing import Any, NamedTuple, Protocol, Self

from twinlake.errors import InputError
from twinlake.online.values import (
    INT64_HIGH,
    INT64_LOW,
    MAX_KEY_BYTES,
    MAX_ROW_BYTES,
    ColumnType,
    check_name,
)

Key = tuple[Any, ...]
"""The parts of a key, in the order of the table's keys."""

_FLOATS = frozenset({float, NoneType})

# What a row weighs beside its state, texts and bytes, rather too much than too little.
_ROW_BYTES, _COLUMN_BYTES, _SYSTEM_COLUMNS = 100, 24, 6
_BYTES_PER_LETTER = 4  # at most, in UTF-8
_MAX_KEY_SHOWN = 200
_MANY = 8  # keys, from which on looking at all of them at once is faster


@dataclass(frozen=True, slots=True)
class OnlineTable:
    """The columns of one view under one definition fingerprint.

    Attributes:
        name: The table's name in the store; a changed definition gets another one.
        keys: Names and types of the key's parts. Numbers with a binary point are no keys.
        features: Names and types of the features; there may be none.

    Raises:
        InputError: A name is unsafe or used twice, a type unknown, or there is no key.
    """

    name: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[tuple[str, str], ...]
    key_types: tuple[ColumnType, ...] = field(init=False, repr=False, compare=False)
    feature_types: tuple[ColumnType, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every name and type once, so that no statement meets an unchecked one."""
        check_name("a table", self.name)
        seen: set[str] = set()
        for name, _ in (*self.keys, *self.features):
            check_name("a column", name)
            if name in seen:
                raise InputError(f"online table {self.name} has two columns named {name!r}")
            seen.add(name)
        if not self.keys:
            raise InputError(f"online table {self.name} has no key")
        key_types = tuple(ColumnType.parse(kind) for _, kind in self.keys)
        for (name, kind), column in zip(self.keys, key_types, strict=True):
            if column.python is float:
                raise InputError(f"key {name!r} of online table {self.name} cannot be a {kind}")
        features = tuple(ColumnType.parse(kind) for _, kind in self.features)
        object.__setattr__(self, "key_types", key_types)
        object.__setattr__(self, "feature_types", features)


class OnlineRow(NamedTuple):
    """One key's newest row, whole. A tuple, for a reader makes thousands in a second.

    Attributes:
        key: The parts of the key; none of them None.
        values: One per feature, in the table's order; None is a null and is written as one.
        event_us: Time of the newest event that the row reflects, microseconds since 1970 UTC.
        known_us: When that event became known, likewise.
        valid_until_us: When the next value changes by itself, likewise; None if never.
        state: What a reader needs to compute the values as of a later moment.
        write_us: The order of writes, at least 0; two different rows of a key never share one.
    """

    key: Key
    values: tuple[Any, ...]
    event_us: int
    known_us: int
    valid_until_us: int | None
    state: bytes
    write_us: int


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of a write.

    Attributes:
        applied: Rows that the store took.
        skipped: Rows that the store knows it left out, because what it holds reflects as much or
            more. A store that writes without looking (Cassandra) reports them as applied.
        retries: How often a row was sent once more because no answer came in time.
    """

    applied: int
    skipped: int
    retries: int = 0

    @property
    def rows(self) -> int:
        """All rows that were written."""
        return self.applied + self.skipped


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


class OnlineStore(Protocol):
    """Tables of newest rows. One process writes at a time; any number of threads read.

    Every method raises InputError for arguments that do not fit, StateError for a table that is
    not there or was created with other columns and for a closed store, and EnvironmentFailure when
    the disk, the server or the network refuses. Reads never wait for a writer.
    """

    def create(self, table: OnlineTable) -> None:
        """Create a table; the same table again changes nothing.

        Blocks while another process writes, for a bounded time.

        Raises:
            StateError: A table of that name has other columns; names the differences. Nothing
                was changed: a changed definition takes a new table.
        """
        ...

    def tables(self) -> list[str]:
        """The names of the tables that ``create`` made, sorted."""
        ...

    def drop(self, name: str) -> None:
        """Remove a table with its rows and tombstones; one that is not there is no error."""
        ...

    def ddl(self, table: OnlineTable) -> str:
        """The statement that creates the table, without a trailing semicolon; touches no data."""
        ...

    def write(self, table: OnlineTable, rows: Iterable[OnlineRow]) -> WriteReport:
        """Write rows, each whole and by one statement, nulls included.

        Every store: a row replaces what the key has only if its ``write_us`` is greater, so that
        delayed, repeated and concurrent writes end, in any order, in the row with the greatest.
        The same row again changes nothing. A reader sees a row whole, before or after. The
        iterable is consumed in chunks and may be longer than memory.

        Equal ``write_us`` with different content must not happen, and no store resolves it in a
        way to rely on: SQLite keeps the first and says so where it sees it (both are there when
        the chunk is done); Cassandra settles each cell by itself and cannot tell.

        Blocks until all rows are stored for good, and while another process writes, for a bounded
        time. When it raises, or the process dies, some rows are written, each of them whole, and
        none of the failing chunk where the store has transactions; writing all again completes it.

        Raises:
            InputError: A row does not fit the table; earlier chunks are written.
            StateError: Some stores: a different row has the same ``write_us``. The stored row is
                as before, the other rows of its chunk are written, later ones are not.
        """
        ...

    def delete(self, table: OnlineTable, keys: Iterable[Key], write_us: int) -> WriteReport:
        """Remove rows, leaving tombstones that an older, delayed write does not get past.

        Ordered by ``write_us`` like a write, blocks and fails like one. A key that has no row gets
        a tombstone too. It holds for as long as the store keeps tombstones: SQLite until
        ``purge``, Cassandra for the table's ``gc_grace_seconds``.
        """
        ...

    def purge(self, table: OnlineTable, keys: Iterable[Key]) -> None:
        """Remove rows and tombstones physically, whatever their ``write_us``.

        For ``forget``, once the publisher is fenced: afterwards a delayed write could bring a key
        back. Every store: the keys read as None. Some stores: a write of any ``write_us`` counts
        again at once, and the removed bytes are gone from the files when this returns.
        """
        ...

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """The rows of these keys, in this order; None for a key without a row.

        A key asked twice is answered twice. Keys are fetched together, not one by one. Each row is
        whole; rows of different keys may be from different moments.
        """
        ...

    def read_all(
        self, asked: Sequence[tuple[OnlineTable, Sequence[Key]]]
    ) -> list[list[OnlineRow | None]]:
        """The rows of keys of several tables, each as ``read`` gives them.

        One round: a store behind a network is asked for all of them before it answers any.
        """
        ...

    def read_at_once(
        self, asked: Sequence[tuple[OnlineTable, Sequence[Key]]]
    ) -> list[list[OnlineRow | None]] | None:
        """What ``read_all`` gives, if it can be had without waiting for anybody; else None.

        For who must not wait, such as a loop that serves others meanwhile. A store behind a network
        always gives None, one in a file nearly never.
        """
        ...

    def scan(self, table: OnlineTable) -> Iterator[OnlineRow]:
        """Every row once, in the store's own order, in bounded memory.

        No snapshot: a row that is written meanwhile comes as before or as after; one that is there
        throughout is neither left out nor repeated. Tombstones are not given.
        """
        ...

    def count(self, table: OnlineTable) -> int:
        """How many keys have a row; looks at every key."""
        ...

    def close(self) -> None:
        """Release files and connections; a second call does nothing, any other then raises."""
        ...

    def __enter__(self) -> Self:
        """The store itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        ...
