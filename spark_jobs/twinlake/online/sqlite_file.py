"""The file under the SQLite store: opening it, one writer at a time, and what its errors mean."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from twinlake.errors import EnvironmentFailure, InputError, StateError, TwinlakeError

APPLICATION_ID: Final = 0x746C6F73  # "tlos": marks the file as a twinlake online store
FORMAT: Final = 1
_PAGE_BYTES: Final = 8192  # a row of some 10 kB reads a third faster than with 4096
_HEADER_BYTES: Final = 100
_CACHE_KIB: Final = 16384
_POLL_SECONDS: Final = 0.005

# A transaction is bounded by rows and by bytes, so that the log stays small, a reader's snapshot
# young and memory flat, whether rows have 100 bytes of state or a megabyte.
_CHUNK_ROWS: Final = 1000
_CHUNK_BYTES: Final = 8 << 20

# Primary SQLite result codes; an extended code has one of them in its low byte.
_REFUSED: Final = {
    sqlite3.SQLITE_FULL: "there is no space left for it",
    sqlite3.SQLITE_IOERR: "the disk refused",
    sqlite3.SQLITE_READONLY: "it may only be read",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}
_DAMAGED: Final = {
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
}


def open_file(path: Path, wait_seconds: float) -> None:
    """Make sure that the file is an online store of a known format; a new or empty one becomes one.

    Raises:
        StateError: It is something else, or of a newer format; it was left as it is.
        EnvironmentFailure: It cannot be opened or created.
    """
    if not path.parent.is_dir():
        raise EnvironmentFailure(f"cannot open {path}: there is no folder {path.parent}")
    with translated(path):
        if path.is_file() and 0 < path.stat().st_size < _HEADER_BYTES:
            # SQLite would take so short a file for an empty one and write over it.
            raise StateError(f"{path} is not usable: {_DAMAGED[sqlite3.SQLITE_NOTADB]}")
        if not path.exists() or _marks(path, wait_seconds) == (0, 0):
            with WriterLock(path, wait_seconds).held():
                _initialise(path, wait_seconds)
        application, version = _marks(path, wait_seconds)
    if application != APPLICATION_ID:
        raise StateError(f"{path} is not an online store: it is a SQLite file of another program")
    if version > FORMAT:
        raise StateError(
            f"{path} has format {version}; this twinlake knows formats up to {FORMAT}",
            hint="upgrade twinlake",
        )


def _marks(path: Path, wait_seconds: float) -> tuple[int, int]:
    with closing(connect(path, wait_seconds)) as connection:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        return application, connection.execute("PRAGMA user_version").fetchone()[0]


def _initialise(path: Path, wait_seconds: float) -> None:
    """Mark an empty file as ours, in one transaction; leave one that holds anything as it is."""
    with closing(connect(path, wait_seconds, create=True)) as connection:
        unmarked = connection.execute("PRAGMA application_id").fetchone()[0] == 0
        if unmarked and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")


def connect(path: Path, wait_seconds: float, *, create: bool = False) -> sqlite3.Connection:
    """Open a connection that waits at most ``wait_seconds`` for a lock and never half-commits."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
        uri=True,
        timeout=wait_seconds,
        isolation_level=None,
        # Each connection serves one thread at a time; close() may come from another one.
        check_same_thread=False,
    )
    # A commit that was acknowledged survives a power cut: the publisher moves on after it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return connection


class WriterLock:
    """One writer at a time over all threads and processes, by a lock on a file beside the data.

    The kernel releases it when its holder dies. The file stays: removing it would let two
    processes hold locks on two files of one name.
    """

    def __init__(self, path: Path, wait_seconds: float) -> None:
        """Name the lock; nothing is opened yet."""
        self._path = path
        self._side = path.with_name(path.name + ".lock")
        self._wait_seconds = wait_seconds
        self._threads = threading.Lock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for the body.

        Blocks for at most the wait given.

        Raises:
            EnvironmentFailure: Another process or thread was still writing after that.
        """
        deadline = time.monotonic() + self._wait_seconds
        if not self._threads.acquire(timeout=self._wait_seconds):
            raise self._busy(os.getpid())
        try:
            with translated(self._path):
                side = os.open(self._side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                with translated(self._path):
                    self._lock(side, deadline)
                # Outside of the translation: an OSError of the body is not one of this file.
                yield
            finally:
                os.close(side)
        finally:
            self._threads.release()

    def _lock(self, side: int, deadline: float) -> None:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(side, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= deadline:
                raise self._busy(int(os.pread(side, 20, 0) or 0))
            time.sleep(_POLL_SECONDS)
        with suppress(OSError):  # who holds it is a courtesy, no reason to fail on a full disk
            os.ftruncate(side, 0)
            os.pwrite(side, str(os.getpid()).encode(), 0)

    def _busy(self, pid: int) -> EnvironmentFailure:
        who = "another thread of this process" if pid == os.getpid() else "another process"
        return EnvironmentFailure(
            f"{who} is writing {self._path}"
            + (f" (process {pid})" if pid else "")
            + f"; gave up after {self._wait_seconds:g} s",
            hint="one process writes at a time: wait until it is done, or stop it",
        )


def in_transaction(
    connection: sqlite3.Connection, statement: str, chunk: Sequence[tuple[Any, ...]]
) -> int:
    """Run a statement for each of the cells, all or none; returns how many rows it changed."""
    before = connection.total_changes
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(statement, chunk)
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    return connection.total_changes - before


def roll_back(connection: sqlite3.Connection) -> None:
    """Leave the transaction, if one is open."""
    with suppress(sqlite3.Error):  # some failures have rolled back already
        connection.execute("ROLLBACK")


def chunks(cells: Iterator[tuple[Any, ...]], state: int) -> Iterator[list[tuple[Any, ...]]]:
    """Cut rows into transactions bounded by rows and by bytes; ``state`` is their longest cell."""
    chunk: list[tuple[Any, ...]] = []
    size = 0
    for row in cells:
        chunk.append(row)
        size += len(row[state] or b"")
        if len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise meaning(path, error) from error
    except OSError as error:
        raise EnvironmentFailure(f"cannot use {path}: {error.strerror or error}") from error


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether somebody else was in the way."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def meaning(path: Path, error: sqlite3.Error) -> TwinlakeError:
    """What an error of SQLite means to the user: whose fault it is and what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if is_busy(error):
        return EnvironmentFailure(
            f"another process is writing {path} and did not finish in time",
            hint="wait until it is done; a SQLite shell with an open transaction counts too",
        )
    if primary in _REFUSED:
        return EnvironmentFailure(
            f"cannot use {path}: {_REFUSED[primary]} ({error})",
            hint="check free space and permissions of the file and its folder, then run again",
        )
    if primary in _DAMAGED:
        return StateError(
            f"{path} is not usable: {_DAMAGED[primary]} ({error})",
            hint="move it away and publish again: the offline store holds everything in it",
        )
    if primary == sqlite3.SQLITE_TOOBIG:
        return InputError(f"a cell is larger than SQLite stores ({error})")
    if primary == sqlite3.SQLITE_ERROR and "no such table" in str(error):
        return StateError(f"{path}: {error}", hint="create the table first")
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StateError(f"the online store {path} is closed")
    return StateError(f"{path}: {error}")
