"""Topics that a stream writes: Kafka, or a folder that plays it.

Each batch's messages carry the batch in headers (Kafka) or in the file's name (a folder), so who
reads them can tell a repetition: after a crash a batch may be sent once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from twinlake.errors import EnvironmentFailure
from twinlake.flows.kafka_topics import Topics
from twinlake.flows.project import Project

_DELIVERY_S = 60


class TopicOutput:
    """A topic to which messages go, batch by batch.

    Args:
        project: The project.
        topic: Its name.
        keys: Columns that make the key of a message, so that those of one key stay in order.
    """

    def __init__(self, project: Project, topic: str, keys: Sequence[str]) -> None:
        self._topic = topic
        self._keys = list(keys)
        self._folder = project.places.topic(topic)
        self._servers = project.settings.stream_bootstrap
        self._producer: Any = None

    def send(self, rows: pa.Table, batch: int, part: int = 0) -> None:
        """Send rows as JSON objects and wait until all are acknowledged.

        Args:
            rows: One message each, without columns of twinlake's own, which begin with an
                underscore; decimals and times are written as text is read back exactly.
            batch: The ingest version that they reflect.
            part: Which part of a batch that is sent in several.

        Raises:
            EnvironmentFailure: The broker does not take them.
        """
        rows = rows.select([name for name in rows.column_names if not name.startswith("_")])
        messages = [json.dumps(row, default=_text) for row in rows.to_pylist()]
        if not self._servers:
            self._write(messages, f"{batch:020d}" + (f"-{part:04d}" if part else ""))
            return
        names = self._keys
        keys = ["/".join(map(str, row.values())) for row in rows.select(names).to_pylist()]
        self._produce(zip(keys, messages, strict=True), batch)

    def _write(self, messages: Sequence[str], name: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f".{name}.part"
            part.write_text("".join(f"{message}\n" for message in messages), encoding="utf-8")
            part.replace(self._folder / f"{name}.json")
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot write to {self._folder}: {error.strerror}", hint="free some space"
            ) from error

    def _produce(self, messages: Iterable[tuple[str, str]], batch: int) -> None:
        from confluent_kafka import KafkaException

        producer = self._started()
        refused: list[str] = []

        def told(error: Any, _message: object) -> None:  # noqa: ANN401 (the client's own type)
            if error is not None:
                refused.append(str(error))

        headers = [("ingest_version", str(batch).encode())]
        try:
            for key, message in messages:
                while True:
                    try:
                        producer.produce(
                            self._topic, message, key, headers=headers, on_delivery=told
                        )
                        break
                    except BufferError:  # the queue is full; it empties as the broker takes them
                        producer.poll(0.1)
            waiting = producer.flush(_DELIVERY_S)
        except KafkaException as error:
            refused.append(str(error))
            waiting = 0
        if refused or waiting:
            why = refused[0] if refused else f"no answer within {_DELIVERY_S} s"
            raise EnvironmentFailure(
                f"topic {self._topic} at {','.join(self._servers)} does not take messages: {why}",
                hint="is Kafka up? `bootstrap/stack status`; then start the stream again",
            )

    def _started(self) -> Any:  # noqa: ANN401 (imported when used)
        if self._producer is None:
            from confluent_kafka import Producer

            Topics(self._servers).ensure(self._topic)
            self._producer = Producer(
                {
                    "bootstrap.servers": ",".join(self._servers),
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",  # as Java's clients
                    "linger.ms": 5,
                    "delivery.timeout.ms": _DELIVERY_S * 1000,
                    "log_level": 2,
                }
            )
        return self._producer


def _text(value: object) -> Any:  # noqa: ANN401 (a JSON value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in JSON")
