"""The Cassandra store where its server is slow, gone, stopped or restarted, or its tables odd."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bootstrap.services.processes import free_port
from bootstrap.stack import Stack
from tests.conformance.online_store.samples import METERS, meter
from tests.stack.servers import (
    client,
    empty_keyspace,
    kill,
    port_of,
    private_stack,
    settings_of,
)
from twinlake.errors import EnvironmentFailure, InputError, StateError
from twinlake.online.cassandra import CassandraStore
from twinlake.online.cassandra_ddl import GC_GRACE_SECONDS
from twinlake.online.store import OnlineRow, OnlineTable

KEYSPACE = "stack_tests"


@pytest.fixture
def location(cassandra_port: int) -> str:
    return empty_keyspace(cassandra_port, KEYSPACE, {METERS.name})


@pytest.fixture
def store(location: str) -> Iterator[CassandraStore]:
    with CassandraStore(settings_of(location)) as opened:
        opened.create(METERS)
        yield opened


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server that tests may kill; each has a keyspace of its own there."""
    with private_stack(tmp_path_factory.mktemp("own")) as found:
        yield found


def pid_of(stack: Stack) -> int:
    (status,) = stack.status()
    assert status.pid is not None
    return status.pid


def test_nobody_listens(location: str) -> None:
    port = free_port(())
    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match=r"did not answer.*refused") as failure:
        CassandraStore(settings_of(f"{port}/{KEYSPACE}"))
    assert time.monotonic() - began < 10
    assert f"127.0.0.1:{port}" in str(failure.value)
    assert "bootstrap/stack up" in str(failure.value)


def test_unknown_data_center_is_named(location: str) -> None:
    wrong = replace(settings_of(location), datacenter="mars")
    with pytest.raises(EnvironmentFailure, match=r"no data center .mars."):
        CassandraStore(wrong)


@pytest.mark.parametrize("keyspace", ['a"; DROP KEYSPACE x; --', "A", "", "a b", "tl_x", "a" * 49])
def test_unsafe_keyspace_reaches_no_statement(location: str, keyspace: str) -> None:
    port = location.partition("/")[0]
    with pytest.raises(InputError, match="keyspace"):
        CassandraStore(settings_of(f"{port}/{keyspace}"))


def test_stopped_server_ends_in_a_clear_error_and_continues(own: Stack) -> None:
    port, pid = port_of(own), pid_of(own)
    settings = settings_of(f"{port}/stopped", request_ms=300, read_s=1, write_s=1)
    with CassandraStore(settings) as store:
        store.create(METERS)
        store.write(METERS, [meter("a", 1)])
        # Prepared before: the driver itself gives that ten seconds.
        assert store.read(METERS, [("a",)]) == store.read(METERS, [("a",), ("b",)])[:1]
        os.kill(pid, signal.SIGSTOP)
        try:
            for call in (
                lambda: store.read(METERS, [("a",)]),
                lambda: store.read(METERS, [("a",), ("b",)]),
                lambda: store.write(METERS, [meter(f"h{n}", 2) for n in range(500)]),
                lambda: store.count(METERS),
                lambda: list(store.scan(METERS)),
            ):
                began = time.monotonic()
                with pytest.raises(EnvironmentFailure, match=r"did not answer within 1 s, \d"):
                    call()
                assert time.monotonic() - began < 60
        finally:
            os.kill(pid, signal.SIGCONT)
        until = time.monotonic() + 300
        while True:  # connections that were given up are made anew in the background
            try:
                assert store.read(METERS, [("a",)]) == [meter("a", 1)]
                break
            except EnvironmentFailure:
                assert time.monotonic() < until
        store.write(METERS, [meter(f"h{n}", 3) for n in range(500)])
        assert store.count(METERS) == 501


def test_write_goes_on_through_a_restart(own: Stack) -> None:
    settings = settings_of(f"{port_of(own)}/written", write_s=400, read_s=400, request_ms=5000)
    homes = [f"restart{n}" for n in range(3000)]
    restarted = threading.Event()

    def restart() -> None:
        own.up()
        restarted.set()

    def rows() -> Iterator[OnlineRow]:
        for number, home in enumerate(homes):
            if number == 1000:
                kill(own)
                threading.Thread(target=restart).start()
            yield meter(home, 5000 + number)

    with CassandraStore(settings) as store:
        store.create(METERS)
        # What was acknowledged before the kill is there after it, without being written again.
        first = [meter(f"acknowledged{n}", 77) for n in range(200)]
        store.write(METERS, first)
        report = store.write(METERS, rows())
        assert report.applied == len(homes)
        assert restarted.wait(400)
        found = store.read(METERS, [(home,) for home in homes])
        assert found == [meter(home, 5000 + n) for n, home in enumerate(homes)]
        assert store.read(METERS, [row.key for row in first]) == first


def test_scan_goes_on_through_a_restart(own: Stack) -> None:
    settings = settings_of(f"{port_of(own)}/scanned", write_s=400, read_s=400, request_ms=5000)
    table = OnlineTable("scanned", METERS.keys, METERS.features)
    with CassandraStore(settings) as store:
        store.create(table)
        rows = {(f"s{n}",): meter(f"s{n}", 9) for n in range(1000)}
        store.write(table, rows.values())
        found = []
        for row in store.scan(table):
            found.append(row)
            if len(found) == 100:
                kill(own)
                own.up()
        assert len(found) == len(rows)
        assert {row.key: row for row in found} == rows


def test_twenty_thousand_keys_written_again_by_four_processes(
    store: CassandraStore, location: str
) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(location, seed)) for seed in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(300)
        assert writer.exitcode == 0
    wanted = {(f"h{n}",): meter(f"h{n}", 3000 + n % 7) for n in range(20_000)}
    assert store.count(METERS) == 20_000
    assert {row.key: row for row in store.scan(METERS)} == wanted
    asked = [(f"h{n}",) for n in range(19_999, -1, -2)]
    assert store.read(METERS, asked) == [wanted[key] for key in asked]


def write_many(location: str, seed: int) -> None:
    """Each process writes every key; the greatest write_us is that of the last."""
    with CassandraStore(settings_of(location)) as store:
        store.write(METERS, (meter(f"h{n}", seed * 1000 + n % 7) for n in range(20_000)))


def test_row_above_a_megabyte_is_refused_before_it_is_sent(store: CassandraStore) -> None:
    long = OnlineRow(("a",), (1.0, 1, "x" * 600_000), 0, 0, None, b"x" * 500_000, 1)
    with pytest.raises(InputError, match=r"key \('a',\).*1,000,000"):
        store.write(METERS, [meter("b", 1), long])
    assert store.count(METERS) == 0
    with pytest.raises(InputError, match="key"):
        store.write(METERS, [meter("x" * 70_000, 1)])


def test_nulls_beyond_the_limit_of_tombstones_are_scanned_and_counted(
    location: str, store: CassandraStore
) -> None:
    features = tuple((f"f{n}", "double") for n in range(200))
    table = OnlineTable("nulls", (("k", "int"),), features)
    store.create(table)
    rows = [OnlineRow((n,), (None,) * 200, 0, 0, None, b"s", 1) for n in range(1000)]
    store.write(table, rows)
    assert store.count(table) == 1000
    assert sorted(store.scan(table), key=lambda row: row.key) == rows
    assert store.read(table, [row.key for row in rows]) == rows


def test_altered_columns_are_named(location: str, store: CassandraStore) -> None:
    port = int(location.partition("/")[0])
    table = OnlineTable("altered", METERS.keys, METERS.features)
    store.create(table)
    client(port).execute(f'ALTER TABLE "{KEYSPACE}"."altered" ADD extra int')
    with CassandraStore(settings_of(location)) as other:
        with pytest.raises(StateError, match="altered: extra"):
            other.read(table, [("a",)])
        with pytest.raises(StateError, match="altered: extra"):
            other.create(table)


def test_tables_of_others_are_neither_listed_nor_dropped(
    location: str, store: CassandraStore
) -> None:
    port = int(location.partition("/")[0])
    client(port).execute(f'CREATE TABLE "{KEYSPACE}"."theirs" (k int PRIMARY KEY)')
    assert store.tables() == [METERS.name]
    with pytest.raises(StateError, match="not created as an online table"):
        store.drop("theirs")
    theirs = OnlineTable("theirs", (("k", "int"),), ())
    with pytest.raises(StateError, match="not created as an online table"):
        store.create(theirs)


def test_dropped_by_another_is_no_table(location: str, store: CassandraStore) -> None:
    table = OnlineTable("gone", METERS.keys, METERS.features)
    store.create(table)
    store.write(table, [meter("a", 1)])
    with CassandraStore(settings_of(location)) as other:
        other.drop("gone")
    with pytest.raises(StateError, match="lacks a table"):
        store.write(table, [meter("a", 2)])
    with pytest.raises(StateError, match="lacks a table"):
        store.read(table, [("a",), ("b",)])


def test_table_is_made_as_its_ddl_says(location: str, store: CassandraStore) -> None:
    session = client(int(location.partition("/")[0]))
    session.execute(f'DROP TABLE "{KEYSPACE}"."{METERS.name}"')
    by_hand = store.ddl(METERS).replace(f'"{METERS.name}"', f'"{KEYSPACE}"."{METERS.name}"', 1)
    session.execute(by_hand)
    store.create(METERS)
    assert store.tables() == [METERS.name]
    (found,) = session.execute(
        "SELECT gc_grace_seconds FROM system_schema.tables "
        f"WHERE keyspace_name = '{KEYSPACE}' AND table_name = '{METERS.name}'"
    )
    assert found[0] == GC_GRACE_SECONDS


def test_any_client_reads_typed_columns_of_one_timestamp(
    location: str, store: CassandraStore
) -> None:
    store.write(METERS, [meter("a", 2000)])
    (row,) = client(int(location.partition("/")[0])).execute(
        "SELECT total, days, tariff, tl_event_us, tl_write_us, writetime(total), "
        f'writetime(tl_state) FROM "{KEYSPACE}"."{METERS.name}"'
    )
    assert tuple(row) == (2000 / 3, 2000, "a@2000", 1990, 2000, 2000, 2000)


def test_a_forked_child_is_refused_and_may_open_its_own(
    location: str, store: CassandraStore
) -> None:
    store.write(METERS, [meter("a", 1)])
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            store.read(METERS, [("a",)])
        except StateError as error:
            answers.put("another process" in str(error))
        with CassandraStore(settings_of(location)) as own_store:
            answers.put(own_store.read(METERS, [("a",)]) == [meter("a", 1)])
        store.close()

    process = context.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert [answers.get(), answers.get()] == [True, True]
    assert store.read(METERS, [("a",)]) == [meter("a", 1)]


def test_a_few_in_flight_and_many_give_the_same(location: str) -> None:
    for in_flight in (1, 2, 1000):
        with CassandraStore(settings_of(location, in_flight=in_flight)) as store:
            store.create(METERS)
            rows = [meter(f"h{n}", in_flight) for n in range(700)]
            assert store.write(METERS, rows).applied == 700
            assert store.read(METERS, [row.key for row in rows]) == rows
