"""Read records of Avro, by a schema in a file, as rows of a source's schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.types import StructType

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Kafka, Source
from twinlake.errors import InputError
from twinlake.lake import streams
from twinlake.lake.failures import innermost
from twinlake.lake.streams import VALUE, Limits
from twinlake.lake.tables import quoted

_RECORD = "_record"


@dataclass(frozen=True)
class AvroSchema:
    """The schema that records are written by.

    Attributes:
        text: As it stands in its file.
        type: What Spark reads such a record as.
    """

    text: str
    type: StructType


def read_schema(spark: SparkSession, file: Path, source: Source) -> AvroSchema:
    """Read the schema of a source's records.

    Raises:
        InputError: It is not there, is no schema of a record, or lacks columns of the source.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the Avro schema of source {source.name} cannot be read: {file}",
            hint="name a file with the schema in JSON: Kafka(..., avro=FILE)",
        ) from error
    try:
        record = from_avro(F.lit(b"").cast("binary"), text)
        kind = spark.range(0).select(record.alias(_RECORD)).schema[_RECORD].dataType
    except Exception as error:
        raise InputError(
            f"{file} is no Avro schema: {innermost(error)}",
            hint="it is a JSON object with type, name and fields",
        ) from error
    if not isinstance(kind, StructType):
        raise InputError(
            f"{file} is the Avro schema of a {kind.simpleString()}, expected that of a record"
        )
    missing = [name for name in raw_columns(source) if name not in kind.names]
    if missing:
        raise InputError(
            f"the Avro schema {file} has no field {', '.join(missing)}, which source {source.name} "
            "reads",
            hint=f"it has: {', '.join(kind.names)}",
        )
    return AvroSchema(text, kind)


def parsed(
    frame: DataFrame,
    source: Source,
    kafka: Kafka,
    schema: AvroSchema,
    kept: Sequence[str] = (),
) -> DataFrame:
    """Parse records; gives what ``streams.parsed`` gives of JSON.

    Args:
        frame: ``_value``, ``_origin``, ``_partition`` and ``_offset``.
        source: Whose columns to read.
        kafka: How records are framed, and how long they may be.
        schema: The schema that they are written by.
        kept: Further columns to keep.
    """
    fits = F.length(VALUE) <= kafka.max_record_bytes
    body = F.when(fits, F.substring(VALUE, 1 + kafka.skip_bytes, 2**31 - 1))
    record = from_avro(body, schema.text, {"mode": "PERMISSIVE"})
    frame = frame.withColumn(_RECORD, record)
    values, broken = streams.typed_cells(_cells(schema), source, kafka.times_in)
    # What cannot be parsed comes back as a record of nulls, or as none.
    fields = [F.col(f"{_RECORD}.{quoted(name)}") for name in schema.type.names]
    is_nothing = reduce(Column.__and__, [field.isNull() for field in fields])
    unreadable = (
        F.when(F.col(VALUE).isNull(), streams.reason("record: empty"))
        .when(~fits, F.array(streams.too_long(kafka.max_record_bytes)))
        .when(is_nothing, streams.reason("record: not of the Avro schema"))
        .when(F.size(broken) > 0, broken)
    )
    return streams.with_place(frame, values, unreadable, kept)


def _cells(schema: AvroSchema) -> dict[str, tuple[Column, str]]:
    return {
        field.name: (F.col(f"{_RECORD}.{quoted(field.name)}"), field.dataType.simpleString())
        for field in schema.type.fields
    }


def read_folder(
    spark: SparkSession,
    folder: Path,
    source: Source,
    kafka: Kafka,
    schema: AvroSchema,
    limits: Limits,
) -> DataFrame:
    """Read a folder of container files as a stream; gives what ``parsed`` gives."""
    frame = (
        spark.readStream.format("avro")
        .schema(schema.type)
        .option("avroSchema", schema.text)
        .option("maxFilesPerTrigger", limits.files)
        .option("maxFileAge", "36500d")
        .load(str(folder))
    )
    return streams.typed_rows(frame, source, None, kafka.times_in)
