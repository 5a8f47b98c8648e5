"""Send transactions to a topic of Kafka: keyed by card, at their own times, each of them once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from examples.card_fraud import messages
from twinlake.errors import EnvironmentFailure

TOPIC: Final = "cctopic"
_QUIET: Final = {"log_level": 2}  # what goes wrong is told by an error, once
_ANSWER_S: Final = 15
_FAREWELL_S: Final = 5


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """Where to send to.

    Attributes:
        bootstrap: Servers to begin with: ``host:port``, with commas between.
        name: The topic.
        partitions: How many it gets where it has to be made.
        delivery_s: How long a transaction may take until it is acknowledged, all attempts together.
    """

    bootstrap: str
    name: str = TOPIC
    partitions: int = 4
    delivery_s: float = 120

    def ensure(self) -> None:
        """Make the topic where it is not there; one that is stays as it is.

        Raises:
            EnvironmentFailure: Kafka does not answer, or refuses.
        """
        admin = AdminClient({"bootstrap.servers": self.bootstrap, **_QUIET})
        try:
            if self.name in admin.list_topics(timeout=_ANSWER_S).topics:
                return
            # The records say when their event happened: by that time Kafka would delete them.
            wanted = NewTopic(self.name, self.partitions, config={"retention.ms": "-1"})
            admin.create_topics([wanted], request_timeout=_ANSWER_S)[self.name].result()
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another was faster
                raise self.failed(failure.args[0]) from failure

    def failed(self, error: KafkaError) -> EnvironmentFailure:
        """Say what Kafka answered, or that it did not."""
        return EnvironmentFailure(
            f"Kafka at {self.bootstrap}, topic {self.name}: {error.str()}",
            hint="start it (the local stack: bootstrap/stack up kafka), or name another in the "
            "environment's file or with TWINLAKE_STREAM_BOOTSTRAP",
        )


@dataclass(slots=True)
class _Delivery:
    """What became of what was sent; only failures are told one by one.

    Attributes:
        refused: How many were not acknowledged.
        error: Why the first of them was not.
    """

    refused: int = 0
    error: KafkaError | None = field(default=None)

    def told(self, error: KafkaError | None, _message: Message) -> None:
        """Remember a failure; a callback of the producer."""
        if error is not None:
            self.refused += 1
            self.error = self.error or error


def send_to_kafka(pieces: Iterable[pa.Table], topic: KafkaTopic) -> int:
    """Send every transaction once, in the order of its card, and wait until all are acknowledged.

    What waits to be sent is bounded: when the broker is slower, so is the sender.

    Args:
        pieces: Tables that conform.
        topic: Where to.

    Returns:
        How many transactions were sent and acknowledged.

    Raises:
        EnvironmentFailure: At least one was not acknowledged; how many and why.
    """
    topic.ensure()
    producer = Producer(
        {
            "bootstrap.servers": topic.bootstrap,
            "enable.idempotence": True,  # also what had to be sent again is there once, in order
            "partitioner": "murmur2_random",  # as every Java client, so that a card has one place
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 65_536,
            "delivery.timeout.ms": math.ceil(topic.delivery_s * 1000),
            "delivery.report.only.error": True,
            **_QUIET,
        }
    )
    delivery, sent = _Delivery(), 0
    try:
        for piece in pieces:
            sent += _send(producer, topic, piece, delivery)
            producer.poll(0)
            if delivery.error is not None:
                break
    except BaseException as failure:  # an interrupt too: what was handed over is on its way
        producer.flush(_FAREWELL_S)
        if isinstance(failure, KafkaException):
            raise topic.failed(failure.args[0]) from failure
        raise
    waiting = producer.flush(topic.delivery_s + 1)
    lost = waiting + delivery.refused
    if lost:
        told = delivery.error.str() if delivery.error else "no answer"
        raise EnvironmentFailure(
            f"{lost} of {sent} transactions sent to {topic.name} at {topic.bootstrap} were not "
            f"acknowledged: {told}",
            hint="look at the broker's log (bootstrap/stack status says where it is)",
        )
    return sent


def _send(producer: Producer, topic: KafkaTopic, piece: pa.Table, delivery: _Delivery) -> int:
    """Hand a piece over to the producer's queue; how many it took before a failure was told."""
    rows = zip(
        messages.keys(piece).to_pylist(),
        messages.values(piece).to_pylist(),
        messages.times_ms(piece),
        strict=True,
    )
    for count, (key, value, time_ms) in enumerate(rows):
        while True:
            try:
                producer.produce(
                    topic.name, value, key, timestamp=time_ms, on_delivery=delivery.told
                )
                break
            except BufferError:  # the queue is full; it empties by delivery, or by its time limit
                producer.poll(0.1)
                if delivery.error is not None:
                    return count
    return len(piece)
