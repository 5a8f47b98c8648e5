"""The Cassandra store beside a loop of the raw driver that moves the same bytes, in one process.

    .venv/bin/python -m tests.bench.online_store [--port 9042] [--rounds 5] [--rows 3000]

Without --port a private server is started. Rounds of peer and ours are interleaved, after one that
warms both up; what they wrote or read is compared before anything is timed. Prints a table, then
one JSON line. Processor time is that of this process: on a machine that is busy with other things
it says more than the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import PreparedStatement, tuple_factory

from tests.bench.online_views import AS_OF_US, VIEW, view_rows
from tests.stack.servers import port_of, private_stack, settings_of
from twinlake.flows.project import online_table
from twinlake.online.cassandra import CassandraStore
from twinlake.online.cassandra_ddl import SYSTEM, cassandra_ddl
from twinlake.online.reader import serve
from twinlake.online.store import OnlineRow, OnlineTable

KEYSPACE = "bench"
FEATURES = tuple((f"f{number}", "double") for number in range(50))
IN_FLIGHT = 128
CHUNKS = (25, 50, 100)
Work = Callable[[], Any]


@dataclass
class Rounds:
    """What each round of one contender took."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """One line of the table: how long ours takes, as a multiple of the best peer."""

    name: str
    unit: str
    peer: str
    peer_wall: float
    our_wall: float
    wall_ratio: float
    cpu_ratio: float


def race(contenders: dict[str, Work], rounds: int) -> dict[str, Rounds]:
    """Run all contenders in turn, each time in another order; the first round warms up."""
    chance, taken = random.Random(7), {name: Rounds() for name in contenders}
    for number in range(rounds + 1):
        order = list(contenders)
        chance.shuffle(order)
        for name in order:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                taken[name].wall_s.append(wall)
                taken[name].cpu_s.append(cpu)
    return taken


def outcome(name: str, unit: str, per: int, taken: dict[str, Rounds]) -> Outcome:
    """Compare ``ours`` with the fastest of the others, by the median of the rounds' ratios."""
    peers = [peer for peer in taken if peer != "ours"]
    best = min(peers, key=lambda peer: statistics.median(taken[peer].wall_s))
    ours, theirs = taken["ours"], taken[best]
    return Outcome(
        name,
        unit,
        best,
        statistics.median(theirs.wall_s) / per,
        statistics.median(ours.wall_s) / per,
        statistics.median(ours.wall_s) / statistics.median(theirs.wall_s),
        statistics.median(ours.cpu_s) / statistics.median(theirs.cpu_s),
    )


class Peer:
    """A plain client of the driver, set up as its documentation advises."""

    def __init__(self, port: int, table: OnlineTable) -> None:
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy("datacenter1")),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            request_timeout=60,
            row_factory=tuple_factory,
        )
        self.cluster = Cluster(
            ["127.0.0.1"],
            port=port,
            protocol_version=4,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            connect_timeout=60,
            control_connection_timeout=60,
        )
        self.session: Session = self.cluster.connect()
        self.place = f'"{KEYSPACE}"."peer_{table.name}"'
        columns = [name for name, _ in table.features]
        self.names = [table.keys[0][0], *SYSTEM, *columns, "tl_state"]
        ddl = cassandra_ddl(OnlineTable(f"peer_{table.name}", table.keys, table.features), KEYSPACE)
        self.session.execute(f"DROP TABLE IF EXISTS {self.place}")
        self.session.execute(ddl)
        marks = ", ".join("?" * len(self.names))
        self.insert = self.prepare(
            f"INSERT INTO {self.place} ({self._list(self.names)}) VALUES ({marks}) "
            "USING TIMESTAMP ?"
        )
        key, features = f'"{self.names[0]}"', self._list([self.names[0], *columns])
        everything = self._list(self.names)
        self.one = self.prepare(f"SELECT {features} FROM {self.place} WHERE {key} = ?")
        self.many = self.prepare(f"SELECT {features} FROM {self.place} WHERE {key} IN ?")
        self.one_whole = self.prepare(f"SELECT {everything} FROM {self.place} WHERE {key} = ?")
        self.many_whole = self.prepare(f"SELECT {everything} FROM {self.place} WHERE {key} IN ?")

    def prepare(self, statement: str) -> PreparedStatement:
        return self.session.prepare(statement)

    def make_narrow(self) -> PreparedStatement:
        """Make a table with a row for each feature; gives the statement that writes one."""
        narrow = f'"{KEYSPACE}"."narrow"'
        self.session.execute(f"DROP TABLE IF EXISTS {narrow}")
        self.session.execute(
            f"CREATE TABLE {narrow} (k text, feature text, event_us bigint, value double, "
            "PRIMARY KEY (k, feature))"
        )
        return self.prepare(
            f"INSERT INTO {narrow} (k, feature, event_us, value) VALUES (?, ?, ?, ?) "
            "USING TIMESTAMP ?"
        )

    def write_by_callbacks(
        self, rows: list[tuple], statement: PreparedStatement | None = None
    ) -> None:
        answers: SimpleQueue[Exception | None] = SimpleQueue()
        execute, insert = self.session.execute_async, statement or self.insert

        def done(_: object) -> None:
            answers.put(None)

        for number, row in enumerate(rows):
            if number >= IN_FLIGHT:
                _raise(answers.get())
            execute(insert, row).add_callbacks(done, answers.put)
        for _ in range(min(IN_FLIGHT, len(rows))):
            _raise(answers.get())

    def write_by_concurrent(self, rows: list[tuple]) -> None:
        execute_concurrent_with_args(self.session, self.insert, rows, concurrency=IN_FLIGHT)

    def read_one(self, statement: PreparedStatement, keys: list[str]) -> list[Any]:
        return [self.session.execute(statement, (key,)).one() for key in keys]

    def read_in(self, statement: PreparedStatement, keys: list[str], chunk: int) -> list[Any]:
        futures = [
            self.session.execute_async(statement, (keys[start : start + chunk],))
            for start in range(0, len(keys), chunk)
        ]
        found = {row[0]: row for future in futures for row in future.result()}
        return [found.get(key) for key in keys]

    def _list(self, names: list[str]) -> str:
        return ", ".join(f'"{name}"' for name in names)


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def plain(row: OnlineRow) -> tuple:
    """What a peer binds for a row."""
    times = row.event_us, row.known_us, row.valid_until_us, row.write_us
    return (row.key[0], *times, *row.values, row.state, row.write_us)


def bench_writes(store: CassandraStore, port: int, state: int, count: int, rounds: int) -> Outcome:
    table = OnlineTable(f"wide_{state}", (("k", "string"),), FEATURES)
    store.drop(table.name)  # an earlier run's rows may be newer than these
    store.create(table)
    peer, chance = Peer(port, table), random.Random(state)
    moments = iter(range(1, 1_000_000))

    def rows() -> list[OnlineRow]:
        moment = next(moments)
        values = [tuple(chance.random() for _ in FEATURES) for _ in range(min(count, 50))]
        return [
            OnlineRow(
                (f"key{n % 1000}",), values[n % len(values)], n, n, n, b"s" * state, moment + n
            )
            for n in range(count)
        ]

    same = rows()
    store.write(table, same)
    peer.write_by_callbacks([plain(row) for row in same])
    keys = sorted({row.key[0] for row in same})
    ours = [plain(row)[:-1] for row in store.read(table, [(key,) for key in keys]) if row]
    assert ours == peer.read_in(peer.many_whole, keys, 20)
    prepared = [rows() for _ in range(3)]
    bound = [[plain(row) for row in part] for part in prepared]
    turn = iter(range(1_000_000))
    contenders: dict[str, Work] = {
        "callbacks": lambda: peer.write_by_callbacks(bound[next(turn) % 3]),
        "execute_concurrent": lambda: peer.write_by_concurrent(bound[next(turn) % 3]),
        "ours": lambda: store.write(table, prepared[next(turn) % 3]),
    }
    taken = race(contenders, rounds)
    peer.cluster.shutdown()
    return outcome(f"write, 50 features, state of {state:,} bytes", "s/row", count, taken)


def bench_narrow(store: CassandraStore, port: int, count: int, rounds: int) -> Outcome:
    """Compare a row of 50 features and state with a row for each feature, without state."""
    table = OnlineTable("wide_beside_narrow", (("k", "string"),), FEATURES)
    store.drop(table.name)
    store.create(table)
    peer, chance, moments = Peer(port, table), random.Random(5), iter(range(1, 1_000_000))
    narrow = peer.make_narrow()
    keys = [f"key{number}" for number in range(count)]
    values = [tuple(chance.random() for _ in FEATURES) for _ in keys]

    def ours() -> None:
        at = next(moments)
        rows = [
            OnlineRow((key,), cells, at, at, at, b"s" * 1_000, at)
            for key, cells in zip(keys, values, strict=True)
        ]
        store.write(table, rows)

    def theirs() -> None:
        at = next(moments)
        rows = [
            (key, name, at, cell, at)
            for key, cells in zip(keys, values, strict=True)
            for (name, _), cell in zip(FEATURES, cells, strict=True)
        ]
        peer.write_by_callbacks(rows, narrow)

    ours()
    theirs()
    found = peer.session.execute(f'SELECT k, feature, value FROM "{KEYSPACE}"."narrow"')
    written = {(key, name): value for key, name, value in found}
    read = store.read(table, [(key,) for key in keys])
    assert written == {
        (row.key[0], name): cell
        for row in read
        if row is not None
        for (name, _), cell in zip(FEATURES, row.values, strict=True)
    }
    taken = race({"a row per feature": theirs, "ours": ours}, rounds)
    peer.cluster.shutdown()
    return outcome("write, 50 features and state, beside 50 rows", "s/key", count, taken)


def bench_reads(store: CassandraStore, port: int, times: int, rounds: int) -> Iterator[Outcome]:
    table = online_table(VIEW)
    store.drop(table.name)
    store.create(table)
    peer, rows = Peer(port, table), view_rows(500)
    store.write(table, rows)
    peer.write_by_callbacks([plain(row) for row in rows])
    keys = [row.key[0] for row in rows]
    size = statistics.mean(len(row.state) for row in rows)
    assert [plain(row)[:-1] for row in rows] == peer.read_in(peer.many_whole, keys, 25)
    assert store.read(table, [(key,) for key in keys]) == rows
    chance, few = random.Random(3), max(1, times // 10)
    some = [chance.choice(keys) for _ in range(times)]
    hundreds = [chance.sample(keys, 100) for _ in range(few)]

    def each(read: Callable[[list[tuple[str]]], Any]) -> Work:
        return lambda: [read([(key,)]) for key in some]

    def all_hundreds(read: Callable[[list[tuple[str]]], Any]) -> Work:
        return lambda: [read([(key,) for key in hundred]) for hundred in hundreds]

    def ours(wanted: list[tuple[str]]) -> Any:
        return store.read(table, wanted)

    def served(wanted: list[tuple[str]]) -> Any:
        return serve(store, table, VIEW, wanted, AS_OF_US)

    def served_while_valid(wanted: list[tuple[str]]) -> Any:
        return serve(store, table, VIEW, wanted, AS_OF_US - 1)

    def in_chunks(statement: PreparedStatement, chunk: int) -> Work:
        return lambda: [peer.read_in(statement, hundred, chunk) for hundred in hundreds]

    for what, one, many in (
        ("columns", peer.one, peer.many),
        ("columns and state", peer.one_whole, peer.many_whole),
    ):
        raw: dict[str, Work] = {"get": lambda one=one: peer.read_one(one, some)}  # type: ignore[misc]
        by_chunk = {f"IN of {chunk}": in_chunks(many, chunk) for chunk in CHUNKS}
        named = f"{what} ({size:,.0f} bytes)"
        yield outcome(
            f"read 1 key, store, raw {named}", "s", times, race({**raw, "ours": each(ours)}, rounds)
        )
        yield outcome(
            f"read 100 keys, store, raw {named}", "s",
            few,
            race({**by_chunk, "ours": all_hundreds(ours)}, rounds),
        )  # fmt: skip
    for moment, read in (("past", served), ("within", served_while_valid)):
        yield outcome(
            f"as of {moment} valid_until, 1 key, raw {named}", "s", times,
            race({**raw, "ours": each(read)}, rounds),
        )  # fmt: skip
        yield outcome(
            f"as of {moment} valid_until, 100 keys, raw {named}", "s", few,
            race({**by_chunk, "ours": all_hundreds(read)}, rounds),
        )  # fmt: skip
    peer.cluster.shutdown()


@contextmanager
def server(port: int | None) -> Iterator[int]:
    if port is not None:
        yield port
        return
    with tempfile.TemporaryDirectory() as folder, private_stack(Path(folder)) as stack:
        yield port_of(stack)


def all_outcomes(
    store: CassandraStore, port: int, options: argparse.Namespace
) -> Iterator[Outcome]:
    rounds, rows = options.rounds, options.rows
    if options.only != "reads":
        yield bench_writes(store, port, 1_000, rows, rounds)
        yield bench_writes(store, port, 20_000, rows // 3, rounds)
        yield bench_narrow(store, port, rows // 10, rounds)
    if options.only != "writes":
        yield from bench_reads(store, port, rows // 10, rounds)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--only", choices=("writes", "reads"))
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with server(options.port) as port, CassandraStore(settings_of(f"{port}/{KEYSPACE}")) as store:
        store.create(OnlineTable("first", (("k", "string"),), ()))  # makes the keyspace
        for found in all_outcomes(store, port, options):
            outcomes.append(found)
            tell(found)
    document = {
        "rounds": options.rounds,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "outcomes": {one.name: figures(one) for one in outcomes},
    }
    sys.stdout.write(json.dumps(document) + "\n")


def figures(one: Outcome) -> dict[str, float | str]:
    return {
        "wall_ratio": round(one.wall_ratio, 3),
        "cpu_ratio": round(one.cpu_ratio, 3),
        "ours_s": one.our_wall,
        "peer_s": one.peer_wall,
        "best_peer": one.peer,
    }


def tell(one: Outcome) -> None:
    sys.stdout.write(
        f"{one.name:<68} {one.peer:<18} peer {one.peer_wall * 1e3:8.3f} ms  ours "
        f"{one.our_wall * 1e3:8.3f} ms  wall x{one.wall_ratio:5.2f}  cpu x{one.cpu_ratio:5.2f}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    run()
