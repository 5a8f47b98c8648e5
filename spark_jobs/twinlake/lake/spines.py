"""Read a spine: the rows that a training set is built for.

A key or time that cannot be read as its type, without losing anything, is refused, not rounded: it
would be the key of somebody else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)
from pyspark.sql.types import StringType, StructField, StructType, TimestampType

from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, is_decimal, is_numeric
from twinlake.errors import EnvironmentFailure, InputError
from twinlake.lake import rows, tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP
from twinlake.lake.rows import cast_text, from_nanoseconds

_RAGGED = "_ragged"
_UTC = {"UTC", "Etc/UTC", "GMT", "Z", "+00:00"}
# What Delta takes for no part of a column's name, and the quote of Spark SQL.
_UNSAFE = re.compile(r"[ ,;{}()\n\t=`]")


def read_spine(
    spark: SparkSession,
    path: Path,
    keys: Mapping[str, str],
    fields: Mapping[str, str] = MappingProxyType({}),
    version: int | None = None,
) -> DataFrame:
    """Read a spine from a Parquet file or folder, a CSV file, or a Delta table.

    A time with an offset or a zone of its own stands for its instant, whatever the zones of other
    rows; one without is of UTC.

    Args:
        spark: The session.
        path: Where it lies.
        keys: Join keys that it must have, with their types.
        fields: Request fields that it must have, with their types; their cells may be null.
        version: Of a Delta table, the version to read.

    Returns:
        All its columns; keys, fields and ``event_timestamp`` have the types wanted.

    Raises:
        InputError: It is not there, lacks a column, a key or time is null or unreadable, or a field
            is unreadable or not finite.
        EnvironmentFailure: The session has another time zone than UTC.
    """
    _refuse_other_zone(spark)
    frame = _read(spark, path, {**keys, **fields, EVENT_TIMESTAMP: "timestamp"}, version)
    for name in (*keys, EVENT_TIMESTAMP, *fields):
        if name not in frame.columns:
            raise InputError(
                f"the spine {path} has no column {name!r}",
                hint=f"its columns: {', '.join(frame.columns)}",
            )
    _refuse_names(path, frame.columns)
    wanted = dict(keys) | {EVENT_TIMESTAMP: "timestamp"}
    found = dict(frame.dtypes)
    cast = frame.withColumns(
        {name: _typed(path, name, found[name], kind) for name, kind in wanted.items()}
    )
    _refuse_nulls(cast, path, wanted)
    return _with_fields(cast, path, fields) if fields else cast


def _refuse_other_zone(spark: SparkSession) -> None:
    """Refuse a session in which a time without a zone would be another instant."""
    zone = spark.conf.get("spark.sql.session.timeZone", "")
    if zone not in _UTC:
        raise EnvironmentFailure(
            f"the Spark session reads times in {zone}, expected UTC",
            hint='spark.conf.set("spark.sql.session.timeZone", "UTC"), and hand that session over',
        )


def pin(spark: SparkSession, path: Path) -> tuple[str, int] | tuple[None, None]:
    """Give the id and the newest version of a spine that is a Delta table; nothing of any other."""
    if not tables.exists(path):
        return None, None
    return tables.table_id(spark, path), tables.newest_version(spark, path)


def _with_fields(frame: DataFrame, path: Path, fields: Mapping[str, str]) -> DataFrame:
    """Read request fields as their types; a null stays null, anything else must be readable."""
    found = dict(frame.dtypes)
    cast = {name: _typed(path, name, found[name], kind) for name, kind in fields.items()}
    for name, kind in fields.items():
        if kind in FLOAT_TYPES:
            is_number = ~F.isnan(cast[name]) & (F.abs(cast[name]) != F.lit(float("inf")))
            cast[name] = F.when(is_number, rows.without_negative_zero(cast[name], kind))
    lost = frame.agg(
        F.count("*").alias("rows"),
        *(
            F.count_if(F.col(tables.quoted(name)).isNotNull() & column.isNull()).alias(f"n_{name}")
            for name, column in cast.items()
        ),
    ).first()
    for name, kind in fields.items():
        if lost is not None and lost[f"n_{name}"]:
            raise InputError(
                f"the spine {path} has {lost[f'n_{name}']:,} rows of {lost.rows:,} whose {name} "
                f"cannot be read as {kind}",
                hint="mend those rows, or leave the cells empty",
            )
    return frame.withColumns(cast)


def last_us(spine: DataFrame) -> int:
    """Give the latest time of a spine; it has rows, or it was refused."""
    found = spine.agg(F.max(F.unix_micros(EVENT_TIMESTAMP)).alias("us")).first()
    return 0 if found is None else int(found.us)


def _read(
    spark: SparkSession, path: Path, keys: Mapping[str, str], version: int | None
) -> DataFrame:
    if not path.exists():
        raise InputError(f"there is no spine at {path}", hint="give the path of a file or table")
    if tables.exists(path):
        return tables.read(spark, path, version)
    if path.suffix == ".csv":
        return _read_csv(spark, path, keys)
    file = path if path.is_file() else next(iter(sorted(path.rglob("*.parquet"))), None)
    if file is None:
        raise InputError(
            f"the spine {path} is a folder that holds neither Parquet files nor a Delta table",
            hint="give Parquet, a .csv file with a header, or a Delta table",
        )
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"the spine {file} is not a Parquet file: {str(error).splitlines()[0]}",
            hint="give Parquet, a .csv file with a header, or a Delta table",
        ) from error
    _refuse_names(path, schema.names)
    frame = spark.read.parquet(str(path))
    return frame.withColumns(
        {field.name: from_nanoseconds(field.name) for field in schema if _is_nanoseconds(field)}
    )


def _read_csv(spark: SparkSession, path: Path, keys: Mapping[str, str]) -> DataFrame:
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"the spine {path} is empty", hint="it must begin with a header line")
    guessed = spark.read.csv(str(path), header=True, inferSchema=True, escape='"').schema
    # Guessed to be a number, the key "007" would be another one. A time of day would become one of
    # today, and the spine another one tomorrow.
    times = [f.name for f in guessed if f.name not in keys and f.dataType == TimestampType()]
    fields = [
        StructField(f.name, StringType() if f.name in {*keys, *times} else f.dataType)
        for f in guessed
    ]
    # Pruned to the columns asked for, a line of too few or too many fields passes unseen.
    frame = spark.read.option("columnPruning", "false").csv(
        str(path),
        header=True,
        schema=StructType([*fields, StructField(_RAGGED, StringType())]),
        escape='"',
        columnNameOfCorruptRecord=_RAGGED,
    )
    read = {name: cast_text(F.col(tables.quoted(name)), "timestamp") for name in times}
    counts = frame.agg(
        F.count("*").alias("rows"),
        F.count(_RAGGED).alias("ragged"),
        *(
            F.count_if(F.col(tables.quoted(name)).isNotNull() & time.isNull()).alias(f"n_{name}")
            for name, time in read.items()
        ),
    ).first()
    if counts is not None and counts.ragged:
        raise InputError(
            f"the spine {path} has {counts.ragged:,} rows of {counts.rows:,} that have another "
            "number of fields than the header",
            hint="mend those lines; a text that holds a comma or a line break is put in quotes",
        )
    said = {n: time for n, time in read.items() if counts is None or not counts[f"n_{n}"]}
    return frame.withColumns(said).drop(_RAGGED)


def _is_nanoseconds(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type) and field.type.unit == "ns")


def _refuse_names(path: Path, names: Iterable[str]) -> None:
    names = list(names)
    unsafe = [name for name in names if _UNSAFE.search(name)]
    if unsafe:
        raise InputError(
            f"the spine {path} has column names that no table can hold: "
            f"{', '.join(map(repr, unsafe))}",
            hint="rename them: letters, digits and underscores will do",
        )
    # Spark does not tell upper from lower case in column names.
    twice = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
    if twice:
        raise InputError(
            f"the spine {path} has two columns named {twice[0]!r}, upper and lower case being one",
            hint="rename or drop one of them",
        )


def _typed(path: Path, name: str, found: str, kind: str) -> Column:
    """Read a column as a type; null where that would lose something."""
    column = F.col(tables.quoted(name))
    if found == kind:
        return column
    if found == "string":
        return cast_text(column, kind)
    if _may_fit(found, kind):
        value = column.cast(kind)
        return F.when(value.cast(found) == column, value)
    raise InputError(
        f"the spine {path}: column {name} is a {found}, expected a {kind}",
        hint=f"write it as a {kind}, or as text that says one",
    )


def _may_fit(found: str, kind: str) -> bool:
    """Tell whether some values of a type say the same in another one."""
    if kind in INTEGER_TYPES or is_decimal(kind):
        return is_numeric(found) or found in FLOAT_TYPES
    if kind in FLOAT_TYPES:
        return is_numeric(found)
    if kind == "string":
        return found in INTEGER_TYPES or found == "date"
    times = ("date", "timestamp", "timestamp_ntz")
    return kind in times and found in times


def _refuse_nulls(frame: DataFrame, path: Path, wanted: Mapping[str, str]) -> None:
    counts = frame.agg(
        F.count("*").alias("rows"), *(F.count(tables.quoted(n)).alias(f"n_{n}") for n in wanted)
    ).first()
    if counts is None or counts.rows == 0:
        raise InputError(f"the spine {path} has no rows", hint="give at least one")
    for name, kind in wanted.items():
        missing = counts.rows - counts[f"n_{name}"]
        if missing:
            raise InputError(
                f"the spine {path} has {missing:,} rows of {counts.rows:,} whose {name} is null "
                f"or cannot be read as {kind}",
                hint="leave those rows out, or mend them",
            )
