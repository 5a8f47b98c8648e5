"""Quality windows in Delta: counts of final windows, and their figures; appended pass by pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.types import Field
from twinlake.lake import stream_batches, tables
from twinlake.lake.arrow_types import arrow_type

_WINDOW = (
    Field("window_start", "timestamp"),
    Field("window_end", "timestamp"),
    Field("model_version", "int"),
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
_WATCHED = {
    "event_us": pa.int64(),
    "model_version": pa.int32(),
    "label": pa.string(),
    "predicted": pa.string(),
    "prediction": pa.float64(),
    "probabilities": pa.list_(pa.float64()),
    "version": pa.int64(),
    "row": pa.int64(),
}
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
    rows: Sequence[Mapping[str, Any]],
    *,
    number: int,
    scratch: Path,
) -> None:
    """Append the rows of a pass, unless they are there."""
    if newest_pass(spark, path) >= number:
        return
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
    made = pa.Table.from_pylist([{**row, "_pass": number} for row in rows], schema=schema)
    stream_batches.append_arrow(
        spark,
        made,
        columns,
        path,
        writer="twinlake/monitor",
        number=number,
        metadata={NUMBER: number},
        scratch=scratch,
    )


def collected(frame: DataFrame) -> pa.Table:
    """Bring rows that ``watched_rows`` gave to the driver, in the order in which they were landed.

    They are those of a cut, or of the windows that are open.
    """
    batches = frame._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    if not batches:
        return pa.table({name: pa.nulls(0, kind) for name, kind in _WATCHED.items()})
    made = pa.Table.from_batches(batches)
    return made.sort_by([("version", "ascending"), ("row", "ascending")]).combine_chunks()


def watched_rows(
    frame: DataFrame, label: str | None, predicted: str | None, *, is_text: bool
) -> DataFrame:
    """Give predictions as quality windows take them.

    Args:
        frame: Rows of a model's predictions.
        label: The column of the label, where events bring it.
        predicted: The column of the class predicted, of a model with classes.
        is_text: Whether the label is text as it is; else it is a number.
    """
    nothing = F.lit(None).cast("string")
    of_label = nothing if label is None else F.col(tables.quoted(label))
    if label is not None and not is_text:
        of_label = of_label.cast("double").cast("string")
    if predicted is None:
        said, listed = F.col("is_positive").cast("string"), F.lit(None).cast("array<double>")
    else:
        said, listed = F.col(tables.quoted(predicted)), F.col("probabilities")
    return frame.select(
        F.unix_micros("event_timestamp").alias("event_us"),
        F.col("model_version"),
        of_label.cast("string").alias("label"),
        said.alias("predicted"),
        F.col("prediction"),
        listed.alias("probabilities"),
        F.col("_event_version").alias("version"),
        F.col("_event_row").alias("row"),
    )
