"""One batch of a stream at the driver: judged by Spark, settled by claims, landed by one commit.

A batch of a stream is bounded, so its rows come to the driver as Arrow: what a batch job does by
shuffling is done here on arrays, in milliseconds.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from delta.exceptions import ConcurrentTransactionException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 (the name that Spark's own documentation uses)

from twinlake.definitions.sources import KNOWN_AT_ARRIVAL, Source
from twinlake.definitions.types import Field
from twinlake.definitions.views import FeatureView
from twinlake.errors import StateError
from twinlake.lake import (
    arrays,
    arrow_commits,
    events,
    landing,
    rows,
    stream_memory,
    streams,
    tables,
)
from twinlake.lake.claims import CONFLICT, DUPLICATE, ClaimIndex, Claims, Owners, settle
from twinlake.lake.forgotten import Forgotten
from twinlake.lake.stream_memory import COUNTS

_ID_A, _ID_B, _READ = "_id_a", "_id_b", "_is_read"
# What was committed last is asked of the session, which several streams of a process share.
_APPENDING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of a batch by verdict; read is their sum.

    Attributes:
        newest_event_us: The newest accepted event, if there is one.
        erased: Those of forgotten keys.
    """

    read: int
    accepted: int
    duplicate: int
    quarantined: int
    newest_event_us: int | None
    erased: int = 0


def judging(
    frame: DataFrame,
    source: Source,
    views: Sequence[FeatureView],
    forgotten: Forgotten | None = None,
) -> DataFrame:
    """Judge rows by the gate, but for what depends on the present.

    Args:
        frame: What ``streams.parsed`` or ``streams.typed_rows`` gave, of a batch or a stream.
        source: Its source.
        views: The views on the source; a row without their keys is of no use.
        forgotten: The forgotten keys that they may belong to.
    """
    frame = events.derive(frame, source)
    frame = frame.withColumn("_event_timestamp", F.col(tables.quoted(source.event_timestamp)))
    frame = frame.withColumn(_READ, F.col(rows.UNREADABLE).isNull())
    keys = stream_memory.keys_of(views)
    ready = landing.judge_rows(frame, source, keys, None, forgotten)
    where = F.lit(True) if source.where is None else F.expr(source.where)
    id_a, id_b = stream_memory.identity(source)
    counted = F.coalesce(where, F.lit(False))
    ready = ready.withColumns({COUNTS: counted, _ID_A: id_a, _ID_B: id_b})
    if forgotten is None:
        return ready
    # What says whose it is does not even come to the driver.
    kept = {COUNTS, _READ, landing.CLEAN, landing.FORGOTTEN}
    named = [name for name in ready.columns if name not in kept]
    return ready.withColumns(events.without_forgotten(named, F.col(landing.FORGOTTEN)))


def judged(frame: DataFrame, source: Source, now_us: int) -> pa.Table:
    """Bring a batch to the driver, and judge by the present what depends on it.

    As part of the plan the present would have Spark compile every batch anew.

    Args:
        frame: What ``judging`` gave, of one batch.
        source: Its source.
        now_us: The present.

    Returns:
        The rows with what the gate says of each; without rows it has no columns either.
    """
    batches = frame._collect_as_arrow()  # noqa: SLF001 (public from 4.0 on)
    if not batches:
        return pa.table({})
    batch = pa.Table.from_batches(batches).combine_chunks()
    event_us = batch.column("_event_timestamp").cast(pa.int64())
    ahead = pc.fill_null(pc.greater(event_us, landing.latest_us(source, now_us)), False)
    ahead = np.flatnonzero(pc.and_(ahead, batch.column(_READ)))
    if ahead.size:
        clean = _flags(batch, landing.CLEAN)
        clean[ahead] = False
        batch = _with(batch, landing.CLEAN, pa.array(clean))
        batch = _with_reason(batch, ahead, landing.ahead_reason(source))
    if source.known == KNOWN_AT_ARRIVAL:
        arrived = arrays.instants(np.full(batch.num_rows, now_us, np.int64))
        nobody = pa.scalar(None, arrived.type)
        arrived = pc.if_else(batch.column(landing.FORGOTTEN), nobody, arrived)
        batch = _with(batch, "_known_timestamp", arrived)
    place = pa.array(np.arange(batch.num_rows, dtype=np.int64))
    batch = _with(batch, rows.OFFSET, pc.coalesce(batch.column(rows.OFFSET), place))
    nothing = pa.scalar(None, pa.binary())
    raw = pc.if_else(batch.column(landing.CLEAN), nothing, batch.column(streams.VALUE))
    return batch.append_column(rows.RAW, raw).drop_columns([streams.VALUE, _READ])


def _with(batch: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return batch.set_column(batch.column_names.index(name), name, column)


def _with_reason(batch: pa.Table, where: npt.NDArray[np.intp], reason: str) -> pa.Table:
    reasons = batch.column("_reasons").to_pylist()
    for row in where.tolist():
        reasons[row] = [*(reasons[row] or ()), reason]
    return _with(batch, "_reasons", pa.array(reasons, pa.list_(pa.string())))


def clean(batch: pa.Table) -> pa.Table:
    """Give the rows of a judged batch that pass the gate."""
    return batch.filter(batch.column(landing.CLEAN)).combine_chunks()


def settled(
    spark: SparkSession, path: Path, source: Source, batch: pa.Table, index: ClaimIndex
) -> pa.Table:
    """Give every row its verdict, and hold the claims of the accepted ones.

    Returns:
        The batch with ``_verdict``, and the reason where an identity belongs to another row.
    """
    clean = np.flatnonzero(_flags(batch, landing.CLEAN))
    chosen = batch.take(pa.array(clean)).combine_chunks()
    event_us = arrays.integers(chosen, "_event_timestamp") if len(clean) else np.zeros(0, np.int64)
    id_a, id_b, row_a, row_b = (
        arrays.integers(chosen, name) for name in (_ID_A, _ID_B, "_hash_a", "_hash_b")
    )
    asked = Claims(id_a, id_b, row_a, row_b, event_us)
    owners = index.find(asked)
    owners = _with_older(spark, path, source, asked, owners, index.since_us)
    verdict = settle(asked, owners, _order(chosen, asked))
    index.add(asked.take(verdict == 0))
    codes = np.full(batch.num_rows, 2, np.int8)
    codes[_flags(batch, landing.FORGOTTEN)] = 3
    codes[clean] = np.where(verdict == DUPLICATE, 1, np.where(verdict == CONFLICT, 2, 0))
    names = [events.ACCEPTED, events.DUPLICATE, events.QUARANTINED, events.ERASED]
    if (verdict == CONFLICT).any():
        batch = _with_reason(batch, clean[verdict == CONFLICT], landing.conflict_reason(source))
    return batch.append_column("_verdict", pa.array(names).take(pa.array(codes)))


def _flags(table: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    flags: npt.NDArray[np.bool_] = arrays.chunk(table, name).to_numpy(zero_copy_only=False)
    return flags.astype(np.bool_)


def _order(chosen: pa.Table, asked: Claims) -> npt.NDArray[np.intp]:
    """Order rows by content and then by place, whatever the order in which they were read."""
    origin = arrays.chunk(chosen, rows.ORIGIN).to_numpy(zero_copy_only=False).astype(str)
    partition = arrays.chunk(chosen, streams.PARTITION).fill_null(0).to_numpy(zero_copy_only=False)
    offset = arrays.integers(chosen, rows.OFFSET)
    return np.lexsort((offset, partition, origin, asked.row_b, asked.row_a))


def _with_older(
    spark: SparkSession,
    path: Path,
    source: Source,
    asked: Claims,
    owners: Owners,
    since_us: int,
) -> Owners:
    """Look up in the events table, by day and identity, what is older than the claims held."""
    old = np.flatnonzero(asked.event_us <= since_us)
    if not old.size:
        return owners
    older = asked.take(old)
    found = stream_memory.older_claims(spark, path, source, older).find(older)
    owners.found[old] |= found.found
    owners.row_a[old] = np.where(found.found, found.row_a, owners.row_a[old])
    owners.row_b[old] = np.where(found.found, found.row_b, owners.row_b[old])
    return owners


def numbered(batch: pa.Table, version: int, name: str) -> pa.Table:
    """Add what places a settled batch's rows in the events table."""
    count = batch.num_rows
    batch = batch.append_column("_version", pa.array(np.full(count, version, np.int64)))
    batch = batch.append_column("_row", pa.array(np.arange(count, dtype=np.int64)))
    batch = batch.append_column("_batch", pa.array([name] * count, pa.string()))
    if "_replay_of" not in batch.column_names:
        batch = batch.append_column("_replay_of", pa.nulls(count, pa.string()))
    return batch


def counts(batch: pa.Table) -> Counts:
    """Count a settled batch's rows by verdict."""
    verdict = batch.column("_verdict")
    found = {item["values"]: item["counts"] for item in verdict.value_counts().to_pylist()}
    accepted = batch.filter(pc.equal(verdict, events.ACCEPTED)).column("_event_timestamp")
    newest = pc.max(accepted.cast(pa.int64())).as_py()
    return Counts(
        batch.num_rows,
        found.get(events.ACCEPTED, 0),
        found.get(events.DUPLICATE, 0),
        found.get(events.QUARANTINED, 0),
        newest,
        found.get(events.ERASED, 0),
    )


def append(
    spark: SparkSession,
    path: Path,
    source: Source,
    batch: pa.Table,
    *,
    version: int,
    metadata: Mapping[str, Any],
    scratch: Path,
) -> tables.Commit:
    """Land a numbered batch by one commit to the events table."""
    return append_arrow(
        spark,
        batch.select([column.name for column in events.columns(source)]),
        events.columns(source),
        path,
        writer=landing.writer(source),
        number=version,
        metadata=metadata,
        scratch=scratch,
    )


def append_arrow(
    spark: SparkSession,
    made: pa.Table,
    columns: Sequence[Field],
    path: Path,
    *,
    writer: str,
    number: int,
    metadata: Mapping[str, Any],
    scratch: Path,
) -> tables.Commit:
    """Append rows that are at the driver to a Delta table, as ``tables.append`` does.

    Returns:
        The commit.

    Raises:
        StateError: Delta has a commit of that number already, by another process.
    """
    told: dict[str, Any] = {"writer": writer, "number": number, "metadata": metadata}
    taken = StateError(
        f"number {number} of {path} was committed by another process",
        hint="run the command again: it goes on where that one ended",
    )
    try:
        version = tables.beside_new_columns(
            lambda: arrow_commits.append(spark, made, columns, path, **told)
        )
        if version is None:
            version = _append_by_spark(spark, made, columns, path, scratch, **told)
    except ConcurrentTransactionException as error:
        raise taken from error
    commit = tables.read_commit(spark, path, version)
    if commit.metadata != metadata:
        raise taken
    return commit


def _append_by_spark(
    spark: SparkSession,
    made: pa.Table,
    columns: Sequence[Field],
    path: Path,
    scratch: Path,
    **told: Any,  # noqa: ANN401 (what tables.append takes)
) -> int:
    # By way of a file: handing rows to Spark as Python objects takes longer than the append.
    file = scratch / f"{uuid.uuid4().hex}.parquet"
    schema = ", ".join(f"{tables.quoted(column.name)} {column.type}" for column in columns)
    try:
        pq.write_table(made, file, compression="lz4", store_schema=False)
        frame = spark.read.schema(schema).parquet(str(file))
        with _APPENDING:
            tables.append(frame, path, **told)
            return tables.last_in_session(spark, path)
    finally:
        file.unlink(missing_ok=True)
