"""The events table of a source: what happened, row by row, with the gate's verdict on each.

Columns, those of twinlake itself first; partitioned by ``_verdict``:

    _event_timestamp  timestamp      when it happened; null where that could not be read
    _known_timestamp  timestamp      when it became known
    _verdict          string         accepted, duplicate, quarantined or erased; of an
                                     erased row only its place is kept: its sequence, its
                                     batch, and of a record topic, partition and offset
    _version, _row    bigint         the row's ingest sequence: the version that its batch was
                                     written as, and a number unique in it; no later commit
                                     undercuts it
    _hash_a, _hash_b  bigint         128 bits over all columns as they arrived; the last tie-break
    _batch            string         the batch that the row came with
    _reasons          array<string>  why it is quarantined
    _raw              binary         the row as it came, where it could not be read
    _origin           string         the file or topic it came from
    _partition, _offset              its place there
    _replay_of        string         the sequence of the quarantined row that it replays
    ...                              the source's columns, as they arrived
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import derived_columns, raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.lake import tables
from twinlake.lake.rows import without_negative_zero

ACCEPTED, DUPLICATE, QUARANTINED = "accepted", "duplicate", "quarantined"
# Of a row whose key was forgotten only its place is kept.
ERASED = "erased"
SYSTEM_COLUMNS = (
    Field("_event_timestamp", "timestamp"),
    Field("_known_timestamp", "timestamp"),
    Field("_verdict", "string"),
    Field("_version", "bigint"),
    Field("_row", "bigint"),
    Field("_hash_a", "bigint"),
    Field("_hash_b", "bigint"),
    Field("_batch", "string"),
    Field("_reasons", "array<string>"),
    Field("_raw", "binary"),
    Field("_origin", "string"),
    Field("_partition", "int"),
    Field("_offset", "bigint"),
    Field("_replay_of", "string"),
)
# What is kept of an erased row beside the topic that it came from.
PLACE = ("_version", "_row", "_batch", "_partition", "_offset")
# What orders the rows of a key: law 2, newest last.
ORDER = ("_event_timestamp", "_known_timestamp", "_hash_a", "_hash_b")


def without_forgotten(columns: Iterable[str], is_forgotten: Column) -> dict[str, Column]:
    """Give columns of rows that are landed, with nothing but the place of forgotten ones."""
    made = {}
    for name in columns:
        cell = F.col(tables.quoted(name))
        if name == "_origin":  # a file may be named after whom it is about; a topic is not
            is_kept = ~is_forgotten | F.col("_partition").isNotNull()
            made[name] = F.when(is_kept, cell)
        elif name == "_verdict":
            made[name] = F.when(is_forgotten, F.lit(ERASED)).otherwise(cell)
        elif name not in PLACE:
            made[name] = F.when(~is_forgotten, cell)
    return made


def columns(source: Source) -> tuple[Field, ...]:
    """Give the columns of a source's events table."""
    raw = tuple(Field(name, kind) for name, kind in raw_columns(source).items())
    return SYSTEM_COLUMNS + raw


def create(spark: SparkSession, path: Path, source: Source) -> None:
    """Create the events table of a source unless it is there."""
    comment = f"Every row of source {source.name} with its verdict"
    # Readers want one verdict. In files of its own nobody has to look at it row by row.
    tables.create(
        spark,
        path,
        columns(source),
        comment,
        skipped_by=["_event_timestamp", "_known_timestamp", "_version"],
        partitioned_by="_verdict",
    )


def add_columns(spark: SparkSession, path: Path, source: Source) -> None:
    """Add the columns that a source has and its events table has not; old rows hold nothing there.

    No file is written anew, and who appends meanwhile without them may go on.

    Raises:
        StateError: The table has one of them with another type.
    """
    tables.add_columns(spark, path, columns(source))


def derive(frame: DataFrame, source: Source) -> DataFrame:
    """Add a source's derived columns."""
    types = derived_columns(source)
    return frame.withColumns(
        {
            name: without_negative_zero(F.expr(column.sql).cast(types[name]), types[name])
            for name, column in source.with_columns.items()
        }
    )


def count(spark: SparkSession, path: Path, version: int) -> int:
    """Count the rows of all verdicts up to an ingest version."""
    return tables.read(spark, path).where(F.col("_version") <= version).count()


def accepted(
    spark: SparkSession, path: Path, source: Source, version: int | None = None
) -> DataFrame:
    """Read the rows that take part in features.

    Args:
        spark: The session.
        path: The events table.
        source: Its source.
        version: Only rows whose ingest version is not greater. It filters the table as it is
            now, so it does not depend on what the log still holds.

    Returns:
        Accepted rows that fulfil ``where``, with system, raw and derived columns.
    """
    frame = tables.read(spark, path).where(F.col("_verdict") == ACCEPTED)
    if version is not None:
        frame = frame.where(F.col("_version") <= version)
    frame = derive(frame, source)
    return frame if source.where is None else frame.where(F.expr(source.where))


def distinct_keys(
    spark: SparkSession, path: Path, view: FeatureView, rows: Column
) -> list[tuple[Any, ...]]:
    """Give the different keys of a view among some accepted rows of its source's events table."""
    chosen = tables.read(spark, path).where((F.col("_verdict") == ACCEPTED) & rows)
    listed = derive(chosen, view.source).select(*map(tables.quoted, view.entity.join_keys))
    return [tuple(row) for row in listed.dropna().distinct().collect()]


def first_version(spark: SparkSession, path: Path, rows: Column) -> int | None:
    """Give the oldest ingest version among some accepted rows; None where there are none."""
    chosen = tables.read(spark, path).where((F.col("_verdict") == ACCEPTED) & rows)
    found = chosen.agg(F.min("_version").alias("version")).first()
    return None if found is None else found.version


def first_us(spark: SparkSession, path: Path, source: Source) -> int | None:
    """Give the event timestamp of the oldest row that takes part in features, if there is one."""
    oldest = F.min(F.unix_micros("_event_timestamp"))
    found = accepted(spark, path, source).agg(oldest.alias("us")).first()
    return None if found is None else found.us


def next_offsets(spark: SparkSession, path: Path, topic: str, since: int) -> dict[int, int] | None:
    """Give per partition of a topic the offset after the last one landed; None for none.

    Args:
        spark: The session.
        path: The events table.
        topic: The topic.
        since: The ingest version after which rows are of this topic, and not of one of its name.
    """
    found = (
        tables.read(spark, path)
        .where((F.col("_origin") == topic) & F.col("_partition").isNotNull())
        .where(F.col("_version") > since)
        .groupBy("_partition")
        .agg(F.max("_offset").alias("last"))
        .collect()
    )
    return {row["_partition"]: row["last"] + 1 for row in found} or None


def row_hash(names: list[str]) -> tuple[Column, Column]:
    """Hash a row's columns to two times 64 bits.

    xxhash64 passes over nulls, so ``("a", null)`` and ``(null, "a")`` would be one; the name before
    each value that is there keeps them apart. So a column in which a row has nothing leaves its
    hash as it is, and a row that was landed before the column was added is known again after it.
    """
    parts: list[Column] = []
    for name in sorted(names):
        column = F.col(tables.quoted(name))
        parts += [F.when(column.isNotNull(), F.lit(name)), column]
    return F.xxhash64(*parts), F.xxhash64(F.lit(0x5DEECE66D), *parts)
