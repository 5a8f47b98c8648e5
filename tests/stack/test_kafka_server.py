"""The stack's Kafka: kept, found again and ended, and as open to odd records as a gate needs it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from bootstrap.services.processes import LOOPBACK
from bootstrap.stack import Stack
from tests.stack.servers import (
    idle_stack,
    kill,
    own_ports,
    port_of,
    private_stack,
    status_of,
)
from twinlake.assurance import doctor
from twinlake.errors import EnvironmentFailure
from twinlake.settings import load_settings

_PATIENCE_S = 120
# Years ago, and far ahead: what the time of a record is when it is the event's.
_LONG_AGO_MS = 1_640_995_200_000
_FAR_AHEAD_MS = 4_102_444_800_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A folder with a space, a quote and a comma: paths reach a command line and a URI.
    folder = tmp_path_factory.mktemp('a "stack", two')
    with private_stack(folder, services=["kafka"]) as found:
        yield found


def servers(stack: Stack) -> str:
    return f"{LOOPBACK}:{port_of(stack)}"


def make_topic(stack: Stack, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": servers(stack)})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(_PATIENCE_S)


def send(stack: Stack, topic: str, values: list[tuple[bytes, int]]) -> list[KafkaError | None]:
    """Send values with their times; what became of each."""
    told: list[KafkaError | None] = []
    producer = Producer(
        {
            "bootstrap.servers": servers(stack),
            "message.max.bytes": 8_000_000,
            "topic.metadata.propagation.max.ms": 1000,  # a topic that is not there will not come
            "delivery.timeout.ms": _PATIENCE_S * 1000,
        }
    )

    def remember(error: KafkaError | None, message: Message) -> None:
        told.append(error)

    for value, at_ms in values:
        producer.produce(topic, value, b"key", timestamp=at_ms, on_delivery=remember)
    assert producer.flush(_PATIENCE_S) == 0
    return told


def received(stack: Stack, topic: str, count: int) -> list[Message]:
    """The first records of a topic, as many as asked for."""
    consumer = Consumer({"bootstrap.servers": servers(stack), "group.id": "nobody"})
    consumer.assign([TopicPartition(topic, part, 0) for part in (0, 1)])
    found: list[Message] = []
    until = time.monotonic() + _PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} records"
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            found.append(message)
    consumer.close()
    return found


def pid_of(stack: Stack) -> int:
    pid = status_of(stack).pid
    assert pid is not None
    return pid


def up_again(stack: Stack) -> None:
    """A module's tests share the server; each leaves it running."""
    stack.up()
    assert status_of(stack).ready


def test_up_again_starts_nothing(running: Stack) -> None:
    before = pid_of(running)
    (status,) = running.up()
    assert (status.service, status.pid, status.ready) == ("kafka", before, True)


def test_it_listens_on_this_machine_only(running: Stack) -> None:
    ports = status_of(running).ports.values()
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    listening = {line.split()[1] for line in lines if line.split()[3] == "0A"}
    assert len(ports) == 2
    assert {f"0100007F:{port:04X}" for port in ports} <= listening
    assert not {f"00000000:{port:04X}" for port in ports} & listening


def test_a_mistyped_topic_is_not_made(running: Stack) -> None:
    (error,) = send(running, "cctopik", [(b"lost", 0)])
    assert error is not None
    assert error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
    admin = AdminClient({"bootstrap.servers": servers(running)})
    assert "cctopik" not in admin.list_topics(timeout=_PATIENCE_S).topics


def test_what_a_gate_must_see_is_let_in_and_kept(running: Stack) -> None:
    make_topic(running, "odd")
    values = [(b"old", _LONG_AGO_MS), (b"ahead", _FAR_AHEAD_MS), (b"x" * 5_000_000, 1)]
    assert send(running, "odd", values) == [None, None, None]
    found = [(message.value(), message.timestamp()[1]) for message in received(running, "odd", 3)]
    assert sorted(found) == sorted(values)
    admin = AdminClient({"bootstrap.servers": servers(running)})
    resource = ConfigResource(ResourceType.TOPIC, "odd")
    told = admin.describe_configs([resource])[resource].result(_PATIENCE_S)
    assert told["retention.ms"].value == "-1"
    assert told["retention.bytes"].value == "-1"


def test_killed_server_comes_back_with_its_data_and_port(running: Stack) -> None:
    make_topic(running, "kept")
    values = [(b"%d" % number, _LONG_AGO_MS + number) for number in range(1000)]
    assert set(send(running, "kept", values)) == {None}
    port, pid = port_of(running), kill(running)
    assert not status_of(running).running
    assert not _finding(running).ok
    up_again(running)
    assert port_of(running) == port
    assert pid_of(running) != pid
    found = received(running, "kept", 1000)
    assert sorted((m.value(), m.timestamp()[1]) for m in found) == sorted(values)


def test_a_stopped_server_does_not_answer_but_is_ended(
    running: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.services.kafka_server._ANSWER_S", 1)
    monkeypatch.setattr("twinlake.assurance.doctor._SERVER_TIMEOUT_S", 1)
    os.kill(pid_of(running), signal.SIGSTOP)
    status = status_of(running)
    assert (status.running, status.ready) == (True, False)
    finding = _finding(running)
    assert (finding.ok, "no answer within 1 s" in finding.found) == (False, True)
    assert running.down() == ["kafka"]
    assert running.down() == []
    assert not status_of(running).running
    up_again(running)
    assert _finding(running).ok


def test_with_its_ports_taken_it_comes_back_elsewhere_with_its_data(running: Stack) -> None:
    make_topic(running, "moved")
    assert send(running, "moved", [(b"here", 1)]) == [None]
    before = status_of(running).ports
    running.down()
    others = [socket.create_server((LOOPBACK, port)) for port in before.values()]
    try:
        up_again(running)
        assert not set(status_of(running).ports.values()) & set(before.values())
        assert [message.value() for message in received(running, "moved", 1)] == [b"here"]
    finally:
        for other in others:
            other.close()


def test_settings_follow_the_endpoints(running: Stack, tmp_path: Path) -> None:
    environ = {"TWINLAKE_STACK": str(running.folder)}
    settings = load_settings(tmp_path, "stack", environ=environ)
    assert settings.stream_bootstrap == (servers(running),)
    assert "online" not in running.endpoints.read_text("utf-8")  # Cassandra was never started


def test_a_data_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    stack = idle_stack(tmp_path / "stack", services=["kafka"])
    place = stack.folder / "kafka"
    place.mkdir(parents=True)
    (place / "data").write_text("a file where a folder must be")
    with pytest.raises(EnvironmentFailure, match="could not make its data folder") as failure:
        stack.up(own_ports(["kafka"]))
    assert "format.log" in str(failure.value)
    assert not status_of(stack).running


def test_a_damaged_identity_is_told(tmp_path: Path) -> None:
    stack = idle_stack(tmp_path / "stack", services=["kafka"])
    data = stack.folder / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=7\n")
    with pytest.raises(EnvironmentFailure, match="ended while it started") as failure:
        stack.up(own_ports(["kafka"]))
    assert "server.log" in str(failure.value)
    assert "cluster.id" in str(failure.value)
    assert not status_of(stack).running


def _finding(stack: Stack) -> doctor.Finding:
    """What the doctor says of this Kafka."""
    settings = load_settings(stack.folder, environ={"TWINLAKE_STREAM_BOOTSTRAP": servers(stack)})
    (finding,) = doctor._stream(settings)
    return finding
