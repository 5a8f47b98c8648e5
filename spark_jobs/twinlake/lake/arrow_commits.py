"""Append rows that are at the driver to a Delta table without a job of Spark.

A stream commits small batches, many times a minute. A job of Spark that writes one small file takes
half a second, of which the file and the commit are the smallest part. Here Arrow writes the file
into the table's folder, and Delta's own transaction commits it: conflicts, transaction numbers,
in-commit timestamps and checksums stay Delta's business. Actions are handed over as the JSON that
the Delta protocol defines (https://github.com/delta-io/delta/blob/master/PROTOCOL.md).

It is done only with tables that are as twinlake makes them: in a folder of this machine, without
features that change what a file says, and with statistics of named columns.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from twinlake.definitions.times import to_datetime
from twinlake.definitions.types import Field
from twinlake.lake import log_checkpoints
from twinlake.lake.tables import delta_log

# What a table may ask of its writers so that its files are just what Arrow writes.
_FEATURES = {"inCommitTimestamp", "appendOnly", "invariants"}
_STATISTICS_OF = "delta.dataSkippingStatsColumns"
_SETTINGS = {
    _STATISTICS_OF,
    "delta.enableInCommitTimestamps",
    "delta.checkpointInterval",
    "delta.logRetentionDuration",
    "delta.deletedFileRetentionDuration",
}
# Types of which statistics are kept here: those of the columns that twinlake names for them.
_COUNTED = {"timestamp", "bigint"}
_US_PER_MS = 1_000


@dataclass(frozen=True)
class _Target:
    """A table as it is now.

    Attributes:
        transaction: Delta's transaction on it.
        partitioned_by: Its partition column, if it has one.
        statistics_of: Columns by which readers leave files out.
    """

    transaction: Any
    partitioned_by: str | None
    statistics_of: Sequence[str]


def append(
    spark: SparkSession,
    made: pa.Table,
    columns: Sequence[Field],
    path: Path,
    *,
    writer: str,
    number: int,
    metadata: Mapping[str, Any],
) -> int | None:
    """Append rows in one commit, once for each ``(writer, number)``, as ``tables.append`` does.

    Args:
        spark: The session.
        made: The rows.
        columns: Their columns, with types.
        path: The table.
        writer: Who appends.
        number: The number of the append.
        metadata: What it says of itself.

    Returns:
        The version that was committed; None where it has to be done in another way: the number is
        spent, or the table is not one that can be appended to like this.
    """
    target = _target(spark, path, columns)
    if target is None or _last_number(target.transaction, writer) >= number:
        return None
    actions: list[dict[str, Any]] = [{"txn": {"appId": writer, "version": number}}]
    for partition, rows in _by_partition(made, target.partitioned_by):
        actions.append({"add": _written(rows, columns, path, partition, target)})
    version = _commit(spark, target.transaction, actions, metadata, made.num_rows)
    log_checkpoints.write_if_due(spark, path, target.transaction.snapshot(), version)
    return version


def _target(spark: SparkSession, path: Path, columns: Sequence[Field]) -> _Target | None:
    """Look at a table; None where it is not as twinlake makes tables."""
    transaction = delta_log(spark, path).startTransaction()
    protocol = json.loads(transaction.protocol().json())["protocol"]
    about = json.loads(transaction.metadata().json())["metaData"]
    asked = set(protocol.get("writerFeatures", ())) | set(protocol.get("readerFeatures", ()))
    partitions = about["partitionColumns"]
    there = {field["name"] for field in json.loads(about["schemaString"])["fields"]}
    if (
        not asked <= _FEATURES
        or not set(about["configuration"]) <= _SETTINGS
        or len(partitions) > 1
        or not {column.name for column in columns} <= there
    ):
        return None
    kinds = {column.name: column.type for column in columns}
    named = about["configuration"].get(_STATISTICS_OF, "").split(",")
    counted = [name for name in named if kinds.get(name) in _COUNTED]
    return _Target(transaction, partitions[0] if partitions else None, counted)


def _last_number(transaction: Any, writer: str) -> int:  # noqa: ANN401 (an object of Java)
    """Give a writer's last number; another commit of that writer meanwhile will be a conflict.

    Delta's own question, ``txnVersion``, reads the whole log by a job of Spark, half a second,
    though the checksum beside the newest commit holds the answer.
    """
    checksum = transaction.snapshot().checksumOpt()
    known = None if checksum.isEmpty() else checksum.get().setTransactions()
    if known is None or known.isEmpty():
        return int(transaction.txnVersion(writer))
    getattr(transaction.readTxn(), "$plus$eq")(writer)
    listed = known.get()
    numbers = (listed.apply(place) for place in range(listed.size()))
    return max((int(one.version()) for one in numbers if one.appId() == writer), default=-1)


def _by_partition(
    made: pa.Table, partitioned_by: str | None
) -> Iterator[tuple[dict[str, str], pa.Table]]:
    """Cut rows by partition; what names a partition does not stand in its file."""
    if partitioned_by is None:
        if made.num_rows:
            yield {}, made
        return
    column = made.column(partitioned_by)
    for value in pc.unique(column).to_pylist():
        rows = made.filter(pc.equal(column, value)).drop_columns([partitioned_by])
        yield {partitioned_by: value}, rows


def _written(
    rows: pa.Table,
    columns: Sequence[Field],
    path: Path,
    partition: dict[str, str],
    target: _Target,
) -> dict[str, Any]:
    """Write a file into the table's folder; give what an ``add`` says of it."""
    folder = "/".join(f"{name}={value}" for name, value in partition.items())
    place = f"{folder}/" * bool(folder) + f"part-00000-{uuid.uuid4()}.c000.snappy.parquet"
    file = path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, file, compression="snappy", store_schema=False, write_page_checksum=True)
    told = file.stat()
    kinds = {column.name: column.type for column in columns}
    return {
        "path": place,
        "partitionValues": partition,
        "size": told.st_size,
        "modificationTime": told.st_mtime_ns // 1_000_000,
        "dataChange": True,
        "stats": json.dumps(statistics(rows, [(n, kinds[n]) for n in target.statistics_of])),
    }


def statistics(rows: pa.Table, counted: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give a file's statistics as the Delta protocol writes them.

    Args:
        rows: The rows of the file.
        counted: Columns with their types: ``timestamp`` or ``bigint``.
    """
    told: dict[str, Any] = {"numRecords": rows.num_rows, "minValues": {}, "maxValues": {}}
    told["nullCount"] = {name: rows.column(name).null_count for name, _ in counted}
    for name, kind in counted:
        ends = pc.min_max(rows.column(name).cast(pa.int64())).as_py()
        if ends["min"] is None:
            continue
        for end, listed in (("min", "minValues"), ("max", "maxValues")):
            told[listed][name] = _instant(ends[end]) if kind == "timestamp" else ends[end]
    return told


def _instant(us: int) -> str:
    """Write an instant cut down to the millisecond; who reads a greatest one adds that one."""
    at = to_datetime(us // _US_PER_MS * _US_PER_MS)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // _US_PER_MS:03}Z"


def _commit(
    spark: SparkSession,
    transaction: Any,  # noqa: ANN401 (an object of Java)
    actions: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
    rows: int,
) -> int:
    java: Any = spark._jvm  # noqa: SLF001 (Delta's transactions are Java's only)
    sql = java.org.apache.spark.sql
    listed = java.java.util.ArrayList()
    for action in actions:
        listed.add(sql.delta.actions.Action.fromJson(json.dumps(action)))
    some, none = java.scala.Some, java.scala.Option.empty()
    text = json.dumps(dict(metadata), sort_keys=True)
    write = getattr(sql.delta, "DeltaOperations$Write")
    operation = write(sql.SaveMode.Append, none, none, some(text))
    context = spark._jsparkSession.sparkContext()  # noqa: SLF001
    count = sql.execution.metric.SQLMetrics.createMetric(context, "rows")
    count.set(rows)
    metrics = java.scala.collection.immutable.HashMap().updated("numOutputRows", count)
    transaction.registerSQLMetrics(spark._jsparkSession, metrics)  # noqa: SLF001
    sequence = java.scala.collection.JavaConverters.asScalaBuffer(listed).toSeq()
    return int(transaction.commit(sequence, operation))
