"""What a stream holds so that no batch reads the lake: claims of identities, and recent events.

Both are read once from the events table when the stream begins, back to a moment before which no
batch in time looks, and then kept up to date from batch to batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import needed_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.times import DAY_US
from twinlake.definitions.views import FeatureView
from twinlake.lake import arrays, events, predictions, tables
from twinlake.lake.claims import ClaimIndex, Claims
from twinlake.lake.feature_rows import PREFIX
from twinlake.lake.recent import RecentEvents

# Whether a judged row takes part in features if it is accepted.
COUNTS = "_counts"
_SEED = 0x2545F4914F6CDD1D


def identity(source: Source) -> tuple[Column, Column]:
    """Say what identifies a row, in two halves."""
    names = source.event_id_columns
    if not names:
        return F.col("_hash_a"), F.col("_hash_b")
    return F.xxhash64(*names), F.xxhash64(F.lit(_SEED), *names)


def load_claims(spark: SparkSession, path: Path, source: Source, since_us: int) -> ClaimIndex:
    """Read the claims of accepted rows after a moment."""
    index = ClaimIndex(since_us)
    frame = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    index.add(_claims_in(frame.where(_after(since_us)), source))
    return index


def _after(us: int) -> Column:
    # Compared as timestamps, so that Delta leaves out files by their statistics.
    return F.col("_event_timestamp") > F.timestamp_micros(F.lit(us))


def _claims_in(frame: DataFrame, source: Source) -> Claims:
    id_a, id_b = identity(source)
    listed = events.derive(frame, source).select(
        id_a.alias("id_a"),
        id_b.alias("id_b"),
        F.col("_hash_a").alias("row_a"),
        F.col("_hash_b").alias("row_b"),
        F.unix_micros("_event_timestamp").alias("event_us"),
    )
    batches = listed._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    if not batches:
        return Claims.none()
    table = pa.Table.from_batches(batches)
    return Claims(*(arrays.integers(table, name) for name in Claims.__dataclass_fields__))


def older_claims(spark: SparkSession, path: Path, source: Source, older: Claims) -> ClaimIndex:
    """Read the claims of the days of some rows."""
    first = int(older.event_us.min()) // DAY_US * DAY_US
    last = (int(older.event_us.max()) // DAY_US + 1) * DAY_US
    landed = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    landed = landed.where(_after(first - 1)).where(~_after(last - 1))
    days = np.unique(older.event_us // DAY_US)
    day = F.floor(F.unix_micros("_event_timestamp") / DAY_US).cast("bigint")
    landed = landed.where(day.isin(days.tolist()))
    index = ClaimIndex(first - 1)
    index.add(_claims_in(landed, source))
    return index


def taking_part(
    batch: pa.Table, views: Sequence[FeatureView], extra: Sequence[str] = ()
) -> pa.Table:
    """Give the accepted events of a numbered batch that take part in features.

    Args:
        batch: The batch.
        views: What reads it.
        extra: Further columns to hold, as those that views read.

    Returns:
        What ``feature_rows.relevant_events`` gives, with the keys and columns of all views.
    """
    accepted = pc.equal(batch.column("_verdict"), events.ACCEPTED)
    chosen = batch.filter(pc.and_(accepted, batch.column(COUNTS)))
    keys, columns = _held(views, extra)
    found = {key: chosen.column(key) for key in keys}
    found["event_us"] = chosen.column("_event_timestamp").cast(pa.int64())
    found["known_us"] = chosen.column("_known_timestamp").cast(pa.int64())
    for name in ("hash_a", "hash_b", "version", "row"):
        found[name] = chosen.column(f"_{name}")
    found |= {PREFIX + name: chosen.column(name) for name in columns}
    return pa.table(found).combine_chunks()


def _held(views: Sequence[FeatureView], extra: Sequence[str]) -> tuple[list[str], list[str]]:
    """Name the keys of all views, and the columns that events are held with."""
    columns = [*(name for view in views for name in needed_columns(view)), *extra]
    return keys_of(views), list(dict.fromkeys(columns))


def keys_of(views: Sequence[FeatureView]) -> list[str]:
    """Name the join keys of views."""
    return list(dict.fromkeys(key for view in views for key in view.entity.join_keys))


def load_recent(
    spark: SparkSession,
    path: Path,
    source: Source,
    views: Sequence[FeatureView],
    since_us: int,
    extra: Sequence[str] = (),
) -> RecentEvents:
    """Read the events after a moment that take part in features of some views."""
    recent = RecentEvents(since_us)
    frame = events.accepted(spark, path, source).where(_after(since_us))
    if (found := _collected(frame, views, extra)) is not None:
        recent.add(found)
    return recent


def landed_after(
    spark: SparkSession,
    path: Path,
    source: Source,
    views: Sequence[FeatureView],
    version: int,
    extra: Sequence[str],
) -> Iterator[pa.Table]:
    """Read the events of ingest versions after one, in their order, some versions at a time.

    Yields:
        What ``taking_part`` gives of a batch.
    """
    frame = events.accepted(spark, path, source).where(F.col("_version") > version)
    yield from predictions.in_pieces(_as_held(frame, views, extra), "version")


def load_landed_after(
    spark: SparkSession,
    path: Path,
    source: Source,
    views: Sequence[FeatureView],
    version: int,
    most: int,
) -> pa.Table | None:
    """Read the events of ingest versions after one that take part in features of some views.

    Returns:
        What ``taking_part`` gives of a batch, without columns where there are none; None where
        there are more than ``most``.
    """
    frame = events.accepted(spark, path, source).where(F.col("_version") > version)
    found = _collected(frame.limit(most + 1), views, ())
    if found is None:
        return pa.table({})
    return None if found.num_rows > most else found


def _collected(
    frame: DataFrame, views: Sequence[FeatureView], extra: Sequence[str]
) -> pa.Table | None:
    batches = _as_held(frame, views, extra)._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    return pa.Table.from_batches(batches) if batches else None


def _as_held(frame: DataFrame, views: Sequence[FeatureView], extra: Sequence[str]) -> DataFrame:
    keys, columns = _held(views, extra)
    return frame.select(
        *keys,
        F.unix_micros("_event_timestamp").alias("event_us"),
        F.unix_micros("_known_timestamp").alias("known_us"),
        *(F.col(f"_{name}").alias(name) for name in ("hash_a", "hash_b", "version", "row")),
        *(F.col(tables.quoted(name)).alias(PREFIX + name) for name in columns),
    )
