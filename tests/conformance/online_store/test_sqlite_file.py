"""What only a file can do: be full, foreign, read-only, locked, inherited by a fork."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.online_store.samples import METERS, meter
from twinlake.errors import EnvironmentFailure, StateError, TwinlakeError
from twinlake.online.sqlite import SqliteStore
from twinlake.online.store import OnlineRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with SqliteStore(tmp_path / "online.db") as store:
        store.create(METERS)
        store.write(METERS, [meter("a", 2000)])
    return tmp_path / "online.db"


def in_child(work: Callable[[], object]) -> str:
    """Run in a forked process; the class and message of what it raised, or an empty string."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        answer = ""
        try:
            work()
        except BaseException as error:  # noqa: BLE001, RUF100 (handed to the parent)
            answer = f"{type(error).__name__}: {error}"
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


def test_any_client_reads_typed_columns(path: Path) -> None:
    with SqliteStore(path) as store:
        store.delete(METERS, [("b",)], 7)
    client = sqlite3.connect(path)
    columns = (
        "home, total, days, tariff, tl_event_us, tl_known_us, tl_valid_until_us, tl_write_us, "
        "tl_deleted"
    )
    row, state = meter("a", 2000), meter("a", 2000).state
    assert client.execute(f"SELECT {columns} FROM meters ORDER BY home").fetchall() == [
        ("a", *row.values, 1990, 1995, 2005, 2000, 0),
        ("b", *[None] * 6, 7, 1),
    ]
    assert client.execute(
        "SELECT typeof(total), typeof(days), tl_state FROM meters"
    ).fetchone() == (
        "real",
        "integer",
        state,
    )
    assert client.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.IntegrityError):
        client.execute("UPDATE meters SET total = 'much'")
    client.close()


def test_second_writer_gives_up_after_its_wait(path: Path) -> None:
    waiting, proceed = threading.Event(), threading.Event()

    def rows() -> Iterator[OnlineRow]:
        yield meter("b", 1)
        waiting.set()
        proceed.wait(20)

    with SqliteStore(path) as first, SqliteStore(path, wait_seconds=0.2) as second:
        writer = threading.Thread(target=first.write, args=(METERS, rows()))
        writer.start()
        try:
            assert waiting.wait(20)
            begin = time.monotonic()
            with pytest.raises(
                EnvironmentFailure, match=rf"is writing {path} .process {os.getpid()}"
            ):
                second.write(METERS, [meter("c", 1)])
            assert 0.1 < time.monotonic() - begin < 5
            assert f"another process is writing {path}" in in_new_process(path)
            assert second.read(METERS, [("a",)]) == [meter("a", 2000)]
        finally:
            proceed.set()
            writer.join()
        second.write(METERS, [meter("c", 1)])
        assert second.count(METERS) == 3


def in_new_process(path: Path) -> str:
    """What a process that shares nothing with this one says when it writes."""
    code = (
        "import sys, tests.conformance.online_store.test_sqlite_file as t; t.write_one(sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def write_one(path: Path | str) -> None:
    with SqliteStore(path, wait_seconds=0.2) as store:
        store.write(METERS, [meter("z", 1)])


def test_open_transaction_of_another_client(path: Path) -> None:
    client = sqlite3.connect(path, isolation_level=None)
    client.execute("BEGIN IMMEDIATE")
    client.execute("UPDATE meters SET total = 0")
    with SqliteStore(path, wait_seconds=0.2) as store:
        assert store.read(METERS, [("a",)]) == [meter("a", 2000)]
        assert list(store.scan(METERS)) == [meter("a", 2000)]
        with pytest.raises(EnvironmentFailure, match="another process is writing"):
            store.write(METERS, [meter("a", 3000)])
        client.execute("ROLLBACK")
        store.write(METERS, [meter("a", 3000)])
        assert store.read(METERS, [("a",)]) == [meter("a", 3000)]
    client.close()


def test_full_disk_is_said_and_survived(path: Path) -> None:
    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        with SqliteStore(path) as store:
            try:
                store.write(METERS, (meter(f"h{n}", 2000, size=4000) for n in range(5000)))
            finally:
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                )
                store.write(METERS, [meter("after", 2000)])

    message = in_child(write)
    assert message.startswith(f"EnvironmentFailure: cannot use {path}: the disk refused")
    with SqliteStore(path) as store:
        assert store.read(METERS, [("a",), ("after",)]) == [meter("a", 2000), meter("after", 2000)]
        for row in store.scan(METERS):
            home = str(row.key[0])
            assert row == meter(home, 2000, size=4000 if home.startswith("h") else 40)


def test_no_page_left_is_no_space_left(path: Path) -> None:
    with SqliteStore(path) as store:
        store.write(METERS, [meter("b", 2000)])
        assert store._writer is not None
        store._writer.execute("PRAGMA max_page_count = 8")
        with pytest.raises(EnvironmentFailure, match="no space left"):
            store.write(METERS, [meter("c", 2000, size=500_000)])
        store._writer.execute("PRAGMA max_page_count = 1000000")
        store.write(METERS, [meter("c", 2000, size=500_000)])
        assert store.count(METERS) == 3


def test_file_that_may_only_be_read() -> None:
    # Root writes to anything, so the child becomes nobody; its folder must be open to nobody.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "online.db"
        with SqliteStore(path) as store:
            store.create(METERS)

        def write() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)
            write_one(path)

        Path(folder).chmod(0o555)
        for file in Path(folder).iterdir():
            file.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        message = in_child(write)
        Path(folder).chmod(0o755)
    assert message.startswith(f"EnvironmentFailure: cannot use {path}")


def make(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def foreign(path: Path, *pragmas: str) -> None:
    client = sqlite3.connect(path)
    client.execute("CREATE TABLE mine (x)")
    for pragma in pragmas:
        client.execute(f"PRAGMA {pragma}")
    client.commit()
    client.close()


@pytest.mark.parametrize(
    ("prepare", "kind", "message"),
    [
        (lambda path: make(path, b"home,day\n" * 500), StateError, "not a SQLite database"),
        (lambda path: make(path, b"x"), StateError, "not a SQLite database"),
        (foreign, StateError, "another program"),
        (lambda path: foreign(path, "application_id = 77"), StateError, "another program"),
        (lambda path: foreign(path, "user_version = 3"), StateError, "another program"),
        (
            lambda path: foreign(path, f"application_id = {0x746C6F73}", "user_version = 2"),
            StateError,
            "format 2; this twinlake knows formats up to 1",
        ),
        (Path.mkdir, EnvironmentFailure, "cannot be opened"),
    ],
)
def test_what_is_no_store_is_refused_and_left(
    tmp_path: Path, prepare: Callable[[Path], None], kind: type[TwinlakeError], message: str
) -> None:
    path = tmp_path / "odd.db"
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind, match=message):
        SqliteStore(path, wait_seconds=0.2)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="there is no folder"):
        SqliteStore(tmp_path / "no" / "online.db")


@pytest.mark.parametrize("name", ["a b?mode=memory.db", "100%25.db", "#x.db", "é.db"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    with SqliteStore(tmp_path / name) as store:
        store.create(METERS)
    assert (tmp_path / name).is_file()


def test_empty_file_becomes_a_store_and_half_made_one_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    path.touch()
    SqliteStore(path).close()
    half = tmp_path / "half.db"
    client = sqlite3.connect(half)
    client.execute("PRAGMA journal_mode = WAL")
    client.close()
    assert half.stat().st_size > 0
    SqliteStore(half).close()
    SqliteStore(half).close()


def test_damaged_page_is_named(path: Path) -> None:
    with SqliteStore(path) as store:
        store.write(METERS, [meter(f"h{n}", 2000, size=4000) for n in range(500)])
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    with pytest.raises(StateError, match="damaged"), SqliteStore(path) as store:
        list(store.scan(METERS))


def test_forked_child_is_told_to_open_its_own(path: Path) -> None:
    with SqliteStore(path) as store:
        assert store.count(METERS) == 1
        message = in_child(lambda: store.count(METERS))
        assert message.startswith("StateError")
        assert "opened by another process" in message
        assert store.count(METERS) == 1


def test_purged_bytes_are_gone_from_the_files(path: Path) -> None:
    marked = OnlineRow(("secret-key",), (1.0, 1, "secret-value"), 1, 1, 1, b"secret-state" * 900, 1)
    with SqliteStore(path) as store:
        store.write(METERS, [marked, meter("b", 1)])
        store.purge(METERS, [marked.key])
        content = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"secret" not in content
        assert store.count(METERS) == 2


def test_readers_of_threads_that_ended_are_closed(path: Path) -> None:
    with SqliteStore(path) as store:
        for _ in range(20):
            thread = threading.Thread(target=store.count, args=(METERS,))
            thread.start()
            thread.join()
        assert len(store._readers) <= 2


def test_large_write_is_many_transactions(path: Path) -> None:
    seen: list[int] = []

    def rows(store: SqliteStore) -> Iterator[OnlineRow]:
        for number in range(4000):
            if number in (1500, 3500):
                seen.append(store.count(METERS))
            yield meter(f"h{number}", 1)

    with SqliteStore(path) as store:
        store.write(METERS, rows(store))
    assert seen == [1001, 3001]


def test_who_must_not_wait_is_told_so(path: Path) -> None:
    asked = [(METERS, [("a",), ("b",)])]
    with SqliteStore(path) as store:
        assert store.read_at_once(asked) is None  # nothing was looked at yet
        there = store.read_all(asked)
        assert store.read_at_once(asked) == there == [[meter("a", 2000), None]]
        other = sqlite3.connect(path, isolation_level=None)
        # Readers wait for who has the whole file for itself.
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        for handle in (store._local.patient, store._local.hasty):
            handle.connection.close()
        store._local.__dict__.clear()
        other.execute("BEGIN EXCLUSIVE")
        assert store.read_at_once(asked) is None
        other.execute("ROLLBACK")
        other.close()
        assert store.read_at_once(asked) == there
