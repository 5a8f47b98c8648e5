"""Feature rows: per event, the view as of that event, appended to the feature view table.

A late event changes rows that were written; they are written again with a higher ``_view_version``
and the newest version of each row counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.crash_points import reached
from twinlake.definitions.resolution import needed_columns, view_features
from twinlake.definitions.times import MIN_US
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.kernel.events import Events, Queries
from twinlake.kernel.views import ViewShape
from twinlake.kernel.windows import tail_us
from twinlake.lake import arrays, events, tables
from twinlake.lake.vectors import vectors

# A worker holds a part in memory, some hundred bytes a row.
ROWS_PER_PART = 500_000
# What stands before a source's columns where they travel with columns of twinlake's own.
PREFIX = "c_"
# Columns by which readers leave files of a feature view table out.
SKIPPED_BY = ("event_timestamp", "_event_version", "_view_version")


@dataclass(frozen=True)
class Work:
    """Which feature rows to write.

    Attributes:
        after_version: Events up to this ingest version were folded before.
        version: Fold events up to this one.
        covered: Intervals ``(start_us, end_us]`` of event times computed before.
        missing: Intervals to compute now for the first time.
    """

    after_version: int
    version: int
    covered: tuple[tuple[int, int], ...]
    missing: tuple[tuple[int, int], ...]


def columns(view: FeatureView) -> tuple[Field, ...]:
    """Give the columns of a feature view table."""
    return (
        *(Field(name, kind) for name, kind in view.entity.join_keys.items()),
        Field("event_timestamp", "timestamp"),
        *(Field(feature.name, feature.type) for feature in view_features(view)),
        Field("_known_timestamp", "timestamp"),
        Field("_event_version", "bigint"),
        Field("_event_row", "bigint"),
        Field("_view_version", "bigint"),
    )


def newest_versions(frame: DataFrame, keys: Sequence[str]) -> DataFrame:
    """Leave of each feature row only its newest version."""
    order = Window.partitionBy(*keys, "_event_version", "_event_row").orderBy(
        F.col("_view_version").desc()
    )
    return frame.withColumn("_rank", F.row_number().over(order)).where("_rank = 1").drop("_rank")


def relevant_events(spark: SparkSession, path: Path, view: FeatureView, work: Work) -> DataFrame:
    """Read the events that the work needs, as the workers take them."""
    keys = list(view.entity.join_keys)
    frame = events.accepted(spark, path, view.source, work.version)
    for key in keys:
        frame = frame.where(F.col(key).isNotNull())
    if work.after_version and not work.missing:
        new = frame.where(F.col("_version") > work.after_version)
        since_us = new.agg(F.min(F.unix_micros("_event_timestamp"))).first()
        # Nothing before the reach of the oldest new event can change a row.
        if since_us is not None and since_us[0] is not None:
            reached_us = since_us[0] - ViewShape.of(view).reach_us
            frame = frame.where(F.unix_micros("_event_timestamp") > reached_us)
        frame = frame.join(new.select(*keys).distinct(), keys, "left_semi")
    return frame.select(
        *keys,
        F.unix_micros("_event_timestamp").alias("event_us"),
        F.unix_micros("_known_timestamp").alias("known_us"),
        F.col("_hash_a").alias("hash_a"),
        F.col("_hash_b").alias("hash_b"),
        F.col("_version").alias("version"),
        F.col("_row").alias("row"),
        *(F.col(tables.quoted(name)).alias(PREFIX + name) for name in needed_columns(view)),
    )


def written_between(
    spark: SparkSession, path: Path, after_version: int, version: int
) -> Iterator[pa.Table]:
    """Read the rows that were appended for some ingest versions, a bounded number at a time."""
    frame = tables.read(spark, path).where(F.col("_view_version") > after_version)
    frame = frame.where(F.col("_view_version") <= version)
    parts = -(-frame.count() // ROWS_PER_PART)
    for part in range(parts):
        chosen = frame.where(F.pmod("_event_row", F.lit(parts)) == part)
        batches = chosen._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
        if batches:
            yield pa.Table.from_batches(batches)


def count_superseding(spark: SparkSession, path: Path, work: Work) -> int:
    """Count the rows that a publication wrote again because a later event changed them."""
    if not work.after_version or not work.covered:
        return 0
    return (
        tables.read(spark, path)
        .where(F.col("_view_version") == work.version)
        .where(F.col("_event_version") <= work.after_version)
        .count()
    )


def parts_for(rows: int, cores: int) -> int:
    """Give into how many parts rows are cut: small enough for a worker, even over the cores."""
    parts = max(cores, -(-rows // ROWS_PER_PART))
    return -(-parts // cores) * cores


def compute(frame: DataFrame, view: FeatureView, work: Work, parts: int) -> DataFrame:
    """Compute the feature rows that the work is about.

    Args:
        frame: What ``relevant_events`` gave.
        view: The view.
        work: What to write.
        parts: Into how many parts to cut the keys.
    """
    shape = ViewShape.of(view)
    schema = ", ".join(f"{tables.quoted(column.name)} {column.type}" for column in columns(view))

    def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        reached("worker.feature_rows")
        return rows_of_part(batches, shape, work)

    return frame.repartition(parts, *shape.keys).mapInArrow(of_part, schema)


def rows_of_part(
    batches: Iterable[pa.RecordBatch], shape: ViewShape, work: Work
) -> Iterator[pa.RecordBatch]:
    """Compute the feature rows of the keys of a part, from all events that they need."""
    table = arrays.gather(batches)
    if table is None:
        return
    codes, count = arrays.key_codes(table, shape.keys)
    held = {name: PREFIX + name for name in shape.columns}
    happened, table = arrays.sorted_events(table, codes, count, held)
    version = arrays.integers(table, "version")
    chosen = np.flatnonzero(_to_write(happened, version, shape, work))
    queries = Queries(happened.key[chosen], happened.event_us[chosen], happened.known_us[chosen])
    found = vectors(happened, table, queries, shape, PREFIX)
    picked = pa.array(chosen)
    out = [arrays.chunk(table, name).take(picked) for name in shape.keys]
    out += [arrays.instants(queries.as_of_us), *found.columns, arrays.instants(queries.known_by_us)]
    out += [pa.array(version[chosen]), pa.array(arrays.integers(table, "row")[chosen])]
    out += [pa.array(np.full(len(chosen), work.version, np.int64))]
    names = [*shape.keys, "event_timestamp", *(feature.name for feature in shape.features)]
    names += ["_known_timestamp", "_event_version", "_event_row", "_view_version"]
    yield from pa.Table.from_arrays(out, names).to_batches(max_chunksize=65_536)


def _to_write(
    happened: Events, version: npt.NDArray[np.int64], shape: ViewShape, work: Work
) -> npt.NDArray[np.bool_]:
    """Tell which rows to write: those of new events, and those that a new event changes."""
    missing = _inside(happened.event_us, work.missing)
    covered = _inside(happened.event_us, work.covered)
    is_new = version > work.after_version
    if not work.after_version or not covered.any():
        return missing | (covered & is_new)
    # The newest new event of the key at or before each row's time, by a running maximum in which
    # every key starts anew: rows are sorted by key, so a later key's offset beats all before.
    times = np.where(is_new, happened.event_us, MIN_US)
    last_new = np.empty_like(times)
    edges = np.searchsorted(happened.key, np.arange(happened.key_count + 1))
    for low, high in pairwise(edges.tolist()):
        last_new[low:high] = np.maximum.accumulate(times[low:high])
    # Rows of one moment see each other whatever their order.
    tail = tail_us(
        happened.event_us, shape.longest_us or 1, shape.hop_us if shape.longest_us else None
    )
    changed = (last_new > tail) | _same_moment_as_new(happened, is_new)
    return missing | (covered & (is_new | changed))


def _same_moment_as_new(happened: Events, is_new: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    starts = np.ones(len(happened), np.bool_)
    starts[1:] = (happened.key[1:] != happened.key[:-1]) | (
        happened.event_us[1:] != happened.event_us[:-1]
    )
    group = np.cumsum(starts) - 1
    has_new = np.zeros(group[-1] + 1 if len(group) else 0, np.bool_)
    has_new[group[is_new]] = True
    found: npt.NDArray[np.bool_] = has_new[group]
    return found


def _inside(
    times_us: npt.NDArray[np.int64], intervals: tuple[tuple[int, int], ...]
) -> npt.NDArray[np.bool_]:
    inside = np.zeros(times_us.shape, np.bool_)
    for start_us, end_us in intervals:
        inside |= (times_us > start_us) & (times_us <= end_us)
    return inside
