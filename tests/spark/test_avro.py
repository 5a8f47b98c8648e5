"""Records of Avro become the rows that the same records in JSON become."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.avro.functions import to_avro

from tests.spark.benches import Bench, Cells
from tests.spark.test_streaming import (
    VIEWS,
    check_equal_to_one_batch,
    defined,
    payments,
    stream,
)
from twinlake.errors import InputError
from twinlake.lake.records import Records

FIELDS: list[dict[str, Any]] = [
    {"name": "tid", "type": ["null", "string"]},
    {"name": "card", "type": ["null", "long"]},
    {
        "name": "amount",
        "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4}],
    },
    {"name": "at", "type": ["null", "long"]},
    {"name": "unread", "type": ["null", "string"]},
]
SCHEMA = json.dumps({"type": "record", "name": "Payment", "fields": FIELDS})
COLUMNS = "tid string, card bigint, amount decimal(20,4), at bigint, unread string"
STREAM = 'Kafka("payments", times_in="us", avro="payment.avsc"%s)'


def avro(bench: Bench, more: str = "") -> Bench:
    (bench.root / "payment.avsc").write_text(SCHEMA)
    return defined(bench, STREAM % more)


def written(spark: SparkSession, rows: list[Cells]) -> Any:
    names = ("tid", "card", "amount", "at")
    cells = [(*(row[name] for name in names), "not read") for row in rows]
    return spark.createDataFrame(cells, COLUMNS)


def put(bench: Bench, spark: SparkSession, number: int, rows: list[Cells]) -> None:
    """Write a container file, as a tool of another system would."""
    aside = bench.folder / f"aside{number}"
    frame = written(spark, rows).coalesce(1)
    frame.write.format("avro").option("avroSchema", SCHEMA).save(str(aside))
    (file,) = aside.glob("*.avro")
    topic = bench.folder / "state" / "topics" / "payments"
    topic.mkdir(parents=True, exist_ok=True)
    file.rename(topic / f"{number}.avro")


def test_container_files_play_the_topic(
    bench: Bench, spark: SparkSession, module_bench: Any
) -> None:
    rows = payments(random.Random(51), 120)
    avro(bench)
    put(bench, spark, 0, rows[:70])
    stream(bench, *VIEWS)
    put(bench, spark, 1, rows[70:])
    stream(bench, *VIEWS)
    check_equal_to_one_batch(bench, module_bench(), rows)


def parsed(bench: Bench, spark: SparkSession, records: list[bytes | None]) -> list[Cells]:
    """Parse records as those of a topic."""
    source = bench.project.applied().definitions.sources["payments"]
    frame = spark.createDataFrame(
        [(record, "payments", 0, number) for number, record in enumerate(records)],
        "_value binary, _origin string, _partition int, _offset bigint",
    )
    read = Records.of(spark, source, bench.root).parsed(frame)
    read = read.withColumn("at", F.unix_micros("at"))
    return [row.asDict() for row in read.orderBy("_offset").collect()]


def encoded(spark: SparkSession, rows: list[Cells]) -> list[bytes]:
    frame = written(spark, rows).select(to_avro(F.struct("*"), SCHEMA).alias("record"))
    return [bytes(row.record) for row in frame.collect()]


ROW: Cells = {"tid": "a", "card": 1, "amount": Decimal("2.5000"), "at": 1_640_995_200_000_001}


def test_a_record_is_read_with_its_place(bench: Bench, spark: SparkSession) -> None:
    avro(bench, ", skip_bytes=5")
    (record,) = encoded(spark, [ROW])
    (found,) = parsed(bench, spark, [b"\0\0\0\0\7" + record])
    assert found["_unreadable"] is None
    assert {name: found[name] for name in ROW} == ROW
    assert (found["_origin"], found["_partition"], found["_offset"]) == ("payments", 0, 0)


def test_what_cannot_be_read_says_why(bench: Bench, spark: SparkSession) -> None:
    avro(bench, ", max_record_bytes=100")
    finer, *rest = encoded(
        spark,
        [
            ROW | {"amount": Decimal("1.0050")},
            ROW | {"amount": Decimal("12345678901.0000")},
            dict.fromkeys(ROW),
        ],
    )
    found = parsed(bench, spark, [finer, *rest, b"\x7f", b"", None, b"x" * 101])
    assert [row["_unreadable"] for row in found] == [
        ["amount: cannot be read as decimal(12,2): 1.0050"],
        ["amount: cannot be read as decimal(12,2): 12345678901.0000"],
        None,  # its keys are null, which the gate looks at
        ["record: not of the Avro schema"],
        ["record: not of the Avro schema"],
        ["record: empty"],
        ["record: 101 bytes, at most 100 are read"],
    ]
    assert [bytes(row["_value"] or b"") for row in found][:1] == [finer]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("no schema", "is no Avro schema"),
        ('"long"', "is the Avro schema of a bigint"),
        (json.dumps({"type": "record", "name": "P", "fields": FIELDS[:2]}), "no field amount, at"),
    ],
)
def test_a_schema_that_does_not_fit_is_named(bench: Bench, text: str | None, told: str) -> None:
    avro(bench)
    file: Path = bench.root / "payment.avsc"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=told):
        stream(bench)
