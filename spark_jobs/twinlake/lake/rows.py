"""Read the files of a source as rows of its schema, each with its place.

What a file holds but cannot be read as the declared type becomes null, and the row carries the
reason; nothing is dropped here.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.types import StringType, StructField, StructType

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, is_decimal
from twinlake.lake import tables
from twinlake.registry.inputs import csv_header, names_in

# Beside the source's columns: why a row could not be read, the row as it came, and its place.
UNREADABLE, RAW, ORIGIN, OFFSET = "_unreadable", "_raw", "_origin", "_offset"
_CORRUPT = "_corrupt_line"
# Between name and type in a layout; no name holds it.
_BETWEEN = "\0"
# Spark's cast cuts "7.9" to 7 and "2014-02-01 23:00" to a day, and gives "13:00" today's date.
_WHOLE, _DAY = r"^\s*[+-]?\d+\s*$", r"^\s*\d{4,}-\d{1,2}-\d{1,2}"
_READABLE_TEXT = dict.fromkeys(INTEGER_TYPES, _WHOLE) | {"date": _DAY + r"\s*$", "timestamp": _DAY}


def read_files(
    spark: SparkSession, source: Source, paths: Sequence[str], file_format: str
) -> DataFrame:
    """Read files as rows of a source's schema.

    Files are read in groups of equal layout, because Spark takes the first file's for all.

    Returns:
        The source's columns with their declared types, plus ``_unreadable`` (array of reasons, or
        null), ``_raw``, ``_origin`` and ``_offset``.
    """
    layout_of = _parquet_layout if file_format == "parquet" else _csv_layout
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        groups.setdefault(layout_of(path), []).append(path)
    read = _read_parquet if file_format == "parquet" else _read_csv
    frames = [read(spark, source, group, layout) for layout, group in groups.items()]
    frame = frames[0]
    for other in frames[1:]:
        frame = frame.unionByName(other)
    return frame


def unreadable_file(error: Exception, paths: Sequence[str]) -> str | None:
    """Name the input file that Spark could not read, where that is why a job failed.

    Args:
        error: What the job raised.
        paths: The input files; the job read files of the lake too.
    """
    found = re.search(r"while reading file (?:file:/*)?(/?\S+?)\. ", str(error))
    if found is not None:
        path = "/" + unquote(found[1]).lstrip("/")
        return path if path in paths else None
    # Of a compressed file that ends too early Spark does not say which it is.
    return next((path for path in paths if path.endswith(".gz") and not _is_whole(path)), None)


def _is_whole(path: str) -> bool:
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return True


def _parquet_layout(path: str) -> tuple[str, ...]:
    schema = pq.read_schema(path)
    return tuple(f"{field.name}{_BETWEEN}{field.type}" for field in schema)


def _csv_layout(path: str) -> tuple[str, ...]:
    return csv_header(Path(path))


def _read_parquet(
    spark: SparkSession, source: Source, paths: list[str], layout: tuple[str, ...]
) -> DataFrame:
    frame = spark.read.parquet(*paths)
    types = dict(entry.split(_BETWEEN) for entry in layout)
    named = names_in(source, types)
    values = [
        _cast_parquet(named[name], kind, types[named[name]].startswith("timestamp[ns")).alias(name)
        if name in named
        else _nothing(name, kind)
        for name, kind in raw_columns(source).items()
    ]
    return frame.select(
        *values,
        F.lit(None).cast("array<string>").alias(UNREADABLE),
        F.lit(None).cast("binary").alias(RAW),
        F.col("_metadata.file_path").alias(ORIGIN),
        F.col("_metadata.row_index").alias(OFFSET),
    )


def _nothing(name: str, kind: str) -> Column:
    return F.lit(None).cast(kind).alias(name)


def _cast_parquet(name: str, kind: str, is_nanoseconds: bool) -> Column:
    if is_nanoseconds:
        return from_nanoseconds(name)
    return without_negative_zero(F.col(f"`{name}`").cast(kind), kind)


def from_nanoseconds(name: str) -> Column:
    """Read a column of nanoseconds, which come as integers, cut down to the microsecond.

    In whole numbers: as doubles, which ``/`` and ``floor`` would take, nanoseconds do not fit.
    """
    return F.timestamp_micros(F.expr(f"(`{name}` - pmod(`{name}`, 1000)) div 1000"))


def without_negative_zero(column: Column, kind: str) -> Column:
    """Give 0.0 for -0.0, law 5, and every other value as it is."""
    if kind not in FLOAT_TYPES:
        return column
    return F.when(column == 0, F.lit(0.0).cast(kind)).otherwise(column)


def cast_text(text: Column, kind: str) -> Column:
    """Read text as a type; null where it does not say a value of that type and no more."""
    if kind == "string":
        return text
    value = F.trim(text).cast(kind)
    if is_decimal(kind):
        return F.when(value == F.trim(text).cast("decimal(38,18)"), value)
    pattern = _READABLE_TEXT.get(kind)
    return value if pattern is None else F.when(text.rlike(pattern), value)


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
    named = names_in(source, layout)
    for name, kind in raw_columns(source).items():
        if name not in named:
            values.append(_nothing(name, kind))
            continue
        text = F.col(tables.quoted(named[name]))
        value = cast_text(text, kind)
        values.append(without_negative_zero(value, kind).alias(name))
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
