"""The simulator and a real Kafka: every transaction is there once, where and when it belongs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, NewTopic, ResourceType

from bootstrap.services.processes import LOOPBACK, free_port
from bootstrap.stack import Stack
from examples.card_fraud import generator, messages, simulator
from examples.card_fraud.generator import Extent, generate
from examples.card_fraud.to_kafka import KafkaTopic, send_to_kafka
from tests.stack.servers import kill, port_of, private_stack
from twinlake.errors import EnvironmentFailure

_PATIENCE_S = 120
_DAY = Extent(cards=200, transactions=5_000, end=Extent().start.replace(day=2))


@pytest.fixture(scope="module")
def day() -> pa.Table:
    return messages.conform(generate(_DAY))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Kafka that tests may kill."""
    with private_stack(tmp_path_factory.mktemp("own"), services=["kafka"]) as found:
        yield found


def received(bootstrap: str, topic: str, count: int) -> list[list[Message]]:
    """The first records of a topic, as many as asked for and those behind them, by partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody"})
    held = held_by(consumer, topic)
    assert sum(held) >= count
    consumer.assign([TopicPartition(topic, part, 0) for part in range(len(held))])
    found: list[list[Message]] = [[] for _ in held]
    until = time.monotonic() + _PATIENCE_S
    while sum(map(len, found)) < sum(held):
        assert time.monotonic() < until, f"{sum(map(len, found))} of {sum(held)} records"
        for message in consumer.consume(10_000, 1):
            assert message.error() is None
            found[message.partition() or 0].append(message)
    consumer.close()
    return found


def held_by(consumer: Consumer, topic: str) -> list[int]:
    """How many records each partition of a topic holds."""
    partitions = consumer.list_topics(topic, _PATIENCE_S).topics[topic].partitions
    return [
        consumer.get_watermark_offsets(TopicPartition(topic, part), _PATIENCE_S)[1]
        for part in sorted(partitions)
    ]


def values_of(found: list[list[Message]]) -> list[str]:
    return [text_of(message) for part in found for message in part]


def text_of(message: Message) -> str:
    value = message.value()
    assert value is not None
    return value.decode()


def murmur2(data: bytes) -> int:
    """Kafka's own hash of a key, by which its Java clients choose the partition; 32 bits."""
    mixer, mask = 0x5BD1E995, 0xFFFFFFFF
    state = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * mixer & mask
        state = (state * mixer & mask) ^ ((word ^ word >> 24) * mixer & mask)
    if data[whole:]:
        state = (state ^ int.from_bytes(data[whole:], "little")) * mixer & mask
    state = (state ^ state >> 13) * mixer & mask
    return state ^ state >> 15


def test_the_hash_of_this_test_is_kafkas() -> None:
    # Three values of the tests that Kafka has of its own.
    assert murmur2(b"21") == -973932308 & 0xFFFFFFFF
    assert murmur2(b"foobar") == -790332482 & 0xFFFFFFFF
    assert murmur2(b"a-little-bit-long-string") == -985981536 & 0xFFFFFFFF


def test_records_are_the_transactions(kafka: str, day: pa.Table) -> None:
    pieces = [day.slice(at, 700) for at in range(0, len(day), 700)]
    assert send_to_kafka(pieces, KafkaTopic(kafka, "records", 4)) == 5_000
    found = received(kafka, "records", 5_000)
    assert len(found) == 4
    assert min(map(len, found)) > 500
    sent = messages.values(day).to_pylist()
    assert sorted(values_of(found)) == sorted(sent)
    place = {text: number for number, text in enumerate(sent)}
    rows = day.to_pylist()
    for number, part in enumerate(found):
        behind: dict[bytes, int] = defaultdict(int)
        for message in part:
            at = place[text_of(message)]
            key = message.key()
            assert key is not None
            assert key == str(rows[at]["cc_num"]).encode()
            assert message.timestamp() == (1, int(rows[at]["trans_ts"].timestamp() * 1000))
            assert (murmur2(key) & 0x7FFFFFFF) % 4 == number
            assert at >= behind[key]  # a card's transactions stay in their order
            behind[key] = at


def test_the_topic_is_made_to_keep_old_records(kafka: str, day: pa.Table) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic("there", 1, 1, config={"retention.ms": "12345678"})])[
        "there"
    ].result(_PATIENCE_S)
    for topic, partitions, retention in (("made", 3, "-1"), ("there", 1, "12345678")):
        assert send_to_kafka([day.slice(0, 5)], KafkaTopic(kafka, topic, 3)) == 5
        assert len(admin.list_topics(topic, _PATIENCE_S).topics[topic].partitions) == partitions
        resource = ConfigResource(ResourceType.TOPIC, topic)
        told = admin.describe_configs([resource])[resource].result(_PATIENCE_S)
        assert told["retention.ms"].value == retention
        # Said of the topic itself, for another broker's default may be a week.
        assert told["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value


def test_the_command_sends_files(kafka: str, day: pa.Table, tmp_path: Path) -> None:
    generator.write(generate(_DAY), tmp_path)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "examples.card_fraud.simulator", str(tmp_path)),
            *("--topic", "commanded", "--limit", "1500", "--rate", "1000", "--partitions", "2"),
        ],
        cwd=Path(simulator.__file__).parents[2],
        env={**os.environ, "TWINLAKE_STREAM_BOOTSTRAP": kafka},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["sent"], told["to"]) == (1_500, f"commanded at {kafka}")
    found = received(kafka, "commanded", 1_500)
    assert sorted(values_of(found)) == sorted(messages.values(day.slice(0, 1_500)).to_pylist())


def test_spark_reads_it_with_the_jars_of_the_lock(
    kafka: str, day: pa.Table, tmp_path: Path
) -> None:
    send_to_kafka([day], KafkaTopic(kafka, "for_spark", 2))
    program = f"""
import os
from pathlib import Path
from twinlake.java import find_java, jar_files, jars_folder
from twinlake.lake.session import SessionOptions, start
java = find_java(os.environ)
spark = start(SessionOptions(
    master="local[1]", driver_memory="1g", jars=jar_files(jars_folder(os.environ)),
    java_home=java.home, java_options=java.options, scratch=Path({str(tmp_path)!r}),
))
options = {{"kafka.bootstrap.servers": {kafka!r}, "subscribe": "for_spark"}}
told = spark.read.format("kafka").options(**options, startingOffsets="earliest").load()
schema = "cc_num bigint, merchant string, amount decimal(12,2), zip_code string, " \
    "trans_ts decimal(18,6), tid string"
told = told.selectExpr(f"from_json(cast(value as string), '{{schema}}') as v").select("v.*")
told = told.selectExpr(
    *[name for name in told.columns if name != "trans_ts"],
    "timestamp_micros(CAST(trans_ts * 1000000 AS BIGINT)) AS trans_ts",
)
told.coalesce(1).write.parquet({str(tmp_path / "read")!r})
spark.stop()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(simulator.__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=10 * _PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    read = pq.read_table(tmp_path / "read").select(messages.SENT.names).cast(messages.SENT)
    assert read.sort_by("tid").equals(day.sort_by("tid"))


def test_nobody_listens(day: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.card_fraud.to_kafka._ANSWER_S", 2)
    port = free_port(())
    with pytest.raises(EnvironmentFailure, match=f"{LOOPBACK}:{port}") as failure:
        send_to_kafka([day], KafkaTopic(f"{LOOPBACK}:{port}", "nowhere"))
    assert "bootstrap/stack up kafka" in str(failure.value)


def test_a_killed_broker_that_comes_back_misses_and_doubles_nothing(
    own: Stack, day: pa.Table
) -> None:
    half_sent = threading.Event()

    def pieces() -> Iterator[pa.Table]:
        for at in range(0, 5_000, 100):
            if at == 2_500:
                half_sent.set()
            yield day.slice(at, 100)
            time.sleep(0.01)  # so that some is under way when the broker goes

    sent: list[int] = []
    topic = KafkaTopic(f"{LOOPBACK}:{port_of(own)}", "survives", 2, delivery_s=600)
    sending = threading.Thread(target=lambda: sent.append(send_to_kafka(pieces(), topic)))
    sending.start()
    assert half_sent.wait(_PATIENCE_S)
    kill(own)
    own.up()
    sending.join(5 * _PATIENCE_S)
    assert sent == [5_000]
    found = received(topic.bootstrap, "survives", 5_000)
    assert sorted(values_of(found)) == sorted(messages.values(day).to_pylist())
    order = {tid: number for number, tid in enumerate(day["tid"].to_pylist())}
    for part in found:
        places = [order[json.loads(text_of(message))["tid"]] for message in part]
        assert places == sorted(places)


def test_what_was_not_acknowledged_is_an_error_with_its_count(own: Stack, day: pa.Table) -> None:
    """The broker is killed when it has the first part, and stays away."""
    topic = KafkaTopic(f"{LOOPBACK}:{port_of(own)}", "fails", 2, delivery_s=3)
    topic.ensure()

    def pieces() -> Iterator[pa.Table]:
        yield day.slice(0, 2_000)
        watching = Consumer({"bootstrap.servers": topic.bootstrap, "group.id": "nobody"})
        until = time.monotonic() + _PATIENCE_S
        while sum(held_by(watching, "fails")) < 2_000:
            assert time.monotonic() < until
        watching.close()
        kill(own)
        yield day.slice(2_000)

    with pytest.raises(EnvironmentFailure, match=r"of 5000 transactions .* not acknowl") as failure:
        send_to_kafka(pieces(), topic)
    lost = int(str(failure.value).split(" ", 1)[0])
    assert 3_000 <= lost <= 5_000
    own.up()
    there = received(topic.bootstrap, "fails", 5_000 - lost)
    # What was acknowledged is there, and nothing that was not sent.
    assert 2_000 <= sum(map(len, there)) <= 5_000
    assert not set(values_of(there)) - set(messages.values(day).to_pylist())
