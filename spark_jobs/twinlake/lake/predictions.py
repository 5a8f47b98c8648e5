"""Predictions of models in Delta: one row per event, written in the order of ingest versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.types import Field
from twinlake.lake import tables

# Where the event of a row stands.
PLACE = (Field("_event_version", "bigint"), Field("_event_row", "bigint"))
# What a commit says of itself: up to which ingest version all events are scored.
THROUGH = "ingest_version"
# About as many rows are held at once.
ROWS_AT_ONCE = 100_000
_LOOKED_BACK = 20


def create(spark: SparkSession, path: Path, columns: Sequence[Field], comment: str) -> None:
    """Create the table unless it is there; columns that it lacks are added.

    Raises:
        StateError: It has one of them with another type.
    """
    if tables.exists(path):
        tables.add_columns(spark, path, columns)
        return
    tables.create(
        spark, path, columns, comment, skipped_by=["event_timestamp", "_event_version"]
    )  # fmt: skip


def scored_through(spark: SparkSession, path: Path) -> int | None:
    """Tell up to which ingest version events are scored; None where none ever was.

    Raises:
        StateError: The table's newest commits are none of a scorer's.
    """
    for commit in tables.commits(spark, path, _LOOKED_BACK):
        if THROUGH in commit.metadata:
            return int(commit.metadata[THROUGH])
    newest = tables.read(spark, path).agg(F.max("_event_version").alias("version")).first()
    return None if newest is None else newest.version


def after(spark: SparkSession, path: Path, version: int, through: int | None = None) -> DataFrame:
    """Read the rows of events that were landed after an ingest version, up to another."""
    frame = tables.read(spark, path).where(F.col("_event_version") > version)
    return frame if through is None else frame.where(F.col("_event_version") <= through)


def written_after(spark: SparkSession, path: Path, version: int) -> Iterator[pa.Table]:
    """Read the rows of events after an ingest version, in their order, some versions at a time."""
    yield from in_pieces(after(spark, path, version), "_event_version")


def in_pieces(frame: DataFrame, version: str) -> Iterator[pa.Table]:
    """Bring rows to the driver in the order of their ingest versions.

    Args:
        frame: The rows.
        version: The column that says which version each is of; a version's rows are not parted.

    Yields:
        Tables of whole versions, of about ``ROWS_AT_ONCE`` rows.
    """
    for _, chosen in version_ranges(frame, version):
        batches = chosen._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
        if batches:
            yield pa.Table.from_batches(batches).sort_by(version)


def version_ranges(frame: DataFrame, version: str) -> Iterator[tuple[int, DataFrame]]:
    """Cut rows by their ingest versions, which are not parted, into about ``ROWS_AT_ONCE`` each.

    Yields:
        The last version of a cut, and its rows.
    """
    counted = frame.groupBy(version).count().orderBy(version).collect()
    first, held = None, 0
    for row in counted:
        first = row[0] if first is None else first
        held += row[1]
        if held >= ROWS_AT_ONCE or row is counted[-1]:
            yield row[0], frame.where(F.col(version).between(first, row[0]))
            first, held = None, 0
