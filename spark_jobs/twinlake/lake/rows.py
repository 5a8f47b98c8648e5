"""Read the files of a source as rows of its schema, each with its place.

What a file holds but cannot be read as the declared type becomes null, and the row carries the
reason; nothing is dropped here.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.types import StringType, StructField, StructType

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import FLOAT_TYPES

# Beside the source's columns: why a row could not be read, the row as it came, and its place.
UNREADABLE, RAW, ORIGIN, OFFSET = "_unreadable", "_raw", "_origin", "_offset"
_CORRUPT = "_corrupt_line"


def read_files(
    spark: SparkSession, source: Source, paths: Sequence[str], file_format: str
) -> DataFrame:
    """Read files as rows of a source's schema.

    Files are read in groups of equal layout, because Spark takes the first file's for all.

    Returns:
        The source's columns with their declared types, plus ``_unreadable`` (array of reasons, or
        null), ``_raw``, ``_origin`` and ``_offset``.
    """
    layout_of = _parquet_layout if file_format == "parquet" else _csv_header
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        groups.setdefault(layout_of(path), []).append(path)
    read = _read_parquet if file_format == "parquet" else _read_csv
    frames = [read(spark, source, group, layout) for layout, group in groups.items()]
    frame = frames[0]
    for other in frames[1:]:
        frame = frame.unionByName(other)
    return frame


def _parquet_layout(path: str) -> tuple[str, ...]:
    schema = pq.read_schema(path)
    return tuple(f"{field.name} {field.type}" for field in schema)


def _csv_header(path: str) -> tuple[str, ...]:
    with Path(path).open(newline="", encoding="utf-8", errors="replace") as file:
        return tuple(next(csv.reader(file)))


def _read_parquet(
    spark: SparkSession, source: Source, paths: list[str], layout: tuple[str, ...]
) -> DataFrame:
    frame = spark.read.parquet(*paths)
    nanoseconds = {entry.split(" ")[0] for entry in layout if " timestamp[ns" in entry}
    values = [
        _cast_parquet(name, kind, name in nanoseconds).alias(name)
        for name, kind in raw_columns(source).items()
    ]
    return frame.select(
        *values,
        F.lit(None).cast("array<string>").alias(UNREADABLE),
        F.lit(None).cast("binary").alias(RAW),
        F.col("_metadata.file_path").alias(ORIGIN),
        F.col("_metadata.row_index").alias(OFFSET),
    )


def _cast_parquet(name: str, kind: str, is_nanoseconds: bool) -> Column:
    column = F.col(f"`{name}`")
    if is_nanoseconds:
        # Spark cannot read nanoseconds; they arrive as integers. Cut down, as time goes on.
        return F.timestamp_micros(F.floor(column / 1000).cast("bigint"))
    return _without_negative_zero(column.cast(kind), kind)


def _without_negative_zero(column: Column, kind: str) -> Column:
    if kind not in FLOAT_TYPES:
        return column
    return F.when(column == 0, F.lit(0.0).cast(kind)).otherwise(column)


def _read_csv(
    spark: SparkSession, source: Source, paths: list[str], layout: tuple[str, ...]
) -> DataFrame:
    schema = StructType([StructField(name, StringType()) for name in (*layout, _CORRUPT)])
    frame = spark.read.csv(
        paths,
        schema=schema,
        header=True,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord=_CORRUPT,
        escape='"',
        enforceSchema=True,
    )
    values, rules = [], [F.when(F.col(_CORRUPT).isNotNull(), F.lit("line: wrong number of fields"))]
    for name, kind in raw_columns(source).items():
        text = F.col(f"`{name}`")
        value = text if kind == "string" else F.trim(text).cast(kind)
        values.append(_without_negative_zero(value, kind).alias(name))
        rules.append(
            F.when(
                text.isNotNull() & value.isNull(),
                F.concat(F.lit(f"{name}: cannot be read as {kind}: "), F.substring(text, 1, 40)),
            )
        )
    unreadable = F.array_compact(F.array(*rules))
    line = F.to_json(F.struct(*(F.col(f"`{name}`") for name in layout), F.col(_CORRUPT)))
    return frame.select(
        *values,
        F.when(F.size(unreadable) > 0, unreadable).alias(UNREADABLE),
        F.when(F.size(unreadable) > 0, line.cast("binary")).alias(RAW),
        F.input_file_name().alias(ORIGIN),
        F.monotonically_increasing_id().alias(OFFSET),
    )
