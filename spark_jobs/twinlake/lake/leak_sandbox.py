"""The Spark side of a leak check: sample spine rows, copy histories, plant rows, in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.fingerprints import with_mentioned
from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.definitions.types import FLOAT_TYPES, INTEGER_TYPES, is_decimal
from twinlake.lake import events, spines, tables
from twinlake.lake.point_in_time import EVENT_TIMESTAMP

# Columns beside those of sources and spines, whatever their names are.
COPY, _AT, _SEEN, _HIGH = (f"leak_check_{name}" for name in ("copy", "at", "seen", "high"))
# How many copies a key column of a type can tell apart; the others hold too few values.
_CAPACITY = {"string": 2**31, "bigint": 2**31, "int": 2**31, "smallint": 2**15, "date": 10**6}
_DELTA = {"tinyint": 100, "smallint": 10_000, "int": 1_000_000, "bigint": 1_000_000_000}

Key = tuple[Any, ...]


def copy_capacity(kind: str) -> int:
    """Tell how many copies of a key a column of this type can name."""
    if is_decimal(kind):
        digits, scale = (int(part) for part in kind[8:-1].split(","))
        return int(10 ** (digits - scale))
    return _CAPACITY.get(kind, 2**31 if kind == "timestamp" else 0)


def sample_keys(
    spark: SparkSession, path: Path, source: Source, keys: Sequence[str], count: int, seed: int
) -> list[tuple[Key, int, int, int]]:
    """Choose keys by a seeded hash.

    Returns:
        Key, and the times of its first event, of one chosen by hash, and of its last event.
    """
    event_us = F.unix_micros("_event_timestamp")
    frame = events.accepted(spark, path, source)
    for key in keys:
        frame = frame.where(F.col(key).isNotNull())
    found = (
        frame.groupBy(*keys)
        .agg(
            F.min(event_us).alias("first_us"),
            F.min_by(event_us, F.xxhash64(F.lit(seed), event_us)).alias("some_us"),
            F.max(event_us).alias("last_us"),
        )
        .orderBy(F.xxhash64(F.lit(seed), *keys), *keys)
        .limit(count)
        .collect()
    )
    return [
        (tuple(row[key] for key in keys), row.first_us, row.some_us, row.last_us) for row in found
    ]


def sample_spine(
    spark: SparkSession, path: Path, keys: Mapping[str, str], count: int, seed: int
) -> list[tuple[dict[str, Any], int]]:
    """Choose rows of a spine by a seeded hash: keys by name, and as of when."""
    frame = spines.read_spine(spark, path, keys)
    at_us = F.unix_micros(EVENT_TIMESTAMP).alias("at_us")
    chosen = frame.select(*keys, at_us).distinct()
    rank = F.xxhash64(F.lit(seed), *keys, "at_us")
    rows = chosen.orderBy(rank, *keys, "at_us").limit(count).collect()
    return [({key: row[key] for key in keys}, row.at_us) for row in rows]


def spine_of(
    spark: SparkSession,
    rows: Sequence[tuple[int, Mapping[str, Any], int]],
    keys: Mapping[str, str],
    named: Sequence[str],
) -> DataFrame:
    """Make the spine of all copies.

    Args:
        spark: The session.
        rows: Copy number, keys and time of each.
        keys: All join keys with their types.
        named: The key columns that carry the copy's number.
    """
    frame = _frame(spark, [(n, *(told[k] for k in keys), at) for n, told, at in rows], keys, _AT)
    frame = frame.withColumns({name: _numbered(keys[name]) for name in named})
    return frame.withColumn(EVENT_TIMESTAMP, F.timestamp_micros(_AT)).drop(_AT)


def history(
    spark: SparkSession,
    path: Path,
    keys: Mapping[str, str],
    named: str,
    rows: Sequence[tuple[int, Key]],
) -> DataFrame:
    """Copy the accepted events of keys, once for every copy that wants them.

    Args:
        spark: The session.
        path: The events table of the real state, which is only read.
        keys: The join keys with their types.
        named: The key column that carries the copy's number.
        rows: Copy number and key of each.
    """
    stored = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    wanted = _frame(spark, [(number, *key) for number, key in rows], keys)
    joined = stored.join(F.broadcast(wanted), list(keys))
    return joined.withColumn(named, _numbered(keys[named])).drop(COPY)


def planted(
    spark: SparkSession,
    path: Path,
    source: Source,
    keys: Mapping[str, str],
    named: str,
    needed: set[str],
    rows: Sequence[tuple[int, Key, int, int, bool]],
) -> DataFrame:
    """Make the rows to plant, each in the image of an accepted event.

    Args:
        spark: The session.
        path: The events table of the real state, which is only read.
        source: Its source.
        keys: The join keys with their types.
        named: The key column that carries the copy's number.
        needed: The columns that features read: those whose values must stand out.
        rows: Copy number, key, event and known time, and whether values are high, of each.
    """
    image = events.accepted(spark, path, source).orderBy("_event_timestamp", "_hash_a").limit(1)
    image = image.select(*(tables.quoted(column.name) for column in events.columns(source)))
    flat = [(number, *key, event, known, high) for number, key, event, known, high in rows]
    told = _frame(spark, flat, keys, _AT, _SEEN, high=True)
    frame = image.drop(*keys).crossJoin(F.broadcast(told))
    changed = {
        name: F.when(F.col(_HIGH), _value(kind, 1)).otherwise(_value(kind, -1))
        for name, kind in raw_columns(source).items()
        if name in _free(source, needed) and name not in keys
    }
    system = {
        named: _numbered(keys[named]),
        "_event_timestamp": F.timestamp_micros(_AT),
        "_known_timestamp": F.timestamp_micros(_SEEN),
        "_hash_a": F.xxhash64(COPY, _AT, _SEEN, _HIGH),
        "_hash_b": F.xxhash64(_HIGH, _SEEN, _AT, COPY),
        "_origin": F.lit("leak-check"),
    }
    return frame.withColumns(changed | system).drop(COPY, _AT, _SEEN, _HIGH)


def without_keys(frame: DataFrame, names: Sequence[str]) -> DataFrame:
    """Take away the keys of other entities: a row copied for one must not be found by another."""
    types = dict(frame.dtypes)
    return frame.withColumns({name: F.lit(None).cast(types[name]) for name in names})


def write(spark: SparkSession, path: Path, source: Source, frames: Sequence[DataFrame]) -> int:
    """Write histories and planted rows as a sandbox's events table, one batch; give its rows."""
    names = [column.name for column in events.columns(source)]
    ordered = [frame.select(*(tables.quoted(name) for name in names)) for frame in frames]
    frame = reduce(DataFrame.unionAll, ordered)
    system = {"_version": F.lit(1).cast("bigint"), "_row": F.monotonically_increasing_id()}
    events.create(spark, path, source)
    tables.append(
        frame.withColumns(system).select(*(tables.quoted(name) for name in names)),
        path,
        writer="twinlake/leak-check",
        number=1,
        metadata={"ingest_version": 1},
    )
    return events.count(spark, path, 1)


def _frame(
    spark: SparkSession,
    rows: Sequence[tuple[Any, ...]],
    keys: Mapping[str, str],
    *times: str,
    high: bool = False,
) -> DataFrame:
    fields = [f"{COPY} bigint", *(f"{tables.quoted(name)} {kind}" for name, kind in keys.items())]
    fields += [f"{name} bigint" for name in times] + ([f"{_HIGH} boolean"] if high else [])
    return spark.createDataFrame(list(rows), ", ".join(fields))


def _numbered(kind: str) -> Column:
    """The value of a key column that names a copy."""
    number = F.col(COPY)
    if kind == "date":
        return F.date_add(F.lit("1970-01-01").cast("date"), number.cast("int"))
    return F.timestamp_micros(number) if kind == "timestamp" else number.cast(kind)


def _free(source: Source, needed: set[str]) -> set[str]:
    """Columns that decide features and may be changed without failing the source's filter."""
    filters = source.where or ""
    filtered = {name for name in source.with_columns if name in _words(filters)}
    return _raw_behind(source, needed) - _raw_behind(source, filtered) - _words(filters)


def _raw_behind(source: Source, names: set[str]) -> set[str]:
    """The columns as they arrive that these are or are derived from."""
    reached = with_mentioned(source, names)
    sql = " ".join(column.sql for name, column in source.with_columns.items() if name in reached)
    return {name for name in raw_columns(source) if name in reached or name in _words(sql)}


def _words(sql: str) -> set[str]:
    return set(re.findall(r"\w+", sql))


def _value(kind: str, sign: int) -> Column:
    """A value that stands out: no real one is as great."""
    if kind in INTEGER_TYPES:
        return F.lit(sign * _DELTA[kind]).cast(kind)
    if kind in FLOAT_TYPES:
        return F.lit(sign * 1_000_000.5).cast(kind)
    if is_decimal(kind):
        digits, scale = (int(part) for part in kind[8:-1].split(","))
        return F.lit(str(sign * (10 ** (digits - scale) - 1))).cast(kind)
    if kind == "boolean":
        return F.lit(sign > 0)
    if kind in {"date", "timestamp"}:
        return F.lit("2200-01-01" if sign > 0 else "1901-01-01").cast(kind)
    return F.lit("~planted high" if sign > 0 else " planted low").cast(kind)
