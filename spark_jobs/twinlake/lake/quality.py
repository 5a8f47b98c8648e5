"""Quality windows in Delta: counts of final windows, and their figures; appended pass by pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.pandas.types import to_arrow_schema

from twinlake.definitions.types import Field
from twinlake.lake import stream_batches, tables

_WINDOW = (
    Field("window_start", "timestamp"),
    Field("window_end", "timestamp"),
    Field("model_version", "bigint"),
)
COUNTS = (
    *_WINDOW,
    Field("label", "string"),
    Field("predicted", "string"),
    Field("count", "bigint"),
    Field("_pass", "bigint"),
)
FIGURES = (
    *_WINDOW,
    Field("metric", "string"),
    Field("of", "string"),
    Field("value", "double"),
    Field("records", "bigint"),
    Field("_pass", "bigint"),
)
# Where a row was landed; rows are folded in this order.
PLACE = ("_at_version", "_at_row")
# What a commit says of itself.
NUMBER = "pass_number"
_LOOKED_BACK = 50


def create(spark: SparkSession, path: Path, columns: Sequence[Field], comment: str) -> None:
    """Create one of the tables unless it is there."""
    tables.create(spark, path, columns, comment, skipped_by=["window_start", "_pass"])


def newest_pass(spark: SparkSession, path: Path) -> int:
    """Give the number of the last pass that was appended; 0 before the first."""
    for commit in tables.commits(spark, path, _LOOKED_BACK):
        if NUMBER in commit.metadata:
            return int(commit.metadata[NUMBER])
    newest = tables.read(spark, path).agg(F.max("_pass").alias("number")).first()
    return 0 if newest is None or newest.number is None else int(newest.number)


def append(
    spark: SparkSession,
    path: Path,
    columns: Sequence[Field],
    rows: pa.Table,
    *,
    number: int,
    scratch: Path,
) -> None:
    """Append the rows of a pass, unless they are there.

    Args:
        spark: The session.
        path: The table.
        columns: Its columns.
        rows: The columns but ``_pass``.
        number: The pass; greater than those before.
        scratch: A folder for what need not last.
    """
    if newest_pass(spark, path) >= number:
        return
    stream_batches.append_arrow(
        spark,
        rows.append_column("_pass", pa.array(np.full(rows.num_rows, number, np.int64))),
        columns,
        path,
        writer="twinlake/monitor",
        number=number,
        metadata={NUMBER: number},
        scratch=scratch,
    )


def watched_rows(frame: DataFrame, predicted: str | None, columns: Sequence[str]) -> DataFrame:
    """Give predictions as quality windows take them.

    Args:
        frame: Rows of a model's predictions.
        predicted: The column of the class predicted, of a model with classes.
        columns: Further columns that are wanted.
    """
    of_classes = []
    if predicted is not None:
        of_classes = [F.col(tables.quoted(predicted)).alias("predicted"), F.col("probabilities")]
    return frame.select(
        "event_timestamp",
        "model_version",
        "prediction",
        "unscored",
        *of_classes,
        *(tables.quoted(name) for name in columns),
        F.col("_event_version").alias(PLACE[0]),
        F.col("_event_row").alias(PLACE[1]),
    )


def label_rows(
    frame: DataFrame, after: int, names: Mapping[str, str], since_us: int | None
) -> DataFrame:
    """Give accepted events as labels.

    Args:
        frame: Accepted events of the source of labels.
        after: Of ingest versions after this one.
        names: Its columns that are wanted, each with the name that predictions have for it.
        since_us: Only those that happened then or later.
    """
    frame = frame.where(F.col("_version") > after)
    if since_us is not None:
        frame = tables.since(frame, "_event_timestamp", since_us)
    return frame.select(
        F.col("_event_timestamp").alias("event_timestamp"),
        *(F.col(tables.quoted(own)).alias(name) for own, name in names.items()),
        F.col("_version").alias(PLACE[0]),
        F.col("_row").alias(PLACE[1]),
    )


def collected(frame: DataFrame) -> pa.Table:
    """Bring rows to the driver, in the order in which they were landed.

    They are those of a cut of predictions, of the windows that are open, or of new labels.
    """
    batches = frame._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    if not batches:
        schema = to_arrow_schema(frame.schema)
        return pa.table({field.name: pa.nulls(0, field.type) for field in schema})
    made = pa.Table.from_batches(batches)
    return made.sort_by([(name, "ascending") for name in PLACE]).combine_chunks()
