"""A steady load of payments, some late, some twice, some broken; and what was sent, for the end."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "payments"
CARDS, PARTITIONS = 200, 4
_TICK_S, _FLUSH_S = 0.1, 300
_LATE, _TWICE, _BROKEN = 0.03, 0.02, 0.01
_LATEST_S = 1_200


@dataclass
class Sent:
    """What the broker acknowledged.

    Attributes:
        tids: Of rows that must be accepted, once each.
        broken: How many records must be quarantined.
        records: All records.
        lost: Why a record was not acknowledged, if one was not.
    """

    tids: set[str] = field(default_factory=set)
    broken: int = 0
    records: int = 0
    lost: list[str] = field(default_factory=list)


class Load(threading.Thread):
    """Sends rows until it is told to stop.

    Args:
        servers: Where Kafka is.
        rate: Records a second.
        chance: What decides.
    """

    def __init__(self, servers: str, rate: int, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.sent = Sent()
        self._rate = rate
        self._chance = chance
        self._stop_asked = threading.Event()
        self._number = 0
        admin = AdminClient({"bootstrap.servers": servers})  # must outlive what it is asked
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(_FLUSH_S)
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 20,
                "message.timeout.ms": _FLUSH_S * 1000,
                "log_level": 0,
            }
        )

    def run(self) -> None:
        while not self._stop_asked.wait(_TICK_S):
            for _ in range(max(1, round(self._rate * _TICK_S))):
                self._send()
            self._producer.poll(0)

    def finish(self) -> Sent:
        """Stop, and wait until everything was acknowledged."""
        self._stop_asked.set()
        self.join(_FLUSH_S)
        left = self._producer.flush(_FLUSH_S)
        assert left == 0, f"{left} records were not acknowledged"
        assert self.sent.lost == []
        return self.sent

    def _send(self) -> None:
        chance = self._chance
        if chance.random() < _BROKEN:
            self._hand_over("0", chance.choice([b"{", b'{"tid": "x"}', b"\xff\xfe", b"[]"]), None)
            return
        self._number += 1
        tid, card = f"t{self._number}", chance.randrange(CARDS)
        late_s = chance.uniform(60, _LATEST_S) if chance.random() < _LATE else 0.0
        row = {
            "tid": tid,
            "card": card,
            "amount": chance.randrange(1, 100_000) / 100,
            "at": round(time.time() - late_s, 6),
        }
        value = json.dumps(row).encode()
        for _ in range(2 if chance.random() < _TWICE else 1):
            self._hand_over(str(card), value, tid)

    def _hand_over(self, key: str, value: bytes, tid: str | None) -> None:
        def acknowledged(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                self.sent.lost.append(str(error))
                return
            self.sent.records += 1
            if tid is None:
                self.sent.broken += 1
            else:
                self.sent.tids.add(tid)

        self._producer.produce(TOPIC, value, key, on_delivery=acknowledged)
