"""Read a source's stream as rows of its schema, each with its place.

A record is bytes: a JSON object from a topic, or a line of a file where folders play topics. What
cannot be read as the declared type becomes null and the row carries the reason; nothing is dropped
here. Rows of a Delta table are typed already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, is_decimal
from twinlake.lake import rows
from twinlake.lake.tables import quoted

# The record as it came, and what is told beside rows.read_files' columns.
VALUE, PARTITION = "_value", "_partition"
_CORRUPT = "_corrupt_record"
# What Spark takes for the oldest record of a partition.
EARLIEST = -2
_WIDE = "decimal(38,18)"
_US_IN = {"s": 1_000_000, "ms": 1_000, "us": 1}
NUMBER_TYPES = {*INTEGER_TYPES, *FLOAT_TYPES}
# Of a value that cannot be read this much is shown.
_SHOWN = 40


@dataclass(frozen=True)
class Limits:
    """How much one batch of a stream takes in.

    Attributes:
        records: Of a topic.
        files: Of a folder or a Delta table.
        bytes_of_table: Of a Delta table, roughly.
    """

    records: int = 100_000
    files: int = 50
    bytes_of_table: str = "64m"


def read_topic(
    spark: SparkSession,
    topic: str,
    options: Mapping[str, str],
    starting: Mapping[int, int] | None,
    limits: Limits,
) -> DataFrame:
    """Read a topic of Kafka as a stream.

    Args:
        spark: The session.
        topic: Its name.
        options: ``kafka.bootstrap.servers`` and others.
        starting: The next offset of every partition, for a stream without checkpoint; None:
            earliest.
        limits: How much to take in at once.
    """
    begin = "earliest" if starting is None else json.dumps({topic: starting})
    frame = (
        spark.readStream.format("kafka")
        .options(**options)
        .option("subscribe", topic)
        .option("startingOffsets", begin)
        .option("maxOffsetsPerTrigger", limits.records)
        # Offsets that expired are rows that nobody will see again: the stream must stop and say so.
        .option("failOnDataLoss", "true")
        .load()
    )
    return frame.select(
        F.col("value").alias(VALUE),
        F.col("topic").alias(rows.ORIGIN),
        F.col("partition").alias(PARTITION),
        F.col("offset").alias(rows.OFFSET),
    )


def read_folder(spark: SparkSession, folder: Path, limits: Limits) -> DataFrame:
    """Read the lines of a folder's files as a stream; hidden files are not looked at."""
    frame = (
        spark.readStream.format("text")
        .option("maxFilesPerTrigger", limits.files)
        # A file is new because it was not read, however old it is.
        .option("maxFileAge", "36500d")
        .load(str(folder))
    )
    return frame.select(
        F.col("value").cast("binary").alias(VALUE),
        F.col("_metadata.file_path").alias(rows.ORIGIN),
        F.lit(None).cast("int").alias(PARTITION),
    )


def read_table(spark: SparkSession, table: Path, limits: Limits) -> DataFrame:
    """Read what is appended to a Delta table as a stream."""
    return (
        spark.readStream.format("delta")
        .option("maxBytesPerTrigger", limits.bytes_of_table)
        .option("maxFilesPerTrigger", limits.files)
        .load(str(table))
    )


def typed_rows(
    frame: DataFrame, source: Source, origin: str | None, times_in: str | None = None
) -> DataFrame:
    """Give typed rows the form that ``parsed`` gives; columns they lack are null.

    Args:
        frame: The rows.
        source: Whose columns to read.
        origin: What says where they come from; None: the file of each.
        times_in: As ``typed_cells`` takes it.
    """
    kinds = dict(frame.dtypes)
    cells = {name: (F.col(quoted(name)), kind) for name, kind in kinds.items()}
    values, broken = typed_cells(cells, source, times_in)
    is_broken = F.size(broken) > 0
    place = F.col("_metadata.file_path") if origin is None else F.lit(origin)
    return frame.select(
        *values,
        F.when(is_broken, broken).alias(rows.UNREADABLE),
        F.when(is_broken, F.to_json(F.struct("*")).cast("binary")).alias(VALUE),
        place.alias(rows.ORIGIN),
        F.lit(None).cast("int").alias(PARTITION),
        F.lit(None).cast("bigint").alias(rows.OFFSET),
    )


def typed_cells(
    cells: Mapping[str, tuple[Column, str]], source: Source, times_in: str | None
) -> tuple[list[Column], Column]:
    """Read typed cells as a source's columns.

    Args:
        cells: The cells, each with its type; columns of the source that are not there are null.
        source: The source.
        times_in: The unit of timestamps that are numbers; None: a number is no timestamp.

    Returns:
        The values, named, and an array of what could not be read.
    """
    values, complaints = [], []
    for name, kind in raw_columns(source).items():
        cell, found = cells.get(name, (F.lit(None), kind))
        value = _typed(cell, found, kind, times_in)
        values.append(rows.without_negative_zero(value, kind).alias(name))
        shown = F.substring(cell.cast("string"), 1, _SHOWN)
        text = F.concat(F.lit(f"{name}: cannot be read as {kind}: "), shown)
        complaints.append(F.when(cell.isNotNull() & value.isNull(), text))
    return values, F.array_compact(F.array(*complaints))


def _typed(cell: Column, found: str, kind: str, times_in: str | None) -> Column:
    """Read a cell of one type as another, or as null where a part of it would be lost."""
    is_number = found in NUMBER_TYPES or is_decimal(found)
    if kind == "timestamp" and is_number:
        return F.lit(None).cast(kind) if times_in is None else _instant(cell.cast(_WIDE), times_in)
    value = cell.cast(kind)
    if is_number and (kind in INTEGER_TYPES or is_decimal(kind)):
        return F.when(value.cast(found) == cell, value)  # Spark's cast cuts 7.9 to 7
    return value


def _instant(number: Column, times_in: str) -> Column:
    us = number * F.lit(_US_IN[times_in]).cast("decimal(7,0)")
    # Finer than a microsecond is cut down to it, as nanoseconds in files are.
    return F.timestamp_micros(F.floor(us).cast("bigint"))


def parsed(
    frame: DataFrame,
    source: Source,
    times_in: str | None,
    max_record_bytes: int,
    kept: Sequence[str] = (),
) -> DataFrame:
    """Parse records as JSON objects.

    Args:
        frame: A batch: ``_value``, ``_origin``, ``_partition`` and, where records have one,
            ``_offset``; else it is null.
        source: Whose columns to read.
        times_in: The unit of timestamps that are numbers; None: they are text.
        max_record_bytes: A longer record is not parsed.
        kept: Further columns to keep.

    Returns:
        The source's columns with their declared types, the four that came, and ``_unreadable``
        (array of reasons, or null).
    """
    columns = raw_columns(source)
    if rows.OFFSET not in frame.columns:
        frame = frame.withColumn(rows.OFFSET, F.lit(None).cast("bigint"))
    fits = F.length(VALUE) <= max_record_bytes
    # What is no UTF-8 comes back with other bytes.
    is_text = F.encode(F.decode(F.col(VALUE), "UTF-8"), "UTF-8") == F.col(VALUE)
    text = F.when(fits & is_text, F.col(VALUE).cast("string"))
    wire = {name: _wire_type(kind, times_in) for name, kind in columns.items()}
    typed = _from_json(text, wire)
    loose = _from_json(text, dict.fromkeys(columns, "string"))
    frame = frame.withColumns({"_typed": typed})
    # Only of records that are damaged each field is looked at once more, as text.
    is_damaged = F.col(f"_typed.{_CORRUPT}").isNotNull()
    frame = frame.withColumn("_loose", F.when(is_damaged, loose))
    values = {n: _value(n, wire[n], kind, times_in) for n, kind in columns.items()}
    frame = frame.withColumns({f"_v_{name}": value for name, value in values.items()})
    bare = F.btrim(text, F.lit(" \t\r\n"))
    # Of `{...} and more` the parser would read the object and not look at the rest.
    no_object = ~(bare.startswith("{") & bare.endswith("}"))
    no_object |= is_damaged & F.col(f"_loose.{_CORRUPT}").isNotNull()
    of_fields = F.array_compact(F.array(*(_complaint(n, k) for n, k in columns.items())))
    unreadable = (
        F.when(F.col(VALUE).isNull(), reason("record: empty"))
        .when(~fits, F.array(too_long(max_record_bytes)))
        .when(~is_text, reason("record: not UTF-8"))
        .when(no_object | F.col("_typed").isNull(), reason("record: no JSON object"))
        .when(F.size(of_fields) > 0, of_fields)
    )
    read = [F.col(f"_v_{name}").alias(name) for name in columns]
    return with_place(frame, read, unreadable, kept)


def with_place(
    frame: DataFrame, values: Sequence[Column], unreadable: Column, kept: Sequence[str]
) -> DataFrame:
    """Give what was read of records, why some could not be, and where each stood."""
    return frame.select(
        *values,
        unreadable.alias(rows.UNREADABLE),
        VALUE,
        rows.ORIGIN,
        PARTITION,
        rows.OFFSET,
        *kept,
    )


def _from_json(text: Column, types: Mapping[str, str]) -> Column:
    fields = [f"{quoted(name)} {kind}" for name, kind in types.items()]
    schema = ", ".join([*fields, f"{_CORRUPT} string"])
    return F.from_json(text, schema, {"columnNameOfCorruptRecord": _CORRUPT})


def _wire_type(kind: str, times_in: str | None) -> str:
    """Tell as what a column stands in JSON; decimals wider, so that no digit is rounded away."""
    if is_decimal(kind) or (kind == "timestamp" and times_in is not None):
        return _WIDE
    return "string" if kind in {"timestamp", "date", "binary"} else kind


def _value(name: str, wire: str, kind: str, times_in: str | None) -> Column:
    cell = F.col(f"_typed.{quoted(name)}")
    if kind == "timestamp" and times_in is not None:
        return _instant(cell, times_in)
    if is_decimal(kind):
        value = cell.cast(kind)
        return F.when(value == cell, value)
    if wire == "string" and kind != "string":
        return rows.cast_text(cell, kind)
    return rows.without_negative_zero(cell, kind)


def _complaint(name: str, kind: str) -> Column:
    """Name a field that is there but was not read."""
    damaged = F.col(f"_loose.{quoted(name)}")
    shown = F.coalesce(damaged, F.col(f"_typed.{quoted(name)}").cast("string"))
    text = F.concat(F.lit(f"{name}: cannot be read as {kind}: "), F.substring(shown, 1, _SHOWN))
    return F.when(F.col(f"_v_{name}").isNull() & shown.isNotNull(), text)


def reason(text: str) -> Column:
    """Give a single reason for which a record could not be read."""
    return F.array(F.lit(text))


def too_long(limit: int) -> Column:
    """Say that a record is longer than what is read."""
    size = F.length(VALUE).cast("string")
    return F.concat(F.lit("record: "), size, F.lit(f" bytes, at most {limit} are read"))
