"""What Arrow writes into a Delta table reads as what Spark writes; Delta says the same of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delta.exceptions import ConcurrentTransactionException, MetadataChangedException
from pyspark.sql import SparkSession

from twinlake.definitions.types import Field
from twinlake.errors import StateError
from twinlake.lake import arrow_commits, tables
from twinlake.lake.arrow_types import arrow_type

COLUMNS = [
    Field("at", "timestamp"),
    Field("version", "bigint"),
    Field("kind", "string"),
    Field("name", "string"),
    Field("amount", "decimal(12,2)"),
    Field("small", "int"),
    Field("share", "double"),
    Field("is_so", "boolean"),
    Field("day", "date"),
    Field("raw", "binary"),
    Field("reasons", "array<string>"),
]
SECOND = 1_000_000
# Before 1970, between two milliseconds, far ahead.
TIMES = [-123_456_789_123, -1, 0, 999, 1_640_995_200_123_456, 4_102_444_800_999_999, None]


def made() -> pa.Table:
    count = len(TIMES)
    kinds = {f.name: arrow_type(f.type) for f in COLUMNS[:-1]} | {"reasons": pa.list_(pa.string())}
    cells: dict[str, list[Any]] = {
        "at": TIMES,
        "version": [7, None, -3, 2**62, 0, 1, 2],
        "kind": ["new", "old", "new", "new", "old", "new", "old"],
        "name": ["ä", "", None, "b" * 300, "c", "d", "e"],
        "amount": [Decimal(n).scaleb(-2) for n in range(count)],
        "small": [None, *range(count - 1)],
        "share": [0.1 * n for n in range(count)],
        "is_so": [n % 2 == 0 for n in range(count)],
        "day": [None, *range(count - 1)],
        "raw": [bytes([n]) for n in range(count)],
        "reasons": [None, [], ["a"], ["a", None], None, ["b"], None],
    }
    return pa.table({name: pa.array(cells[name], kind) for name, kind in kinds.items()})


def table(spark: SparkSession, path: Path, partitioned_by: str = "") -> Path:
    tables.create(
        spark, path, COLUMNS, "", skipped_by=["at", "version"], partitioned_by=partitioned_by
    )
    return path


def append(spark: SparkSession, path: Path, rows: pa.Table, number: int) -> int | None:
    return arrow_commits.append(
        spark, rows, COLUMNS, path, writer="test", number=number, metadata={"number": number}
    )


def append_by_spark(spark: SparkSession, path: Path, rows: pa.Table, scratch: Path) -> None:
    schema = ", ".join(f"{column.name} {column.type}" for column in COLUMNS)
    file = scratch / "rows.parquet"
    pa.parquet.write_table(rows, file, store_schema=False)
    frame = spark.read.schema(schema).parquet(str(file)).coalesce(1)
    tables.append(frame, path, writer="test", number=1, metadata={"number": 1})


def added(path: Path, version: int) -> list[dict[str, Any]]:
    text = (path / "_delta_log" / f"{version:020}.json").read_text()
    actions = [json.loads(line) for line in text.splitlines()]
    adds = [action["add"] for action in actions if "add" in action]
    return sorted(adds, key=lambda add: str(add["partitionValues"]))


@pytest.mark.parametrize("partitioned_by", ["", "kind"])
def test_delta_says_the_same_of_both(
    spark: SparkSession, tmp_path: Path, partitioned_by: str
) -> None:
    rows = made()
    ours = table(spark, tmp_path / "ours", partitioned_by)
    theirs = table(spark, tmp_path / "theirs", partitioned_by)
    assert append(spark, ours, rows, 1) == 1
    append_by_spark(spark, theirs, rows, tmp_path)
    for mine, other in zip(added(ours, 1), added(theirs, 1), strict=True):
        assert json.loads(mine["stats"]) == json.loads(other["stats"])
        assert mine["partitionValues"] == other["partitionValues"]
        assert mine["size"] == (ours / mine["path"]).stat().st_size
    commits = [tables.last_commit(spark, path) for path in (ours, theirs)]
    assert [(c.version, c.metadata, c.rows) for c in commits] == [(1, {"number": 1}, len(rows))] * 2
    assert tables.read_commit(spark, ours, 1) == commits[0]
    read = [
        tables.read(spark, path).selectExpr("unix_micros(at) AS us", "*") for path in (ours, theirs)
    ]
    assert read[0].exceptAll(read[1]).count() == read[1].exceptAll(read[0]).count() == 0
    assert read[0].count() == len(rows)


@pytest.mark.parametrize("at", [us for us in TIMES if us is not None])
def test_no_file_is_left_out_that_holds_what_is_looked_for(
    spark: SparkSession, tmp_path: Path, at: int
) -> None:
    path = table(spark, tmp_path / "one")
    rows = made()
    for number in range(len(rows)):  # a file for each, so that one wrong bound loses it
        append(spark, path, rows.slice(number, 1), number)
    found = tables.read(spark, path)
    for condition, wanted in (
        (f"at = timestamp_micros({at})", [us for us in TIMES if us == at]),
        (f"at > timestamp_micros({at - 1})", [us for us in TIMES if us is not None and us >= at]),
        (f"at <= timestamp_micros({at})", [us for us in TIMES if us is not None and us <= at]),
        ("at IS NULL", [None]),
    ):
        us = [row.us for row in found.where(condition).selectExpr("unix_micros(at) us").collect()]
        assert sorted(map(str, us)) == sorted(map(str, wanted)), condition


def test_a_number_is_spent_once(spark: SparkSession, tmp_path: Path) -> None:
    path = table(spark, tmp_path / "table")
    assert append(spark, path, made(), 5) == 1
    assert append(spark, path, made(), 5) is None
    assert append(spark, path, made(), 4) is None
    assert append(spark, path, made().slice(0, 0), 6) == 2
    assert tables.read(spark, path).count() == len(TIMES)


def test_of_two_that_commit_one_number_at_once_one_does(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(spark, tmp_path / "table")
    append(spark, path, made(), 1)
    commit = arrow_commits._commit

    def late(*told: Any) -> int:
        monkeypatch.undo()
        assert append(spark, path, made(), 2) == 2
        return commit(*told)

    monkeypatch.setattr(arrow_commits, "_commit", late)
    with pytest.raises(ConcurrentTransactionException):
        append(spark, path, made(), 2)
    assert tables.last_commit(spark, path).version == 2
    assert tables.read(spark, path).count() == 2 * len(TIMES)


def test_a_table_that_gets_further_columns_meanwhile_is_appended_to(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(spark, tmp_path / "table")
    commit = arrow_commits._commit
    wider = [*COLUMNS, Field("colour", "string")]

    def late(*told: Any) -> int:
        monkeypatch.undo()
        tables.add_columns(spark, path, wider)
        return commit(*told)

    monkeypatch.setattr(arrow_commits, "_commit", late)
    with pytest.raises(MetadataChangedException):
        append(spark, path, made(), 1)
    monkeypatch.setattr(arrow_commits, "_commit", late)
    assert tables.beside_new_columns(lambda: append(spark, path, made(), 1)) == 2
    assert tables.read(spark, path).where("colour IS NULL").count() == len(TIMES)
    tables.add_columns(spark, path, wider)
    assert tables.last_commit(spark, path).version == 2
    with pytest.raises(StateError, match="other columns than defined: colour"):
        tables.add_columns(spark, path, [*COLUMNS, Field("colour", "int")])


@pytest.mark.parametrize("is_known", [True, False])
def test_without_a_checksum_the_log_is_asked(
    spark: SparkSession, tmp_path: Path, is_known: bool
) -> None:
    path = table(spark, tmp_path / "table")
    append(spark, path, made(), 3)
    if not is_known:
        for file in (path / "_delta_log").glob("*.crc"):
            file.unlink()
    java: Any = spark._jvm
    java.org.apache.spark.sql.delta.DeltaLog.clearCache()
    assert append(spark, path, made(), 3) is None
    assert append(spark, path, made(), 4) == 2


@pytest.mark.parametrize(
    "change",
    [
        "SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
        "SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name')",
        "ADD CONSTRAINT small_is CHECK (small < 3)",
        "DROP a column",
    ],
)
def test_a_table_that_somebody_changed_is_left_to_spark(
    spark: SparkSession, tmp_path: Path, change: str
) -> None:
    path = table(spark, tmp_path / "table")
    if change.startswith("DROP"):
        fewer = [column for column in COLUMNS if column.name != "share"]
        path = tmp_path / "fewer"
        tables.create(spark, path, fewer, "", skipped_by=["at"])
    else:
        spark.sql(f"ALTER TABLE {tables.at(path)} {change}")
    before = tables.last_commit(spark, path).version
    assert append(spark, path, made(), 1) is None
    assert tables.last_commit(spark, path).version == before
