"""The stream on a real Kafka and a real Cassandra: from records to rows of both stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from examples.card_fraud import messages
from examples.card_fraud.generator import Extent, generate
from examples.card_fraud.to_kafka import KafkaTopic, send_to_kafka
from tests.stack.test_card_fraud_simulator import received

DEFINITIONS = """
from twinlake import Aggregate, Clock, Entity, FeatureService, FeatureView, Files, Kafka, Source

clock = Clock("data")
card = Entity("card", join_keys={"cc_num": "bigint"})
transactions = Source(
    "transactions",
    schema="tid string, cc_num bigint, merchant string, amount decimal(12,2), zip_code string, "
    "trans_ts timestamp",
    event_timestamp="trans_ts", event_id="tid", batch=Files("in"),
    stream=Kafka("cctopic", times_in="s"),
)
activity = FeatureView(
    "activity", entity=card, source=transactions, publish="stream", max_events_per_key=10_000,
    topic="ccdesttopic",
    features=[
        Aggregate("count", windows={"num_10m": "10m"}),
        Aggregate("mean", "amount", windows={"avg_10m": "10m"}),
    ],
)
history = FeatureView(
    "history", entity=card, source=transactions, publish="batch", max_events_per_key=10_000,
    features=[Aggregate("mean", "amount", windows={"avg_1w": "7d"})],
)
both = FeatureService("both", features=[activity, history])
"""
COUNT = 3_000


class Command:
    """The command ``twinlake`` on a project and servers of its own."""

    def __init__(self, folder: Path, cassandra: int, kafka: str) -> None:
        self.folder = folder
        self.state = folder / "state"
        (folder / "features.py").write_text(DEFINITIONS)
        self.environ = {
            **os.environ,
            "TWINLAKE_STACK": str(folder / "no-stack"),
            "TWINLAKE_ONLINE_PORT": str(cassandra),
            "TWINLAKE_STREAM_BOOTSTRAP": kafka,
            "TWINLAKE_DRIVER_MEMORY": "1g",
        }

    def __call__(self, *verb: str, **environ: str) -> subprocess.CompletedProcess[str]:
        before = ["-C", self.folder, "--env", "stack", "--state", self.state, "--json"]
        return subprocess.run(
            [sys.executable, "-m", "twinlake.cli.main", *map(str, before), *verb],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )

    def document(self, *verb: str) -> dict[str, Any]:
        done = self(*verb)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told


@pytest.fixture(scope="module")
def day() -> pa.Table:
    extent = Extent(cards=100, transactions=COUNT, end=Extent().start.replace(day=2))
    return messages.conform(generate(extent))


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, cassandra_port: int, kafka: str) -> Command:
    made = Command(tmp_path_factory.mktemp("cards"), cassandra_port, kafka)
    made.document("apply")
    return made


def counted(document: dict[str, Any]) -> tuple[int, int, int]:
    told = document["sources"]["transactions"]
    return told["accepted"], told["duplicate"], told["quarantined"]


def test_records_become_rows_of_both_stores(command: Command, day: pa.Table, kafka: str) -> None:
    half = len(day) // 2
    send_to_kafka([day.slice(0, half)], KafkaTopic(kafka))
    first = command.document("stream", "--once", "--max-records", "700")
    assert counted(first) == (half, 0, 0)
    assert first["sources"]["transactions"]["batches"] >= 2
    send_to_kafka([day.slice(half), day.slice(0, 50)], KafkaTopic(kafka))
    second = command.document("stream", "--once")
    assert counted(second) == (len(day) - half, 50, 0)
    command.document("materialize", "history")
    verdict = command.document("parity", "--all")
    assert verdict["mismatching"] == 0
    assert verdict["keys"] == len(set(day["cc_num"].to_pylist()))
    check_topic(kafka)
    # Without its checkpoint it goes on where the events end.
    (command.state / "streams" / "transactions" / "checkpoint").rename(command.folder / "lost")
    assert counted(command.document("stream", "--once")) == (0, 0, 0)


def check_topic(kafka: str) -> None:
    """New feature rows were sent to their topic."""
    records = [m for part in received(kafka, "ccdesttopic", COUNT) for m in part]
    values = [json.loads(record.value() or b"") for record in records]
    assert len(values) >= COUNT
    assert set(values[0]) == {"cc_num", "event_timestamp", "num_10m", "avg_10m"}
    assert {record.key() for record in records} == {str(v["cc_num"]).encode() for v in values}


def test_a_server_that_is_not_there_is_named(command: Command) -> None:
    done = command("stream", "--once", TWINLAKE_STREAM_BOOTSTRAP="127.0.0.1:9")
    assert done.returncode == 3
    assert "127.0.0.1:9" in json.loads(done.stdout)["error"]
    assert "Traceback" not in done.stderr
