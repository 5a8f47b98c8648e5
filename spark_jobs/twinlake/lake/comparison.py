"""Bring events, feature rows and served rows of the same keys together for a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import needed_columns, view_features
from twinlake.definitions.views import FeatureView
from twinlake.lake import events, tables
from twinlake.lake.feature_rows import newest_versions

Compare = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
# A worker holds a part as Python objects, some hundred bytes a cell.
_ROWS_PER_PART = 100_000


def keys_of(
    spark: SparkSession, path: Path, view: FeatureView, version: int, count: int | None
) -> Iterator[tuple[Any, ...]]:
    """Give the keys that have events: all, or ``count`` of them by a fixed hash."""
    keys = list(view.entity.join_keys)
    frame = events.accepted(spark, path, view.source, version)
    for key in keys:
        frame = frame.where(F.col(key).isNotNull())
    frame = frame.select(*keys).distinct()
    if count is not None:
        frame = frame.orderBy(F.xxhash64(*keys), *keys).limit(count)
    for row in frame.toLocalIterator():
        yield tuple(row)


def sides(
    spark: SparkSession,
    view: FeatureView,
    events_path: Path,
    view_path: Path | None,
    served_file: Path,
    *,
    only_served: bool,
    since_us: int | None = None,
) -> DataFrame:
    """Give the three sides of a comparison as one frame, told apart by ``side``.

    Args:
        spark: The session.
        view: The view.
        events_path: Its source's events table.
        view_path: Its feature view table; None leaves that side out.
        served_file: A Parquet file of what is stored and served online, one row per key.
        only_served: Leave out keys that are not in that file.
        since_us: Leave out events up to this moment, which windows do not reach.
    """
    keys = list(view.entity.join_keys)
    micros = {
        "event_us": F.unix_micros("_event_timestamp"),
        "known_us": F.unix_micros("_known_timestamp"),
    }
    read = events.accepted(spark, events_path, view.source)
    if since_us is not None:
        # Compared as timestamps, so that Delta leaves out files by their statistics.
        read = read.where(F.col("_event_timestamp") > F.timestamp_micros(F.lit(since_us)))
    happened = read.select(
        F.lit(0).alias("side"),
        *keys,
        *(column.alias(name) for name, column in micros.items()),
        F.col("_hash_a").alias("hash_a"),
        F.col("_hash_b").alias("hash_b"),
        F.col("_version").alias("version"),
        F.col("_row").alias("row"),
        *(F.col(tables.quoted(name)).alias(f"c_{name}") for name in needed_columns(view)),
    )
    found = [happened]
    if view_path is not None:
        offline = newest_versions(tables.read(spark, view_path), keys).select(
            F.lit(1).alias("side"),
            *keys,
            F.unix_micros("event_timestamp").alias("event_us"),
            F.unix_micros("_known_timestamp").alias("known_us"),
            F.col("_event_version").alias("version"),
            F.col("_event_row").alias("row"),
            *(F.col(feature.name).alias(f"f_{feature.name}") for feature in view_features(view)),
        )
        found.append(offline)
    online = spark.read.parquet(str(served_file)).withColumn("side", F.lit(2))
    if only_served:
        chosen = online.select(*keys)
        found = [frame.join(chosen, keys, "left_semi") for frame in found]
    return reduce(
        lambda left, right: left.unionByName(right, allowMissingColumns=True), [*found, online]
    )


def events_behind(
    spark: SparkSession,
    path: Path,
    view: FeatureView,
    key: Mapping[str, Any],
    at_us: int | None,
    reach_us: int,
    limit: int,
) -> list[dict[str, Any]]:
    """Give the newest events of a key up to a moment, newest first.

    Args:
        spark: The session.
        path: The events table.
        view: The view.
        key: The key.
        at_us: The moment; None for the newest event.
        reach_us: How far windows reach back from there.
        limit: How many.
    """
    frame = events.accepted(spark, path, view.source)
    for name, value in key.items():
        frame = frame.where(F.col(name).cast("string") == str(value))
    if at_us is not None:
        event_us = F.unix_micros("_event_timestamp")
        frame = frame.where((event_us <= at_us) & (event_us > at_us - max(reach_us, 1)))
    shown = frame.orderBy(F.col("_event_timestamp").desc(), F.col("_known_timestamp").desc())
    columns = [tables.quoted(name) for name in needed_columns(view)]
    times = ("_event_timestamp", "_known_timestamp", "_version", "_row")
    return [row.asDict() for row in shown.select(*times, *columns).limit(limit).collect()]


def run(
    frame: DataFrame, keys: Sequence[str], rows: int, compare: Compare, schema: str
) -> list[dict[str, Any]]:
    """Compare part by part, all rows of a key together, and gather the reports.

    Reports are a few totals and at most some dozen differences a part.
    """
    parts = max(2, -(-rows // _ROWS_PER_PART))
    reports = frame.repartition(parts, *keys).mapInArrow(compare, schema)
    return [row.asDict() for row in reports.collect()]
