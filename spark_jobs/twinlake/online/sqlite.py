"""The embedded online store: one SQLite file, one writer at a time, readers that never wait."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from weakref import WeakSet

from twinlake.crash_points import reached
from twinlake.errors import EnvironmentFailure, StateError
from twinlake.online.ddl import (
    STATE_CELL,
    CellCodec,
    Cells,
    Statements,
    differences,
    parse_ddl,
    sqlite_ddl,
)
from twinlake.online.row_check import RowCheck
from twinlake.online.sqlite_file import (
    WriterLock,
    chunks,
    connect,
    in_transaction,
    is_busy,
    meaning,
    open_file,
    roll_back,
    translated,
)
from twinlake.online.store import Key, OnlineRow, OnlineTable, WriteReport
from twinlake.online.values import check_name

_KEYS_PER_SELECT: Final = 512
_ROWS_PER_PAGE: Final = 256


class _Plan(NamedTuple):
    """What is worked out once per table."""

    table: OnlineTable
    check: RowCheck
    codec: CellCodec
    sql: Statements


class _Reader:
    """One thread's connection; it closes when its thread is gone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection


class SqliteStore:
    """An OnlineStore in a file. See the contract for what each method promises."""

    def __init__(self, path: Path | str, *, wait_seconds: float = 10.0) -> None:
        """Open the file, or create it; its folder must exist.

        Blocks for at most ``wait_seconds``, here and in every method that writes, while another
        process writes.

        Raises:
            StateError: The file is something else, damaged, or of a newer format.
            EnvironmentFailure: It cannot be opened or created.
        """
        self._path = Path(path)
        self._wait_seconds = wait_seconds
        open_file(self._path, wait_seconds)
        self._lock = WriterLock(self._path, wait_seconds)
        self._writer: sqlite3.Connection | None = None
        self._local = threading.local()
        self._readers: WeakSet[_Reader] = WeakSet()
        self._readers_lock = threading.Lock()
        self._plans: dict[str, _Plan] = {}
        self._process = os.getpid()
        self._closed = False

    def create(self, table: OnlineTable) -> None:
        """Create a table; the same again changes nothing, other columns raise StateError."""
        with self._writing() as connection, translated(self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                stored = self._stored_ddl(connection, table.name)
                if stored is None:
                    connection.execute(sqlite_ddl(table))
                elif stored != sqlite_ddl(table):
                    raise StateError(differences(table, stored))
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise

    def tables(self) -> list[str]:
        """The names of the tables that ``create`` made, sorted."""
        with self._reading() as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            return sorted(name for name, sql in found if parse_ddl(name, sql) is not None)

    def drop(self, name: str) -> None:
        """Remove a table; one that is not there is no error."""
        check_name("a table", name)
        with self._writing() as connection, translated(self._path):
            self._plans.pop(name, None)
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')

    def ddl(self, table: OnlineTable) -> str:
        """The CREATE TABLE statement."""
        return sqlite_ddl(table)

    def write(self, table: OnlineTable, rows: Iterable[OnlineRow]) -> WriteReport:
        """Write rows, each replacing what its key has only if its ``write_us`` is greater."""
        plan = self._plan(table)
        return self._apply(plan, _cells_of_rows(plan, rows))

    def delete(self, table: OnlineTable, keys: Iterable[Key], write_us: int) -> WriteReport:
        """Leave tombstones that older writes do not get past."""
        plan = self._plan(table)
        plan.check.write_us(write_us)
        return self._apply(plan, _cells_of_tombstones(plan, keys, write_us))

    def purge(self, table: OnlineTable, keys: Iterable[Key]) -> None:
        """Remove rows and tombstones, and every byte of them and of what they replaced.

        Upserts leave bytes of earlier versions on pages that nothing uses, so the whole file is
        written anew: it takes as long as copying it, and as much space once more meanwhile.

        Raises:
            EnvironmentFailure: Also when a reader kept the log from being emptied in time; the
                keys are gone from the table, calling again finishes.
        """
        plan = self._plan(table)
        cells = _checked_keys(plan, list(keys))
        with self._writing() as connection, translated(self._path):
            connection.execute("PRAGMA secure_delete = ON")
            try:
                in_transaction(connection, plan.sql.purge, cells)
                connection.execute("VACUUM")
                busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            finally:
                connection.execute("PRAGMA secure_delete = OFF")
        if busy:
            raise EnvironmentFailure(f"a reader of {self._path} is in the way", hint="purge again")

    def read(self, table: OnlineTable, keys: Sequence[Key]) -> list[OnlineRow | None]:
        """The rows of these keys, in this order; None for a key without a row."""
        plan = self._plan(table)
        try:  # not a context manager: one would cost a sixth of the read of one key
            return _read(self._reader(), plan, keys)
        except sqlite3.Error as error:
            raise meaning(self._path, error) from error

    def read_all(
        self, asked: Sequence[tuple[OnlineTable, Sequence[Key]]]
    ) -> list[list[OnlineRow | None]]:
        """The rows of keys of several tables; a file has no network to save a round on."""
        return [self.read(table, keys) for table, keys in asked]

    def read_at_once(
        self, asked: Sequence[tuple[OnlineTable, Sequence[Key]]]
    ) -> list[list[OnlineRow | None]] | None:
        """The same, or None while somebody has the whole file, which readers wait for else."""
        plans = [self._plans.get(table.name) for table, _ in asked]
        if any(plan is None or plan.table != asked[n][0] for n, plan in enumerate(plans)):
            return None  # to look at a table for the first time is no matter of a moment
        try:
            reader = self._reader(is_patient=False)
            return [
                _read(reader, plan, keys)
                for plan, (_, keys) in zip(plans, asked, strict=True)
                if plan is not None
            ]
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return None
            raise meaning(self._path, error) from error
        except sqlite3.Error as error:
            raise meaning(self._path, error) from error

    def scan(self, table: OnlineTable) -> Iterator[OnlineRow]:
        """Every row once, in key order, page by page; no transaction stays open between pages."""
        return self._pages(self._plan(table))

    def count(self, table: OnlineTable) -> int:
        """How many keys have a row."""
        plan = self._plan(table)
        with self._reading() as connection:
            return int(connection.execute(plan.sql.count).fetchone()[0])

    def close(self) -> None:
        """Close every connection; no other thread may be using the store."""
        self._closed = True
        if os.getpid() != self._process:
            return  # even closing an inherited connection would drop the parent's locks
        with self._readers_lock:
            connections = [reader.connection for reader in self._readers]
        if self._writer is not None:
            connections.append(self._writer)
        with translated(self._path):
            for connection in connections:
                connection.close()

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

    def _apply(self, plan: _Plan, cells: Iterator[Cells]) -> WriteReport:
        applied = skipped = 0
        with self._writing() as connection:
            for chunk in chunks(cells, STATE_CELL):
                # Only around the statements: what the caller's iterator raises is the caller's.
                with translated(self._path):
                    changed = in_transaction(connection, plan.sql.upsert, chunk)
                    if changed < len(chunk):
                        _refuse_conflicts(connection, plan, chunk)
                applied += changed
                skipped += len(chunk) - changed
                reached("publishing.chunk_written")
        return WriteReport(applied, skipped)

    def _pages(self, plan: _Plan) -> Iterator[OnlineRow]:
        statement, after = plan.sql.first_page, Cells(())
        while True:
            with self._reading() as connection:
                page = connection.execute(statement, (*after, _ROWS_PER_PAGE)).fetchall()
            yield from map(plan.codec.online_row, page)
            if len(page) < _ROWS_PER_PAGE:
                return
            statement, after = plan.sql.next_page, page[-1][: plan.codec.key_width]

    def _plan(self, table: OnlineTable) -> _Plan:
        plan = self._plans.get(table.name)
        if plan is not None and (plan.table is table or plan.table == table):
            return plan
        with self._reading() as connection:
            stored = self._stored_ddl(connection, table.name)
        if stored is None:
            raise StateError(
                f"there is no online table {table.name} in {self._path}", hint="create it first"
            )
        if stored != sqlite_ddl(table):
            raise StateError(differences(table, stored))
        plan = _Plan(table, RowCheck(table), CellCodec(table), Statements(table))
        self._plans[table.name] = plan
        return plan

    def _stored_ddl(self, connection: sqlite3.Connection, name: str) -> str | None:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,))
        row: tuple[str] | None = found.fetchone()
        return None if row is None else row[0]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path):
            yield self._reader()

    def _reader(self, *, is_patient: bool = True) -> sqlite3.Connection:
        self._refuse_if_unusable()
        kind = "patient" if is_patient else "hasty"
        reader: _Reader | None = getattr(self._local, kind, None)
        if reader is None:
            reader = _Reader(connect(self._path, self._wait_seconds if is_patient else 0.0))
            reader.connection.execute("PRAGMA query_only = ON")
            setattr(self._local, kind, reader)
            with self._readers_lock:
                self._readers.add(reader)
        return reader.connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._refuse_if_unusable()
        with self._lock.held():
            if self._writer is None:
                with translated(self._path):
                    self._writer = connect(self._path, self._wait_seconds)
            yield self._writer

    def _refuse_if_unusable(self) -> None:
        if self._closed:
            raise StateError(f"the online store {self._path} is closed")
        # SQLite's locks and caches do not survive a fork: a child that used them could damage
        # the file.
        if os.getpid() != self._process:
            raise StateError(
                f"the online store {self._path} was opened by another process",
                hint="open a store in each process; close this one before forking",
            )


def _cells_of_rows(plan: _Plan, rows: Iterable[OnlineRow]) -> Iterator[Cells]:
    check, encode = plan.check.row, plan.codec.row
    for row in rows:
        check(row)
        yield encode(row)


def _cells_of_tombstones(plan: _Plan, keys: Iterable[Key], write_us: int) -> Iterator[Cells]:
    for key in keys:
        plan.check.key(key)
        yield plan.codec.tombstone(key, write_us)


def _checked_keys(plan: _Plan, keys: Sequence[Key]) -> list[Key]:
    plan.check.keys(keys)
    return plan.codec.keys(keys)


def _read(
    connection: sqlite3.Connection, plan: _Plan, keys: Sequence[Key]
) -> list[OnlineRow | None]:
    wanted, deleted = _checked_keys(plan, keys), plan.codec.deleted
    if len(wanted) == 1:
        cells = connection.execute(plan.sql.select_one, wanted[0]).fetchone()
        return [None if cells is None or cells[deleted] else plan.codec.online_row(cells)]
    found = _rows(connection, plan, wanted)
    return [found.get(key) for key in wanted]


def _select(connection: sqlite3.Connection, plan: _Plan, keys: Sequence[Key]) -> list[Cells]:
    """Rows and tombstones of distinct keys, as cells."""
    width, found = plan.codec.key_width, list[Cells]()
    for start in range(0, len(keys), _KEYS_PER_SELECT):
        part = keys[start : start + _KEYS_PER_SELECT]
        # Rounded up to a power of two and filled with nulls, which match nothing, so that a few
        # prepared statements serve every number of keys.
        count = 1 << (len(part) - 1).bit_length()
        parameters = [cell for key in part for cell in key]
        parameters += [None] * (width * (count - len(part)))
        found += connection.execute(plan.sql.select(count), parameters).fetchall()
    return found


def _rows(connection: sqlite3.Connection, plan: _Plan, keys: list[Key]) -> dict[Key, OnlineRow]:
    width, deleted = plan.codec.key_width, plan.codec.deleted
    online_row = plan.codec.online_row
    found = _select(connection, plan, list(dict.fromkeys(keys)))
    return {cells[:width]: online_row(cells) for cells in found if not cells[deleted]}


def _refuse_conflicts(connection: sqlite3.Connection, plan: _Plan, chunk: list[Cells]) -> None:
    """Raise if a stored row has the write_us of a different one that was just left out."""
    width, order = plan.codec.key_width, plan.codec.write_us
    distinct = list(dict.fromkeys(cells[:width] for cells in chunk))
    stored = {cells[:width]: cells for cells in _select(connection, plan, distinct)}
    conflicts = [
        cells
        for cells in chunk
        if (there := stored.get(cells[:width])) and there[order] == cells[order] and there != cells
    ]
    if conflicts:
        first = conflicts[0]
        raise StateError(
            f"online table {plan.table.name}: {len(conflicts)} rows differ from stored ones of the "
            f"same write timestamp, first key {first[:width]!r}, write_us {first[order]}; the "
            "stored rows were kept",
            hint="two publishers, or two versions of one, wrote this table: publish it anew",
        )
