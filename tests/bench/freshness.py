"""From an event to its being readable online, beside the least that any stream would have to do.

    python -m tests.bench.freshness [--rate 1000] [--warm-up 60] [--seconds 60] [--keys 10000]
        [--rounds 1] [--cassandra PORT --kafka HOST:PORT] [--without-floor]

Without servers a private stack is started. The floor takes the same events from the same Kafka,
appends them to Delta, reads and writes the same keys in Cassandra by the bare driver with values as
large as ours, and appends to a second Delta table: as many commits and round trips as ours, and
nothing else. Each runs for some time; what was sent while it warmed up does not count.

Whether a rate can be held is told by the thirds of that time: they wait equally long then.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import DataFrame

import twinlake
from tests.bench.measuring import give, machine, say
from tests.stack.servers import client, port_of, private_stack
from twinlake.flows import streaming
from twinlake.flows.project import Project, online_table
from twinlake.flows.stream_lander import Progress
from twinlake.lake import tables

OURS, FLOOR = "twinlake", "floor"
KEYSPACE = "freshness"
PATIENCE_S = 120
FEATURES = """
from twinlake import Aggregate, Clock, Entity, FeatureView, Files, Kafka, Source

clock = Clock("data")
card = Entity("card", join_keys={{"card": "bigint"}})
payments = Source("payments", schema="tid bigint, card bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", batch=Files("in"), stream=Kafka("{topic}", times_in="us"))
activity = FeatureView("activity", entity=card, source=payments, publish="stream",
    max_events_per_key=10_000,
    features=[Aggregate("count", windows={{"count_10m": "10m"}}),
              Aggregate("mean", "amount", windows={{"mean_10m": "10m"}})])
"""
Waits = dict[int, float]


def produce(topic: str, kafka: str, rate: int, seconds: float, keys: int) -> None:
    """Send events at a rate, each with the moment at which it is sent."""
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, "log_level": 2})
    cards = np.random.default_rng(5).integers(0, keys, int(rate * seconds))
    began, sent = time.time(), 0
    while sent < len(cards):
        due = min(int((time.time() - began) * rate), len(cards))
        for tid in range(sent, due):
            at = time.time_ns() // 1000
            record = {"tid": tid, "card": int(cards[tid]), "amount": f"{tid % 977}.25", "at": at}
            producer.produce(topic, json.dumps(record).encode(), str(cards[tid]).encode())
        producer.poll(0)
        sent = due
        time.sleep(0.002)
    producer.flush(PATIENCE_S)


@contextmanager
def sending(options: argparse.Namespace, topic: str, kafka: str) -> Iterator[int]:
    """Send from a process of its own, and wait for it; gives how many it sends."""
    seconds = options.warm_up + options.seconds
    told = [topic, kafka, str(options.rate), str(seconds), str(options.keys)]
    command = [sys.executable, "-m", "tests.bench.freshness", "--produce", *told]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        yield int(options.rate * seconds)
        if process.wait(PATIENCE_S + seconds):
            sys.exit("the producer failed")


def wait_for(count: int, read: Callable[[], int], failed: list[BaseException]) -> None:
    """Wait until all events were read."""
    until = time.monotonic() + 10 * PATIENCE_S
    while read() < count:
        if failed:
            raise failed[0]
        if time.monotonic() > until:
            sys.exit(f"only {read():,} of {count:,} events were read")
        time.sleep(0.1)


def ours(project: Project, options: argparse.Namespace, topic: str) -> tuple[Waits, int]:
    """Stream with twinlake; give each event's wait, and how many bytes a key's row holds."""
    progress, stopped, failed = Progress(), threading.Event(), list[BaseException]()
    parts: list[dict[str, float]] = []
    ends: list[float] = []

    def note(_: str, now: Progress) -> None:
        nonlocal progress
        progress = now
        parts.append(dict(now.batch_s))
        ends.append(time.monotonic())

    def run() -> None:
        try:
            streaming.stream(project, stopped=stopped, after_batch=note)
        except BaseException as failure:
            failed.append(failure)

    worker = threading.Thread(target=run)
    worker.start()
    with sending(options, topic, ",".join(project.settings.stream_bootstrap)) as count:
        wait_for(count, lambda: progress.read, failed)
    stopped.set()
    worker.join()
    half = parts[len(parts) // 2 :]
    told = {n: round(float(np.median([p[n] for p in half])), 3) for n in sorted(half[-1])}
    say(f"  {progress.batches} batches, {progress.slow_batches} from the lake; median parts {told}")
    slowest = max(half, key=lambda each: sum(each.values()))
    say(f"  the slowest: { {name: round(took, 3) for name, took in sorted(slowest.items())} }")
    apart = np.diff(ends[len(ends) // 2 :])
    say(f"  a batch every {np.median(apart):.2f} s")
    events = tables.read(project.spark, project.places.events("payments")).selectExpr(
        "tid", "unix_micros(_event_timestamp) AS at", "_version"
    )
    readable = progress.readable_us
    waits = {r.tid: (readable[r["_version"]] - r["at"]) / 1e6 for r in events.collect()}
    rows = project.store.read(online_table(project.view("activity")), [(k,) for k in range(200)])
    say(f"  median wait in each third of the time: {_by_thirds(options, waits)} s")
    return waits, int(np.mean([len(row.state) for row in rows if row is not None and row.state]))


def _by_thirds(options: argparse.Namespace, waits: Waits) -> list[float]:
    """Give the median wait in each third of the time after the warm-up."""
    first, sent = options.rate * options.warm_up, options.rate * options.seconds
    cuts = [first + sent * third // 3 for third in range(4)]
    return [
        round(float(np.median([waits[tid] for tid in range(low, high)])), 2)
        for low, high in pairwise(cuts)
    ]


class Floor:
    """What every stream has to do: two appends to Delta, and a read and a write of every key."""

    def __init__(self, session: Session, folder: Path, size: int) -> None:
        self.folder, self.size, self.read = folder, size, 0
        self.waits: Waits = {}
        self.session = session
        session.execute(
            f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = "
            "{'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {KEYSPACE}.rows (k bigint PRIMARY KEY, v blob)"
        )
        self.select = session.prepare(f"SELECT v FROM {KEYSPACE}.rows WHERE k = ?")
        self.insert = session.prepare(f"INSERT INTO {KEYSPACE}.rows (k, v) VALUES (?, ?)")

    def take(self, frame: DataFrame, _: int) -> None:
        """Take a batch."""
        frame = frame.persist()
        frame.write.format("delta").mode("append").save(str(self.folder / "events"))
        rows = frame.select("tid", "card", "at").collect()
        keys = [(key,) for key in {row["card"] for row in rows}]
        execute_concurrent_with_args(self.session, self.select, keys, concurrency=128)
        values = [(key, b"\7" * self.size) for (key,) in keys]
        execute_concurrent_with_args(self.session, self.insert, values, concurrency=128)
        now = time.time()
        self.waits |= {row["tid"]: now - row["at"] / 1e6 for row in rows}
        frame.write.format("delta").mode("append").save(str(self.folder / "rows"))
        frame.unpersist()
        self.read += len(rows)


def floor(
    project: Project, options: argparse.Namespace, topic: str, folder: Path, size: int
) -> Waits:
    """Stream with the least; give each event's wait."""
    (kafka,) = project.settings.stream_bootstrap
    least = Floor(client(options.cassandra), folder, size)
    schema = "tid bigint, card bigint, amount decimal(12,2), at bigint"
    records = (
        project.spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", kafka)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .load()
        .selectExpr(f"from_json(CAST(value AS string), '{schema}') AS record")
        .select("record.*")
    )
    query = (
        records.writeStream.foreachBatch(least.take)
        .option("checkpointLocation", str(folder / "checkpoint"))
        .start()
    )
    with sending(options, topic, kafka) as count:
        wait_for(count, lambda: least.read, [])
    query.stop()
    return least.waits


def make_topic(kafka: str, topic: str) -> None:
    """Make a topic of four partitions."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 2})
    admin.create_topics([NewTopic(topic, 4)])[topic].result()


def quantiles(waits: Waits, options: argparse.Namespace) -> dict[str, float]:
    """Give p50 and p99 in seconds, of the events that were sent after the warm-up."""
    counted = [wait for tid, wait in waits.items() if tid >= options.rate * options.warm_up]
    p50, p99 = np.quantile(np.array(counted), [0.5, 0.99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "events": len(counted)}


def one_round(options: argparse.Namespace, number: int) -> dict[str, dict[str, float]]:
    """Measure ours, then the floor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, dict[str, float]] = {}
        topics = {who: f"bench-{int(time.time())}-{number}-{who}" for who in (OURS, FLOOR)}
        for topic in topics.values():
            make_topic(options.kafka, topic)
        (folder / "features.py").write_text(FEATURES.format(topic=topics[OURS]))
        with twinlake.open(folder, env="stack", state=folder / "state", tell=say) as store:
            store.apply()
            waits, size = ours(store.project, options, topics[OURS])
            found[OURS] = quantiles(waits, options)
            say(f"  {OURS}: {found[OURS]}; a row's state holds {size} bytes")
            if options.without_floor:
                return found
            least = floor(store.project, options, topics[FLOOR], folder / "floor", size)
            found[FLOOR] = quantiles(least, options)
            say(f"  {FLOOR}: {found[FLOOR]}")
    return found


def run() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--produce", nargs=5)
    parser.add_argument("--cassandra", type=int)
    parser.add_argument("--kafka")
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--warm-up", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--without-floor", action="store_true")
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    if options.produce:
        topic, kafka, rate, seconds, keys = options.produce
        produce(topic, kafka, int(rate), float(seconds), int(keys))
        return
    with servers(options):
        rounds = [one_round(options, number) for number in range(options.rounds)]
    figures: dict[str, Any] = {"machine": machine(), "rate": options.rate, "keys": options.keys}
    for quantile in ("p50", "p99"):
        median = {w: float(np.median([r[w][quantile] for r in rounds])) for w in rounds[0]}
        figures[quantile] = median
        if FLOOR in median:
            figures[quantile] |= {"ratio": round(median[OURS] / median[FLOOR], 2)}
    give(figures)


@contextmanager
def servers(options: argparse.Namespace) -> Iterator[None]:
    """Use the servers that were named, or start a private stack."""
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        if options.cassandra is None:
            services = ("cassandra", "kafka")
            stack = ends.enter_context(private_stack(folder / "stack", services=services))
            options.cassandra = port_of(stack, "cassandra")
            options.kafka = f"127.0.0.1:{port_of(stack, 'kafka')}"
        os.environ["TWINLAKE_STACK"] = str(folder / "none")
        os.environ["TWINLAKE_ONLINE_PORT"] = str(options.cassandra)
        os.environ["TWINLAKE_STREAM_BOOTSTRAP"] = options.kafka
        yield


if __name__ == "__main__":
    run()
