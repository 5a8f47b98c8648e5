"""Kafka dies, stands still, forgets records, and has its topics made anew, beside a stream."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from pyspark.sql import SparkSession

from bootstrap.stack import Stack
from tests.faults.processes import Running, no_process_left, wait_for
from tests.faults.streamed import Streamed, send_records
from tests.spark.test_streaming import VIEWS, defined, line
from tests.stack.servers import kill, port_of, private_stack, status_of
from twinlake.errors import StateError

STILL_S = 20
ANSWER_S = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with private_stack(tmp_path_factory.mktemp("kafka"), services=["kafka"]) as found:
        yield found


class FromKafka(Streamed):
    """A bench whose topic, named as the test asks, is one of a real server."""

    def begin(self, server: Stack, topic: str, partitions: int) -> None:
        self.topic = topic
        self.servers = f"127.0.0.1:{port_of(server)}"
        self.environ = {"TWINLAKE_STREAM_BOOTSTRAP": self.servers}
        self.admin = AdminClient({"bootstrap.servers": self.servers})
        self.draw(41, 200)
        self.make_topic(partitions)
        defined(self, f'Kafka("{topic}", times_in="s")')

    def make_topic(self, partitions: int) -> None:
        self.admin.create_topics([NewTopic(self.topic, partitions, 1)])[self.topic].result(ANSWER_S)

    def delete_topic(self) -> None:
        self.admin.delete_topics([self.topic])[self.topic].result(ANSWER_S)
        wait_for(lambda: self.topic not in self.admin.list_topics().topics, "the topic to go", 60)

    def send_to(self, count: int, *partitions: int) -> None:
        """Send records to some partitions in turn."""
        turns: Callable[[int], int] = lambda n: partitions[n % len(partitions)]  # noqa: E731
        send_records(self.servers, self.topic, [*map(line, self.next_rows(count))], turns)

    def delete_before(self, partition: int, offset: int) -> None:
        """Let a partition forget its records before an offset, as retention does."""
        place = TopicPartition(self.topic, partition, offset)
        self.admin.delete_records([place])[place].result(ANSWER_S)

    @property
    def notes(self) -> Path:
        return self.folder / "state" / "streams" / "payments"


@pytest.fixture
def streamed(spark: SparkSession, tmp_path: Path) -> Iterator[FromKafka]:
    with FromKafka(tmp_path, spark) as made:
        yield made


def test_a_server_that_dies_or_stands_still_is_waited_for(
    streamed: FromKafka, server: Stack
) -> None:
    streamed.begin(server, "dying", 2)
    streamed.send_to(30, 0, 1)
    kill(server)
    with streamed.streaming("--supervise") as running:
        wait_for(lambda: "does not answer" in running.told, "word of it")
        server.up()
        streamed.wait_until_taken(running)
        kill(server)
        server.up()
        streamed.send_to(30, 0, 1)
        streamed.wait_until_taken(running)
        stand_still(server, running)
        streamed.send_to(30, 0, 1)
        streamed.wait_until_taken(running)
    assert "beginning again in" in running.told
    streamed.check()


def stand_still(server: Stack, running: Running) -> None:
    pid = status_of(server).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STILL_S)  # the fault itself
    finally:
        os.kill(pid, signal.SIGCONT)
    assert running.process.poll() is None, running.told


def test_records_that_were_deleted_before_they_were_read_stop_the_stream(
    streamed: FromKafka, server: Stack
) -> None:
    streamed.begin(server, "deleting", 3)
    streamed.send_to(20, 0, 1)
    with no_process_left() as started:
        running = streamed.start("stream", *VIEWS, "--supervise")
        started.append(running)
        streamed.wait_until_taken(running)
        running.stop_all()
        streamed.send_to(20, 0, 1)
        streamed.delete_before(1, 15)
        running.continue_all()
        ended = streamed.refused_by(running, 20)
    gone = "topic deleting does not hold offsets 10 to 14 of partition 1 any more"
    assert ended.code == 3, ended.told
    assert gone in ended.document["error"]
    assert f"remove {streamed.notes} to go on without them" in ended.document["hint"]
    with pytest.raises(StateError, match=gone):
        streamed.take_in()
    assert len(streamed.events("payments", "tid")) == 20
    # Neither does a stream that lost its checkpoint pass over them.
    (streamed.notes / "checkpoint").rename(streamed.folder / "gone")
    with pytest.raises(StateError, match=gone):
        streamed.take_in()
    shutil.rmtree(streamed.notes)
    done = streamed.take_in()
    assert (done.read, done.accepted + done.duplicate) == (25, 25)  # 10 + 10 of 0, 15 to 19 of 1
    assert len(streamed.events("payments", "tid")) == 45


def test_a_topic_made_anew_is_refused_and_read_from_its_beginning_when_told_to(
    streamed: FromKafka, server: Stack
) -> None:
    streamed.begin(server, "anew", 2)
    streamed.send_to(40, 0, 1)
    streamed.take_in()
    streamed.delete_topic()
    streamed.make_topic(2)
    streamed.send_to(20, 0, 1)
    ended = streamed.run("stream", *VIEWS, "--supervise")
    assert ended.code == 3, ended.told
    assert "topic anew was made anew since source payments was read last" in ended.message
    assert f"remove {streamed.notes} to read the new topic" in ended.message
    assert len(streamed.events("payments", "tid")) == 40
    shutil.rmtree(streamed.notes)
    assert streamed.take_in().read == 20
    # Events hold offsets of the old topic that the new one has yet to come to.
    shutil.rmtree(streamed.notes / "checkpoint")
    streamed.send_to(20, 0, 1)
    assert streamed.take_in().read == 20
    streamed.check()


def test_a_topic_made_anew_beside_a_stream_stops_it(streamed: FromKafka, server: Stack) -> None:
    streamed.begin(server, "beside", 1)
    streamed.send_to(20, 0)
    with no_process_left() as started:
        running = streamed.start("stream", *VIEWS)
        started.append(running)
        streamed.wait_until_taken(running)
        running.stop_all()
        streamed.delete_topic()
        streamed.make_topic(1)
        # More than were read of the old one, so that offsets alone do not tell.
        streamed.send_to(40, 0)
        running.continue_all()
        ended = streamed.refused_by(running, 20)
    assert ended.code == 3, ended.told
    assert "topic beside was made anew" in ended.document["error"]
    assert len(streamed.events("payments", "tid")) == 20


def test_a_partition_that_is_added_is_read_and_gone_on_from(
    streamed: FromKafka, server: Stack
) -> None:
    streamed.begin(server, "growing", 1)
    streamed.send_to(20, 0)
    with streamed.streaming() as running:
        streamed.wait_until_taken(running)
        made = streamed.admin.create_partitions([NewPartitions("growing", 3)])
        made["growing"].result(ANSWER_S)
        streamed.send_to(20, 1)
        streamed.wait_until_taken(running)
    # Of partition 2 nothing was landed yet.
    shutil.rmtree(streamed.notes / "checkpoint")
    streamed.send_to(20, 0, 2)
    assert streamed.take_in().read == 20
    streamed.check()
