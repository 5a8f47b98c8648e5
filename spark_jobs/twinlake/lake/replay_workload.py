"""What a replay sends: landed events once more, in any order, cut into pieces, some of them twice.

Everything is chosen by a hash of a row's place in the events table and the seed, so the same seed
sends the same rows in the same pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.resolution import raw_columns
from twinlake.definitions.sources import Source
from twinlake.lake import events, tables

# Which way a row goes: by the stream, as a file of the source, or pushed.
STREAM, FILES, PUSH = "stream", "files", "push"
_ROUTE, _PIECE = "replay_route", "replay_piece"
_OTHER_WAYS = {FILES: 0.05, PUSH: 0.05}
_LATE, _MUCH_LATE, _TWICE, _AHEAD = 0.2, 0.02, 0.02, 0.002
# What is decided for each row, each by a hash of its own.
_CHANCES = ("way", "late", "where", "again", "again where", "ahead")
_FEW = 10


def chosen(
    spark: SparkSession, path: Path, keys: Sequence[str], most: int | None, seed: int
) -> DataFrame:
    """Choose accepted rows of an events table: all, or all rows of some keys.

    Args:
        spark: The session.
        path: The events table, which is only read.
        keys: The columns that make a key.
        most: About how many rows, at most; None for all.
        seed: Chooses other keys.
    """
    frame = tables.read(spark, path).where(F.col("_verdict") == events.ACCEPTED)
    if most is not None and (total := frame.count()) > most:
        frame = frame.where(_uniform(seed, *map(tables.quoted, keys)) < most / total)
    return frame


def write_pieces(
    frame: DataFrame,
    source: Source,
    folder: Path,
    cuts: Sequence[float],
    seed: int,
    ahead_us: int,
) -> None:
    """Write rows as ``folder/replay_route=WAY/replay_piece=N/*.parquet``.

    Most go by the stream, about in the order of time: a fifth comes a piece or two late, and some
    much later, which only every fourth piece brings, for a batch with one of them looks back into
    the lake. Some come twice. Beside them come some that lie far ahead of time, which the gate must
    put aside. What goes another way goes in two pieces, or in one where all are few.

    Args:
        frame: What ``chosen`` gave.
        source: Its source.
        folder: Where to.
        cuts: Where the pieces of the stream end, as shares of the rows, ascending.
        seed: Makes another order.
        ahead_us: The event timestamp of those far ahead of time.
    """
    place = ("_version", "_row")
    chance = {what: _uniform(seed + step, *place) for step, what in enumerate(_CHANCES, 1)}
    files, push = _OTHER_WAYS[FILES], _OTHER_WAYS[PUSH]
    route = (
        F.when(chance["way"] < files, FILES)
        .when(chance["way"] < files + push, PUSH)
        .otherwise(STREAM)
    )
    event_us = F.unix_micros("_event_timestamp")
    timed = frame.withColumn("_us", event_us)
    ends = timed.approxQuantile("_us", list(cuts), 0.001) if cuts else []
    last = len(cuts)
    in_time = _piece(event_us, ends)
    by_stream = (
        F.when(chance["late"] < _MUCH_LATE, F.greatest(in_time, _fourth(chance["where"], last)))
        .when(chance["late"] < _LATE, F.least(in_time + 1 + (chance["where"] * 2), F.lit(last)))
        .otherwise(in_time)
    ).cast("int")
    other = (chance["where"] * (1 if last < _FEW else 2)).cast("int")
    routed = timed.withColumn(_ROUTE, route)
    is_streamed = F.col(_ROUTE) == STREAM
    parts = [routed.withColumn(_PIECE, F.when(is_streamed, by_stream).otherwise(other))]
    of_stream = routed.where(is_streamed)
    again = F.greatest(in_time, _fourth(chance["again where"], last)).cast("int")
    parts.append(of_stream.where(chance["again"] < _TWICE).withColumn(_PIECE, again))
    if source.event_timestamp in raw_columns(source):
        ahead = of_stream.where(chance["ahead"] < _AHEAD).withColumn(_PIECE, in_time)
        later = F.timestamp_micros(F.lit(ahead_us))
        parts.append(ahead.withColumn(source.event_timestamp, later))
    names = [tables.quoted(name) for name in raw_columns(source)]
    written = reduce(DataFrame.unionAll, [part.select(*names, _ROUTE, _PIECE) for part in parts])
    written = written.repartition(min(last + 1, 16), _ROUTE, _PIECE)
    written.write.partitionBy(_ROUTE, _PIECE).parquet(str(folder))


def _fourth(at: Column, last: int) -> Column:
    """One of every four pieces."""
    return F.floor(at * ((last + 4) // 4)) * 4


def _uniform(seed: int, *columns: str) -> Column:
    """A number from 0 to below 1 that these columns and the seed decide."""
    steps = 1 << 30
    return F.pmod(F.xxhash64(F.lit(seed), *columns), F.lit(steps)) / F.lit(float(steps))


def _piece(at: Column, ends: Sequence[float]) -> Column:
    return reduce(add, [(at >= end).cast("int") for end in ends], F.lit(0))


def pieces(folder: Path, way: str) -> list[Path]:
    """Give the folders of the pieces that go one way, in their order."""
    found = (folder / f"{_ROUTE}={way}").glob(f"{_PIECE}=*")
    return sorted(found, key=lambda path: int(path.name.partition("=")[2]))


def append_piece(spark: SparkSession, piece: Path, table: Path) -> int:
    """Append a piece to the Delta table that is streamed, as one file; give its rows."""
    frame = spark.read.parquet(str(piece)).coalesce(1)
    frame.write.format("delta").mode("append").save(str(table))
    return tables.last_commit(spark, table).rows


def differing(recorded: DataFrame, replayed: DataFrame) -> tuple[int, int]:
    """Count accepted rows that only the record has, and those that only the replay has."""
    hashes = ("_hash_a", "_hash_b")
    left, right = recorded.select(*hashes), replayed.select(*hashes)
    return left.exceptAll(right).count(), right.exceptAll(left).count()
