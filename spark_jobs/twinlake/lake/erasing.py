"""Erase rows from Delta tables, and then what older versions of the tables still say of them.

A deleted row is in no newer version, but its bytes stay in files that older versions read, and its
key in the log: in statistics, and in what commits say of themselves. So a table is purged after:
all files that the newest version does not read go, and all of the log before it. That takes the
right to be the only one who writes to the table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.lake import events, tables
from twinlake.lake.maintenance import RETENTION_CHECK

_LISTING = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
_OF_VERSION = re.compile(r"\.?(\d{20})\..+")


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a table that fulfil a condition, and the files that they are in."""

    rows: int
    files: int


def find(spark: SparkSession, path: Path, condition: Column) -> Found:
    """Count the rows of a table that fulfil a condition."""
    chosen = tables.read(spark, path).where(condition)
    counted = chosen.groupBy(F.input_file_name().alias("file")).count().collect()
    return Found(sum(row["count"] for row in counted), len(counted))


def erase_events(spark: SparkSession, path: Path, condition: Column) -> Found:
    """Leave of rows of an events table nothing but their place, with the verdict ``erased``.

    Sequences and versions of all rows stay what they are.
    """
    found = find(spark, path, condition)
    if not found.rows:
        return found
    kinds = dict(tables.read(spark, path).dtypes)
    cells: dict[str, Column | str] = {
        tables.quoted(name): F.lit(None).cast(kind)
        for name, kind in kinds.items()
        if name not in {*events.PLACE, "_verdict", "_origin"}
    }
    cells["_verdict"] = F.lit(events.ERASED)
    cells["_origin"] = F.when(F.col("_partition").isNotNull(), F.col("_origin"))
    DeltaTable.forPath(spark.newSession(), str(path)).update(condition, cells)
    return found


def delete(spark: SparkSession, path: Path, condition: Column) -> Found:
    """Delete the rows of a table that fulfil a condition."""
    found = find(spark, path, condition)
    if found.rows:
        DeltaTable.forPath(spark.newSession(), str(path)).delete(condition)
    return found


def delete_keys(spark: SparkSession, path: Path, keys: DataFrame) -> None:
    """Delete the rows of a table whose key is among some others."""
    table = DeltaTable.forPath(spark.newSession(), str(path)).alias("t")
    names = [tables.quoted(name) for name in keys.columns]
    same = " AND ".join(f"t.{name} <=> k.{name}" for name in names)
    table.merge(keys.alias("k"), same).whenMatchedDelete().execute()


def purge(spark: SparkSession, path: Path, told: Mapping[str, Any] | None = None) -> None:
    """Remove every file that the newest version of a table does not read, and its older log.

    Only for who is sure that nobody else reads or writes the table; doing it again is no harm.

    Args:
        spark: The session.
        path: The table.
        told: What the newest commit says for those who look for it in the log.
    """
    apart = spark.newSession()
    apart.conf.set(RETENTION_CHECK, "false")
    apart.conf.set(_LISTING, str(4 * spark.sparkContext.defaultParallelism))
    apart.sql(f"VACUUM {tables.at(path)} RETAIN 0 HOURS").collect()
    # The newest commit stays, so it must say nothing of a key: an empty one.
    nothing = tables.read(apart, path).limit(0).write.format("delta").mode("append")
    nothing.option("userMetadata", json.dumps(dict(told or {}), sort_keys=True)).save(str(path))
    log = tables.delta_log(spark, path)
    java: Any = spark._jvm  # noqa: SLF001 (Delta's logs are Java's only)
    none = java.scala.Option.empty()
    newest = tables.newest_version(spark, path)
    log.checkpoint(log.getSnapshotAt(newest, none, none), none)
    for file in (path / "_delta_log").iterdir():
        match = _OF_VERSION.fullmatch(file.name)
        if match is not None and int(match[1]) < newest:
            file.unlink()
    delta_log = java.org.apache.spark.sql.delta.DeltaLog
    delta_log.invalidateCache(spark._jsparkSession, log.dataPath())  # noqa: SLF001


def newest_saying(spark: SparkSession, path: Path, name: str) -> dict[str, Any]:
    """Give what the newest commit that says something under a name says there."""
    commits = tables.commits_back(spark, path)
    found = next((one.metadata[name] for one in commits if name in one.metadata), None)
    return {} if found is None else {name: found}


def append(frame: DataFrame, path: Path) -> None:
    """Append rows that replace those that were just deleted; once more is twice."""
    frame.write.format("delta").mode("append").save(str(path))
