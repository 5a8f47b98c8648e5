"""The online store on Cassandra: one row a partition, ordered by the timestamp of its write.

The server itself keeps law 7: every cell of a row carries the row's ``write_us`` as its timestamp,
and what has the greater one stays, whatever arrives last. So nothing is read before a write, any
statement may be repeated, and any number of processes may write.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

from cassandra.query import BoundStatement, PreparedStatement, SimpleStatement

from twinlake.crash_points import reached
from twinlake.errors import StateError
from twinlake.online.cassandra_ddl import (
    CassandraCodec,
    CassandraStatements,
    Cells,
    cassandra_ddl,
    keyspace_ddl,
    parse_comment,
    qualified,
    stored_columns,
)
from twinlake.online.cassandra_session import CassandraSession
from twinlake.online.cassandra_window import bind, bound_all
from twinlake.online.ddl import column_differences
from twinlake.online.row_check import RowCheck
from twinlake.online.store import Key, OnlineRow, OnlineTable, WriteReport
from twinlake.online.values import check_name
from twinlake.settings import CassandraSettings

_ROWS_PER_CHUNK: Final = 100
_BYTES_PER_CHUNK: Final = 4 << 20
_KEYS_PER_SELECT: Final = 25
_FIRST_PAGE: Final = 32
_LONGEST_PAGE: Final = 5000
_BYTES_PER_PAGE: Final = 4 << 20
# A null is a tombstone, and a server gives up on a page that meets 100,000 of them.
_CELLS_PER_PAGE: Final = 50_000
_PURGE_ROUNDS: Final = 5


class _Plan:
    """What is worked out once per table; statements are prepared when first needed."""

    def __init__(self, table: OnlineTable, session: CassandraSession, keyspace: str) -> None:
        self.table = table
        self.check = RowCheck(table)
        self.codec = CassandraCodec(table)
        self.width = len(table.keys) + len(table.features) + 5
        self.cql = CassandraStatements(table, keyspace)
        self._session = session

    @cached_property
    def insert(self) -> PreparedStatement:
        return self._session.prepare(self.cql.insert)

    @cached_property
    def delete(self) -> PreparedStatement:
        return self._session.prepare(self.cql.delete)

    @cached_property
    def select(self) -> PreparedStatement:
        return self._session.prepare(self.cql.select)

    @cached_property
    def select_in(self) -> PreparedStatement:
        return self._session.prepare(self.cql.select_in)

    @cached_property
    def order(self) -> PreparedStatement:
        return self._session.prepare(self.cql.order)


class CassandraStore:
    """An OnlineStore in a keyspace. See the contract for what each method promises."""

    def __init__(self, settings: CassandraSettings) -> None:
        """Connect; the keyspace is made by the first ``create``.

        Raises:
            InputError: The keyspace has no safe name.
            EnvironmentFailure: The server does not answer in time, or refuses.
        """
        check_name("a keyspace", settings.keyspace)
        self._settings = settings
        self._keyspace = settings.keyspace
        self._session = CassandraSession(settings)
        self._plans: dict[str, _Plan] = {}
        self._plans_lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    def create(self, table: OnlineTable) -> None:
        """Create a table; the same again changes nothing, other columns raise StateError."""
        self._refuse_if_unusable()
        if not self._has_keyspace():
            settings = self._settings
            self._session.define(
                keyspace_ddl(self._keyspace, self._session.datacenter, settings.replication)
            )
        if self._comment(table.name) is None:
            self._session.define(cassandra_ddl(table, self._keyspace))
        # Looked at also where it was just made: another process may have been faster.
        self._refuse_other_columns(table)

    def tables(self) -> list[str]:
        """The names of the tables that ``create`` made, sorted."""
        self._refuse_if_unusable()
        found = self._session.rows(
            "SELECT table_name, comment FROM system_schema.tables "
            f"WHERE keyspace_name = '{self._keyspace}'"
        )
        return sorted(name for name, text in found if parse_comment(name, text) is not None)

    def drop(self, name: str) -> None:
        """Remove a table; one that is not there is no error.

        Raises:
            StateError: The table was not made by ``create``; it stays.
        """
        check_name("a table", name)
        self._refuse_if_unusable()
        with self._plans_lock:
            self._plans.pop(name, None)
        text = self._comment(name)
        if text is None:
            return
        if parse_comment(name, text) is None:
            raise StateError(
                f"{self._keyspace}.{name} was not created as an online table; it is kept"
            )
        self._session.define(f"DROP TABLE IF EXISTS {qualified(name, self._keyspace)}")

    def ddl(self, table: OnlineTable) -> str:
        """The CREATE TABLE statement."""
        return cassandra_ddl(table)

    def write(self, table: OnlineTable, rows: Iterable[OnlineRow]) -> WriteReport:
        """Write rows, each by one statement at its own ``write_us``; all count as applied."""
        plan = self._plan(table)
        return self._apply(plan.insert, _cells_of_rows(plan, rows))

    def delete(self, table: OnlineTable, keys: Iterable[Key], write_us: int) -> WriteReport:
        """Leave tombstones that older writes do not get past."""
        plan = self._plan(table)
        plan.check.write_us(write_us)
        return self._apply(plan.delete, _cells_of_tombstones(plan, keys, write_us))

    def purge(self, table: OnlineTable, keys: Iterable[Key]) -> None:
        """Remove rows, whatever their ``write_us``, by tombstones no newer than they are.

        A tombstone newer than the row would keep later writes out. The bytes leave the disks by
        compaction, once ``gc_grace_seconds`` have passed.
        """
        plan = self._plan(table)
        cells = [_checked_key(plan, key) for key in keys]
        for _ in range(_PURGE_ROUNDS):
            orders = self._orders(plan, cells)
            if not orders:
                return
            self._apply(plan.delete, iter([[order, *key] for order, key in orders]))
            cells = [key for _, key in orders]
        if self._orders(plan, cells):
            raise StateError(
                f"online table {table.name}: keys are written while they are purged",
                hint="stop the publisher of this table, then purge again",
            )

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """The rows of these keys, in this order; None for a key without a row."""
        return self.read_all([(table, keys)])[0]

    def read_all(
        self, asked: Sequence[tuple[OnlineTable, Sequence[Key]]]
    ) -> list[list[OnlineRow | None]]:
        """The rows of keys of several tables; all statements are under way together."""
        parts = [(self._plan(table), keys) for table, keys in asked]
        for plan, keys in parts:
            check = plan.check.key
            for key in keys:
                check(key)
        if all(len(keys) == 1 for _, keys in parts):
            ones = [bind(plan.select, plan.codec.key(keys[0])) for plan, keys in parts]
            each = zip(parts, self._session.rows_of_each(ones), strict=True)
            return [[plan.codec.online_row(rows[0]) if rows else None] for (plan, _), rows in each]
        stored: list[dict[Key, OnlineRow]] = [{} for _ in parts]
        owners: list[int] = []

        def statements() -> Iterator[BoundStatement]:
            for number, (plan, keys) in enumerate(parts):
                for statement in _selects(plan, list(dict.fromkeys(keys))):
                    owners.append(number)
                    yield statement

        def take(position: int, rows: list[tuple[Any, ...]]) -> None:
            number = owners[position]
            online_row, found = parts[number][0].codec.online_row, stored[number]
            for cells in rows:
                row = online_row(cells)
                found[row.key] = row

        weight = _KEYS_PER_SELECT if any(len(table.keys) == 1 for table, _ in asked) else 1
        self._session.run_all(statements(), self._settings.read_s, take, weight)
        return [
            [found.get(key) for key in keys] for found, (_, keys) in zip(stored, parts, strict=True)
        ]

    def read_at_once(self, _: Sequence[tuple[OnlineTable, Sequence[Key]]]) -> None:
        """None: a network is waited for."""
        return

    def scan(self, table: OnlineTable) -> Iterator[OnlineRow]:
        """Every row once, along the ring of tokens, in pages of bounded size.

        A page that fails is asked for again: where it begins is known to us, not to a server.
        """
        return self._rows_by_page(self._plan(table))

    def count(self, table: OnlineTable) -> int:
        """How many keys have a row."""
        plan = self._plan(table)
        counted, state, is_first = 0, None, True
        statement = SimpleStatement(plan.cql.count, fetch_size=_longest_page(plan))
        while is_first or state:
            self._refuse_if_unusable()
            rows, state = self._session.page(statement, state)
            counted, is_first = counted + len(rows), False
        return counted

    def close(self) -> None:
        """Close every connection; no other thread may be using the store."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._process:  # a child has the sockets, but not the threads
            self._session.close()

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _apply(self, prepared: PreparedStatement, cells: Iterator[Cells]) -> WriteReport:
        bound = bound_all(prepared, cells)
        done, retries = self._session.write_all(bound, self._settings.write_s)
        return WriteReport(done, 0, retries)

    def _orders(self, plan: _Plan, keys: list[Cells]) -> list[tuple[bytes, Cells]]:
        """The keys that have a row, each with its ``write_us``, as they are bound."""
        found: list[tuple[bytes, Cells]] = []

        def take(position: int, rows: list[tuple[Any, ...]]) -> None:
            found.extend((row[0].to_bytes(8, "big"), keys[position]) for row in rows)

        self._session.run_all(bound_all(plan.order, keys), self._settings.read_s, take)
        return found

    def _rows_by_page(self, plan: _Plan) -> Iterator[OnlineRow]:
        longest, online_row = _longest_page(plan), plan.codec.online_row
        size, state, is_first = min(_FIRST_PAGE, longest), None, True
        while is_first or state:
            self._refuse_if_unusable()
            statement = SimpleStatement(plan.cql.scan, fetch_size=size)
            page, state = self._session.page(statement, state)
            yield from map(online_row, page)
            is_first = False
            # As many rows as a page may hold bytes, by the rows that were met so far.
            each = sum(len(cells[-1]) for cells in page) // max(len(page), 1) + 16 * plan.width
            size = max(1, min(longest, 4 * size, _BYTES_PER_PAGE // each))

    def _plan(self, table: OnlineTable) -> _Plan:
        self._refuse_if_unusable()
        plan = self._plans.get(table.name)
        if plan is not None and (plan.table is table or plan.table == table):
            return plan
        self._refuse_other_columns(table)
        with self._plans_lock:
            plan = self._plans[table.name] = _Plan(table, self._session, self._keyspace)
        return plan

    def _has_keyspace(self) -> bool:
        return bool(
            self._session.rows(
                "SELECT keyspace_name FROM system_schema.keyspaces "
                f"WHERE keyspace_name = '{self._keyspace}'"
            )
        )

    def _comment(self, name: str) -> str | None:
        """What a table's comment says; None where there is no such table."""
        found = self._session.rows(
            "SELECT comment FROM system_schema.tables "
            f"WHERE keyspace_name = '{self._keyspace}' AND table_name = '{name}'"
        )
        return str(found[0][0]) if found else None

    def _refuse_other_columns(self, table: OnlineTable) -> None:
        text = self._comment(table.name)
        if text is None:
            raise StateError(
                f"there is no online table {table.name} in keyspace {self._keyspace} at "
                f"{self._session.place}",
                hint="`twinlake apply` and `twinlake materialize` make it anew from the events",
            )
        there = parse_comment(table.name, text)
        if there != table:
            raise StateError(column_differences(table, there))
        found = self._session.rows(
            "SELECT column_name, type, kind FROM system_schema.columns "
            f"WHERE keyspace_name = '{self._keyspace}' AND table_name = '{table.name}'"
        )
        columns = {name: (kind, role) for name, kind, role in found}
        wanted = stored_columns(table)
        if columns != wanted:
            changed = sorted(
                name for name in {*columns, *wanted} if columns.get(name) != wanted.get(name)
            )
            raise StateError(
                f"the columns of online table {table.name} were altered: {', '.join(changed)}",
                hint="undo it, or drop the table and publish it anew",
            )

    def _refuse_if_unusable(self) -> None:
        if self._closed:
            raise StateError(f"the online store at {self._session.place} is closed")
        if os.getpid() != self._process:
            raise StateError(
                f"the online store at {self._session.place} was opened by another process",
                hint="open a store in each process; close this one before forking",
            )


def _selects(plan: _Plan, keys: Sequence[Key]) -> Iterator[BoundStatement]:
    """Bind what asks for distinct keys."""
    if len(plan.table.keys) > 1:
        # IN of several columns would ask for every combination of their parts.
        yield from bound_all(plan.select, map(plan.codec.key, keys))
        return
    # One statement for many keys costs the server and us less than one each.
    for start in range(0, len(keys), _KEYS_PER_SELECT):
        yield bind(plan.select_in, [plan.codec.keys(keys[start : start + _KEYS_PER_SELECT])])


def _longest_page(plan: _Plan) -> int:
    return max(1, min(_LONGEST_PAGE, _CELLS_PER_PAGE // plan.width))


def _cells_of_rows(plan: _Plan, rows: Iterable[OnlineRow]) -> Iterator[Cells]:
    """Check and encode chunk by chunk, so that a row that does not fit stops its whole chunk."""
    check, encode = plan.check.row, plan.codec.row
    source = iter(rows)
    while True:
        chunk, size = [], 0
        for row in islice(source, _ROWS_PER_CHUNK):
            check(row)
            chunk.append(encode(row))
            size += len(row.state)
            if size > _BYTES_PER_CHUNK:
                break
        if not chunk:
            return
        yield from chunk
        reached("publishing.chunk_sent")


def _cells_of_tombstones(plan: _Plan, keys: Iterable[Key], write_us: int) -> Iterator[Cells]:
    """Check and encode, chunk by chunk like rows."""
    source = iter(keys)
    while chunk := list(islice(source, _ROWS_PER_CHUNK)):
        for key in chunk:
            plan.check.key(key)
        yield from (plan.codec.tombstone(key, write_us) for key in chunk)


def _checked_key(plan: _Plan, key: Key) -> Cells:
    plan.check.key(key)
    return plan.codec.key(key)
