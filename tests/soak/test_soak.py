"""Load, and kills and stops by a seed: in the end nothing is lost, doubled or different.

Real Kafka, real Cassandra, a supervised stream in a process of its own. While it runs, a watcher
reads keys online and sees that none ever goes back; at the end every record is one row of the
events table with its verdict, and parity is 0 over all keys.

    TWINLAKE_SOAK_S      how long the load lasts, in seconds; 45 without it
    TWINLAKE_SOAK_SEED   which disturbances, and when; printed, 1 without it
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.stack import Stack
from tests.faults.laws import rows_of
from tests.faults.processes import Ended, Running, no_process_left, wait_for
from tests.soak.load import CARDS, TOPIC, Load, Sent
from tests.stack.servers import kill, port_of, private_stack, status_of
from twinlake.clock import now_us
from twinlake.errors import EnvironmentFailure
from twinlake.flows.project import Project, online_table
from twinlake.settings import load_settings

FEATURES = f"""
from twinlake import Aggregate, Clock, Column, Entity, FeatureService, FeatureView, Kafka, Source

clock = Clock("data")
card = Entity("card", join_keys={{"card": "bigint"}})
payments = Source(
    "payments", schema="tid string, card bigint, amount decimal(12,2), at timestamp",
    event_timestamp="at", event_id="tid", stream=Kafka("{TOPIC}", times_in="s"),
)
activity = FeatureView(
    "activity", entity=card, source=payments, publish="stream", max_events_per_key=10_000,
    features=[
        Aggregate("count", windows={{"count_1m": "1m", "count_10m": "10m"}}),
        Aggregate("mean", "amount", windows={{"mean_1m": "1m"}}),
        Column("amount", "newest"),
    ],
)
history = FeatureView(
    "history", entity=card, source=payments, publish="stream", hop="1m",
    features=[Aggregate("sum", "amount", windows={{"sum_1h": "1h"}})],
)
paying = FeatureService("paying", features=[activity, history])
"""
SERVICES = ("cassandra", "kafka")
LASTS_S = float(os.environ.get("TWINLAKE_SOAK_S", "45"))
SEED = int(os.environ.get("TWINLAKE_SOAK_SEED", "1"))
RATE = 100
WATCHED = range(10)


class Soak:
    """The servers, the stream's process, and what can happen to them."""

    def __init__(self, folder: Path, stack: Stack, started: list[Running]) -> None:
        self.folder = folder
        self.stack = stack
        self.started = started
        (folder / "features.py").write_text(FEATURES)
        self.ports = {
            f"{one.service}.{name}": port
            for one in stack.status()
            for name, port in one.ports.items()
        }
        self.environ = {
            "TWINLAKE_STACK": str(folder / "no-stack"),
            "TWINLAKE_ONLINE_PORT": str(port_of(stack, "cassandra")),
            "TWINLAKE_STREAM_BOOTSTRAP": f"127.0.0.1:{port_of(stack, 'kafka')}",
        }
        self.happened: list[str] = []

    def start(self, *verb: str) -> Running:
        before = ["-C", str(self.folder), "--env", "stack", "--state", str(self.folder / "state")]
        running = Running([*before, "--json", *verb], self.environ)
        self.started.append(running)
        return running

    def done(self, *verb: str) -> Ended:
        ended = self.start(*verb).wait()
        assert ended.code == 0, ended.told
        return ended

    def start_stream(self) -> None:
        self.stream = self.start("stream", "--supervise", "--check-every", "10s")

    def is_streaming(self) -> bool:
        assert self.stream.process.poll() is None, self.stream.told
        return "accepted in" in self.stream.told

    # What happens.

    def the_stream_is_killed(self) -> None:
        self.stream.kill_all()
        self.start_stream()

    def the_stream_is_ended(self) -> None:
        self.stream.process.send_signal(signal.SIGTERM)
        ended = self.stream.wait()
        assert ended.code == 0, ended.told
        self.start_stream()

    def java_is_killed(self) -> None:
        self._kill_one("java")

    def a_worker_is_killed(self) -> None:
        self._kill_one("pyspark.daemon")

    def _kill_one(self, named: str) -> None:
        lines = {pid: Path(f"/proc/{pid}/cmdline") for pid in self.stream.members()}
        found = [pid for pid, file in lines.items() if named.encode() in file.read_bytes()]
        if found:
            os.kill(found[-1], signal.SIGKILL)

    def the_stream_stands_still(self) -> None:
        self.stream.stop_all()
        time.sleep(5)
        self.stream.continue_all()

    def cassandra_stands_still(self) -> None:
        self._stand_still("cassandra")

    def kafka_stands_still(self) -> None:
        self._stand_still("kafka")

    def _stand_still(self, service: str) -> None:
        pid = status_of(self.stack, service).pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(5)
        finally:
            os.kill(pid, signal.SIGCONT)

    def cassandra_is_killed(self) -> None:
        kill(self.stack, "cassandra")
        self.stack.up(self.ports)

    def kafka_is_killed(self) -> None:
        kill(self.stack, "kafka")
        self.stack.up(self.ports)

    def disturb(self, chance: random.Random, until_s: float) -> None:
        """Let things happen, one after the other in a shuffled order, until the time is over."""
        events = [
            self.the_stream_is_killed,
            self.the_stream_is_ended,
            self.java_is_killed,
            self.a_worker_is_killed,
            self.the_stream_stands_still,
            self.cassandra_stands_still,
            self.kafka_stands_still,
            self.cassandra_is_killed,
            self.kafka_is_killed,
        ]
        while True:
            for event in chance.sample(events, len(events)):
                if time.monotonic() > until_s:
                    return
                self.happened.append(event.__name__)
                event()
                wait_for(self.is_streaming, "a batch", 300)
                time.sleep(chance.uniform(1, 5))


class Watcher(threading.Thread):
    """Reads keys online again and again; none may ever go back."""

    def __init__(self, soak: Soak) -> None:
        super().__init__(daemon=True)
        environ = os.environ | soak.environ
        settings = load_settings(soak.folder, "stack", soak.folder / "state", environ=environ)
        self._project = Project(settings, environ=environ, now_us=now_us, tell=lambda _: None)
        self._stop_asked = threading.Event()
        self.reads = 0
        self.went_back: list[str] = []

    def run(self) -> None:
        newest: dict[tuple[str, int], tuple[int, int]] = {}
        tables = {n: online_table(self._project.view(n)) for n in ("activity", "history")}
        while not self._stop_asked.wait(0.2):
            for name, table in tables.items():
                try:
                    rows = self._project.store.read(table, [(card,) for card in WATCHED])
                except EnvironmentFailure:
                    continue  # the server is away; it is asked again
                for card, row in zip(WATCHED, rows, strict=True):
                    now = (row.write_us, row.event_us) if row is not None else (0, 0)
                    before = newest.get((name, card), (0, 0))
                    if now[0] < before[0] or now[1] < before[1]:
                        self.went_back.append(f"{name} of {card}: {before} to {now}")
                    newest[name, card] = now
                self.reads += 1

    def finish(self) -> None:
        self._stop_asked.set()
        self.join(120)
        self._project.close()


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    with (
        private_stack(tmp_path / "stack", services=SERVICES) as stack,
        no_process_left() as started,
    ):
        yield Soak(tmp_path, stack, started)


def test_nothing_is_lost_doubled_or_different(
    soak: Soak, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        sys.stderr.write(f"\nTWINLAKE_SOAK_SEED={SEED} TWINLAKE_SOAK_S={LASTS_S:g}\n")
    chance = random.Random(SEED)
    soak.done("apply")
    load = Load(soak.environ["TWINLAKE_STREAM_BOOTSTRAP"], RATE, random.Random(chance.random()))
    watcher = Watcher(soak)
    load.start()
    soak.start_stream()
    wait_for(soak.is_streaming, "the first batch", 300)
    watcher.start()
    soak.disturb(chance, time.monotonic() + LASTS_S)
    sent = load.finish()
    soak.stream.process.send_signal(signal.SIGTERM)
    ended = soak.stream.wait()
    assert ended.code == 0, ended.told
    soak.done("stream", "--once")
    watcher.finish()
    with capsys.disabled():
        told = f"{sent.records} records, {watcher.reads} reads: {', '.join(soak.happened)}"
        sys.stderr.write(f"{told.replace('_', ' ')}\n")
    check(soak, sent)
    assert watcher.reads > 0
    assert watcher.went_back == []
    assert not any("PARITY" in one.told for one in soak.started)


def check(soak: Soak, sent: Sent) -> None:
    """Every record is one row with its verdict, and both stores agree."""
    rows = rows_of(soak.folder / "state" / "lake" / "events" / "payments")
    places = Counter((row["_partition"], row["_offset"]) for row in rows)
    assert [place for place, times in places.items() if times > 1] == []
    assert len(rows) == sent.records
    accepted = Counter(row["tid"] for row in rows if row["_verdict"] == "accepted")
    assert accepted == Counter(dict.fromkeys(sent.tids, 1))
    assert sum(row["_verdict"] == "quarantined" for row in rows) == sent.broken
    verdict = json.loads(soak.done("parity", "--all").answer)
    assert verdict["mismatching"] == 0
    assert verdict["keys"] == CARDS
    assert verdict["compared"] > 0
