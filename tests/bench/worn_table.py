"""Reads of an online table of Cassandra after a million writes over its rows, beside a fresh one.

    python -m tests.bench.worn_table [--port 9042] [--rows 10000] [--times 100] [--rounds 5]

Without --port a private server is started. The worn table's rows are written over and over, and
half as many other keys were written and deleted, so that it has been full of old cells and
tombstones. Then the server flushes and compacts until nothing is left to do. Both hold the same
rows then, which is compared first; rounds of single reads of both are interleaved.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence

import numpy as np
from cassandra.cluster import Session

from tests.bench.measuring import give, machine, say
from tests.bench.online_store import KEYSPACE, server
from tests.stack.servers import client, settings_of
from twinlake.online.cassandra import CassandraStore
from twinlake.online.store import OnlineRow, OnlineTable

FEATURES = tuple((f"f{number}", "double") for number in range(5))
FRESH, WORN = (OnlineTable(name, (("k", "string"),), FEATURES) for name in ("fresh", "worn"))
READS = 3_000
PATIENCE_S = 300


def rows(count: int, order: int, kind: str = "kept") -> Iterator[OnlineRow]:
    """Rows of that many keys, as of one moment; the same each time."""
    chance = random.Random(order)
    for number in range(count):
        values = tuple(chance.random() for _ in FEATURES)
        yield OnlineRow((f"{kind}{number}",), values, order, order, order, b"s" * 500, order)


def wear(store: CassandraStore, count: int, times: int) -> None:
    """Write each row many times, and delete others in between."""
    for order in range(1, times + 1):
        store.write(WORN, rows(count, order))
        if order % 10 == 0:
            gone = list(rows(count // 2, order, "gone"))
            store.write(WORN, gone)
            store.delete(WORN, [row.key for row in gone], order + 1)
            say(f"  written {order} times")


def settle(session: Session) -> None:
    """Wait until all is flushed, and nothing is compacted any more."""
    for table in (FRESH, WORN):
        session.execute(
            f'ALTER TABLE "{KEYSPACE}"."{table.name}" WITH memtable_flush_period_in_ms = 1000'
        )
    until, quiet = time.monotonic() + PATIENCE_S, 0
    while quiet < 10 and time.monotonic() < until:
        time.sleep(1)
        busy = session.execute("SELECT task_id FROM system_views.sstable_tasks").all()
        quiet = 0 if busy else quiet + 1


def waits_s(store: CassandraStore, table: OnlineTable, keys: Sequence[tuple[str]]) -> list[float]:
    """How long each of some reads of one key takes."""
    found = []
    for key in keys:
        began = time.perf_counter()
        store.read(table, [key])
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.bench.worn_table")
    parser.add_argument("--port", type=int)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count, chance = options.rows, random.Random(1)
    with server(options.port) as port, CassandraStore(settings_of(f"{port}/{KEYSPACE}")) as store:
        for table in (FRESH, WORN):
            store.create(table)
        wear(store, count, options.times)
        store.write(FRESH, rows(count, options.times))
        session = client(port)
        settle(session)
        keys = [(f"kept{number}",) for number in range(count)]
        newest = list(rows(count, options.times))
        assert store.read(FRESH, keys) == store.read(WORN, keys) == newest
        waits: dict[str, list[list[float]]] = {FRESH.name: [], WORN.name: []}
        for number in range(options.rounds + 1):
            some = [chance.choice(keys) for _ in range(READS)]
            for table in chance.sample([FRESH, WORN], 2):
                took = waits_s(store, table, some)
                if number:
                    waits[table.name].append(took)
    told = {
        name: {
            f"p{part}_ms": round(float(np.median([np.percentile(w, part) for w in each])) * 1e3, 3)
            for part in (50, 99)
        }
        for name, each in waits.items()
    }
    ratio = told[WORN.name]["p99_ms"] / told[FRESH.name]["p99_ms"]
    for name, figures in told.items():
        say(f"{name:<6} p50 {figures['p50_ms']:7.3f} ms   p99 {figures['p99_ms']:7.3f} ms")
    say(f"p99 of the worn table: {ratio:.2f} times that of the fresh one")
    give(
        {
            "machine": machine(),
            "rows": count,
            "writes": count * options.times,
            "deletes": count // 2 * (options.times // 10),
            **told,
            "p99_ratio": round(ratio, 3),
        }
    )


if __name__ == "__main__":
    main()
