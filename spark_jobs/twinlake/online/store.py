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
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from twinlake.errors import InputError
from twinlake.online.values import (
    ColumnType,
    check_name,
)

Key = tuple[Any, ...]
"""The parts of a key, in the order of the table's keys."""


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
