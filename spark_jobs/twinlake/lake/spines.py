"""Read a spine: the rows that a training set is built for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.types import StringType, StructField, StructType

from twinlake.errors import InputError
from twinlake.lake import tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP
from twinlake.lake.rows import from_nanoseconds


def read_spine(spark: SparkSession, path: Path, keys: Mapping[str, str]) -> DataFrame:
    """Read a spine from a Parquet file or folder, a CSV file, or a Delta table.

    Args:
        spark: The session.
        path: Where it lies.
        keys: Join keys that it must have, with their types.

    Returns:
        All its columns; keys and ``event_timestamp`` have the types wanted.

    Raises:
        InputError: It is not there, lacks a column, or a key or time is null or unreadable.
    """
    frame = _read(spark, path, keys)
    for name in (*keys, EVENT_TIMESTAMP):
        if name not in frame.columns:
            raise InputError(
                f"the spine {path} has no column {name!r}",
                hint=f"its columns: {', '.join(frame.columns)}",
            )
    wanted = dict(keys) | {EVENT_TIMESTAMP: "timestamp"}
    cast = frame.withColumns(
        {name: F.col(tables.quoted(name)).cast(kind) for name, kind in wanted.items()}
    )
    _refuse_nulls(cast, path, list(wanted))
    return cast


def _read(spark: SparkSession, path: Path, keys: Mapping[str, str]) -> DataFrame:
    if not path.exists():
        raise InputError(f"there is no spine at {path}", hint="give the path of a file or table")
    if tables.exists(path):
        return tables.read(spark, path)
    if path.suffix == ".csv":
        guessed = spark.read.csv(str(path), header=True, inferSchema=True).schema
        # Guessed to be a number, the key "007" would be another one.
        fields = [
            StructField(field.name, StringType() if field.name in keys else field.dataType)
            for field in guessed
        ]
        return spark.read.csv(str(path), header=True, schema=StructType(fields))
    file = path if path.is_file() else next(iter(sorted(path.rglob("*.parquet"))), None)
    if file is None:
        raise InputError(f"the folder {path} holds neither Parquet files nor a Delta table")
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"the spine {file} is not a Parquet file: {str(error).splitlines()[0]}",
            hint="give Parquet, a .csv file with a header, or a Delta table",
        ) from error
    frame = spark.read.parquet(str(path))
    return frame.withColumns(
        {field.name: from_nanoseconds(field.name) for field in schema if _is_nanoseconds(field)}
    )


def _is_nanoseconds(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type) and field.type.unit == "ns")


def _refuse_nulls(frame: DataFrame, path: Path, names: list[str]) -> None:
    counts = frame.agg(
        F.count("*").alias("rows"), *(F.count(tables.quoted(n)).alias(f"n_{n}") for n in names)
    ).first()
    if counts is None or counts.rows == 0:
        raise InputError(f"the spine {path} has no rows", hint="give at least one")
    for name in names:
        missing = counts.rows - counts[f"n_{name}"]
        if missing:
            raise InputError(
                f"the spine {path} has {missing:,} rows of {counts.rows:,} whose {name} is null "
                "or cannot be read",
                hint="leave those rows out, or mend them",
            )
